"""Whether the ledger can be written, found out without leaving anything in it.

Reading proves nothing: a ledger on a full disk or on one that has become read-only is read from its cache and its open
file as ever.  Nor does a transaction that is rolled back: SQLite in WAL mode takes its write lock in shared memory and
keeps changed pages in its own until the commit (tried: BEGIN IMMEDIATE, UPDATE, ROLLBACK all succeed on a full disk).
So the trial makes SQLite write early: with a cache of next to nothing the pages of a large value go to the write-ahead
log at once, and a disk without room for them refuses.  The rollback gives the log's room back to the next writer.
Nothing is committed and nothing synced: a trial takes some 0.3 ms.

PostgreSQL is asked for a row lock, which a server that is read-only or cannot write refuses; on a full disk it stops
by itself.
"""

import contextlib
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.engine import CACHE_KIB, Database
from gateway.ledger.tables import settings

TRIAL_BYTES: Final = 256 * 1024
"""Room that is asked for, 64 pages: about what a batch of a hundred charges takes."""

TRIAL_CACHE_PAGES: Final = 10
"""SQLite's smallest cache: what exceeds it is written to the log at once."""


class _NothingStays(Exception):  # noqa: N818 - not an error: it rolls the transaction back
    pass


async def try_write(database: Database) -> None:
    """Raise LedgerAway unless a transaction can write now; it is rolled back."""
    with contextlib.suppress(_NothingStays):
        async with database.write() as connection:
            await (_spill(connection) if database.is_sqlite else _lock_row(connection))
            raise _NothingStays


async def _spill(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(f"PRAGMA cache_size = {TRIAL_CACHE_PAGES}")
    try:
        await connection.exec_driver_sql("CREATE TABLE write_trial (value BLOB)")
        await connection.exec_driver_sql("INSERT INTO write_trial VALUES (zeroblob(?))", (TRIAL_BYTES,))
    finally:
        await connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")


async def _lock_row(connection: AsyncConnection) -> None:
    await connection.execute(select(settings.c.value).limit(1).with_for_update())
