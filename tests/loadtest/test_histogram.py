"""Percentiles from buckets are those of the sorted values, to the precision promised."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram
from loadtest.series import MAX_SLICES, Series

SECONDS = st.lists(st.floats(-100, 100), min_size=1, max_size=200)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(SECONDS, st.floats(0, 1))
def test_a_percentile_is_the_value_of_its_rank(values: list[float], share: float) -> None:
    found = filled(values).percentile_ms(share)
    ranked = sorted(round(value * 1e6) for value in values)
    rank = next(place for place in range(1, len(ranked) + 1) if place >= share * len(ranked))
    expected = ranked[rank - 1] / 1000
    assert found is not None
    assert abs(found - expected) <= abs(expected) * 2**-9 + 1e-9


@given(SECONDS, SECONDS)
def test_merging_counts_both(first: list[float], second: list[float]) -> None:
    merged = filled(first)
    merged.merge(filled(second))
    assert merged.summary() == filled(first + second).summary()


def test_the_summary_has_the_exact_ends_and_nothing_is_not_zero() -> None:
    assert filled([0.0012345, -0.5]).summary()["min"] == -500.0
    assert filled([0.0012345]).summary()["max"] == 1.234
    assert Histogram().summary() == {"count": 0, "min": None, "p50": None, "p90": None, "p99": None, "max": None}
    assert Histogram().percentile_ms(0.5) is None


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_a_series_stays_bounded_and_loses_nothing(moments: list[float]) -> None:
    series = Series(0.0)
    for moment in moments:
        series.at(moment).offered += 1
    assert len(series.slices) <= MAX_SLICES
    assert sum(slice_.offered for slice_ in series.slices) == len(moments)
