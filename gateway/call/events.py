"""The short list of events by which the two legs of a call talk to each other, and by nothing else.

A leg turns SIP into these and these into SIP; the call hears each of them, looks it up in the table of
:mod:`gateway.call.states` and hands it to the other leg.  ``leg`` is the leg that says it.  A *fork* is a number that
both legs know one early or confirmed dialog of the called side by: the called leg by its remote tag, the caller's leg
by the To-tag it shows the caller for it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gateway.call.states import Happening
from gateway.sip.message import Request, Response
from gateway.sip.reasons import Headers
from policy.reasons import Reason

if TYPE_CHECKING:
    from gateway.call.carry import Carry
    from gateway.call.leg import Leg


@dataclass(slots=True)
class Progress:
    """The called side sent a provisional answer other than 100."""

    happening: ClassVar = Happening.PROGRESS
    leg: "Leg"
    fork: int
    response: Response


@dataclass(slots=True)
class Answered:
    """The called side's first 2xx."""

    happening: ClassVar = Happening.ANSWERED
    leg: "Leg"
    fork: int
    response: Response


@dataclass(slots=True)
class Failed:
    """No target took the call; ``response`` is the last refusal, None where the last target was silent or unreachable.

    ``status`` is what the caller is to get, ``reason`` what the record shows.
    """

    happening: ClassVar = Happening.FAILED
    leg: "Leg"
    status: int
    reason: Reason
    response: Response | None


@dataclass(slots=True)
class GaveUp:
    """The caller sent CANCEL, or BYE on an early dialog; ``headers`` is its Reason, if it gave one."""

    happening: ClassVar = Happening.GAVE_UP
    leg: "Leg"
    headers: Headers


@dataclass(slots=True)
class Acked:
    """A side acknowledged a 2xx that was relayed to it: the INVITE's, or with ``carry`` a re-INVITE's."""

    happening: ClassVar = Happening.ACKED
    leg: "Leg"
    request: Request
    carry: "Carry | None"


@dataclass(slots=True)
class Unacked:
    """A side never acknowledged a 2xx (RFC 3261 13.3.1.4)."""

    happening: ClassVar = Happening.NO_ACK
    leg: "Leg"


@dataclass(slots=True)
class Passed:
    """A request inside a dialog that is for the other side."""

    happening: ClassVar = Happening.PASSED
    leg: "Leg"
    carry: "Carry"


@dataclass(slots=True)
class Returned:
    """The answer to a request that was passed on; ``response`` is None where the gate itself has to give ``status``."""

    happening: ClassVar = Happening.PASSED
    leg: "Leg"
    carry: "Carry"
    status: int
    response: Response | None


@dataclass(slots=True)
class HungUp:
    """A side sent BYE; it has its answer already.  ``headers`` is its Reason, if it gave one."""

    happening: ClassVar = Happening.HUNG_UP
    leg: "Leg"
    headers: Headers


@dataclass(slots=True)
class Stopped:
    """The gate ends the call: paid time or the longest call is over, an operator, a drain, a peer that is dead.

    ``leg`` is the leg that found its peer dead, None where it is the gate's own will.
    """

    happening: ClassVar = Happening.STOPPED
    leg: "Leg | None"
    reason: Reason


CallEvent = Progress | Answered | Failed | GaveUp | Acked | Unacked | Passed | Returned | HungUp | Stopped
