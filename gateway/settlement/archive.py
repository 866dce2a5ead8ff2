"""The usage export as the source makes it: ``Calls.Export.{id}.zip`` with a CSV file for each UTC day (DOMAIN 6).

Calls come by their start, so a day's file is written from its first call to its last and never opened again: memory
stays flat, and the archive may go into a pipe.  A day without calls has no file.  ``parameters.json`` comes last and
says what was asked for and what is there, so that a cut archive is seen to be one.
"""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, Final

from gateway.call.record import CallRecord
from gateway.settlement.export import usage_columns, usage_values
from gateway.settlement.files import DAY_MS, CsvRows, iso_time
from gateway.settlement.masking import NO_MASKING, Masking

ARCHIVE_DAYS: Final = 366
"""Days of one archive: a year, as in the source."""

PARAMETERS: Final = "parameters.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What an export was asked for: calls of a tenant that start in [``from_ms``, ``to_ms``).

    ``export_id`` is the export's own id; ``made_ms`` when it was asked for.
    """

    export_id: str
    tenant_id: str
    from_ms: int
    to_ms: int
    refused: bool
    made_ms: int

    @property
    def name(self) -> str:
        """The archive's file name."""
        return f"Calls.Export.{self.export_id}.zip"


@dataclass(slots=True)
class _Day:
    """The file of one day while it is written."""

    number: int
    name: str
    file: IO[bytes]
    rows: CsvRows
    calls: int = 0


@dataclass(slots=True)
class _Archive:
    """The days of one archive, one after the other."""

    zip: zipfile.ZipFile
    made: list[dict[str, Any]] = field(default_factory=list)
    day: _Day | None = None

    def add(self, record: CallRecord, masking: Masking) -> None:
        number = (record.answered_ms or record.invited_ms) // DAY_MS
        if self.day is None or self.day.number != number:
            self.end_day()
            self.day = self._begin(number)
        self.day.rows.add(usage_values(record, masking))
        self.day.calls += 1

    def _begin(self, number: int) -> _Day:
        date = datetime.fromtimestamp(number * DAY_MS / 1000, UTC)
        name = f"PSTN.calls.{date:%Y-%m-%d}.csv"
        file = self.zip.open(_entry(name, date), "w", force_zip64=True)
        return _Day(number, name, file, CsvRows(file, usage_columns()))  # type: ignore[arg-type]

    def end_day(self) -> None:
        if self.day is not None:
            self.day.rows.close()
            self.day.file.close()
            self.made.append({"name": self.day.name, "calls": self.day.calls})
            self.day = None


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, max(at, datetime(1980, 1, 1, tzinfo=UTC)).timetuple()[:6])  # zip knows none before
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


async def export_archive(
    records: AsyncIterable[CallRecord], out: BinaryIO, asked: Asked, masking: Masking = NO_MASKING
) -> int:
    """Write ``records`` (``Ledger.usage`` of what was asked for) as an archive to ``out``; how many rows."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as whole:
        archive = _Archive(whole)
        async for record in records:
            archive.add(record, masking)
        archive.end_day()
        await asyncio.to_thread(_say_what_was_asked, archive, asked)
    return sum(each["calls"] for each in archive.made)


def _say_what_was_asked(archive: _Archive, asked: Asked) -> None:
    document = {
        "id": asked.export_id,
        "tenant": asked.tenant_id,
        "from": iso_time(asked.from_ms),
        "to": iso_time(asked.to_ms),
        "refused": asked.refused,
        "made_at": iso_time(asked.made_ms),
        "files": archive.made,
    }
    at = datetime.fromtimestamp(asked.made_ms / 1000, UTC)
    archive.zip.writestr(_entry(PARAMETERS, at), json.dumps(document, indent=2, ensure_ascii=False))
