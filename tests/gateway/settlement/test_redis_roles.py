"""A settler and a worker with the printed rights in Redis: calls, charges, a Redis that is lost, sweep, money.

Both are real, each signs in as its own user (or all as one); Redis writes down what it refuses.  So do the nodes of a
cluster, of which more is asked.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gateway.credit import cluster_link
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import DOUBTFUL_KEY, Keyspace, slot_of
from gateway.credit.orders import Funded
from gateway.credit.roles import ADMIN, IN_A_CLUSTER, OPERATOR, ROLES, SETTLER, UNION, WORKER, acl_file
from gateway.ledger import Ledger
from gateway.ledger import ledger_url as sqlalchemy_url
from gateway.settlement import Settler, fund

from ..guarded import PASSWORD, UNUSED_HERE, Guarded, filled_in
from ..redis_server import RedisCluster, ask
from . import conftest
from .conftest import PARTITIONS, Caller, record, two_tenants
from .losses import HELD, TICK_MICROS, a_busy_hour, adds_up, granted, hang_up, quiet, talk, until
from .test_sentinel import settling

FUNDED = 1_000_000_000


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    running = Guarded(tmp_path)
    yield running
    running.close()


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Which database it is does not matter to Redis."""
    async with Ledger(sqlalchemy_url("embedded", tmp_path)) as ledger:
        await ledger.migrate()
        yield ledger


@pytest.fixture(params=[SETTLER.name, UNION])
async def credit(guarded: Guarded, request: pytest.FixtureRequest) -> AsyncIterator[CreditAdmin]:
    """The settler's; nothing is quiet for it, so that it sweeps at once."""
    admin = CreditAdmin(guarded.url(request.param), partitions=PARTITIONS, sweep_quiet_s=0)
    yield admin
    await admin.close()


@pytest.fixture
async def caller(guarded: Guarded, credit: CreditAdmin) -> AsyncIterator[Caller]:
    worker = Caller(guarded.url(WORKER.name))
    yield worker
    await worker.store.stop()


@pytest.fixture
async def operator(guarded: Guarded) -> AsyncIterator[CreditAdmin]:
    admin = CreditAdmin(guarded.url(OPERATOR.name), partitions=PARTITIONS)
    yield admin
    await admin.close()


@pytest.fixture
async def settler(books: Ledger, credit: CreditAdmin, guarded: Guarded) -> AsyncIterator[Settler]:
    """At work from the first start of Redis on."""
    guarded.begin()
    stop = asyncio.Event()
    running = Settler(books, credit)
    working = asyncio.create_task(running.run(stop))
    await until(lambda: _epoch(credit, 1), "Redis is open")
    yield running
    stop.set()
    await working


def leave_a_call(guarded: Guarded) -> None:
    """A call of a worker that is gone, whose lease has run out."""
    keys = Keyspace(PARTITIONS).partition("contoso")
    usage = record("gone", "contoso", 0, 0)
    facts = {"owner": "gate-9/0", "gen": 1, "held": 0, "tariff": "", "usage": usage, "clock_ms": 1}
    facts["drawn"] = "live tenant"
    guarded.watcher.hset(keys.call("gone"), mapping=facts)
    guarded.watcher.zadd(keys.leases, {"gone contoso": 1})


@pytest.mark.usefixtures("settler")
async def test_a_settler_does_all_it_does(
    guarded: Guarded, books: Ledger, credit: CreditAdmin, caller: Caller, operator: CreditAdmin,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MIN_S", 0.4)
    await caller.store.start()
    await books.provision(two_tenants(tmp_path))
    for tenant in ("contoso", "fabrikam"):
        await until(lambda tenant=tenant: _exists(credit, tenant), "accounts")
        assert (await fund(books, operator, tenant, FUNDED, "first")).applied
    assert (await fund(books, operator, "contoso", -700, "out", kind="adjustment")).applied
    for number in range(3):
        await talk(caller, f"over-{number}")
        hang_up(caller, f"over-{number}")
    await talk(caller, "live")
    leave_a_call(guarded)
    assert [each.call_id for each in await credit.sweep()] == ["gone"]
    await quiet(caller)
    guarded.watcher.flushall()
    await until(lambda: _epoch(credit, 2), "Redis is rebuilt")
    guarded.watcher.sadd(DOUBTFUL_KEY, 0)
    await until(lambda: not guarded.watcher.exists(DOUBTFUL_KEY), "it is looked at")
    await until(lambda: _holds(credit, TICK_MICROS), "only the live call holds money")
    hang_up(caller, "live")
    await adds_up(books, credit, caller)
    await Settler(books, credit)._forget_counters()
    assert guarded.refused() == []
    assert SETTLER.commands - guarded.used() <= UNUSED_HERE


async def _exists(credit: CreditAdmin, tenant: str) -> bool:
    return (await credit.account(tenant)).exists


async def _epoch(credit: CreditAdmin, number: int) -> bool:
    return set(await credit.epochs()) == {str(number)}


async def _holds(credit: CreditAdmin, micros: int) -> bool:
    return (await credit.account("contoso")).held_micros == micros


SPREAD = 15
"""Partitions that are on all three nodes of a cluster, as in test_cluster."""


class GuardedCluster(RedisCluster):
    """Its nodes have the printed rights, and speak among themselves as user default, who is the test's own too."""

    def __init__(self, folder: Path) -> None:
        file = folder / "callgate.acl"
        file.write_text(filled_in(acl_file()).replace("user default off", "user default on nopass ~* &* +@all"))
        super().__init__(folder / "nodes", "--aclfile", str(file))

    def url_of(self, name: str) -> str:
        return self.url.replace("://", f"://{name}:{PASSWORD}@")

    def begin(self) -> None:
        for node in self.nodes:
            ask(node, "CONFIG", "RESETSTAT")
            ask(node, "ACL", "LOG", "RESET")

    def used(self) -> set[str]:
        told = [name for node in self.nodes for name in ask(node, "INFO", "commandstats")]
        return {name.removeprefix("cmdstat_") for name in told}

    def refused(self) -> list[Any]:
        return [each for node in self.nodes for each in ask(node, "ACL", "LOG")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[GuardedCluster]:
    running = GuardedCluster(tmp_path)
    yield running
    running.close()


async def test_each_role_does_its_work_in_a_cluster(
    cluster: GuardedCluster, books: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slot moves meanwhile, key by key: whoever asks is sent on, and says ASKING there."""
    monkeypatch.setattr(conftest, "PARTITIONS", SPREAD)
    # a slot moves slowly on a busy machine: here nobody is to be refused for that
    monkeypatch.setattr(cluster_link, "PATIENCE_S", 20.0)
    keys = Keyspace(SPREAD)
    contoso, fabrikam = (keys.partition(tenant).epoch for tenant in ("contoso", "fabrikam"))
    stores = {role.name: CreditAdmin(cluster.url_of(role.name), partitions=SPREAD) for role in ROLES}
    settler, operator, admin = (stores[role.name] for role in (SETTLER, OPERATOR, ADMIN))
    caller = Caller(cluster.url_of(WORKER.name))
    await books.provision(two_tenants(tmp_path))
    cluster.begin()
    try:
        async with settling(books, settler):
            await until(lambda: _epoch(settler, 1), "Redis is open")
            for tenant in ("contoso", "fabrikam"):
                assert (await fund(books, operator, tenant, FUNDED, "first")).applied
            await caller.store.start()
            await until(lambda: caller.store.open, "every node is there")
        await a_busy_hour(books, settler, caller)
        async with settling(books, settler):
            here, there = cluster.serving(contoso), cluster.serving(fabrikam)
            calls: list[str] = []
            for number, _ in enumerate(cluster.move_slot(slot_of(contoso), here, there)):
                calls.append(f"moving-{number}")
                caller.reserve(calls[-1])
                await asyncio.sleep(0.005)
            for each in calls:
                await granted(caller, each, 1)
                hang_up(caller, each)
            await quiet(caller)
        assert (await admin.account("contoso")).exists
        assert len(await admin.live_calls("contoso")) == 1
        assert await operator.workers()
        await admin.send_order("gate-1/0", Funded("contoso"))
        assert await stores[WORKER.name].read_orders("gate-1/0")
        await adds_up(books, settler, caller, HELD, live=2)
    finally:
        await caller.store.stop()
        for credit in stores.values():
            await credit.close()
    assert cluster.refused() == []
    assert set(IN_A_CLUSTER) <= cluster.used()
