"""Charges into the ledger: exactly once, in batches, poison aside."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from gateway.call import records
from gateway.call.records import Ending
from gateway.ledger import BookedBatch, BrokenEntry, CallEntry, Ledger, WithdrawalEntry, booking
from gateway.ledger.tables import set_aside
from policy.reasons import REASONS
from policy.verdict import Deny

Call = Callable[..., CallEntry]


async def amounts(ledger: Ledger, tenant: str = "contoso") -> list[tuple[int, int, int]]:
    return [(p.seq, p.amount_micros, p.balance_micros) async for p in ledger.postings(tenant)]


async def usage(ledger: Ledger, tenant: str = "contoso") -> list[str]:
    return [record.call_id async for record in ledger.usage(tenant, refused=True)]


async def test_a_charge_is_a_posting_and_a_record(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 1_000_000, "first")
    assert await ledger.book([call(charge_id="c1", charge=20_000)]) == BookedBatch(booked=1, repeated=0)
    postings = [posting async for posting in ledger.postings("contoso")]
    assert [(p.id, p.kind, p.amount_micros, p.balance_micros, p.account) for p in postings] == [
        ("1", "manual", 1_000_000, 1_000_000, "funding"),
        ("2", "charge", -20_000, 980_000, "revenue"),
    ]
    assert postings[1].call_id == "c1"
    assert await ledger.balance("contoso") == 980_000
    assert await usage(ledger) == ["c1"]


async def test_a_second_time_it_is_already_there(ledger: Ledger, call: Call) -> None:
    batch = [call(), call("fabrikam"), call()]
    assert await ledger.book(batch) == BookedBatch(3, 0)
    assert await ledger.book([*batch, call()]) == BookedBatch(1, 3)
    assert await amounts(ledger) == [(1, -20_000, -20_000), (2, -20_000, -40_000), (3, -20_000, -60_000)]


async def test_twice_within_one_batch_books_once(ledger: Ledger, call: Call) -> None:
    entry = call()
    assert await ledger.book([entry, entry]) == BookedBatch(1, 1)
    assert await ledger.balance("contoso") == -20_000


async def test_a_free_call_is_a_record_without_a_posting(ledger: Ledger, call: Call) -> None:
    assert await ledger.book([call(charge=0)]) == BookedBatch(1, 0)
    assert await ledger.book([call(charge=0, charge_id="call-0001")]) == BookedBatch(0, 1)
    assert await amounts(ledger) == []
    assert len(await usage(ledger)) == 1


async def test_the_record_of_a_refused_call_is_booked_as_the_call_room_writes_it(ledger: Ledger) -> None:
    """It names neither answer nor talk; once every such record was set aside as unreadable."""
    verdict = Deny(REASONS["NO_RATE"], tenant_id="contoso", kind="user_out", caller="+1", dialled="+2")
    opening = records.opening(verdict, "c1", "sip", "gate-1", "pbx", 5)
    record = records.unanswered(opening, "", 7, Ending("NO_RATE", 404, "gate"))
    assert await ledger.book([CallEntry("c1", "contoso", 0, record)]) == BookedBatch(1, 0)
    (found,) = [row async for row in ledger.usage("contoso", refused=True)]
    assert (found.reason, found.sip_status, found.answered_ms, found.talk_ms) == ("NO_RATE", 404, 0, 0)


async def test_a_withdrawal_is_booked_once_by_its_reference(ledger: Ledger) -> None:
    await ledger.fund("contoso", 100, "in")
    entry = WithdrawalEntry("out", "contoso", 30, actor="alice")
    assert await ledger.book([entry]) == BookedBatch(1, 0)
    assert await ledger.book([entry, entry]) == BookedBatch(0, 2)
    assert await amounts(ledger) == [(1, 100, 100), (2, -30, 70)]
    found = await ledger.find_funding("contoso", -30, "out", "adjustment")
    assert found is not None
    assert (found.seq, found.repeated) == (2, True)


async def test_an_empty_batch_is_nothing(ledger: Ledger) -> None:
    assert await ledger.book([]) == BookedBatch(0, 0)


POISON = {
    "unknown tenant": {"tenant_id": "nobody"},
    "record is no JSON": {"record": b"\xff"},
    "record is no object": {"record": b"[]"},
    "record lacks what reports need": {"record": b"{}"},
    "record has text for a moment": {"record": b'{"answered_ms":"soon"}'},
    "no charge id": {"charge_id": ""},
    "charge id too long": {"charge_id": "x" * 1000},
    "negative": {"charge_micros": -1},
    "too large": {"charge_micros": 2**53},
    "larger than the column": {"charge_micros": 2**70},
}


@pytest.mark.parametrize("wrong", POISON.values(), ids=POISON.keys())
async def test_poison_is_set_aside_and_what_is_behind_it_is_booked(
    ledger: Ledger, call: Call, wrong: dict[str, object]
) -> None:
    before, poison, behind = call(), replace(call(origin="7/1-1"), **wrong), call()
    done = await ledger.book([before, poison, behind])
    assert (done.booked, done.repeated) == (2, 0)
    assert [aside.origin for aside in done.set_aside] == ["7/1-1"]
    assert len(await amounts(ledger)) == 2
    async with ledger.database.read() as connection:
        kept = (await connection.execute(select(set_aside))).one()
    assert kept.origin == "7/1-1"
    assert kept.why == done.set_aside[0].why
    assert poison.record in kept.payload


async def test_poison_that_comes_again_is_kept_once(ledger: Ledger) -> None:
    broken = BrokenEntry("7/1-1", b"\x00rubbish", "its fields cannot be read")
    for _ in range(2):
        assert (await ledger.book([broken])).set_aside == (broken,)
    async with ledger.database.read() as connection:
        assert len((await connection.execute(select(set_aside.c.payload))).all()) == 1


async def test_a_charge_id_booked_with_another_charge_is_poison(ledger: Ledger, call: Call) -> None:
    await ledger.book([call(charge_id="c1", charge=20_000)])
    done = await ledger.book([call(charge_id="c1", charge=30_000)])
    assert "already booked with 20000" in done.set_aside[0].why
    assert await ledger.balance("contoso") == -20_000


async def test_a_reference_booked_with_another_amount_is_poison(ledger: Ledger) -> None:
    await ledger.fund("contoso", 100, "r")
    done = await ledger.book([WithdrawalEntry("r", "contoso", 30, origin="1/1-1")])
    assert "already booked as manual" in done.set_aside[0].why
    assert json.loads(done.set_aside[0].payload)["amount_micros"] == "30"


UNSTORABLE = {"a lone surrogate": {"charge_id": "bad-\ud800"}, "beyond 64 bits": {"record": {"talk_ms": 2**70}}}


@pytest.mark.parametrize("wrong", UNSTORABLE.values(), ids=UNSTORABLE.keys())
async def test_a_row_that_the_database_refuses_is_found_by_halving(
    ledger: Ledger, call: Call, wrong: dict[str, Any]
) -> None:
    entries = [call() for _ in range(20)]
    entries[13] = replace(call(origin="3/9-9", **wrong.get("record", {})), charge_id=wrong.get("charge_id", "bad"))
    done = await ledger.book(entries)
    assert (done.booked, len(done.set_aside)) == (19, 1)
    assert done.set_aside[0].origin == "3/9-9"
    assert len(await amounts(ledger)) == 19


async def test_more_than_one_batch(ledger: Ledger, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booking, "MAX_BATCH", 7)
    entries = [call("contoso" if n % 3 else "fabrikam") for n in range(30)]
    assert (await ledger.book(entries)).booked == 30
    assert (await ledger.book(entries)).repeated == 30
    assert await ledger.balance("contoso") == -20 * 20_000


async def test_two_settlers_at_once_book_once(ledger: Ledger, ledger_url: str, call: Call) -> None:
    """A second settler does no harm: the charge id decides, under the account's lock."""
    entries = [call("contoso" if n % 2 else "fabrikam", charge=n) for n in range(60)]
    async with Ledger(ledger_url) as other:
        turns = [one.book(entries[k : k + 10]) for k in range(0, 60, 10) for one in (ledger, other)]
        done = await asyncio.gather(*turns)
    assert sum(batch.booked for batch in done) == 60
    assert sum(batch.repeated for batch in done) == 60
    assert not any(batch.set_aside for batch in done)
    assert await ledger.balance("contoso") == -sum(range(1, 60, 2))
    assert (await ledger.verify_chain("contoso")).intact
