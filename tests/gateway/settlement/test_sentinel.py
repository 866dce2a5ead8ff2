"""Redis behind real sentinels: a master, two replicas, three sentinels on loopback, failovers that are made for real.

The worker and the settler are real.  Whatever happened, what the worker charged is booked once and the money adds up.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from gateway.call.commands import Grant, Renew, StoreAway
from gateway.credit.admin import CreditAdmin, StoreError, StoreUnreachableError
from gateway.ledger import Ledger
from gateway.settlement import Settler
from gateway.settlement.doubt import find_doubt

from ..redis_server import RedisServer, SentinelGroup
from .conftest import Caller
from .losses import HELD, TICK_MICROS, a_busy_hour, adds_up, granted, hang_up, quiet, talk, until

FAILOVER_S = 90.0
"""Sentinels that had to wait for a busy machine do nothing for 30 s (their tilt mode)."""


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path / "group")
    yield group
    group.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MIN_S", 0.4)


@contextlib.asynccontextmanager
async def settling(ledger: Ledger, credit: CreditAdmin) -> AsyncIterator[None]:
    stop = asyncio.Event()
    working = asyncio.create_task(Settler(ledger, credit).run(stop))
    yield
    stop.set()
    await working


async def new_call(caller: Caller, call_id: str) -> None:
    """One that is granted, however often it has to be asked for meanwhile."""
    asked = 0
    async with asyncio.timeout(FAILOVER_S):
        while True:
            asked += 1
            attempt = f"{call_id}.{asked}"
            caller.reserve(attempt)
            await until(lambda attempt=attempt: caller.results.get(attempt), "an answer")
            if isinstance(caller.results[attempt][0], Grant):
                hang_up(caller, attempt)
                return
            assert isinstance(caller.results[attempt][0], StoreAway)
            await asyncio.sleep(0.05)


def is_replica(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "slave")


async def is_settled(ledger: Ledger, credit: CreditAdmin) -> bool:
    try:
        return await find_doubt(ledger, credit) is None
    except StoreError:
        return False


def port_of(caller: Caller) -> int:
    return next((node.address.port for node in caller.store._tie._nodes.values() if node.up), 0)


async def at_the_new_master(caller: Caller, group: SentinelGroup, old: int) -> None:
    await until(lambda: caller.store.open and port_of(caller) not in {0, old}, "the new master", FAILOVER_S)
    await until(lambda: port_of(caller) == group.master().port, "the one that sentinels name", FAILOVER_S)


async def test_a_killed_master_is_followed_by_its_replica(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: SentinelGroup
) -> None:
    await a_busy_hour(ledger, credit, caller)
    old = server.master()
    assert port_of(caller) == old.port
    async with settling(ledger, credit):
        server.wait_until_replicas_have_all()
        old.kill()
        await until(lambda: not caller.store.up, "the loss is noticed")
        await new_call(caller, "after")
        await at_the_new_master(caller, server, old.port)
        caller.store.submit(Renew("live-1", "contoso", 2, 20, 30, 20))
        await granted(caller, "live-1", 3)
    await adds_up(ledger, credit, caller, HELD + TICK_MICROS, live=2)
    assert await ledger.redis_epoch() == 1, "nothing was lost, so nothing was rebuilt"
    old.start()  # takes itself for the master, until a sentinel has seen it
    for call_id, tenant in (("live-1", "contoso"), ("live-2", "fabrikam")):
        hang_up(caller, call_id, tenant)
    await adds_up(ledger, credit, caller)


async def test_a_replica_that_lacks_the_last_writes_is_rebuilt(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: SentinelGroup
) -> None:
    """What it lacks: a charge that the ledger has and the worker let go, one that only the worker has, a live call."""
    await a_busy_hour(ledger, credit, caller)
    server.wait_until_replicas_have_all()
    old = server.master()
    async with settling(ledger, credit):
        await quiet(caller)
        server.cut_replication()
        await talk(caller, "booked")
        hang_up(caller, "booked", talk_ms=9_000)
        await quiet(caller)
        await until(lambda: booked(ledger, "booked"), "the ledger has it")
        caller.store._keeper.kept.clear()
    await talk(caller, "unbooked")
    hang_up(caller, "unbooked", talk_ms=8_000)
    await talk(caller, "live-3")
    caller.store.submit(Renew("live-2", "fabrikam", 1, 10, 20, 9))
    await granted(caller, "live-2", 2)
    old.kill()
    async with settling(ledger, credit):
        await at_the_new_master(caller, server, old.port)
        await until(lambda: reached(ledger, 2), "a rebuild", FAILOVER_S)
        await until(lambda: caller.store.open and caller.store._tie.number == 2, "it is open", FAILOVER_S)
        await new_call(caller, "after")
    await adds_up(ledger, credit, caller, HELD + 2 * TICK_MICROS, live=3)


async def test_a_failover_on_purpose_leaves_the_old_master(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: SentinelGroup
) -> None:
    await a_busy_hour(ledger, credit, caller)
    old = server.master()
    async with settling(ledger, credit):
        with server.sentinels[1].client() as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", server.service)
        while port_of(caller) in {0, old.port}:
            await new_call(caller, "meanwhile" + str(len(caller.charged)))
        await at_the_new_master(caller, server, old.port)
        await until(lambda: is_replica(old), "the old master follows", FAILOVER_S)
        # what it granted and charged until then may be lost with it: the settler finds that out and rebuilds
        await until(lambda: is_settled(ledger, credit), "nothing is in doubt", FAILOVER_S)
        await quiet(caller)
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_hung_master_that_wakes_is_heard_no_more(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: SentinelGroup
) -> None:
    """It takes itself for the master until the sentinels have told it otherwise."""
    await a_busy_hour(ledger, credit, caller)
    server.wait_until_replicas_have_all()
    old = server.master()
    async with settling(ledger, credit):
        old.stop()
        try:
            await until(lambda: not caller.store.up, "the hang is noticed")
            await new_call(caller, "after")
            await at_the_new_master(caller, server, old.port)
        finally:
            old.go_on()
        await new_call(caller, "later")
        assert port_of(caller) != old.port
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_sentinels_may_die(ledger: Ledger, credit: CreditAdmin, caller: Caller, server: SentinelGroup) -> None:
    """The first of the URL is gone, another hangs: the third names the master."""
    server.sentinels[0].kill()
    server.sentinels[1].stop()
    try:
        other = Caller(server.url, "gate-2")
        await other.store.start()
        assert other.store.up
        await other.store.stop()
        await credit.ping()
        unknown = CreditAdmin(server.url.removesuffix(server.service) + "other", partitions=4, timeout_s=2.0)
        with pytest.raises(StoreUnreachableError, match="watch no service named other"):
            await unknown.ping()
        await unknown.close()
    finally:
        server.sentinels[1].go_on()
    await adds_up(ledger, credit, caller)


async def booked(ledger: Ledger, call_id: str) -> bool:
    return bool(await ledger.charges([call_id]))


async def reached(ledger: Ledger, number: int) -> bool:
    return await ledger.redis_epoch() >= number
