"""The usage report as a file: the 20 columns of the source's export, then ours, streamed row by row (DOMAIN 6).

Which columns there are, in which order, and what fills them is data: ``data/usage_columns.csv``.  Money has two
decimals, halves up, in Connection Fee and Charge and nowhere else; the exact charge stands in Charge Micros.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, BinaryIO, Final, Literal, Protocol

from gateway.call.record import CallRecord
from rating.money import format_cents

ExportFormat = Literal["csv", "json", "xlsx"]
EXPORT_FORMATS: Final[tuple[ExportFormat, ...]] = ("csv", "json", "xlsx")

SHEET_ROWS: Final = 1_048_576
"""Rows of one worksheet: Excel's own limit; what is more goes to the next sheet."""

Value = str | int


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the report; ``form`` says how a value is written, ``source`` where it comes from."""

    name: str
    description: str
    form: str
    source: str


@cache
def usage_columns() -> tuple[Column, ...]:
    """The columns in their order."""
    text = files("gateway.settlement").joinpath("data/usage_columns.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return tuple(Column(row["name"], row["description"], row["form"], row["value"]) for row in rows)


def usage_row(record: CallRecord) -> list[Value]:
    """The values of one record, in the order of the columns."""
    return [cell(record) for cell in _cells()]


@cache
def _cells() -> tuple[Callable[[CallRecord], Value], ...]:
    return tuple(_cell(column) for column in usage_columns())


def _cell(column: Column) -> Callable[[CallRecord], Value]:
    write = _FORMS[column.form]
    read = _MADE.get(column.source)
    if read is not None:
        made = read
        return lambda record: write(made(record))
    name = column.source
    return lambda record: write(getattr(record, name))


def iso_time(unix_ms: int) -> str:
    """A moment as ISO 8601 in UTC with milliseconds; empty for 0."""
    if not unix_ms:
        return ""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_FORMS: Final[dict[str, Callable[[Any], Value]]] = {
    "text": str,
    "whole": int,
    "moment": iso_time,
    "seconds": lambda talk_ms: int(talk_ms) // 1000,
    "cents": format_cents,
}

_MADE: Final[dict[str, Callable[[CallRecord], Any]]] = {
    # A call that nobody answered starts with its INVITE and takes no time.
    "start_ms": lambda record: record.answered_ms or record.invited_ms,
    "end_ms": lambda record: record.ended_ms or record.answered_ms or record.invited_ms,
    # "null/empty for bot call types (ucap_in, ucap_out)".
    "object_id": lambda record: "" if record.kind.startswith("ucap_") else record.user_id,
    "scope": lambda record: "domestic" if record.domestic else "international",
    # The fee is part of the charge; a call that cost nothing has none.
    "fee_micros": lambda record: record.connect_micros if record.charge_micros else 0,
}


async def export_usage(records: AsyncIterable[CallRecord], out: BinaryIO, form: ExportFormat) -> int:
    """Write ``records`` (``Ledger.usage``) to ``out``; how many rows.  Memory stays flat however many there are."""
    writer = _WRITERS[form](out)
    count = 0
    async for record in records:
        writer.add(usage_row(record))
        count += 1
    await asyncio.to_thread(writer.close)
    return count


class _Rows(Protocol):
    def add(self, row: list[Value]) -> None: ...

    def close(self) -> None: ...


class _CsvRows:
    """RFC 4180: first row names, CRLF, quotes where needed."""

    def __init__(self, out: BinaryIO) -> None:
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        self._csv = csv.writer(self._text)
        self._csv.writerow([column.name for column in usage_columns()])

    def add(self, row: list[Value]) -> None:
        self._csv.writerow(row)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class _JsonRows:
    """One array of objects, named as the columns."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._names = [column.name for column in usage_columns()]
        self._before = b"[\n"

    def add(self, row: list[Value]) -> None:
        named = dict(zip(self._names, row, strict=True))
        self._out.write(self._before + json.dumps(named, ensure_ascii=False).encode())
        self._before = b",\n"

    def close(self) -> None:
        self._out.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


class _ExcelRows:
    """A workbook whose rows go to a temporary file as they come.  Texts are texts: nothing a peer sent is a formula.

    openpyxl is loaded here, for whoever wants a workbook: it takes longer to load than most commands run.
    """

    def __init__(self, out: BinaryIO) -> None:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        self._cell, self._illegal = WriteOnlyCell, ILLEGAL_CHARACTERS_RE
        self._out = out
        self._book = Workbook(write_only=True)
        self._rows = 0
        self._begin_sheet()

    def _begin_sheet(self) -> None:
        self._sheet = self._book.create_sheet(f"Usage {len(self._book.sheetnames) + 1}")
        self._rows = 0
        self.add([column.name for column in usage_columns()])

    def add(self, row: list[Value]) -> None:
        if self._rows == SHEET_ROWS:
            self._begin_sheet()
        self._sheet.append(list(self._excel_cells(row)))
        self._rows += 1

    def _excel_cells(self, row: list[Value]) -> Iterator[object]:
        for value in row:
            if isinstance(value, str):
                cell = self._cell(self._sheet, self._illegal.sub("�", value))
                cell.data_type = "s"
                yield cell
            else:
                yield value

    def close(self) -> None:
        self._book.save(self._out)
        self._book.close()


_WRITERS: Final[dict[str, Callable[[BinaryIO], _Rows]]] = {"csv": _CsvRows, "json": _JsonRows, "xlsx": _ExcelRows}
