"""One statement for many rows, as plain tuples straight to the driver.

SQLAlchemy makes the SQL, once for each dialect; but it would also look at every value of every row again, which for
the ledger's batches costs more than the database does.  The columns written here need no conversion in any driver:
text, integers, booleans and bytes.

SQLite's driver loops over the rows in the same process.  PostgreSQL would carry the statement out once for each row,
and its processor is then what bounds the settler; so there an insert takes each column as one array and is carried out
once, and a look for many keys takes them as one array instead of thousands of parameters.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, Column, CursorResult, Dialect, Select, Text, any_, bindparam
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
        if not rows:
            return
        if connection.dialect.name == "postgresql" and isinstance(self._statement, Insert):
            columns = tuple(map(list, zip(*rows, strict=True)))
            await connection.exec_driver_sql(self._arrays(self._statement, connection.dialect), columns)
        else:
            await connection.exec_driver_sql(self._text(connection.dialect), list(rows))

    def _text(self, dialect: Dialect) -> str:
        text = self._sql.get(dialect.name)
        if text is None:
            columns = self._names if isinstance(self._statement, Insert) else None
            compiled = self._statement.compile(dialect=dialect, column_keys=columns)
            assert getattr(compiled, "positiontup", None) == self._names, "values come in the order of the statement"
            text = self._sql[dialect.name] = str(compiled)
        return text

    def _arrays(self, statement: Insert, dialect: Dialect) -> str:
        """PostgreSQL's insert that takes one array for each column."""
        text = self._sql.get("arrays")
        if text is None:
            table, names = statement.table, ", ".join(self._names)
            types = [table.c[name].type.compile(dialect=dialect) for name in self._names]
            arrays = ", ".join(f"${place}::{each}[]" for place, each in enumerate(types, 1))
            text = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608  names of our own
            self._sql["arrays"] = text
        return text


class ByKeys:
    """``statement`` for the rows whose text ``column`` has one of many values, however many."""

    def __init__(self, statement: Select[Any], column: Column[str]) -> None:
        self._listed = statement.where(column.in_(bindparam("keys", expanding=True)))
        self._as_array = statement.where(column == any_(bindparam("keys", type_=ARRAY(Text))))

    async def execute(self, connection: AsyncConnection, keys: Iterable[str]) -> CursorResult[Any]:
        """The rows, in the statement's order; keys that are not there have none."""
        statement = self._as_array if connection.dialect.name == "postgresql" else self._listed
        found: CursorResult[Any] = await connection.execute(statement, {"keys": list(keys)})
        return found
