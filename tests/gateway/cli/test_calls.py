"""calls, hangup and usage against records that were really booked."""

import asyncio
import csv
import io
import json
import time
from pathlib import Path
from zipfile import ZipFile

import pytest

from gateway.call.record import CallRecord
from gateway.ledger import CallEntry, Ledger, ledger_url

from .conftest import Shell

START_MS = 1_770_000_000_000
"""2026-02-02T02:40:00Z."""


def book(folder: Path, *records: CallRecord) -> None:
    """Put call records into the ledger, as the settler does."""

    async def work() -> None:
        async with Ledger(ledger_url("embedded", folder / "data")) as ledger:
            await ledger.book(
                [CallEntry(each.call_id, "contoso", each.charge_micros, each.encode()) for each in records]
            )

    asyncio.run(work())


def record(call_id: str, at_ms: int = START_MS, talk_ms: int = 61_000) -> CallRecord:
    return CallRecord(
        call_id=call_id,
        tenant_id="contoso",
        kind="user_out",
        sip_call_id=f"sip-{call_id}",
        caller="+14255550100",
        number="+12125550123",
        destination="United States",
        currency="USD",
        payer="credits",
        invited_ms=at_ms,
        answered_ms=at_ms if talk_ms else 0,
        ended_ms=at_ms + talk_ms,
        talk_ms=talk_ms,
        charge_micros=610_000 if talk_ms else 0,
        reason="COMPLETED" if talk_ms else "NO_CREDIT",
        sip_status=200 if talk_ms else 402,
    )


def test_no_calls_are_an_empty_list(provisioned: Shell) -> None:
    assert provisioned("calls", "--json").document == []
    assert provisioned("calls", "--tenant", "contoso").out == "no calls\n"


def test_hanging_up_what_is_not_there_is_told(provisioned: Shell) -> None:
    assert provisioned("hangup", "nope", status=1).failed("nope", "callgate calls")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_usage_has_the_columns_of_the_report(provisioned: Shell) -> None:
    book(provisioned.folder, record("c1"))
    (row,) = rows(provisioned("usage", "--tenant", "contoso").out)
    names = list(row)
    assert names[:20][0] == "UsageId"
    assert names[15:20] == ["Duration Seconds", "Connection Fee", "Charge", "Currency", "Capability"]
    assert names[20:24] == ["Charge Micros", "Payer", "Reason Code", "SIP Status"]
    assert (row["Duration Seconds"], row["Charge"], row["Charge Micros"]) == ("61", "0.61", "610000")


def test_refused_calls_are_left_out_unless_asked_for_and_always_in_json(provisioned: Shell) -> None:
    book(provisioned.folder, record("c1"), record("c2", talk_ms=0))
    assert len(rows(provisioned("usage", "--tenant", "contoso").out)) == 1
    assert len(rows(provisioned("usage", "--tenant", "contoso", "--refused").out)) == 2
    assert len(provisioned("usage", "--tenant", "contoso", "--format", "json").document) == 2
    assert len(provisioned("usage", "--tenant", "contoso", "--json").document) == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["c1", "c2", "c3"]),
        (("--from", "2026-02-03"), ["c2", "c3"]),
        (("--to", "2026-02-03"), ["c1", "c2"]),
        (("--from", "2026-02-03", "--to", "2026-02-03"), ["c2"]),
        (("--from", "2026-02-02T02:40:01Z"), ["c2", "c3"]),
        (("--to", "2026-02-02T02:40:00+00:00"), []),
    ],
)
def test_usage_is_narrowed_by_day_or_moment(provisioned: Shell, words: tuple[str, ...], found: list[str]) -> None:
    day_ms = 86_400_000
    book(provisioned.folder, record("c1"), record("c2", START_MS + day_ms), record("c3", START_MS + 2 * day_ms))
    document = provisioned("usage", "--tenant", "contoso", *words, "--json").document
    assert [row["Call ID"].removeprefix("sip-") for row in document] == found


def test_usage_goes_into_a_file_whole(provisioned: Shell) -> None:
    book(provisioned.folder, record("c1"))
    for form in ("csv", "json", "xlsx"):
        done = provisioned("usage", "--tenant", "contoso", "--format", form, "-o", f"usage.{form}")
        assert done.out == ""
    assert len(rows((provisioned.folder / "usage.csv").read_text(encoding="utf-8"))) == 1
    assert len(json.loads((provisioned.folder / "usage.json").read_text())) == 1
    with ZipFile(provisioned.folder / "usage.xlsx") as book_:
        assert "xl/worksheets/sheet1.xml" in book_.namelist()
    assert not list(provisioned.folder.glob(".usage*"))


def test_a_file_that_cannot_be_written_is_told(provisioned: Shell) -> None:
    assert provisioned("usage", "--tenant", "contoso", "-o", "nowhere/usage.csv", status=1).failed("nowhere")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "02/03/2026"])
def test_what_is_no_date_is_wrong_use(provisioned: Shell, text: str) -> None:
    assert "expected a date or time" in provisioned("usage", "--tenant", "contoso", "--from", text, status=2).err


def test_a_charge_is_in_the_ledger_with_its_call(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    book(provisioned.folder, record("c1", time.time_ns() // 1_000_000))
    charge = provisioned("ledger", "--tenant", "contoso", "--json").document[-1]
    assert (charge["kind"], charge["amount"], charge["balance"]) == ("charge", "-0.610000", "4.390000")
    assert charge["call_id"] == "c1"
