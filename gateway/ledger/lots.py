"""Lots in the ledger: made where money comes in, used by charges, forfeited a year later (policy.lots has the rules).

Whoever changes a tenant's lots holds the lock of its account, and in the same transaction the account moves by as much.
So at every commit what is left of a tenant's lots is its balance, or nothing where that is negative; :func:`faults`
looks for where it is not.  Booking a batch reads the open lots of its tenants once and writes them once.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Select, bindparam, case, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import notices
from gateway.ledger.bulk import Bulk, ByKeys
from gateway.ledger.chain import Line
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.errors import UnknownTenant
from gateway.ledger.notices import Notice
from gateway.ledger.tables import CREDIT, accounts, fundings, lots, tenants
from gateway.moments import iso_utc
from policy.lots import WARN_MS, Lot, expiry_of, forfeit, take, worth_of
from rating.money import format_amount

Source = Literal["manual", "auto"]

DUE_EACH: Final = 500
"""Lots looked at in one turn of the expiry."""

WHOLE: Final = (lots.c.seq, lots.c.purchased_ms, lots.c.expires_ms, lots.c.remaining_micros)


@dataclass(frozen=True, slots=True)
class LotView:
    """A lot with what was paid for it.  ``source`` is ``auto`` of a recharge; ``kind``, ``reference``: of its funding.

    ``parts`` counts how often something of it was forfeited: where calls held the rest, it took more than once.
    """

    tenant_id: str
    seq: int
    purchased_ms: int
    amount_micros: int
    remaining_micros: int
    expires_ms: int
    source: str
    parts: int
    kind: str
    reference: str


@dataclass(frozen=True, slots=True)
class LotFault:
    """A tenant whose lots do not add up to its balance (or to nothing below zero)."""

    tenant_id: str
    balance_micros: int
    lots_micros: int


async def add(connection: AsyncConnection, line: Line, source: Source) -> None:
    """Make the lot of a posting of money in, inside its transaction."""
    values = {
        "tenant_id": line.tenant_id,
        "seq": line.seq,
        "purchased_ms": line.at_ms,
        "amount_micros": line.amount_micros,
        "remaining_micros": worth_of(line.amount_micros, line.balance_micros),
        "expires_ms": expiry_of(line.at_ms),
        "source": source,
        "warned": False,
        "parts": 0,
    }
    await connection.execute(insert(lots).values(values))


_OPEN = ByKeys(
    select(lots.c.tenant_id, *WHOLE).where(lots.c.remaining_micros > 0).order_by(lots.c.purchased_ms, lots.c.seq),
    lots.c.tenant_id,
)
_MOVE = Bulk(
    update(lots)
    .where(lots.c.tenant_id == bindparam("of"), lots.c.seq == bindparam("number"))
    .values(remaining_micros=bindparam("left")),
    "left",
    "of",
    "number",
)


class Purses:
    """The open lots of the tenants of a batch while it is being booked, between one read and one write."""

    def __init__(self, found: dict[str, list[Lot]]) -> None:
        self._open = found
        self._changed: dict[tuple[str, int], Lot] = {}
        self._parted: list[tuple[str, int]] = []

    def spend(self, tenant_id: str, amount_micros: int, at_ms: int) -> None:
        """Take what was spent at ``at_ms``."""
        self._keep(tenant_id, take(self._open.get(tenant_id, ()), amount_micros, at_ms))

    def forfeit(self, tenant_id: str, seq: int, amount_micros: int) -> int:
        """Take what an expiry took of a lot; what it took beyond that, which is the tenant's."""
        changed, excess = forfeit(self._open.get(tenant_id, ()), seq, amount_micros)
        self._keep(tenant_id, changed)
        self._parted.append((tenant_id, seq))
        return excess

    def _keep(self, tenant_id: str, changed: Sequence[Lot]) -> None:
        for lot in changed:
            self._changed[tenant_id, lot.seq] = lot

    async def write(self, connection: AsyncConnection) -> None:
        """Write the lots that changed, inside the transaction that moves their accounts."""
        await _MOVE.execute(connection, [(lot.remaining_micros, of, seq) for (of, seq), lot in self._changed.items()])
        for of, seq in self._parted:
            mine = (lots.c.tenant_id == of, lots.c.seq == seq)
            await connection.execute(update(lots).where(*mine).values(parts=lots.c.parts + 1))


async def open_purses(connection: AsyncConnection, tenant_ids: Collection[str]) -> Purses:
    """The open lots of tenants whose accounts are locked."""
    found: defaultdict[str, list[Lot]] = defaultdict(list)
    if tenant_ids:
        for row in await _OPEN.execute(connection, tenant_ids):
            lot = Lot(row.seq, row.purchased_ms, row.expires_ms, row.remaining_micros)
            found[row.tenant_id].append(lot)
    return Purses(found)


_VIEW: Select[Any] = (
    select(
        *(lots.c[name] for name in LotView.__dataclass_fields__ if name in lots.c),
        fundings.c.kind,
        fundings.c.reference,
    )
    .join(fundings, (fundings.c.tenant_id == lots.c.tenant_id) & (fundings.c.seq == lots.c.seq))
    .order_by(lots.c.purchased_ms, lots.c.seq)
)


async def read(database: Database, tenant_id: str, *, spent: bool) -> list[LotView]:
    """A tenant's lots, oldest first; with ``spent`` also those of which nothing is left.  Raises UnknownTenant."""
    wanted = _VIEW.where(lots.c.tenant_id == tenant_id)
    async with database.read() as connection:
        if await connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant_id)) is None:
            raise UnknownTenant(tenant_id)
        rows = await connection.execute(wanted if spent else wanted.where(lots.c.remaining_micros > 0))
        return [LotView(*row) for row in rows]


async def read_expired(database: Database, by_ms: int, after: LotView | None = None) -> list[LotView]:
    """At most DUE_EACH lots that expired at ``by_ms`` or before and are not forfeited yet, of prepaid tenants.

    The longest expired first; ``after`` goes on behind one of them, so that lots that cannot be forfeited now, however
    many, keep none from its turn.
    """
    place = (lots.c.expires_ms, lots.c.tenant_id, lots.c.seq)
    wanted = _VIEW.join(tenants, tenants.c.id == lots.c.tenant_id).where(
        lots.c.remaining_micros > 0, lots.c.expires_ms <= by_ms, tenants.c.mode == "prepaid"
    )
    if after is not None:
        wanted = wanted.where(tuple_(*place) > tuple_(after.expires_ms, after.tenant_id, after.seq))
    async with database.read() as connection:
        return [LotView(*row) for row in await connection.execute(wanted.order_by(*place).limit(DUE_EACH))]


async def warn(database: Database, now_ms: int) -> int:
    """Note, once for each, the lots that expire within WARN_MS; how many there were.  Raises LedgerAway."""
    due = (
        lots.c.remaining_micros > 0, lots.c.expires_ms <= now_ms + WARN_MS, lots.c.expires_ms > now_ms,
        lots.c.warned.is_(False), tenants.c.mode == "prepaid",
    )  # fmt: skip
    wanted = select(lots.c.tenant_id, *WHOLE).join(tenants, tenants.c.id == lots.c.tenant_id).where(*due)
    async with database.read() as connection:
        if (await connection.execute(wanted.limit(1))).first() is None:
            return 0

    async def work(connection: AsyncConnection) -> int:
        found = (await connection.execute(wanted.limit(DUE_EACH))).all()
        for row in found:
            mine = (lots.c.tenant_id == row.tenant_id, lots.c.seq == row.seq)
            await connection.execute(update(lots).where(*mine).values(warned=True))
        await notices.add(connection, [_expiring(row, now_ms) for row in found])
        return len(found)

    return await database.transact(work)


def _expiring(row: Any, now_ms: int) -> Notice:
    figures = {
        "lot": str(row.seq),
        "amount": format_amount(row.remaining_micros),
        "purchased_at": iso_utc(row.purchased_ms, "seconds"),
        "expires_at": iso_utc(row.expires_ms, "seconds"),
    }
    return Notice(row.tenant_id, "lot.expiring", f"lot:{row.seq}", now_ms, figures)


def expired(tenant_id: str, seq: int, part: str, amount_micros: int, balance_micros: int, now_ms: int) -> Notice:
    """That something of a lot was forfeited; ``part`` is the reference of its posting."""
    figures = {
        "lot": str(seq),
        "amount": format_amount(amount_micros),
        "balance": format_amount(balance_micros),
    }
    return Notice(tenant_id, "lot.expired", part, now_ms, figures)


async def faults(database: Database, tenant_ids: Collection[str] | None = None) -> list[LotFault]:
    """Tenants (None: of all) whose lots are not what their balance says; reads every open lot.  Raises LedgerAway."""
    left = (
        select(lots.c.tenant_id, func.sum(lots.c.remaining_micros).label("left"))
        .where(lots.c.remaining_micros > 0)
        .group_by(lots.c.tenant_id)
        .subquery()
    )
    sums, balance = func.coalesce(left.c.left, 0), accounts.c.balance_micros
    wanted = (
        select(accounts.c.tenant_id, balance, sums)
        .outerjoin(left, left.c.tenant_id == accounts.c.tenant_id)
        .where(accounts.c.name == CREDIT, sums != case((balance > 0, balance), else_=0))
        .order_by(accounts.c.tenant_id)
    )
    if tenant_ids is not None:
        wanted = wanted.where(accounts.c.tenant_id.in_(list(tenant_ids)))
    async with database.read(limit_s=LONG_ANSWER_S) as connection:
        return [LotFault(row[0], int(row[1]), int(row[2])) for row in await connection.execute(wanted)]
