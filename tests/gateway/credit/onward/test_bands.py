"""A price that changes inside a call that goes on without Redis: the steps are the worker's, the journal's, Redis'."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Grant, Renew, Resolved, Settle
from gateway.call.record import CallRecord
from gateway.credit import onward
from gateway.credit.admin import CreditAdmin
from rating.tariff import Step, Tariff

from .conftest import OpenStore, answer, back, charged, gone, reserve, said, settled, until

CHEAPER = Tariff(60_000, 0, 1, 1, steps=(Step(90, 30_000, 1),))
SHORTER = Tariff(60_000, 0, 7, 7)


async def copied(bench: Any, folder: Path) -> Path:
    """What a kill -9 would leave now."""
    await until(lambda: bench.store._onward._journal.idle)
    following = Path(shutil.copytree(folder, folder.with_name("next")))
    await bench.store.stop()
    return following


async def test_ticks_without_redis_follow_the_steps_and_the_next_worker_knows_them(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    """100 000 may be exposed: 90 s, and 20 s at half the rate."""
    await gone(durable, seen)
    await said(seen, reserve("new"))
    answered = answer("new")
    answered.resolved = Resolved(CHEAPER, 60)
    await said(seen, answered)
    assert await said(seen, Renew("new", "t", 1, 60, 90, 59)) == [Grant("new", 1, 90, 90_000)]
    assert await said(seen, Renew("new", "t", 2, 90, 150, 89)) == [Grant("new", 2, 110, 100_000, True)]
    following = await open_here(await copied(seen, folder))
    [call] = [each for each in await following.store.take_over() if each.call_id == "new"]
    assert (call.tariff, call.paid_s, call.held_micros) == (CHEAPER, 110, 100_000)
    following.store.adopt(call)
    await back(durable, following)
    [live] = [each for each in await admin.live_calls() if each.call_id == "new"]
    assert (live.tariff, live.paid_s) == (CHEAPER, 110)
    following.store.submit(Settle("new", "t", 100_000, 95_000, CallRecord("new", "t", "user_out").encode()))
    await settled(following)
    assert (await charged(admin))["new"] == 95_000


async def test_the_journal_knows_what_an_answer_fixed_that_redis_wrote_down(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker that dies then would say the first tick again as it was before the answer."""
    monkeypatch.setattr(onward, "LOSS_WINDOW_S", 3600.0)
    await gone(durable, seen)
    await said(seen, reserve("new"))
    await back(durable, seen)
    answered = answer("new")
    answered.resolved = Resolved(SHORTER, 56)
    await said(seen, answered)
    following = await open_here(await copied(seen, folder))
    [call] = [each for each in await following.store.take_over() if each.call_id == "new"]
    assert (call.tariff, call.paid_s, call.answered_ms > 0) == (SHORTER, 56, True)
    following.store.adopt(call)
    await asyncio.sleep(0)
    await settled(following)
    [live] = [each for each in await admin.live_calls() if each.call_id == "new"]
    assert (live.tariff, live.paid_s) == (SHORTER, 56)
