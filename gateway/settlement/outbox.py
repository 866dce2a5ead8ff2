"""From Redis' outbox into the ledger: read, book, tell the workers, and only then forget (MONEY 4).

The stream is the only memory of what has to be booked, and the charge id in the ledger the only memory of what has
been.  Whatever dies between two of the steps, the next settler reads the same entries again, the ledger finds them
there, and the steps that were missed are done.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.call.record import decode_record
from gateway.credit.admin import CreditAdmin
from gateway.credit.streams import last_entries
from gateway.credit.views import OutboxEntry, RefusedEntry
from gateway.ledger import (
    WITHDRAWAL_KINDS,
    BrokenEntry,
    CallEntry,
    Entry,
    FundingKind,
    Ledger,
    Source,
    WithdrawalEntry,
)
from gateway.settlement.notify_low_credit import is_low_credit, tell_low_credit
from gateway.telemetry.logs import get_logger

READ_EACH: Final = 250
"""Entries read of each partition at once: with all 256 full some 64,000, which is 100 MB for the time of one turn."""

log = get_logger("settlement")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn found waiting: how many entries, and how old the oldest was."""

    entries: int
    lag_s: float = 0.0


async def book_outbox(ledger: Ledger, credit: CreditAdmin, epoch: int) -> Turn:
    """Book what waits in the outbox, each tenant's entries in their order, while Redis is in ``epoch``.

    Raises LedgerAway or StoreError; what has been booked by then is found again and acknowledged the next time.
    Raises EpochPassed where a rebuild has begun meanwhile: what was read may be gone, and nothing of it is booked.
    """
    entries = await credit.read_outbox(READ_EACH)
    if not entries:
        return Turn(0)
    lag_s = max(0.0, time.time() - min(entry.at_unix_ms for entry in entries) / 1000)
    entries.sort(key=_tenant_of)
    await _book(ledger, [to_ledger(entry) for entry in entries], Source(epoch, last_entries(entries)))
    await credit.announce_booked(entries)
    await credit.trim_outbox(entries)
    return Turn(len(entries), lag_s)


async def book_refused(ledger: Ledger, credit: CreditAdmin) -> int:
    """Keep the records of refused calls; how many there were.  Raises LedgerAway or StoreError."""
    entries = await credit.read_refused(READ_EACH)
    if not entries:
        return 0
    await tell_low_credit(ledger, [entry for entry in entries if is_low_credit(entry)])
    await _book(ledger, [_refused_to_ledger(entry) for entry in entries if not is_low_credit(entry)])
    await credit.trim_refused(entries)
    return len(entries)


async def _book(ledger: Ledger, entries: Sequence[Entry], source: Source | None = None) -> None:
    for aside in (await ledger.book(entries, source)).set_aside:
        log.error(
            "outbox entry set aside: it cannot be booked",
            origin=aside.origin,
            tenant=aside.tenant_id,
            why=aside.why,
            do="look at it in the ledger's table set_aside; `callgate reconcile` shows what is missing",
        )


def _tenant_of(entry: OutboxEntry) -> str:
    return entry.tenant_id


def to_ledger(entry: OutboxEntry) -> Entry:
    """What the ledger is asked to book for an outbox entry."""
    origin = f"{entry.partition}/{entry.entry_id}"
    if entry.kind == "withdraw":
        return _withdrawal(entry, origin)
    if entry.kind in {"settle", "release", "sweep"}:
        return CallEntry(
            entry.charge_id, entry.tenant_id, entry.charge_micros, entry.record, origin, entry.minutes, entry.spent
        )
    return BrokenEntry(origin, entry.record, f"its kind {entry.kind!r} or its fields are unknown", entry.tenant_id)


def withdrawal_record(reference: str, kind: FundingKind, actor: str, reason: str = "", lot: int = 0) -> bytes:
    """What a withdrawal carries through the outbox beside its amount."""
    carried: dict[str, str | int] = {"reference": reference, "kind": kind, "actor": actor, "reason": reason}
    return json.dumps(carried | ({"lot": lot} if lot else {})).encode()


def withdrawal_id(tenant_id: str, reference: str) -> str:
    """The id under which Redis takes the money of a reference once."""
    return "w-" + hashlib.sha256(f"{tenant_id}\0{reference}".encode()).hexdigest()[:40]


def _withdrawal(entry: OutboxEntry, origin: str) -> Entry:
    try:
        record = json.loads(entry.record)
        kind: FundingKind = record["kind"]
        if kind not in WITHDRAWAL_KINDS:
            raise ValueError(f"unknown kind {kind!r}")
        reference, actor, reason = str(record["reference"]), str(record["actor"]), str(record.get("reason", ""))
        lot = int(record.get("lot", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return BrokenEntry(origin, entry.record, f"its withdrawal cannot be read: {error!r}", entry.tenant_id)
    return WithdrawalEntry(reference, entry.tenant_id, entry.charge_micros, kind, actor, origin, reason, lot)


def withdrawn_reference(entry: OutboxEntry) -> str | None:
    """The reference of a withdrawal that can be read; None for any other entry."""
    booked = to_ledger(entry)
    return booked.reference if isinstance(booked, WithdrawalEntry) else None


def _refused_to_ledger(entry: RefusedEntry) -> Entry:
    origin = f"{entry.partition}/refused/{entry.entry_id}"
    try:
        record = decode_record(entry.record)
    except ValueError as error:
        return BrokenEntry(origin, entry.record, f"its record cannot be read: {error}", entry.tenant_id)
    return CallEntry(record.call_id, entry.tenant_id, 0, entry.record, origin)
