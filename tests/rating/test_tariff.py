"""What talk costs: the conformance table that the documentation shows, and the laws of MONEY 2."""

import csv
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.columns import TARIFF_COLUMNS
from rating.tariff import (
    Tariff,
    affordable_end_s,
    billed_s,
    boundary_after,
    charge_micros,
    max_talk_s,
    price_micros,
    tick_end_s,
    tick_micros,
)

CASES = list(csv.DictReader((resources.files("rating") / "data/conformance.csv").read_text("utf-8").splitlines()))

tariffs = st.builds(
    Tariff,
    rate_micros_per_min=st.one_of(st.integers(0, 200), st.integers(0, 10**9)),
    connect_micros=st.integers(0, 500_000),
    first_incr_s=st.integers(1, 90),
    next_incr_s=st.integers(1, 90),
    free_s=st.one_of(st.just(0), st.integers(0, 90)),
    minimum_micros=st.one_of(st.just(0), st.integers(0, 500_000)),
)
talks_ms = st.integers(0, 2_000_000)


@pytest.mark.parametrize("row", CASES, ids=[f"{row['case']} at {row['talk_ms']} ms" for row in CASES])
def test_conformance(row: dict[str, str]) -> None:
    tariff = Tariff(**{name: int(row[name]) for name in TARIFF_COLUMNS})
    talk_ms = int(row["talk_ms"])
    assert billed_s(tariff, talk_ms) == int(row["billed_s"])
    assert charge_micros(tariff, talk_ms) == int(row["charge_micros"])


@pytest.mark.parametrize("field", ["rate_micros_per_min", "connect_micros", "free_s", "minimum_micros"])
def test_a_tariff_with_a_negative_part_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is -1: it cannot be negative"):
        Tariff(**{"rate_micros_per_min": 1, field: -1})


@pytest.mark.parametrize("field", ["first_incr_s", "next_incr_s"])
def test_a_tariff_with_an_increment_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0: an increment is at least one second"):
        Tariff(**{"rate_micros_per_min": 1, field: 0})


@given(tariffs, talks_ms, talks_ms)
def test_the_charge_never_falls_as_talk_grows(tariff: Tariff, one_ms: int, other_ms: int) -> None:
    less_ms, more_ms = sorted((one_ms, other_ms))
    assert charge_micros(tariff, less_ms) <= charge_micros(tariff, more_ms)


@given(tariffs, talks_ms)
def test_whole_seconds_and_milliseconds_agree(tariff: Tariff, talk_ms: int) -> None:
    talk_s = -(-talk_ms // 1000)
    assert price_micros(tariff, talk_s) == charge_micros(tariff, talk_s * 1000)
    if talk_s > tariff.free_s:
        assert charge_micros(tariff, talk_ms) == price_micros(tariff, talk_s)


@given(tariffs, st.integers(0, 2_000))
def test_a_boundary_ends_an_increment_and_the_next_millisecond_begins_one(tariff: Tariff, talk_s: int) -> None:
    end_s = boundary_after(tariff, talk_s)
    assert end_s > talk_s
    whole_s = end_s - tariff.free_s - tariff.first_incr_s
    assert whole_s >= 0
    assert whole_s % tariff.next_incr_s == 0
    assert billed_s(tariff, end_s * 1000) == end_s - tariff.free_s
    assert billed_s(tariff, end_s * 1000 + 1) == end_s - tariff.free_s + tariff.next_incr_s
    if talk_s > tariff.free_s + tariff.first_incr_s:
        assert end_s - talk_s <= tariff.next_incr_s


def test_the_first_boundary_is_the_end_of_free_seconds_and_first_increment() -> None:
    tariff = Tariff(1000, first_incr_s=30, next_incr_s=6, free_s=10)
    assert [boundary_after(tariff, talk_s) for talk_s in (0, 9, 10, 39, 40, 45, 46)] == [40, 40, 40, 40, 46, 46, 52]


@given(tariffs, st.lists(st.integers(1, 200), min_size=1, max_size=12))
def test_tick_prices_add_up_to_the_charge(tariff: Tariff, lengths_s: list[int]) -> None:
    ends_s = [0]
    for length_s in lengths_s:
        ends_s.append(tick_end_s(tariff, ends_s[-1], length_s))
    prices = [tick_micros(tariff, start_s, end_s) for start_s, end_s in pairwise(ends_s)]
    assert sum(prices) == charge_micros(tariff, ends_s[-1] * 1000)
    assert all(price >= 0 for price in prices)
    assert prices[0] >= max(tariff.connect_micros, tariff.minimum_micros)


@given(tariffs, st.integers(0, 5), st.integers(1, 300), st.integers(0, 3_000_000))
def test_trimming_takes_all_increments_that_can_be_paid_and_no_more(
    tariff: Tariff, ticks: int, tick_s: int, available: int
) -> None:
    start_s = 0
    for _ in range(ticks):
        start_s = tick_end_s(tariff, start_s, 60)
    end_s = tick_end_s(tariff, start_s, tick_s)
    paid_s = affordable_end_s(tariff, start_s, end_s, available)
    assert paid_s == longest_by_trying(tariff, start_s, end_s, available)


def longest_by_trying(tariff: Tariff, start_s: int, end_s: int, available: int) -> int | None:
    """The same by adding one increment after the other, as long as the money lasts."""
    paid_s = None
    next_s = boundary_after(tariff, start_s)
    while next_s <= end_s and tick_micros(tariff, start_s, next_s) <= available:
        paid_s = next_s
        next_s = boundary_after(tariff, next_s)
    return paid_s


@pytest.mark.parametrize(("available", "end_s"), [(60, 60), (59, 59), (30, 30), (7, 7), (1, 1), (0, None), (-5, None)])
def test_money_for_less_than_a_tick_buys_whole_increments(available: int, end_s: int | None) -> None:
    assert affordable_end_s(Tariff(60, first_incr_s=1, next_incr_s=1), 0, 60, available) == end_s


def test_the_first_tick_must_pay_connect_fee_and_first_increment() -> None:
    tariff = Tariff(12_000, connect_micros=5_000, first_incr_s=30, next_incr_s=6)
    assert affordable_end_s(tariff, 0, 60, 10_999) is None
    assert affordable_end_s(tariff, 0, 60, 11_000) == 30
    assert affordable_end_s(tariff, 30, 60, 1_199) is None
    assert affordable_end_s(tariff, 30, 60, 1_200) == 36


@given(tariffs, st.integers(0, 10_000_000), st.integers(0, 4_000))
def test_the_longest_talk_is_paid_and_the_next_increment_is_not(tariff: Tariff, available: int, cap_s: int) -> None:
    talk_s = max_talk_s(tariff, available, cap_s)
    assert 0 <= talk_s <= cap_s
    if talk_s:
        assert price_micros(tariff, talk_s) <= available
    if available > 0 and talk_s < cap_s:
        assert price_micros(tariff, boundary_after(tariff, talk_s)) > available


@pytest.mark.parametrize("available", [0, -1])
def test_credit_must_be_above_zero_even_where_talk_is_free(available: int) -> None:
    assert max_talk_s(Tariff(0), available, 600) == 0


def test_toll_free_example_six() -> None:
    """DOMAIN 8, example 6: 0.10 buys two minutes at 0.04; the 0.02 left cannot buy a third."""
    tariff = Tariff(40_000)
    assert max_talk_s(tariff, 100_000, 14_400) == 120
    assert affordable_end_s(tariff, 120, 180, 20_000) is None
