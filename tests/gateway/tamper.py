"""What somebody does first who wants to change what was booked: he takes the triggers away that would refuse it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import Ledger
from gateway.ledger.verify import TRIGGERS


async def drop_triggers(connection: AsyncConnection) -> None:
    dialect = connection.dialect.name
    for name in sorted(TRIGGERS[dialect]):
        table = f" ON {name.partition('_')[0]}" if dialect == "postgresql" else ""
        await connection.exec_driver_sql(f"DROP TRIGGER {name}{table}")


async def tamper(ledger: Ledger, *statements: str) -> None:
    """Change the tables by raw SQL, with the triggers gone."""
    async with ledger.database.write() as connection:
        await drop_triggers(connection)
        for statement in statements:
            await connection.exec_driver_sql(statement)
