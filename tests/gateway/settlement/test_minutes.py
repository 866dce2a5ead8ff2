"""The watch over pools: told when the ledger says that they are used up, and when totals change; each once."""

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.call.record import CallRecord
from gateway.config.provisioning import parse
from gateway.ledger import CallEntry, Ledger
from gateway.settlement.minutes import PoolWatch, tenant_pools
from policy.drawn import Minutes, Spent
from policy.terms import month_of

from .conftest import DECK


async def provision(ledger: Ledger, folder: Path, bought: int) -> None:
    purchased = [{"sku": "MCOPSTN5", "usage_country": "GB", "count": bought}]
    user = {"id": "a@contoso.com", "usage_location": "GB", "licences": ["MCOPSTN5"]}
    tenant: dict[str, Any] = {"id": "contoso", "rate_deck": "standard", "purchased": purchased, "user": [user]}
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    await ledger.provision(parse({"rate_deck": decks, "tenant": [tenant]}, "test.toml", folder))


def used(minutes: int, charge_id: str) -> CallEntry:
    month = month_of("UTC", time.time_ns() // 1_000_000)
    record = CallRecord(charge_id, "contoso", "user_out", invited_ms=1, answered_ms=1).encode()
    spent = (Spent("tenant/month", month, 1),)
    return CallEntry(charge_id, "contoso", 0, record, charge_id, (Minutes("MCOPSTN5/GB", month, minutes),), spent)


async def told(ledger: Ledger) -> list[tuple[str, object]]:
    return sorted((each.notice.event, each.notice.figures["used"]) for each in await ledger.latest_notices(None, 10))


async def test_a_tenant_is_told_of_each_mark_once(ledger: Ledger, tmp_path: Path) -> None:
    watch = PoolWatch(ledger)
    await provision(ledger, tmp_path, 1)
    await watch.look()
    assert await told(ledger) == []
    await ledger.book([used(100, "one")])
    await watch.look()
    await watch.look()
    assert await told(ledger) == [("pool.80", 100)]
    await ledger.book([used(20, "two")])
    await watch.look()
    assert await told(ledger) == [("pool.100", 120), ("pool.80", 100)]


async def test_fewer_licences_are_heard_of(ledger: Ledger, tmp_path: Path) -> None:
    watch = PoolWatch(ledger)
    await provision(ledger, tmp_path, 10)
    await ledger.book([used(100, "one")])
    await watch.look()
    assert await told(ledger) == []
    await provision(ledger, tmp_path, 1)
    await watch.look()
    assert await told(ledger) == [("pool.80", 100)]


async def test_what_has_not_changed_is_not_looked_at_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every five seconds, beside what is booked: neither the tenants nor the money of each user is read for it."""
    watch = PoolWatch(ledger)
    await provision(ledger, tmp_path, 1)
    await ledger.book([used(100, "one")])
    await watch.look()
    for name in ("tenants", "users", "holders", "open_counters"):
        monkeypatch.delattr(Ledger, name)
    await watch.look()


async def test_pools_are_worked_out_without_reading_a_user(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [("MCOPSTN1", "MCOPSTNPP"), ("MCOPSTN8", "MCOMEETADD"), ("MCOPSTN2",), (), ("MCOPSTN8",)]
    people = [
        {"id": f"u{place}", "licences": list(sets[place % 5]), "usage_location": "GB"} | ({} if place % 2 else LIMITED)
        for place in range(20)
    ]
    queue = {"number": "+14255550100", "kind": "toll", "serves": "call_queue", "deliver_to": "pbx"}
    await give(ledger, tmp_path, user=people, service_number=[queue | {"licences": ["MCOPSTN8"]}])
    directory, (tenant,) = await ledger.directory({}), [each for each in await ledger.tenants() if each.id == "t"]
    limited = [user for user in await ledger.users("t") if user.id in {f"u{place}" for place in range(0, 20, 2)}]
    assert await ledger.limited_users("t") == limited
    monkeypatch.delattr(Ledger, "users")
    pools = await tenant_pools(ledger, tenant)
    assert pools == directory.pools_of("t")
    assert {"MCOPSTN8/GB/u4", "MCOPSTN8/US/+14255550100", "MCOMEETADD/ZoneA"} <= {pool.name for pool in pools}


async def test_who_has_minutes_alone_uses_them_up_too(ledger: Ledger, tmp_path: Path) -> None:
    await give(
        ledger, tmp_path, user=[{"id": "ann", "licences": ["MCOPSTN8"]}, {"id": "bob", "licences": ["MCOPSTN8"]}]
    )
    month = month_of("UTC", time.time_ns() // 1_000_000)
    record = CallRecord("c", "t", "user_out", invited_ms=1, answered_ms=1).encode()
    await ledger.book([CallEntry("c", "t", 0, record, "c", (Minutes("MCOPSTN8/US/ann", month, 100),))])
    await PoolWatch(ledger).look()
    (one,) = await ledger.latest_notices("t", 10)
    assert (one.notice.event, one.notice.figures["pool"]) == ("pool.80", "MCOPSTN8/US/ann")


LIMITED = {"limits": {"max_calls": 1}}


async def give(ledger: Ledger, folder: Path, **keys: Any) -> None:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    tenant = {"id": "t", "rate_deck": "standard", **keys}
    await ledger.provision(parse({"rate_deck": decks, "tenant": [tenant]}, "test.toml", folder))
