"""Doubt after a stall: when it begins, and what ends it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from gateway.credit import standing
from gateway.credit.admin import CreditAdmin
from gateway.credit.standing import STALL_S, Standing


def test_beats_keep_it_sure() -> None:
    kept = Standing(100.0)
    for second in range(20):
        assert kept.beat(100.0 + second)
    assert kept.is_sure(119.0 + STALL_S)


@pytest.mark.parametrize("who", ["speaker", "check"])
def test_after_a_stall_only_an_answer_to_a_question_asked_since_counts(who: str) -> None:
    kept = Standing(100.0)
    woken = 100.1 + STALL_S
    assert not (kept.is_sure(woken) if who == "speaker" else kept.beat(woken))
    assert not kept.is_sure(woken + 0.01)
    assert not kept.confirm(woken - 1.0), "asked before the stall"
    assert not kept.beat(woken + 0.05)
    assert kept.confirm(woken + 0.05)
    assert kept.beat(woken + 0.1)
    assert kept.is_sure(woken + 0.1)
    assert not kept.confirm(woken + 0.2), "nothing was in doubt"


def test_a_second_stall_makes_the_first_question_worthless() -> None:
    kept = Standing(100.0)
    assert not kept.beat(110.0)
    assert not kept.beat(120.0)
    assert not kept.confirm(110.0)
    assert kept.confirm(120.0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_store_that_stood_still_asks_whether_the_slot_is_its_own(
    server: Any, admin: CreditAdmin, open_store: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "STALL_S", 0.2)
    bench = await open_store(server)
    sure: list[bool] = []
    bench.store._tie._on_sure = lambda: sure.append(True)
    assert bench.store.is_sure(monotonic())
    server.signal(signal.SIGSTOP)  # so that the question cannot be answered yet
    bench.store._tie._standing.is_sure(monotonic() + 0.3)
    await asyncio.sleep(0.1)
    assert not bench.store.is_sure(monotonic())
    server.signal(signal.SIGCONT)
    await until(lambda: bench.store.is_sure(monotonic()))
    assert sure == [True]
    newer = await open_store(server)
    bench.store._tie._standing.is_sure(monotonic() + 0.3)
    await until(lambda: bench.store.fenced)
    assert sure == [True]
    assert not bench.store.is_sure(monotonic())
    assert newer.store.is_sure(monotonic())
