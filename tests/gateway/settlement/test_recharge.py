"""Auto-recharge over a real ledger and a real Redis: when it asks, what comes of it, and whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin, StoreUnreachableError
from gateway.ledger import Ledger, LedgerAway, Payment
from gateway.settlement import Recharger, Settler, reconcile
from gateway.settlement.payments import Answer, ProviderAway
from gateway.settlement.payments.simulated import Simulated
from gateway.telemetry.metrics import Meter
from policy.recharge import HOUR_MS, RechargeLimits, State

from .conftest import Caller, two_tenants
from .wallet import WAIT_S, Clock, M, Wallet

RECHARGE = {"enabled": True, "trigger": "50", "amount": "200"}


class Bank:
    """A provider that answers what it is told to, and remembers what it has taken by key."""

    name = "bank"

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.taken: dict[str, int] = {}

    async def ask(self, payment: Payment) -> Answer:
        self.asked.append(payment.key)
        answer = self.answers.pop(0) if self.answers else Answer("paid")
        if isinstance(answer, Exception):
            raise answer
        if answer.state == "paid":
            self.taken[payment.key] = payment.amount_micros
        return answer

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def wallet(ledger_url: str, credit: CreditAdmin, server: Any, tmp_path: Path) -> AsyncIterator[Wallet]:
    clock = Clock()
    async with Ledger(ledger_url, now_ms=clock) as ledger:
        await ledger.migrate()
        await ledger.provision(two_tenants(tmp_path))
        await provision(ledger, tmp_path, RECHARGE)
        caller = Caller(server.url)
        wallet = Wallet(ledger, credit, caller, clock)
        await wallet.begin()
        yield wallet
        await caller.store.stop()


async def provision(ledger: Ledger, folder: Path, recharge: dict[str, Any]) -> None:
    tenant = {"id": "contoso", "rate_deck": "standard", "recharge": recharge}
    await ledger.provision(parse({"tenant": [tenant]}, "test.toml", folder))


def recharger(wallet: Wallet, provider: Any, meter: Meter | None = None) -> Recharger:
    return Recharger(wallet.ledger, wallet.credit, provider, RechargeLimits(), meter)


async def turn(wallet: Wallet, provider: Any) -> None:
    """One turn of both jobs by a settler that has just started."""
    fresh = recharger(wallet, provider)
    await fresh.watch()
    await fresh.pay()


async def state(wallet: Wallet) -> State:
    (found,) = await wallet.ledger.rechargers("contoso")
    return found.kept.standing.state


async def clean(wallet: Wallet) -> bool:
    return all(drift.clean for drift in await reconcile(wallet.ledger, wallet.credit))


async def test_after_a_decline_calls_go_on_while_there_is_money_and_it_asks_again_an_hour_later(wallet: Wallet) -> None:
    bank = Bank(Answer("declined", why="card expired"))
    await wallet.fund(49_600_000)
    await turn(wallet, bank)
    assert (await wallet.told(), await state(wallet)) == (["recharge.failed"], State.FAILED)
    for _ in range(5):
        assert await wallet.spend(1_200_000), "Cook Islands, 1.200 a minute"
    assert await wallet.balance() == 43_600_000
    await turn(wallet, bank)
    assert (len(bank.asked), await wallet.told()) == (1, ["recharge.failed"])
    assert await wallet.spend(43_600_000)
    assert await wallet.hold(1) is None, "at zero credit calls stop"
    assert await wallet.balance() == 0
    wallet.clock.ms += HOUR_MS
    await turn(wallet, bank)
    assert (len(bank.asked), await wallet.balance()) == (2, 200 * M)
    assert await wallet.hold(1)


async def test_what_answered_calls_hold_counts_and_what_ringing_ones_hold_does_not(wallet: Wallet) -> None:
    bank = Bank()
    await wallet.fund(60 * M)
    ringing = await wallet.hold(11 * M, answered=False)
    await turn(wallet, bank)
    assert bank.asked == []
    assert await wallet.hold(10 * M)
    await turn(wallet, bank)
    assert bank.asked == [], "50 is not below 50"
    assert await wallet.hold(1 * M)
    await turn(wallet, bank)
    assert len(bank.asked) == 1
    assert ringing


async def test_what_is_pending_is_no_credit_and_is_asked_for_once(wallet: Wallet) -> None:
    bank = Bank(Answer("pending", "x-1"), Answer("pending"), Answer("paid"))
    await wallet.fund(10 * M)
    for _ in range(3):
        await turn(wallet, bank)
    assert (len(bank.asked), await wallet.balance(), await state(wallet)) == (1, 10 * M, State.PENDING)
    assert await wallet.hold(11 * M) is None
    for _ in range(2):
        wallet.clock.ms += HOUR_MS
        await turn(wallet, bank)
    assert (len(set(bank.asked)), len(bank.asked), await wallet.balance()) == (1, 3, 210 * M)


async def test_a_timeout_then_paid_pays_once(wallet: Wallet) -> None:
    bank = Bank(ProviderAway("no answer"), RuntimeError("a fault of the provider's code"))
    await wallet.fund(10 * M)
    await turn(wallet, bank)
    for _ in range(4):
        wallet.clock.ms += HOUR_MS // 6
        await turn(wallet, bank)
    assert (len(bank.asked), len(set(bank.asked)), await wallet.balance()) == (3, 1, 210 * M)
    assert list(bank.taken.values()) == [200 * M]


async def test_while_it_is_still_below_it_asks_again_at_most_so_often(wallet: Wallet, tmp_path: Path) -> None:
    await provision(wallet.ledger, tmp_path, RECHARGE | {"amount": "5"})
    bank = Bank()
    for _ in range(6):
        await turn(wallet, bank)
    assert (len(bank.asked), await wallet.balance()) == (3, 15 * M)


async def test_of_any_number_of_settlers_one_asks(wallet: Wallet) -> None:
    bank = Bank()
    await wallet.fund(10 * M)
    settlers = [recharger(wallet, bank) for _ in range(4)]
    await asyncio.gather(*(each.watch() for each in settlers))
    await asyncio.gather(*(each.pay() for each in settlers))
    assert (len(set(bank.asked)), await wallet.balance(), len(await wallet.ledger.payments("contoso"))) == (
        1,
        210 * M,
        1,
    )


STEPS = ["begin_payment", "ask", "settle_payment", "apply_money_in"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_dying_around_any_step_neither_pays_twice_nor_loses_a_payment(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    bank = Bank()
    await wallet.fund(10 * M)
    owner: Any = {"ask": bank, "apply_money_in": wallet.credit}.get(step, wallet.ledger)
    real = getattr(owner, step)

    async def die(*args: Any, **more: Any) -> None:
        if when == "after":
            await real(*args, **more)
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, die)
        with pytest.raises(_Killed):
            await turn(wallet, bank)
    for _ in range(3):
        wallet.clock.ms += 60_000
        await turn(wallet, bank)
        await wallet.settler._watch(behind=False)
    assert list(bank.taken.values()) == [200 * M]
    assert await wallet.balance() == await wallet.ledger.balance("contoso") == 210 * M
    assert await wallet.told() == ["recharge.succeeded"]
    assert await clean(wallet)


class _Killed(BaseException):
    """Not an error that anybody expects."""


async def test_with_redis_away_the_money_is_booked_and_applied_later(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank()
    await wallet.fund(10 * M)
    fresh = recharger(wallet, bank)
    await fresh.watch()

    async def away(*_args: Any) -> None:
        raise StoreUnreachableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(wallet.credit, "apply_money_in", away)
        await fresh.pay()
    assert (await wallet.balance(), await wallet.ledger.balance("contoso")) == (10 * M, 210 * M)
    await turn(wallet, bank)
    assert len(bank.asked) == 1, "Redis has not heard of the money: what it says is old"
    await wallet.settler._watch(behind=False)
    assert await wallet.balance() == 210 * M


async def test_money_that_was_paid_while_the_ledger_was_away_is_booked_later(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank()
    await wallet.fund(10 * M)
    fresh = recharger(wallet, bank)
    await fresh.watch()

    async def away(*_args: Any) -> None:
        raise LedgerAway("away", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(wallet.ledger, "settle_payment", away)
        with pytest.raises(LedgerAway):
            await fresh.pay()
    await turn(wallet, bank)
    assert (len(set(bank.asked)), await wallet.balance()) == (1, 210 * M)


async def test_by_hand_people_are_asked_once_until_money_comes_in(wallet: Wallet) -> None:
    await wallet.fund(10 * M)
    meter = Meter()
    manual = recharger(wallet, None, meter)
    for _ in range(3):
        await manual.watch()
    await recharger(wallet, None).watch()
    assert (await wallet.told(), meter.counters["recharge"].values) == (["recharge.due"], {("due",): 1.0})
    await wallet.fund(1 * M)
    await manual.watch()
    assert await wallet.told() == ["recharge.due"] * 2
    await wallet.fund(100 * M)
    await manual.watch()
    assert len(await wallet.told()) == 2


async def test_another_provider_does_not_ask_for_what_the_first_one_was_asked_for(wallet: Wallet) -> None:
    bank = Bank(ProviderAway("no answer"))
    await wallet.fund(10 * M)
    await turn(wallet, bank)
    wallet.clock.ms += HOUR_MS
    await turn(wallet, Simulated())
    assert await wallet.balance() == 10 * M
    (payment,) = await wallet.ledger.payments("contoso")
    assert (payment.state, payment.why) == ("pending", "the provider is another one now")
    wallet.clock.ms += HOUR_MS
    await turn(wallet, bank)
    assert await wallet.balance() == 210 * M


async def test_switched_off_nothing_is_asked_for(wallet: Wallet, tmp_path: Path) -> None:
    await provision(wallet.ledger, tmp_path, RECHARGE | {"enabled": False})
    bank = Bank()
    await turn(wallet, bank)
    assert bank.asked == []


async def test_what_came_of_recharges_is_counted(wallet: Wallet) -> None:
    meter, bank = Meter(), Bank(ProviderAway("x"), Answer("declined"))
    fresh = recharger(wallet, bank, meter)
    await fresh.watch()
    await fresh.pay()
    wallet.clock.ms += HOUR_MS
    await fresh.pay()
    assert meter.counters["recharge"].values == {("asked",): 1.0, ("away",): 1.0, ("declined",): 1.0}


class Hung(Bank):
    """It takes the money and never says so."""

    async def ask(self, payment: Payment) -> Answer:
        await super().ask(payment)
        await asyncio.Event().wait()
        raise AssertionError("nobody wakes it")


async def test_a_settler_that_ends_does_not_wait_for_a_payment_service(wallet: Wallet) -> None:
    bank, stop = Hung(), asyncio.Event()
    await wallet.fund(49 * M)
    working = asyncio.create_task(
        Settler(wallet.ledger, wallet.credit, recharger=recharger(wallet, bank)).run(stop),
    )
    async with asyncio.timeout(WAIT_S):
        while not bank.asked:
            await asyncio.sleep(0.01)
        stop.set()
        await working
    after = Bank()
    await turn(wallet, after)
    assert after.asked == bank.asked
    assert await wallet.balance() == 249 * M
