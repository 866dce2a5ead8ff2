"""Notices: one for each tenant, event and crossing, in the transaction of what they tell of."""

from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import Ledger
from gateway.ledger.notices import (
    ADD_EACH,
    Delivery,
    Notice,
    add,
    keep,
    next_due_ms,
    read_due,
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
        (first,) = [told for told in await read_due(connection, 9_000, 10) if told.notice.id == ZERO.id]
        assert first.notice == ZERO
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
        assert await next_due_ms(connection) is None


async def test_many_at_once(ledger: Ledger) -> None:
    many = [replace(ZERO, crossing=str(number)) for number in range(2 * ADD_EACH + 1)]
    assert await added(ledger, *many) == len(many)
    assert await added(ledger, *many) == 0
    assert await added(ledger) == 0


async def test_a_notice_waits_until_it_is_due_and_then_no_more(ledger: Ledger) -> None:
    await added(ledger, ZERO)
    waiting = Delivery("t1", "https://example.org/***", "waiting", 1, 1_500, 9_000, "500")
    async with ledger.database.write() as connection:
        await keep(connection, ZERO.id, [waiting, Delivery("t2", "mailto", "sent", 1, 1_500)], 9_000)
    async with ledger.database.read() as connection:
        assert await next_due_ms(connection) == 9_000
        assert await read_due(connection, 8_999, 10) == []
        (told,) = await read_due(connection, 9_000, 10)
    assert [each.state for each in told.deliveries] == ["waiting", "sent"]
    sent = replace(waiting, state="sent", tries=2, at_ms=9_000, due_ms=0, why="")
    async with ledger.database.write() as connection:
        await keep(connection, ZERO.id, [sent], None)
    async with ledger.database.read() as connection:
        assert await read_due(connection, 10**15, 10) == []
        (told,) = await read_latest(connection, "contoso", 10)
    assert told.due_ms is None
    assert sent in told.deliveries
