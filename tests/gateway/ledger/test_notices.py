"""Notices: one for each tenant, event and crossing, in the transaction of what they tell of."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import Ledger, notices
from gateway.ledger.notices import (
    ADD_EACH,
    Delivery,
    Notice,
    add,
    any_due,
    claim_due,
    keep,
    look_again,
    read_latest,
)

ZERO = Notice("contoso", "balance.zero", "7", 1_000, {"balance": "0.000000", "currency": "USD"})


async def added(ledger: Ledger, *those: Notice) -> int:
    async with ledger.database.write() as connection:
        return await add(connection, those)


async def test_a_crossing_is_told_once(ledger: Ledger) -> None:
    assert await added(ledger, ZERO, ZERO) == 1
    assert await added(ledger, replace(ZERO, at_ms=2_000), replace(ZERO, crossing="8", at_ms=2_000)) == 1
    assert await added(ledger, replace(ZERO, tenant_id="fabrikam"), replace(ZERO, event="balance.low")) == 2
    async with ledger.database.read() as connection:
        (first,) = [told for told in await read_latest(connection, None, 10) if told.notice.id == ZERO.id]
        assert (first.notice, first.due_ms) == (ZERO, ZERO.at_ms)
        assert sorted(told.notice.crossing for told in await read_latest(connection, "contoso", 10)) == ["7", "7", "8"]
        assert (await read_latest(connection, None, 1))[0].notice.at_ms == 2_000


async def test_it_falls_with_its_transaction(ledger: Ledger) -> None:
    async def work(connection: AsyncConnection) -> None:
        assert await add(connection, [ZERO]) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ledger.database.transact(work)
    async with ledger.database.read() as connection:
        assert await read_latest(connection, None, 10) == []
        assert not await any_due(connection, 10**15)


async def test_many_at_once(ledger: Ledger) -> None:
    many = [replace(ZERO, crossing=str(number)) for number in range(2 * ADD_EACH + 1)]
    assert await added(ledger, *many) == len(many)
    assert await added(ledger, *many) == 0
    assert await added(ledger) == 0


async def test_a_notice_is_claimed_once_and_again_when_the_claim_is_over(ledger: Ledger) -> None:
    await added(ledger, ZERO, replace(ZERO, crossing="8", at_ms=3_000))

    async def claim(now_ms: int) -> list[str]:
        return await ledger.database.transact(lambda connection: claimed(connection, now_ms))

    async def claimed(connection: AsyncConnection, now_ms: int) -> list[str]:
        return [told.notice.crossing for told in await claim_due(connection, now_ms, now_ms + 60_000, 10)]

    assert await claim(999) == []
    both = await asyncio.gather(claim(1_000), claim(1_000))
    assert sorted(both) == [[], ["7"]]
    assert await claim(60_999) == ["8"]
    assert await claim(61_000) == ["7"]


async def test_a_notice_waits_until_it_is_due_and_then_no_more(ledger: Ledger) -> None:
    await added(ledger, ZERO)
    waiting = Delivery("t1", "https://example.org/***", "waiting", 1, 1_500, 9_000, "500")
    async with ledger.database.write() as connection:
        await keep(connection, ZERO.id, waiting)
        await keep(connection, ZERO.id, Delivery("t2", "mailto", "sent", 1, 1_500))
        await look_again(connection, {ZERO.id: 9_000})
    async with ledger.database.read() as connection:
        assert not await any_due(connection, 8_999)
        assert await any_due(connection, 9_000)
        (told,) = await read_latest(connection, None, 10)
    assert [each.state for each in told.deliveries] == ["waiting", "sent"]
    sent = replace(waiting, state="sent", tries=2, at_ms=9_000, due_ms=0, why="")
    async with ledger.database.write() as connection:
        await keep(connection, ZERO.id, sent)
        await look_again(connection, {ZERO.id: None})
    async with ledger.database.read() as connection:
        assert not await any_due(connection, 10**15)
        (told,) = await read_latest(connection, "contoso", 10)
    assert told.due_ms is None
    assert sent in told.deliveries


async def test_old_notices_that_wait_for_nobody_are_forgotten_in_portions(
    ledger: Ledger, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [replace(ZERO, crossing=str(number), at_ms=number) for number in range(1, 6)]
    young = replace(ZERO, crossing="young", at_ms=clock.ms)
    await added(ledger, *many, young)
    async with ledger.database.write() as connection:
        for notice in many:
            await keep(connection, notice.id, Delivery("t", "x", "sent", 1, 1))
        await look_again(connection, {notice.id: None for notice in (*many[1:], young)})
    monkeypatch.setattr(notices, "FORGET_EACH", 3)
    assert [await ledger.forget_notices(40) for _ in range(3)] == [3, 1, 0]
    left = {told.notice.crossing: len(told.deliveries) for told in await ledger.latest_notices(None, 10)}
    assert left == {"young": 0, "1": 1}
