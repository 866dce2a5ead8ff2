"""The record of one call: what usage reports, the ledger and ``explain`` show of it when it is over.

It travels as JSON through the outbox into the ledger; the names below are its keys and never change meaning.
"""

import json
from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class CallRecord:
    """One leg that was paid for, carried free, or refused.  Times are Unix milliseconds, 0 where it did not happen.

    ``call_id`` is the gate's own id and the id of its charge; ``sip_call_id`` the caller's Call-ID (not unique).
    ``kind`` is the call type of the usage report; ``payer`` is ``credits``, ``pool`` or ``none``, ``capability`` the
    licence that paid: of a call that pools might have paid for, what :func:`decode_record` finds; ``credit`` is the
    licence by which the balance pays for such a one.  ``reason`` is a code of policy.reasons; ``sip_status`` the final
    status sent to the caller (200 where answered); ``ended_by`` is ``caller``, ``callee`` or ``gate``.  ``tried`` names
    policy's rules that were tried, in order: all passed, of a refused call but the last.  ``limit`` is the scope of the
    limit that refused or cut the call (policy.limits), of money with the period behind it: ``user/alice/day``.
    ``talk_ms`` is talk in whole milliseconds, cut at paid-until.  ``pool`` is the first pool that paid for talk,
    ``pool_minutes`` the minutes used of all; ``billed_s`` is what money paid for.
    ``rate_micros_per_min`` and ``connect_micros`` are those in effect at the INVITE.  ``rates`` is not empty where the
    answer or the talk met others: ``SECOND RATE, …`` from which second of talk on which rate was in effect, in
    micro-units a minute.  ``uncharged_micros`` is what talk cost that could not be charged (0 unless a gate was down).
    """

    call_id: str
    tenant_id: str
    kind: str
    sip_call_id: str = ""
    node: str = ""
    trunk: str = ""
    carrier: str = ""
    user_id: str = ""
    user_name: str = ""
    user_location: str = ""
    caller: str = ""
    dialled: str = ""
    number: str = ""
    number_type: str = ""
    domestic: bool = True
    destination: str = ""
    conference: str = ""
    capability: str = ""
    credit: str = ""
    currency: str = ""
    payer: str = "none"
    invited_ms: int = 0
    answered_ms: int = 0
    ended_ms: int = 0
    talk_ms: int = 0
    billed_s: int = 0
    rate_micros_per_min: int = 0
    connect_micros: int = 0
    rates: str = ""
    charge_micros: int = 0
    uncharged_micros: int = 0
    pool: str = ""
    pool_minutes: int = 0
    reason: str = ""
    tried: str = ""
    limit: str = ""
    sip_status: int = 0
    ended_by: str = ""
    count: int = 1
    """Refused calls this row stands for (SIP's refusals beyond 50/s per trunk are counted in one row)."""

    def encode(self) -> bytes:
        """The record as compact JSON; :func:`decode_record` reads it back."""
        return _encode({name: getattr(self, name) for name in _NAMES}).encode("utf-8", "replace")


_NAMES: Final = tuple(CallRecord.__dataclass_fields__)
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def decode_record(data: bytes) -> CallRecord:
    """Read a record back; unknown keys (of a newer gate) are ignored.  Raises ValueError where it is not a record.

    It was begun before anybody knew whether the pools had minutes left, so of an answered call payer and capability are
    told by what it used: the first pool, else the balance where that paid.
    """
    values = json.loads(data)
    if not isinstance(values, dict):
        raise ValueError("a call record is a JSON object")
    known = CallRecord.__dataclass_fields__
    try:
        record = CallRecord(**{key: value for key, value in values.items() if key in known})
    except TypeError as error:
        raise ValueError(f"not a call record: {error}") from error
    if record.payer == "pool" and record.answered_ms:
        _tell_payer(record)
    return record


def _tell_payer(record: CallRecord) -> None:
    if record.pool:
        record.capability = record.pool.partition("/")[0]
    elif record.credit and (record.billed_s or record.charge_micros):
        record.payer, record.capability = "credits", record.credit
