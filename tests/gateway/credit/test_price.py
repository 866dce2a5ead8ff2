"""The increment formula inside the scripts is rating's, to the micro."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.credit.requests import read_tariff, write_tariff
from rating.money import MAX_MICROS
from rating.tariff import Step, Tariff, affordable_end_s, boundary_after, price_micros

SCRIPTS = Path(__file__).parents[3] / "gateway" / "credit" / "scripts"

ASK = """
local tariff = read_tariff(ARGV[1])
local end_s = affordable_end(tariff, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
return {string.format('%.0f', price(tariff, tonumber(ARGV[3]))), end_s and string.format('%.0f', end_s) or ''}
"""

small = st.integers(0, 200_000)
rates = st.one_of(small, st.integers(0, 10**11), st.integers(0, 2**53 // 60 - 1))
steps = st.one_of(
    st.just(()),
    st.lists(st.builds(Step, st.integers(0, 4_000), rates, st.integers(1, 180)), max_size=6).map(
        lambda some: tuple(sorted(some, key=lambda step: step.from_s))
    ),
)
tariffs = st.builds(
    Tariff,
    rate_micros_per_min=rates,
    connect_micros=st.one_of(st.just(0), small, st.integers(0, 10**11)),
    first_incr_s=st.integers(1, 180),
    next_incr_s=st.integers(1, 180),
    free_s=st.one_of(st.just(0), st.integers(0, 120)),
    minimum_micros=st.one_of(st.just(0), small, st.integers(0, 10**11)),
    steps=steps,
)


@pytest.fixture(scope="module")
def ask(shared_server: Any) -> Iterator[Any]:
    with shared_server.client() as client:
        yield client.register_script((SCRIPTS / "lib" / "price.lua").read_text() + ASK)


@settings(max_examples=2000, deadline=None)
@given(
    tariff=tariffs,
    start_increments=st.integers(0, 40),
    tick_s=st.integers(1, 3600),
    budget=st.one_of(st.integers(0, 10**7), st.integers(0, MAX_MICROS)),
    near=st.one_of(st.none(), st.tuples(st.integers(0, 60), st.integers(-1, 1))),
)
def test_lua_is_rating(
    ask: Any, tariff: Tariff, start_increments: int, tick_s: int, budget: int, near: tuple[int, int] | None
) -> None:
    start_s = after(tariff, 0, start_increments)
    end_s = boundary_after(tariff, start_s + tick_s - 1)  # also beyond steps, where the store knows of more talk paid
    paid = price_micros(tariff, start_s) if start_s else 0
    if near is not None:  # the money for exactly so many increments, and a micro less or more
        end_of_some = after(tariff, start_s, near[0] + 1)
        budget = max(0, price_micros(tariff, end_of_some) - paid + near[1])
    if paid + budget > MAX_MICROS:
        budget = max(0, MAX_MICROS - paid)
    price, end = ask(args=[write_tariff(tariff), start_s, end_s, paid + budget])
    expected = price_micros(tariff, end_s)
    if expected <= MAX_MICROS:
        assert int(price) == expected
    else:
        assert int(price) > MAX_MICROS
    if paid <= MAX_MICROS:
        assert (int(end) if end else None) == affordable_end_s(tariff, start_s, end_s, budget)


def after(tariff: Tariff, start_s: int, increments: int) -> int:
    """The end of so many increments after ``start_s``."""
    for _ in range(increments):
        start_s = boundary_after(tariff, start_s)
    return start_s


@given(tariff=tariffs)
def test_a_tariff_is_read_as_it_was_written(tariff: Tariff) -> None:
    assert read_tariff(write_tariff(tariff)) == tariff


def test_a_tariff_without_steps_is_six_numbers_and_each_step_three_more() -> None:
    plain = Tariff(60_000, 5, 30, 6, 10, 7)
    assert write_tariff(plain) == "60000 5 30 6 10 7"
    stepped = replace(plain, steps=(Step(90, 30_000, 1), Step(180, 0, 60)))
    assert write_tariff(stepped) == "60000 5 30 6 10 7 90 30000 1 180 0 60"


@pytest.mark.parametrize("text", ["1 2 3", "1 0 1 1 0 0 9", "1 0 1 1 0 0 9 1 1 8 1 1", "a b c d e f"])
def test_what_is_no_tariff_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"literal|unpack|zip|no step"):
        read_tariff(text)


def test_nobody_pays() -> None:
    assert read_tariff(write_tariff(None)) is None
