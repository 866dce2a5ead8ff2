"""Arrivals, hold times, numbers and behaviours: what a run is told to do."""

from itertools import islice, pairwise
from random import Random

import pytest

from loadtest.arrivals import constant, poisson
from loadtest.behaviour import BEHAVIOURS, MixError, parse_mix
from loadtest.holds import MAX_HOLD_S, HoldError, parse_hold
from loadtest.numbers import NumbersError, from_lines, made_up


def test_constant_arrivals_are_evenly_spaced_and_do_not_drift() -> None:
    offsets = list(islice(constant(3.0, Random(1)), 3001))
    assert offsets[0] == 0.0
    assert offsets[3000] == 1000.0


def test_poisson_arrivals_have_the_rate_and_the_spread_asked_for() -> None:
    offsets = list(islice(poisson(50.0, Random(1)), 20_000))
    gaps = [after - before for before, after in pairwise(offsets)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.02, rel=0.03)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)


@pytest.mark.parametrize(
    ("text", "typical"), [("5", 5), ("fixed:0", 0), ("exponential:30", 30), ("lognormal:30,0.8", 30)]
)
def test_hold_times_are_read(text: str, typical: float) -> None:
    assert parse_hold(text).typical_s == typical


def test_hold_times_have_the_middle_asked_for() -> None:
    dice = Random(3)
    drawn = sorted(parse_hold("lognormal:20,1").draw_s(dice) for _ in range(5001))
    assert drawn[2500] == pytest.approx(20, rel=0.1)
    exponential = [parse_hold("exponential:20").draw_s(dice) for _ in range(20_000)]
    assert sum(exponential) / 20_000 == pytest.approx(20, rel=0.05)


def test_a_long_tail_is_cut() -> None:
    assert parse_hold("lognormal:80000,9").draw_s(Random(1)) <= MAX_HOLD_S


@pytest.mark.parametrize(
    "text", ["", "long", "exponential:0", "normal:3", "fixed:1,2", "-1", "1e9", "nan", "lognormal:5"]
)
def test_other_hold_times_are_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(HoldError, match=r"expected|outside"):
        parse_hold(text)


def test_made_up_numbers_are_each_used_once() -> None:
    pairs = list(islice(made_up(["+1", "+2"])(Random(1)), 1000))
    assert len({called for called, _ in pairs}) == 1000
    assert [caller for _, caller in pairs[:3]] == ["+1", "+2", "+1"]
    assert all(len(called) == 12 for called, _ in pairs)


def test_a_numbers_file_is_used_in_turn_with_random_digits_filled_in() -> None:
    lines = ["# to France", "+3314030xxxx , +14255550101", "", "911"]
    pairs = list(islice(from_lines(lines, ["+14255550100"])(Random(1)), 4))
    assert pairs[1] == pairs[3] == ("911", "+14255550100")
    assert pairs[0][1] == "+14255550101"
    assert pairs[0][0].startswith("+3314030")
    assert pairs[0][0][-4:].isdigit()
    assert pairs[0] != pairs[2]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "empty"),
        (["# nothing"], "empty"),
        (["+1", "sip:alice"], "line 2: 'sip:alice' is not a number"),
        ([",+1"], "line 1: the called number is missing"),
        (["1" * 33], "line 1"),
    ],
)
def test_a_bad_numbers_file_is_refused_with_its_line(lines: list[str], fault: str) -> None:
    with pytest.raises(NumbersError, match=fault):
        from_lines(lines, ["+1"])


def test_a_mix_draws_by_weight() -> None:
    mix, dice = parse_mix("normal=3, busy=1,cancel=0"), Random(2)
    drawn = [mix(dice).name for _ in range(4000)]
    assert drawn.count("normal") == pytest.approx(3000, rel=0.1)
    assert set(drawn) == {"normal", "busy"}
    assert parse_mix("no-answer")(dice) is BEHAVIOURS["no-answer"]


@pytest.mark.parametrize("text", ["", "rude", "normal=x", "normal=-1", "normal=0", "normal=nan"])
def test_other_mixes_are_refused(text: str) -> None:
    with pytest.raises(MixError, match="behaviour"):
        parse_mix(text)
