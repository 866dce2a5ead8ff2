"""DOMAIN's choices where its source is silent (DFLT), of calls and minutes, from the directory to the books.

tests/README.md has a table of all choices and of the test that shows each.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.call.records import Ending, unanswered
from gateway.ledger import ledger_url as sqlalchemy_url

from .gate import Gate, Leg, open_gate
from .wallet import M, ms

CC = "MCOPSTNPP"
US = "+12125550123"


@pytest.fixture
async def gate(tmp_path: Path, server: Any) -> AsyncIterator[Gate]:
    async for opened in open_gate(tmp_path, server.url, sqlalchemy_url("embedded", tmp_path)):
        yield opened


def contoso(*licences: str, **more: Any) -> dict[str, Any]:
    user = {"id": "u", "usage_location": "US", "licences": list(licences)}
    return {"id": "contoso", "country": "US", "user": [user], **more}


def live(call: Leg | str) -> Leg:
    assert isinstance(call, Leg), call
    return call


async def used(gate: Gate) -> dict[tuple[str, str], int]:
    return {(each.pool, each.month): each.minutes for each in await gate.ledger.pool_use("contoso")}


@pytest.mark.parametrize(("zone", "midnight"), [("UTC", "2026-02-01T00:00"), ("Asia/Tokyo", "2026-01-31T15:00")])
async def test_dflt_a_call_over_midnight_belongs_to_the_month_of_each_started_minute(
    gate: Gate, zone: str, midnight: str
) -> None:
    await gate.open(contoso("MCOPSTN5", time_zone=zone))
    gate.clock.ms = ms(midnight) - 150_000
    leg = live(await gate.talk(US, 300, "u"))
    await gate.book()
    assert await used(gate) == {("MCOPSTN5/US", "2026-01"): 3, ("MCOPSTN5/US", "2026-02"): 2}
    assert (await gate.record(leg)).pool_minutes == 5


async def test_dflt_a_pool_that_is_used_up_begins_anew_at_midnight_within_the_call(gate: Gate) -> None:
    await gate.open(contoso("MCOPSTN5", CC))
    await gate.use_up(119, US, "u")
    await gate.fund(1 * M)
    gate.clock.ms = ms("2026-02-01T00:00") - 150_000
    leg = live(await gate.talk(US, 300, "u"))
    await gate.book()
    record = await gate.record(leg)
    assert (record.pool_minutes, record.billed_s, record.charge_micros) == (3, 120, 26_000)
    assert await used(gate) == {("MCOPSTN5/US", "2026-01"): 120, ("MCOPSTN5/US", "2026-02"): 2}


async def test_dflt_minutes_do_not_roll_over(gate: Gate) -> None:
    await gate.open(contoso("MCOPSTN5"))
    gate.clock.ms = ms("2026-02-01T00:00")
    await gate.use_up(120, US, "u")
    assert await gate.call(US, "u") == "NO_MINUTES"


async def test_dflt_an_unanswered_call_costs_neither_money_nor_minutes(gate: Gate) -> None:
    await gate.open(contoso("MCOPSTN5", CC))
    await gate.fund(1 * M)
    leg = live(await gate.call(US, "u"))
    assert (await gate.credit.counters("contoso")).held == {("MCOPSTN5/US", "2026-01"): 1}
    record = unanswered(leg.opening, "carrier", gate.clock.ms, Ending("NO_ANSWER", 480, "gate"))
    gate.store.submit(leg.money.release(record))
    gate.live.remove(leg)
    while await gate.credit.live_call(leg.call_id, "contoso") is not None:
        await gate.wait(1)
    await gate.book()
    assert (await used(gate), await gate.balance(), await gate.clean()) == ({}, 1 * M, True)


async def test_dflt_a_started_minute_counts_whole_for_each_leg(gate: Gate) -> None:
    await gate.open(contoso("PAYG-1", CC))
    await gate.fund(1 * M)
    assert [live(await gate.talk(US, seconds, "u")).charge_micros for seconds in (0.4, 60, 60.1, 61)] == [
        13_000, 13_000, 26_000, 26_000,
    ]  # fmt: skip
