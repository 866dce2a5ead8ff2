"""Funding advice: known days give known amounts, and whatever the days, trigger and amount keep their promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.advice import LATE_DAYS, LEAST_UNITS, MONTH_DAYS, Advice, advise, percentile
from rating.money import MICROS_PER_UNIT

UNIT = MICROS_PER_UNIT
LEAST = LEAST_UNITS * UNIT

DAYS = st.lists(st.integers(min_value=0, max_value=10**12), max_size=60)
MINIMUM = st.none() | st.integers(min_value=0, max_value=10**12)


def units(advice: Advice) -> tuple[float, float, float]:
    return advice.trigger_micros / UNIT, advice.amount_micros / UNIT, advice.funding_micros / UNIT


@pytest.mark.parametrize(
    ("days", "minimum", "trigger", "amount", "funding"),
    [
        ([], None, 50, 50, 50),
        ([0] * 30, None, 50, 50, 50),
        ([1.0] * 30, None, 50, 50, 50),  # 2 and 30 are below the least
        ([40.0] * 30, None, 80, 1_200, 1_200),
        ([40.0] * 60, None, 80, 1_200, 2_400),  # two months fund once for two, and recharge for one
        ([40.0] * 30, 2_000, 80, 2_000, 2_000),
        ([1.0] * 30, 60, 50, 60, 60),
        ([0.0] * 28 + [300.0] * 2, None, 600, 600, 600),  # two dear days: the 95th of a hundred is one of them
        ([0.0] * 29 + [300.0], None, 50, 300, 300),  # one dear day in a month is not waited for
        ([33.333333] * 30, None, 67, 1_000, 1_000),  # up to whole units
        ([100.0], None, 200, 3_000, 100),
    ],
)
def test_known_days(days: list[float], minimum: int | None, trigger: int, amount: int, funding: int) -> None:
    found = advise([round(day * UNIT) for day in days], None if minimum is None else minimum * UNIT)
    assert units(found) == (trigger, amount, funding)


def test_the_reasoning_names_its_figures() -> None:
    found = advise([10 * UNIT] * 29 + [90 * UNIT], 75 * UNIT)
    told = {step.name: step.outcome for step in found.steps}
    assert told["days"] == "30 days of usage"
    assert told["day"] == "mean 12.67, middle 10.00, dear (95 of 100) 10.00"
    assert told["trigger"] == "2 dear days until a late payment comes: 20.00; in whole units, at least 50: 50"
    assert told["amount"] == "30 mean days: 380.00; least funding 75.00; in whole units, at least 50: 380"
    assert told["lasts"] == "29 days at the mean"


def test_few_days_and_forfeited_credit_are_told() -> None:
    assert "ask again" in advise([UNIT] * 3).steps[0].outcome
    assert "forfeited" in advise([UNIT // 100] * 30).steps[-1].outcome
    assert advise([0] * 30).recharge_every_days is None


def test_a_day_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        advise([1, -1])


@pytest.mark.parametrize(("percent", "found"), [(1, 1), (10, 1), (11, 2), (50, 5), (95, 10), (100, 10)])
def test_percentiles_are_values_that_were(percent: int, found: int) -> None:
    assert percentile(range(1, 11), percent) == found
    assert percentile([], percent) == 0


@given(DAYS, MINIMUM)
def test_promises(days: list[int], minimum: int | None) -> None:
    found = advise(days, minimum)
    dear = percentile(sorted(days), 95)
    assert found.trigger_micros >= max(LEAST, LATE_DAYS * dear)
    assert found.amount_micros >= max(LEAST, minimum or 0, LATE_DAYS * dear)
    assert found.amount_micros * max(1, len(days)) >= MONTH_DAYS * sum(days)
    assert found.funding_micros >= max(LEAST, minimum or 0, sum(days))
    assert not any(each % UNIT for each in (found.trigger_micros, found.amount_micros, found.funding_micros))
    assert sum(day <= dear for day in days) * 100 >= 95 * len(days)
    assert found.trigger_micros < max(LEAST, LATE_DAYS * dear) + UNIT, "no more than needed"


@given(DAYS, MINIMUM, st.randoms())
def test_the_order_of_days_does_not_matter(days: list[int], minimum: int | None, dice: object) -> None:
    shuffled = list(days)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert advise(shuffled, minimum) == advise(days, minimum)


@given(DAYS, st.integers(min_value=0, max_value=10**9))
def test_who_spends_more_is_never_told_less(days: list[int], more: int) -> None:
    less, most = advise(days), advise([day + more for day in days])
    assert most.trigger_micros >= less.trigger_micros
    assert most.amount_micros >= less.amount_micros
    assert most.funding_micros >= less.funding_micros
