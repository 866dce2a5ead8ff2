"""What a report is: a name, columns with their forms, and rows of plain values, ready for a table or a file.

Amounts are micro-units and moments Unix milliseconds until a writer of gateway.settlement.files, or whoever shows
the report, gives them their form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from gateway.settlement.files import FORMS, ExportFormat, Value, open_rows

MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """One column; ``form`` is a name in :data:`gateway.settlement.files.FORMS`."""

    name: str
    form: str = "text"


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it stands at one moment; ``title`` names a workbook's sheets."""

    title: str
    columns: tuple[ReportColumn, ...]
    rows: Sequence[tuple[Any, ...]]

    def shown(self) -> list[dict[str, Value]]:
        """The rows for people, by column: money with two decimals."""
        return [{name: FORMS[form].plain(value) for name, form, value in self._cells(row)} for row in self.rows]

    def document(self) -> list[dict[str, Value]]:
        """The rows for programs, by column: money with all six decimals."""
        return [{name: FORMS[form].exact(value) for name, form, value in self._cells(row)} for row in self.rows]

    def _cells(self, row: tuple[Any, ...]) -> list[tuple[str, str, Any]]:
        return [(column.name, column.form, value) for column, value in zip(self.columns, row, strict=True)]

    def write(self, out: BinaryIO, form: ExportFormat) -> None:
        """All of it into a file."""
        rows = open_rows(form, out, self.columns, self.title)
        for row in self.rows:
            rows.add(row)
        rows.close()


def started_minutes(talk_ms: int) -> int:
    """Minutes of a call: each started one counts (DOMAIN 4)."""
    return -(-talk_ms // MINUTE_MS)
