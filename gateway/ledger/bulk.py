"""One statement for many rows, as plain tuples straight to the driver.

SQLAlchemy makes the SQL, once for each dialect; but it would also look at every value of every row again, which for
the ledger's batches costs more than the database does.  The columns written here need no conversion in any driver:
text, integers, booleans and bytes.
"""

from collections.abc import Sequence

from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import Insert, Update

Value = str | int | bool | bytes


class Bulk:
    """``statement`` for rows whose values come in the order of ``names``: its columns or bind parameters."""

    def __init__(self, statement: Insert | Update, *names: str) -> None:
        self._statement = statement
        self._names = list(names)
        self._sql: dict[str, str] = {}

    async def execute(self, connection: AsyncConnection, rows: Sequence[tuple[Value, ...]]) -> None:
        """Carry the statement out for every row; nothing where there are none."""
        if rows:
            await connection.exec_driver_sql(self._text(connection.dialect), list(rows))

    def _text(self, dialect: Dialect) -> str:
        text = self._sql.get(dialect.name)
        if text is None:
            columns = self._names if isinstance(self._statement, Insert) else None
            compiled = self._statement.compile(dialect=dialect, column_keys=columns)
            assert getattr(compiled, "positiontup", None) == self._names, "values come in the order of the statement"
            text = self._sql[dialect.name] = str(compiled)
        return text
