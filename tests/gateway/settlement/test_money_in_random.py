"""Any sequence of fundings, calls, expiries, recharges, corrections and deaths of the settler conserves money.

Held against a model of three numbers: what came in, what calls cost, what was forfeited.  After each step the lots add
up to the ledger's balance, or to nothing below zero; at the end Redis and ledger agree with the model to the micro, and
every payment that the bank took is in the books once.
"""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger, NotEnoughAvailable, Payment
from gateway.settlement import Recharger, Settler, reconcile
from gateway.settlement.payments import Answer, ProviderAway
from policy.recharge import RechargeLimits

from .conftest import Caller, two_tenants
from .wallet import Clock, M, Wallet

STEPS = 60
DAY_MS = 86_400_000
RECHARGE = {"enabled": True, "trigger": "20", "amount": "30"}


class Moody:
    """A provider of every mood that never takes a key twice."""

    name = "moody"

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.taken: dict[str, int] = {}

    async def ask(self, payment: Payment) -> Answer:
        if payment.key in self.taken:
            return Answer("paid")
        mood = self._dice.choice(("paid", "paid", "lost", "away", "declined", "pending"))
        if mood in ("paid", "lost"):
            self.taken[payment.key] = payment.amount_micros
        if mood in ("lost", "away"):
            raise ProviderAway(mood)
        return Answer(mood)  # type: ignore[arg-type]

    async def close(self) -> None:
        """Nothing is open."""


class Story:
    """One random life of contoso's money."""

    def __init__(self, wallet: Wallet, seed: int) -> None:
        self.wallet, self.dice = wallet, random.Random(seed)
        self.bank = Moody(self.dice)
        self.came_in = self.charged = 0
        self.live: list[tuple[str, int]] = []
        self.acts = [
            self.fund, self.call, self.call, self.end, self.end, self.expire, self.expire, self.recharge, self.recharge,
            self.correct, self.book, self.wait, self.wait, self.restart,
        ]  # fmt: skip

    async def fund(self) -> None:
        amount = self.dice.randint(1, 25) * M
        await self.wallet.fund(amount)
        self.came_in += amount

    async def call(self) -> None:
        amount = self.dice.randint(1, 9) * M
        call_id = await self.wallet.hold(amount, answered=self.dice.random() < 0.8)
        if call_id:
            self.live.append((call_id, amount))

    async def end(self) -> None:
        if self.live:
            call_id, amount = self.live.pop(self.dice.randrange(len(self.live)))
            cost = amount if (await self.wallet.credit.live_call(call_id, "contoso")).answered_ms else 0  # type: ignore[union-attr]
            await self.wallet.end(call_id, cost)
            self.charged += cost

    async def expire(self) -> None:
        await self.wallet.expire()

    async def recharge(self) -> None:
        fresh = Recharger(self.wallet.ledger, self.wallet.credit, self.bank, RechargeLimits(10, 100))
        await fresh.watch()
        await fresh.pay()

    async def correct(self) -> None:
        amount = self.dice.choice((-1, 1, 2)) * self.dice.randint(1, 5) * M
        try:
            await self.wallet.fund(amount, kind="adjustment")
        except NotEnoughAvailable:
            return
        self.came_in += amount

    async def book(self) -> None:
        await self.wallet.book()

    async def wait(self) -> None:
        self.wallet.clock.ms += self.dice.choice((1, 30, 200, 366)) * DAY_MS

    async def restart(self) -> None:
        self.wallet.settler = Settler(self.wallet.ledger, self.wallet.credit)

    async def forfeited(self) -> int:
        lines = [line async for line in self.wallet.ledger.postings("contoso") if line.account == "forfeited"]
        return -sum(line.amount_micros for line in lines)

    async def live_through(self) -> None:
        for _ in range(STEPS):
            await self.dice.choice(self.acts)()
            assert await self.wallet.ledger.lot_faults() == []
            account = await self.wallet.credit.account("contoso")
            assert account.available_micros >= 0, "neither grant nor expiry takes what calls hold"
        while self.live:
            await self.end()
        for _ in range(12):  # what the bank took and could not say so is asked for again
            self.wallet.clock.ms += DAY_MS // 4
            await Recharger(self.wallet.ledger, self.wallet.credit, self.bank).pay()
        await self.wallet.book()
        await self.wallet.settler._watch(behind=False)


@pytest.fixture
async def wallet(ledger_url: str, credit: CreditAdmin, server: Any, tmp_path: Path) -> AsyncIterator[Wallet]:
    clock = Clock()
    async with Ledger(ledger_url, now_ms=clock) as ledger:
        await ledger.migrate()
        await ledger.provision(two_tenants(tmp_path))
        tenant = {"id": "contoso", "rate_deck": "standard", "recharge": RECHARGE}
        await ledger.provision(parse({"tenant": [tenant]}, "test.toml", tmp_path))
        caller = Caller(server.url)
        wallet = Wallet(ledger, credit, caller, clock)
        await wallet.begin()
        yield wallet
        await caller.store.stop()


@pytest.mark.parametrize("seed", range(6))
async def test_money_is_conserved_and_lots_are_the_balance(wallet: Wallet, seed: int) -> None:
    story = Story(wallet, seed)
    await story.live_through()
    forfeited, recharged = await story.forfeited(), sum(story.bank.taken.values())
    balance = story.came_in + recharged - story.charged - forfeited
    assert await wallet.balance() == await wallet.ledger.balance("contoso") == balance
    assert sum(await wallet.left()) == max(balance, 0)
    payments = await wallet.ledger.payments("contoso", 1000)
    assert {each.key for each in payments if each.state == "paid"} == set(story.bank.taken)
    assert all(drift.clean for drift in await reconcile(wallet.ledger, wallet.credit))
    assert (await wallet.ledger.verify_chain("contoso")).intact
