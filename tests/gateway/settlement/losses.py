"""What tests of a lost Redis share: live calls, the audit that must hold afterwards, and ways to lose it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Renew, Settle
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.ledger import Ledger
from gateway.settlement import Settler, reconcile
from gateway.settlement.doubt import find_doubt
from rating.tariff import charge_micros

from .conftest import PARTITIONS, PER_SECOND, Caller, record

FUNDED = 1_000_000_000
TICK_MICROS = 10_000
TENANTS = ("contoso", "fabrikam")


async def until(true: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = true()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"this never came: {what}")


async def talk(caller: Caller, call_id: str, tenant: str = "contoso", ticks: int = 1) -> None:
    """A call that is answered and goes on, with so many ticks of ten seconds paid."""
    caller.reserve(call_id, tenant)
    await granted(caller, call_id, 1)
    caller.store.submit(Answer(call_id, tenant, 1, b"adopt"))
    for tick in range(1, ticks):
        caller.store.submit(Renew(call_id, tenant, tick, 10 * tick, 10 * tick + 10, 0))
        await granted(caller, call_id, tick + 1)


async def granted(caller: Caller, call_id: str, count: int) -> None:
    def grants() -> bool:
        return sum(isinstance(each, Grant) for each in caller.results.get(call_id, ())) >= count

    await until(grants, f"{count} grants for {call_id}")


def hang_up(caller: Caller, call_id: str, tenant: str = "contoso", talk_ms: int = 3_000) -> None:
    charge = charge_micros(PER_SECOND, talk_ms)
    caller.charged[call_id] = charge
    caller.store.submit(Settle(call_id, tenant, talk_ms, charge, record(call_id, tenant, talk_ms, charge)))


async def quiet(caller: Caller) -> None:
    """Everything the worker charged is taken; sentinels that had to wait for the machine do nothing for 30 s."""
    taken = "the worker's charges are taken"
    await until(lambda: caller.store.open and not caller.store.unacknowledged, taken, 90.0)


async def adds_up(ledger: Ledger, credit: CreditAdmin, caller: Caller, held: int = 0, live: int = 0) -> None:
    """Ledger = Redis + outbox + live, and in the ledger is what was charged, once."""
    await quiet(caller)
    drifts = await reconcile(ledger, credit)
    assert all(drift.clean for drift in drifts), drifts
    assert sum(drift.held_micros for drift in drifts) == held
    while await Settler(ledger, credit).settle_once():
        pass
    drifts = await reconcile(ledger, credit)
    assert all(drift.clean for drift in drifts), drifts
    assert sum(view.calls for view in await credit.accounts(TENANTS)) == live
    assert len(await credit.live_calls()) == live
    charges: dict[str, int] = {}
    for tenant in TENANTS:
        async for posting in ledger.postings(tenant):
            if posting.kind == "charge":
                call_id = posting.call_id.removesuffix(":late")
                charges[call_id] = charges.get(call_id, 0) - posting.amount_micros
    assert charges == {call_id: charge for call_id, charge in caller.charged.items() if charge}
    assert await find_doubt(ledger, credit) is None


async def a_busy_hour(ledger: Ledger, credit: CreditAdmin, caller: Caller) -> None:
    """Charges that are booked, one whose worker was told so, one that waits in the outbox, and two live calls."""
    for number in range(4):
        await talk(caller, f"booked-{number}", TENANTS[number % 2])
        hang_up(caller, f"booked-{number}", TENANTS[number % 2], 1_000 * number + 500)
    await quiet(caller)
    await Settler(ledger, credit).settle_once()
    caller.store.booked(["booked-0"])
    await talk(caller, "waits")
    hang_up(caller, "waits", talk_ms=7_000)
    await quiet(caller)
    await talk(caller, "live-1", ticks=2)
    await talk(caller, "live-2", "fabrikam")


HELD = 3 * TICK_MICROS
"""What the two live calls of the busy hour hold."""


# Ways to lose Redis


async def flush_all(redis: Any, _server: Any) -> None:
    await redis.flushall()


async def lose_two_partitions(redis: Any, _server: Any) -> None:
    for number in (0, 2):
        keys = [key async for key in redis.scan_iter(f"cg:{{p{number}}}:*")]
        if keys:
            await redis.delete(*keys)


async def lose_accounts(redis: Any, _server: Any) -> None:
    keys = [key async for key in redis.scan_iter("cg:*:account:*")]
    await redis.delete(*keys)


async def go_back_an_epoch(redis: Any, _server: Any) -> None:
    for keys in Keyspace(PARTITIONS).partitions:
        await redis.set(keys.epoch, "0")


async def lose_the_outbox(redis: Any, _server: Any) -> None:
    """The charge that waited is gone, its marker is not."""
    for keys in Keyspace(PARTITIONS).partitions:
        await redis.delete(keys.outbox, keys.epoch)


LOSSES = {
    "emptied": (flush_all, "it is empty"),
    "partitions": (lose_two_partitions, "2 of 4 partitions have no epoch"),
    "accounts": (lose_accounts, "no account of contoso, fabrikam"),
    "the past": (go_back_an_epoch, "4 of 4 partitions are in an epoch before 1"),
    "outbox": (lose_the_outbox, "it is empty"),
}
