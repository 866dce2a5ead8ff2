"""Money in and out in the order of MONEY 4, by reference, with either store away."""

import asyncio
from typing import Any

import pytest

from gateway.call.commands import Grant
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.orders import Funded
from gateway.ledger import AmountRefused, Ledger, LedgerAway, NotEnoughAvailable, ReferenceConflict, UnknownTenant
from gateway.settlement import Settler, fund, reconcile, settle_in


@pytest.fixture
async def ready(ledger: Ledger, credit: CreditAdmin) -> None:
    await settle_in(ledger, credit)


async def redis_balance(credit: CreditAdmin) -> int:
    return (await credit.account("contoso")).balance_micros


async def clean(ledger: Ledger, credit: CreditAdmin) -> bool:
    return all(drift.clean for drift in await reconcile(ledger, credit))


@pytest.mark.usefixtures("ready")
async def test_money_in_is_in_both_at_once_and_once_only(ledger: Ledger, credit: CreditAdmin) -> None:
    first = await fund(ledger, credit, "contoso", 500, "r1")
    again = await fund(ledger, credit, "contoso", 500, "r1")
    assert (first.booked.repeated, first.applied) == (False, True)
    assert (again.booked.repeated, again.applied) == (True, True)
    blank = await fund(ledger, credit, "contoso", first.booked.amount_micros, f" {first.booked.reference}\t")
    assert (blank.booked.repeated, blank.booked.reference) == (True, first.booked.reference)
    assert await redis_balance(credit) == await ledger.balance("contoso") == 500
    with pytest.raises(ReferenceConflict):
        await fund(ledger, credit, "contoso", 600, "r1")
    assert await redis_balance(credit) == 500


async def test_workers_hear_of_the_money(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    await fund(ledger, credit, "contoso", 500, "r1")
    orders = [order for _, order in await credit.read_orders("gate-1/0")]
    assert Funded("contoso") in orders


@pytest.mark.usefixtures("ready")
async def test_a_repeat_applies_what_the_first_could_not(ledger: Ledger, credit: CreditAdmin) -> None:
    await ledger.fund("contoso", 500, "r1")
    outcome = await fund(ledger, credit, "contoso", 500, "r1")
    assert (outcome.booked.repeated, outcome.applied) == (True, True)
    assert await redis_balance(credit) == 500


@pytest.mark.usefixtures("ready")
async def test_a_tenant_that_redis_does_not_know_yet(ledger: Ledger, credit: CreditAdmin, tmp_path: Any) -> None:
    from gateway.config.provisioning import parse

    await ledger.provision(parse({"tenant": [{"id": "northwind", "rate_deck": "standard"}]}, "t.toml", tmp_path))
    assert (await fund(ledger, credit, "northwind", 500, "r1")).applied
    assert (await credit.account("northwind")).balance_micros == 500
    assert await clean(ledger, credit)


@pytest.mark.usefixtures("ready")
async def test_money_out_leaves_redis_then_the_ledger(ledger: Ledger, credit: CreditAdmin) -> None:
    await fund(ledger, credit, "contoso", 500, "in")
    out = await fund(ledger, credit, "contoso", -200, "out", kind="adjustment", actor="alice")
    assert (out.booked.seq, out.booked.amount_micros, out.booked.balance_micros) == (2, -200, 300)
    assert not out.booked.repeated
    assert await redis_balance(credit) == await ledger.balance("contoso") == 300
    again = await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")
    assert again.booked.repeated
    assert await Settler(ledger, credit).settle_once() == 1, "the outbox entry is booked already, and goes"
    assert await redis_balance(credit) == await ledger.balance("contoso") == 300
    assert await clean(ledger, credit)


@pytest.mark.usefixtures("ready")
async def test_money_out_is_all_or_nothing(ledger: Ledger, credit: CreditAdmin) -> None:
    await fund(ledger, credit, "contoso", 500, "in")
    with pytest.raises(NotEnoughAvailable, match="500 is available"):
        await fund(ledger, credit, "contoso", -501, "out", kind="adjustment")
    assert await redis_balance(credit) == await ledger.balance("contoso") == 500
    assert (await fund(ledger, credit, "contoso", -500, "out", kind="adjustment")).booked.balance_micros == 0


async def test_what_live_calls_hold_is_not_paid_out(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    heard = asyncio.get_running_loop().create_future()
    caller.reserve("live", then=heard.set_result)
    assert isinstance(await asyncio.wait_for(heard, 5), Grant)
    with pytest.raises(NotEnoughAvailable):
        await fund(ledger, credit, "contoso", -1_000_000_000, "out", kind="adjustment")
    await fund(ledger, credit, "contoso", -(1_000_000_000 - 10_000), "out", kind="adjustment")
    assert (await credit.account("contoso")).available_micros == 0


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("kind", ["manual", "refund"])
async def test_only_adjustments_take_money_out(ledger: Ledger, credit: CreditAdmin, kind: str) -> None:
    with pytest.raises(AmountRefused, match="--kind adjustment"):
        await fund(ledger, credit, "contoso", -5, "r", kind=kind)
    with pytest.raises(UnknownTenant):
        await fund(ledger, credit, "nobody", -5, "r", kind="adjustment")


@pytest.mark.usefixtures("ready")
async def test_dying_between_redis_and_ledger_the_outbox_books_it(
    ledger: Ledger, credit: CreditAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fund(ledger, credit, "contoso", 500, "in")

    async def away(_entries: object, _source: object) -> None:
        raise LedgerAway("the ledger is away", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "book", away)
        with pytest.raises(LedgerAway, match=r"has left Redis.*settler books it"):
            await fund(ledger, credit, "contoso", -200, "out", kind="adjustment", actor="alice")
    assert await clean(ledger, credit), "what waits in the outbox is no drift"
    await Settler(ledger, credit).settle_once()
    assert await ledger.balance("contoso") == 300
    assert (await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")).booked.repeated
    # blanks around a reference make no other one of it, of money in neither
    assert (await fund(ledger, credit, "contoso", -200, " out ", kind="adjustment")).booked.repeated
    assert await clean(ledger, credit)


@pytest.mark.usefixtures("ready")
async def test_a_repeat_before_the_ledger_knows_takes_nothing_more(
    ledger: Ledger, credit: CreditAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fund(ledger, credit, "contoso", 500, "in")

    async def away(_entries: object, _source: object) -> None:
        raise LedgerAway("the ledger is away", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "book", away)
        with pytest.raises(LedgerAway):
            await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")
    with pytest.raises(AmountRefused, match=r"has already taken 0\.000200"):
        await fund(ledger, credit, "contoso", -100, "out", kind="adjustment")
    await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")
    assert await redis_balance(credit) == await ledger.balance("contoso") == 300


@pytest.mark.usefixtures("ready")
async def test_a_redis_that_forgot_a_withdrawal_is_told_again(ledger: Ledger, credit: CreditAdmin, server: Any) -> None:
    from redis.asyncio import Redis

    await fund(ledger, credit, "contoso", 500, "in")
    await Settler(ledger, credit).settle_once()
    async with Redis(unix_socket_path=str(server.socket)) as redis:
        before = {key: await redis.dump(key) for key in await redis.keys("*")}
        await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")
        await Settler(ledger, credit).settle_once()
        for key in await redis.keys("*"):  # as an append-only file without the last second
            await redis.delete(key)
        for key, value in before.items():
            await redis.restore(key, 0, value)
    assert not await clean(ledger, credit)
    await settle_in(ledger, credit)
    await Settler(ledger, credit).settle_once()
    assert await redis_balance(credit) == await ledger.balance("contoso") == 300
    assert await clean(ledger, credit)


@pytest.mark.usefixtures("ready")
async def test_with_a_store_away_it_fails_clearly(ledger: Ledger, credit: CreditAdmin, server: Any) -> None:
    await fund(ledger, credit, "contoso", 500, "in")
    server.kill()
    with pytest.raises(StoreError):
        await fund(ledger, credit, "contoso", -200, "out", kind="adjustment")
    assert await ledger.balance("contoso") == 500
    outcome = await fund(ledger, credit, "contoso", 100, "more")
    assert (outcome.applied, outcome.booked.balance_micros) == (False, 600)
