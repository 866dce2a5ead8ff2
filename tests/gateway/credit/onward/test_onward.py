"""Calls go on while Redis is away: bounded, on the disk first, and charged to the micro afterwards (MONEY 8)."""

import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import (
    Away,
    Grant,
    Refusal,
    Release,
    Renew,
    Settle,
    Written,
)
from gateway.call.record import CallRecord
from gateway.credit.admin import CreditAdmin
from gateway.credit.exposure import Ceilings
from gateway.credit.journal import FOLDER
from policy.verdict import Limits

from ..conftest import begin_rebuild
from .conftest import (
    OpenStore,
    answer,
    away,
    back,
    charged,
    gone,
    journals,
    judging,
    money,
    reserve,
    said,
    settle,
    settled,
    until,
)

# what is granted


async def test_a_new_call_is_on_the_disk_before_it_is_granted_and_held_when_redis_is_back(
    durable: Any, admin: CreditAdmin, seen: Any, folder: Path
) -> None:
    await gone(durable, seen)
    assert journals(folder) == []
    assert await said(seen, reserve("new")) == [Grant("new", 0, 60, 60_000)]
    [path] = (folder / FOLDER).iterdir()
    assert b'"call":"new"' in path.read_bytes()
    assert seen.store.exposure == {"t": 60_000}
    assert await said(seen, answer("new")) == [Written("new")]
    await back(durable, seen)
    assert await money(admin) == (100_000, 120_000, 2), "held although it makes available negative"
    assert seen.store.exposure == {"t": 0}
    await until(lambda: journals(folder) == [])
    assert await said(seen, Renew("new", "t", 1, 60, 61, 59)) == [Refusal("new", 1, "NO_CREDIT")]
    for call in ("old", "new"):
        seen.store.submit(settle(call, 60))
    await settled(seen)
    assert await money(admin) == (-20_000, 0, 0)
    assert await charged(admin) == {"old": 60_000, "new": 60_000}


async def test_the_ceiling_of_a_call_trims_and_then_refuses(durable: Any, seen: Any) -> None:
    await gone(durable, seen)
    assert await said(seen, Renew("old", "t", 1, 60, 120, 59)) == [Grant("old", 1, 120, 120_000)]
    assert await said(seen, Renew("old", "t", 2, 120, 180, 119)) == [Grant("old", 2, 160, 160_000, True)]
    assert await said(seen, Renew("old", "t", 3, 160, 220, 159)) == [away("old", 3, Away.CEILING)]
    assert seen.store.exposure == {"t": 100_000}
    durable.start()


async def test_the_ceiling_of_a_tenant_refuses_the_next_call(durable: Any, seen: Any) -> None:
    await gone(durable, seen)
    replies = await said(seen, *(reserve(call, end_s=80) for call in "abcde"))
    assert replies == [
        away("e", cause=Away.CEILING),
        *(Grant(call, 0, 80, 80_000) for call in "abc"),
        Grant("d", 0, 10, 10_000, True),
    ]
    assert seen.store.exposure == {"t": 250_000}
    seen.store.submit(Release("a", "t", b"{}"))
    assert seen.store.exposure == {"t": 170_000}
    durable.start()


async def test_many_workers_have_their_share(durable: Any, admin: CreditAdmin, open_here: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 100_000)
    bench = await open_here(ceilings=Ceilings(100_000, 250_000, 8))
    await said(bench, reserve("old"))
    await gone(durable, bench)
    assert await said(bench, reserve("a"), reserve("b")) == [
        away("b", cause=Away.CEILING),
        Grant("a", 0, 31, 31_000, True),
    ]
    durable.start()


@pytest.mark.parametrize("policy", ["terminate", "retry"])
async def test_other_policies_grant_nothing(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, policy: str
) -> None:
    await admin.apply_money_in("t", 1, 100_000)
    bench = await open_here(policy=policy)
    await said(bench, reserve("old"))
    await gone(durable, bench)
    assert await said(bench, reserve("new"), Renew("old", "t", 1, 60, 120, 59)) == [away("new"), away("old", 1)]
    durable.start()


async def test_a_tenant_that_was_not_seen_or_had_nothing_is_granted_nothing(
    durable: Any, admin: CreditAdmin, seen: Any
) -> None:
    await admin.apply_money_in("u", 1, 60_000)
    assert await said(seen, reserve("all", "u")) == [Grant("all", 0, 60, 60_000)]
    assert await said(seen, Renew("old", "t", 1, 60, 120, 59)) == [Grant("old", 1, 100, 100_000, True)]
    assert await said(seen, Renew("old", "t", 2, 100, 160, 99)) == [Refusal("old", 2, "NO_CREDIT")]
    await gone(durable, seen)
    asked = [reserve("a", "stranger"), reserve("b", "u"), reserve("c", "t"), Renew("all", "u", 1, 60, 120, 59)]
    assert await said(seen, *asked) == [away("a"), away("b"), away("c"), away("all", 1)]
    assert seen.store.exposure == {}
    durable.start()


async def test_limits_hold_as_they_were_last_seen(durable: Any, seen: Any) -> None:
    await gone(durable, seen)
    limits = Limits(max_calls=3)
    replies = await said(seen, *(reserve(call, end_s=10, limits=limits) for call in "abc"))
    assert replies == [Refusal("c", 0, "LIMIT_CALLS", "tenant"), Grant("a", 0, 10, 10_000), Grant("b", 0, 10, 10_000)]
    seen.store.submit(settle("old", 7))
    assert await said(seen, reserve("d", end_s=10, limits=limits)) == [Grant("d", 0, 10, 10_000)]
    seen.store.submit(Release("a", "t", b"{}"))
    assert await said(seen, reserve("e", end_s=10, limits=limits)) == [Grant("e", 0, 10, 10_000)]
    assert await said(seen, reserve("f", end_s=10, limits=limits)) == [Refusal("f", 0, "LIMIT_CALLS", "tenant")]
    fast = Limits(calls_per_second=2)
    replies = await said(seen, *(reserve(call, end_s=1, limits=fast) for call in "ghi"))
    assert replies[0] == Refusal("i", 0, "LIMIT_CALLS_PER_SECOND", "tenant")
    durable.start()


async def test_a_call_that_nobody_pays_for_goes_on(durable: Any, admin: CreditAdmin, seen: Any) -> None:
    await gone(durable, seen)
    assert await said(seen, reserve("free", tariff=None)) == [Grant("free", 0, None, 0)]
    assert await said(seen, answer("free")) == [Written("free")]
    await back(durable, seen)
    assert (await money(admin))[2] == 2
    seen.store.submit(Settle("free", "t", 9_000, 0, b"{}"))
    await settled(seen)
    assert await charged(admin) == {"free": 0}


async def test_nothing_is_granted_while_redis_is_made_ready(durable: Any, admin: CreditAdmin, seen: Any) -> None:
    await begin_rebuild(admin, 2)
    await until(lambda: not seen.store.open or seen.store.submit(Renew("old", "t", 1, 60, 60, 0)))
    assert await said(seen, reserve("new")) == [away("new", cause=Away.STALE)]
    assert seen.store.exposure == {}


async def test_a_redis_that_hangs_is_gone_on_without_and_what_it_granted_too_is_held_once(
    durable: Any, admin: CreditAdmin, seen: Any
) -> None:
    """Asked and not answered: it carries the command out all the same, when it wakes."""
    durable.signal(signal.SIGSTOP)
    replies = await said(seen, reserve("new", end_s=40), Renew("old", "t", 1, 60, 120, 59))
    assert sorted(replies, key=lambda reply: reply.call_id) == [
        Grant("new", 0, 40, 40_000),
        Grant("old", 1, 120, 120_000),
    ]
    assert seen.store.exposure == {"t": 100_000}
    durable.signal(signal.SIGCONT)
    await settled(seen)
    assert await money(admin) == (100_000, 160_000, 2)
    for call, seconds in (("old", 119), ("new", 3)):
        seen.store.submit(settle(call, seconds))
    await settled(seen)
    assert await money(admin) == (-22_000, 0, 0)


async def test_a_redis_that_refuses_writes_is_gone_on_without(durable: Any, admin: CreditAdmin, seen: Any) -> None:
    with durable.client() as redis:
        redis.config_set("maxmemory", 1)
        assert await said(seen, reserve("new")) == [Grant("new", 0, 60, 60_000)]
        redis.config_set("maxmemory", 0)
    await settled(seen)
    assert await money(admin) == (100_000, 120_000, 2)


async def test_calls_that_end_meanwhile_are_charged_what_they_talked(
    durable: Any, admin: CreditAdmin, seen: Any, folder: Path
) -> None:
    await gone(durable, seen)
    await said(seen, reserve("new"), Renew("old", "t", 1, 60, 120, 59), reserve("rang"))
    seen.store.submit(settle("old", 61))
    seen.store.submit(settle("new", 20))
    seen.store.submit(Release("rang", "t", CallRecord("rang", "t", "user_out").encode()))
    assert seen.store.exposure == {"t": 21_000}
    await back(durable, seen)
    assert await money(admin) == (19_000, 0, 0)
    assert await charged(admin) == {"old": 61_000, "new": 20_000, "rang": 0}
    assert seen.store.exposure == {"t": 0}
    await until(lambda: journals(folder) == [])
    assert seen.alerts == [] or {code for code, _ in seen.alerts} == {"STORE_AWAY"}


async def test_a_caller_that_gives_up_before_the_disk_has_it_costs_nothing(
    durable: Any, admin: CreditAdmin, seen: Any, folder: Path
) -> None:
    await gone(durable, seen)
    seen.store.submit(reserve("new"))
    seen.store.submit(Release("new", "t", b"{}"))
    seen.store.submit(Renew("old", "t", 1, 60, 120, 59))
    seen.store.submit(settle("old", 60))
    await until(lambda: seen.store._onward._journal.idle)
    await back(durable, seen)
    assert await money(admin) == (40_000, 0, 0)
    assert seen.store.exposure == {"t": 0}
    await until(lambda: journals(folder) == [])


async def test_a_second_outage_begins_with_what_redis_holds_by_then(
    durable: Any, admin: CreditAdmin, seen: Any
) -> None:
    for tick in (1, 2, 3):
        await gone(durable, seen)
        start = 60 * tick
        grant = Grant("old", tick, start + 60, (start + 60) * 1000)
        assert await said(seen, Renew("old", "t", tick, start, start + 60, start - 1)) == [grant]
        assert seen.store.exposure == {"t": 60_000}
        await back(durable, seen)
    assert await money(admin) == (100_000, 240_000, 1)


async def test_a_connection_that_is_lost_while_calls_are_said_loses_no_charge(
    durable: Any, admin: CreditAdmin, seen: Any
) -> None:
    """The same Redis, which has never heard of the call: what was under way is said again, the reservation first.

    Whether the call had been said by then is the moment's chance; if not, its charge is in doubt.
    """
    await gone(durable, seen)
    await said(seen, reserve("new"), answer("new"))
    durable.start()
    await until(lambda: seen.store.up)
    durable.signal(signal.SIGSTOP)
    seen.store.submit(settle("new", 20))
    await until(lambda: not seen.store.up)
    durable.signal(signal.SIGCONT)
    async with judging(admin):
        await settled(seen)
    assert await charged(admin) == {"new": 20_000}
    assert await money(admin) == (80_000, 60_000, 1)


async def test_what_cannot_be_written_is_not_granted(durable: Any, seen: Any, folder: Path) -> None:
    """A full disk: the limit on a file's size stands for it."""
    await gone(durable, seen)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        replies = await said(seen, reserve("new"), Renew("old", "t", 1, 60, 120, 59))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert replies == [away("new"), away("old", 1)]
    assert "EXPOSURE_NOT_WRITTEN" in [code for code, _ in seen.alerts]
    assert seen.store.exposure == {"t": 0}
    assert await said(seen, Renew("old", "t", 1, 60, 120, 59)) == [Grant("old", 1, 120, 120_000)]
    durable.start()
