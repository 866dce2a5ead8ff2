"""Redis is lost in every way that is known, under live calls; afterwards each micro is where it was (MONEY 6).

The worker is a real one (its credit store), the ledger and Redis are real.  What the worker charged is noted outside
both.  A test that waits for workers waits less than the product does, but longer than a worker needs to look.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.call.commands import Grant, Refusal, Renew, StoreAway
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.ledger import Ledger, LedgerAway, RebuildHeld, rebuilding
from gateway.settlement import Settler, apply_money_in, fund, rebuild, settle_in
from gateway.settlement.doubt import find_doubt
from gateway.settlement.outbox import withdrawal_id, withdrawal_record

from .conftest import PARTITIONS, Caller
from .losses import (
    FUNDED,
    HELD,
    LOSSES,
    TENANTS,
    TICK_MICROS,
    a_busy_hour,
    adds_up,
    granted,
    hang_up,
    lose_accounts,
    quiet,
    talk,
    until,
)

MODULE = import_module("gateway.settlement.rebuild")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 0.4)


@pytest.fixture
async def redis(server: Any) -> AsyncIterator[Any]:
    async with Redis(unix_socket_path=str(server.socket), decode_responses=True) as client:
        yield client


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_is_lost_is_noticed_and_made_good(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any, loss: str
) -> None:
    await a_busy_hour(ledger, credit, caller)
    lose, why = LOSSES[loss]
    await lose(redis, server)
    doubt = await find_doubt(ledger, credit)
    assert doubt is not None
    assert why in doubt.why
    assert await settle_in(ledger, credit) == 2
    await adds_up(ledger, credit, caller, HELD, live=2)
    for call_id, tenant in (("live-1", "contoso"), ("live-2", "fabrikam")):
        hang_up(caller, call_id, tenant)
    await adds_up(ledger, credit, caller)


async def test_a_file_that_was_cut_back_is_noticed(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any
) -> None:
    """Charges from before the loss window: the ledger has them, their worker has let them go, Redis forgot them."""
    await talk(caller, "old")
    while (await redis.info("persistence"))["aof_buffer_length"]:
        await asyncio.sleep(0.01)
    file = max(server.folder.rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)
    length = file.stat().st_size
    hang_up(caller, "old", talk_ms=9_000)
    await talk(caller, "gone")
    hang_up(caller, "gone", talk_ms=8_000)
    await quiet(caller)
    await Settler(ledger, credit).settle_once()
    caller.store._keeper.kept.clear()
    await talk(caller, "live")
    server.kill()
    cut(file, length)
    server.start()
    await until(lambda: caller.store.up, "the worker is back")
    doubt = await find_doubt(ledger, credit)
    assert doubt is not None
    assert "lacks writes of partition" in doubt.why
    await settle_in(ledger, credit)
    await adds_up(ledger, credit, caller, TICK_MICROS, live=1)


def cut(file: Path, length: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(length)


async def test_a_restart_that_lost_nothing_is_no_rebuild(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: Any
) -> None:
    await a_busy_hour(ledger, credit, caller)
    await asyncio.sleep(1.2)  # everysec
    server.kill()
    server.start()
    await until(lambda: caller.store.up, "the worker is back")
    assert await settle_in(ledger, credit) == 1
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_new_redis_opens_at_once_and_a_second_look_finds_it_whole(
    ledger: Ledger, credit: CreditAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 1e9)
    await ledger.fund("contoso", 500, "r")
    assert await settle_in(ledger, credit) == 1
    assert (await credit.account("contoso")).balance_micros == 500
    assert await find_doubt(ledger, credit) is None
    assert await settle_in(ledger, credit) == 1


async def test_a_redis_older_than_the_ledgers_memory_is_taken_over(ledger: Ledger, credit: CreditAdmin) -> None:
    await credit.move_epochs([""] * PARTITIONS, "7")
    assert await settle_in(ledger, credit) == 7
    assert await credit.newest_epoch() == 7


# Nothing in between


async def test_nothing_is_granted_until_it_is_open_and_calls_end_at_zero_exactly(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any
) -> None:
    await fund(ledger, credit, "contoso", -(FUNDED - 25_000), "most", kind="adjustment")
    await talk(caller, "live", ticks=2)
    await redis.flushall()
    working = asyncio.create_task(settle_in(ledger, credit))
    await until(credit.newest_epoch, "the rebuild has begun")
    caller.reserve("early")
    await until(lambda: caller.results.get("early"), "an answer")
    assert isinstance(caller.results["early"][0], StoreAway)
    await working
    await until(lambda: caller.store.open, "the worker knows")
    caller.store.submit(Renew("live", "contoso", 2, 20, 30, 20))
    await granted(caller, "live", 3)
    last = caller.results["live"][-1]
    assert isinstance(last, Grant)
    assert (last.paid_s, last.held_micros, last.final) == (25, 25_000, True)
    caller.store.submit(Renew("live", "contoso", 3, 25, 35, 25))
    caller.reserve("none left")
    await until(lambda: caller.results.get("none left"), "an answer")
    assert isinstance(caller.results["live"][-1], Refusal)
    assert isinstance(caller.results["none left"][0], Refusal)
    hang_up(caller, "live", talk_ms=25_000)
    await adds_up(ledger, credit, caller)
    assert (await credit.account("contoso")).balance_micros == 0


async def test_what_ends_during_a_rebuild_is_taken_once(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any
) -> None:
    await a_busy_hour(ledger, credit, caller)
    await redis.flushall()
    working = asyncio.create_task(settle_in(ledger, credit))
    await until(credit.newest_epoch, "the rebuild has begun")
    hang_up(caller, "live-1", talk_ms=12_345)
    await working
    await adds_up(ledger, credit, caller, TICK_MICROS, live=1)


async def test_money_that_comes_during_a_rebuild_is_applied_once(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_busy_hour(ledger, credit, caller)
    await redis.flushall()
    real_hear, real_restore = MODULE._Leader._hear, credit.restore

    async def hear(leader: Any) -> Any:
        outcome = await fund(ledger, credit, "contoso", 100, "before the balance is read")
        assert not outcome.applied
        return await real_hear(leader)

    async def restore(*args: Any) -> None:
        await ledger.fund("contoso", 1_000, "after the balance is read")
        await real_restore(*args)

    monkeypatch.setattr(MODULE._Leader, "_hear", hear)
    monkeypatch.setattr(credit, "restore", restore)
    await settle_in(ledger, credit)
    assert await apply_money_in(ledger, credit, "contoso") == 0, "settling in has applied it"
    await adds_up(ledger, credit, caller, HELD, live=2)
    charged = 1_000 + 3_000 + 7_000  # booked-0, booked-2, waits
    assert (await credit.account("contoso")).balance_micros == FUNDED + 1_100 - charged


# Money out


async def test_money_out_that_was_lost_is_taken_again_by_who_asked(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any
) -> None:
    """It had left Redis, and the ledger did not know: repeated under its reference it leaves once."""
    words = withdrawal_id("contoso", "out"), 700, withdrawal_record("out", "adjustment", "")
    await credit.withdraw("contoso", *words, exact=True)
    for keys in Keyspace(PARTITIONS).partitions:
        await redis.delete(keys.epoch, keys.outbox)
    await settle_in(ledger, credit)
    assert (await credit.account("contoso")).balance_micros == FUNDED
    for _ in range(2):
        await fund(ledger, credit, "contoso", -700, "out", kind="adjustment")
    assert (await credit.account("contoso")).balance_micros == FUNDED - 700
    await adds_up(ledger, credit, caller)


async def test_money_out_that_is_booked_is_not_taken_again(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any
) -> None:
    await fund(ledger, credit, "contoso", -700, "out", kind="adjustment")
    await redis.flushall()
    await settle_in(ledger, credit)
    await settle_in(ledger, credit)
    assert (await credit.account("contoso")).balance_micros == FUNDED - 700
    await adds_up(ledger, credit, caller)


async def test_money_out_that_meets_a_rebuild_is_said_to_be_unknown(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.book

    async def book(*args: Any) -> Any:
        monkeypatch.setattr(ledger, "book", real)
        await redis.flushall()
        await settle_in(ledger, credit)
        return await real(*args)

    monkeypatch.setattr(ledger, "book", book)
    with pytest.raises(Exception, match="rebuilt"):
        await fund(ledger, credit, "contoso", -700, "out", kind="adjustment")
    assert (await credit.account("contoso")).balance_micros == FUNDED
    await fund(ledger, credit, "contoso", -700, "out", kind="adjustment")
    await adds_up(ledger, credit, caller)


# Leaders


async def test_of_two_leaders_one_rebuilds_and_the_other_waits(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, ledger_url: str, server: Any
) -> None:
    await a_busy_hour(ledger, credit, caller)
    await redis.flushall()
    other = CreditAdmin(server.url, partitions=PARTITIONS, timeout_s=2.0)
    async with Ledger(ledger_url) as second:
        outcomes = await asyncio.gather(settle_in(ledger, credit), settle_in(second, other), return_exceptions=True)
        assert sorted(type(each) for each in outcomes if not isinstance(each, int)) in ([], [RebuildHeld])
        assert 2 in outcomes
        assert await settle_in(second, other) == await settle_in(ledger, credit)
    await other.close()
    await adds_up(ledger, credit, caller, HELD, live=2)


STEPS = [
    ("ledger", "begin_rebuild", 0), ("credit", "move_epochs", 0), ("credit", "announce_epoch", 0),
    ("credit", "read_outbox", 0), ("credit", "trim_outbox", 0), ("credit", "heard", 0), ("credit", "move_epochs", 1),
    ("credit", "mark_booked", 0), ("credit", "clear", 0), ("credit", "restore", 0), ("credit", "note_marks", 0),
    ("credit", "move_epochs", 2),
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[1]}-{step[2]}")
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_a_leader_that_dies_around_any_step_is_followed(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str, int], done: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 0.3)
    monkeypatch.setattr(rebuilding, "LOCK_MS", 150)
    await a_busy_hour(ledger, credit, caller)
    await lose_accounts(redis, None)
    await redis.delete(Keyspace(PARTITIONS).partitions[2].epoch)
    owner, name, skip = step
    where: Any = ledger if owner == "ledger" else credit
    real, count = getattr(where, name), iter(range(100))

    async def die(*args: Any, **more: Any) -> Any:
        if next(count) < skip:
            return await real(*args, **more)
        if done:
            await real(*args, **more)
        raise ConnectionResetError("killed here")

    async def dead(*_args: Any) -> None:
        raise LedgerAway("the dead do not clean up", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(where, name, die)
        patched.setattr(ledger, "end_rebuild", dead)
        with pytest.raises(ConnectionResetError):
            await settle_in(ledger, credit)
    opened = all(each.isdecimal() for each in await credit.epochs())
    assert opened == (done and (name, skip) == ("move_epochs", 2))
    await asyncio.sleep(0.2)
    await settle_in(ledger, credit)
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_leader_that_was_overtaken_changes_nothing(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps through its lock right before the balances are set, and wakes up when all is done."""
    monkeypatch.setattr(rebuilding, "LOCK_MS", 1)
    await a_busy_hour(ledger, credit, caller)
    await redis.flushall()
    real = credit.restore

    async def sleep_over(accounts: Any, number: int) -> None:
        monkeypatch.setattr(credit, "restore", real)
        await asyncio.sleep(0.01)
        assert await settle_in(ledger, credit) == 3
        await until(lambda: caller.store.open and caller.store._tie.number == 3, "the worker knows")
        await talk(caller, "live-3")
        await real(accounts, number)

    monkeypatch.setattr(credit, "restore", sleep_over)
    with pytest.raises(Exception, match="look again"):
        await settle_in(ledger, credit)
    await adds_up(ledger, credit, caller, HELD + TICK_MICROS, live=3)


async def test_without_the_ledger_it_stays_shut_and_goes_on_later(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_busy_hour(ledger, credit, caller)
    await redis.flushall()

    async def away(*_args: Any) -> Any:
        raise LedgerAway("the ledger is away", "wait")

    with monkeypatch.context() as patched:
        for name in ("charges", "renew_rebuild"):
            with patched.context() as more:
                more.setattr(ledger, name, away)
                with pytest.raises(LedgerAway):
                    await settle_in(ledger, credit)
            caller.reserve(f"shut-{name}")
            await until(lambda name=name: caller.results.get(f"shut-{name}"), "an answer")
            assert isinstance(caller.results[f"shut-{name}"][0], StoreAway)
    await settle_in(ledger, credit)
    await adds_up(ledger, credit, caller, HELD, live=2)


# Workers that are heard late, or that a sweep came before


@contextlib.asynccontextmanager
async def running(ledger: Ledger, credit: CreditAdmin) -> AsyncIterator[Settler]:
    stop, working = asyncio.Event(), Settler(ledger, credit)
    task = asyncio.create_task(working.run(stop))
    try:
        yield working
    finally:
        stop.set()
        await task


async def test_a_worker_that_is_heard_late_adopts_and_is_not_charged_twice(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 0.0)
    monkeypatch.setattr(MODULE, "HEAR_MAX_S", 0.0)
    await a_busy_hour(ledger, credit, caller)
    monkeypatch.setattr("gateway.credit.tie.LOOK_EVERY_S", 3.0)  # so that the worker hears of it late
    await asyncio.sleep(0.3)  # a look that was due by the old pace is over
    await redis.flushall()
    await settle_in(ledger, credit)
    assert await credit.live_calls() == []
    async with running(ledger, credit):
        await until(lambda: caller.store.open and not caller.store._retelling.pending, "the worker has heard")
        await until(lambda: not caller.store.unacknowledged, "its charges are judged")
        await until(lambda: caller.store._keeper.kept["booked-1"].booked, "it knows what is booked")
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_the_rest_of_a_swept_call_is_charged_after_a_rebuild(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any
) -> None:
    """The sweep charged nothing, for nothing was proven; its worker, heard later, knows of nine seconds."""
    await talk(caller, "swept")
    key = Keyspace(PARTITIONS).partition("contoso").leases
    await redis.zadd(key, {"swept contoso": 1})
    sweeping = CreditAdmin(server.url, partitions=PARTITIONS, sweep_quiet_s=0)
    assert [each.call_id for each in await sweeping.sweep()] == ["swept"]
    await sweeping.close()
    await Settler(ledger, credit).settle_once()
    await redis.flushall()
    await settle_in(ledger, credit)
    hang_up(caller, "swept", talk_ms=9_000)
    await adds_up(ledger, credit, caller)
    assert (await credit.account("contoso")).balance_micros == FUNDED - 9_000


# The settler


async def test_the_settler_notices_an_emptied_redis_within_a_second_and_opens_it_within_five(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls go on all the time.  Overspend, available below zero, is nothing at all where workers are heard."""
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 1.0)
    least = 0
    async with running(ledger, credit):
        await a_busy_hour(ledger, credit, caller)
        loop = asyncio.get_running_loop()
        for number in range(2):
            began = loop.time()
            await redis.flushall()
            await until(credit.newest_epoch, "it is noticed")
            noticed = loop.time()
            opened = number + 2
            await until(lambda wanted=opened: caller.store.open and caller.store._tie.number == wanted, "it is open")
            assert noticed - began < 1.0
            assert loop.time() - began < 5.0
            caller.call("fabrikam")
            await talk(caller, f"more-{number}")
            for view in await credit.accounts(TENANTS):
                least = min(least, view.available_micros)
        await quiet(caller)
    assert least == 0
    await adds_up(ledger, credit, caller, HELD + 2 * TICK_MICROS, live=4)


async def test_overspend_is_at_most_what_late_workers_hold(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst there is: nobody is waited for, and another worker takes all the money before the first is heard."""
    monkeypatch.setattr(MODULE, "HEAR_MIN_S", 0.0)
    monkeypatch.setattr(MODULE, "HEAR_MAX_S", 0.0)
    live = 8
    await fund(ledger, credit, "contoso", -(FUNDED - live * TICK_MICROS), "most", kind="adjustment")
    for number in range(live):
        await talk(caller, f"live-{number}")
    assert (await credit.account("contoso")).available_micros == 0
    other = Caller(server.url, "gate-2")
    await other.store.start()
    caller.store._tie._on_newest = lambda *_: None  # type: ignore[method-assign]  # deaf for a while
    await redis.flushall()
    await settle_in(ledger, credit)
    await until(lambda: other.store.open and other.store._tie.number == 2, "the other worker knows")
    for number in range(live):
        await talk(other, f"greedy-{number}")
    del caller.store._tie._on_newest
    caller.store._tie.stale(Keyspace(PARTITIONS).partition("contoso").number)
    await until(lambda: _calls(credit, 2 * live), "the first worker's calls are adopted")
    account = await credit.account("contoso")
    assert -live * TICK_MICROS == account.available_micros, "one tick for each live call, and no more"
    other.reserve("no more")
    await until(lambda: other.results.get("no more"), "an answer")
    assert isinstance(other.results["no more"][0], Refusal)
    await other.store.stop()


async def _calls(credit: CreditAdmin, count: int) -> bool:
    return (await credit.account("contoso")).calls == count


# At random


@pytest.mark.parametrize("seed", range(12))
async def test_at_random(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: Any, server: Any, seed: int
) -> None:
    """Calls in every state, money on its way, then a loss; the balances are those of a model that forgets nothing."""
    dice = random.Random(seed)
    balance = dict.fromkeys(TENANTS, FUNDED)
    live: dict[str, tuple[str, int]] = {}
    for loss in range(2):
        for step in range(dice.randrange(8, 20)):
            name, tenant = f"{loss}-{step}", dice.choice(TENANTS)
            act = dice.randrange(7)
            if act < 3:
                ticks = dice.randrange(1, 4)
                await talk(caller, name, tenant, ticks)
                live[name] = (tenant, ticks)
            elif act == 3 and live:
                ended, (tenant, ticks) = live.popitem()
                hang_up(caller, ended, tenant, dice.randrange(1, ticks * 10_000))
                balance[tenant] -= caller.charged[ended]
            elif act == 4:
                amount = dice.randrange(1, 10**6)
                await ledger.fund(tenant, amount, name)
                balance[tenant] += amount
                if dice.random() < 0.5:
                    await apply_money_in(ledger, credit, tenant)
            elif act == 5:
                await quiet(caller)
                await Settler(ledger, credit).settle_once()
            else:
                await quiet(caller)
                await fund(ledger, credit, tenant, -50, name, kind="adjustment")
                balance[tenant] -= 50
        await quiet(caller)
        lose, _ = LOSSES[dice.choice(sorted(LOSSES.keys() - {"the past", "outbox"}))]
        await lose(redis, server)
        await rebuild(ledger, credit, "it was lost")
        await settle_in(ledger, credit)
        await quiet(caller)
        assert {view.tenant_id: view.balance_micros for view in await credit.accounts(TENANTS)} == balance
        held = sum(ticks * TICK_MICROS for _, ticks in live.values())
        await adds_up(ledger, credit, caller, held, live=len(live))
