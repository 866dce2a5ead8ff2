import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import EmbeddedRedis
from gateway.credit.orders import Booked, Funded, HangUp, Order
from gateway.worker import orders as orders_module
from gateway.worker.orders import follow_orders

WORKER = "gate-1/0"


class Performed:
    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.told = asyncio.Event()

    def __call__(self, order: Order) -> None:
        self.orders.append(order)
        self.told.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.orders) < count:
                self.told.clear()
                await self.told.wait()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    await server.ensure()
    yield server
    await server.stop()


async def test_orders_are_carried_out_as_they_come_and_then_forgotten(redis: EmbeddedRedis) -> None:
    admin, stop = CreditAdmin(redis.url), asyncio.Event()
    await admin.send_order(WORKER, HangUp("call-1"))
    performed = Performed()
    following = asyncio.create_task(follow_orders(admin, WORKER, performed, stop))
    await performed.until(1)
    await admin.send_order(WORKER, Funded("contoso"))
    await admin.send_order(WORKER, Booked(("call-1", "call-2")))
    await performed.until(3)
    assert performed.orders == [HangUp("call-1"), Funded("contoso"), Booked(("call-1", "call-2"))]
    while await admin.read_orders(WORKER):
        await asyncio.sleep(0.01)
    stop.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await admin.close()


async def test_orders_go_on_after_redis_was_away(redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_module, "AWAY_S", 0.05)
    performed = Performed()
    reader = CreditAdmin(redis.url)
    stop = asyncio.Event()
    following = asyncio.create_task(follow_orders(reader, WORKER, performed, stop))
    admin = CreditAdmin(redis.url)
    await admin.send_order(WORKER, HangUp("before"))
    await performed.until(1)
    await redis.stop()
    await redis.ensure()
    await admin.send_order(WORKER, HangUp("after"))
    await performed.until(2)
    assert performed.orders[-1] == HangUp("after")
    stop.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await reader.close()
    await admin.close()


async def test_an_order_that_causes_a_fault_does_not_stop_the_next(redis: EmbeddedRedis) -> None:
    admin, stop = CreditAdmin(redis.url), asyncio.Event()
    performed = Performed()

    def perform(order: Order) -> None:
        if order == HangUp("broken"):
            raise RuntimeError("a bug")
        performed(order)

    await admin.send_order(WORKER, HangUp("broken"))
    await admin.send_order(WORKER, HangUp("call-1"))
    following = asyncio.create_task(follow_orders(admin, WORKER, perform, stop))
    await performed.until(1)
    assert performed.orders == [HangUp("call-1")]
    stop.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await admin.close()
