"""Rows into a file: CSV (RFC 4180), JSON or a workbook, row by row, so that memory stays flat however many there are.

A row holds plain values (texts, whole numbers, micro-units, Unix milliseconds); the *form* of its column says how each
is written.  CSV and people see money with two decimals, halves up; a program that reads JSON gets it exact, but in the
usage report, whose two decimals are the source's own and whose exact charge stands in a column beside it.  In a
workbook numbers are numbers and moments are dates, so that they can be added up and sorted.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO, Final, Literal, Protocol

from gateway.moments import iso_utc
from rating.money import format_amount, format_cents

ExportFormat = Literal["csv", "json", "xlsx"]
EXPORT_FORMATS: Final[tuple[ExportFormat, ...]] = ("csv", "json", "xlsx")

SHEET_ROWS: Final = 1_048_576
"""Rows of one worksheet: Excel's own limit; what is more goes to the next sheet."""

CELL_CHARACTERS: Final = 32_767
"""Characters of one cell: Excel's own limit, beyond which it calls the file damaged."""

NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML file can hold."""

EXACT_INTEGERS: Final = 10**15
"""Excel keeps fifteen digits of a number; longer ones are written as texts."""

EXCEL_EPOCH_DAYS: Final = 25_569
"""Days from Excel's day 0 to 1970-01-01."""

DAY_MS: Final = 86_400_000

Value = str | int

Cell = str | int | float | Decimal | None


class Column(Protocol):
    """A column as the writers need it: its name, and its form's name in :data:`FORMS`."""

    @property
    def name(self) -> str:
        """What stands in the first row."""

    @property
    def form(self) -> str:
        """How its values are written."""


def iso_time(unix_ms: int) -> str:
    """A moment as ISO 8601 in UTC with milliseconds; empty for 0."""
    return iso_utc(unix_ms) if unix_ms else ""


@dataclass(frozen=True, slots=True)
class Form:
    """How values are written: ``plain`` in CSV and for people, ``exact`` in JSON, ``excel`` in a workbook."""

    plain: Callable[[Any], Value]
    exact: Callable[[Any], Value]
    excel: Callable[[Any], Cell]
    number_format: str = "General"
    width: int = 14
    """Of the workbook's column, in characters."""


def _excel_moment(unix_ms: int) -> Cell:
    return unix_ms / DAY_MS + EXCEL_EPOCH_DAYS if unix_ms else None


def _excel_cents(micros: int) -> Cell:
    return Decimal(format_cents(micros))


def _excel_whole(number: int) -> Cell:
    return number if -EXACT_INTEGERS < number < EXACT_INTEGERS else str(number)


FORMS: Final[dict[str, Form]] = {
    "text": Form(str, str, str, width=22),
    "whole": Form(int, int, _excel_whole),
    "moment": Form(iso_time, iso_time, _excel_moment, 'yyyy-mm-dd"T"hh:mm:ss.000"Z"', 26),
    "cents": Form(format_cents, format_cents, _excel_cents, "0.00"),
    "money": Form(format_cents, format_amount, _excel_cents, "0.00"),
}
"""``cents`` and ``money`` are micro-units; ``cents`` has two decimals in JSON as well."""


FORMED: Final = frozenset({"moment", "cents", "money"})
"""Forms whose values are not written as they are."""


def _formed(row: Sequence[Any], forms: Sequence[tuple[int, Callable[[Any], Value]]]) -> list[Any]:
    """The row with the values at these places in their form."""
    written = list(row)
    for place, form in forms:
        written[place] = form(written[place])
    return written


class Rows(Protocol):
    """A file that is being written: rows in, and an end."""

    def add(self, row: Sequence[Any]) -> None:
        """One row, a value for each column."""

    def close(self) -> None:
        """Write what is left; the file stays open for its owner."""


class CsvRows:
    """RFC 4180: first row names, CRLF, quotes where needed."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._formed = [(place, FORMS[each.form].plain) for place, each in enumerate(columns) if each.form in FORMED]
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        self._csv = csv.writer(self._text)
        self._csv.writerow([column.name for column in columns])

    def add(self, row: Sequence[Any]) -> None:
        """One line, or more where a text has line ends."""
        self._csv.writerow(_formed(row, self._formed))

    def close(self) -> None:
        """Write what is left; the file stays open for its owner."""
        self._text.flush()
        self._text.detach()


class JsonRows:
    """One array of objects, named as the columns."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._out = out
        self._names = [column.name for column in columns]
        self._formed = [(place, FORMS[each.form].exact) for place, each in enumerate(columns) if each.form in FORMED]
        self._before = b"[\n"

    def add(self, row: Sequence[Any]) -> None:
        """One object on a line of its own."""
        named = dict(zip(self._names, _formed(row, self._formed), strict=True))
        self._out.write(self._before + json.dumps(named, ensure_ascii=False).encode("utf-8", "replace"))
        self._before = b",\n"

    def close(self) -> None:
        """End the array."""
        self._out.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


class ExcelRows:
    """A workbook whose rows go to a temporary file as they come.  Texts are texts: nothing a peer sent is a formula.

    XlsxWriter is loaded here, for whoever wants a workbook: few commands do.
    """

    def __init__(self, out: BinaryIO, columns: Sequence[Column], title: str) -> None:
        from xlsxwriter import Workbook

        self._columns, self._title = columns, title
        self._book = Workbook(out, {"constant_memory": True, "use_zip64": True})
        self._forms = [FORMS[column.form] for column in columns]
        self._formats = [self._book.add_format({"num_format": form.number_format}) for form in self._forms]
        self._sheets = 0
        self._begin_sheet()

    def _begin_sheet(self) -> None:
        """A sheet with its first row, which stays in sight."""
        self._sheets += 1
        self._sheet = self._book.add_worksheet(f"{self._title} {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        for place, form in enumerate(self._forms):
            self._sheet.set_column(place, place, form.width)
        for place, column in enumerate(self._columns):
            self._sheet.write_string(0, place, column.name)
        self._rows = 1

    def add(self, row: Sequence[Any]) -> None:
        """One row, on the next sheet where this one is full; an empty text leaves its cell empty."""
        if self._rows == SHEET_ROWS:
            self._begin_sheet()
        for place, value in enumerate(row):
            written = self._forms[place].excel(value)
            if isinstance(written, str):
                if written:
                    self._sheet.write_string(self._rows, place, NOT_IN_XML.sub("\ufffd", written)[:CELL_CHARACTERS])
            elif written is not None:
                self._sheet.write_number(self._rows, place, written, self._formats[place])
        self._rows += 1

    def close(self) -> None:
        """Put the sheets together: the slowest part of a large workbook."""
        self._book.close()


def open_rows(form: ExportFormat, out: BinaryIO, columns: Sequence[Column], title: str) -> Rows:
    """Begin a file of this form in ``out``; ``title`` names a workbook's sheets (at most 20 characters)."""
    if form == "xlsx":
        return ExcelRows(out, columns, title)
    return CsvRows(out, columns) if form == "csv" else JsonRows(out, columns)
