"""kill -9 of the settler and of Redis at random moments, while calls are charged and money goes in and out.

On PostgreSQL its server is among the killed, in a shorter run.

Nothing may be lost and nothing doubled: every charge that the worker made stands in the ledger once, every funding
once, and Redis, outbox and ledger agree to the micro.  The append-only file is synced every second, as the gate's own,
so a killed Redis may really come back without its last writes.

CALLGATE_KILLS: how many (60); CALLGATE_KILL_SEED: the run to repeat, printed when it fails.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.orders import Booked
from gateway.ledger import Ledger, LedgerAway
from gateway.ledger.tables import set_aside
from gateway.settlement import fund, reconcile

KILLS = int(os.environ.get("CALLGATE_KILLS", "60"))
SEED = int(os.environ.get("CALLGATE_KILL_SEED", str(time.time_ns())))

VICTIMS = {"sqlite": ["settler", "settler", "Redis"], "postgres": ["settler", "Redis", "ledger"]}

SHARE = {"sqlite": 1.0, "postgres": 0.4}
"""Of KILLS: the paths of settler and Redis are the same over both, so the second run may be short."""

CALL_GAP_S = 0.008
"""Some 125 calls a second: a settler is nearly always at work."""

SETTLED_WITHIN_S = 30.0
"""Only ends a test that hangs."""

TENANTS = ("contoso", "fabrikam")


async def place_calls(caller: Any, dice: random.Random) -> None:
    while True:
        caller.call(dice.choice(TENANTS), talk_ms=dice.choice([0, 0, 1_000, 3_500, 9_000]))
        await asyncio.sleep(CALL_GAP_S)


async def hear_orders(caller: Any, credit: CreditAdmin) -> None:
    """What a worker does with its orders: forget what is booked."""
    after = "0-0"
    while True:
        try:
            for entry_id, order in await credit.read_orders("gate-1/0", after, block_s=0.2):
                after = entry_id
                if isinstance(order, Booked):
                    caller.store.booked(order.call_ids)
        except StoreError:
            after = "0-0"
            await asyncio.sleep(0.05)


Moved = dict[str, tuple[str, int]]
"""Tenant and amount by reference."""


async def move_money(
    ledger: Ledger, credit: CreditAdmin, dice: random.Random, moved: Moved, stop: asyncio.Event
) -> None:
    """Fundings and withdrawals, each repeated under its reference until it is known to be done."""
    while not stop.is_set():
        tenant, amount = dice.choice(TENANTS), dice.choice([5_000_000, 70, -3_000, -11])
        reference = f"move-{len(moved)}"
        while reference not in moved:
            with contextlib.suppress(StoreError, LedgerAway):
                await fund(ledger, credit, tenant, amount, reference, kind="adjustment")
                moved[reference] = (tenant, amount)
            await asyncio.sleep(0.03)


@contextlib.asynccontextmanager
async def meanwhile(*works: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_killed_at_random_moments(
    ledger: Ledger, credit: CreditAdmin, caller: Any, server: Any, nursery: Any, request: pytest.FixtureRequest
) -> None:
    dice = random.Random(SEED)
    backend = "sqlite" if ledger.database.is_sqlite else "postgres"
    victims: dict[str, tuple[Any, Any]] = {
        "settler": (nursery.kill, nursery.restart),
        "Redis": (server.kill, server.start),
    }
    if backend == "postgres":
        cluster = request.getfixturevalue("postgres")
        victims["ledger"] = (cluster.stop, cluster.start)
    print(f"CALLGATE_KILL_SEED={SEED} CALLGATE_KILLS={KILLS}")
    moved: Moved = {f"first-{tenant}": (tenant, 1_000_000_000) for tenant in TENANTS}
    killed = dict.fromkeys(victims, 0)
    stop = asyncio.Event()
    async with meanwhile(hear_orders(caller, credit)):
        moving = asyncio.create_task(move_money(ledger, credit, dice, moved, stop))
        async with meanwhile(place_calls(caller, dice)):
            for _ in range(int(KILLS * SHARE[backend])):
                await asyncio.sleep(dice.uniform(0.0, 0.7))
                who = dice.choice(VICTIMS[backend])
                killed[who] += 1
                kill, start = victims[who]
                kill()
                if who != "settler":
                    await asyncio.sleep(dice.choice([0.0, 0.2]))
                await asyncio.to_thread(start)
            await asyncio.sleep(1.0)
        stop.set()
        await moving
        await all_booked(ledger, credit, caller)
    await audit(ledger, credit, caller, moved)
    print(f"{killed}, {len(caller.charged)} charges, {len(moved)} movements of money")


async def all_booked(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    waits = ""
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while waits := await what_waits(ledger, credit, caller):
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"it never came to rest: {waits}")


async def what_waits(ledger: Ledger, credit: CreditAdmin, caller: Any) -> str:
    """What is still on its way; empty where all is done."""
    unbooked = set(caller.charged) - await ledger.booked_charges(caller.charged)
    views = await credit.accounts(TENANTS)
    unapplied = [money for view in views for money in await ledger.money_in_after(view.tenant_id, view.applied_seq)]
    pending = (await credit.outbox_state()).pending
    live = [call.call_id for call in await credit.live_calls()]
    if not (caller.store.unacknowledged or unbooked or unapplied or pending or live):
        return ""
    return (
        f"{caller.store.unacknowledged} unacknowledged, {pending} in the outbox, unbooked {sorted(unbooked)[:9]}, "
        f"unapplied {unapplied[:9]}, live {[(call, caller.results.get(call)) for call in live[:9]]}"
    )


async def audit(ledger: Ledger, credit: CreditAdmin, caller: Any, moved: Moved) -> None:
    drifts = await reconcile(ledger, credit)
    assert all(drift.clean for drift in drifts), drifts
    assert all(drift.held_micros == 0 for drift in drifts), drifts
    charges: dict[str, int] = {}
    for tenant in TENANTS:
        money = []
        async for posting in ledger.postings(tenant):
            if posting.kind == "charge":
                assert posting.call_id not in charges, "charged twice"
                charges[posting.call_id] = -posting.amount_micros
            else:
                money.append(posting.amount_micros)
        assert sorted(money) == sorted(amount for owner, amount in moved.values() if owner == tenant)
        assert (await ledger.verify_chain(tenant)).intact
    assert charges == caller.charged
    async with ledger.database.read() as connection:
        assert (await connection.execute(select(set_aside.c.why))).all() == []
