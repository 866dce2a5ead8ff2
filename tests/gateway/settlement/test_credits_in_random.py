"""Any sequence of calls, fundings, expiries, months and recharges of several tenants conserves money and minutes.

Everything is real but the wires: directory, policy, the scripts, the settler's steps, a ledger (tests.gateway.
settlement.gate).  Beside it stands ``KINDS``: what table 3 of DOMAIN says of each call that is tried, written down by
hand and not asked of policy.  After each step what Redis says of each tenant is held against what came in and what the
calls were told; each call is admitted exactly where the table and what is left say so.

``CALLGATE_STORIES`` plays more of them, ``CALLGATE_STORY`` the one of that number again.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.call.settings import CallSettings
from gateway.ledger import Payment
from gateway.ledger import ledger_url as sqlalchemy_url
from gateway.settlement import Recharger, Settler
from gateway.settlement.expiry import expire_lots
from gateway.settlement.payments import Answer
from gateway.settlement.payments.simulated import Simulated
from policy.drawn import held_counters
from policy.recharge import RechargeLimits
from policy.terms import month_of

from .gate import Gate, Leg, open_gate
from .wallet import M

STEPS = 110
DAY_S = 86_400
MINUTE_MS = 60_000
CC = "MCOPSTNPP"
US, FR, GB, ZW, CK = "+12125550123", "+33123456789", "+442079461234", "+263771234567", "+68221234"
GB_SHARED, US_PREMIUM = "+448441234567", "+19002345678"
CREDIT_LIMIT = 5 * M


@dataclass(frozen=True)
class Kind:
    """A call as the table has it: pools in order as (name, total, and those that end it, too), whether credits may pay.

    ``refused`` is the code of a call that no minutes and no money let in.
    """

    tenant: str
    dialled: str
    call: dict[str, str]
    pools: tuple[tuple[tuple[str, int], ...], ...] = ()
    rate: int = 0
    connect: int = 0
    credit: bool = True
    free: bool = False
    refused: str = ""


def by(who: str = "", kind: str = "", caller: str = "", trunk: str = "pbx") -> dict[str, str]:
    return {"who": who, "kind": kind, "caller": caller, "trunk": trunk}


HOME = (("MCOPSTN5/US", 240),)
ZONE_A = (("MCOMEETADD/ZoneA", 120),)
AT_HOME, ABROAD = ("MCOPSTN2/GB", 1_200), ("MCOPSTN2/GB/international", 600)
INTL, INTL0, SOLO = "+442079460001", "+442079460002", "+442079460003"
CONTOSO_FREE, TAILSPIN_FREE, TAILSPIN = "+18005550199", "+18005550198", "+14255550177"


def fabrikams(caller: str) -> dict[str, str]:
    return by(caller=caller, trunk="shared")


KINDS = [
    Kind("contoso", US, by("dom"), (HOME,), 13_000),
    Kind("contoso", US, by("dom0"), (HOME,), credit=False),
    Kind("contoso", CK, by("dom"), (), 1_200_000),
    Kind("contoso", GB, by("dom0"), refused="NO_LICENCE"),
    Kind("contoso", US, by("payg"), (), 13_000),
    Kind("contoso", FR, by("org", "conference"), (ZONE_A,), 18_000),
    Kind("contoso", FR, by("org0", "conference"), (ZONE_A,), credit=False),
    Kind("contoso", ZW, by("org", "conference"), (), 480_000),
    Kind("contoso", ZW, by("org0", "conference"), refused="NO_LICENCE"),
    Kind("contoso", US, by("closed"), refused="DIAL_OUT_POLICY"),
    Kind("contoso", "911", by("closed"), free=True),
    Kind("contoso", US_PREMIUM, by("dom"), refused="NUMBER_CLASS"),
    Kind("contoso", CONTOSO_FREE, by(trunk="carrier"), (), 40_000),
    Kind("fabrikam", GB, fabrikams(INTL), ((AT_HOME, ABROAD),), 20_000),
    Kind("fabrikam", FR, fabrikams(INTL), ((ABROAD, AT_HOME),), 18_000),
    Kind("fabrikam", FR, fabrikams(INTL0), ((ABROAD, AT_HOME),), credit=False),
    Kind("fabrikam", GB_SHARED, fabrikams(INTL), (), 120_000, 100_000),
    Kind("fabrikam", GB, fabrikams(SOLO), ((("MCOPSTN8/GB/solo", 120),), (AT_HOME, ABROAD)), 20_000),
    Kind("fabrikam", INTL, fabrikams(SOLO), free=True),
    Kind("fabrikam", INTL, by(trunk="carrier"), free=True),
    Kind("tailspin", CK, by(caller=TAILSPIN, trunk="shared"), (), 1_200_000),
    Kind("tailspin", US, by(caller=TAILSPIN, trunk="shared"), (), 13_000),
    Kind("tailspin", TAILSPIN_FREE, by(trunk="carrier"), (), 40_000),
]


def person(id_: str, *licences: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "licences": list(licences), **more}


def toll_free(number: str) -> list[dict[str, Any]]:
    return [{"number": number, "kind": "toll_free", "serves": "conference", "deliver_to": "pbx"}]


TENANTS: list[dict[str, Any]] = [
    {
        "id": "contoso",
        "country": "US",
        "recharge": {"enabled": True, "trigger": "20", "amount": "60"},
        "service_number": toll_free(CONTOSO_FREE),
        "user": [
            person("dom", "MCOPSTN5", CC),
            person("dom0", "MCOPSTN5"),
            person("payg", "PAYG-1", CC),
            person("org", "MCOMEETADD", CC),
            person("org0", "MCOMEETADD"),
            person("closed", CC, dial_out_policy="DialoutCPCandPSTNDisabled"),
        ],
    },
    {
        "id": "fabrikam",
        "country": "GB",
        "mode": "postpaid",
        "credit_limit": "5",
        "time_zone": "Asia/Tokyo",
        "purchased": [{"sku": "MCOPSTN2", "usage_country": "GB", "count": 1}],
        "user": [
            person("intl", "MCOPSTN2", CC, number=INTL),
            person("intl0", "MCOPSTN2", number=INTL0),
            person("solo", "MCOPSTN8", "MCOPSTN2", CC, number=SOLO),
        ],
    },
    {
        "id": "tailspin",
        "country": "US",
        "licensing": "none",
        "service_number": toll_free(TAILSPIN_FREE),
        "user": [person("any", number=TAILSPIN)],
    },
]
CREDIT = {"fabrikam": CREDIT_LIMIT}
TOTALS = {name: total for kind in KINDS for pool in kind.pools for name, total in pool}


class Bank(Simulated):
    """Always pays, and remembers what it took."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}

    async def ask(self, payment: Payment) -> Answer:
        self.taken[payment.key] = payment.amount_micros
        return await super().ask(payment)


@dataclass
class Books:
    """What is known of a tenant's money and minutes without looking at any store."""

    came_in: int = 0
    charged: int = 0
    minutes: Counter[tuple[str, str]] = field(default_factory=Counter)


class Story:
    """One random life of all tenants."""

    def __init__(self, gate: Gate, seed: int) -> None:
        self.gate, self.dice, self.bank = gate, random.Random(seed), Bank()
        self.books = {tenant["id"]: Books() for tenant in TENANTS}
        self.kinds: dict[str, Kind] = {}
        self.seen: list[Leg] = []
        self.admitted = self.turned_away = 0
        self.acts = [self.call] * 6 + [self.end] * 3 + [self.wait] * 4 + [self.fund] * 2 + [
            self.expire, self.recharge, self.book, self.restart, self.next_month, self.next_year,
        ]  # fmt: skip

    async def call(self) -> None:
        kind = self.dice.choice(KINDS)
        self.gate.settings = CallSettings(tick_s=self.dice.choice((60, 600, 7_200)))
        expected = await self.expected(kind)
        leg = await self.gate.call(kind.dialled, **kind.call)
        if isinstance(leg, str):
            self.turned_away += 1
            assert leg == expected, (kind, leg, expected)
            return
        self.admitted += 1
        assert expected == "", f"admitted, and the table says {expected}: {kind}"
        self.kinds[leg.call_id] = kind
        self.seen.append(leg)

    async def expected(self, kind: Kind) -> str:
        """The code that the table and what is left refuse such a call with at this moment; empty: it goes."""
        if kind.free or kind.refused:
            return kind.refused
        counters = await self.gate.credit.counters(kind.tenant)
        month = month_of(self.gate.directory.tenants[kind.tenant].time_zone, self.gate.clock.ms)
        for pool in kind.pools:
            taken = [counters.used.get((name, month), 0) + counters.held.get((name, month), 0) for name, _ in pool]
            if all(total > gone for (_, total), gone in zip(pool, taken, strict=True)):
                return ""
        if not kind.credit:
            return "NO_MINUTES"
        account = await self.gate.credit.account(kind.tenant)
        available = account.available_micros + CREDIT.get(kind.tenant, 0)
        return "" if available >= kind.rate + kind.connect else "NO_CREDIT"

    async def end(self) -> None:
        if self.gate.live:
            await self.gate.end(self.dice.choice(self.gate.live))

    async def wait(self) -> None:
        await self.gate.wait(self.dice.choice((0.4, 59, 60, 61, 1_800, 7_200, 15_000)))

    async def fund(self) -> None:
        tenant, micros = self.dice.choice(sorted(self.books)), self.dice.choice((1, 13_000, 40_000, 2 * M, 15 * M))
        await self.gate.fund(micros, tenant)
        self.books[tenant].came_in += micros

    async def expire(self) -> None:
        await expire_lots(self.gate.ledger, self.gate.credit)

    async def recharge(self) -> None:
        fresh = Recharger(self.gate.ledger, self.gate.credit, self.bank, RechargeLimits(10, 100))
        await fresh.watch()
        await fresh.pay()

    async def book(self) -> None:
        await self.gate.book()

    async def restart(self) -> None:
        self.gate.settler = Settler(self.gate.ledger, self.gate.credit)

    async def next_month(self) -> None:
        await self.gate.wait(self.dice.choice((20, 31, 31, 200)) * DAY_S + self.dice.randrange(DAY_S))

    async def next_year(self) -> None:
        """All lots expire, but for what calls hold of them."""
        await self.gate.wait(366 * DAY_S)
        await self.gate.book()
        await self.expire()

    # what must hold

    async def check(self) -> None:
        for leg in [leg for leg in self.seen if leg.ended]:
            self.seen.remove(leg)
            self.count(leg, self.kinds[leg.call_id])
        assert await self.gate.ledger.lot_faults() == []
        for tenant, books in self.books.items():
            live = [leg for leg in self.gate.live if leg.verdict.tenant_id == tenant]
            await self.check_money(tenant, books, live)
            await self.check_minutes(tenant, books, live)

    def count(self, leg: Leg, kind: Kind) -> None:
        """A call is over: each begun minute was paid once, by a pool or by money, and money by the deck."""
        books, minutes = self.books[kind.tenant], leg.money.minutes_used(leg.talk_ms)
        paid_by_money = leg.money.priced(leg.talk_ms)[1] // 60
        begun = 0 if kind.free else -(-leg.talk_ms // MINUTE_MS)
        pooled = sum(each.minutes for each in minutes)
        assert pooled + paid_by_money == begun
        connect = kind.connect if paid_by_money or (begun == 0 and not kind.pools) else 0
        assert leg.charge_micros == connect + paid_by_money * kind.rate, (kind, leg.talk_ms)
        assert kind.credit or leg.charge_micros == 0
        books.charged += leg.charge_micros
        books.minutes.update({(each.pool, each.month): each.minutes for each in minutes})

    async def check_money(self, tenant: str, books: Books, live: list[Leg]) -> None:
        account = await self.gate.credit.account(tenant)
        recharged = sum(self.bank.taken.values()) if tenant == "contoso" else 0
        forfeited = await self.forfeited(tenant)
        assert account.balance_micros == books.came_in + recharged - books.charged - forfeited
        assert account.held_micros == sum(leg.money.held_micros for leg in live)
        assert account.available_micros >= -CREDIT.get(tenant, 0)
        assert account.calls == len(live)

    async def check_minutes(self, tenant: str, books: Books, live: list[Leg]) -> None:
        counters, held = await self.gate.credit.counters(tenant), Counter[str]()
        for leg in live:
            held.update(held_counters(leg.money.drawn))
        assert {key: much for key, much in counters.used.items() if much} == dict(books.minutes)
        found = {f"held {pool} {month}": much for (pool, month), much in counters.held.items() if much}
        assert found == dict(held)
        for key in {*counters.used, *counters.held}:
            assert 0 <= counters.used.get(key, 0) + counters.held.get(key, 0) <= TOTALS[key[0]]

    async def forfeited(self, tenant: str) -> int:
        lines = [line async for line in self.gate.ledger.postings(tenant) if line.account == "forfeited"]
        return -sum(line.amount_micros for line in lines)

    async def live_through(self) -> None:
        for tenant in sorted(self.books):
            await self.gate.fund(3 * M, tenant)
            self.books[tenant].came_in += 3 * M
        for _ in range(STEPS):
            await self.dice.choice(self.acts)()
            await self.check()
        while self.gate.live:
            await self.gate.end(self.gate.live[0])
        await self.gate.book()
        await self.check()


@pytest.fixture
async def gate(tmp_path: Path, server: Any) -> AsyncIterator[Gate]:
    async for opened in open_gate(tmp_path, server.url, sqlalchemy_url("embedded", tmp_path)):
        await opened.open(*TENANTS)
        yield opened


STORY = os.environ.get("CALLGATE_STORY")
SEEDS = [int(STORY)] if STORY else list(range(int(os.environ.get("CALLGATE_STORIES", "4"))))


@pytest.mark.parametrize("seed", SEEDS)
async def test_money_and_minutes_are_conserved_and_the_table_is_kept(gate: Gate, seed: int) -> None:
    story = Story(gate, seed)
    await story.live_through()
    for tenant, books in story.books.items():
        booked = {(each.pool, each.month): each.minutes for each in await gate.ledger.pool_use(tenant)}
        assert booked == dict(books.minutes)
        records = [each async for each in gate.ledger.usage(tenant)]
        assert sum(each.charge_micros for each in records) == books.charged
        assert sum(each.pool_minutes for each in records) == sum(books.minutes.values())
        assert await gate.balance(tenant) >= -CREDIT.get(tenant, 0)
        assert (await gate.ledger.verify_chain(tenant)).intact
    payments = await gate.ledger.payments("contoso", 1_000)
    assert {each.key for each in payments if each.state == "paid"} == set(story.bank.taken)
    assert await gate.clean()
    assert story.admitted
    assert story.turned_away
