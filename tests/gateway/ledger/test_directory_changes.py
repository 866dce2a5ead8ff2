"""A directory that follows its changes is always the one that is read whole; and little is read for it."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import delete

from gateway.config.provisioning import Provisioning
from gateway.ledger import Ledger, directory, directory_changes
from gateway.ledger.tables import users
from policy.directory import Trunk

Document = Callable[..., Provisioning]

TRUNKS = {"pbx": Trunk("pbx", "access", tenant_from="caller")}
LICENCES = ([], ["MCOPSTN1", "MCOPSTNPP"], ["MCOPSTN8"], ["MCOMEETADD", "MCOPSTN5"])


def draw(dice: Random, name: str, numbers: list[str]) -> dict[str, Any]:
    """A tenant with up to eight users and two service numbers, of numbers that may have been another tenant's."""
    people = [
        {"id": f"u{place}", "licences": dice.choice(LICENCES), "usage_location": dice.choice(["US", "GB"])}
        | ({"number": numbers.pop()} if dice.random() < 0.7 else {})
        for place in dice.sample(range(12), dice.randrange(8))
    ]
    services = [
        {"number": numbers.pop(), "kind": "toll", "serves": "call_queue", "deliver_to": "pbx"}
        | {"licences": dice.choice(LICENCES)}
        for _ in range(dice.randrange(3))
    ]
    bought = [{"sku": "MCOPSTN5", "usage_country": "GB", "count": dice.randrange(9)}] if dice.random() < 0.3 else []
    return {"id": name, "name": f"{dice.randrange(3)}", "purchased": bought, "user": people, "service_number": services}


async def test_any_changes_lead_to_what_is_read_whole(
    empty_ledger: Ledger, document: Document, ledger_url: str, clock: Callable[[], int]
) -> None:
    dice = Random(4)
    numbers = [f"+1425555{place:04d}" for place in range(24)]
    tenants: dict[str, dict[str, Any]] = {}
    await empty_ledger.directory(TRUNKS)
    for _ in range(25):
        dice.shuffle(numbers)
        free = list(numbers)
        for name in ("a", "b", "c"):
            drawn = draw(dice, name, free)
            if name not in tenants or dice.random() < 0.7:
                tenants[name] = drawn
        await empty_ledger.provision(document(*_without_clashes(tenants)))
        if dice.random() < 0.3:
            continue
        followed = await empty_ledger.directory(TRUNKS)
        async with Ledger(ledger_url, now_ms=clock) as fresh:
            whole = await fresh.directory(TRUNKS)
        assert replace(followed, decks=whole.decks) == whole
        assert followed.funds == whole.funds


def _without_clashes(tenants: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Who kept an older drawing keeps its numbers; the others lose those that are taken."""
    taken: set[str] = set()
    found = []
    for tenant in tenants.values():
        people = [
            {key: value for key, value in user.items() if key != "number" or value not in taken}
            for user in tenant["user"]
        ]
        services = [each for each in tenant["service_number"] if each["number"] not in taken]
        taken |= {each["number"] for each in (*people, *services) if "number" in each}
        found.append(tenant | {"user": people, "service_number": services})
    return found


def some(*names: str) -> dict[str, Any]:
    return {"id": "contoso", "user": [{"id": f"u{place}", "name": name} for place, name in enumerate(names)]}


async def test_of_a_change_only_who_was_changed_is_read(
    ledger: Ledger, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.provision(document(some("ann", "bob", "carl")))
    before = await ledger.directory(TRUNKS)
    monkeypatch.delattr(directory, "_stream_users")
    await ledger.provision(document(some("ann", "bert")))
    after = await ledger.directory(TRUNKS)
    assert [user.name for user in after.users.values()] == ["ann", "bert"]
    assert after.users["contoso", "u0"] is before.users["contoso", "u0"]
    assert before.users["contoso", "u1"].name == "bob"
    assert await ledger.directory(TRUNKS) == after


async def test_many_changes_at_once_are_read_whole(
    ledger: Ledger, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.directory(TRUNKS)
    monkeypatch.setattr(directory_changes, "MOST", 2)
    await ledger.provision(document(some("ann", "bob", "carl")))
    assert len((await ledger.directory(TRUNKS)).users) == 3


async def test_what_was_changed_past_the_audit_log_is_found_by_its_count(ledger: Ledger, document: Document) -> None:
    await ledger.provision(document(some("ann", "bob", "carl")))
    await ledger.directory(TRUNKS)
    async with ledger.database.write() as connection:
        await connection.execute(delete(users).where(users.c.id == "u0"))
    await ledger.provision(document({"id": "fabrikam", "name": "Fabrikam"}))
    assert set((await ledger.directory(TRUNKS)).users) == {("contoso", "u1"), ("contoso", "u2")}
