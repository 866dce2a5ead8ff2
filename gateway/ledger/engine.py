"""One way into the database: transactions that either commit whole or raise :class:`LedgerAway`.

SQLite runs in WAL mode with ``synchronous = FULL``: a commit is on the disk when it returns, because the outbox entry
behind it is deleted next.  Writers begin with BEGIN IMMEDIATE, so a tenant's account row is locked from the first
read; inside one process an asyncio lock queues them, so that nobody polls the file lock.

PostgreSQL takes the row locks that the queries ask for by ``with_for_update`` (which SQLite's dialect leaves out), and
READ COMMITTED whatever its database has for a default: everything that must not change between a look and a write is
locked first.  Where it takes a transaction back none the less (a deadlock, or a stricter isolation), the transaction
is carried out again.  A server that hangs is given up after ANSWER_S; what became of the transaction then is unknown,
which does no harm, since everything is booked by an id of its own.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.ledger.errors import Collided, LedgerRefused
from gateway.ledger.faults import away_errors

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for another process's transaction; the settler's longest batch takes well under a second."""

POOL_CONNECTIONS = 4
"""Connections of one process: one writer and a few readers.  Each SQLite connection is a thread."""

CACHE_KIB = 16 * 1024
"""Page cache of a connection: the index of charge ids is hit at random, and SQLite's own 2 MB hold a few days of it."""

CHECKPOINT_PAGES = 4_000
"""Pages (of 4 KiB) in the write-ahead log before they go into the file: pages that every batch touches go once."""

SQLITE_FILE = "ledger.sqlite3"

ISOLATION: Final = "READ COMMITTED"
"""Of PostgreSQL's transactions that write."""

CONNECT_S: Final = 5.0
"""A PostgreSQL that does not take a connection within this time is away: `fund` says so instead of hanging."""

ANSWER_S: Final = 10.0
"""A transaction of PostgreSQL that takes longer is given up: the largest batch takes a tenth of a second, a disk that
catches its breath some seconds."""

LONG_ANSWER_S: Final = 600.0
"""The same for what grows with the ledger: migrations, a whole directory, sums over every row."""

TRIES: Final = 10
"""How often a transaction is carried out that PostgreSQL takes back.  Of those that collide one gets through at each
try, and there are few: one settler, and whoever funds the same tenant at the same moment."""

RETRY_PAUSE_S: Final = 0.05
"""Longest rest before the next try, drawn at random, so that those who collided do not do so in step."""

URL_OPTIONS: Final = frozenset({"host", "port", "ssl"})
"""What may stand behind the question mark of a postgresql:// URL; libpq's ``sslmode`` is taken for ``ssl``."""


def ledger_url(url: str, data_dir: Path) -> str:
    """The SQLAlchemy URL for ``[ledger] url`` (CONTRACT 3): embedded, sqlite:///PATH or postgresql://….

    Raises LedgerRefused where it is none of these.
    """
    if url == "embedded":
        return URL.create("sqlite+aiosqlite", database=str(data_dir / SQLITE_FILE)).render_as_string(False)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # their texts repeat pieces of the URL
        raise _bad_url() from None
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}.get(parsed.get_backend_name())
    if driver is None or not parsed.database or parsed.database == ":memory:":
        raise _bad_url()
    if driver == "postgresql+asyncpg":
        parsed = parsed.set(query=_postgres_options(parsed))
    return parsed.set(drivername=driver).render_as_string(False)


def _postgres_options(url: URL) -> dict[str, str | tuple[str, ...]]:
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    if unknown := sorted(options.keys() - URL_OPTIONS):
        known = ", ".join(sorted(URL_OPTIONS))
        raise LedgerRefused(f"[ledger] url has the option {unknown[0]!r}, which is not known", f"known are {known}")
    return options


def _bad_url() -> LedgerRefused:
    # The URL itself is not shown: it may carry a password.
    return LedgerRefused(
        "[ledger] url is not a database this product knows",
        'write "embedded", "sqlite:///PATH" or "postgresql://USER@HOST/NAME"',
    )


class Database:
    """An engine with the kinds of transaction the ledger knows: :meth:`transact`, :meth:`write`, :meth:`read`."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _engine(url, self.is_sqlite)
        self._writing = self.engine.execution_options(callgate_begin="BEGIN IMMEDIATE")
        alone = {"callgate_begin": ""} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._looking = self.engine.execution_options(**alone)
        self._writers = asyncio.Lock()

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]], *, limit_s: float | None = None) -> T:
        """Carry out ``work`` in a transaction of :meth:`write`, again from its start where that is taken back.

        ``work`` must remember nothing of a try that failed.  Raises LedgerAway, after TRIES collisions too.
        """
        for _ in range(TRIES - 1):
            with contextlib.suppress(Collided):
                async with self.write(limit_s=limit_s) as connection:
                    return await work(connection)
            await asyncio.sleep(random.uniform(0, RETRY_PAUSE_S))
        async with self.write(limit_s=limit_s) as connection:
            return await work(connection)

    @contextlib.asynccontextmanager
    async def write(self, *, limit_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write; commits at the end, rolls back on an exception.  Raises LedgerAway.

        ``limit_s`` (None: ANSWER_S) bounds what PostgreSQL may take for all of it.
        """
        async with self._turn():
            with away_errors():
                async with self._within(limit_s), self._writing.begin() as connection:
                    yield connection

    @contextlib.asynccontextmanager
    async def read(self, *, snapshot: bool = False, limit_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Only reads; with ``snapshot`` all of them see the same moment, else each its own.

        Raises LedgerAway, and LedgerRefused for a text that the database cannot hold and so cannot look for.
        """
        engine = self.engine if snapshot else self._looking
        try:
            with away_errors():
                async with self._within(limit_s), engine.connect() as connection:
                    if snapshot and not self.is_sqlite:
                        await connection.execution_options(isolation_level="REPEATABLE READ")
                    yield connection
        except (DBAPIError, UnicodeEncodeError) as error:  # what is left of them are errors of a value
            raise LedgerRefused("no database can hold what was asked for", "leave out its odd characters") from error

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if not self.is_sqlite:
            yield
            return
        async with self._writers:
            yield

    @contextlib.asynccontextmanager
    async def _within(self, limit_s: float | None) -> AsyncIterator[None]:
        """SQLite has its own patience (BUSY_TIMEOUT_MS), and its thread could not be interrupted."""
        if self.is_sqlite:
            yield
            return
        limit_s = ANSWER_S if limit_s is None else limit_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer within {limit_s:g} s") from error


def _engine(url: str, is_sqlite: bool) -> AsyncEngine:
    if not is_sqlite:
        return _postgres(url)
    engine = create_async_engine(
        url, pool_size=POOL_CONNECTIONS, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "isolation_level": None}
    )
    event.listen(engine.sync_engine, "do_connect", _try_sqlite)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _postgres(url: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=POOL_CONNECTIONS,
        pool_pre_ping=True,  # a server that was restarted meanwhile is no error
        isolation_level=ISOLATION,
        connect_args={"timeout": CONNECT_S},
    )
    event.listen(engine.sync_engine, "connect", _prepare_postgres)
    return engine


def _prepare_postgres(connection: Any, _record: object) -> None:
    """A commit is on the disk when it returns, whatever the server does by default; stricter settings stay."""
    cursor = connection.cursor()
    careless = "current_setting('synchronous_commit') = 'off'"
    cursor.execute(f"SELECT set_config('synchronous_commit', 'on', false) WHERE {careless}")
    cursor.close()
    connection.commit()


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
