"""Calls that went on without Redis outlive their worker: the next one carries them on, or charges them (MONEY 8).

What kill -9 of a worker leaves is what stands in its data folder at that moment: a copy of the folder is the start's.
"""

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import (
    Grant,
    Prove,
    Refusal,
    Release,
    Renew,
)
from gateway.credit import onward
from gateway.credit.admin import CreditAdmin
from gateway.credit.charge_file import MERGE_WITHIN_S
from gateway.credit.gone import say_for_gone
from gateway.credit.journal import FOLDER
from gateway.credit.store import CreditStore, Owner, StoreObserver

from .conftest import (
    OWNER,
    SECONDS,
    WAIT_S,
    OpenStore,
    answer,
    back,
    charged,
    gone,
    journals,
    money,
    reserve,
    said,
    settle,
    settled,
    until,
)

# kill -9 of the worker meanwhile


async def killed(bench: Any, times: int = 1) -> Path:
    """What stands on the disk at this moment, for the next start; then this worker is no more."""
    folder = bench.store._onward._data_dir
    following = Path(folder.parent / f"state-{times}")
    shutil.copytree(folder, following)
    await bench.store.stop()  # what it leaves at its end goes to the old folder: nobody reads it
    return following


async def test_the_next_worker_carries_calls_on_while_redis_is_still_away(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59), reserve("new"), reserve("rang"))
    await said(seen, answer("new"))
    seen.store.submit(Prove("new", "t", 3, b"c"))
    seen.store.submit(Release("rang", "t", b"{}"))
    await until(lambda: seen.store._onward._journal.idle)
    following = await open_here(await killed(seen))
    assert following.store.exposure == {"t": 120_000}
    calls = {call.call_id: call for call in await following.store.take_over()}
    assert set(calls) == {"old", "new"}
    old, new = calls["old"], calls["new"]
    assert (old.tick, old.paid_s, old.held_micros, old.proven_s, old.adoption) == (1, 120, 120_000, 59, b"b")
    assert (new.tick, new.paid_s, new.answered_ms > 0, new.adoption, new.proven_s) == (0, 60, True, b"c", 3)
    assert new.tariff == SECONDS
    assert not following.store.adopted, "Redis may know of others"
    for call in calls.values():
        following.store.adopt(call)
    assert await following.store.take_over() == []
    replies = await said(following, Renew("old", "t", 2, 120, 180, 119))
    assert replies == [Grant("old", 2, 160, 160_000, True)], "the ceiling of the call counts what went before"
    assert await said(following, reserve("more", end_s=100)) == [Grant("more", 0, 90, 90_000, True)]
    following.store.submit(settle("new", 30))
    await until(lambda: following.store._onward._journal.idle)
    last = await open_here(await killed(following, 2))
    assert last.store.exposure == {"t": 220_000}
    for call in await last.store.take_over():
        last.store.adopt(call)
    await back(durable, last)
    assert await money(admin) == (70_000, 250_000, 2)
    for call, seconds in (("old", 160), ("more", 1)):
        last.store.submit(settle(call, seconds))
    await settled(last)
    assert await charged(admin) == {"old": 160_000, "new": 30_000, "more": 1_000, "rang": 0}
    assert await money(admin) == (-91_000, 0, 0)


async def test_the_next_worker_begins_with_redis_back(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    await said(seen, reserve("quiet", end_s=10))
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59), reserve("new"), reserve("over"))
    await said(seen, answer("over"))
    seen.store.submit(settle("over", 20))
    await until(lambda: seen.store._onward._journal.idle)
    left = await killed(seen)
    durable.start()
    following = await open_here(left)
    calls = {call.call_id: call for call in await following.store.take_over()}
    assert set(calls) == {"old", "new", "quiet"}, "those that Redis knows, and those that it never heard of"
    assert calls["old"].paid_s == 120
    for call in calls.values():
        following.store.adopt(call)
    await settled(following)
    assert await money(admin) == (80_000, 190_000, 3)
    assert await charged(admin) == {"over": 20_000}
    for call, seconds in (("old", 70), ("new", 5), ("quiet", 1)):
        following.store.submit(settle(call, seconds))
    await settled(following)
    assert await money(admin) == (4_000, 0, 0)
    await until(lambda: journals(left) == [])


async def test_all_of_it_said_twice_counts_once(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    """The worker told Redis everything and died before it removed the journal."""
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59), reserve("new"))
    await said(seen, answer("new"))
    seen.store.submit(settle("new", 20))
    await until(lambda: seen.store._onward._journal.idle)
    left = Path(shutil.copytree(folder, folder.with_name("earlier")))
    await back(durable, seen)
    assert await said(seen, Renew("old", "t", 2, 120, 121, 119)) == [Refusal("old", 2, "NO_CREDIT")]
    seen.store.submit(settle("old", 100))
    await settled(seen)
    await seen.store.stop()
    following = await open_here(left)
    await settled(following)
    for call in await following.store.take_over():
        following.store.adopt(call)
        following.store.submit(settle(call.call_id, 90))  # its peers are gone: up to the last proven moment
    await settled(following)
    assert await charged(admin) == {"old": 100_000, "new": 20_000}
    assert await money(admin) == (-20_000, 0, 0)
    await until(lambda: journals(left) == [])


async def test_until_it_is_removed_the_journal_knows_what_redis_granted(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onward, "LOSS_WINDOW_S", 3600.0)
    await admin.apply_money_in("t", 2, 10**6)
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59))
    await back(durable, seen)
    assert await said(seen, Renew("old", "t", 2, 120, 180, 119)) == [Grant("old", 2, 180, 180_000)]
    seen.store.submit(Prove("old", "t", 125, b"later"))
    await until(lambda: seen.store._onward._journal.idle)
    await gone(durable, seen)
    following = await open_here(await killed(seen))
    [old] = await following.store.take_over()
    assert (old.tick, old.paid_s, old.adoption) == (2, 180, b"later")
    assert following.store.exposure == {"t": 0}
    durable.start()


async def test_a_call_that_nobody_can_carry_on_is_left_to_the_sweep(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59))
    following = await open_here(await killed(seen))
    [old] = await following.store.take_over()
    following.store.decline(old)
    assert await following.store.take_over() == []
    await back(durable, following)
    assert following.store._keeper.live == {}
    [stored] = await admin.live_calls()
    assert (stored.call_id, stored.paid_s, stored.held_micros) == ("old", 120, 120_000)


async def test_a_torn_last_line_was_never_given(durable: Any, seen: Any, open_here: OpenStore, folder: Path) -> None:
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59))
    await said(seen, Renew("old", "t", 2, 120, 150, 119))
    left = await killed(seen)
    [path] = (left / FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    following = await open_here(left)
    [old] = await following.store.take_over()
    assert (old.paid_s, following.store.exposure) == (120, {"t": 60_000})
    assert "EXPOSURE_JOURNAL_BROKEN" not in [code for code, _ in following.alerts]
    durable.start()


async def test_a_broken_line_is_told_and_the_rest_goes_on(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, reserve("new"))
    await said(seen, Renew("old", "t", 1, 60, 120, 59))
    left = await killed(seen)
    [path] = (left / FOLDER).iterdir()
    path.write_bytes(path.read_bytes().replace(b'"call":"new"', b'"call":"now"'))
    following = await open_here(left)
    [code] = [code for code, _ in following.alerts if "JOURNAL" in code]
    assert code == "EXPOSURE_JOURNAL_BROKEN"
    assert [call.call_id for call in await following.store.take_over()] == ["old"]
    await back(durable, following)
    await until(lambda: journals(left) == [".broken"])
    assert (await money(admin))[1] == 120_000


async def test_a_call_older_than_its_marker_is_not_brought_back(
    durable: Any, admin: CreditAdmin, seen: Any, open_here: OpenStore, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, reserve("new"))
    await said(seen, answer("new", ago_s=MERGE_WITHIN_S + 100))
    following = await open_here(await killed(seen))
    assert await following.store.take_over() == []
    assert "EXPOSURE_TOO_OLD" in [code for code, _ in following.alerts]
    await back(durable, following)
    assert (await money(admin))[1] == 60_000


async def test_a_slot_that_is_gone_is_said_for_and_its_calls_left_to_the_sweep(
    durable: Any, admin: CreditAdmin, seen: Any, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, Renew("old", "t", 1, 60, 120, 59), reserve("over"))
    await said(seen, answer("over"))
    seen.store.submit(settle("over", 20))
    await until(lambda: seen.store._onward._journal.idle)
    left = await killed(seen)
    durable.start()
    alerts: list[str] = []

    def make(owner: Owner) -> CreditStore:
        observer = StoreObserver(alert=lambda code, text: alerts.append(code))
        return CreditStore(durable.url, owner, lambda result: None, partitions=4, data_dir=left, observer=observer)

    async with asyncio.timeout(WAIT_S):
        await say_for_gone(left, ["gate-1/1"], OWNER.instance, make)
    assert await charged(admin) == {"over": 20_000}
    assert await money(admin) == (80_000, 120_000, 1)
    assert (journals(left), alerts) == ([], [])


# at random


class Talk:
    """One call of a random story, as its worker believes it to be."""

    def __init__(self, call: str, paid_s: int) -> None:
        self.call, self.paid_s, self.tick = call, paid_s, 0


async def test_at_random_nothing_is_lost_or_doubled_and_no_ceiling_passed(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, folder: Path
) -> None:
    """Redis and the worker are killed and started again; in the end every call is charged, once, to the micro."""
    dice, funds, live, over = random.Random(11), 10_000_000, dict[str, Talk](), dict[str, int]()
    await admin.apply_money_in("t", 1, funds)
    bench, redis_up, starts, calls = await open_here(), True, 0, 0
    assert isinstance((await said(bench, reserve("first", end_s=10)))[0], Grant)
    live["first"] = Talk("first", 10)
    for _ in range(260):
        act = dice.choices(("begin", "renew", "end", "redis", "worker"), (8, 8, 4, 2, 1))[0]
        if act == "begin":
            calls += 1
            call = f"c{calls}"
            [reply] = await said(bench, reserve(call, end_s=dice.randrange(1, 40)))
            if isinstance(reply, Grant):
                assert reply.paid_s is not None
                live[call] = Talk(call, reply.paid_s)
                await said(bench, answer(call))
            else:
                assert not redis_up
                bench.store.submit(Release(call, "t", b"{}"))
        elif act == "renew" and live:
            talk = dice.choice(list(live.values()))
            asked = Renew(talk.call, "t", talk.tick + 1, talk.paid_s, talk.paid_s + dice.randrange(1, 40), talk.paid_s)
            [reply] = await said(bench, asked)
            if isinstance(reply, Grant):
                assert reply.paid_s is not None
                talk.tick, talk.paid_s = reply.tick, reply.paid_s
        elif act == "end" and live:
            talk = live.pop(dice.choice(list(live)))
            over[talk.call] = dice.randrange(0, talk.paid_s + 1)
            bench.store.submit(settle(talk.call, over[talk.call]))
        elif act == "redis":
            await (gone(durable, bench) if redis_up else back(durable, bench))
            redis_up = not redis_up
        elif act == "worker" and not redis_up:
            await until(lambda bench=bench: bench.store._onward._journal.idle)
            starts += 1
            before = bench.store._keeper
            known, unsaid = set(before.live), {call for call, kept in before.kept.items() if not kept.acknowledged}
            bench = await open_here(await killed(bench, starts))
            taken = await bench.store.take_over()
            for stored in taken:
                bench.store.adopt(stored)
            for call in known - {stored.call_id for stored in taken}:  # those that Redis alone knows
                del live[call]
                over.pop(call, None)
            for call in unsaid - set(bench.store._keeper.kept):  # ended without exposure: lost with the worker
                over.pop(call, None)
            for stored in taken:
                assert stored.paid_s == live[stored.call_id].paid_s
        assert all(each.micros <= 100_000 for each in bench.store._onward.exposure.calls.values())
        assert bench.store.exposure.get("t", 0) <= 250_000
        if redis_up and not bench.store._onward.exposure.calls:
            assert bench.store.exposure.get("t", 0) == 0
    if not redis_up:
        await back(durable, bench)
    for stored in await bench.store.take_over():
        bench.store.adopt(stored)
        live.setdefault(stored.call_id, Talk(stored.call_id, stored.paid_s or 0))
    for talk in live.values():
        over[talk.call] = talk.paid_s
        bench.store.submit(settle(talk.call, talk.paid_s))
    await settled(bench)
    assert starts > 2
    took = {call: micros for call, micros in (await charged(admin)).items() if micros}
    assert took == {call: seconds * 1000 for call, seconds in over.items() if seconds}
    assert await money(admin) == (funds - sum(took.values()), 0, 0)
