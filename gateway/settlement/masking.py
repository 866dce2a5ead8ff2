"""Other people's numbers in reports: their last digits are hidden where the tenant's country asks for it (DOMAIN 6).

Hidden is the number of the other side, never the tenant's own: who called in, or who was called.  The caller of a
forwarded or transferred call, and of a voice application's transfer, may be either, so there the tenant's own numbers
decide.  A call to the emergency services has no number to hide.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.call.record import CallRecord
from gateway.ledger import Ledger

MASK: Final = "*"

PASSED_ON: Final = frozenset({"user_out_forwarding", "user_out_transfer", "user_out_conf", "ucap_out"})
"""Call types whose caller may be somebody from outside who called in before."""

ON_NET: Final = "on_net"
EMERGENCY: Final = "emergency"
"""What stands as the destination of an emergency call (policy.case)."""


@dataclass(frozen=True, slots=True)
class Masking:
    """How many last digits of external numbers are hidden (0: none), and the numbers that are the tenant's own."""

    digits: int = 0
    own: Collection[str] = frozenset()

    def caller(self, record: CallRecord) -> str:
        """The calling number, as it may be shown."""
        external = record.kind.endswith("_in") or (record.kind in PASSED_ON and record.caller not in self.own)
        return hidden(record.caller, self.digits) if external else record.caller

    def number(self, record: CallRecord) -> str:
        """The called number, as it may be shown."""
        return hidden(record.number, self.digits) if _calls_outside(record) else record.number

    def dialled(self, record: CallRecord) -> str:
        """What was dialled, as it may be shown."""
        return hidden(record.dialled, self.digits) if _calls_outside(record) else record.dialled


NO_MASKING: Final = Masking()


def _calls_outside(record: CallRecord) -> bool:
    return not record.kind.endswith("_in") and record.kind != ON_NET and record.destination != EMERGENCY


def hidden(number: str, digits: int) -> str:
    """The text with its last ``digits`` digits replaced; other characters stay."""
    if not digits:
        return number
    kept = list(number)
    for place in range(len(kept) - 1, -1, -1):
        if digits and kept[place].isdecimal():
            kept[place] = MASK
            digits -= 1
    return "".join(kept)


@cache
def _digits_by_country() -> dict[str, int]:
    text = files("gateway.settlement").joinpath("data/obfuscation.csv").read_text(encoding="utf-8")
    return {row["tenant_country"]: int(row["digits_masked"]) for row in csv.DictReader(text.splitlines())}


def digits_masked(tenant_country: str) -> int:
    """How many last digits are hidden for tenants of a country (ISO 3166-1 alpha-2); 0: none."""
    return _digits_by_country().get(tenant_country, 0)


async def masking_of(ledger: Ledger, tenant_id: str) -> Masking:
    """How a tenant's reports are masked; its own numbers are read only where any are hidden.  Raises UnknownTenant."""
    digits = digits_masked((await ledger.tenant(tenant_id)).country)
    if not digits:
        return NO_MASKING
    people, services = await ledger.users(tenant_id), await ledger.service_numbers(tenant_id)
    return Masking(digits, {each.number for each in people} | {each.number for each in services})
