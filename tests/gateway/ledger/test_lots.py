"""Lots in the ledger: made by money in, used by charges of a batch, forfeited, warned of; old ledgers get theirs."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from gateway.ledger import CallEntry, Ledger, WithdrawalEntry
from gateway.ledger.tables import notices
from policy.lots import WARN_MS, expiry_of

DAY_MS = 86_400_000


async def left(ledger: Ledger, tenant: str = "contoso") -> list[int]:
    assert await ledger.lot_faults() == []
    return [lot.remaining_micros for lot in await ledger.lots(tenant, spent=True)]


async def told(ledger: Ledger) -> list[tuple[str, str]]:
    async with ledger.database.read() as connection:
        rows = await connection.execute(select(notices.c.event, notices.c.crossing).order_by(notices.c.at_ms))
        return [(row.event, row.crossing) for row in rows]


async def test_each_money_in_is_a_lot_of_twelve_months(ledger: Ledger, clock: Any) -> None:
    for kind in ("manual", "refund", "adjustment"):
        await ledger.fund("contoso", 50, kind, kind)
        clock.ms += DAY_MS
    lots = await ledger.lots("contoso")
    assert [(lot.kind, lot.source, lot.amount_micros, lot.remaining_micros) for lot in lots] == [
        ("manual", "manual", 50, 50), ("refund", "manual", 50, 50), ("adjustment", "manual", 50, 50)
    ]  # fmt: skip
    assert all(lot.expires_ms == expiry_of(lot.purchased_ms) for lot in lots)
    await ledger.fund("contoso", 50, "manual", "manual")
    assert await left(ledger) == [50, 50, 50], "the same reference makes no second lot"


async def test_charges_of_a_batch_use_the_oldest_first(
    ledger: Ledger, call: Callable[..., CallEntry], clock: Any
) -> None:
    await ledger.fund("contoso", 50, "A")
    clock.ms += 1000
    await ledger.fund("contoso", 50, "B")
    await ledger.fund("fabrikam", 9, "C")
    entries = [call(charge=20), call(charge=20), call("fabrikam", charge=4), call(charge=20), call(charge=0)]
    await ledger.book(entries)
    assert (await left(ledger), await left(ledger, "fabrikam")) == ([0, 40], [5])
    await ledger.book(entries)
    assert await left(ledger) == [0, 40], "what is booked already takes nothing again"


async def test_a_charge_counts_when_its_call_ended_not_when_it_is_booked(
    ledger: Ledger, call: Callable[..., CallEntry], clock: Any
) -> None:
    first_ms = clock.ms
    await ledger.fund("contoso", 50, "A")
    clock.ms += 300 * DAY_MS
    await ledger.fund("contoso", 50, "B")
    clock.ms = expiry_of(first_ms) + 5
    await ledger.book([call(charge=10, ended_ms=expiry_of(first_ms) - 1)])
    assert await left(ledger) == [40, 50]
    await ledger.book([call(charge=10, ended_ms=expiry_of(first_ms))])
    assert await left(ledger) == [40, 40]
    await ledger.book([call(charge=60, ended_ms=expiry_of(first_ms) + 1)])
    assert await left(ledger) == [20, 0], "what calls had reserved of A before it expired"


async def test_late_charges_below_zero_leave_lots_whole(ledger: Ledger, call: Callable[..., CallEntry]) -> None:
    await ledger.fund("contoso", 50, "A")
    await ledger.book([call(charge=80)])
    assert await left(ledger) == [0]
    await ledger.book([call(charge=5)])
    await ledger.fund("contoso", 20, "B")
    assert (await ledger.balance("contoso"), await left(ledger)) == (-15, [0, 0])
    await ledger.fund("contoso", 20, "C")
    assert (await ledger.balance("contoso"), await left(ledger)) == (5, [0, 0, 5])


async def test_money_taken_out_by_hand_uses_the_oldest_too(ledger: Ledger) -> None:
    await ledger.fund("contoso", 50, "A")
    await ledger.fund("contoso", 50, "B")
    await ledger.book([WithdrawalEntry("out", "contoso", 60)])
    assert await left(ledger) == [0, 40]


async def test_an_expiry_takes_its_own_lot_once_and_is_told(ledger: Ledger) -> None:
    await ledger.fund("contoso", 50, "A")
    await ledger.fund("contoso", 50, "B")
    entry = WithdrawalEntry("expiry:2:1", "contoso", 30, "expiry", lot=2)
    await ledger.book([entry, entry])
    await ledger.book([entry])
    assert (await ledger.balance("contoso"), await left(ledger)) == (70, [50, 20])
    assert [lot.parts for lot in await ledger.lots("contoso")] == [0, 1]
    assert await told(ledger) == [("lot.expired", "expiry:2:1")]
    assert (await ledger.verify_chain("contoso")).intact


async def test_what_an_expiry_took_beyond_its_lot_comes_back(ledger: Ledger, call: Callable[..., CallEntry]) -> None:
    await ledger.fund("contoso", 50, "A")
    await ledger.fund("contoso", 50, "B")
    await ledger.book([call(charge=30)])
    await ledger.book([WithdrawalEntry("expiry:1:1", "contoso", 50, "expiry", lot=1)])
    assert (await ledger.balance("contoso"), await left(ledger)) == (50, [0, 50])
    (back,) = [line async for line in ledger.postings("contoso") if line.reference == "expiry:1:1:back"]
    assert (back.kind, back.amount_micros, back.account) == ("refund", 30, "forfeited")
    assert back.seq == (await ledger.account("contoso")).money_in_seq, "Redis is told of it as of any money in"
    assert [each.seq for each in await ledger.money_in_after("contoso", 2)] == [back.seq]


async def test_a_lot_is_warned_of_once_thirty_days_before(ledger: Ledger, clock: Any, document: Any) -> None:
    await ledger.provision(document({"id": "contoso"}, {"id": "later", "mode": "postpaid", "credit_limit": "1"}))
    await ledger.fund("contoso", 50, "A")
    await ledger.fund("later", 50, "A")
    clock.ms = expiry_of(clock.ms) - WARN_MS - 1
    assert await ledger.warn_of_lots() == 0
    clock.ms += 1
    assert [await ledger.warn_of_lots(), await ledger.warn_of_lots()] == [1, 0]
    assert await told(ledger) == [("lot.expiring", "lot:1")]


async def test_expired_lots_are_those_of_prepaid_tenants_with_something_left(
    ledger: Ledger, call: Callable[..., CallEntry], clock: Any
) -> None:
    await ledger.fund("contoso", 50, "A")
    await ledger.fund("fabrikam", 50, "A")
    await ledger.book([call("fabrikam", charge=50)])
    clock.ms = expiry_of(clock.ms) + 100
    assert [lot.tenant_id for lot in await ledger.expired_lots(100)] == ["contoso"]
    assert await ledger.expired_lots(101) == []


async def test_a_reference_of_the_gates_own_is_nobodys(ledger: Ledger) -> None:
    from gateway.ledger import AmountRefused

    for reference in ("expiry:1:1", "recharge-x"):
        with pytest.raises(AmountRefused, match="the gate's own"):
            await ledger.fund("contoso", 50, reference)


async def test_lots_that_do_not_add_up_are_found(ledger: Ledger) -> None:
    await ledger.fund("contoso", 50, "A")
    async with ledger.database.write() as connection:
        await connection.exec_driver_sql("UPDATE lots SET remaining_micros = 49")
    (fault,) = await ledger.lot_faults()
    assert (fault.tenant_id, fault.balance_micros, fault.lots_micros) == ("contoso", 50, 49)
    assert await ledger.lot_faults(["fabrikam"]) == []
