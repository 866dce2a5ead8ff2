"""Read the ledger: balances, postings and call records as streams of flat memory.

Streams go page by page along an index (never an open cursor, which would hold SQLite's log back): a page sees what has
been committed when it is read.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.call.record import CallRecord, decode_record
from gateway.ledger import journal
from gateway.ledger.bulk import ByKeys
from gateway.ledger.chain import Line
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.entries import LedgerAccount, MoneyIn, Posting, Totals, WithdrawalEntry
from gateway.ledger.errors import UnknownTenant
from gateway.ledger.tables import CREDIT, accounts, calls, fundings, postings, tenants

PAGE_ROWS = 1_000
"""Rows of one page: some 2 MB of call records."""

IN_CHUNK = 10_000
"""Values in one IN list: below SQLite's 32,766 and PostgreSQL's 32,767 parameters."""


async def account(database: Database, tenant_id: str) -> LedgerAccount:
    """One tenant's account.  Raises UnknownTenant or LedgerAway."""
    found = await read_accounts(database, [tenant_id])
    if not found:
        raise UnknownTenant(tenant_id)
    return found[0]


async def read_accounts(database: Database, tenant_ids: Collection[str] | None) -> list[LedgerAccount]:
    """The accounts of these tenants (None: all) in one snapshot, by tenant id; unknown ones are left out."""
    columns = (
        accounts.c.tenant_id,
        accounts.c.balance_micros,
        accounts.c.seq,
        accounts.c.money_in_seq,
        tenants.c.currency,
        tenants.c.mode,
        tenants.c.credit_limit_micros,
    )
    query = select(*columns).join(tenants).where(accounts.c.name == CREDIT).order_by(accounts.c.tenant_id)
    async with database.read() as connection:
        if tenant_ids is None:
            rows = await connection.execute(query)
        else:
            rows = await ByKeys(query, accounts.c.tenant_id).execute(connection, tenant_ids)
        return [LedgerAccount(*row) for row in rows]


async def money_in_after(database: Database, tenant_id: str, seq: int) -> list[MoneyIn]:
    """Money in with a sequence number > ``seq``, in order: what Redis has not applied yet (MONEY 4)."""
    query = (
        select(fundings.c.tenant_id, fundings.c.seq, fundings.c.amount_micros)
        .where(fundings.c.tenant_id == tenant_id, fundings.c.seq > seq, fundings.c.amount_micros > 0)
        .order_by(fundings.c.seq)
    )
    async with database.read() as connection:
        return [MoneyIn(*row) for row in await connection.execute(query)]


async def has_reference(database: Database, tenant_id: str, reference: str) -> bool:
    """Whether a funding or withdrawal is booked under this reference."""
    mine = (fundings.c.tenant_id == tenant_id) & (fundings.c.reference == reference)
    async with database.read() as connection:
        return await connection.scalar(select(fundings.c.seq).where(mine)) is not None


async def recent_withdrawals(database: Database, since_ms: int) -> list[WithdrawalEntry]:
    """Money out that was booked at ``since_ms`` or later, as it was asked for."""
    query = select(
        fundings.c.reference,
        fundings.c.tenant_id,
        -fundings.c.amount_micros,
        fundings.c.kind,
        fundings.c.actor,
        fundings.c.reason,
    ).where(fundings.c.amount_micros < 0, fundings.c.at_ms >= since_ms)
    async with database.read() as connection:
        return [WithdrawalEntry(*row[:5], reason=row[5]) for row in await connection.execute(query)]


async def booked_charges(database: Database, charge_ids: Collection[str]) -> set[str]:
    """Which of these charge ids stand in the ledger."""
    wanted = list(charge_ids)
    found: set[str] = set()
    async with database.read() as connection:
        for start in range(0, len(wanted), IN_CHUNK):
            chunk = wanted[start : start + IN_CHUNK]
            found.update(await connection.scalars(select(calls.c.charge_id).where(calls.c.charge_id.in_(chunk))))
    return found


async def read_postings(database: Database, tenant_id: str) -> AsyncIterator[Posting]:
    """Every ledger line of a tenant in order.  Raises UnknownTenant or LedgerAway."""
    await account(database, tenant_id)
    async for line in _lines(database, tenant_id):
        yield Posting(
            line.seq,
            line.at_ms,
            line.kind,
            line.amount_micros,
            line.balance_micros,
            line.account,
            line.reference,
            line.charge_id,
        )


async def _lines(database: Database, tenant_id: str) -> AsyncIterator[Line]:
    columns = [postings.c[name] for name in Line.__dataclass_fields__]
    after = 0
    while True:
        query = select(*columns).where(postings.c.tenant_id == tenant_id, postings.c.seq > after)
        async with database.read() as connection:
            rows = (await connection.execute(query.order_by(postings.c.seq).limit(PAGE_ROWS))).all()
        for row in rows:
            yield Line(*row)
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1].seq


async def read_usage(
    database: Database, tenant_id: str, from_ms: int | None, to_ms: int | None, refused: bool
) -> AsyncIterator[CallRecord]:
    """Call records that start in [``from_ms``, ``to_ms``), by start: the answer, or the INVITE where nobody answered.

    Without ``refused`` only answered calls.  Raises UnknownTenant or LedgerAway.
    """
    await account(database, tenant_id)
    wanted: list[ColumnElement[bool]] = [calls.c.tenant_id == tenant_id]
    if to_ms is not None:
        wanted.append(calls.c.start_ms < to_ms)
    if not refused:
        wanted.append(calls.c.answered.is_(True))
    after = (0 if from_ms is None else from_ms, 0)
    while True:
        rows = await _usage_page(database, [*wanted, tuple_(calls.c.start_ms, calls.c.id) > tuple_(*after)])
        for row in rows:
            yield decode_record(row.record)
        if len(rows) < PAGE_ROWS:
            return
        after = (rows[-1].start_ms, rows[-1].id)


async def read_call(database: Database, charge_id: str) -> CallRecord | None:
    """The record kept under a charge id; None where there is none."""
    async with database.read() as connection:
        found = await connection.scalar(select(calls.c.record).where(calls.c.charge_id == charge_id))
    return None if found is None else decode_record(found)


async def _usage_page(database: Database, wanted: list[ColumnElement[bool]]) -> Sequence[Any]:
    query = select(calls.c.start_ms, calls.c.id, calls.c.record).where(*wanted)
    async with database.read() as connection:
        return (await connection.execute(query.order_by(calls.c.start_ms, calls.c.id).limit(PAGE_ROWS))).all()


async def totals(database: Database, tenant_ids: Collection[str] | None) -> list[Totals]:
    """The sums over each tenant's postings, call records and accounts, in one snapshot; reads every row."""
    async with database.read(snapshot=True, limit_s=LONG_ANSWER_S) as connection:
        balances = await _sums(connection, accounts.c.tenant_id, accounts.c.balance_micros, accounts.c.name == CREDIT)
        sides = await _sums(connection, accounts.c.tenant_id, accounts.c.balance_micros)
        lines = await _sums(connection, postings.c.tenant_id, postings.c.amount_micros)
        charges = postings.c.kind == journal.CHARGE
        charged = await _sums(connection, postings.c.tenant_id, postings.c.amount_micros, charges)
        records = await _sums(connection, calls.c.tenant_id, calls.c.charge_micros)
    wanted = balances if tenant_ids is None else [tenant for tenant in tenant_ids if tenant in balances]
    return [
        Totals(
            tenant,
            balances[tenant],
            lines.get(tenant, 0),
            -charged.get(tenant, 0),
            records.get(tenant, 0),
            sides[tenant],
        )
        for tenant in wanted
    ]


async def _sums(
    connection: AsyncConnection, tenant: Column[str], amount: Column[int], where: ColumnElement[bool] | None = None
) -> dict[str, int]:
    query = select(tenant, func.sum(amount)).group_by(tenant)
    rows = await connection.execute(query if where is None else query.where(where))
    return {row[0]: int(row[1]) for row in rows}
