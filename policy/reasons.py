"""Every reason a call is refused or ended for, each with what SIP peers see: one table, shared by all rooms.

The code is the machine-readable word of CONTRACT 6: it stands in ``Warning: 399``, in the call record and in
``explain``.  Q.850 causes follow RFC 6432 and RFC 3398 as SIP.md 4 gives them.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a call was refused or ended: its code, the SIP status it is answered with, its Q.850 cause, plain words."""

    code: str
    sip_status: int
    q850: int
    text: str


LIMIT: Final = "LIMIT_"


def is_limit(code: str) -> bool:
    """Whether the code says that a limit of the tenant, a user, a class or a trunk was reached."""
    return code.startswith(LIMIT)


def _table(*reasons: Reason) -> dict[str, Reason]:
    return {reason.code: reason for reason in reasons}


REASONS: Final = _table(
    # who and what: policy
    Reason("UNKNOWN_SOURCE", 403, 21, "no trunk names this source address"),
    Reason("UNKNOWN_CALLER", 403, 21, "no tenant owns the caller's number"),
    Reason("UNKNOWN_KIND", 403, 21, "X-Callgate-Kind names no kind of call"),
    Reason("UNKNOWN_NUMBER", 404, 1, "nobody here owns the called number"),
    Reason("INVALID_NUMBER", 404, 1, "not a telephone number"),
    Reason("INCOMPLETE_NUMBER", 484, 28, "the number has too few digits"),
    Reason("NO_RATE", 404, 1, "the rate deck has no price for this number"),
    Reason("NO_ROUTE", 404, 3, "no carrier trunk takes this number"),
    Reason("NOT_REGISTERED", 480, 20, "the called PBX has not registered"),
    Reason("BLOCKED_PREFIX", 403, 21, "the tenant blocks this destination"),
    Reason("HIGH_RISK", 403, 21, "the tenant has not opened this high-risk range"),
    Reason("BLOCKED_USER", 403, 21, "the user is blocked"),
    Reason("DIAL_OUT_POLICY", 403, 21, "the dial-out policy does not allow this destination"),
    Reason("NUMBER_CLASS", 403, 21, "numbers of this class may not be called from this country"),
    Reason("NO_LICENCE", 403, 21, "the user has no licence for this call"),
    Reason("BARRED_TOLL_FREE", 403, 21, "the organiser's conferences cannot be joined by toll-free numbers"),
    Reason("RATE_TOO_HIGH", 403, 21, "the rate is above the tenant's limit"),
    # limits of a tenant, user, number class or trunk
    Reason("LIMIT_CALLS", 403, 21, "as many calls are live as the limit allows"),
    Reason("LIMIT_CALLS_PER_SECOND", 403, 21, "more calls a second begin than the limit allows"),
    Reason("LIMIT_SPEND", 403, 21, "the spending limit is reached"),
    Reason("LIMIT_VELOCITY", 403, 21, "too many different numbers of one range were called; the range is closed"),
    Reason("LIMIT_NIGHT", 403, 21, "the tenant closes this destination at night"),
    # money
    Reason("NO_CREDIT", 402, 21, "credit exhausted"),
    Reason("NO_MINUTES", 403, 21, "the included minutes are used up, and no licence lets the balance pay"),
    # the gate's own
    Reason("GATE_CALLS", 503, 41, "the gate has as many live calls as it may have"),
    Reason("GATE_CALLS_PER_SECOND", 503, 41, "the gate gets more calls a second than it may take"),
    Reason("DRAINING", 503, 41, "the gate is being shut down"),
    Reason("STORE_AWAY", 503, 41, "the credit store cannot be reached"),
    Reason("FAILURE_CEILING", 503, 41, "the credit store cannot be reached, and no more talk may go uncharged"),
    Reason("OUTBOX_FULL", 503, 41, "too many charges wait to be booked"),
    # how a call that was let in ended
    Reason("COMPLETED", 200, 16, "ended by a party"),
    Reason("CANCELLED", 487, 16, "cancelled by the caller"),
    Reason("FAR_END", 480, 31, "refused by the far end"),
    Reason("NO_ANSWER", 480, 19, "nobody answered in time"),
    Reason("NO_ACK", 408, 102, "the caller never acknowledged the answer"),
    Reason("DEAD_PEER", 408, 102, "a side stopped answering"),
    Reason("MAX_DURATION", 403, 21, "the longest time allowed for a call is over"),
    Reason("HUNG_UP", 480, 16, "hung up by an operator"),
    Reason("LIMIT_REACHED", 403, 21, "a limit was reached during the call"),
    Reason("FENCED", 500, 41, "the call now belongs to another worker"),
    Reason("RESTARTED", 500, 41, "the gate was restarted before the call was answered"),
    Reason("INTERNAL", 500, 41, "the gate failed to carry the call"),
)
