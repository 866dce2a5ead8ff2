"""The tables: made from nothing by the packaged migrations, and what is fixed with the first start."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, TableClause, column, insert, select, table, update

from gateway.ledger import Ledger, LedgerBehind, LedgerRefused, PartitionsFixed, ledger_url
from gateway.ledger.chain import Line, Tail
from gateway.ledger.schema import NEWEST_REVISION, alembic_config
from gateway.ledger.tables import CREDIT, accounts, metadata, postings
from policy.funds import Purchased
from policy.unassigned import UnassignedRule


def upgrade(connection: Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_newest_version_is_noted(empty_ledger: Ledger) -> None:
    async with empty_ledger.database.read() as connection:
        version = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
        assert version.scalar() == NEWEST_REVISION


def test_the_newest_revision_is_the_last_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [NEWEST_REVISION]


OLD = (
    "INSERT INTO tenants (id, name, country, currency, mode, credit_limit_micros, rate_deck, licensing, "
    "dial_out_policy, failure_policy, time_zone, limits, dial_plan, more) VALUES ('contoso', 'Contoso', 'US', 'USD', "
    "'prepaid', 0, 'standard', 'none', '', '', 'UTC', '{}', '[]', '{}')",
    "INSERT INTO fundings (tenant_id, reference, seq, kind, amount_micros, actor, at_ms) "
    "VALUES ('contoso', 'r1', 1, 'manual', 500, 'alice', 5)",
)


async def old_ledger(url: str) -> None:
    """A ledger of the first release with a funding in it, as that release wrote it."""
    tail = Tail("contoso")
    line = tail.append(5, "manual", "funding", 500, reference="r1")
    async with Ledger(url) as ledger, ledger.database.write() as connection:
        await connection.run_sync(upgrade, "0001")
        for statement in OLD:
            await connection.exec_driver_sql(statement)
        await connection.execute(insert(postings), dict(zip(Line.__dataclass_fields__, line.row(), strict=True)))
        empty = {"tenant_id": "contoso", "balance_micros": -500, "seq": 0, "money_in_seq": 0, "head": bytes(32)}
        credit = empty | {"name": CREDIT, "balance_micros": 500, "seq": 1, "money_in_seq": 1, "head": tail.head}
        await connection.execute(insert(accounts), [credit, empty | {"name": "funding"}])
        others = [empty | {"name": name, "balance_micros": 0} for name in ("revenue", "adjustments", "refunds")]
        await connection.execute(insert(accounts), others)


async def test_migrations_from_the_first_schema_keep_what_was_booked(bare_url: str) -> None:
    await old_ledger(bare_url)
    async with Ledger(bare_url) as ledger:
        await ledger.migrate()
        async with ledger.database.read() as connection:
            assert await connection.run_sync(differences) == []
        assert await ledger.missing_triggers() == []
        (lot,) = await ledger.lots("contoso")
        assert (lot.seq, lot.remaining_micros, lot.expires_ms, lot.source) == (1, 500, 31_536_000_005, "manual")
        assert await ledger.lot_faults() == []
        assert (await ledger.fund("contoso", 500, "r1")).repeated
        assert (await ledger.fund("contoso", 7, "r2", reason="more")).balance_micros == 507
        verdict = await ledger.verify_chain("contoso")
        assert (verdict.intact, verdict.length) == (True, 2)


async def test_what_tenants_said_of_licences_moves_to_its_columns(bare_url: str) -> None:
    await old_ledger(bare_url)
    said = (
        '{"admin":[{"email":"a@example.org"}],"purchased":[{"count":7,"sku":"MCOPSTN1","usage_country":"GB"}],'
        '"unassigned":[{"pattern":"x$","target":"pbx"}]}'
    )
    async with Ledger(bare_url) as ledger:
        async with ledger.database.write() as connection:
            await connection.execute(update(tenants_of("more")).values(more=said))
        await ledger.migrate()
        tenant = await ledger.tenant("contoso")
        assert tenant.purchased == (Purchased("MCOPSTN1", "GB", 7),)
        assert tenant.unassigned == (UnassignedRule("x$", "pbx"),)
        async with ledger.database.read() as connection:
            assert await connection.scalar(select(tenants_of("more").c.more)) == '{"admin":[{"email":"a@example.org"}]}'


def tenants_of(*columns: str) -> TableClause:
    """The table with some of its columns, as every release has them."""
    return table("tenants", *map(column, columns))


async def test_migrations_from_empty_make_exactly_the_tables(bare_url: str) -> None:
    async with Ledger(bare_url) as ledger:
        await ledger.migrate()
        async with ledger.database.read() as connection:
            assert await connection.run_sync(differences) == []
        assert await ledger.missing_triggers() == []


async def test_migrating_twice_or_at_once_changes_nothing(bare_url: str) -> None:
    async with Ledger(bare_url) as one, Ledger(bare_url) as two:
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


async def test_the_balance_below_which_to_tell_moves_into_its_column(bare_url: str) -> None:
    more = '{"notify":["json://h"],"notify_below_micros":5000000}'
    async with Ledger(bare_url) as ledger:
        async with ledger.database.write() as connection:
            await connection.run_sync(upgrade, "0004")
            for name, text in (("contoso", more), ("fabrikam", "{}")):
                statement = OLD[0].replace("'contoso'", f"'{name}'").replace("'{}')", f"'{text}')")
                await connection.exec_driver_sql(statement)
        await ledger.migrate()
        async with ledger.database.read() as connection:
            rows = await connection.exec_driver_sql("SELECT more, notify_below_micros FROM tenants ORDER BY id")
            assert list(rows) == [('{"notify":["json://h"]}', 5_000_000), ("{}", None)]


async def test_tables_of_an_older_release_are_waited_for(ledger_url: str) -> None:
    async with Ledger(ledger_url) as ledger:
        await ledger.migrate()
        async with ledger.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE tenants DROP COLUMN time_zone")
        with pytest.raises(LedgerBehind, match="the ledger is being upgraded"):
            await ledger.directory({})
        async with ledger.database.write() as connection:
            await connection.exec_driver_sql("DROP TABLE deliveries")
        with pytest.raises(LedgerBehind, match="the ledger is being upgraded"):
            await ledger.latest_notices(None, 1)
        with pytest.raises(LedgerBehind, match="the ledger is being upgraded"):
            await ledger.tenants()
