"""Advice for a tenant from its ledger: the days it looks at, and what its minutes have cost."""

from pathlib import Path

from gateway.config.provisioning import parse
from gateway.ledger import Ledger
from gateway.settlement.reports import Prices, advise_tenant

from .conftest import START_MS, Book

DAY_MS = 86_400_000
UNIT = 1_000_000
NOW_MS = START_MS + 10 * DAY_MS


async def test_whole_days_from_the_first_call_up_to_today(ledger: Ledger, book: Book) -> None:
    await book("first", charge_micros=30 * UNIT)
    await book("ninth", answered_ms=START_MS + 8 * DAY_MS, charge_micros=60 * UNIT)
    await book("today", answered_ms=NOW_MS, charge_micros=1_000 * UNIT)
    found = await advise_tenant(ledger, "contoso", 1, NOW_MS)
    assert found.from_ms == START_MS // DAY_MS * DAY_MS
    assert found.to_ms == NOW_MS // DAY_MS * DAY_MS
    assert (found.advice.days, found.advice.mean_day_micros) == (10, 9 * UNIT)
    assert found.advice.trigger_micros == 120 * UNIT
    assert found.advice.amount_micros == 270 * UNIT


async def test_one_month_and_two(ledger: Ledger, book: Book) -> None:
    await book("old", charge_micros=60 * UNIT)
    now_ms = START_MS + 40 * DAY_MS
    one, two = [await advise_tenant(ledger, "contoso", months, now_ms) for months in (1, 2)]
    assert (one.advice.days, one.advice.dearest_day_micros, one.destinations) == (0, 0, ())
    assert (two.advice.days, two.advice.dearest_day_micros) == (40, 60 * UNIT)


async def test_destinations_by_what_they_cost(ledger: Ledger, book: Book) -> None:
    await book("c1", talk_ms=60_001, charge_micros=36_000)
    await book("c2", destination="Zimbabwe", talk_ms=120_000, charge_micros=960_001)
    await book("c3", destination="free", charge_micros=0)
    found = await advise_tenant(ledger, "contoso", 1, NOW_MS)
    assert found.destinations == (Prices("Zimbabwe", 1, 2, 960_001), Prices("France", 1, 2, 36_000))
    assert [each.minute_micros for each in found.destinations] == [480_001, 18_000]


async def test_the_tenants_own_least_funding(ledger: Ledger) -> None:
    tenant = {"id": "contoso", "rate_deck": "standard", "minimum_funding": "75.50"}
    await ledger.provision(parse({"tenant": [tenant]}, "test.toml", Path()))
    found = await advise_tenant(ledger, "contoso", 1, NOW_MS)
    assert (found.advice.amount_micros, found.advice.trigger_micros) == (76 * UNIT, 50 * UNIT)
    assert (await advise_tenant(ledger, "fabrikam", 1, NOW_MS)).advice.amount_micros == 50 * UNIT
