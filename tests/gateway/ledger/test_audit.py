"""The audit log: each act once, with who, what, before and after; nothing for what did not happen, and no secrets."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.ledger import Act, AmountRefused, Ledger, WithdrawalEntry
from gateway.ledger import audit as audit_log

MakeDocument = Callable[..., Any]


async def acts(ledger: Ledger, *asked: Any) -> list[Act]:
    return [act async for act in ledger.acts(*asked)]


async def test_provisioning_tells_what_it_changed(empty_ledger: Ledger, document: MakeDocument, clock: Any) -> None:
    one = {"id": "contoso", "user": [{"id": "a@contoso.com", "number": "+14255550100"}]}
    await empty_ledger.provision(document(one), actor="cli:ann")
    first = await acts(empty_ledger)
    assert [(act.act, act.subject, act.tenant_id, act.actor) for act in first] == [
        ("rate_deck.added", "standard", "", "cli:ann"),
        ("tenant.added", "contoso", "contoso", "cli:ann"),
        ("user.added", "a@contoso.com", "contoso", "cli:ann"),
    ]
    assert first[1].before is None
    assert first[1].after is not None
    assert first[1].after["mode"] == "prepaid"
    clock.ms += 1_000
    other = {**one, "mode": "postpaid", "credit_limit": "5", "limits": {"max_calls": 3}}
    await empty_ledger.provision(document({**other, "user": []}), actor="cli:bob")
    changed, removed = (await acts(empty_ledger))[3:]
    assert (changed.at_ms, changed.actor, changed.act) == (clock.ms, "cli:bob", "tenant.changed")
    assert changed.before == {"mode": "prepaid", "credit_limit_micros": 0, "limits": {}}
    assert changed.after == {"mode": "postpaid", "credit_limit_micros": 5_000_000, "limits": {"max_calls": 3}}
    assert (removed.act, removed.after) == ("user.removed", None)
    assert removed.before is not None
    assert removed.before["number"] == "+14255550100"


async def test_what_changes_nothing_is_no_act(ledger: Ledger, document: MakeDocument) -> None:
    before = await acts(ledger)
    await ledger.provision(document({"id": "contoso"}, {"id": "fabrikam"}), actor="cli:ann")
    await ledger.provision(document({"id": "new"}), dry_run=True, actor="cli:ann")
    assert await acts(ledger) == before


async def test_money_is_told_with_the_balance_around_it(ledger: Ledger) -> None:
    before = await acts(ledger)
    await ledger.fund("contoso", 5_000_000, "r1", actor="cli:ann")
    await ledger.fund("contoso", 5_000_000, "r1", actor="cli:bob")  # booked before
    with pytest.raises(AmountRefused):
        await ledger.fund("contoso", 0, "r2", actor="cli:bob")
    await ledger.book(
        [WithdrawalEntry("r3", "contoso", 1_000_000, "adjustment", "http:admin-token", reason="booked twice")]
    )
    funded, taken = (await acts(ledger))[len(before) :]
    assert (funded.act, funded.actor, funded.subject) == ("fund.manual", "cli:ann", "r1")
    assert funded.before == {"ledger_balance": "0.000000"}
    assert funded.after == {"ledger_balance": "5.000000", "amount": "5.000000"}
    assert (taken.act, taken.actor) == ("fund.adjustment", "http:admin-token")
    assert taken.after == {"ledger_balance": "4.000000", "amount": "-1.000000", "reason": "booked twice"}


async def test_a_deck_is_told_with_the_one_before(ledger: Ledger) -> None:
    deck = (
        b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,9,0,1,1\n33,F,8,0,1,1\n"
    )
    await ledger.load_deck("standard", deck, currency="USD", actor="cli:ann")
    await ledger.load_deck("standard", deck, currency="USD", actor="cli:ann")
    last = (await acts(ledger))[-1]
    assert (last.act, last.actor, last.subject) == ("rate_deck.changed", "cli:ann", "standard")
    assert last.before is not None
    assert last.after is not None
    assert (last.before["version"], last.before["rows"], last.after["rows"]) == (1, 1, 2)
    assert sum(act.act == "rate_deck.changed" for act in await acts(ledger)) == 1


async def test_settings_are_told_when_they_change(empty_ledger: Ledger) -> None:
    for tick_s in (60, 60, 30, 30):
        await empty_ledger.note_settings("gate-1", {"tick_s": tick_s})
    await empty_ledger.note_settings("gate-2", {"tick_s": 30})
    told = [(act.subject, act.before, act.after) for act in await acts(empty_ledger)]
    assert told == [
        ("gate-1", None, {"tick_s": 60}),
        ("gate-1", {"tick_s": 60}, {"tick_s": 30}),
        ("gate-2", None, {"tick_s": 30}),
    ]


async def test_acts_are_found_by_tenant_and_time(ledger: Ledger, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "READ_ROWS", 2)  # several readings
    start_ms = clock.ms = clock.ms + 1_000
    for number in range(5):
        await ledger.note(Act("cli:ann", "call.hangup", "contoso", f"c{number}"))
        clock.ms += 1_000
    await ledger.note(Act("cli:ann", "call.hangup", "fabrikam", "other"))
    found = await acts(ledger, "contoso", start_ms + 1_000, start_ms + 4_000)
    assert [act.subject for act in found] == ["c1", "c2", "c3"]
    assert len(await acts(ledger, None, start_ms)) == 6


async def test_no_secret_is_kept(empty_ledger: Ledger, document: MakeDocument) -> None:
    notify = ["mailto://billing:hunter2@example.org", "slack://hunter2/hunter2/hunter2"]
    await empty_ledger.provision(document({"id": "contoso", "notify": notify}), actor="cli:ann")
    await empty_ledger.note(Act("x", "y", "", "z", {"password": "hunter2"}, {"url": "redis://:hunter2@h", "n": 1}))
    found = await acts(empty_ledger)
    assert "hunter2" not in repr(found)
    assert found[-1].after == {"url": "redis://***@h", "n": 1}
