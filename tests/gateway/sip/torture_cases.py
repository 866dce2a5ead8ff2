"""All awkward messages of this project's own writing, in one place: what is taken, what is refused, what is dropped."""

from tests.gateway.sip.torture_accepted import ACCEPTED
from tests.gateway.sip.torture_address import ADDRESSED
from tests.gateway.sip.torture_beyond import BEYOND, DROPPED
from tests.gateway.sip.torture_refused import REFUSED as WRONG

__all__ = ["DROPPED", "REFUSED", "TAKEN"]

TAKEN = [*ACCEPTED, *ADDRESSED]
REFUSED = [*WRONG, *BEYOND]
