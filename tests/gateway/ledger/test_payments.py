"""Payment requests of auto-recharge in the ledger: asked for once, settled once, told once; limits, rests, refusals."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from gateway.ledger import BelowMinimum, Ledger, Payment, RegionMismatch, UnknownPayment
from gateway.ledger.tables import notices
from policy.recharge import HOUR_MS, RechargeLimits, State

LIMITS = RechargeLimits(per_hour=2, per_day=3)
RECHARGE = {"enabled": True, "trigger": "50", "amount": "200", "customer": "cus_1", "payment_method": "pm_1"}
M = 1_000_000


@pytest.fixture
async def ready(ledger: Ledger, document: Callable[..., Any]) -> Ledger:
    """Contoso recharges itself and has 49.60."""
    await ledger.provision(document({"id": "contoso", "recharge": RECHARGE}, {"id": "fabrikam"}))
    await ledger.fund("contoso", 49_600_000, "first")
    return ledger


async def begin(ledger: Ledger, has: int = 49_600_000, seen: int = 1) -> Payment | None:
    return await ledger.begin_payment("contoso", has, seen, "simulated", LIMITS)


async def begun(ledger: Ledger, seen: int = 1) -> Payment:
    payment = await begin(ledger, seen=seen)
    assert payment is not None
    return payment


async def state(ledger: Ledger) -> State:
    (found,) = await ledger.rechargers()
    return found.kept.standing.state


async def told(ledger: Ledger) -> list[str]:
    async with ledger.database.read() as connection:
        return list(await connection.scalars(select(notices.c.event).order_by(notices.c.at_ms, notices.c.event)))


async def test_a_payment_is_written_down_before_anybody_is_asked_and_once(ready: Ledger) -> None:
    found = await asyncio.gather(*(begin(ready) for _ in range(4)))
    (payment,) = [each for each in found if each]
    assert (payment.amount_micros, payment.currency, payment.customer) == (200 * M, "USD", "cus_1")
    assert [each.key for each in await ready.due_payments()] == [payment.key]
    assert await state(ready) is State.PENDING
    assert await ready.balance("contoso") == 49_600_000, "what is asked for is no credit"


async def test_exactly_the_trigger_does_not_ask_and_more_money_meanwhile_neither(ready: Ledger) -> None:
    assert await begin(ready, has=50 * M) is None
    assert await begin(ready, seen=0) is None, "Redis had not heard of line 1 when it was looked at"
    assert await ready.begin_payment("fabrikam", 0, 0, "simulated", LIMITS) is None


async def test_it_is_settled_once_whoever_says_so(ready: Ledger) -> None:
    payment = await begun(ready)
    found = await asyncio.gather(*(ready.settle_payment(payment.key, "paid", "x-1") for _ in range(4)))
    assert sum(each.changed for each in found) == 1
    assert await ready.balance("contoso") == 249_600_000
    (_, lot) = await ready.lots("contoso")
    assert (lot.source, lot.kind, lot.reference, lot.remaining_micros) == ("auto", "recharge", payment.key, 200 * M)
    assert (await ready.payment(payment.key)).provider_id == "x-1"
    assert (await state(ready), await told(ready), await ready.due_payments()) == (
        State.IDLE,
        ["recharge.succeeded"],
        [],
    )
    assert (await ready.verify_chain("contoso")).intact


async def test_a_decline_rests_and_money_by_hand_ends_it(ready: Ledger, clock: Any) -> None:
    payment = await begun(ready)
    await ready.settle_payment(payment.key, "declined", why="card expired")
    assert not (await ready.settle_payment(payment.key, "declined")).changed
    assert (await state(ready), await told(ready), await begin(ready)) == (State.FAILED, ["recharge.failed"], None)
    clock.ms += HOUR_MS - 1
    assert await begin(ready) is None
    await ready.fund("contoso", 100, "by hand")
    assert await state(ready) is State.IDLE
    assert await begin(ready, seen=2) is not None


async def test_a_rest_that_is_over_asks_again(ready: Ledger, clock: Any) -> None:
    await ready.settle_payment((await begun(ready)).key, "declined")
    clock.ms += HOUR_MS
    await ready.settle_payment((await begun(ready)).key, "declined")
    (found,) = await ready.rechargers()
    assert found.kept.standing.retry_ms == clock.ms + 6 * HOUR_MS


async def test_another_card_ends_the_rest(ready: Ledger, document: Callable[..., Any]) -> None:
    await ready.settle_payment((await begun(ready)).key, "declined")
    await ready.provision(document({"id": "contoso", "name": "Contoso", "recharge": RECHARGE}, {"id": "fabrikam"}))
    assert await state(ready) is State.FAILED
    changed = RECHARGE | {"payment_method": "pm_2"}
    await ready.provision(document({"id": "contoso", "name": "Contoso", "recharge": changed}, {"id": "fabrikam"}))
    assert await state(ready) is State.IDLE
    assert (await begun(ready)).payment_method == "pm_2"


async def test_refunds_do_not_end_the_rest(ready: Ledger) -> None:
    await ready.settle_payment((await begun(ready)).key, "declined")
    await ready.fund("contoso", 100, "back", "refund")
    assert await state(ready) is State.FAILED


async def test_a_payment_that_is_made_after_its_decline_is_not_lost(ready: Ledger, clock: Any) -> None:
    first = await begun(ready)
    await ready.settle_payment(first.key, "declined")
    clock.ms += HOUR_MS
    second = await begun(ready)
    assert (await ready.settle_payment(first.key, "paid")).booked is not None
    assert await state(ready) is State.PENDING, "the second is still on its way"
    assert (await ready.payment(second.key)).state == "pending"
    assert not (await ready.settle_payment(first.key, "declined")).changed
    assert await ready.balance("contoso") == 249_600_000


async def test_no_more_than_so_many_an_hour_and_a_day(ready: Ledger, clock: Any) -> None:
    for seen in (1, 2):
        await ready.settle_payment((await begun(ready, seen)).key, "paid")
    assert await begin(ready, seen=3) is None
    clock.ms += HOUR_MS
    await ready.settle_payment((await begun(ready, 3)).key, "paid")
    clock.ms += HOUR_MS
    assert await begin(ready, seen=4) is None
    clock.ms += 24 * HOUR_MS
    assert await begin(ready, seen=4) is not None


async def test_what_nobody_knows_is_asked_again_later(ready: Ledger, clock: Any) -> None:
    payment = await begun(ready)
    await ready.postpone_payment(payment, 5_000, "x-1", "no answer")
    assert await ready.due_payments() == []
    clock.ms += 5_000
    (again,) = await ready.due_payments()
    assert (again.key, again.tries, again.provider_id, again.why) == (payment.key, 1, "x-1", "no answer")
    assert (await ready.settle_payment(payment.key, "pending")).changed is False
    await ready.settle_payment(payment.key, "paid")
    await ready.postpone_payment(payment, 0)
    assert await ready.due_payments() == [], "a settled payment is not taken up again"


async def test_a_payment_that_nobody_asked_for(ready: Ledger) -> None:
    with pytest.raises(UnknownPayment, match="no payment 'x'"):
        await ready.settle_payment("x", "paid")


async def test_asking_by_hand_is_told_once_until_money_comes_in(ready: Ledger) -> None:
    (found,) = await ready.rechargers()
    asked = [await ready.ask_by_hand("contoso", found.rule, 5) for _ in range(2)]
    await ready.fund("contoso", 1, "a little")
    assert [*asked, await ready.ask_by_hand("contoso", found.rule, 5)] == [True, False, True]
    assert await told(ready) == ["recharge.due"] * 2


REGION = {"country": "US", "billing_region": "DE"}


@pytest.mark.parametrize("region", ["US", "us", ""])
async def test_a_billing_address_in_its_own_country_is_funded(ledger: Ledger, document: Any, region: str) -> None:
    await ledger.provision(document({"id": "contoso", "country": "US", "billing_region": region}))
    await ledger.fund("contoso", 50, "r")


async def test_region_mismatch_refuses_funding_with_its_reason(ledger: Ledger, document: Any) -> None:
    await ledger.provision(document({"id": "contoso"} | REGION))
    with pytest.raises(RegionMismatch, match=r"REGION_MISMATCH: tenant 'contoso' is in US, its billing address in DE"):
        await ledger.fund("contoso", 50, "r")
    await ledger.fund("contoso", 50, "r", "refund")
    assert await ledger.balance("contoso") == 50


async def test_region_mismatch_refuses_a_recharge_and_rests(ledger: Ledger, document: Any, clock: Any) -> None:
    await ledger.provision(document({"id": "contoso", "recharge": RECHARGE} | REGION))
    assert await begin(ledger, seen=0) is None
    assert (await state(ledger), await told(ledger), await ledger.payments("contoso")) == (
        State.FAILED, ["recharge.failed"], []
    )  # fmt: skip
    assert await begin(ledger, seen=0) is None
    assert await told(ledger) == ["recharge.failed"]
    clock.ms += HOUR_MS
    assert await begin(ledger, seen=0) is None
    assert await told(ledger) == ["recharge.failed"] * 2


async def test_minimum_funding_bounds_what_is_paid_in(ledger: Ledger, document: Any) -> None:
    await ledger.provision(document({"id": "contoso", "minimum_funding": "50"}))
    with pytest.raises(BelowMinimum, match=r"BELOW_MINIMUM_FUNDING: 49\.999999 is less.*at least 50\.000000"):
        await ledger.fund("contoso", 50 * M - 1, "r")
    await ledger.fund("contoso", 50 * M, "r")
    await ledger.fund("contoso", 1, "back", "refund")
