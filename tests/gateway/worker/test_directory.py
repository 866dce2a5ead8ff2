import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config.provisioning import parse
from gateway.ledger import Ledger
from gateway.worker.directory import NEVER_READ, DirectoryWatch
from policy.directory import Directory, Trunk

DECK = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,20000,0,60,60\n"
TRUNKS = {"pbx": Trunk("pbx", "access", tenant="contoso")}


class Seen:
    """The directories a watch told of, and an event for each."""

    def __init__(self) -> None:
        self.directories: list[Directory] = []
        self.told = asyncio.Event()

    def __call__(self, directory: Directory) -> None:
        self.directories.append(directory)
        self.told.set()

    async def until_tenants(self, *names: str) -> Directory:
        async with asyncio.timeout(10):
            while not self.directories or set(self.directories[-1].tenants) != set(names):
                self.told.clear()
                await self.told.wait()
        return self.directories[-1]


async def provision(ledger: Ledger, folder: Path, *tenants: str) -> None:
    (folder / "deck.csv").write_text(DECK)
    document = {
        "rate_deck": [{"name": "standard", "currency": "USD", "file": "deck.csv"}],
        "tenant": [{"id": name, "name": name, "rate_deck": "standard"} for name in tenants],
    }
    await ledger.provision(parse(document, "test.toml", folder))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Ledger(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}") as opened:
        await opened.migrate()
        yield opened


def watch(tmp_path: Path, seen: Seen) -> DirectoryWatch:
    return DirectoryWatch(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}", TRUNKS, tmp_path, seen)


async def test_a_change_in_the_ledger_arrives_with_the_trunks_of_the_settings(tmp_path: Path, ledger: Ledger) -> None:
    await provision(ledger, tmp_path, "contoso")
    seen = Seen()
    watching = watch(tmp_path, seen)
    watching.start()
    first = await seen.until_tenants("contoso")
    assert first.trunks == TRUNKS
    assert first.decks["standard"].lookup("4420", "out", 0) is not None
    await provision(ledger, tmp_path, "contoso", "fabrikam")
    watching.look()
    second = await seen.until_tenants("contoso", "fabrikam")
    assert second.version > first.version
    versions = [directory.version for directory in seen.directories]
    assert versions == [NEVER_READ, first.version, second.version], "each version is read once"
    await watching.stop()


async def test_a_start_without_its_ledger_knows_the_directory_read_last(tmp_path: Path, ledger: Ledger) -> None:
    await provision(ledger, tmp_path, "contoso")
    seen = Seen()
    watching = watch(tmp_path, seen)
    watching.start()
    await asyncio.wait_for(watching.read.wait(), 10)
    await watching.stop()
    await ledger.close()
    (tmp_path / "ledger.sqlite3").rename(tmp_path / "away.sqlite3")
    again = Seen()
    second = watch(tmp_path, again)
    second.start()
    assert set(again.directories[0].tenants) == {"contoso"}
    assert not second.read.is_set()
    await second.stop()


async def test_a_ledger_that_comes_later_is_read_then(tmp_path: Path) -> None:
    seen = Seen()
    watching = watch(tmp_path, seen)
    watching.start()
    async with Ledger(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}") as opened:
        await opened.migrate()
        await provision(opened, tmp_path, "contoso")
    await seen.until_tenants("contoso")
    assert watching.ledger_up
    await watching.stop()


async def test_a_first_start_without_a_ledger_knows_its_trunks(tmp_path: Path) -> None:
    """So that an emergency call finds its carrier (SIP.md 4); once it was refused as of an unknown source."""
    seen = Seen()
    watching = DirectoryWatch("sqlite+aiosqlite:////nowhere/ledger.sqlite3", TRUNKS, tmp_path, seen)
    watching.start()
    assert [dict(directory.trunks) for directory in seen.directories] == [TRUNKS]
    await watching.stop()


async def test_an_upgrade_is_waited_for_without_alarm(tmp_path: Path) -> None:
    async with Ledger(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}") as old:
        await old.migrate()
        async with old.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE tenants RENAME COLUMN time_zone TO older")
        seen = Seen()
        watching = watch(tmp_path, seen)
        with capture_logs() as logs:
            watching.start()
            while not logs:
                await asyncio.sleep(0.01)
            async with old.database.write() as connection:
                await connection.exec_driver_sql("ALTER TABLE tenants RENAME COLUMN older TO time_zone")
            await provision(old, tmp_path, "contoso")
            watching.look()
            await seen.until_tenants("contoso")
        await watching.stop()
    assert {each["log_level"] for each in logs} == {"info"}
    assert logs[0]["event"] == "the ledger is being upgraded"
