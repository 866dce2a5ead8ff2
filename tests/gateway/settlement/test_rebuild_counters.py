"""Redis is lost under calls that draw on pools and limits: counters are what they were, and calls go on (MONEY 6)."""

import time
from importlib import import_module
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Renew, Reserve, Settle
from gateway.credit.admin import CreditAdmin
from gateway.credit.views import Counters
from gateway.ledger import Ledger, PoolUse
from gateway.settlement import Settler, settle_in
from policy.terms import hour_of, write_terms
from policy.verdict import Limits, LiveLimit, Pool, SpendLimit

from .conftest import PER_SECOND, Caller, record
from .losses import LOSSES, adds_up, granted, quiet
from .test_rebuild import redis as redis

TERMS = write_terms(
    (Pool("P/GB", "P", "GB", 3),), (SpendLimit("tenant", "day", 10**6),), (LiveLimit("user/a", 9),), 0, "UTC"
)
HOUR = hour_of(TERMS, time.time_ns() // 1_000_000)
MONTH, DAY = HOUR[:7], HOUR[:10]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MIN_S", 0.4)


async def talk(caller: Caller, call_id: str, ticks: int = 1, terms: str = TERMS) -> None:
    """A call with so many ticks: the first three minutes of all calls are the pool's, then money pays 10 s each."""
    usage = record(call_id, "contoso", 0, 0)
    first = Reserve(call_id, "contoso", PER_SECOND, 10, 30, Limits(), b"adopt", usage, terms=terms, hour=HOUR)
    caller.store.submit(first)
    await granted(caller, call_id, 1)
    caller.store.submit(Answer(call_id, "contoso", 1, b"adopt"))
    for tick in range(1, ticks):
        start = next(each.paid_s for each in reversed(caller.results[call_id]) if isinstance(each, Grant)) or 0
        caller.store.submit(Renew(call_id, "contoso", tick, start, start + 10, 0, HOUR))
        await granted(caller, call_id, tick + 1)


def hang_up(caller: Caller, call_id: str, talk_ms: int, charge: int) -> None:
    caller.charged[call_id] = charge
    caller.store.submit(Settle(call_id, "contoso", talk_ms, charge, record(call_id, "contoso", talk_ms, charge)))


@pytest.mark.parametrize("loss", LOSSES)
async def test_counters_are_what_they_were(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any, loss: str
) -> None:
    await talk(caller, "booked")
    hang_up(caller, "booked", 30_000, 0)
    await quiet(caller)
    await Settler(ledger, credit).settle_once()
    await talk(caller, "waits")
    hang_up(caller, "waits", 30_000, 0)
    await talk(caller, "live", ticks=3)
    await quiet(caller)
    pool, day = ("P/GB", MONTH), ("tenant/day", DAY)
    counters = Counters({pool: 2}, {pool: 1}, {day: 20_000}, {"user/a": 1})
    assert await credit.counters("contoso") == counters

    lose, _ = LOSSES[loss]
    await lose(redis, server)
    await settle_in(ledger, credit)
    await quiet(caller)
    assert await credit.counters("contoso") == counters

    await talk(caller, "after")
    hang_up(caller, "after", 3_000, 3_000)
    hang_up(caller, "live", 71_000, 11_000)
    await adds_up(ledger, credit, caller)
    assert await credit.counters("contoso") == Counters({pool: 3}, {pool: 0}, {day: 14_000}, {"user/a": 0})
    assert await ledger.pool_use("contoso", MONTH) == [PoolUse("P/GB", MONTH, 3)]


async def test_counters_of_periods_that_are_over_are_taken_away(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any
) -> None:
    await talk(caller, "live")
    (key,) = [key async for key in redis.scan_iter("cg:*:counters:contoso")]
    old = {"used P/GB 2020-01": 5, "spent tenant/day 2020-01-01": 5, "spent tenant/hour 2020-01-01T10": 5}
    await redis.hset(key, mapping=old)
    before = await credit.counters("contoso")
    assert len(before.used) == 1
    await Settler(ledger, credit)._forget_counters()
    after = await credit.counters("contoso")
    assert (after.used, after.spent, after.held, after.live) == ({}, {}, before.held, before.live)


async def test_a_spending_limit_that_was_released_stays_so(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any
) -> None:
    terms = write_terms((), (SpendLimit("tenant", "day", 10**6),), (), 0, "UTC")
    for call_id in ("booked", "waits"):
        await talk(caller, call_id, 3, terms)
        hang_up(caller, call_id, 25_000, 25_000)
        await quiet(caller)
        if call_id == "booked":
            await Settler(ledger, credit).settle_once()
    await talk(caller, "live", 2, terms)
    await quiet(caller)
    day = ("tenant/day", DAY)

    taken_off = await credit.start_anew("contoso", *day)
    held = (await credit.counters("contoso")).spent[day]
    assert (taken_off.micros, held) == (50_000, 20_000)
    await ledger.note_released("contoso", *day, taken_off.total_micros)
    await ledger.note_released("contoso", *day, taken_off.total_micros)
    assert (await credit.start_anew("contoso", *day)).micros == 0

    lose, _ = LOSSES["emptied"]
    await lose(redis, server)
    await settle_in(ledger, credit)
    await quiet(caller)
    assert (await credit.counters("contoso")).spent[day] == held
    hang_up(caller, "live", 12_000, 12_000)
    await adds_up(ledger, credit, caller)
    assert (await credit.counters("contoso")).spent[day] == 12_000
    again = await credit.start_anew("contoso", *day)
    assert (again.micros, again.total_micros) == (12_000, taken_off.total_micros + 12_000)
