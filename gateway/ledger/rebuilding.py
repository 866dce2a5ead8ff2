"""What the ledger remembers of the Redis above it, and who may rebuild it (MONEY 6).

One row says the highest epoch that was ever begun, who is rebuilding, and until when that holds without being said
again.  The number is what makes a rebuild exact, not the lock: it is raised in the same transaction that takes the
lock, every booking is checked against it (:func:`check_epoch`), and Redis moves by it, so a leader that lost its lock
without noticing finds all doors shut.  The lock only keeps two leaders from undoing each other's work again and again;
``until_ms`` is the wall clock of who holds it, and a clock that is wrong costs a rebuild, never money.

Outbox marks are evidence.  Of each partition the last outbox entry that was booked is noted in the booking
transaction; Redis must either still have that entry or say itself that it was booked last.  A Redis that does neither
is one from the past: a replica, a backup, a file that was cut back.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.bulk import Bulk
from gateway.ledger.engine import Database
from gateway.ledger.entries import BookedCharge
from gateway.ledger.errors import EpochPassed, RebuildHeld
from gateway.ledger.reading import IN_CHUNK
from gateway.ledger.tables import calls, outbox_marks, postings, rebuilds

LOCK_MS: Final = 3_000
"""How long a leader may say nothing: it says so at every step, the longest of which takes under a second; and a leader
that was killed is followed soon enough for a rebuild within five seconds of the follower's look."""

_ROW: Final = 1

_MOVE_MARK = Bulk(
    update(outbox_marks).where(outbox_marks.c.number == bindparam("of")).values(entry_id=bindparam("mark")),
    "mark",
    "of",
)
_ADD_MARK = Bulk(insert(outbox_marks), "number", "entry_id")


async def read_epoch(database: Database) -> int:
    """The highest epoch that was ever begun; 0 where this ledger never had a Redis."""
    async with database.read() as connection:
        return int(await connection.scalar(select(rebuilds.c.epoch)) or 0)


async def begin(database: Database, holder: str, at_least: int, now_ms: int) -> int:
    """Take the lock for ``holder`` and the next epoch, above ``at_least`` too; its number.

    Raises RebuildHeld where another one holds the lock.
    """
    async with database.write() as connection:
        row = (await connection.execute(select(rebuilds).with_for_update())).one()
        if row.holder not in {"", holder} and row.until_ms > now_ms:
            raise RebuildHeld(f"Redis is being rebuilt by {row.holder}", "look again in a moment")
        number: int = max(row.epoch, at_least) + 1
        await _write(connection, epoch=number, holder=holder, until_ms=now_ms + LOCK_MS)
    return number


async def adopt(database: Database, number: int) -> None:
    """Remember the epoch of a Redis that was opened before the ledger remembered epochs; never lowers it."""
    async with database.write() as connection:
        await connection.execute(update(rebuilds).where(rebuilds.c.epoch < number).values(epoch=number))


async def renew(database: Database, holder: str, number: int, now_ms: int) -> None:
    """Hold the lock for another LOCK_MS.  Raises RebuildHeld where another one has taken over."""
    async with database.write() as connection:
        await _held(connection, holder, number)
        await _write(connection, until_ms=now_ms + LOCK_MS)


async def end(database: Database, holder: str, number: int) -> None:
    """Give the lock free.  Raises RebuildHeld where another one has taken over."""
    async with database.write() as connection:
        await _held(connection, holder, number)
        await _write(connection, holder="", until_ms=0)


async def _held(connection: AsyncConnection, holder: str, number: int) -> None:
    row = (await connection.execute(select(rebuilds).with_for_update())).one()
    if (row.holder, row.epoch) != (holder, number):
        raise RebuildHeld(f"epoch {row.epoch} has begun since", "look again in a moment")


async def _write(connection: AsyncConnection, **values: int | str) -> None:
    await connection.execute(update(rebuilds).where(rebuilds.c.id == _ROW).values(**values))


async def check_epoch(connection: AsyncConnection, epoch: int) -> None:
    """Inside a booking transaction: no rebuild has begun since ``epoch`` was opened, nor begins before the commit.

    Raises EpochPassed.
    """
    if await connection.scalar(select(rebuilds.c.epoch).with_for_update(read=True)) != epoch:
        raise EpochPassed(f"Redis has left epoch {epoch}", "read its outbox again")


async def move_marks(connection: AsyncConnection, marks: Mapping[int, str]) -> None:
    """Inside a booking transaction: note the last outbox entry of each of these partitions."""
    known = set(await connection.scalars(select(outbox_marks.c.number))) if marks else set()
    rows = [(mark, number) for number, mark in marks.items() if number in known]
    await _MOVE_MARK.execute(connection, rows)
    await _ADD_MARK.execute(connection, [(number, mark) for number, mark in marks.items() if number not in known])


async def read_marks(database: Database) -> dict[int, str]:
    """The last booked outbox entry of each partition that ever had one."""
    async with database.read() as connection:
        rows = await connection.execute(select(outbox_marks.c.number, outbox_marks.c.entry_id))
        return {row.number: row.entry_id for row in rows}


async def read_charges(database: Database, charge_ids: Collection[str]) -> dict[str, BookedCharge]:
    """Those of these charges that are booked, by id."""
    wanted = list(charge_ids)
    columns = (calls.c.charge_id, calls.c.charge_micros, calls.c.talk_ms)
    found: dict[str, BookedCharge] = {}
    async with database.read() as connection:
        for start in range(0, len(wanted), IN_CHUNK):
            chunk = wanted[start : start + IN_CHUNK]
            rows = await connection.execute(select(*columns).where(calls.c.charge_id.in_(chunk)))
            found |= {row.charge_id: BookedCharge(row.charge_micros, row.talk_ms) for row in rows}
    return found


async def tenants_charged(database: Database, tenant_ids: Iterable[str]) -> set[str]:
    """Those of these tenants from whom money was ever taken: Redis must have had an account of theirs."""
    charged: set[str] = set()
    async with database.read() as connection:
        for tenant_id in tenant_ids:
            mine = (postings.c.tenant_id == tenant_id) & (postings.c.amount_micros < 0)
            if await connection.scalar(select(postings.c.seq).where(mine).limit(1)) is not None:
                charged.add(tenant_id)
    return charged
