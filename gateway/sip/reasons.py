"""Why SIP itself says no: the refusals that need no call to be known, and the Q.850 cause of any SIP status.

Whoever is refused is told in the same words, whichever room refuses: ``Warning: 399 callgate "CODE: text"`` with a
machine-readable code, and ``Reason: Q.850;cause=NN;text="…"`` (CONTRACT 6, RFC 6432).  The codes of refused calls are
policy's, and this room knows nothing of them; those below belong to requests that are refused for what they are before
anybody asks whose call it would be.  No code stands in both tables.

Causes are RFC 3398's for the status that is sent, and statuses those of the cause that was told: :data:`CAUSES` is the
one table of both.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.sip.grammar import quote

Headers = tuple[tuple[str, str], ...]

UNSPECIFIED: Final = 31
"""Q.850 "normal, unspecified"."""


class Cause(NamedTuple):
    """A Q.850 cause: the SIP status that tells it, and the statuses that it tells."""

    number: int
    status: int
    statuses: tuple[int, ...] = ()


CAUSES: Final = (
    Cause(1, 404, (404, 485, 604)),
    Cause(2, 404),
    Cause(3, 404),
    Cause(17, 486, (486, 600)),
    Cause(18, 408, (480,)),
    Cause(19, 480),
    Cause(20, 480),
    Cause(21, 403, (401, 402, 403, 407, 603)),
    Cause(22, 410, (410,)),
    Cause(23, 410),
    Cause(25, 482, (482, 483)),
    Cause(26, 404),
    Cause(27, 502),
    Cause(28, 484, (484,)),
    Cause(29, 501),
    Cause(UNSPECIFIED, 480),
    Cause(34, 503),
    Cause(38, 503, (502,)),
    Cause(41, 503, (400, 481, 500, 503)),
    Cause(42, 503),
    Cause(47, 503),
    Cause(55, 403),
    Cause(57, 403),
    Cause(58, 503),
    Cause(63, 405, (405,)),
    Cause(65, 488),
    Cause(70, 488),
    Cause(79, 501, (406, 415, 501)),
    Cause(87, 403),
    Cause(88, 503),
    Cause(102, 504, (408, 504)),
    Cause(111, 500),
    Cause(127, 500, (413, 414, 416, 420, 421, 423, 505, 513)),
)
"""RFC 3398: status of a cause 7.2.4.1, cause of a status 8.2.6.1.  Causes 25 and 63 have no status there; they get that
of their meaning (exchange routing error, service not available)."""

_Q850_OF_STATUS: Final = {status: cause.number for cause in CAUSES for status in cause.statuses}
_STATUS_OF_Q850: Final = {cause.number: cause.status for cause in CAUSES}


def q850_of(status: int) -> int:
    """The Q.850 cause of a SIP status; those that RFC 3398 leaves open are "normal, unspecified"."""
    return _Q850_OF_STATUS.get(status, UNSPECIFIED)


def status_of(cause: int) -> int | None:
    """The SIP status of a Q.850 cause; None of one that refuses nothing (16, "normal clearing") or is not known."""
    return _STATUS_OF_Q850.get(cause)


_CAUSE: Final = re.compile(r"\bQ\.850\s*(?:;[^,;]*)*?;\s*cause\s*=\s*([0-9]{1,3})", re.IGNORECASE)
"""The parameters of one value; those before the cause hold no comma, unless in a text, which is not looked into."""

REASON_MAX: Final = 512
"""Characters of a Reason that are looked at: two values with a text each have some hundred."""


def cause_in(headers: Iterable[tuple[str, str]]) -> int | None:
    """The Q.850 cause that a request or response tells (RFC 3326, RFC 6432); None where it tells none."""
    for name, value in headers:
        found = _CAUSE.search(value[:REASON_MAX]) if name == "Reason" else None
        if found is not None:
            return int(found[1])
    return None


class SipReason(NamedTuple):
    """Why SIP refuses a request: its code, the status it is answered with, plain words."""

    code: str
    status: int
    text: str


def _table(*reasons: SipReason) -> dict[str, SipReason]:
    return {reason.code: reason for reason in reasons}


SIP_REASONS: Final = _table(
    SipReason("MALFORMED", 400, "the request cannot be read"),
    SipReason("UNAUTHORIZED", 401, "credentials are needed"),
    SipReason("NO_REGISTRATION", 403, "this trunk is where its hosts say, and need not register"),
    SipReason("METHOD_NOT_ALLOWED", 405, "requests of this method are not taken"),
    SipReason("BAD_SCHEME", 416, "the scheme of the Request-URI is not known"),
    SipReason("BAD_EXTENSION", 420, "an extension is required that is not known"),
    SipReason("INTERVAL_TOO_SMALL", 422, "the session interval is too small"),
    SipReason("INTERVAL_TOO_BRIEF", 423, "the registration would end too soon"),
    SipReason("NO_SUBSCRIPTION", 481, "nobody here subscribed to events"),
    SipReason("LOOP", 482, "the request went round in a circle"),
    SipReason("MERGED", 482, "the same request came over another path"),
    SipReason("TOO_MANY_HOPS", 483, "the request went over too many hops"),
    SipReason("BAD_EVENT", 489, "no events of this kind are known here"),
    SipReason("OUT_OF_ORDER", 500, "a later request of the peer came before"),
    SipReason("UNKNOWN_METHOD", 501, "the method is not known"),
    SipReason("REGISTRAR_AWAY", 503, "registrations cannot be stored now"),
    SipReason("OVERLOADED", 503, "the gate has too many transactions"),
    SipReason("BAD_VERSION", 505, "this version of SIP is not spoken"),
    SipReason("TOO_LARGE", 513, "the message is too large"),
    SipReason("NO_TRANSFER", 603, "calls are not transferred here"),
)
"""Every refusal of SIP's own, in the order of their statuses."""

_OF_FAULT: Final = {
    SIP_REASONS[code].status: SIP_REASONS[code]
    for code in ("MALFORMED", "BAD_SCHEME", "TOO_MANY_HOPS", "UNKNOWN_METHOD", "BAD_VERSION", "TOO_LARGE")
}


def reason_of_fault(status: int) -> SipReason:
    """The reason for a fault that a peer made, by the status that the fault hints at (gateway.sip.errors)."""
    return _OF_FAULT.get(status, SIP_REASONS["MALFORMED"])


def warning(code: str, text: str) -> tuple[str, str]:
    """The header that tells a program the code and a person the text, on one line (RFC 3261 20.43)."""
    return ("Warning", f"399 callgate {quote(f'{code}: ' + ' '.join(text.split()))}")


def refused(code: str, q850: int, text: str, details: str = "") -> Headers:
    """What a refusal carries, whichever room gives it; ``details``, if any, say more to a person than ``text``."""
    return (warning(code, details or text), ("Reason", f'Q.850;cause={q850};text="{text}"'))


def refusal_of(reason: SipReason, details: str = "") -> Headers:
    """What a refusal of SIP's own carries; ``details`` say what exactly is wrong with this one request."""
    if details:
        return refused(reason.code, q850_of(reason.status), reason.text, details)
    return _REFUSALS[reason.code]


_REFUSALS: Final = {
    reason.code: refused(reason.code, q850_of(reason.status), reason.text) for reason in SIP_REASONS.values()
}
"""Made once: under a flood of refusals the gate spends nothing on them."""
