"""fund, balance, ledger and reconcile, with an embedded Redis that lives as long as the command."""

import asyncio
import os
import pwd
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.credit.embedded import EmbeddedRedis
from gateway.credit.keys import Keyspace
from rating.money import parse_amount

from ..cluster import Cluster
from .conftest import PROVISIONING, Shell


def redis_runs(folder: Path) -> bool:
    """Whether a Redis server of this folder is left."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return any("redis" in line and str(folder) in line for line in found.stdout.splitlines() if "pytest" not in line)


def test_money_is_booked_and_can_be_used_at_once(provisioned: Shell) -> None:
    done = provisioned("fund", "contoso", "12.34", "--reference", "r1", "--json").document
    assert done == {
        "tenant": "contoso",
        "kind": "manual",
        "amount": "12.340000",
        "reference": "r1",
        "id": "1",
        "ledger_balance": "12.340000",
        "repeated": False,
        "applied": True,
    }
    assert provisioned("balance", "contoso", "--json").document == {
        "tenant": "contoso",
        "currency": "USD",
        "mode": "prepaid",
        "balance": "12.340000",
        "held": "0.000000",
        "available": "12.340000",
        "ledger_balance": "12.340000",
        "unsynced": "0.000000",
        "pools": [],
        "exhausted": False,
    }
    assert not redis_runs(provisioned.folder)


def test_the_same_reference_books_once_and_says_so(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    again = provisioned("fund", "contoso", "5", "--reference", "r1")
    assert "was booked before" in again.out
    assert provisioned("fund", "contoso", "5", "--reference", "r1", "--json").document["repeated"] is True
    assert provisioned("fund", "contoso", "6", "--reference", "r1", status=1).failed("r1", "choose a new reference")
    assert provisioned("fund", "contoso", "5", "--reference", "r1", "--kind", "refund", status=1).failed("r1")
    assert provisioned("balance", "contoso", "--json").document["balance"] == "5.000000"


def test_lots_are_shown_oldest_first(provisioned: Shell) -> None:
    assert "there is no credit" in provisioned("lots", "contoso").out
    provisioned("fund", "contoso", "5", "--reference", "r1")
    provisioned("fund", "contoso", "7", "--reference", "r2", "--kind", "refund")
    provisioned("fund", "contoso", "-6", "--reference", "r3", "--kind", "adjustment")
    (second,) = provisioned("lots", "contoso", "--json").document
    assert (second["id"], second["kind"], second["source"]) == ("2", "refund", "manual")
    assert (second["amount"], second["remaining"], second["reference"]) == ("7.000000", "6.000000", "r2")
    assert int(second["expires_at"][:4]) == int(second["purchased_at"][:4]) + 1
    every = provisioned("lots", "contoso", "--spent", "--json").document
    assert [lot["remaining"] for lot in every] == ["0.000000", "6.000000"]
    assert "6.000000" in provisioned("lots", "contoso").out
    assert provisioned("lots", "nobody", status=1).failed("there is no tenant 'nobody'")


def test_what_may_not_be_funded_says_why(provisioned: Shell) -> None:
    file = provisioned.folder / "tenants.toml"
    text = file.read_text()
    more = 'rate_deck = "standard"\nminimum_funding = "50"'
    file.write_text(text.replace('rate_deck = "standard"', more))
    provisioned("provision", "tenants.toml")
    refused = provisioned("fund", "contoso", "49", "--reference", "r1", status=1)
    assert refused.failed("BELOW_MINIMUM_FUNDING", "fund at least 50.000000")
    file.write_text(text.replace('rate_deck = "standard"', more + '\nbilling_region = "DE"'))
    provisioned("provision", "tenants.toml")
    refused = provisioned("fund", "contoso", "50", "--reference", "r1", status=1)
    assert refused.failed("REGION_MISMATCH", "billing_region")


def test_how_a_recharge_stands_is_shown(provisioned: Shell) -> None:
    shown = provisioned("recharge", "contoso", "--json").document
    assert (shown["enabled"], shown["state"], shown["retry_at"], shown["payments"]) == (False, "idle", None, [])
    file = provisioned.folder / "tenants.toml"
    given = 'rate_deck = "standard"\nrecharge = { enabled = true, trigger = "50", amount = "200" }'
    file.write_text(file.read_text().replace('rate_deck = "standard"', given))
    provisioned("provision", "tenants.toml")
    shown = provisioned("recharge", "contoso", "--json").document
    assert (shown["enabled"], shown["trigger"], shown["amount"]) == (True, "50.000000", "200.000000")
    assert "no payment was asked for yet" in provisioned("recharge", "contoso").out


def test_only_an_adjustment_may_be_negative(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    assert provisioned("fund", "contoso", "-2", "--reference", "r2", status=1).failed("--kind adjustment")
    taken = provisioned("fund", "contoso", "-2", "--reference", "r2", "--kind", "adjustment", "--json").document
    assert (taken["amount"], taken["ledger_balance"], taken["repeated"]) == ("-2.000000", "3.000000", False)
    too_much = provisioned("fund", "contoso", "-4", "--reference", "r3", "--kind", "adjustment", status=1)
    assert too_much.failed("3.000000", "available")


def test_the_ledger_has_a_running_balance(provisioned: Shell) -> None:
    for reference, amount in (("r1", "5"), ("r2", "0.000001"), ("r3", "7.5")):
        provisioned("fund", "contoso", amount, "--reference", reference)
    postings = provisioned("ledger", "--tenant", "contoso", "--json").document
    assert [posting["balance"] for posting in postings] == ["5.000000", "5.000001", "12.500001"]
    assert [posting["reference"] for posting in postings] == ["r1", "r2", "r3"]
    assert set(postings[0]) == {"id", "at", "kind", "amount", "balance", "reference", "call_id"}
    assert sum(parse_amount(posting["amount"]) for posting in postings) == 12_500_001
    table = provisioned("ledger", "--tenant", "contoso").out.splitlines()
    assert table[0].split() == ["id", "at", "kind", "amount", "balance", "reference", "call", "id"]
    assert len(table) == 4


def test_an_empty_ledger_is_an_empty_list(provisioned: Shell) -> None:
    assert provisioned("ledger", "--tenant", "contoso", "--json").document == []
    assert provisioned("ledger", "--tenant", "contoso").out == "nothing was booked yet\n"


def test_reconcile_finds_no_drift(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    document = provisioned("reconcile", "--json").document
    assert (document["drift_micros"], document["clean"]) == (0, True)
    assert provisioned("reconcile", "--tenant", "contoso").out.endswith("drift 0 micros\n")


def spoil(provisioned: Shell, act: Callable[[Any, Any], object]) -> None:
    """Do something to the account in the embedded Redis that no script would do."""
    server = EmbeddedRedis(provisioned.folder / "data")
    asyncio.run(server.ensure())
    with redis.Redis(unix_socket_path=server.url.removeprefix("unix://")) as link:
        (account,) = [
            key for key in link.scan_iter("cg:*") if link.type(key) == b"hash" and link.hexists(key, "balance")
        ]
        act(link, account)
    asyncio.run(server.stop())


def test_reconcile_fails_where_there_is_drift(provisioned: Shell) -> None:
    """A balance that somebody changed by hand in Redis, beside every script."""
    provisioned("fund", "contoso", "5", "--reference", "r1")
    spoil(provisioned, lambda link, account: link.hincrby(account, "balance", 7))
    done = provisioned("reconcile", "--json", status=1)
    assert done.document["drift_micros"] == 7
    assert "do not add up" in done.err


def test_repair_makes_it_good_and_says_what_it_changed(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    spoil(provisioned, lambda link, account: link.hincrby(account, "balance", 7))
    done = provisioned("reconcile", "--repair", "--json").document
    assert (done["drift_micros"], done["clean"]) == (0, True)
    [changed] = done["rebuilt"]["accounts"]
    assert (changed["tenant"], changed["balance_before"], changed["balance"]) == ("contoso", "5.000007", "5.000000")
    assert provisioned("balance", "contoso", "--json").document["balance"] == "5.000000"
    asked, did, restored = provisioned("audit", "--json").document[-3:]
    assert (asked["act"], asked["before"]) == ("redis.repair", {"epoch": 1})
    assert (did["act"], did["after"]["accounts"]) == ("redis.repaired", 1)
    assert (restored["act"], restored["tenant"]) == ("account.restored", "contoso")
    assert restored["before"] == {"balance": "5.000007", "held": "0.000000", "calls": 0}
    assert restored["after"] == {"balance": "5.000000", "held": "0.000000", "calls": 0}
    assert {act["actor"] for act in (asked, did, restored)} == {f"cli:{pwd.getpwuid(os.getuid()).pw_name}"}
    shown = provisioned("reconcile", "--repair", "--tenant", "contoso").out
    assert "no account was changed" in shown
    assert shown.endswith("drift 0 micros\n")
    assert provisioned("reconcile", "--repair", "--tenant", "nobody", status=1).failed("nobody")


def test_repair_of_an_emptied_redis(provisioned: Shell) -> None:
    provisioned("fund", "contoso", "5", "--reference", "r1")
    spoil(provisioned, lambda link, _account: link.flushall())
    assert provisioned("balance", "contoso", "--json").document["balance"] == "5.000000", "opening it has rebuilt it"
    assert provisioned("reconcile", "--repair").out.splitlines()[1].startswith("rebuilt in ")


@pytest.mark.parametrize("words", [("fund", "nobody", "5", "--reference", "r"), ("balance", "nobody")])
def test_an_unknown_tenant_is_told(provisioned: Shell, words: tuple[str, ...]) -> None:
    assert provisioned(*words, status=1).failed("nobody", "callgate provision")


@pytest.mark.parametrize("amount", ["abc", "1e3", "1,5", "0.0000001", "99999999999", ""])
def test_what_is_no_amount_is_wrong_use(provisioned: Shell, amount: str) -> None:
    done = provisioned("fund", "contoso", amount, "--reference", "r", status=2)
    assert done.out == ""


def test_zero_is_refused(provisioned: Shell) -> None:
    assert provisioned("fund", "contoso", "0", "--reference", "r", status=1).failed()


def test_money_is_booked_while_redis_is_away_and_applied_later(provisioned: Shell) -> None:
    settings = provisioned.folder / "callgate.toml"
    here = settings.read_text()
    settings.write_text(here.replace("[redis]", '[redis]\nurl = "unix:///nowhere/redis.sock"'))
    done = provisioned("fund", "contoso", "5", "--reference", "r1", "--json")
    assert done.document["applied"] is False
    assert "Redis is away" in done.err
    assert provisioned("balance", "contoso", status=1).failed()
    settings.write_text(here)
    assert provisioned("balance", "contoso", "--json").document["balance"] == "5.000000"


def test_a_kind_of_redis_that_cannot_be_used_is_named(provisioned: Shell) -> None:
    settings = provisioned.folder / "callgate.toml"
    settings.write_text(settings.read_text().replace("[redis]", '[redis]\nurl = "redis+sentinel://127.0.0.1"'))
    done = provisioned("balance", "contoso", status=1)
    assert done.failed("redis.url names no service for its sentinels", "expected")
    assert "fault" not in done.err


@pytest.mark.peer("postgres")
def test_over_a_postgresql_that_is_stopped_and_comes_back(shell: Shell, postgres: Cluster, postgres_url: str) -> None:
    settings = shell.folder / "callgate.toml"
    settings.write_text(settings.read_text() + f'[ledger]\nurl = "{postgres_url}"\n')
    shell("provision", "tenants.toml")
    shell("fund", "contoso", "5", "--reference", "r1")
    postgres.stop()
    try:
        for words in (("fund", "contoso", "5", "--reference", "r2"), ("provision", "tenants.toml"), ("reconcile",)):
            assert shell(*words, status=1).failed("the ledger is away", "check [ledger] url")
    finally:
        postgres.start()
    shell("fund", "contoso", "5", "--reference", "r2")
    shell("fund", "contoso", "-1", "--reference", "r3", "--kind", "adjustment")
    postings = shell("ledger", "--tenant", "contoso", "--json").document
    assert [posting["balance"] for posting in postings] == ["5.000000", "10.000000", "9.000000"]
    assert shell("balance", "contoso", "--json").document["unsynced"] == "0.000000"
    assert shell("reconcile", "--json").document["clean"] is True


def test_a_ledger_that_is_away_books_nothing(provisioned: Shell) -> None:
    settings = provisioned.folder / "callgate.toml"
    settings.write_text(settings.read_text() + '[ledger]\nurl = "postgresql://u:hunter2@127.0.0.1:1/x"\n')
    done = provisioned("fund", "contoso", "5", "--reference", "r1", status=1)
    assert done.failed()
    assert "hunter2" not in done.err


def test_limits_are_shown_with_what_is_used_and_ranges_are_opened_again(provisioned: Shell) -> None:
    assert "there are no limits" in provisioned("limits", "contoso").out
    more = (
        'limits = { max_calls = 5, spend_per_day = "20", numbers_per_range_per_hour = 2 }\n'
        'class_limits = [{ number_class = "premium", calls_per_second = 1 }]\n'
    )
    user = 'number = "+14255550100"\nspend_limit_per_month = "7"'
    text = PROVISIONING.replace('rate_deck = "standard"\n', f'rate_deck = "standard"\n{more}', 1)
    (provisioned.folder / "tenants.toml").write_text(text.replace('number = "+14255550100"', user))
    provisioned("provision", "tenants.toml")
    day = datetime.now(UTC).date().isoformat()
    provisioned("fund", "contoso", "5", "--reference", "r1")
    fields = {f"spent tenant/day {day}": 1_500_000, f"closed +88213 {day}": 1, "closed +88213 2026-01-01": 1}
    spoil(provisioned, lambda link, _: link.hset(Keyspace(4).tenant("contoso").counters, mapping=fields))
    found = provisioned("limits", "contoso", "--json").document
    rows = [(row["scope"], row["limits"], row["most"], row["used"]) for row in found["limits"]]
    assert rows == [
        ("tenant", "live calls", 5, 0),
        ("tenant/day", "money", "20.000000", "1.500000"),
        ("class/premium", "calls a second", 1, None),
        ("user/alice@contoso.com/month", "money", "7.000000", "0.000000"),
    ]
    assert [each["scope"] for each in found["closed"]] == ["range/+88213"]
    assert "range/+88213" in provisioned("limits", "contoso").out
    opened = provisioned("limits", "contoso", "--release", "range/+88213", "--json").document
    assert opened["closed"] == []
    assert provisioned("limits", "contoso", "--release", "range/+88213", status=1).failed("no closed range")
    (act,) = [act for act in provisioned("audit", "--json").document if act["act"] == "limit.released"]
    assert (act["tenant"], act["subject"]) == ("contoso", "range/+88213")


def test_balance_shows_people_the_minutes_too(provisioned: Shell) -> None:
    assert "pool" not in provisioned("balance", "contoso").out
    user = 'number = "+14255550100"\nlicences = ["MCOPSTN1", "MCOPSTNPP"]'
    text = PROVISIONING.replace('number = "+14255550100"', user)
    (provisioned.folder / "tenants.toml").write_text(text)
    provisioned("provision", "tenants.toml")
    lines = [line.split() for line in provisioned("balance", "contoso").out.splitlines()]
    assert ["pool", "month", "used", "held", "total"] in lines
    assert ["MCOPSTN1/US", f"{datetime.now(UTC):%Y-%m}", "0", "0", "3000"] in lines


def test_a_spending_limit_is_released_with_a_reason(provisioned: Shell) -> None:
    limits = 'rate_deck = "standard"\nlimits = { max_calls = 5, spend_per_day = "20" }\n'
    text = PROVISIONING.replace('rate_deck = "standard"\n', limits, 1)
    (provisioned.folder / "tenants.toml").write_text(text)
    provisioned("provision", "tenants.toml")
    provisioned("fund", "contoso", "5", "--reference", "r1")
    fields = {f"spent tenant/day {datetime.now(UTC).date().isoformat()}": 1_500_000}
    spoil(provisioned, lambda link, _: link.hset(Keyspace(4).tenant("contoso").counters, mapping=fields))
    words = ("limits", "contoso", "--release", "tenant/day", "--reason", "a fair in town", "--json")
    rows = {row["scope"]: row["used"] for row in provisioned(*words).document["limits"]}
    assert rows == {"tenant": 0, "tenant/day": "0.000000"}
    (act,) = [act for act in provisioned("audit", "--json").document if act["act"] == "limit.released"]
    assert (act["subject"], act["before"]["used"]) == ("tenant/day", "1.500000")
    assert act["after"] == {"reason": "a fair in town"}
    assert provisioned("limits", "contoso", "--release", "tenant", status=1).failed("live calls")
    assert provisioned("limits", "contoso", "--release", "tenant/hour", status=1).failed("no spending limit")
    provisioned("limits", "contoso", "--reason", "none", status=2)
