"""One way into the database: transactions that either commit whole or raise :class:`LedgerAway`.

SQLite runs in WAL mode with ``synchronous = FULL``: a commit is on the disk when it returns, because the outbox entry
behind it is deleted next.  Writers begin with BEGIN IMMEDIATE, so a tenant's account row is locked from the first
read; inside one process an asyncio lock queues them, so that nobody polls the file lock.  PostgreSQL takes the row
locks that the queries ask for by ``with_for_update`` (which SQLite's dialect leaves out).

Which database errors mean "away" and which mean "this row cannot be stored" is decided here and nowhere else.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.ledger.errors import LedgerAway, LedgerRefused

BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for another process's transaction; the settler's longest batch takes well under a second."""

POOL_CONNECTIONS = 4
"""Connections of one process: one writer and a few readers.  Each SQLite connection is a thread."""

CACHE_KIB = 16 * 1024
"""Page cache of a connection: the index of charge ids is hit at random, and SQLite's own 2 MB hold a few days of it."""

CHECKPOINT_PAGES = 4_000
"""Pages (of 4 KiB) in the write-ahead log before they go into the file: pages that every batch touches go once."""

SQLITE_FILE = "ledger.sqlite3"


def ledger_url(url: str, data_dir: Path) -> str:
    """The SQLAlchemy URL for ``[ledger] url`` (CONTRACT 3): embedded, sqlite:///PATH or postgresql://….

    Raises LedgerRefused where it is none of these.
    """
    if url == "embedded":
        return URL.create("sqlite+aiosqlite", database=str(data_dir / SQLITE_FILE)).render_as_string(False)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url() from error
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}.get(parsed.get_backend_name())
    if driver is None or not parsed.database or parsed.database == ":memory:":
        raise _bad_url()
    return parsed.set(drivername=driver).render_as_string(False)


def _bad_url() -> LedgerRefused:
    # The URL itself is not shown: it may carry a password.
    return LedgerRefused(
        "[ledger] url is not a database this product knows",
        'write "embedded", "sqlite:///PATH" or "postgresql://USER@HOST/NAME"',
    )


class Database:
    """An engine with the two kinds of transaction the ledger knows: :meth:`write` and :meth:`read`."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _engine(url, self.is_sqlite)
        self._writing = self.engine.execution_options(callgate_begin="BEGIN IMMEDIATE")
        self._looking = self.engine.execution_options(callgate_begin="")
        self._writers = asyncio.Lock()

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write; commits at the end, rolls back on an exception.  Raises LedgerAway."""
        async with self._turn():
            with away_errors():
                async with self._writing.begin() as connection:
                    yield connection

    @contextlib.asynccontextmanager
    async def read(self, *, snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
        """Only reads; with ``snapshot`` all of them see the same moment, else each its own.  Raises LedgerAway."""
        with away_errors():
            async with (self.engine if snapshot else self._looking).connect() as connection:
                if snapshot and not self.is_sqlite:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if not self.is_sqlite:
            yield
            return
        async with self._writers:
            yield


def _engine(url: str, is_sqlite: bool) -> AsyncEngine:
    if not is_sqlite:
        return create_async_engine(url, pool_size=POOL_CONNECTIONS, pool_pre_ping=True)
    engine = create_async_engine(
        url, pool_size=POOL_CONNECTIONS, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None}
    )
    event.listen(engine.sync_engine, "do_connect", _try_sqlite)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _try_sqlite(_dialect: object, _record: object, words: list[Any], _options: object) -> None:
    """Open the file once without a thread: where that fails, aiosqlite would leave a thread of its own behind."""
    with contextlib.closing(sqlite3.connect(words[0], timeout=0)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A single SELECT is a snapshot by itself; a BEGIN around it would be three trips to the connection's thread.
    begin = connection.get_execution_options().get("callgate_begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


@contextlib.contextmanager
def away_errors() -> Iterator[None]:
    """Turn "the database cannot do this now" into LedgerAway; errors of the row itself pass (:func:`is_row_error`)."""
    try:
        yield
    except DBAPIError as error:
        if is_row_error(error):
            raise
        raise _away(str(error.orig)) from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise _away(str(error)) from error


def is_row_error(error: BaseException) -> bool:
    """Whether the database refused what a row says (it will refuse it again), not whether it could not work."""
    if isinstance(error, DataError | IntegrityError):
        return True
    # asyncpg refuses a value before it is sent, with a DataError of its own that SQLAlchemy calls a plain Error.
    return isinstance(error, DBAPIError) and type(getattr(error.orig, "__cause__", None)).__name__ == "DataError"


_HINTS = (
    ("full", "make room on its disk; charges wait meanwhile and are booked then"),
    ("disk I/O", "look at its disk (full, quota or failing?); charges wait meanwhile and are booked then"),
    ("locked", "another process holds it; try again, and look for a long-running transaction"),
    ("readonly", "give the user this runs as the right to write the file and its folder"),
    ("unable to open", "make the folder of [ledger] url (or node.data_dir) and let this user write there"),
    ("no such table", "start `callgate serve` or `callgate provision` once: they make the tables"),
    ("malformed", "the file is damaged: restore it from a backup"),
)


def _away(what: str) -> LedgerAway:
    hint = next((hint for sign, hint in _HINTS if sign in what), "check [ledger] url and that the database runs")
    return LedgerAway(f"the ledger is away ({what})", hint)
