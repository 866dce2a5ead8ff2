"""Minutes used of pools and money counted against spending limits, by tenant, name and period.

Moved in the transaction that books the charge, so each call counts once.  Redis has the counters that decide; these say
what they are made anew from when Redis was lost (MONEY 6), and what reports show.  What is booked without minutes or
limits costs nothing here.

A ``minutes`` counter has the name of its pool and the month as label (``2026-11``); a ``spent`` counter the limit's
``SCOPE/PERIOD`` and the hour, day or month in the tenant's time zone.  What an operator released of such a limit is
``released`` under the same name and label: Redis says the sum, so it is noted once however often it is said.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.engine import Database
from gateway.ledger.entries import CallEntry
from gateway.ledger.tables import counters

MINUTES: Final = "minutes"
SPENT: Final = "spent"
RELEASED: Final = "released"

Key = tuple[str, str, str, str]
"""Tenant, kind, name and label."""

OPEN: Final = {7: timedelta(days=40), 10: timedelta(days=3), 13: timedelta(days=2)}
"""By the length of a label (month, day, hour), how long its period may still matter: it began in some time zone before
now, and a call that lasts hours may end in the next one."""


_OF_PERIODS: Final = frozenset({"used", "held", "spent", "released", "closed"})
"""Counters of Redis that are of a period; what calls hold of one that is over so long is nothing."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Minutes that were used of a pool in a month (``2026-11``)."""

    pool: str
    month: str
    minutes: int


def count(moved: Counter[Key], entry: CallEntry) -> None:
    """Add what a call used and spent."""
    for pool, month, minutes in entry.minutes:
        moved[entry.tenant_id, MINUTES, pool, month] += minutes
    for scope, label, micros in entry.spent:
        moved[entry.tenant_id, SPENT, scope, label] += micros


async def move(connection: AsyncConnection, moved: Mapping[Key, int]) -> None:
    """Write the sums; inside the transaction that books the calls."""
    if moved:
        columns = ("tenant_id", "kind", "name", "label", "amount")
        rows = [dict(zip(columns, (*key, amount), strict=True)) for key, amount in sorted(moved.items())]
        await connection.execute(_upsert(connection.dialect.name), rows)


def _upsert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert(counters) if dialect == "postgresql" else sqlite.insert(counters)
    added = {"amount": counters.c.amount + insert.excluded.amount}
    return insert.on_conflict_do_update(index_elements=list(counters.primary_key.columns), set_=added)


async def read_pool_use(database: Database, tenant_id: str, month: str) -> list[PoolUse]:
    """Minutes used in a month (``2026-11``; empty: in every month), by pool and month."""
    mine = (counters.c.tenant_id == tenant_id) & (counters.c.kind == MINUTES)
    if month:
        mine &= counters.c.label == month
    wanted = select(counters.c.name, counters.c.label, counters.c.amount).where(mine)
    async with database.read() as connection:
        rows = await connection.execute(wanted.order_by(counters.c.label, counters.c.name))
        return [PoolUse(*row) for row in rows]


async def read_open(database: Database, now_ms: int, kind: str = "") -> dict[str, dict[str, int]]:
    """By tenant, the counters of periods that are not over, under the names they have in Redis
    (gateway/credit/scripts/lib/drawn.lua); of one ``kind`` where it is given."""
    found: dict[str, dict[str, int]] = {}
    wanted = select(counters).where(_open(now_ms))
    async with database.read() as connection:
        for row in await connection.execute(wanted.where(counters.c.kind == kind) if kind else wanted):
            word = "used" if row.kind == MINUTES else row.kind
            found.setdefault(row.tenant_id, {})[f"{word} {row.name} {row.label}"] = row.amount
    for fields in found.values():
        _take_off(fields)
    return found


def _take_off(fields: dict[str, int]) -> None:
    """What was released counts no more.  Below zero where its charges are not booked yet: they will be counted then."""
    for field, micros in list(fields.items()):
        word, _, rest = field.partition(" ")
        if word == RELEASED:
            fields[f"{SPENT} {rest}"] = fields.get(f"{SPENT} {rest}", 0) - micros


async def note_released(database: Database, tenant_id: str, scope: str, label: str, total_micros: int) -> None:
    """Remember that so much was released of ``SCOPE/PERIOD`` in its period, all releases together; never lowers it."""
    row = {"tenant_id": tenant_id, "kind": RELEASED, "name": scope, "label": label, "amount": total_micros}
    async with database.write() as connection:
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        adding = make(counters).values(row)
        more = adding.excluded.amount > counters.c.amount
        kept = {"amount": adding.excluded.amount}
        await connection.execute(
            adding.on_conflict_do_update(index_elements=list(counters.primary_key.columns), set_=kept, where=more)
        )


async def forget_spent(database: Database, now_ms: int) -> None:
    """Take away what was counted against spending limits of periods that are over: nobody asks for it, and it is a row
    for each user and hour, day or month.  Minutes stay, for reports."""
    async with database.write() as connection:
        await connection.execute(delete(counters).where(counters.c.kind != MINUTES, ~_open(now_ms)))


def is_over(field: str, now_ms: int) -> bool:
    """Whether a counter of Redis, by its field there, is of a period that cannot matter any more."""
    label = field.rpartition(" ")[2]
    return len(label) in OPEN and field.partition(" ")[0] in _OF_PERIODS and label < _bound(now_ms, len(label))


def _open(now_ms: int) -> ColumnElement[bool]:
    length = func.length(counters.c.label)
    return or_(*(and_(length == digits, counters.c.label >= _bound(now_ms, digits)) for digits in OPEN))


def _bound(now_ms: int, digits: int) -> str:
    return (datetime.fromtimestamp(now_ms / 1000, UTC) - OPEN[digits]).strftime("%Y-%m-%dT%H")[:digits]
