"""What a worker that starts takes over from the one before it in its slot."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.call.adoption import StoredCall
from gateway.call.commands import Answer, Grant, Prove, Refusal, Renew, Reserve, Settle
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.store import Owner
from policy.verdict import Limits
from rating.tariff import Tariff

from .conftest import begin_rebuild, open_epochs

SECONDS = Tariff(60_000, 0, 1, 1)
OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str, tenant: str = "t", tariff: Tariff | None = SECONDS) -> Reserve:
    return Reserve(call, tenant, tariff, 60, 90, Limits(), f"adopt {call}".encode(), b"{}")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def carry_out(bench: Any, *commands: Any) -> list[Any]:
    """Results of commands that have one; they are taken away."""
    wanted = sum(isinstance(command, Reserve | Answer | Renew) for command in commands)
    for command in commands:
        bench.store.submit(command)
    await until(lambda: len(bench.results) >= wanted and not bench.store.unacknowledged)
    results, bench.results[:] = list(bench.results), []
    return results


async def test_live_calls_of_the_slot_are_taken_over_as_they_stand(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    for tenant in ("t", "u", "v"):
        await admin.apply_money_in(tenant, 1, 10**9)
    old = await open_store(server)
    await carry_out(old, reserve("talks"), reserve("rings", "u"), reserve("over"), reserve("free", "v", None))
    await carry_out(old, Answer("talks", "t", 5_000, b"two dialogs"), Settle("over", "t", 1_000, 1_000, b"{}"))
    await carry_out(old, Renew("talks", "t", 1, 60, 120, 55))
    new = await open_store(server)
    assert (old.store.epoch, new.store.epoch) == (1, 2)
    taken = {stored.call_id: stored for stored in await new.store.take_over()}
    assert new.store.adopted
    assert taken == {
        "talks": StoredCall("talks", "t", 1, 120, 120_000, False, SECONDS, 90, 5_000, 55, b"{}", b"two dialogs"),
        "rings": StoredCall("rings", "u", 0, 60, 60_000, False, SECONDS, 90, 0, 0, b"{}", b"adopt rings"),
        "free": StoredCall("free", "v", 0, None, 0, False, None, 90, 0, 0, b"{}", b"adopt free"),
    }
    assert await carry_out(old, Renew("talks", "t", 2, 120, 180, 60)) == [Refusal("talks", 2, "FENCED")]
    [grant] = await carry_out(new, Renew("talks", "t", 2, 120, 180, 60))
    assert grant == Grant("talks", 2, 180, 180_000)
    await carry_out(new, Settle("talks", "t", 61_000, 61_000, b"{}"))
    assert (await admin.account("t")).balance_micros == 10**9 - 62_000


async def test_other_owners_and_what_is_known_already_are_left_alone(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    other = await open_store(server, Owner("gate-1", 1, "here"))
    ours = await open_store(server)
    await carry_out(other, reserve("theirs"))
    await carry_out(ours, reserve("ours"))
    assert await ours.store.take_over() == []
    assert {call.call_id: call.generation for call in await admin.live_calls()} == {"theirs": 1, "ours": 1}


async def test_the_sweep_keeps_off_what_was_taken_over(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old = await open_store(server)
    await carry_out(old, reserve("c"))
    await carry_out(old, Answer("c", "t", 5_000, b"a"))
    redis.hset(Keyspace(4).partition("t").call("c"), "clock_ms", 1_000)
    redis.zadd(Keyspace(4).partition("t").leases, {"c t": 91_000})
    new = await open_store(server)
    assert [stored.call_id for stored in await new.store.take_over()] == ["c"]
    assert await admin.sweep() == []
    [call] = await admin.live_calls()
    assert 29 < call.lease_ms / 1000 - time.time() <= 30


async def test_what_was_not_adopted_is_given_again_and_what_was_is_said_again(
    durable: Any, open_admin: OpenStore, open_store: OpenStore
) -> None:
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, 10**9)
    old = await open_store(durable)
    await carry_out(old, reserve("a"), reserve("b"))
    new = await open_store(durable)
    taken = await new.store.take_over()
    assert {stored.call_id for stored in taken} == {"a", "b"}
    new.store.adopt(next(stored for stored in taken if stored.call_id == "a"))
    new.store._succession.open = set(range(4))
    assert [stored.call_id for stored in await new.store.take_over()] == ["b"]
    with durable.client() as redis:
        redis.delete(Keyspace(4).partition("t").call("a"))  # as if it had been lost with the last two seconds
        redis.hincrby(Keyspace(4).tenant("t").account, "held", -60_000)
    new.store._say_again({0, 1, 2, 3}, set())
    await carry_out(new, Prove("a", "t", 0, None))
    assert {call.call_id: call.held_micros for call in await admin.live_calls()} == {"a": 60_000, "b": 60_000}


async def test_partitions_that_are_shut_and_a_redis_that_is_away_wait(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old = await open_store(server)
    await carry_out(old, reserve("c"))
    keys = Keyspace(4)
    await begin_rebuild(admin, 2, keys.partition("t").number)
    new = await open_store(server)
    assert await new.store.take_over() == []
    assert not new.store.adopted
    await open_epochs(admin, 2)
    await until(lambda: new.store.open)
    assert [stored.call_id for stored in await new.store.take_over()] == ["c"]
    assert new.store.adopted
    new.store._succession.open = {0}
    server.kill()
    assert await new.store.take_over() == []
    assert not new.store.adopted


@pytest.mark.parametrize("spread", [True, False], ids=["over all partitions", "one tenant"])
async def test_ten_thousand_calls_are_taken_over_in_well_under_two_seconds(
    server: Any, admin: CreditAdmin, open_store: OpenStore, spread: bool
) -> None:
    tenants = [f"t{number}" for number in range(50 if spread else 1)]
    for tenant in tenants:
        await admin.apply_money_in(tenant, 1, 10**12)
    old = await open_store(server)
    for start in range(0, 10_000, 1_000):
        await carry_out(old, *(
            Reserve(f"c{n}", tenants[n % len(tenants)], SECONDS, 60, 90, Limits(), b"a" * 600, b"u" * 500)
            for n in range(start, start + 1_000)
        ))  # fmt: skip
    new = await open_store(server)
    began_s = time.monotonic()
    taken = await new.store.take_over()
    took_s = time.monotonic() - began_s
    assert len(taken) == 10_000
    assert took_s < 1.5, took_s
