"""What is told of bookings and provisionings: once for each crossing, armed again by money."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from gateway.config.provisioning import Provisioning
from gateway.ledger import CallEntry, Ledger, WithdrawalEntry
from gateway.ledger.notices import Notice, read_latest
from gateway.ledger.tables import tenants
from rating.money import format_amount

from .conftest import Clock

Call = Callable[..., CallEntry]
Document = Callable[..., Provisioning]


async def told(ledger: Ledger, event: str = "", tenant: str = "contoso") -> list[Notice]:
    async with ledger.database.read() as connection:
        latest = await read_latest(connection, tenant, 100)
    return [each.notice for each in reversed(latest) if each.notice.event.startswith(event)]


async def test_zero_is_told_once_until_money_comes(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 50_000, "r1")
    await ledger.book([call(charge=20_000)])
    assert await told(ledger) == []
    await ledger.book([call(charge=30_000), call(charge=5), call("fabrikam", charge=0)])
    await ledger.book([call(charge=5)])
    (zero,) = await told(ledger)
    assert (zero.event, zero.figures) == ("balance.zero", {"balance": "0.000000", "currency": "USD"})
    await ledger.fund("contoso", 10, "too little", "refund")  # the balance is zero, not above it
    await ledger.book([call(charge=5)])
    assert len(await told(ledger)) == 1
    await ledger.fund("contoso", 20, "r2", "refund")
    await ledger.book([call(charge=100)])
    assert {each.crossing for each in await told(ledger)} == {"1", "8"}
    assert await told(ledger, tenant="fabrikam") == []


async def test_a_booking_that_is_repeated_tells_nothing_new(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 50_000, "r1")
    entry = call(charge=60_000)
    for _ in range(3):
        await ledger.book([entry])
    assert len(await told(ledger)) == 1


async def test_money_taken_out_can_be_the_last_of_it(ledger: Ledger) -> None:
    await ledger.fund("contoso", 50_000, "r1")
    await ledger.book([WithdrawalEntry("r2", "contoso", 50_000)])
    assert [each.event for each in await told(ledger)] == ["balance.zero"]


def refusal(call: Call, clock: Clock, reason: str = "NO_CREDIT", **more: Any) -> CallEntry:
    at = {"invited_ms": clock.ms, "ended_ms": clock.ms}
    return call(charge=0, answered_ms=0, talk_ms=0, reason=reason, sip_status=402, **(at | more))


async def test_a_refusal_for_want_of_credit_is_zero_too(ledger: Ledger, call: Call, clock: Clock) -> None:
    await ledger.fund("contoso", 20_000, "r1")
    clock.ms += 60_000
    await ledger.book([refusal(call, clock), refusal(call, clock)])
    await ledger.book([refusal(call, clock)])
    (zero,) = await told(ledger)
    assert zero.figures["balance"] == "0.020000"
    await ledger.book([call(charge=20_000)])
    assert len(await told(ledger)) == 1, "it is the same occasion when the rest is gone too"


async def test_a_refusal_that_is_booked_after_later_money_belongs_to_the_money_before(
    ledger: Ledger, call: Call, clock: Clock
) -> None:
    await ledger.fund("contoso", 20_000, "r1")
    clock.ms += 60_000
    late = refusal(call, clock)
    clock.ms += 60_000
    await ledger.fund("contoso", 20_000, "r2")
    await ledger.book([late])
    assert [each.crossing for each in await told(ledger)] == ["1"]
    clock.ms += 60_000
    await ledger.book([refusal(call, clock)])
    assert [each.crossing for each in await told(ledger)] == ["1", "2"]


async def test_postpaid_is_told_when_its_limit_refuses_and_not_below_zero(
    empty_ledger: Ledger, document: Document, call: Call, clock: Clock
) -> None:
    await empty_ledger.provision(document({"id": "contoso", "mode": "postpaid", "credit_limit": "1"}))
    await empty_ledger.fund("contoso", 10_000, "r1")
    await empty_ledger.book([call(charge=500_000)])
    assert await told(empty_ledger) == []
    clock.ms += 60_000
    await empty_ledger.book([refusal(call, clock)])
    await empty_ledger.fund("contoso", 10_000, "r2")
    clock.ms += 60_000
    await empty_ledger.book([refusal(call, clock)])
    assert [each.crossing for each in await told(empty_ledger)] == ["1", "3"]


async def test_low_is_told_at_the_mark_of_the_tenant(empty_ledger: Ledger, document: Document, call: Call) -> None:
    await empty_ledger.provision(document({"id": "contoso", "notify_below": "0.05"}, {"id": "fabrikam"}))
    for tenant in ("contoso", "fabrikam"):
        await empty_ledger.fund(tenant, 100_000, "r1")
        await empty_ledger.book([call(tenant, charge=50_000)])
        assert await told(empty_ledger, tenant=tenant) == []
        await empty_ledger.book([call(tenant, charge=1), call(tenant, charge=1)])
    (low,) = await told(empty_ledger)
    assert low.event == "balance.low"
    assert low.figures == {"balance": "0.049999", "currency": "USD", "notify_below": "0.050000"}
    assert await told(empty_ledger, tenant="fabrikam") == []
    await empty_ledger.fund("contoso", 1, "r2", "refund")
    await empty_ledger.book([call(charge=1)])
    assert len(await told(empty_ledger)) == 1, "it never was above the mark"
    await empty_ledger.fund("contoso", 100_000, "r3")
    await empty_ledger.book([call(charge=200_000)])
    assert sorted(each.event for each in await told(empty_ledger)) == ["balance.low", "balance.low", "balance.zero"]


async def test_a_limit_is_told_once_a_day_of_the_tenant(
    empty_ledger: Ledger, document: Document, call: Call, clock: Clock
) -> None:
    await empty_ledger.provision(document({"id": "contoso", "time_zone": "Asia/Taipei"}))
    clock.ms = 1_796_137_200_000  # 2026-12-01 15:00 UTC, 23:00 in Taipei
    for _ in range(3):
        await empty_ledger.book([refusal(call, clock, "LIMIT_SPEND", user_id="alice")])
        await empty_ledger.book([refusal(call, clock, "LIMIT_CALLS"), refusal(call, clock, "LIMIT_CALLS")])
        clock.ms += 3_600_000
    limits = [each.crossing for each in await told(empty_ledger, "limit.hit")]
    assert sorted(limits) == [
        "LIMIT_CALLS 2026-12-01", "LIMIT_CALLS 2026-12-02", "LIMIT_SPEND 2026-12-01", "LIMIT_SPEND 2026-12-02",
    ]  # fmt: skip
    mine = refusal(call, clock, "LIMIT_SPEND", limit="user/alice/day")
    await empty_ledger.book([mine, refusal(call, clock, "LIMIT_REACHED", limit="class/premium/hour"), mine])
    scoped = [each for each in await told(empty_ledger, "limit.hit") if "scope" in each.figures]
    assert sorted(each.crossing for each in scoped) == [
        "LIMIT_REACHED class/premium/hour 2026-12-02", "LIMIT_SPEND user/alice/day 2026-12-02",
    ]  # fmt: skip
    assert {str(each.figures.get("user", "")) for each in await told(empty_ledger)} == {"", "alice"}


async def test_a_time_zone_that_this_machine_does_not_know_keeps_nothing_from_being_booked(
    ledger: Ledger, call: Call, clock: Clock
) -> None:
    """It was provisioned by another machine, whose tables are newer."""
    async with ledger.database.write() as connection:
        await connection.execute(update(tenants).values(time_zone="Atlantis/Capital"))
    clock.ms = 1_796_137_200_000
    assert (await ledger.book([refusal(call, clock, "LIMIT_SPEND"), call()])).booked == 2
    assert [each.crossing for each in await told(ledger, "limit.hit")] == ["LIMIT_SPEND 2026-12-01"]


@pytest.mark.parametrize("at_ms", [10**18, -5])
async def test_a_record_of_no_moment_is_booked_all_the_same(ledger: Ledger, call: Call, at_ms: int) -> None:
    entry = call(charge=0, answered_ms=0, reason="LIMIT_SPEND", ended_ms=at_ms)
    assert (await ledger.book([entry])).booked == 1
    assert len(await told(ledger, "limit.hit")) == 1


async def test_nothing_is_told_of_other_reasons_and_unknown_tenants(ledger: Ledger, call: Call, clock: Clock) -> None:
    await ledger.book([refusal(call, clock, "LIMIT_OF_A_LATER_GATE"), refusal(call, clock, "NO_ROUTE")])
    await ledger.book([call("nobody", charge=0, reason="NO_CREDIT")])
    assert await told(ledger) == []


def user(name: str, *, blocked: bool) -> dict[str, object]:
    return {"id": name, "blocked": blocked}


async def test_a_user_who_is_blocked_is_told_of_each_time(empty_ledger: Ledger, document: Document) -> None:
    async def provision(*people: dict[str, object], dry_run: bool = False) -> None:
        await empty_ledger.provision(document({"id": "contoso", "user": list(people)}), dry_run=dry_run)

    await provision(user("alice", blocked=False), user("bob", blocked=True))
    assert [each.figures["user"] for each in await told(empty_ledger)] == ["bob"]
    await provision(user("alice", blocked=True), user("bob", blocked=True), dry_run=True)
    await provision(user("alice", blocked=True), user("bob", blocked=True) | {"name": "Bob"})
    assert [each.figures["user"] for each in await told(empty_ledger)] == ["bob", "alice"]
    await provision(user("alice", blocked=False), user("bob", blocked=False))
    await provision(user("alice", blocked=True))
    assert sorted(str(each.figures["user"]) for each in await told(empty_ledger)) == ["alice", "alice", "bob"]


async def test_any_order_of_money_tells_of_each_fall_once(ledger: Ledger, call: Call) -> None:
    """Against the words themselves: it is told when the balance falls to zero or below, armed by a balance above."""
    draw, balance, armed, expected = random.Random(7), 0, False, 0
    for turn in range(80):
        amount = draw.randint(1, 50)
        if draw.random() < (0.7 if balance <= 0 else 0.3):
            await ledger.fund("contoso", amount, f"r{turn}", "refund")
            balance += amount
            armed = armed or balance > 0
        else:
            await ledger.book([call(charge=amount)])
            balance -= amount
            if armed and balance <= 0:
                armed, expected = False, expected + 1
    assert format_amount(balance) == format_amount(await ledger.balance("contoso"))
    assert expected > 3
    assert len(await told(ledger, "balance.zero")) == expected
