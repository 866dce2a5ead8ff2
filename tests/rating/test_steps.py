"""A rate that changes inside a call: every function beside a reference that goes increment by increment."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.tariff import (
    Step,
    Tariff,
    affordable_end_s,
    billed_s,
    boundary_after,
    charge_micros,
    max_talk_s,
    pieces,
    price_micros,
    tick_end_s,
    tick_micros,
)

rates = st.one_of(st.just(0), st.integers(0, 200), st.integers(0, 10**9))
steps = st.lists(st.builds(Step, st.integers(0, 400), rates, st.integers(1, 90)), max_size=5).map(
    lambda some: tuple(sorted(some, key=lambda step: step.from_s))
)
tariffs = st.builds(
    Tariff,
    rate_micros_per_min=rates,
    connect_micros=st.integers(0, 500_000),
    first_incr_s=st.integers(1, 90),
    next_incr_s=st.integers(1, 90),
    free_s=st.one_of(st.just(0), st.integers(0, 90)),
    minimum_micros=st.one_of(st.just(0), st.integers(0, 500_000)),
    steps=steps,
)


class Slow:
    """The increments of a call one after the other: where each ends, and what all up to there cost."""

    def __init__(self, tariff: Tariff, talk_ms: int) -> None:
        self.ends_s: list[int] = []
        self.changed_s: list[int] = []
        begin_s, sixtieths = tariff.free_s, 0
        rate = tariff.rate_micros_per_min
        while begin_s * 1000 < talk_ms:
            before, length_s = rate, tariff.next_incr_s
            for step in tariff.steps:
                if step.from_s <= begin_s:
                    rate, length_s = step.rate_micros_per_min, step.next_incr_s
            if before != rate and self.ends_s:
                self.changed_s.append(begin_s)
            length_s = length_s if self.ends_s else tariff.first_incr_s
            sixtieths += rate * length_s
            begin_s += length_s
            self.ends_s.append(begin_s)
        self.billed_s = begin_s - tariff.free_s
        self.charge = max(tariff.minimum_micros, tariff.connect_micros - (-sixtieths // 60))


@given(tariffs, st.integers(0, 700_000))
def test_the_charge_is_that_of_the_increments_each_at_the_rate_in_effect_when_it_begins(
    tariff: Tariff, talk_ms: int
) -> None:
    slow = Slow(tariff, talk_ms)
    assert billed_s(tariff, talk_ms) == slow.billed_s
    assert charge_micros(tariff, talk_ms) == slow.charge
    talk_s = -(-talk_ms // 1000)
    assert price_micros(tariff, talk_s) == charge_micros(tariff, talk_s * 1000)
    if slow.ends_s:
        assert boundary_after(tariff, (talk_ms - 1) // 1000) == slow.ends_s[-1]


@given(tariffs, st.lists(st.integers(1, 200), min_size=1, max_size=12))
def test_ticks_add_up_to_the_charge_and_none_reaches_over_a_change(tariff: Tariff, lengths_s: list[int]) -> None:
    ends_s = [0]
    for length_s in lengths_s:
        ends_s.append(tick_end_s(tariff, ends_s[-1], length_s))
    assert sum(tick_micros(tariff, *tick) for tick in pairwise(ends_s)) == charge_micros(tariff, ends_s[-1] * 1000)
    slow = Slow(tariff, ends_s[-1] * 1000)
    for start_s, end_s in pairwise(ends_s):
        assert end_s in slow.ends_s
        assert not any(start_s < at_s < end_s for at_s in slow.changed_s)


@given(tariffs, st.integers(0, 6), st.integers(1, 500), st.integers(0, 3_000_000))
def test_trimming_takes_all_increments_that_can_be_paid_also_beyond_a_change(
    tariff: Tariff, ticks: int, wanted_s: int, available: int
) -> None:
    start_s = 0
    for _ in range(ticks):
        start_s = tick_end_s(tariff, start_s, 40)
    end_s = boundary_after(tariff, start_s + wanted_s - 1)
    expected = None
    next_s = boundary_after(tariff, start_s)
    while next_s <= end_s and tick_micros(tariff, start_s, next_s) <= available:
        expected = next_s
        next_s = boundary_after(tariff, next_s)
    assert affordable_end_s(tariff, start_s, end_s, available) == expected


@given(tariffs, st.integers(0, 10_000_000), st.integers(0, 1_000))
def test_the_longest_talk_is_paid_and_the_next_increment_is_not(tariff: Tariff, available: int, cap_s: int) -> None:
    talk_s = max_talk_s(tariff, available, cap_s)
    assert 0 <= talk_s <= cap_s
    if talk_s:
        assert price_micros(tariff, talk_s) <= available
    if available > 0 and talk_s < cap_s:
        assert price_micros(tariff, boundary_after(tariff, talk_s)) > available


@given(tariffs, st.integers(0, 700_000))
def test_steps_that_change_nothing_cost_nothing(tariff: Tariff, talk_ms: int) -> None:
    plain = replace(tariff, steps=())
    same = Step(0, plain.rate_micros_per_min, plain.next_incr_s)
    stepped = replace(plain, steps=(same, same._replace(from_s=100), same._replace(from_s=100)))
    assert charge_micros(stepped, talk_ms) == charge_micros(plain, talk_ms)
    assert billed_s(stepped, talk_ms) == billed_s(plain, talk_ms)


CHEAP_AT_90 = Tariff(60_000, 5_000, 60, 60, steps=(Step(90, 30_000, 1),))


@pytest.mark.parametrize(
    ("talk_ms", "billed", "charge", "why"),
    [
        (1, 60, 65_000, "the first minute"),
        (60_001, 120, 125_000, "the minute that begins at 60 s is not split at 90 s"),
        (120_000, 120, 125_000, "up to its end"),
        (120_001, 121, 125_500, "from there on seconds at half the rate"),
        (150_000, 150, 140_000, "30 s of them"),
    ],
)
def test_a_change_inside_an_increment_counts_from_its_end(talk_ms: int, billed: int, charge: int, why: str) -> None:
    assert billed_s(CHEAP_AT_90, talk_ms) == billed, why
    assert charge_micros(CHEAP_AT_90, talk_ms) == charge, why


def test_a_tick_ends_where_the_rate_changes() -> None:
    assert tick_end_s(CHEAP_AT_90, 60, 300) == 120
    assert tick_end_s(CHEAP_AT_90, 120, 300) == 420
    assert tick_end_s(replace(CHEAP_AT_90, steps=(Step(7, 1, 1),)), 0, 300) == 60, "but a first increment is whole"


def test_a_change_within_the_free_seconds_prices_the_first_increment_but_does_not_shape_it() -> None:
    tariff = Tariff(60_000, 5_000, 30, 6, 10, 7_000, steps=(Step(10, 120_000, 1),))
    assert pieces(tariff) == [(0, 120_000, 1)]
    assert charge_micros(tariff, 10_000) == 7_000, "connect fee and minimum are the answer's"
    assert charge_micros(tariff, 10_001) == 5_000 + 60_000
    assert charge_micros(tariff, 41_000) == 5_000 + 62_000
    assert pieces(replace(tariff, steps=(Step(11, 120_000, 1),))) == [(0, 60_000, 6), (30, 120_000, 1)]


def test_of_several_changes_within_one_increment_the_last_counts() -> None:
    tariff = Tariff(60_000, 0, 60, 60, steps=(Step(61, 1, 1), Step(70, 2, 2), Step(70, 3, 3), Step(120, 4, 4)))
    assert pieces(tariff) == [(0, 60_000, 60), (120, 4, 4)]


def test_the_charge_is_rounded_up_once_whatever_the_steps() -> None:
    """20 s at 1 a minute and 20 s at 1 a minute again are 40/60, one micro-unit and not two."""
    tariff = Tariff(1, 0, 20, 20, steps=(Step(20, 2, 20), Step(40, 1, 20)))
    assert [charge_micros(tariff, talk_ms) for talk_ms in (20_000, 40_000, 60_000, 80_000)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "bad", [(Step(-1, 0, 1),), (Step(9, -1, 1),), (Step(9, 0, 0),), (Step(9, 0, 1), Step(8, 0, 1))]
)
def test_what_are_no_steps_is_refused(bad: tuple[Step, ...]) -> None:
    with pytest.raises(ValueError, match="is no step"):
        Tariff(1, steps=bad)
