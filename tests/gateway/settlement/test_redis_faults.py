"""What Redis and the way to it may do to worker and settler: each fault is real, goes by itself, and costs nothing.

Redis is full, loads its file, answers late, hangs, is cut off, forgets scripts, is made a replica of an empty one.
During the fault calls end and new ones are asked for; afterwards everything goes on without anybody's help, what was
charged is booked once, and the money adds up to the micro.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Grant, Release, Renew, StoreAway
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.ledger import Ledger
from gateway.settlement import fund

from ..bad_way import BadWay
from ..redis_server import RedisServer, free_ports
from .conftest import Caller, record
from .losses import HELD, TICK_MICROS, a_busy_hour, adds_up, granted, hang_up, quiet, talk, until
from .test_sentinel import reached, settling


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis", free_ports(1)[0], "--appendonly", "yes").start()
    yield started
    started.kill()


@pytest.fixture
async def server(redis: RedisServer) -> AsyncIterator[BadWay]:
    """The way to Redis, which all that is tested takes."""
    way = await BadWay(redis.port).open()
    way.url = f"redis://127.0.0.1:{way.port}"  # type: ignore[attr-defined]
    yield way
    await way.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MIN_S", 0.4)


async def answer(caller: Caller, call_id: str) -> Any:
    caller.reserve(call_id)
    await until(lambda: caller.results.get(call_id), "an answer")
    return caller.results[call_id][0]


async def during(caller: Caller, name: str) -> None:
    """What happens in a fault: a new call is turned away, a live one asks in vain for more and ends."""
    assert isinstance(await answer(caller, f"{name}-new"), StoreAway)
    count = len(caller.results["live-1"])
    caller.store.submit(Renew("live-1", "contoso", 2, 20, 30, 20))
    await until(lambda: len(caller.results["live-1"]) > count, "an answer")
    assert isinstance(caller.results["live-1"][-1], StoreAway)
    hang_up(caller, "live-1", talk_ms=15_000)
    assert caller.store.unacknowledged == 1


async def afterwards(caller: Caller) -> None:
    """Without anybody's help."""
    await quiet(caller)
    assert isinstance(await answer(caller, "after"), Grant)
    hang_up(caller, "after")
    caller.store.submit(Renew("live-2", "fabrikam", 1, 10, 20, 9))
    await granted(caller, "live-2", 2)


LEFT = HELD - 2 * TICK_MICROS + TICK_MICROS
"""Live-1 is over, live-2 has one more tick."""


async def test_full_memory(ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer) -> None:
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        with redis.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
        await during(caller, "full")
        outcome = await fund(ledger, credit, "contoso", 1_000, "while it is full")
        assert not outcome.applied
        with redis.client() as client:
            client.config_set("maxmemory", "0")
        await afterwards(caller)
    await adds_up(ledger, credit, caller, LEFT, live=1)


async def test_loading_its_file(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer, server: BadWay
) -> None:
    """There are other keys in it, and Redis takes its time for each."""
    await a_busy_hour(ledger, credit, caller)
    with redis.client() as client:
        client.mset({f"other:{number}": number for number in range(8_000)})
        client.bgrewriteaof()
        await until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "a file")
    await asyncio.sleep(1.2)  # everysec
    redis.kill()
    redis._options += ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    async with settling(ledger, credit):
        redis.start()
        assert await loading(server)
        await during(caller, "loading")
        assert await loading(server), "it was in the middle of it"
        await afterwards(caller)
    await adds_up(ledger, credit, caller, LEFT, live=1)


async def loading(way: BadWay) -> bool:
    """What it says to a command."""
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    writer.write(b"GET cg:epoch\r\n")
    said = await reader.readline()
    writer.close()
    return said.startswith(b"-LOADING")


async def test_half_a_second_late(ledger: Ledger, credit: CreditAdmin, caller: Caller, server: BadWay) -> None:
    """Slow is not away: calls are granted, only later."""
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        server.delay_s = 0.25
        for number in range(3):
            assert isinstance(await answer(caller, f"slow-{number}"), Grant)
            hang_up(caller, f"slow-{number}")
        assert caller.store.up
        server.delay_s = 0.0
        await quiet(caller)
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_hung(ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer) -> None:
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        redis.stop()
        try:
            await until(lambda: not caller.store.up, "the hang is noticed")
            await during(caller, "hung")
        finally:
            redis.go_on()
        await afterwards(caller)
    await adds_up(ledger, credit, caller, LEFT, live=1)


@pytest.mark.parametrize("how", ["swallow", "cut"])
async def test_cut_off(ledger: Ledger, credit: CreditAdmin, caller: Caller, server: BadWay, how: str) -> None:
    """With commands under way, of which nobody knows whether they were carried out."""
    await a_busy_hour(ledger, credit, caller)
    await talk(caller, "ends-then")
    async with settling(ledger, credit):
        hang_up(caller, "ends-then", talk_ms=5_000)
        caller.reserve("half-way")
        await asyncio.sleep(0)
        getattr(server, how)(True)
        await until(lambda: not caller.store.up, "it is noticed")
        assert isinstance(await answer(caller, "cut-new"), StoreAway)
        hang_up(caller, "live-1", talk_ms=15_000)
        with pytest.raises(StoreError):
            await credit.ping()
        getattr(server, how)(False)
        await until(lambda: caller.results.get("half-way"), "an answer")
        await afterwards(caller)
        if isinstance(caller.results["half-way"][0], Grant):
            hang_up(caller, "half-way")
        else:  # as the call machine does with a call it has refused
            caller.store.submit(Release("half-way", "contoso", record("half-way", "contoso", 0, 0)))
        await quiet(caller)
    await adds_up(ledger, credit, caller, LEFT, live=1)


async def test_forgotten_scripts(ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer) -> None:
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        for number in range(5):
            with redis.client() as client:
                client.script_flush()
            assert isinstance(await answer(caller, f"flushed-{number}"), Grant)
            hang_up(caller, f"flushed-{number}")
        with redis.client() as client:
            client.script_flush()
        assert (await fund(ledger, credit, "contoso", 1_000, "without scripts")).applied
        await quiet(caller)
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_replica_of_an_empty_one(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer, tmp_path: Path
) -> None:
    """The same run of the same server, behind the same connections, forgets everything, and is a master again."""
    await a_busy_hour(ledger, credit, caller)
    options = ("--repl-diskless-sync-delay", "0")
    empty = RedisServer(tmp_path / "empty", free_ports(1)[0], *options).start()
    try:
        async with settling(ledger, credit):
            with redis.client() as client:
                client.replicaof("127.0.0.1", str(empty.port))
                await until(lambda: client.info("replication")["master_link_status"] == "up", "a replica")
                await until(lambda: not caller.store.up, "it is noticed")
                assert isinstance(await answer(caller, "of-a-replica"), StoreAway)
                client.replicaof("NO", "ONE")
            await until(lambda: reached(ledger, 2), "a rebuild", 60.0)
            await until(lambda: caller.store.open and caller.store._tie.number >= 2, "it is open", 60.0)
            hang_up(caller, "live-1", talk_ms=15_000)
            await afterwards(caller)
    finally:
        empty.kill()
    await adds_up(ledger, credit, caller, LEFT, live=1)


async def test_a_master_that_followed_another_one_meanwhile(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, redis: RedisServer, server: BadWay, tmp_path: Path
) -> None:
    """The same run of the same server, no epoch has changed, and yet it lacks the last writes: its history tells."""
    await a_busy_hour(ledger, credit, caller)
    other = RedisServer(tmp_path / "other", free_ports(1)[0], "--repl-diskless-sync-delay", "0").start()
    try:
        with redis.client() as client, other.client() as beside:
            client.config_set("repl-diskless-sync-delay", "0")
            beside.replicaof("127.0.0.1", str(redis.port))
            await until(lambda: beside.info("replication")["master_link_status"] == "up", "a replica")
            beside.replicaof("NO", "ONE")
            await talk(caller, "live-3")
            hang_up(caller, "live-1", talk_ms=15_000)
            await quiet(caller)
            server.cut(True)
            await until(lambda: not caller.store.up, "it is noticed")
            client.replicaof("127.0.0.1", str(other.port))
            await until(lambda: client.info("replication")["master_link_status"] == "up", "a replica")
            client.replicaof("NO", "ONE")
            server.cut(False)
        async with settling(ledger, credit):
            await afterwards(caller)
    finally:
        other.kill()
    await adds_up(ledger, credit, caller, LEFT + TICK_MICROS, live=2)
