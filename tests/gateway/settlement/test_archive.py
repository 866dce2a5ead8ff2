"""The archive of the usage report: a CSV file for each UTC day, what was asked for, and flat memory into any pipe."""

import csv
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from gateway.call.record import CallRecord
from gateway.ledger import CallEntry, Ledger
from gateway.settlement import Asked, Masking, archive, export_archive, export_usage

DAY_MS = 86_400_000
MIDNIGHT_MS = 20_000 * DAY_MS
"""2024-10-04T00:00:00Z."""

ASKED = Asked("id-1", "contoso", MIDNIGHT_MS, MIDNIGHT_MS + 3 * DAY_MS, False, MIDNIGHT_MS + 9 * DAY_MS + 1)


def call(call_id: str, answered_ms: int, **more: object) -> CallRecord:
    whole: dict[str, object] = {"invited_ms": answered_ms - 1_000, "answered_ms": answered_ms, "talk_ms": 60_000}
    return CallRecord(call_id, "contoso", "user_out", **whole | more)  # type: ignore[arg-type]


async def stream(*records: CallRecord) -> AsyncIterator[CallRecord]:
    for record in records:
        yield record


async def made(*records: CallRecord) -> dict[str, bytes]:
    out = io.BytesIO()
    assert await export_archive(stream(*records), out, ASKED) == len(records)
    with ZipFile(out) as whole:
        assert whole.testzip() is None
        assert {entry.compress_type for entry in whole.infolist()} == {ZIP_DEFLATED}
        return {name: whole.read(name) for name in whole.namelist()}


async def test_a_day_is_a_day_of_utc_by_the_start_of_its_calls() -> None:
    files = await made(
        call("a", MIDNIGHT_MS + DAY_MS - 1),
        call("b", MIDNIGHT_MS + DAY_MS),
        call("c", 0, invited_ms=MIDNIGHT_MS + 2 * DAY_MS + 5),
    )
    ids = {name: [row[0] for row in csv.reader(io.StringIO(text.decode()))][1:] for name, text in files.items()}
    del ids["parameters.json"]
    assert ids == {
        "PSTN.calls.2024-10-04.csv": ["a"],
        "PSTN.calls.2024-10-05.csv": ["b"],
        "PSTN.calls.2024-10-06.csv": ["c"],
    }


async def test_each_file_is_the_usage_report_of_its_day() -> None:
    records = [call("a", MIDNIGHT_MS, user_name='Al "A", Ltd'), call("b", MIDNIGHT_MS + 1)]
    alone = io.BytesIO()
    await export_usage(stream(*records), alone, "csv")
    assert (await made(*records))["PSTN.calls.2024-10-04.csv"] == alone.getvalue()


async def test_parameters_come_last_and_say_what_was_asked_for() -> None:
    files = await made(call("a", MIDNIGHT_MS))
    assert list(files)[-1] == "parameters.json"
    assert json.loads(files["parameters.json"]) == {
        "id": "id-1",
        "tenant": "contoso",
        "from": "2024-10-04T00:00:00.000Z",
        "to": "2024-10-07T00:00:00.000Z",
        "refused": False,
        "made_at": "2024-10-13T00:00:00.001Z",
        "files": [{"name": "PSTN.calls.2024-10-04.csv", "calls": 1}],
    }
    assert ASKED.name == "Calls.Export.id-1.zip"


async def test_no_calls_and_calls_before_zip_was_invented() -> None:
    assert list(await made()) == ["parameters.json"]
    assert list(await made(call("a", 1_001))) == ["PSTN.calls.1970-01-01.csv", "parameters.json"]


async def test_numbers_are_masked() -> None:
    out = io.BytesIO()
    await export_archive(stream(call("a", MIDNIGHT_MS, number="+33144556677")), out, ASKED, Masking(4))
    with ZipFile(out) as whole:
        assert b"+3314455****" in whole.read("PSTN.calls.2024-10-04.csv")


class Pipe(io.RawIOBase):
    """Takes what is written and lets nobody seek."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._file.write(data)  # type: ignore[arg-type]

    def close(self) -> None:
        self._file.close()
        super().close()


async def test_memory_stays_flat_and_a_pipe_will_do(tmp_path: Path) -> None:
    async def many() -> AsyncIterator[CallRecord]:
        for number in range(20_000):
            yield call(f"c{number}", MIDNIGHT_MS + number * 10_000)

    tracemalloc.start()
    try:
        with Pipe(tmp_path / "out.zip") as out:
            assert await export_archive(many(), out, ASKED) == 20_000  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    with ZipFile(tmp_path / "out.zip") as whole:
        assert whole.testzip() is None
        assert len(whole.namelist()) == 4


async def test_out_of_a_real_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days come out whole however the ledger's pages fall."""
    monkeypatch.setattr("gateway.ledger.reading.PAGE_ROWS", 3)
    records = [call(f"c{number:02}", MIDNIGHT_MS + number * DAY_MS // 4) for number in range(12)]
    await ledger.book([CallEntry(each.call_id, "contoso", 0, each.encode()) for each in reversed(records)])
    out = io.BytesIO()
    asked = ledger.usage("contoso", ASKED.from_ms, ASKED.to_ms)
    assert await export_archive(asked, out, ASKED) == 12
    with ZipFile(out) as whole:
        files = json.loads(whole.read(archive.PARAMETERS))["files"]
    assert [each["calls"] for each in files] == [4, 4, 4]
