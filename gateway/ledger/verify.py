"""Is the ledger what was booked?  Each tenant's chain walked from its first line, against its account, what stands
beside each line, and the heads that were kept outside (gateway.ledger.heads).

What each part notices: the chain itself a line that was changed, put in or taken out; the account a tail that was cut
off by somebody who did not know of it; the digests a call record or the actor and reason of a funding that were
changed; the kept heads a tail that was cut off properly, or a chain that was made anew as a whole.  Not noticed are
lines after the newest kept head that were changed together with all behind them, and what never had a posting: records
of free and refused calls.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import journal
from gateway.ledger.chain import GENESIS, Line, Tail, first_fault, funding_digest
from gateway.ledger.engine import Database
from gateway.ledger.entries import ChainVerdict, Head
from gateway.ledger.errors import UnknownTenant
from gateway.ledger.reading import PAGE_ROWS
from gateway.ledger.tables import CREDIT, accounts, calls, fundings, postings

Kept = Mapping[int, tuple[bytes, str]]
"""Of one tenant by line number: the hash that was kept outside, and since which day."""

HEADS_AT_ONCE: Final = 1_000
"""Heads looked for in one query: two parameters each, well below what either database takes."""

GROWING: Final = ("postings", "fundings", "calls", "audit")
"""Tables whose rows can only be added."""

_SQLITE = ("insert", "delete", "update")
TRIGGERS: Final = {
    "sqlite": frozenset(
        {f"{table}_append_only_{event}" for table in GROWING for event in _SQLITE}
        | {"accounts_append_only_insert", "accounts_append_only_delete", "accounts_follow_postings"}
    ),
    "postgresql": frozenset(
        {f"{table}_append_only" for table in (*GROWING, "accounts")} | {"accounts_follow_postings"}
    ),
}
"""What the migrations make, so that nobody changes what was booked."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside a posting in other tables; None where it is not there."""

    record: bytes | None
    charge_micros: int | None
    funding: tuple[str, int, str, str] | None
    """Kind, amount, actor, reason."""


async def missing_triggers(database: Database) -> list[str]:
    """The triggers that were dropped or switched off.  Raises LedgerAway."""
    async with database.read() as connection:
        return sorted(TRIGGERS[connection.dialect.name] - await connection.run_sync(_triggers))


def _triggers(connection: Any) -> set[str]:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    else:
        rows = connection.exec_driver_sql("SELECT tgname FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgisinternal")
    return {row[0] for row in rows}


async def read_heads(database: Database) -> list[Head]:
    """Where every tenant's chain ends now, by tenant; without those that have no line.  Raises LedgerAway."""
    query = select(accounts.c.tenant_id, accounts.c.seq, accounts.c.head).where(accounts.c.name == CREDIT)
    async with database.read() as connection:
        rows = await connection.execute(query.where(accounts.c.seq > 0).order_by(accounts.c.tenant_id))
        return [Head(*row) for row in rows]


async def lost_heads(database: Database, kept: Sequence[Head]) -> list[Head]:
    """Those of ``kept`` whose line is not there any more, or is another one.  Raises LedgerAway."""
    lost: list[Head] = []
    for start in range(0, len(kept), HEADS_AT_ONCE):
        some = kept[start : start + HEADS_AT_ONCE]
        async with database.read() as connection:
            there = await _hashes(connection, some)
        lost += [head for head in some if there.get((head.tenant_id, head.seq)) != head.hash]
    return lost


async def _hashes(connection: AsyncConnection, heads: Sequence[Head]) -> dict[tuple[str, int], bytes]:
    keys = [(head.tenant_id, head.seq) for head in heads]
    query = select(postings.c.tenant_id, postings.c.seq, postings.c.hash)
    rows = await connection.execute(query.where(tuple_(postings.c.tenant_id, postings.c.seq).in_(keys)))
    return {(row.tenant_id, row.seq): row.hash for row in rows}


async def verify_chain(database: Database, tenant_id: str, kept: Kept) -> ChainVerdict:
    """Check every line of a tenant from the first to the account's head, what stands beside it, and ``kept``.

    A tenant with kept heads whose account is gone is a broken one.  Raises UnknownTenant or LedgerAway.
    """
    head = await _account(database, tenant_id)
    if head is None:
        if not kept:
            raise UnknownTenant(tenant_id)
        return ChainVerdict(tenant_id, 0, GENESIS, 1, "its account and all its lines are gone")
    tail, missing_records = Tail(tenant_id), 0
    async for line, beside in _lines_and_beside(database, tenant_id, head.seq):
        why = _chain_fault(tail, line) or _beside_fault(line, beside) or _kept_fault(line, kept)
        if why:
            return ChainVerdict(tenant_id, head.seq, head.head, line.seq, why)
        missing_records += line.kind == journal.CHARGE and beside.record is None
    why = _end_fault(tail, head, kept)
    if why:
        return ChainVerdict(tenant_id, head.seq, head.head, tail.seq + 1, why)
    proved = max((seq for seq in kept if seq <= tail.seq), default=0)
    return ChainVerdict(tenant_id, head.seq, head.head, proved_seq=proved, missing_records=missing_records)


def _chain_fault(tail: Tail, line: Line) -> str:
    fault = first_fault(tail, [line])
    return fault[1] if fault else ""


def _beside_fault(line: Line, beside: _Beside) -> str:
    """Records may have been deleted, but one that is there must be the one that was charged."""
    if line.kind == journal.CHARGE:
        if beside.record is not None and sha256(beside.record).digest() != line.record_sha256:
            return "its call record is not the one that was charged"
        if beside.charge_micros not in (None, -line.amount_micros):
            return "its call record stands there with another charge"
        return ""
    if beside.funding is None:
        return "its funding is gone"
    kind, amount, actor, reason = beside.funding
    if (kind, amount) != (line.kind, line.amount_micros):
        return "its funding is another one"
    if line.record_sha256 and funding_digest(actor, reason) != line.record_sha256:
        return "its actor or reason is not what was booked"
    return ""


def _kept_fault(line: Line, kept: Kept) -> str:
    found = kept.get(line.seq)
    if found is None or found[0] == line.hash:
        return ""
    return f"it is not the line whose hash was kept on {found[1]}: it, or one before it, was made anew"


def _end_fault(tail: Tail, head: Tail, kept: Kept) -> str:
    if (tail.seq, tail.balance_micros, tail.head) != (head.seq, head.balance_micros, head.head):
        return "the account ends elsewhere than its lines"
    last = max(kept, default=0)
    if last > tail.seq:
        return f"the lines from here to {last} are gone: they were there on {kept[last][1]}"
    return ""


async def _account(database: Database, tenant_id: str) -> Tail | None:
    columns = [accounts.c[name] for name in ("tenant_id", "balance_micros", "seq", "money_in_seq", "head")]
    query = select(*columns).where(accounts.c.tenant_id == tenant_id, accounts.c.name == CREDIT)
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    return None if row is None else Tail(*row)


async def _lines_and_beside(database: Database, tenant_id: str, up_to: int) -> AsyncIterator[tuple[Line, _Beside]]:
    columns = [postings.c[name] for name in Line.__dataclass_fields__]
    money = [fundings.c[name].label(f"funding_{name}") for name in ("kind", "amount_micros", "actor", "reason")]
    joined = postings.outerjoin(calls, calls.c.charge_id == postings.c.charge_id).outerjoin(
        fundings, (fundings.c.tenant_id == postings.c.tenant_id) & (fundings.c.seq == postings.c.seq)
    )
    after = 0
    while after < up_to:
        query = (
            select(*columns, calls.c.record, calls.c.charge_micros, *money)
            .select_from(joined)
            .where(postings.c.tenant_id == tenant_id, postings.c.seq > after, postings.c.seq <= up_to)
            .order_by(postings.c.seq)
            .limit(PAGE_ROWS)
        )
        async with database.read() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            line, (record, charge, *funding) = Line(*row[: len(columns)]), row[len(columns) :]
            yield line, _Beside(record, charge, None if funding[0] is None else tuple(funding))
        if not rows:
            return
        after = rows[-1].seq
