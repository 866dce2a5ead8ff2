"""Orders from other processes, read from the worker's stream in Redis (SIP.md 2) and carried out on its loop."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.orders import Order
from gateway.telemetry.logs import get_logger

BLOCK_S: Final = 2.0
"""How long one read waits for an order; Redis answers at once when there is one."""

AWAY_S: Final = 1.0
"""Pause before the stream is asked again after Redis did not answer."""

log = get_logger("worker")


async def follow_orders(admin: CreditAdmin, worker: str, perform: Callable[[Order], None], stop: asyncio.Event) -> None:
    """Carry out the orders for ``worker`` (``node/slot``) as they come.

    To end it, set ``stop`` and cancel it: redis-py loses a cancellation that meets an answer (Python 3.11's wait_for).
    An order is forgotten in Redis only after it has been performed, so one may be performed twice.
    """
    after = "0-0"
    while not stop.is_set():
        try:
            for entry_id, order in await admin.read_orders(worker, after, BLOCK_S):
                _try(perform, order)
                after = entry_id
            if after != "0-0":
                await admin.trim_orders(worker, after)
        except StoreError as error:
            log.warning("orders unreadable", error=str(error), again_in_s=AWAY_S)
            await asyncio.sleep(AWAY_S)


def _try(perform: Callable[[Order], None], order: Order) -> None:
    """One order that causes a fault must not keep the worker from hearing the next."""
    try:
        perform(order)
    except Exception:
        log.exception("order caused a fault", order=repr(order))
