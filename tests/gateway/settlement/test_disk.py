"""A full disk under the ledger of a living settler: charges wait in the outbox and are booked when there is room."""

import asyncio
import contextlib
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.settlement import Settler, reconcile
from gateway.telemetry import metrics
from gateway.telemetry.metrics import Meter

ROOM_BYTES = 300_000
"""Enough to begin, too little for a hundred charges."""


@contextlib.contextmanager
def little_room(pid: int) -> Iterator[None]:
    """No file of this process may grow beyond ROOM_BYTES, as with a full disk or quota."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def pending(credit: CreditAdmin) -> int:
    return (await credit.outbox_state()).pending


@pytest.mark.parametrize("configured_url", ["sqlite"], indirect=True)
async def test_charges_wait_for_room(ledger: Ledger, credit: CreditAdmin, caller: Any, nursery: Any) -> None:
    async with asyncio.timeout(60):
        caller.call()
        while not await ledger.booked_charges(caller.charged):
            await asyncio.sleep(0.02)
        with little_room(nursery.pid):
            while await pending(credit) < 100:  # this settler hardly rests, so what gathers cannot be booked
                for _ in range(10):
                    caller.call()
                await asyncio.sleep(0.02)
            assert await ledger.booked_charges(caller.charged) < set(caller.charged)
        while caller.store.unacknowledged or await pending(credit):
            await asyncio.sleep(0.05)
    assert await ledger.booked_charges(caller.charged) == set(caller.charged)
    assert all(drift.clean for drift in await reconcile(ledger, credit))
    assert (await ledger.verify_chain("contoso")).intact


@pytest.mark.parametrize("configured_url", ["sqlite"], indirect=True)
async def test_the_settler_says_the_ledger_is_down_for_as_long_as_it_cannot_book(
    ledger: Ledger, credit: CreditAdmin, caller: Any
) -> None:
    """Reading goes on, and is no reason to say that all is well again."""
    meter, stop = Meter(), asyncio.Event()

    def up() -> float:
        return meter.gauges[metrics.LEDGER_UP.name].values[()]

    async with asyncio.timeout(60):
        running = asyncio.create_task(Settler(ledger, credit, meter).run(stop))
        while not up():
            await asyncio.sleep(0.02)
        with little_room(os.getpid()):
            while up():
                for _ in range(50):
                    caller.call()
                await asyncio.sleep(0.05)
            await ledger.ping()
            for _ in range(60):
                await asyncio.sleep(0.02)
                assert not up()
        while not up() or await pending(credit):
            await asyncio.sleep(0.02)
        stop.set()
        await running
