"""report and advise against records that were really booked: tables, documents and files."""

import csv
import io
import json
import time
from pathlib import Path

import openpyxl
import pytest

from .booked import book, record
from .conftest import PROVISIONING, Shell

DAY_MS = 86_400_000


@pytest.fixture
def busy(provisioned: Shell) -> Shell:
    """A tenant that called yesterday."""
    yesterday_ms = time.time_ns() // 1_000_000 - DAY_MS
    alice = {"user_id": "alice@contoso.com", "user_name": "Alice"}
    conference = record("c2", yesterday_ms, kind="conf_out", charge_micros=5_280_000, destination="Zimbabwe", **alice)
    book(provisioned.folder, record("c1", yesterday_ms, **alice), conference, record("c3", yesterday_ms, talk_ms=0))
    return provisioned


def test_spend_as_a_table_a_document_and_a_file(busy: Shell) -> None:
    words = ("report", "spend", "--tenant", "contoso", "--by", "destination")
    table = busy(*words).out
    assert table.index("Zimbabwe") < table.index("United States")
    assert busy(*words, "--json").document == [
        {
            "Destination Dialed": "Zimbabwe",
            "Calls": 1,
            "Minutes": 2,
            "Pool Minutes": 0,
            "Charge": "5.280000",
            "Currency": "USD",
        },
        {
            "Destination Dialed": "United States",
            "Calls": 1,
            "Minutes": 2,
            "Pool Minutes": 0,
            "Charge": "0.610000",
            "Currency": "USD",
        },
    ]
    (first, _) = csv.DictReader(io.StringIO(busy(*words, "--format", "csv").out))
    assert (first["Destination Dialed"], first["Charge"]) == ("Zimbabwe", "5.28")
    busy(*words, "--format", "xlsx", "-o", "spend.xlsx")
    book_ = openpyxl.load_workbook(busy.folder / "spend.xlsx")
    assert [cell.value for cell in book_.worksheets[0][2]] == ["Zimbabwe", 1, 2, 0, 5.28, "USD"]
    book_.close()


def test_dial_out(busy: Shell) -> None:
    (row,) = busy("report", "dial-out", "--tenant", "contoso", "--json").document
    assert row == {
        "Organizer": "Alice", "Username": "alice@contoso.com", "Minutes": 2, "Credit Spent": "5.280000",
        "Currency": "USD", "Calls": 1, "Pool Minutes": 0,
    }  # fmt: skip


def test_pools(provisioned: Shell) -> None:
    licensed = PROVISIONING.replace('number = "+14255550100"', 'number = "+14255550100"\nlicences = ["MCOPSTN5"]')
    (provisioned.folder / "tenants.toml").write_text(licensed)
    provisioned("provision", "tenants.toml")
    (row,) = provisioned("report", "pools", "--tenant", "contoso", "--month", "2026-11", "--json").document
    assert (row["Pool"], row["Total Minutes"], row["Minutes Used"]) == ("MCOPSTN5/US", 120, 0)
    assert "expected a month" in provisioned("report", "pools", "--tenant", "contoso", "--month", "11", status=2).err


def test_a_period_without_calls_is_told(busy: Shell) -> None:
    words = ("--tenant", "contoso", "--from", "2020-01-01", "--to", "2020-12-31")
    assert busy("report", "spend", *words).out == "nothing to report\n"
    assert busy("report", "dial-out", *words, "--json").document == []
    assert busy("report", "dial-out", *words, "--format", "csv").out.count("\n") == 1


def test_blocked(provisioned: Shell) -> None:
    file: Path = provisioned.folder / "tenants.toml"
    file.write_text(PROVISIONING.replace('number = "+14255550100"', 'number = "+14255550100"\nblocked = true'))
    provisioned("provision", "tenants.toml")
    (row,) = provisioned("report", "blocked", "--tenant", "contoso", "--json").document
    assert (row["UPN"], row["Phone"], row["Blocked Action"]) == ("alice@contoso.com", "+14255550100", "blocked")
    assert row["Actor"].startswith("cli:")


@pytest.mark.parametrize("name", ["spend", "dial-out", "blocked", "pools"])
def test_an_unknown_tenant_is_told(provisioned: Shell, name: str) -> None:
    assert provisioned("report", name, "--tenant", "nobody", status=1).failed("nobody")


def test_wrong_use_is_told(provisioned: Shell) -> None:
    words = ("report", "spend", "--tenant", "contoso")
    assert "needs --format" in provisioned(*words, "-o", "x.csv", status=2).err
    assert "expected a date" in provisioned(*words, "--from", "soon", status=2).err
    assert not (provisioned.folder / "x.csv").exists()


def test_advice_as_a_document_and_for_people(busy: Shell) -> None:
    found = busy("advise", "--tenant", "contoso", "--months", "2", "--json").document
    assert (found["trigger"], found["currency"], found["days"]) == ("50.000000", "USD", 1)
    assert found["amount"] == "177.000000", "30 days of 5.89"
    assert found["daily"] == {"mean": "5.890000", "p50": "5.890000", "p95": "5.890000", "max": "5.890000"}
    assert [step["step"] for step in found["reasoning"]] == ["days", "day", "trigger", "amount", "lasts"]
    assert found["destinations"][0] == {
        "destination": "Zimbabwe", "calls": 1, "minutes": 2, "charge": "5.280000", "per_minute": "2.640000",
    }  # fmt: skip
    told = busy("advise", "--tenant", "contoso").out
    assert "set trigger 50.00 and amount 177.00 USD" in told
    assert "Zimbabwe" in told
    json.dumps(found)


def test_advice_takes_a_month_or_two(provisioned: Shell) -> None:
    provisioned("advise", "--tenant", "contoso", "--months", "3", status=2)
    assert "no minute cost anything" in provisioned("advise", "--tenant", "contoso").out
