"""What the ledger remembers of Redis: epochs that only rise, one leader at a time, no booking out of an older epoch."""

from collections.abc import Callable

import pytest

from gateway.ledger import CallEntry, EpochPassed, Ledger, RebuildHeld, Source
from gateway.ledger.rebuilding import LOCK_MS


async def test_one_leader_at_a_time_and_numbers_rise(ledger: Ledger, clock: Callable[[], int]) -> None:
    assert await ledger.redis_epoch() == 0
    assert await ledger.begin_rebuild("a", 0) == 1
    with pytest.raises(RebuildHeld, match="by a"):
        await ledger.begin_rebuild("b", 0)
    assert await ledger.begin_rebuild("a", 6) == 7
    clock.ms += LOCK_MS  # type: ignore[attr-defined]
    await ledger.renew_rebuild("a", 7)
    with pytest.raises(RebuildHeld):
        await ledger.begin_rebuild("b", 0)
    clock.ms += LOCK_MS  # type: ignore[attr-defined]
    assert await ledger.begin_rebuild("b", 0) == 8
    for late in (ledger.renew_rebuild, ledger.end_rebuild):
        with pytest.raises(RebuildHeld, match="epoch 8"):
            await late("a", 7)
    await ledger.end_rebuild("b", 8)
    assert await ledger.begin_rebuild("a", 0) == 9


async def test_an_epoch_that_was_there_before_is_adopted_and_never_lowered(ledger: Ledger) -> None:
    await ledger.adopt_epoch(4)
    await ledger.adopt_epoch(2)
    assert await ledger.redis_epoch() == 4


async def test_what_was_read_in_an_older_epoch_is_not_booked(ledger: Ledger, call: Callable[..., CallEntry]) -> None:
    await ledger.fund("contoso", 100_000, "r")
    await ledger.begin_rebuild("a", 0)
    assert (await ledger.book([call()], Source(1, {3: "5-0"}))).booked == 1
    await ledger.begin_rebuild("a", 0)
    with pytest.raises(EpochPassed, match="left epoch 1"):
        await ledger.book([call()], Source(1, {3: "9-0"}))
    assert await ledger.balance("contoso") == 80_000
    assert await ledger.outbox_marks() == {3: "5-0"}
    await ledger.book([call()], Source(2, {3: "9-0", 4: "1-1"}))
    assert await ledger.outbox_marks() == {3: "9-0", 4: "1-1"}


async def test_charges_are_found_by_their_ids(ledger: Ledger, call: Callable[..., CallEntry]) -> None:
    await ledger.fund("contoso", 100_000, "r")
    assert await ledger.tenants_charged(["contoso", "fabrikam"]) == set()
    await ledger.book([call(charge=700, charge_id="c", talk_ms=2_500), call(charge=0, charge_id="free")])
    found = await ledger.charges(["c", "free", "unknown"])
    assert {charge_id: (each.charge_micros, each.talk_ms) for charge_id, each in found.items()} == {
        "c": (700, 2_500), "free": (0, 60_000),
    }  # fmt: skip
    assert await ledger.tenants_charged(["contoso", "fabrikam"]) == {"contoso"}
