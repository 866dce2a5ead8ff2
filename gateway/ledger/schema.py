"""Bring the tables to the newest version, and the few settings that are fixed with the first start."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, insert, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.errors import PartitionsFixed
from gateway.ledger.tables import decks, settings

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA_LOCK = 0xCA119A7E
"""The lock that lets one process at a time change tables, fixed settings or the directory: looked at first and
written then, they could not be locked by a row.  Any number that nobody else uses in this database."""

DEFAULT_PARTITIONS = 256


NEWEST_REVISION = "0009"
"""The revision of the last migration: known without loading Alembic, which takes longer than most commands do."""


async def migrate(database: Database) -> None:
    """Run every migration that is missing, in one transaction; a millisecond where none is.  Raises LedgerAway."""
    async with database.read() as connection:
        if await connection.run_sync(_revision) == NEWEST_REVISION:
            return
    async with database.write(limit_s=LONG_ANSWER_S) as connection:
        await connection.run_sync(_upgrade)


def _revision(connection: Connection) -> str | None:
    """The revision of the tables; None before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> None:
    from alembic import command

    _lock(connection)
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> "Config":
    """Where Alembic finds the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


async def fix_partitions(database: Database, wanted: int | None) -> int:
    """The number of partitions P: set by the first call, the same for ever (MONEY 3).

    ``wanted`` None takes what is there, or the default.  Raises PartitionsFixed where another number is there.
    """
    async with database.read() as connection:
        fixed = await read_setting(connection, "partitions")
    if fixed is None:
        fixed = await database.transact(lambda connection: _fix_partitions(connection, wanted))
    if wanted is not None and int(fixed) != wanted:
        raise PartitionsFixed(
            f"this ledger was started with {fixed} partitions, not {wanted}",
            f"set it back to {fixed}: it cannot change",
        )
    return int(fixed)


async def _fix_partitions(connection: AsyncConnection, wanted: int | None) -> str:
    """Looked at again under the lock: another process may have been first."""
    await lock_directory(connection)
    fixed = await read_setting(connection, "partitions")
    if fixed is None:
        fixed = str(wanted or DEFAULT_PARTITIONS)
        await write_setting(connection, "partitions", fixed)
    return fixed


async def lock_directory(connection: AsyncConnection) -> None:
    """Let nobody else change directory or fixed settings until the caller's transaction ends."""
    await connection.run_sync(_lock)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's writers come one at a time anyway
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")


async def read_setting(connection: AsyncConnection, name: str) -> str | None:
    """A fixed setting's value, or None."""
    found = await connection.scalar(select(settings.c.value).where(settings.c.name == name))
    return None if found is None else str(found)


async def write_setting(connection: AsyncConnection, name: str, value: str) -> None:
    """Set a fixed setting inside the caller's transaction."""
    changed = await connection.execute(update(settings).where(settings.c.name == name).values(value=value))
    if changed.rowcount == 0:
        await connection.execute(insert(settings).values(name=name, value=value))


async def raise_directory_version(connection: AsyncConnection) -> int:
    """Count the directory's version up by one under the caller's :func:`lock_directory`; the new version."""
    version = await directory_version(connection) + 1
    await write_setting(connection, "directory_version", str(version))
    return version


async def version_and_due_deck(connection: AsyncConnection, due: ColumnElement[bool]) -> tuple[int, bool]:
    """The directory's version and whether a deck is ``due``, by one look."""
    version = select(settings.c.value).where(settings.c.name == "directory_version").scalar_subquery()
    deck = select(decks.c.name).where(due).limit(1).scalar_subquery()
    row = (await connection.execute(select(version, deck))).one()
    return int(row[0] or 0), row[1] is not None


async def directory_version(connection: AsyncConnection) -> int:
    """The directory's version; 0 before the first provisioning."""
    return int(await read_setting(connection, "directory_version") or 0)
