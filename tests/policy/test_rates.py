"""Which row prices a call and which follow it, also over the moment at which another deck takes its deck's place."""

from dataclasses import replace

import pytest

from policy.decide import decide
from policy.directory import Coming, Directory
from policy.explain import Question, document, explain
from policy.plan import NumberPlan
from policy.rates import changes_after, rate_at
from policy.verdict import Allow, CallRequest
from rating.deck import MAX_CHANGES, Deck, RateRow, load_deck
from rating.schedule import Change
from rating.tariff import Tariff
from rating.validity import Validity

NOON_MS = 1_767_614_400_000  # 2026-01-05T12:00:00Z, a Monday
HOUR_MS = 3_600_000
LONDON = "+442079469999"
HEAD = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,currency,from_time,to_time\n"


def deck(*rates: int, name: str = "standard") -> Deck:
    """All day at one rate, or from 13:00 to 18:00 at a second one."""
    rows = [f"44,x,{rates[0]},0,1,1,USD,,\n", *(f"44,x,{rate},0,1,1,USD,13:00,18:00\n" for rate in rates[1:])]
    return load_deck(name, [HEAD, *rows])


def told(directory: Directory, hours: float, begin_ms: int = NOON_MS) -> list[tuple[float, int]]:
    row = rate_at(directory, "standard", LONDON, "out", begin_ms)
    assert row is not None
    until_ms = begin_ms + int(hours * HOUR_MS)
    found = changes_after(directory, "standard", LONDON, "out", row, begin_ms, until_ms)
    return [((at - begin_ms) / HOUR_MS, tariff.rate_micros_per_min) for at, tariff in found]


def test_bands_within_the_span() -> None:
    directory = Directory(decks={"standard": deck(60, 30)})
    assert told(directory, 0.9) == []
    assert told(directory, 1) == [(1.0, 30)]
    assert told(directory, 7) == [(1.0, 30), (6.0, 60)]


def test_another_deck_takes_over_at_its_moment_and_its_bands_follow() -> None:
    coming = (Coming(NOON_MS + 2 * HOUR_MS, deck(90, 80)), Coming(NOON_MS + 8 * HOUR_MS, deck(10)))
    directory = Directory(decks={"standard": deck(60, 30)}, coming={"standard": coming})
    assert told(directory, 9) == [(1.0, 30), (2.0, 80), (6.0, 90), (8.0, 10)]
    assert told(directory, 2) == [(1.0, 30), (2.0, 80)]
    assert told(directory, 1.99) == [(1.0, 30)]


def test_a_call_after_that_moment_is_priced_by_the_new_deck_whatever_the_snapshot_calls_the_one_in_use() -> None:
    directory = Directory(decks={"standard": deck(60)}, coming={"standard": (Coming(NOON_MS, deck(90, 80)),)})
    found = [rate_at(directory, "standard", LONDON, "out", NOON_MS + late_ms) for late_ms in (-1, 0)]
    assert [row and row.tariff.rate_micros_per_min for row in found] == [60, 90]
    assert told(directory, 7, NOON_MS + HOUR_MS // 2) == [(0.5, 80), (5.5, 90)]
    assert rate_at(directory, "other", LONDON, "out", NOON_MS) is None


def test_a_new_deck_without_the_number_changes_nothing_until_it_has_it() -> None:
    later = Deck("standard", "USD", [RateRow("44", "x", "", "", "", Tariff(7), Validity(from_unix_ms=NOON_MS + 5))])
    directory = Directory(decks={"standard": deck(60)}, coming={"standard": (Coming(NOON_MS + 1, later),)})
    assert told(directory, 1) == [(5 / HOUR_MS, 7)]


def test_rows_of_one_price_are_no_change() -> None:
    same = {"standard": (Coming(NOON_MS + HOUR_MS, deck(60)),)}
    assert told(Directory(decks={"standard": deck(60, 60)}, coming=same), 24) == []


def test_no_more_changes_than_a_call_may_carry() -> None:
    coming = tuple(Coming(NOON_MS + place, deck(place + 100)) for place in range(1, 100))
    assert len(told(Directory(decks={"standard": deck(60)}, coming={"standard": coming}), 24)) == MAX_CHANGES


@pytest.fixture
def banded(directory: Directory) -> Directory:
    return replace(directory, decks={**directory.decks, "standard": deck(60_000, 30_000)})


def test_a_verdict_carries_the_changes_within_its_call(banded: Directory, plan: NumberPlan) -> None:
    request = CallRequest("pbx", LONDON, "+14255550100", NOON_MS)
    verdict = decide(banded, plan, request)
    assert isinstance(verdict, Allow)
    assert verdict.tariff == Tariff(60_000, 0, 1, 1)
    night, day = Tariff(30_000, 0, 1, 1), Tariff(60_000, 0, 1, 1)
    hours = [Change(NOON_MS + hour * HOUR_MS, tariff) for hour, tariff in ((1, night), (6, day), (25, night))]
    assert list(verdict.changes) == hours
    request.within_s = 3_600
    verdict = decide(banded, plan, request)
    assert isinstance(verdict, Allow)
    assert list(verdict.changes) == hours[:1]


def test_explain_prices_with_the_changes_as_if_answered_now(banded: Directory, plan: NumberPlan) -> None:
    asked = Question("contoso", "+14255550100", LONDON, NOON_MS + HOUR_MS - 60_000)
    page = document(explain(banded, plan, asked), 90_000, 14_400, at_unix_ms=asked.at_unix_ms)
    assert page["rate"]["per_minute"] == "0.060000"
    assert page["rate"]["changes"] == [{"from_s": 60, "per_minute": "0.030000", "next_incr_s": 1}]
    assert page["max_seconds"] == 120
    assert page["pays"] == [{"payer": "credits", "pool": None, "seconds": 120, "amount": "0.090000"}]
