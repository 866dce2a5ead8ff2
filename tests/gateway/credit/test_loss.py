"""Redis is killed, and comes back without its last writes: nothing is lost or doubled while the worker lives (MONEY 6).

``everysec`` may lose what was acknowledged in the last two seconds.  Such a loss is made here for certain: the
append-only file is cut back to the length it had a few commands ago, and Redis is started from it.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Release, Renew, Reserve, Settle, StoreAway, Written
from gateway.credit.admin import CreditAdmin
from policy.verdict import Limits
from rating.tariff import Tariff, charge_micros

SECONDS = Tariff(60_000, 0, 1, 1)
FUNDED = 10**9
WAIT_S = 20.0

OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str) -> Reserve:
    return Reserve(call, "t", SECONDS, 60, 90, Limits(), b"a", b"{}")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


def log_file(server: Any) -> Path:
    """The file that Redis appends to: appendonly.aof up to 6.2, the newest increment since 7.0."""
    found = [*server.folder.rglob("*.incr.aof"), *server.folder.glob("appendonly.aof")]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


class Memory:
    """Kills Redis and cuts its file back to a moment marked before."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._length = 0

    def mark(self) -> None:
        """All that was acknowledged is in the file now (behind a slow disk Redis holds it back for a while)."""
        with self._server.client() as redis:
            while redis.info("persistence")["aof_buffer_length"]:
                time.sleep(0.01)
        self._length = log_file(self._server).stat().st_size

    def lose(self) -> None:
        self._server.kill()
        with log_file(self._server).open("r+b") as file:
            file.truncate(self._length)
        self._server.start()


async def closed(bench: Any) -> None:
    await until(lambda: bench.store.up and not bench.store.unacknowledged and not bench.store._retelling.pending)


async def granted(bench: Any, *commands: Any) -> None:
    bench.results.clear()
    for command in commands:
        bench.store.submit(command)
    await until(lambda: len(bench.results) == len(commands))
    assert all(isinstance(each, Grant | Written) for each in bench.results), bench.results


async def test_lost_grants_are_held_again(durable: Any, open_admin: OpenStore, open_store: OpenStore) -> None:
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, FUNDED)
    bench, memory = await open_store(durable), Memory(durable)
    await granted(bench, reserve("old"))
    memory.mark()
    await granted(bench, reserve("new"), Renew("old", "t", 1, 60, 120, 59))
    await granted(bench, Answer("new", "t", 7, b"b"))
    memory.lose()
    await until(lambda: bench.ops.count("merge") == 2)
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (FUNDED, 180_000, 2)
    calls = {call.call_id: call for call in await admin.live_calls()}
    assert (calls["old"].tick, calls["old"].paid_s) == (1, 120)
    assert (calls["new"].answered_ms, calls["new"].adoption) == (7, b"b")
    await granted(bench, Renew("old", "t", 2, 120, 180, 119))
    assert (await admin.account("t")).held_micros == 240_000


@pytest.mark.parametrize("before", ["reserve", "answer", "settle"])
async def test_a_lost_charge_is_taken_again(
    durable: Any, open_admin: OpenStore, open_store: OpenStore, before: str
) -> None:
    """Redis forgets everything from this command on; the charge stands, once, and its entry is in the outbox."""
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, FUNDED)
    bench, memory = await open_store(durable), Memory(durable)
    steps = {"reserve": reserve("c"), "answer": Answer("c", "t", 7, b"b"), "settle": None}
    for name, command in steps.items():
        if name == before:
            memory.mark()
        if command:
            await granted(bench, command)
    bench.store.submit(Settle("c", "t", 42_000, 42_000, b"{}"))
    await closed(bench)
    booked = [entry.charge_id for entry in await admin.read_outbox()]
    bench.ups.clear()
    memory.lose()
    await until(lambda: bench.ups[-1:] == [True])
    await closed(bench)
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (FUNDED - 42_000, 0, 0)
    assert [entry.charge_id for entry in await admin.read_outbox()] == booked == ["c"]


async def test_a_charge_that_was_booked_and_then_lost_is_taken_again(
    durable: Any, open_admin: OpenStore, open_store: OpenStore
) -> None:
    """The ledger has it, Redis forgot it: the balance falls again, the ledger sees an id that it has."""
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, FUNDED)
    bench, memory = await open_store(durable), Memory(durable)
    memory.mark()
    await granted(bench, reserve("c"))
    bench.store.submit(Settle("c", "t", 42_000, 42_000, b"{}"))
    await closed(bench)
    entries = await admin.read_outbox()
    await admin.trim_outbox(entries)
    bench.store.booked([entry.charge_id for entry in entries])
    bench.ups.clear()
    memory.lose()
    await until(lambda: bench.ups[-1:] == [True])
    await closed(bench)
    assert (await admin.account("t")).balance_micros == FUNDED - 42_000
    assert [entry.charge_id for entry in await admin.read_outbox()] == ["c"]


class Caller:
    """Calls that are set up, renewed and ended at random; what was granted and charged is noted outside Redis."""

    def __init__(self, bench: Any, seed: int) -> None:
        self.bench, self.dice = bench, random.Random(seed)
        self.live: dict[str, tuple[int, int]] = {}
        self.charged: dict[str, int] = {}
        self.count = 0

    def step(self) -> None:
        self.hear()
        if len(self.live) < 6:
            self.count += 1
            self.bench.store.submit(reserve(f"c{self.count}"))
            return
        call = self.dice.choice(sorted(self.live))
        tick, paid_s = self.live[call]
        act = self.dice.randrange(4)
        if act == 0:
            self.bench.store.submit(Answer(call, "t", 7, b"b"))
        elif act < 3:
            self.bench.store.submit(Renew(call, "t", tick + 1, paid_s, paid_s + 60, paid_s))
        else:
            del self.live[call]
            talk_ms = self.dice.randrange(paid_s * 1000)
            self.charged[call] = charge_micros(SECONDS, talk_ms)
            self.bench.store.submit(Settle(call, "t", talk_ms, self.charged[call], b"{}"))

    def hear(self) -> None:
        for each in self.bench.results:
            if isinstance(each, Grant) and each.paid_s and each.call_id not in self.charged:
                if self.live.get(each.call_id, (-1, 0))[0] < each.tick:
                    self.live[each.call_id] = (each.tick, each.paid_s)
            elif isinstance(each, StoreAway) and each.tick == 0 and each.call_id not in {*self.live, *self.charged}:
                self.charged[each.call_id] = 0
                self.bench.store.submit(Release(each.call_id, "t", b"{}"))
        self.bench.results.clear()


async def test_killed_at_random_moments_nothing_is_lost_or_doubled(
    durable: Any, open_admin: OpenStore, open_store: OpenStore
) -> None:
    """Sixty kills: half plain kill -9, half with the last writes lost; the money adds up after each."""
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, FUNDED)
    bench, memory = await open_store(durable), Memory(durable)
    caller = Caller(bench, seed=7)
    for kill in range(60):
        if kill % 2:
            memory.mark()
        for _ in range(caller.dice.randrange(5, 40)):
            caller.step()
            await asyncio.sleep(0)
            if caller.dice.random() < 0.3:
                await asyncio.sleep(0.002)
        await strike(durable, memory if kill % 2 else None, bench, caller)
        await adds_up(admin, bench, caller)


async def strike(server: Any, memory: Memory | None, bench: Any, caller: Caller) -> None:
    """Redis dies, now, with or without its last writes, and comes back."""
    ups = len(bench.ups)
    if memory is not None:
        memory.lose()
    else:
        server.kill()
        server.start()
    await until(lambda: bench.ups[ups:][-1:] == [True])
    caller.hear()
    await closed(bench)


async def adds_up(admin: CreditAdmin, bench: Any, caller: Caller) -> None:
    await bench.store._tie.link.ask("PING")  # replies come in order: all that was said is done
    caller.hear()
    await closed(bench)
    account = await admin.account("t")
    live = {call.call_id: call for call in await admin.live_calls()}
    held = sum(60_000 + 60_000 * tick for tick, _ in caller.live.values())
    assert account.balance_micros == FUNDED - sum(caller.charged.values())
    assert sum(call.held_micros for call in live.values()) == account.held_micros
    assert set(live) == set(caller.live)
    assert account.held_micros >= held
    charges = {entry.charge_id: entry.charge_micros for entry in await admin.read_outbox(count=10**6)}
    assert charges == caller.charged
