"""Streams out of the ledger: in order, page by page, with flat memory."""

import tracemalloc
from collections.abc import Callable

import pytest

from gateway.ledger import CallEntry, Ledger, UnknownTenant, reading

Call = Callable[..., CallEntry]


async def ids(ledger: Ledger, from_ms: int | None = None, to_ms: int | None = None, refused: bool = False) -> list[str]:
    return [record.call_id async for record in ledger.usage("contoso", from_ms, to_ms, refused=refused)]


async def test_usage_is_by_start_within_its_bounds(ledger: Ledger, call: Call) -> None:
    starts = [30, 10, 20, 20, 40]
    await ledger.book([call(charge_id=f"c{n}", answered_ms=start) for n, start in enumerate(starts)])
    await ledger.book([call("fabrikam", charge_id="other", answered_ms=20)])
    assert await ids(ledger) == ["c1", "c2", "c3", "c0", "c4"]
    assert await ids(ledger, 20, 40) == ["c2", "c3", "c0"]
    assert await ids(ledger, 41) == []


async def test_unanswered_calls_only_when_asked_for(ledger: Ledger, call: Call) -> None:
    refused = {"answered_ms": 0, "invited_ms": 15, "reason": "NO_CREDIT", "sip_status": 402}
    await ledger.book([call(charge_id="talked", answered_ms=10), call(charge_id="refused", charge=0, **refused)])
    assert await ids(ledger) == ["talked"]
    assert await ids(ledger, refused=True) == ["talked", "refused"]


async def test_pages_join_without_a_seam(ledger: Ledger, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_ROWS", 3)
    await ledger.book([call(charge_id=f"c{n:02}", answered_ms=n // 5 + 1) for n in range(20)])
    assert await ids(ledger) == [f"c{n:02}" for n in range(20)]
    assert [posting.seq async for posting in ledger.postings("contoso")] == list(range(1, 21))
    assert (await ledger.verify_chain("contoso")).length == 20


async def test_memory_stays_flat(ledger: Ledger, call: Call) -> None:
    await ledger.book([call(user_name="x" * 2_000) for _ in range(6_000)])
    tracemalloc.start()
    try:
        count = 0
        async for _ in ledger.usage("contoso"):
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 6_000
    assert peak < 8_000_000, "6,000 records of 2.5 kB are 15 MB; a page of them is 2.5"


async def test_an_unknown_tenant(ledger: Ledger) -> None:
    for stream in (ledger.usage("nobody"), ledger.postings("nobody")):
        with pytest.raises(UnknownTenant):
            await anext(stream)


async def test_totals(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 100_000, "r")
    await ledger.book([call(charge=30_000), call(charge=0)])
    contoso, fabrikam = await ledger.totals()
    assert (contoso.balance_micros, contoso.postings_micros, contoso.charged_micros) == (70_000, 70_000, 30_000)
    assert (contoso.records_micros, contoso.accounts_micros) == (30_000, 0)
    assert fabrikam.balance_micros == 0
    assert await ledger.totals(["nobody"]) == []


async def test_one_call(ledger: Ledger, call: Call) -> None:
    await ledger.book([call(charge_id="c1", sip_call_id="abc@pbx")])
    found = await ledger.call("c1")
    assert found is not None
    assert found.sip_call_id == "abc@pbx"
    assert await ledger.call("c2") is None


async def test_which_charges_are_booked(ledger: Ledger, call: Call) -> None:
    await ledger.book([call(charge_id="c1")])
    assert await ledger.booked_charges(["c1", "c2"]) == {"c1"}
