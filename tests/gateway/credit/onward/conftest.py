"""What the tests of calls without Redis share: commands, a store that has seen its tenant with money, and its disk."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import (
    Answer,
    Away,
    Grant,
    Reserve,
    Settle,
    StoreAway,
    Written,
)
from gateway.call.record import CallRecord
from gateway.credit import onward
from gateway.credit.admin import CreditAdmin
from gateway.credit.exposure import Ceilings
from gateway.credit.journal import FOLDER
from gateway.credit.store import Owner
from policy.verdict import Limits
from rating.tariff import Tariff

SECONDS = Tariff(60_000, 0, 1, 1)
CEILINGS = Ceilings(100_000, 250_000)
WAIT_S = 20.0
OWNER = Owner("gate-1", 0, "here")

OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str, tenant: str = "t", end_s: int = 60, limits: Limits | None = None, **more: Any) -> Reserve:
    usage = CallRecord(call, tenant, "user_out").encode()
    return Reserve(call, tenant, more.pop("tariff", SECONDS), end_s, 90, limits or Limits(), b"a", usage, **more)


def settle(call: str, seconds: int) -> Settle:
    record = CallRecord(call, "t", "user_out", talk_ms=seconds * 1000, billed_s=seconds, charge_micros=seconds * 1000)
    return Settle(call, "t", seconds * 1000, seconds * 1000, record.encode())


def answer(call: str, ago_s: float = 0.0) -> Answer:
    return Answer(call, "t", round((time.time() - ago_s) * 1000), b"b")


def away(call: str, tick: int = 0, cause: Away = Away.UNREACHABLE) -> StoreAway:
    return StoreAway(call, tick, cause)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


async def said(bench: Any, *commands: Any) -> list[Any]:
    """What the store answers to these."""
    bench.results.clear()
    for command in commands:
        bench.store.submit(command)
    await until(lambda: len(bench.results) == len(commands))
    return list(bench.results)


async def gone(server: Any, *benches: Any) -> None:
    server.kill()
    for bench in benches:
        await until(lambda bench=bench: not bench.store.up)


async def back(server: Any, *benches: Any) -> None:
    server.start()
    for bench in benches:
        await settled(bench)


async def settled(bench: Any) -> None:
    """Redis is up, and has all that the store keeps."""
    store = bench.store
    await until(lambda: store.up and not store.unacknowledged and not store._onward.exposure.calls)
    await store._tie.link.ask("PING")


@contextlib.asynccontextmanager
async def judging(admin: CreditAdmin) -> AsyncIterator[None]:
    """A settler that finds nothing booked: a charge in doubt is cleared, as by ``settlement.rebuild.judge_late``."""

    async def judge() -> None:
        while True:
            if doubtful := await admin.take_doubtful():
                await admin.clear(await admin.said_charges(doubtful), "1", 1)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(judge())
    try:
        yield
    finally:
        task.cancel()


def journals(data_dir: Path) -> list[str]:
    return sorted(path.suffix for path in (data_dir / FOLDER).glob("*"))


async def charged(admin: CreditAdmin) -> dict[str, int]:
    entries = await admin.read_outbox(count=10**6)
    found = {entry.charge_id: entry.charge_micros for entry in entries}
    assert len(found) == len(entries), "a charge stands there twice"
    return found


async def money(admin: CreditAdmin, tenant: str = "t") -> tuple[int, int, int]:
    account = await admin.account(tenant)
    return account.balance_micros, account.held_micros, account.calls


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onward, "LOSS_WINDOW_S", 0.0)


@pytest.fixture
async def admin(durable: Any, open_admin: OpenStore) -> CreditAdmin:
    admin: CreditAdmin = await open_admin(durable)
    return admin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


@pytest.fixture
def open_here(durable: Any, open_store: OpenStore, folder: Path) -> OpenStore:
    async def open_(data_dir: Path = folder, policy: str = "continue", **options: Any) -> Any:
        options = {"ceilings": CEILINGS, "policy_of": lambda tenant: policy, **options}
        return await open_store(durable, OWNER, data_dir=data_dir, **options)

    return open_


@pytest.fixture
async def seen(admin: CreditAdmin, open_here: OpenStore) -> Any:
    """A store that has seen its tenant with money: 100,000 micros, of which one call holds 60,000."""
    await admin.apply_money_in("t", 1, 100_000)
    bench = await open_here()
    assert await said(bench, reserve("old")) == [Grant("old", 0, 60, 60_000)]
    assert await said(bench, answer("old")) == [Written("old")]
    return bench
