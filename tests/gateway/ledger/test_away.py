"""The ledger away: nothing is half booked, the error says what to do, and all is well again afterwards."""

import asyncio
import contextlib
import resource
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from gateway.config.provisioning import Provisioning
from gateway.ledger import CallEntry, Ledger, LedgerAway, LedgerBehind, engine

Call = Callable[..., CallEntry]


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """What goes wrong with a file goes wrong with SQLite."""
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


async def all_postings(ledger: Ledger) -> int:
    return len([posting async for posting in ledger.postings("contoso")])


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: what a full disk or quota feels like to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_books_nothing_and_later_everything(ledger: Ledger, call: Call, tmp_path: Path) -> None:
    await ledger.fund("contoso", 1_000_000, "r1")
    entries = [call() for _ in range(200)]
    size = sum(file.stat().st_size for file in tmp_path.glob("ledger*"))
    with file_limit(size), pytest.raises(LedgerAway, match="charges wait meanwhile"):
        await ledger.book(entries)
    assert await all_postings(ledger) == 1
    assert (await ledger.book(entries)).booked == 200
    assert (await ledger.verify_chain("contoso")).intact


async def test_a_full_disk_is_noticed_without_booking_anything(ledger: Ledger, call: Call, tmp_path: Path) -> None:
    """A transaction that is rolled back is none the wiser: what has to be tried is the room."""
    await ledger.fund("contoso", 1_000_000, "r1")
    await ledger.try_write()
    before = (tmp_path / "ledger.sqlite3-wal").stat().st_size
    for _ in range(20):
        await ledger.try_write()
    assert (tmp_path / "ledger.sqlite3-wal").stat().st_size == before, "trials take room once, and give it back"
    for _ in range(30):  # until the room that the trials gave back is taken
        await ledger.book([call() for _ in range(100)])
    size = max(file.stat().st_size for file in tmp_path.glob("ledger*"))
    with file_limit(size):
        await ledger.ping()
        with pytest.raises(LedgerAway, match="look at its disk"):
            await ledger.try_write()
    await ledger.try_write()
    assert (await ledger.verify_chain("contoso")).intact
    assert "write_trial" not in await table_names(ledger)


async def table_names(ledger: Ledger) -> set[str]:
    async with ledger.database.read() as connection:
        return {row[0] for row in await connection.exec_driver_sql("SELECT name FROM sqlite_master")}


async def test_a_full_database_says_so(ledger: Ledger, call: Call) -> None:
    """SQLITE_FULL itself, as a disk without room gives it."""
    entries = [call() for _ in range(500)]
    limit = {"pages": 0}

    def set_limit(connection: object) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit['pages']}")  # type: ignore[attr-defined]

    event.listen(ledger.database.engine.sync_engine, "begin", set_limit, insert=True)
    limit["pages"] = 1
    with pytest.raises(LedgerAway, match=r"full.*make room on its disk"):
        await ledger.book(entries)
    limit["pages"] = 1_000_000
    assert (await ledger.book(entries)).booked == 500


async def test_held_by_another_process(
    ledger: Ledger, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    async with Ledger(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}") as impatient:
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerAway, match="another process holds it"):
                await impatient.fund("contoso", 5, "r")
            assert await impatient.balance("contoso") == 0, "readers go on"
            other.execute("ROLLBACK")
        assert (await impatient.fund("contoso", 5, "r")).balance_micros == 5


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    async with Ledger.open("embedded", tmp_path / "nowhere") as ledger:
        for work in (ledger.migrate, ledger.ping):
            with pytest.raises(LedgerAway, match="make the folder"):
                await work()


async def test_without_tables(tmp_path: Path) -> None:
    async with Ledger.open("embedded", tmp_path) as ledger:
        with pytest.raises(LedgerBehind, match="they make the tables"):
            await ledger.ping()


async def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"this is no database" * 1000)
    async with Ledger.open("embedded", tmp_path) as ledger:
        with pytest.raises(LedgerAway, match="is away"):
            await ledger.migrate()


async def test_provision_and_fund_fail_clearly(
    ledger: Ledger, document: Callable[..., Provisioning], tmp_path: Path
) -> None:
    wanted = document({"id": "northwind"})
    with file_limit(0):
        for work in (ledger.provision(wanted), ledger.fund("contoso", 5, "r")):
            with pytest.raises(LedgerAway):
                await work
    assert await ledger.directory_version() == 1
    assert await all_postings(ledger) == 0


async def test_a_cancelled_booking_leaves_the_ledger_usable(ledger: Ledger, call: Call) -> None:
    entries = [call() for _ in range(300)]
    booking = asyncio.ensure_future(ledger.book(entries))
    await asyncio.sleep(0)
    booking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await booking
    done = await ledger.book(entries)
    assert done.booked + done.repeated == 300
    assert (await ledger.verify_chain("contoso")).intact
