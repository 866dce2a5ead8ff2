"""Why SIP itself says no: the refusals that need no call to be known, and the Q.850 cause of any SIP status.

Whoever is refused is told in the same words, whichever room refuses: ``Warning: 399 callgate "CODE: text"`` with a
machine-readable code, and ``Reason: Q.850;cause=NN;text="…"`` (CONTRACT 6, RFC 6432).  The codes of refused calls are
policy's, and this room knows nothing of them; those below belong to requests that are refused for what they are before
anybody asks whose call it would be.  No code stands in both tables.

Causes are RFC 3398's for the status that is sent; there is no other table of them.
"""

from typing import Final, NamedTuple

from gateway.sip.grammar import quote

Headers = tuple[tuple[str, str], ...]

UNSPECIFIED: Final = 31
"""Q.850 "normal, unspecified"."""

_Q850_OF_STATUS: Final = {
    400: 41, 401: 21, 402: 21, 403: 21, 404: 1, 405: 63, 406: 79, 407: 21, 408: 102, 410: 22, 413: 127, 414: 127,
    415: 79, 416: 127, 420: 127, 421: 127, 423: 127, 480: 18, 481: 41, 482: 25, 483: 25, 484: 28, 485: 1, 486: 17,
    500: 41, 501: 79, 502: 38, 503: 41, 504: 102, 505: 127, 513: 127, 600: 17, 603: 21, 604: 1,
}  # fmt: skip
"""RFC 3398 8.2.6.1; statuses it leaves open are "normal, unspecified"."""


def q850_of(status: int) -> int:
    """The Q.850 cause of a SIP status."""
    return _Q850_OF_STATUS.get(status, UNSPECIFIED)


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
    SipReason("LOOP", 482, "the request went round in a circle"),
    SipReason("MERGED", 482, "the same request came over another path"),
    SipReason("TOO_MANY_HOPS", 483, "the request went over too many hops"),
    SipReason("OUT_OF_ORDER", 500, "a later request of the peer came before"),
    SipReason("UNKNOWN_METHOD", 501, "the method is not known"),
    SipReason("REGISTRAR_AWAY", 503, "registrations cannot be stored now"),
    SipReason("OVERLOADED", 503, "the gate has too many transactions"),
    SipReason("BAD_VERSION", 505, "this version of SIP is not spoken"),
    SipReason("TOO_LARGE", 513, "the message is too large"),
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
