"""usage against records that were really booked: csv, json, workbook, and the archive with a file for each day."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from .booked import START_MS, book, record
from .conftest import PROVISIONING, Shell

DAY_MS = 86_400_000


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
    book(provisioned.folder, record("c1"), record("c2", START_MS + DAY_MS), record("c3", START_MS + 2 * DAY_MS))
    document = provisioned("usage", "--tenant", "contoso", *words, "--json").document
    assert [row["Call ID"].removeprefix("sip-") for row in document] == found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", ""), "expected a date or time"),
        (("--to", ""), "expected a date or time"),
        (("--json", "--format", "csv"), "--json and --format csv ask for two things"),
    ],
)
def test_usage_refuses_what_says_nothing_or_two_things(provisioned: Shell, words: tuple[str, ...], told: str) -> None:
    assert told in provisioned("usage", "--tenant", "contoso", *words, status=2).err.replace("\n", " ")


def test_json_may_be_asked_for_twice(provisioned: Shell) -> None:
    assert provisioned("usage", "--tenant", "contoso", "--json", "--format", "json").document == []


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
    for file, why in (
        ("nowhere/u.csv", "no folder nowhere"),
        ("tenants.toml/u.csv", "Not a directory"),
        (".", "a file"),
    ):
        for words in (("usage",), ("usage", "--format", "zip"), ("report", "spend", "--format", "csv")):
            said = provisioned(*words, "--tenant", "contoso", "-o", file, status=1)
            assert said.failed(why)
            assert "Errno" not in said.err


@pytest.mark.parametrize(
    "words", [("usage",), ("usage", "--format", "zip"), ("report", "spend"), ("report", "dial-out"), ("audit",)]
)
def test_a_period_that_ends_before_it_begins_is_wrong_use(provisioned: Shell, words: tuple[str, ...]) -> None:
    asked = (*words, "--tenant", "contoso", "--from", "2026-02-04", "--to")
    assert "is not before" in provisioned(*asked, "2026-02-03", status=2).err
    assert "is not before" in provisioned(*asked, "2026-02-04T00:00Z", status=2).err
    provisioned("report", "blocked", "--tenant", "contoso", "--from", "2026-02-04", "--to", "2026-02-03", status=2)


def test_a_zip_from_the_future_is_wrong_use(provisioned: Shell) -> None:
    words = ("usage", "--tenant", "contoso", "--format", "zip", "--from", "2100-01-01")
    assert "in the future" in provisioned(*words, status=2).err


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "02/03/2026"])
def test_what_is_no_date_is_wrong_use(provisioned: Shell, text: str) -> None:
    assert "expected a date or time" in provisioned("usage", "--tenant", "contoso", "--from", text, status=2).err


def days(path: Path) -> dict[str, list[dict[str, str]]]:
    with ZipFile(path) as whole:
        assert whole.testzip() is None
        return {name: rows(whole.read(name).decode()) for name in whole.namelist() if name != "parameters.json"}


def parameters(path: Path) -> dict[str, Any]:
    with ZipFile(path) as whole:
        assert whole.namelist()[-1] == "parameters.json"
        document: dict[str, Any] = json.loads(whole.read("parameters.json"))
        return document


def test_a_zip_has_a_file_for_each_day_with_calls(provisioned: Shell) -> None:
    book(provisioned.folder, record("c1"), record("c2"), record("c3", START_MS + 2 * DAY_MS))
    words = ("usage", "--tenant", "contoso", "--from", "2026-02-01", "--to", "2026-02-28", "--format", "zip")
    assert provisioned(*words, "-o", "february.zip").out == ""
    found = days(provisioned.folder / "february.zip")
    assert {name: [row["UsageId"] for row in day] for name, day in found.items()} == {
        "PSTN.calls.2026-02-02.csv": ["c1", "c2"],
        "PSTN.calls.2026-02-04.csv": ["c3"],
    }
    told = parameters(provisioned.folder / "february.zip")
    assert (told["tenant"], told["from"], told["to"]) == (
        "contoso", "2026-02-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z",
    )  # fmt: skip
    assert told["files"] == [
        {"name": "PSTN.calls.2026-02-02.csv", "calls": 2},
        {"name": "PSTN.calls.2026-02-04.csv", "calls": 1},
    ]


def test_a_zip_is_named_by_its_id(provisioned: Shell) -> None:
    (name,) = provisioned("usage", "--tenant", "contoso", "--format", "zip").out.split()
    assert name.startswith("Calls.Export.")
    assert name == f"Calls.Export.{parameters(provisioned.folder / name)['id']}.zip"
    assert parameters(provisioned.folder / name)["files"] == []
    assert days(provisioned.folder / name) == {}


def test_a_zip_is_one_year_at_most(provisioned: Shell) -> None:
    words = ("usage", "--tenant", "contoso", "--format", "zip", "--from")
    assert "366 days at most" in provisioned(*words, "2025-01-01", "--to", "2026-02-01", status=2).err
    assert not list(provisioned.folder.glob("Calls.*"))
    provisioned(*words, "2025-01-01", "--to", "2025-12-31")


def test_numbers_of_the_other_side_are_masked_where_the_tenants_country_asks_for_it(shell: Shell) -> None:
    german = PROVISIONING.replace('id = "contoso"', 'id = "contoso"\ncountry = "DE"')
    (shell.folder / "tenants.toml").write_text(german)
    shell("provision", "tenants.toml")
    forwarded = record("c2", kind="user_out_forwarding", caller="+14255550100")
    book(shell.folder, record("c1", dialled="0012125550123"), forwarded)
    first, second = rows(shell("usage", "--tenant", "contoso").out)
    assert (first["Caller ID"], first["Destination Number"]) == ("+14255550100", "+12125550***")
    assert first["Number Dialed"] == "0012125550***"
    assert second["Caller ID"] == "+14255550100", "the tenant's own"
