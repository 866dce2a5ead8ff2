"""The tables: made from nothing by the packaged migrations, and what is fixed with the first start."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.ledger import Ledger, LedgerRefused, PartitionsFixed, ledger_url
from gateway.ledger.schema import NEWEST_REVISION, alembic_config
from gateway.ledger.tables import metadata


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_migrations_from_empty_make_exactly_the_tables(empty_ledger: Ledger) -> None:
    async with empty_ledger.database.read() as connection:
        assert await connection.run_sync(differences) == []
        version = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
        assert version.scalar() == NEWEST_REVISION


def test_the_newest_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [NEWEST_REVISION]


async def test_migrating_twice_or_at_once_changes_nothing(ledger_url: str) -> None:
    async with Ledger(ledger_url) as one, Ledger(ledger_url) as two:
        await asyncio.gather(one.migrate(), two.migrate())
        await one.migrate()
        assert await two.directory_version() == 0


async def test_the_number_of_partitions_is_fixed_by_the_first_start(empty_ledger: Ledger) -> None:
    assert await empty_ledger.partitions(128) == 128
    assert await empty_ledger.partitions() == 128
    with pytest.raises(PartitionsFixed, match="started with 128 partitions, not 256"):
        await empty_ledger.partitions(256)


async def test_256_partitions_unless_told(empty_ledger: Ledger) -> None:
    assert await empty_ledger.partitions() == 256


def test_urls_of_the_settings(tmp_path: Path) -> None:
    assert ledger_url("embedded", tmp_path) == f"sqlite+aiosqlite:///{tmp_path}/ledger.sqlite3"
    assert ledger_url("sqlite:////var/lib/x.db", tmp_path) == "sqlite+aiosqlite:////var/lib/x.db"
    assert ledger_url("postgresql://u:p@h/db", tmp_path) == "postgresql+asyncpg://u:p@h/db"
    for wrong in ("mysql://u:secret@h/db", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql://h"):
        with pytest.raises(LedgerRefused, match="not a database this product knows") as refused:
            ledger_url(wrong, tmp_path)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("configured_url", ["sqlite"], indirect=True)
async def test_sqlite_is_durable_and_checks_references(ledger: Ledger) -> None:
    async with ledger.database.read() as connection:
        asked = {name: await connection.exec_driver_sql(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")}
        assert {name: answer.scalar() for name, answer in asked.items()} == {"journal_mode": "wal", "synchronous": 2}
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
        assert (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar() == 5000


def test_a_process_that_forgets_to_close_still_ends(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from gateway.ledger import Ledger\n"
        "async def main():\n"
        "    ledger = Ledger.open('embedded', pathlib.Path(sys.argv[1]))\n"
        "    await ledger.migrate()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as file:
        assert file.execute("SELECT count(*) FROM tenants").fetchall() == [(0,)]
