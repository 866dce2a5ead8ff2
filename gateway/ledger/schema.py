"""Bring the tables to the newest version, and the few settings that are fixed with the first start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.engine import Database
from gateway.ledger.errors import PartitionsFixed
from gateway.ledger.tables import settings

DEFAULT_PARTITIONS = 256


async def migrate(database: Database) -> None:
    """Run every migration that is missing, in one transaction.  Raises LedgerAway."""
    async with database.write() as connection:
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def newest_revision() -> str:
    """The revision that :func:`migrate` leads to."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package has at least one migration"
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


async def fix_partitions(database: Database, wanted: int | None) -> int:
    """The number of partitions P: set by the first call, the same for ever (MONEY 3).

    ``wanted`` None takes what is there, or the default.  Raises PartitionsFixed where another number is there.
    """
    async with database.write() as connection:
        fixed = await read_setting(connection, "partitions")
        if fixed is None:
            fixed = str(wanted or DEFAULT_PARTITIONS)
            await write_setting(connection, "partitions", fixed)
    if wanted is not None and int(fixed) != wanted:
        raise PartitionsFixed(
            f"this ledger was started with {fixed} partitions, not {wanted}",
            f"set it back to {fixed}: it cannot change",
        )
    return int(fixed)


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
    """Count the directory's version up by one inside the caller's transaction; the new version."""
    version = await directory_version(connection) + 1
    await write_setting(connection, "directory_version", str(version))
    return version


async def directory_version(connection: AsyncConnection) -> int:
    """The directory's version; 0 before the first provisioning."""
    return int(await read_setting(connection, "directory_version") or 0)
