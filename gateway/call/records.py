"""How a call's record is written along the way: what is known at the INVITE once, the rest when the call is over.

The part that does not change is encoded once, goes to the store with the reservation (so that a sweep can book a call
whose worker died), and is completed by the figures at the end; what comes out reads back as a
:class:`gateway.call.record.CallRecord`.
"""

from dataclasses import dataclass
from json import JSONEncoder
from typing import Final

from policy.verdict import Allow, Deny

_encode: Final = JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


@dataclass(slots=True)
class Ending:
    """How a call ended, in the words of CallRecord."""

    reason: str
    sip_status: int
    ended_by: str


def opening(
    verdict: Allow | Deny, call_id: str, sip_call_id: str, node: str, trunk: str, invited_ms: int
) -> str:
    """The record's beginning, as JSON without its closing brace; empty values are left out."""
    known: dict[str, object] = {
        "call_id": call_id,
        "tenant_id": verdict.tenant_id,
        "kind": verdict.kind,
        "sip_call_id": sip_call_id,
        "node": node,
        "trunk": trunk,
        "invited_ms": invited_ms,
        "caller": verdict.caller,
        "dialled": verdict.dialled,
        "number": verdict.number,
        "currency": verdict.currency,
        "destination": verdict.destination,
        "user_id": verdict.user_id,
    }
    if isinstance(verdict, Allow):
        _add_allowed(known, verdict)
    return _encode(known)[:-1]


def _add_allowed(known: dict[str, object], verdict: Allow) -> None:
    known["payer"] = verdict.payer
    if not verdict.domestic:
        known["domestic"] = False
    if verdict.tariff is not None:
        known["rate_micros_per_min"] = verdict.tariff.rate_micros_per_min
        known["connect_micros"] = verdict.tariff.connect_micros
    for name in ("user_name", "user_location", "number_type", "conference", "capability"):
        value = getattr(verdict, name)
        if value:
            known[name] = value


def so_far(opening: str) -> bytes:
    """The record as it stands before the call is dialled."""
    return f"{opening}}}".encode("utf-8", "replace")


def unanswered(opening: str, carrier: str, ended_ms: int, ending: Ending) -> bytes:
    """The record of a call that was refused, given up or failed."""
    return (
        f'{opening},"carrier":{_encode(carrier)},"ended_ms":{ended_ms},"reason":"{ending.reason}"'
        f',"sip_status":{ending.sip_status},"ended_by":"{ending.ended_by}"}}'
    ).encode("utf-8", "replace")


def answered(
    opening: str,
    carrier: str,
    answered_ms: int,
    talk_ms: int,
    billed_s: int,
    charge_micros: int,
    ending: Ending,
) -> bytes:
    """The record of a call that was answered; it ended ``talk_ms`` after its answer."""
    return (
        f'{opening},"carrier":{_encode(carrier)},"answered_ms":{answered_ms},"ended_ms":{answered_ms + talk_ms}'
        f',"talk_ms":{talk_ms},"billed_s":{billed_s},"charge_micros":{charge_micros},"reason":"{ending.reason}"'
        f',"sip_status":{ending.sip_status},"ended_by":"{ending.ended_by}"}}'
    ).encode("utf-8", "replace")
