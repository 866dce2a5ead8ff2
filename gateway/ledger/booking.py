"""Book a batch of outbox entries: exactly once, all in one transaction, poison set aside (MONEY 4).

The charge id is the whole memory of what has been booked: there is no cursor beside it that could disagree.  An entry
that comes a second time is found by its id and counted as repeated.  An entry that cannot be booked as it is (unknown
tenant, unreadable record, an id that is booked with another charge) goes to ``set_aside`` in the same transaction, so
that the outbox may forget it and everything behind it is booked.  Where the database itself refuses a row that looked
well, the batch is halved until the row is alone.
"""

import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import cast

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import audit, counters, journal, lots, notices, rebuilding
from gateway.ledger.audit import Act
from gateway.ledger.bulk import Bulk, ByKeys, Value
from gateway.ledger.chain import Line, Tail, funding_digest
from gateway.ledger.crossings import Stopped, add_booked, stopped
from gateway.ledger.engine import Database
from gateway.ledger.entries import (
    WITHDRAWAL_KINDS,
    BookedBatch,
    BrokenEntry,
    CallEntry,
    Entry,
    FundingKind,
    Source,
    WithdrawalEntry,
)
from gateway.ledger.errors import Unbookable
from gateway.ledger.faults import first_line
from gateway.ledger.lots import Purses
from gateway.ledger.notices import Notice
from gateway.ledger.tables import calls, fundings, set_aside
from rating.money import MAX_MICROS, format_amount

MAX_BATCH = 2_000
"""Most entries of one transaction: a batch of this size holds SQLite's write lock for about 0.1 s."""

ROW_ERRORS = (DBAPIError, UnicodeError, OverflowError)
"""What a row that cannot be stored raises: the database's refusal, text that is not Unicode, a number beyond 64 bits.
(A database that is away raises LedgerAway.)"""

MAX_TEXT = 512
"""Longest id or reference that is taken; ids are UUIDs with a suffix, references what people type."""


async def book(database: Database, entries: Sequence[Entry], now_ms: int, source: Source | None = None) -> BookedBatch:
    """Book ``entries`` in the order of each tenant's; raises LedgerAway, and then nothing of them is booked.

    With ``source`` they are booked only while Redis is in the epoch they were read in: raises EpochPassed where a
    rebuild has begun since (MONEY 6).

    More than MAX_BATCH entries are several transactions; what was booked before LedgerAway stays and is found as
    repeated the next time.
    """
    booked, repeated, aside = 0, 0, list[BrokenEntry]()
    waiting = [list(entries[at : at + MAX_BATCH]) for at in range(0, len(entries), MAX_BATCH)]
    while waiting:
        batch = waiting.pop(0)
        try:
            done = await _book_batch(database, batch, now_ms, source)
        except ROW_ERRORS:
            if len(batch) > 1:
                middle = len(batch) // 2
                waiting[:0] = [batch[:middle], batch[middle:]]
                continue
            done = await _book_alone(database, batch[0], now_ms, source)
        booked, repeated = booked + done.booked, repeated + done.repeated
        aside.extend(done.set_aside)
    return BookedBatch(booked, repeated, tuple(aside))


async def _book_alone(database: Database, entry: Entry, now_ms: int, source: Source | None) -> BookedBatch:
    """Try an entry that the database refused once more (another settler may have booked it), else set it aside."""
    try:
        return await _book_batch(database, [entry], now_ms, source)
    except ROW_ERRORS as error:
        why = first_line(error.orig if isinstance(error, DBAPIError) else error)
        return await _book_batch(database, [_broken(entry, f"the database refuses it: {why}")], now_ms, source)


async def _book_batch(database: Database, entries: list[Entry], now_ms: int, source: Source | None) -> BookedBatch:
    async def work(connection: AsyncConnection) -> BookedBatch:
        if source is not None:
            await rebuilding.check_epoch(connection, source.epoch)
            await rebuilding.move_marks(connection, source.marks)
        page = await _open_page(connection, entries, now_ms)
        for entry in entries:
            try:
                page.add(entry)
            except Unbookable as error:
                page.aside.append(_broken(entry, error.what))
        await page.write(connection)
        return BookedBatch(page.booked, page.repeated, tuple(page.aside))

    return await database.transact(work)


def _broken(entry: Entry, why: str) -> BrokenEntry:
    if isinstance(entry, BrokenEntry):
        return entry
    if isinstance(entry, CallEntry):
        text = json.dumps({"charge_id": entry.charge_id, "charge_micros": str(entry.charge_micros)})
        payload = text.encode() + b"\n" + entry.record
    else:
        payload = json.dumps(
            {"reference": entry.reference, "amount_micros": str(entry.amount_micros), "kind": entry.kind}
        ).encode()
    return BrokenEntry(_printable(entry.origin), payload, why, _printable(entry.tenant_id))


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


_References = dict[tuple[str, str], tuple[str, int]]
"""Kind and amount of what is booked, by tenant and reference."""


class _Page:
    """The rows of one batch while they are being made, between one read and one write of the database."""

    def __init__(
        self, tails: dict[str, Tail], purses: Purses, charges: dict[str, int], references: _References, now_ms: int
    ) -> None:
        self.tails, self.purses, self.charges, self.references = tails, purses, charges, references
        self.now_ms = now_ms
        self.told: list[Notice] = []
        self.lines: list[Line] = []
        self.call_rows: list[tuple[Value, ...]] = []
        self.funding_rows: list[dict[str, object]] = []
        self.acts: list[Act] = []
        self.halts: list[Stopped] = []
        self.aside: list[BrokenEntry] = []
        self.counted: Counter[counters.Key] = Counter()
        self.booked = 0
        self.repeated = 0

    def add(self, entry: Entry) -> None:
        """Make the rows of one entry.  Raises Unbookable and then has made none."""
        if isinstance(entry, CallEntry):
            self._add_call(entry)
        elif isinstance(entry, WithdrawalEntry):
            self._add_withdrawal(entry)
        else:
            self.aside.append(entry)

    def _add_call(self, entry: CallEntry) -> None:
        known = self.charges.get(entry.charge_id)
        if known is not None:
            if known != entry.charge_micros:
                raise _unbookable(f"its charge id is already booked with {known} micro-units")
            self.repeated += 1
            return
        row, ended_ms, halt = _read_call(entry)
        if entry.charge_micros:
            tail = self._tail(entry.tenant_id, entry.charge_micros)
            digest = sha256(entry.record).digest()
            charge = -entry.charge_micros
            self.lines.append(
                tail.append(
                    self.now_ms,
                    journal.CHARGE,
                    journal.OTHER_SIDE[journal.CHARGE],
                    charge,
                    charge_id=entry.charge_id,
                    record_sha256=digest,
                )
            )
            self.purses.spend(entry.tenant_id, entry.charge_micros, ended_ms or self.now_ms)
        self.charges[entry.charge_id] = entry.charge_micros
        self.call_rows.append(row)
        counters.count(self.counted, entry)
        if halt is not None:
            self.halts.append(halt)
        self.booked += 1

    def _add_withdrawal(self, entry: WithdrawalEntry) -> None:
        key = (entry.tenant_id, entry.reference)
        wanted = (entry.kind, -entry.amount_micros)
        known = self.references.get(key)
        if known is not None:
            if known != wanted:
                raise _unbookable(f"its reference is already booked as {known[0]} of {known[1]} micro-units")
            self.repeated += 1
            return
        if not entry.reference or len(entry.reference) > MAX_TEXT or entry.kind not in WITHDRAWAL_KINDS:
            raise _unbookable("a withdrawal needs a reference and a known kind")
        tail = self._tail(entry.tenant_id, entry.amount_micros)
        self.references[key] = wanted
        self._add_line(tail, entry, entry.kind, -entry.amount_micros, entry.reference)
        if entry.kind == "expiry":
            self._forfeit(tail, entry)
        else:
            self.purses.spend(entry.tenant_id, entry.amount_micros, self.now_ms)
        self.booked += 1

    def _forfeit(self, tail: Tail, entry: WithdrawalEntry) -> None:
        """Of its lot alone: where a charge used the lot meanwhile, the excess comes back as money in."""
        excess = self.purses.forfeit(entry.tenant_id, entry.lot, entry.amount_micros)
        if excess:
            self._add_line(tail, entry, "refund", excess, entry.reference + ":back")
        lost, after = entry.amount_micros - excess, tail.balance_micros
        if lost:
            self.told.append(lots.expired(entry.tenant_id, entry.lot, entry.reference, lost, after, self.now_ms))

    def _add_line(self, tail: Tail, entry: WithdrawalEntry, kind: FundingKind, amount_micros: int, ref: str) -> None:
        account, digest = journal.OTHER_SIDE[entry.kind], funding_digest(entry.actor, entry.reason)
        line = tail.append(self.now_ms, kind, account, amount_micros, reference=ref, record_sha256=digest)
        self.lines.append(line)
        self.funding_rows.append(funding_row(line, entry.actor, entry.reason))
        self.acts.append(funding_act(line, entry.actor, entry.reason))

    def _tail(self, tenant_id: str, amount_micros: int) -> Tail:
        tail = self.tails.get(tenant_id)
        if tail is None:
            raise _unbookable(f"there is no tenant {tenant_id!r}")
        if not 0 < amount_micros <= MAX_MICROS or tail.balance_micros - amount_micros < -MAX_MICROS:
            raise _unbookable(f"an amount of {amount_micros} micro-units is out of range")
        return tail

    async def write(self, connection: AsyncConnection) -> None:
        touched = {line.tenant_id for line in self.lines}
        await journal.write_lines(connection, [self.tails[tenant] for tenant in touched], self.lines)
        await self.purses.write(connection)
        await _ADD_CALLS.execute(connection, self.call_rows)
        await counters.move(connection, self.counted)
        if self.funding_rows:
            await connection.execute(insert(fundings), self.funding_rows)
            await audit.write(connection, self.acts)
        await add_booked(
            connection, self.lines, self.halts, {t.tenant_id: t.balance_micros for t in self.tails.values()}
        )
        await notices.add(connection, self.told)
        await _keep_aside(connection, self.aside, self.now_ms)


def funding_row(line: Line, actor: str, reason: str) -> dict[str, object]:
    """The row of ``fundings`` beside a posting of money in or out."""
    return {
        "tenant_id": line.tenant_id,
        "reference": line.reference,
        "seq": line.seq,
        "kind": line.kind,
        "amount_micros": line.amount_micros,
        "actor": actor,
        "reason": reason,
        "at_ms": line.at_ms,
    }


def funding_act(line: Line, actor: str, reason: str) -> Act:
    """Money in or out, for the audit log; amounts as people write them."""
    before, after = line.balance_micros - line.amount_micros, line.balance_micros
    booked = {"ledger_balance": format_amount(after), "amount": format_amount(line.amount_micros)}
    return Act(
        actor,
        f"fund.{line.kind}",
        line.tenant_id,
        line.reference,
        {"ledger_balance": format_amount(before)},
        booked | ({"reason": reason} if reason else {}),
        at_ms=line.at_ms,
    )


_KNOWN_CHARGES = ByKeys(select(calls.c.charge_id, calls.c.charge_micros), calls.c.charge_id)


async def _open_page(connection: AsyncConnection, entries: list[Entry], now_ms: int) -> _Page:
    """Lock the accounts first, those of free calls too, then ask what is booked: whoever booked it held the same."""
    tenants = {entry.tenant_id for entry in entries if not isinstance(entry, BrokenEntry)}
    tails = await journal.lock_tails(connection, tenants) if tenants else {}
    ids = [e.charge_id for e in entries if isinstance(e, CallEntry)]
    charges: dict[str, int] = {}
    if ids:
        found = await _KNOWN_CHARGES.execute(connection, ids)
        charges = {row.charge_id: row.charge_micros for row in found}
    references: _References = {}
    for entry in entries:
        if isinstance(entry, WithdrawalEntry):
            references |= await _known_reference(connection, entry)
    purses = await lots.open_purses(connection, {e.tenant_id for e in entries if _may_spend(e)} & tails.keys())
    return _Page(tails, purses, charges, references, now_ms)


def _may_spend(entry: Entry) -> bool:
    """Whether lots are looked at for it: a free call uses none."""
    return isinstance(entry, WithdrawalEntry) or (isinstance(entry, CallEntry) and entry.charge_micros > 0)


async def _known_reference(connection: AsyncConnection, entry: WithdrawalEntry) -> _References:
    found = await connection.execute(
        select(fundings.c.kind, fundings.c.amount_micros).where(
            fundings.c.tenant_id == entry.tenant_id, fundings.c.reference == entry.reference
        )
    )
    row = found.first()
    return {} if row is None else {(entry.tenant_id, entry.reference): (row.kind, row.amount_micros)}


_ADD_CALLS = Bulk(
    insert(calls), "charge_id", "tenant_id", "start_ms", "kind", "user_id", "trunk", "answered", "talk_ms",
    "charge_micros", "record",
)  # fmt: skip


def _read_call(entry: CallEntry) -> tuple[tuple[Value, ...], int, Stopped | None]:
    """The row of ``calls``, when the call ended (Unix milliseconds, 0 where nobody knows), and what is told of it.

    The few columns beside the record are what reports search by.
    """
    if not entry.charge_id or len(entry.charge_id) > MAX_TEXT or entry.charge_micros < 0:
        raise _unbookable("a charge needs an id and an amount that is not negative")
    try:
        record = json.loads(entry.record)
        answered_ms = int(record.get("answered_ms", 0))  # the record of an unanswered call leaves it out
        row = (
            entry.charge_id,
            entry.tenant_id,
            answered_ms or int(record["invited_ms"]),
            cast(str, record["kind"]),
            cast(str, record.get("user_id", "")),
            cast(str, record.get("trunk", "")),
            answered_ms > 0,
            int(record.get("talk_ms", 0)),
            entry.charge_micros,
            entry.record,
        )
        return row, int(record.get("ended_ms", 0)), stopped(entry.tenant_id, record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unbookable(f"its call record cannot be read: {error!r}") from error


def _unbookable(why: str) -> Unbookable:
    return Unbookable(why, "look at it in the ledger's table set_aside")


async def _keep_aside(connection: AsyncConnection, aside: list[BrokenEntry], now_ms: int) -> None:
    """Keep poison once: a stream entry that comes again (a crash before its acknowledgement) is there already."""
    for entry in aside:
        known = await connection.scalar(select(set_aside.c.id).where(set_aside.c.origin == entry.origin))
        if known is None:
            row = {"at_ms": now_ms, "origin": entry.origin, "tenant_id": entry.tenant_id, "payload": entry.payload}
            await connection.execute(insert(set_aside).values(**row, why=entry.why))
