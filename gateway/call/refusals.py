"""What peers are told when the gate says no: Warning and Reason headers, and what becomes of the far side's refusals.

Every refusal carries ``Warning: 399 callgate "CODE: text"`` with the machine-readable reason that the call record
shows, and ``Reason: Q.850;cause=…`` (CONTRACT 6).  Requests by which the gate ends a call carry both a SIP and a
Q.850 cause (RFC 3326, SIP.md 4).  A far side's refusal is relayed with its own Reason where it gave one, else with
the cause that RFC 3398 8.2.6.1 gives its status.  How a refusal is worded, and that cause, are gateway.sip.reasons'.
"""

from collections.abc import Iterable
from typing import Final

from gateway.sip.message import Request, Response
from gateway.sip.reasons import Headers, cause_in, q850_of, refused, status_of, warning
from policy.reasons import REASONS, Reason

RETRY_AFTER_S: Final = 5
"""How long a peer is asked to wait when the whole gate is full or draining: a restart takes about as long."""

_WHOLE_GATE: Final = frozenset({"GATE_CALLS", "GATE_CALLS_PER_SECOND", "DRAINING", "OUTBOX_FULL"})
"""Only these may carry Retry-After: a PBX takes the gate out of use for all tenants (RFC 3261 21.5.4, SIP.md 4)."""

_GATES_OWN: Final = frozenset({401, 407, 422, 503})
"""Statuses that would be untrue if relayed: a challenge is for the gate, the session interval is each leg's own, and a
far side that is overloaded is not this gate (RFC 3261 16.7 step 6, 21.5.4)."""

_PARTYS_OWN: Final = frozenset({404, 413, 480, 486, 600, 603})
"""Refusals that speak of the called party, whose Retry-After is the caller's to know."""


def refusal_headers(reason: Reason) -> Headers:
    """What a response carries by which the gate refuses a call."""
    headers = _REFUSALS.get(reason.code)
    return headers if headers is not None else _refusal_headers(reason)


def ending_headers(reason: Reason) -> Headers:
    """What BYE and CANCEL carry when the gate ends a call: a SIP value and a Q.850 value (CONTRACT 6, RFC 3326 2)."""
    return (("Reason", f'SIP;cause={reason.sip_status};text="{reason.text}", Q.850;cause={reason.q850}'),)


def reasons_of(request: Request) -> Headers:
    """The Reason of a CANCEL or BYE, which goes on to the other side (RFC 3326 2)."""
    return tuple([("Reason", value) for value in request.all("Reason")])


def relayed_status(status: int) -> int:
    """The status the caller gets where the far side said ``status``: 500 instead of what is the gate's own affair."""
    return 500 if status in _GATES_OWN else status


def relayed_headers(status: int, has_reason: bool) -> Headers:
    """What the gate adds to a far side's refusal; ``has_reason``: the far side gave a Reason of its own."""
    return (_FAR_END_WARNING,) if has_reason else (_FAR_END_WARNING, ("Reason", f"Q.850;cause={q850_of(status)}"))


def busy_until(status: int, response: Response) -> Headers:
    """When the called party wants to be tried again, where that is its own affair (RFC 3261 20.33): never a 503's or
    500's, by which a PBX would take the gate out of use (SIP.md 4)."""
    if status not in _PARTYS_OWN:
        return ()
    after_s = (response.get("Retry-After") or "").strip().partition(";")[0].partition("(")[0].strip()
    return (("Retry-After", after_s),) if after_s.isascii() and after_s.isdigit() and len(after_s) <= 10 else ()


def far_end_status(event_headers: Iterable[tuple[str, str]]) -> int:
    """The status for a called side that hung up before the caller heard its answer, by the cause of its BYE."""
    cause = cause_in(event_headers)
    status = status_of(cause) if cause is not None else None
    return relayed_status(status or REASONS["FAR_END"].sip_status)


def _refusal_headers(reason: Reason) -> Headers:
    headers = refused(reason.code, reason.q850, reason.text)
    if reason.code in _WHOLE_GATE:
        return (*headers, ("Retry-After", str(RETRY_AFTER_S)))
    return headers


_FAR_END_WARNING: Final = warning("FAR_END", REASONS["FAR_END"].text)
_REFUSALS: Final = {code: _refusal_headers(reason) for code, reason in REASONS.items()}
"""Made once: under a flood of refusals the gate spends nothing on them."""
