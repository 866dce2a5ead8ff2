"""Slots that are gone for good: who has their calls, once, and what a holder that wakes is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Prove, Refusal, Renew, Reserve, Settle
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import OWNERS_KEY, Keyspace
from gateway.credit.store import Owner
from policy.verdict import Limits
from rating.tariff import Tariff

from .conftest import begin_rebuild, open_epochs

SECONDS = Tariff(60_000, 0, 1, 1)
ONE, TWO, THREE = Owner("one", 0, "a"), Owner("two", 0, "b"), Owner("three", 0, "c")
OpenStore = Callable[..., Awaitable[Any]]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def carry_out(bench: Any, *commands: Any) -> list[Any]:
    wanted = sum(isinstance(command, Reserve | Answer | Renew) for command in commands)
    for command in commands:
        bench.store.submit(command)
    await until(lambda: len(bench.results) >= wanted and not bench.store.unacknowledged)
    results, bench.results[:] = list(bench.results), []
    return results


async def talk(bench: Any, *calls: str) -> None:
    """Answered calls of the tenant t."""
    for call in calls:
        first = Reserve(call, "t", SECONDS, 60, 90, Limits(), b"rings", b"{}")
        await carry_out(bench, first)
        await carry_out(bench, Answer(call, "t", 5_000, b"talks"))


def lose_claim(redis: Any, owner: Owner, ago_s: float = 60.0) -> None:
    """As if the holder had not been heard since long."""
    epoch, _, start, instance = redis.hget(OWNERS_KEY, owner.name).split(" ", 3)
    redis.hset(OWNERS_KEY, owner.name, f"{epoch} {int((time.time() - ago_s) * 1000)} {start} {instance}")


@pytest.fixture
def gate(server: Any, admin: CreditAdmin, open_store: OpenStore) -> OpenStore:
    """A store that takes others for gone ten seconds after their claim, and has been connected long enough."""

    async def open_(owner: Owner, after_s: float = 10.0) -> Any:
        bench = await open_store(server, owner, takeover_after_s=after_s)
        bench.store._heirs._from_s = 0.0
        return bench

    return open_


async def take(bench: Any, running: tuple[str, ...] = ()) -> list[str]:
    taken = await bench.store.inherit(running)
    for stored in taken:
        bench.store.adopt(stored)
    await bench.store.inherited()
    return sorted(stored.call_id for stored in taken)


async def test_calls_of_a_slot_that_is_gone_have_one_taker_and_go_on_with_it(
    gate: OpenStore, admin: CreditAdmin, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, new, other = await gate(ONE), await gate(TWO), await gate(THREE)
    calls = [f"c{number}" for number in range(20)]
    await talk(old, *calls)
    await talk(other, "theirs")
    assert await take(new) == []
    lose_claim(redis, ONE, 9.0)
    assert await take(new) == [], "a restart of the slot has ten seconds"
    lose_claim(redis, ONE, 11.0)
    one, two = await asyncio.gather(take(new), take(other))
    assert sorted(one + two) == sorted(calls)
    assert [] in (one, two)
    taker = new if one else other
    assert {call.owner for call in await admin.live_calls() if call.call_id != "theirs"} == {
        "two/0" if one else "three/0"
    }
    assert await carry_out(old, Renew("c0", "t", 1, 60, 120, 60)) == [Refusal("c0", 1, "FENCED")]
    assert await carry_out(taker, Renew("c0", "t", 1, 60, 120, 60)) == [Grant("c0", 1, 120, 120_000)]
    await carry_out(taker, *(Settle(call, "t", 10_000, 10_000, b"{}") for call in calls))
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros) == (10**9 - 200_000, 60_000)
    assert await take(new) == await take(other) == []


async def test_a_holder_that_wakes_is_fenced_and_its_next_start_has_the_name(
    gate: OpenStore, admin: CreditAdmin, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, new = await gate(ONE), await gate(TWO)
    await talk(old, "c")
    lose_claim(redis, ONE)
    assert await take(new) == ["c"]
    old.store._tie._claim_at_s = 0.0
    await until(lambda: old.store.fenced)
    assert old.store.has_heir
    assert not old.store.is_sure(time.monotonic())
    again = await gate(ONE)
    assert again.store.up
    assert again.store.epoch == 3
    assert await again.store.take_over() == []
    await talk(again, "d")
    assert await take(new) == []


async def test_a_start_of_the_slot_that_comes_between_keeps_what_it_has_adopted(
    gate: OpenStore, admin: CreditAdmin, redis: Any, server: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, new = await gate(ONE), await gate(TWO)
    await talk(old, "c")
    lose_claim(redis, ONE)
    new.store._tie.open_epochs = [""] * 4  # it has the name, and no partition is open yet
    assert await new.store.inherit(()) == []
    again = await gate(ONE)
    assert [stored.call_id for stored in await again.store.take_over()] == ["c"]
    new.store._tie.open_epochs = ["1"] * 4
    assert await take(new) == []
    assert await carry_out(again, Renew("c", "t", 1, 60, 120, 60)) == [Grant("c", 1, 120, 120_000)]


async def test_an_heir_that_is_gone_too_has_an_heir(gate: OpenStore, admin: CreditAdmin, redis: Any) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, middle, last = await gate(ONE), await gate(TWO), await gate(THREE)
    await talk(old, "c", "d")
    await talk(middle, "own")
    lose_claim(redis, ONE)
    await middle.store.inherit(())  # and dies before it has adopted anything
    assert await take(last) == []
    lose_claim(redis, TWO)
    assert await take(last) == ["c", "d", "own"]


async def test_shut_partitions_and_lost_answers_are_looked_through_again(
    gate: OpenStore, admin: CreditAdmin, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, new = await gate(ONE), await gate(TWO)
    await talk(old, "c")
    await begin_rebuild(admin, 2, Keyspace(4).partition("t").number)
    lose_claim(redis, ONE)
    new.store._tie.stale(Keyspace(4).partition("t").number)
    assert await take(new) == []
    await open_epochs(admin, 2)
    await until(lambda: new.store.open)
    assert [stored.call_id for stored in await new.store.inherit(())] == ["c"]
    new.store._heirs._searches.clear()  # as where the connection broke after the script
    assert await take(new) == ["c"]


async def test_slots_that_this_installation_has_no_more_are_gone_at_once(gate: OpenStore, admin: CreditAdmin) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    dropped, renamed = await gate(Owner("one", 1, "a")), await gate(Owner("former", 0, "a"))
    other, left = await gate(TWO), await gate(ONE, 0)
    for call, bench in (("d", dropped), ("r", renamed), ("o", other)):
        await talk(bench, call)
    assert await take(left) == []
    assert await take(left, ("one/0",)) == ["d", "r"]


async def test_never_means_never_and_after_redis_was_away_others_have_time_to_come_back(
    gate: OpenStore, admin: CreditAdmin, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, never, soon = await gate(ONE), await gate(TWO, 0), await gate(THREE, 1)
    await talk(old, "c")
    lose_claim(redis, ONE)
    assert await take(never) == []
    soon.store._heirs.redis_returned(time.monotonic())
    assert await take(soon) == []
    soon.store._heirs.redis_returned(time.monotonic() - 6.0)
    assert await take(soon) == ["c"]


async def test_a_redis_that_forgot_who_took_a_call_over_is_told_again(
    gate: OpenStore, admin: CreditAdmin, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    old, new = await gate(ONE), await gate(TWO)
    await talk(old, "c", "d")
    before = {call: redis.hgetall(Keyspace(4).partition("t").call(call)) for call in ("c", "d")}
    lose_claim(redis, ONE)
    assert await take(new) == ["c", "d"]
    for call, fields in before.items():
        redis.hset(Keyspace(4).partition("t").call(call), mapping=fields)
    new.store._say_again({0, 1, 2, 3}, set())
    await until(lambda: not new.store._retelling._acknowledgement.unsaid)
    await carry_out(new, Prove("c", "t", 1, None), Settle("d", "t", 2_000, 2_000, b"{}"))
    assert {call.call_id: call.owner for call in await admin.live_calls()} == {"c": "two/0"}
    assert (await admin.account("t")).held_micros == 60_000
    assert not new.alerts
