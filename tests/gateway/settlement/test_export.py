"""The usage report: the source's columns in order, then ours; two decimals on export only; flat memory."""

import csv
import io
import json
import re
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import openpyxl
import pytest

from gateway.call.record import CallRecord
from gateway.settlement import export_usage, files, iso_time, usage_columns, usage_row
from gateway.settlement.export import object_id

SOURCE_COLUMNS = [
    "UsageId",
    "Call ID",
    "Conference ID",
    "User Location",
    "AAD ObjectId",
    "UPN",
    "User Display Name",
    "Caller ID",
    "Call Type",
    "Number Type",
    "Domestic/International",
    "Destination Dialed",
    "Destination Number",
    "Start Time",
    "End Time",
    "Duration Seconds",
    "Connection Fee",
    "Charge",
    "Currency",
    "Capability",
]

ANSWERED = CallRecord(
    "0199-1",
    "contoso",
    "user_out",
    sip_call_id="abc@pbx",
    trunk="pbx",
    user_id="alice@contoso.com",
    user_name='Alice "Al" Smith, Ltd',
    caller="+14255550100",
    dialled="011442079460000",
    number="+442079460000",
    domestic=False,
    destination="United Kingdom",
    currency="USD",
    payer="credits",
    invited_ms=1_760_000_000_000,
    answered_ms=1_760_000_001_001,
    ended_ms=1_760_000_062_000,
    talk_ms=60_999,
    connect_micros=15_000,
    charge_micros=125_000,
    reason="COMPLETED",
    sip_status=200,
)
REFUSED = CallRecord(
    "0199-2",
    "contoso",
    "user_out",
    invited_ms=1_760_000_000_000,
    connect_micros=15_000,
    reason="NO_CREDIT",
    sip_status=402,
)


async def stream(*records: CallRecord) -> AsyncIterator[CallRecord]:
    for record in records:
        yield record


def named(record: CallRecord) -> dict[str, object]:
    return dict(zip([column.name for column in usage_columns()], usage_row(record), strict=True))


def test_the_columns_are_the_sources_then_ours() -> None:
    names = [column.name for column in usage_columns()]
    assert names[:20] == SOURCE_COLUMNS
    assert names[20:24] == ["Charge Micros", "Payer", "Reason Code", "SIP Status"]
    assert len(set(names)) == len(names)


def test_an_answered_call() -> None:
    row = named(ANSWERED)
    assert row["UsageId"] == "0199-1"
    assert row["Call ID"] == "abc@pbx"
    assert row["Start Time"] == "2025-10-09T08:53:21.001Z"
    assert row["End Time"] == "2025-10-09T08:54:22.000Z"
    assert row["Duration Seconds"] == 60
    assert (row["Connection Fee"], row["Charge"], row["Charge Micros"]) == ("0.02", "0.13", 125_000)
    assert row["Domestic/International"] == "international"
    assert (row["Reason Code"], row["SIP Status"]) == ("COMPLETED", 200)


def test_a_refused_call_costs_nothing_and_takes_no_time() -> None:
    row = named(REFUSED)
    assert row["Start Time"] == row["End Time"] == "2025-10-09T08:53:20.000Z"
    assert (row["Duration Seconds"], row["Connection Fee"], row["Charge"]) == (0, "0.00", "0.00")
    assert (row["Reason Code"], row["SIP Status"]) == ("NO_CREDIT", 402)


@pytest.mark.parametrize("kind", ["ucap_in", "ucap_out"])
def test_voice_applications_have_no_object_id(kind: str) -> None:
    row = named(CallRecord("c", "t", kind, user_id="bot@contoso.com"))
    assert (row["AAD ObjectId"], row["UPN"]) == ("", "bot@contoso.com")


def test_an_object_id_is_a_guid_that_stays_the_same() -> None:
    row = named(ANSWERED)
    assert uuid.UUID(str(row["AAD ObjectId"])) == uuid.UUID(object_id("contoso", "alice@contoso.com"))
    assert row["UPN"] == "alice@contoso.com"
    assert object_id("fabrikam", "alice@contoso.com") != row["AAD ObjectId"]
    assert object_id("contoso", "ALICE@contoso.com") != row["AAD ObjectId"]
    assert object_id("contoso", "0F0C0FB4-5B3C-4E2F-9A35-9C0F6A0C3C11") == "0f0c0fb4-5b3c-4e2f-9a35-9c0f6a0c3c11"
    assert named(CallRecord("c", "contoso", "conf_in"))["AAD ObjectId"] == ""


def test_talk_booked_later_has_a_usage_id_of_its_own() -> None:
    call_id = "0190d5a8-6c7e-7a31-9b1a-0d6c6b1f6a11"
    whole, late = (named(CallRecord(each, "t", "user_out")) for each in (call_id, f"{call_id}:late"))
    assert (whole["UsageId"], whole["Charge ID"]) == (call_id, call_id)
    assert uuid.UUID(str(late["UsageId"])) != uuid.UUID(call_id)
    assert late["Charge ID"] == f"{call_id}:late"


def test_talk_that_nobody_could_charge_is_a_free_call() -> None:
    answered = {"capability": "MCOPSTNPP", "payer": "credits", "answered_ms": 1, "talk_ms": 60_000}
    free = CallRecord("c", "t", "user_out", **answered, uncharged_micros=20_000)
    partly = CallRecord("c", "t", "user_out", **answered, uncharged_micros=20_000, charge_micros=20_000)
    assert (named(free)["Capability"], named(free)["Charge"]) == ("FREECALL", "0.00")
    assert named(partly)["Capability"] == "MCOPSTNPP"


def test_texts_fit_the_types_of_the_table() -> None:
    long = CallRecord("c", "t", "user_out", sip_call_id="x" * 70, user_name="y" * 200)
    assert (len(str(named(long)["Call ID"])), len(str(named(long)["User Display Name"]))) == (64, 128)


def test_a_call_refused_before_its_number_was_judged_is_neither_domestic_nor_international() -> None:
    assert named(REFUSED)["Domestic/International"] == ""
    busy = CallRecord("c", "t", "user_out", number_type="subscriber", sip_status=486)
    assert named(busy)["Domestic/International"] == "domestic"


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(4_999, "0.00"), (5_000, "0.01"), (14_999, "0.01"), (-5_000, "-0.01"), (10**15, "1000000000.00")],
)
def test_two_decimals_half_up(micros: int, shown: str) -> None:
    assert named(CallRecord("c", "t", "user_out", charge_micros=micros))["Charge"] == shown


def test_moments() -> None:
    assert iso_time(0) == ""
    assert iso_time(1) == "1970-01-01T00:00:00.001Z"


async def test_csv_is_rfc_4180() -> None:
    out = io.BytesIO()
    assert await export_usage(stream(ANSWERED, REFUSED), out, "csv") == 2
    text = out.getvalue().decode()
    assert text.count("\r\n") == 3
    assert not re.search(r"(?<!\r)\n", text)
    assert '"Alice ""Al"" Smith, Ltd"' in text
    header, first, second = csv.reader(io.StringIO(text, newline=""))
    assert header[:20] == SOURCE_COLUMNS
    assert first == [str(value) for value in usage_row(ANSWERED)]
    assert second[0] == "0199-2"


async def test_csv_leaves_the_file_open_for_its_owner() -> None:
    out = io.BytesIO()
    await export_usage(stream(), out, "csv")
    out.write(b"more")


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_json_is_one_array(count: int) -> None:
    out = io.BytesIO()
    await export_usage(stream(*[ANSWERED, REFUSED][:count]), out, "json")
    rows = json.loads(out.getvalue())
    assert len(rows) == count
    for row, record in zip(rows, [ANSWERED, REFUSED], strict=False):
        assert row == named(record)


async def test_excel_takes_texts_for_texts(tmp_path: Path) -> None:
    nasty = CallRecord("=1+1", "contoso", "user_out", user_name="bell\x07", dialled="=cmd|' /C calc'!A0")
    with (tmp_path / "usage.xlsx").open("wb") as out:
        await export_usage(stream(ANSWERED, nasty), out, "xlsx")
    book = openpyxl.load_workbook(tmp_path / "usage.xlsx")
    rows = list(book.worksheets[0].iter_rows())
    assert [cell.value for cell in rows[0]][:20] == SOURCE_COLUMNS
    assert [cell.value for cell in rows[1]][:3] == ["0199-1", "abc@pbx", None]
    assert rows[1][15].value == 60
    assert (rows[2][0].value, rows[2][0].data_type) == ("=1+1", "s")
    assert rows[2][6].value == "bell�"
    book.close()


async def test_excel_has_numbers_and_dates_where_the_report_has_them(tmp_path: Path) -> None:
    with (tmp_path / "usage.xlsx").open("wb") as out:
        await export_usage(stream(ANSWERED, REFUSED), out, "xlsx")
    book = openpyxl.load_workbook(tmp_path / "usage.xlsx")
    sheet = book.worksheets[0]
    names = [cell.value for cell in sheet[1]]
    row = dict(zip(names, sheet[2], strict=True))
    assert abs(row["Start Time"].value - datetime(2025, 10, 9, 8, 53, 21, 1000)) < timedelta(milliseconds=1)
    assert row["Start Time"].number_format == 'yyyy-mm-dd"T"hh:mm:ss.000"Z"'
    assert (row["Charge"].value, row["Charge"].number_format, row["Charge"].data_type) == (0.13, "0.00", "n")
    assert (row["Charge Micros"].value, row["Duration Seconds"].value) == (125_000, 60)
    assert sheet.freeze_panes == "A2"
    assert sheet.column_dimensions[row["Start Time"].column_letter].width > 24
    book.close()


async def test_excel_keeps_what_it_cannot_hold_as_text(tmp_path: Path) -> None:
    huge = CallRecord("c", "t", "user_out", user_name="x" * 40_000, charge_micros=10**15)
    with (tmp_path / "usage.xlsx").open("wb") as out:
        await export_usage(stream(huge, ANSWERED), out, "xlsx")
    book = openpyxl.load_workbook(tmp_path / "usage.xlsx")
    names = [cell.value for cell in book.worksheets[0][1]]
    first, second = (dict(zip(names, book.worksheets[0][number], strict=True)) for number in (2, 3))
    assert (first["Charge Micros"].value, first["Charge Micros"].data_type) == (str(10**15), "s")
    assert (second["Charge Micros"].value, second["Charge Micros"].data_type) == (125_000, "n")
    book.close()


async def test_excel_goes_on_to_the_next_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SHEET_ROWS", 3)
    with (tmp_path / "usage.xlsx").open("wb") as out:
        await export_usage(stream(*[ANSWERED] * 5), out, "xlsx")
    book = openpyxl.load_workbook(tmp_path / "usage.xlsx")
    assert [sheet.max_row for sheet in book.worksheets] == [3, 3, 2]
    book.close()


@pytest.mark.parametrize(("form", "count"), [("csv", 5_000), ("json", 5_000), ("xlsx", 2_000)])
async def test_memory_stays_flat(form: files.ExportFormat, count: int, tmp_path: Path) -> None:
    async def many() -> AsyncIterator[CallRecord]:
        for _ in range(count):
            yield ANSWERED

    await export_usage(stream(ANSWERED), io.BytesIO(), form)  # what is loaded once is no question
    tracemalloc.start()
    try:
        with (tmp_path / "usage").open("wb") as out:
            assert await export_usage(many(), out, form) == count
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
