"""ledger verify: what it says of books that are well, and of books that somebody changed."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import HeadFiles, Ledger, ledger_url
from gateway.settlement.heads import keep_heads

from ..tamper import tamper
from .conftest import Shell


@pytest.fixture
def funded(shell: Shell, configured_url: str) -> Shell:
    """Three fundings on either backend."""
    settings = shell.folder / "callgate.toml"
    settings.write_text(settings.read_text() + f'[ledger]\nurl = "{configured_url}"\n')
    shell("provision", "tenants.toml")
    for number in range(1, 4):
        shell("fund", "contoso", str(number), "--reference", f"r{number}", "--reason", "paid")
    return shell


def keep(shell: Shell, url: str) -> None:
    """What the settler does once a day."""

    async def work() -> None:
        async with Ledger(url) as ledger:
            assert await keep_heads(ledger, HeadFiles(shell.folder / "data"))

    asyncio.run(work())


def change(url: str, *statements: str) -> None:
    async def work() -> None:
        async with Ledger(url) as ledger:
            await tamper(ledger, *statements)

    asyncio.run(work())


def test_books_that_are_well(funded: Shell, ledger_url: str) -> None:
    before = funded("ledger", "verify", "--json").document
    assert (before["intact"], before["heads"], before["problems"]) == (True, {"days": 0, "newest": ""}, [])
    keep(funded, ledger_url)
    document = funded("ledger", "verify", "--json").document
    [contoso] = document["tenants"]
    assert document["heads"]["days"] == 1
    assert (contoso["tenant"], contoso["intact"], contoso["lines"], contoso["proved_line"]) == ("contoso", True, 3, 3)
    assert (contoso["broken_line"], contoso["why"], contoso["missing_records"]) == (None, "", 0)
    assert funded("ledger", "verify", "--tenant", "contoso").out.splitlines()[0].startswith("tenant")
    assert funded("ledger", "verify", "--tenant", "nobody", status=1).failed("nobody")
    postings = funded("ledger", "--tenant", "contoso", "--json").document
    assert [posting["balance"] for posting in postings] == ["1.000000", "3.000000", "6.000000"]


def test_a_line_that_was_changed_is_named(funded: Shell, ledger_url: str) -> None:
    change(ledger_url, "UPDATE postings SET amount_micros = amount_micros + 1 WHERE seq = 2")
    for words in (("--json",), ("--tenant", "contoso", "--json")):
        done = funded("ledger", "verify", *words, status=1)
        assert (done.document["tenants"][0]["broken_line"], done.document["intact"]) == (2, False)
        assert "contoso: line 2: its running balance" in str(done.document["problems"])
        assert any("its trigger" in problem for problem in done.document["problems"])
        assert done.err.count("\n") == 1


def test_a_tail_that_was_cut_off_is_named(funded: Shell, ledger_url: str) -> None:
    keep(funded, ledger_url)
    change(
        ledger_url,
        "DELETE FROM postings WHERE seq > 1",
        "DELETE FROM fundings WHERE seq > 1",
        "UPDATE accounts SET seq = 1, money_in_seq = 1, balance_micros = 1000000, "
        "head = (SELECT hash FROM postings WHERE seq = 1) WHERE name = 'credit'",
    )
    done = funded("ledger", "verify", "--json", status=1)
    [contoso] = done.document["tenants"]
    assert (contoso["broken_line"], "lines from here to 3 are gone" in contoso["why"]) == (2, True)


def test_files_of_heads_that_were_changed_are_named(funded: Shell, ledger_url: str) -> None:
    keep(funded, ledger_url)
    [file] = (funded.folder / "data" / "ledger-heads").iterdir()
    file.write_bytes(file.read_bytes().replace(b'"seq": 3', b'"seq": 1'))
    done = funded("ledger", "verify", status=1)
    assert "its signature is wrong" in done.err
    assert funded("ledger", "verify", "--json", status=1).document["tenants"][0]["intact"], "the chain itself is well"


def test_lots_that_do_not_add_up_to_the_balance_are_named(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    assert provisioned("ledger", "verify", "--json").document["intact"]
    with closing(sqlite3.connect(provisioned.folder / "data" / "ledger.sqlite3")) as file:
        file.execute("UPDATE lots SET remaining_micros = 1")
        file.commit()
    done = provisioned("ledger", "verify", "--json", status=1)
    assert "contoso: its lots add up to 0.000001, and its balance is 5.000000" in done.document["problems"]


def test_a_ledger_put_back_from_a_backup_is_told_from_the_one_that_was(provisioned: Shell) -> None:
    """SQLite's online copy while the gate runs; what was booked after it is missing, and that is said."""
    file, copy = provisioned.folder / "data" / "ledger.sqlite3", provisioned.folder / "copy.sqlite3"
    provisioned("fund", "contoso", "1", "--reference", "r1")
    with closing(sqlite3.connect(file)) as running, closing(sqlite3.connect(copy)) as backup:
        running.backup(backup)
    assert provisioned("ledger", "verify", "--json").document["intact"]
    provisioned("fund", "contoso", "2", "--reference", "r2")
    keep(provisioned, ledger_url_of(provisioned.folder))
    for left in file.parent.glob("ledger.sqlite3*"):
        left.unlink()
    copy.rename(file)
    done = provisioned("ledger", "verify", "--json", status=1)
    assert "lines from here to 2 are gone" in done.document["tenants"][0]["why"]
    provisioned("fund", "contoso", "2", "--reference", "r2")
    assert len(provisioned("ledger", "--tenant", "contoso", "--json").document) == 2


def ledger_url_of(folder: Path) -> str:
    return ledger_url("embedded", folder / "data")


@pytest.mark.parametrize("words", [("ledger",), ("ledger", "--json"), ("ledger", "--tenant", "contoso", "verify")])
def test_wrong_use(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell(*words, status=2).out == ""


def test_settings_may_be_named_before_verify(shell: Shell) -> None:
    (shell.folder / "callgate.toml").rename(shell.folder / "gate.toml")
    shell("provision", "tenants.toml", "-c", "gate.toml")
    assert shell("ledger", "verify", "-c", "gate.toml", "--json").document["tenants"][0]["tenant"] == "contoso"
    assert shell("ledger", "-c", "gate.toml", "verify", "--json").document["tenants"][0]["tenant"] == "contoso"
