"""Redis Cluster on loopback, three masters and three replicas: scripts, failovers, slots that move, under live calls.

Contoso's account is at the first node, fabrikam's at the second, and what belongs to no partition mostly at the third.
"""

import asyncio
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Grant, Renew, StoreAway
from gateway.credit import cluster_link
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import DOUBTFUL_KEY, HEARD_KEY, NEWEST_KEY, OWNERS_KEY, Keyspace, slot_of
from gateway.ledger import Ledger
from gateway.settlement import fund
from gateway.settlement.doubt import find_doubt

from ..redis_server import RedisCluster, RedisServer, ask, wait_for
from . import conftest
from .conftest import Caller
from .losses import HELD, TICK_MICROS, a_busy_hour, adds_up, granted, hang_up, quiet, talk, until
from .test_sentinel import FAILOVER_S, booked, reached, settling

PARTITIONS = 15
KEYS = Keyspace(PARTITIONS)
CONTOSO, FABRIKAM = (KEYS.partition(tenant) for tenant in ("contoso", "fabrikam"))


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path / "cluster")
    yield cluster
    cluster.close()


@pytest.fixture(autouse=True)
def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "PARTITIONS", PARTITIONS)
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MIN_S", 0.4)


async def outcome(caller: Caller, call_id: str, tenant: str) -> Any:
    """What a new call hears; one that is granted is over at once."""
    caller.reserve(call_id, tenant)
    await until(lambda: caller.results.get(call_id), "an answer")
    if isinstance(caller.results[call_id][0], Grant):
        hang_up(caller, call_id, tenant)
    return caller.results[call_id][0]


async def until_granted(caller: Caller, name: str, tenant: str) -> None:
    tries = 0
    async with asyncio.timeout(FAILOVER_S):
        while not isinstance(await outcome(caller, f"{name}.{tries}", tenant), Grant):
            tries += 1
            await asyncio.sleep(0.05)


async def whole(caller: Caller) -> None:
    await until(lambda: caller.store.open, "every node is there", FAILOVER_S)


async def test_accounts_are_spread_and_all_that_is_done_with_them_works(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    nodes = {server.serving(keys.epoch).port for keys in KEYS.partitions}
    assert len(nodes) == 3
    assert server.serving(CONTOSO.epoch) is not server.serving(FABRIKAM.epoch)
    assert {server.serving(key).port for key in (OWNERS_KEY, NEWEST_KEY, HEARD_KEY, DOUBTFUL_KEY)} == nodes
    await a_busy_hour(ledger, credit, caller)
    await fund(ledger, credit, "contoso", -1_000, "out", kind="adjustment")
    assert [worker.name for worker in await credit.workers()] == ["gate-1/0"]
    assert {call.call_id for call in await credit.live_calls()} == {"live-1", "live-2"}
    assert await credit.live_call("live-2") is not None
    assert await credit.sweep() == []
    assert await find_doubt(ledger, credit) is None
    await adds_up(ledger, credit, caller, HELD, live=2)
    heir = Caller(server.url)
    await heir.store.start()
    await until(lambda: heir.store.open, "the next start of the slot")
    assert {call.call_id for call in await heir.store.take_over()} == {"live-1", "live-2"}
    assert heir.store.adopted
    await heir.store.stop()


async def test_a_node_that_dies_takes_its_own_tenants_only_and_its_replica_has_them(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        await quiet(caller)
        old = server.serving(CONTOSO.epoch)
        wait_for(lambda: server.has_replica(old), "a replica that has everything")
        old.kill()
        await until(lambda: not caller.store.up, "the loss is noticed")
        assert isinstance(await outcome(caller, "of-the-dead", "contoso"), StoreAway)
        assert isinstance(await outcome(caller, "of-others", "fabrikam"), Grant)
        hang_up(caller, "live-1", talk_ms=12_000)
        await until_granted(caller, "after", "contoso")
        await whole(caller)
    await adds_up(ledger, credit, caller, TICK_MICROS, live=1)
    assert await ledger.redis_epoch() == 1, "nothing was lost, so nothing was rebuilt"


async def test_a_replica_that_lacks_the_last_writes_is_rebuilt(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    await a_busy_hour(ledger, credit, caller)
    old = server.serving(CONTOSO.epoch)
    async with settling(ledger, credit):
        await quiet(caller)
        wait_for(lambda: server.has_replica(old), "a replica that has everything")
        server.cut_replication(old)
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
    await quiet(caller)
    old.kill()
    async with settling(ledger, credit):
        await until(lambda: not caller.store.up, "the loss is noticed")
        await whole(caller)
        await until(lambda: reached(ledger, 2), "a rebuild", FAILOVER_S)
        await until(lambda: caller.store.open and caller.store._tie.number == 2, "it is open", FAILOVER_S)
        await until_granted(caller, "after", "contoso")
    await adds_up(ledger, credit, caller, HELD + 2 * TICK_MICROS, live=3)


async def test_a_node_that_forgot_everything_is_rebuilt(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    await a_busy_hour(ledger, credit, caller)
    async with settling(ledger, credit):
        await quiet(caller)
        ask(server.serving(FABRIKAM.epoch), "FLUSHALL")
        await until(lambda: reached(ledger, 2), "a rebuild", FAILOVER_S)
        await until(lambda: caller.store.open and caller.store._tie.number == 2, "it is open", FAILOVER_S)
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_the_node_with_the_claims_dies(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    """Calls at the other nodes go on, and the slot is claimed again at the replica."""
    await a_busy_hour(ledger, credit, caller)
    old = server.serving(OWNERS_KEY)
    assert old not in {server.serving(CONTOSO.epoch), server.serving(FABRIKAM.epoch)}
    async with settling(ledger, credit):
        await quiet(caller)
        wait_for(lambda: server.has_replica(old), "a replica that has everything")
        old.kill()
        await until(lambda: not caller.store.up, "the loss is noticed")
        assert isinstance(await outcome(caller, "meanwhile", "contoso"), Grant)
        await whole(caller)
    [worker] = await credit.workers()
    assert worker.alive
    assert worker.epoch == caller.store.epoch == 1
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_node_that_hangs_is_noticed_and_left(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster
) -> None:
    await a_busy_hour(ledger, credit, caller)
    old = server.serving(CONTOSO.epoch)
    async with settling(ledger, credit):
        await quiet(caller)
        wait_for(lambda: server.has_replica(old), "a replica that has everything")
        old.stop()
        try:
            await until(lambda: not caller.store.up, "the hang is noticed")
            assert isinstance(await outcome(caller, "of-others", "fabrikam"), Grant)
            await until_granted(caller, "after", "contoso")
        finally:
            old.go_on()
        await whole(caller)
        await until_granted(caller, "later", "contoso")
    await adds_up(ledger, credit, caller, HELD, live=2)


async def test_a_slot_moves_to_another_node_while_calls_go_on(
    ledger: Ledger, credit: CreditAdmin, caller: Caller, server: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key: whoever asks hears ASK, TRYAGAIN and at last MOVED, and no call is refused."""
    # a slot moves slowly on a busy machine; how long a caller waits for it is not what is asked here
    monkeypatch.setattr(cluster_link, "PATIENCE_S", 20.0)
    await a_busy_hour(ledger, credit, caller)
    here, there = server.serving(CONTOSO.epoch), server.serving(FABRIKAM.epoch)
    links = list(caller.store._tie.up_links)
    async with settling(ledger, credit):
        calls: list[str] = []
        for number, _ in enumerate(server.move_slot(slot_of(CONTOSO.epoch), here, there)):
            calls.append(f"moving-{number}")
            caller.reserve(calls[-1], "contoso")
            await asyncio.sleep(0.005)
        await until(lambda: all(caller.results.get(each) for each in calls), "answers")
        assert all(isinstance(caller.results[each][0], Grant) for each in calls), caller.results
        for each in calls:
            hang_up(caller, each, talk_ms=4_000)
        await until(lambda: serves(caller, there), "the worker knows", FAILOVER_S)
        await until_granted(caller, "after", "contoso")
        await quiet(caller)  # charges said after the slot had moved are judged by the settler
    assert list(caller.store._tie.up_links) == links, "no connection was lost"
    await adds_up(ledger, credit, caller, HELD, live=2)


def serves(caller: Caller, node: RedisServer) -> bool:
    at = caller.store._tie._serving[CONTOSO.number]
    return at is not None and at.address.port == node.port
