"""From moments to seconds of talk: what an answer makes of the changes, and the ceiling that pays for any answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.schedule import Change, ceiling, resolve
from rating.tariff import Step, Tariff, affordable_end_s, boundary_after, price_micros, tick_end_s

DAY = Tariff(60_000, 5_000, 60, 60, 0, 9_000)
NIGHT = Tariff(30_000, 0, 1, 1, 10)
NOON_MS = 1_767_614_400_000


def at(*seconds: float) -> list[Change]:
    return [Change(NOON_MS + int(second * 1000), (NIGHT, DAY)[place % 2]) for place, second in enumerate(seconds)]


def test_a_change_before_the_answer_is_the_tariff_and_those_after_it_are_steps() -> None:
    changes = at(10, 100, 200)
    assert resolve(DAY, changes, NOON_MS + 9_999, 3600).rate_micros_per_min == 60_000
    answered = resolve(DAY, changes, NOON_MS + 10_000, 3600)
    assert answered == Tariff(30_000, 0, 1, 1, 10, 0, (Step(90, 60_000, 60), Step(190, 30_000, 1)))


@pytest.mark.parametrize(("after_ms", "from_s"), [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (90_000, 90)])
def test_a_change_counts_from_the_next_whole_second_of_talk(after_ms: int, from_s: int) -> None:
    """An increment begins at a whole second; the first that begins at or after the change is the first to cost it."""
    assert resolve(DAY, [Change(NOON_MS + after_ms, NIGHT)], NOON_MS, 3600).steps == (Step(from_s, 30_000, 1),)


def test_what_the_call_does_not_reach_and_what_changes_no_rate_is_left_out() -> None:
    other_fee = Tariff(60_000, 77, 30, 60)
    changes = [Change(NOON_MS + 5_000, other_fee), Change(NOON_MS + 3_600_000, NIGHT)]
    assert resolve(DAY, changes, NOON_MS, 3600) is DAY
    assert resolve(DAY, changes, NOON_MS, 3601).steps == (Step(3600, 30_000, 1),)
    assert resolve(DAY, changes, NOON_MS + 5_000, 3595) is other_fee


def test_without_a_change_that_matters_to_the_first_tick_it_is_reserved_by_its_own_tariff() -> None:
    latest_ms = NOON_MS + 180_000
    assert ceiling(DAY, at(240.001), latest_ms, 60) is DAY
    assert ceiling(DAY, at(240), latest_ms, 60) == Tariff(60_000, 5_000, 60, 60, 0, 9_000)
    assert ceiling(NIGHT, [Change(NOON_MS + 1, DAY)], latest_ms, 60) == Tariff(60_000, 5_000, 60, 60, 0, 9_000)


def test_free_seconds_make_the_time_longer_in_which_a_dearer_rate_may_price_the_first_increment() -> None:
    long_free = Tariff(1, free_s=600)
    changes = [Change(NOON_MS + 1, long_free), Change(NOON_MS + 700_000, DAY)]
    assert ceiling(NIGHT, changes, NOON_MS + 180_000, 60).rate_micros_per_min == 60_000


rows = st.builds(
    Tariff,
    rate_micros_per_min=st.one_of(st.just(0), st.integers(0, 300_000)),
    connect_micros=st.integers(0, 50_000),
    first_incr_s=st.integers(1, 90),
    next_incr_s=st.integers(1, 90),
    free_s=st.one_of(st.just(0), st.integers(0, 90)),
    minimum_micros=st.one_of(st.just(0), st.integers(0, 100_000)),
)


@given(
    rows,
    st.lists(st.tuples(st.integers(1, 400_000), rows), max_size=5),
    st.integers(0, 200_000),
    st.integers(1, 90),
    st.integers(0, 400_000),
)
def test_what_the_ceiling_reserves_pays_for_the_first_increment_of_any_answer(
    tariff: Tariff, later: list[tuple[int, Tariff]], ring_ms: int, tick_s: int, available: int
) -> None:
    """Also of a tick that was trimmed; and the call that is answered is paid as far as that money goes."""
    changes = [Change(NOON_MS + after_ms, row) for after_ms, row in sorted(later, key=lambda each: each[0])]
    top = ceiling(tariff, changes, NOON_MS + 200_000, tick_s)
    granted_s = affordable_end_s(top, 0, tick_end_s(top, 0, tick_s), available)
    if granted_s is None:
        return
    held = price_micros(top, granted_s)
    answered = resolve(tariff, changes, NOON_MS + ring_ms, 3600)
    paid_s = affordable_end_s(answered, 0, tick_end_s(answered, 0, tick_s), held)
    assert paid_s is not None
    assert price_micros(answered, paid_s) <= held
    if paid_s < tick_end_s(answered, 0, tick_s):
        assert price_micros(answered, boundary_after(answered, paid_s)) > held
    if top is tariff:
        assert paid_s == granted_s, "what was not reserved by a ceiling is paid as it was granted"


@given(rows, st.lists(st.tuples(st.integers(-200_000, 400_000), rows), max_size=5), st.integers(0, 400))
def test_each_second_of_talk_has_the_rate_of_its_moment(
    tariff: Tariff, later: list[tuple[int, Tariff]], second: int
) -> None:
    changes = [Change(NOON_MS + after_ms, row) for after_ms, row in sorted(later, key=lambda each: each[0])]
    answered = resolve(tariff, changes, NOON_MS, 3600)
    expected = tariff
    for change in changes:
        if change.at_unix_ms <= NOON_MS + second * 1000:
            expected = change.tariff
    rate = answered.rate_micros_per_min, answered.next_incr_s
    for step in answered.steps:
        if step.from_s <= second:
            rate = step[1:]
    assert rate == (expected.rate_micros_per_min, expected.next_incr_s)
