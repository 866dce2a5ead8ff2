"""Who was blocked and unblocked, read from the audit log that provisioning wrote."""

from pathlib import Path
from typing import Any

from gateway.config.provisioning import parse
from gateway.ledger import Ledger
from gateway.settlement.reports import Report, blocked_report
from policy.directory import User


async def provision(ledger: Ledger, *people: dict[str, Any], actor: str = "cli:ann") -> None:
    tenant = {"id": "contoso", "rate_deck": "standard", "user": list(people)}
    await ledger.provision(parse({"tenant": [tenant]}, "test.toml", Path()), actor=actor)


async def report(ledger: Ledger, from_ms: int | None = None, to_ms: int | None = None) -> Report:
    return await blocked_report(ledger.blockings("contoso"), await ledger.users("contoso"), from_ms, to_ms)


async def test_each_blocking_and_unblocking_has_a_row(ledger: Ledger) -> None:
    alice = {"id": "alice@contoso.com", "number": "+14255550100", "name": 'Alice "blocked": true'}
    await provision(ledger, alice, {"id": "bob@contoso.com", "blocked": True})
    await provision(ledger, alice | {"blocked": True}, {"id": "bob@contoso.com", "blocked": True}, actor="cli:eve")
    await provision(ledger, alice | {"blocked": True, "number": "+14255550101"}, {"id": "bob@contoso.com"})
    await provision(ledger)
    found = (await report(ledger)).rows
    assert [(row[5], row[3], row[6]) for row in found] == [
        ("bob@contoso.com", "blocked", "cli:ann"),
        ("alice@contoso.com", "blocked", "cli:eve"),
        ("bob@contoso.com", "unblocked", "cli:ann"),
        ("alice@contoso.com", "removed", "cli:ann"),
    ]
    assert [row[4] for row in found] == sorted(row[4] for row in found)


async def test_name_and_phone_are_those_of_now(ledger: Ledger) -> None:
    await provision(ledger, {"id": "alice@contoso.com", "blocked": True})
    await provision(ledger, {"id": "alice@contoso.com", "blocked": True, "name": "Alice", "number": "+14255550100"})
    found = await report(ledger)
    assert [column.name for column in found.columns][:5] == [
        "User Display Name", "Phone", "Blocked Reason", "Blocked Action", "Blocked Time",
    ]  # fmt: skip
    (row,) = found.shown()
    assert (row["User Display Name"], row["Phone"]) == ("Alice", "+14255550100")
    assert row["Blocked Reason"] == "set by provisioning"
    assert str(row["Blocked Time"]).endswith("Z")


async def test_a_period(ledger: Ledger) -> None:
    await provision(ledger, {"id": "alice@contoso.com", "blocked": True})
    (row,) = (await report(ledger)).rows
    assert (await report(ledger, row[4], row[4] + 1)).rows == [row]
    assert (await report(ledger, row[4] + 1)).rows == []
    assert (await report(ledger, None, row[4])).rows == []


async def test_a_user_blocked_before_there_was_a_log_has_a_row_without_a_time(ledger: Ledger) -> None:
    old = User("old@contoso.com", "contoso", "+14255550199", "Old", blocked=True)
    found = await blocked_report(ledger.blockings("contoso"), [old, User("x", "contoso")])
    assert found.rows == [("Old", "+14255550199", "", "blocked", 0, "old@contoso.com", "")]
    assert found.shown()[0]["Blocked Time"] == ""
