"""Lots: the oldest first, as they stood when the call ended; twelve months; what is left adds up to the balance."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.lots import Lot, expiry_of, forfeit, take, worth_of


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("bought", "expires"),
    [
        ("2026-01-10T08:30:00.123", "2027-01-10T08:30:00.123"),
        ("2024-02-29T23:59:59.999", "2025-02-28T23:59:59.999"),
        ("2027-02-28T00:00", "2028-02-28T00:00"),
        ("2023-03-01T00:00", "2024-03-01T00:00"),
    ],
)
def test_a_lot_lasts_twelve_calendar_months(bought: str, expires: str) -> None:
    assert expiry_of(ms(bought)) == ms(expires)


def lots() -> list[Lot]:
    """A: bought at 10, expires at 100; B: bought at 50, expires at 150."""
    return [Lot(1, 10, 100, 50), Lot(2, 50, 150, 50)]


def left(found: list[Lot]) -> list[int]:
    return [lot.remaining_micros for lot in found]


@pytest.mark.parametrize(
    ("amount", "at", "after"),
    [
        (30, 60, [20, 50]),  # the oldest first
        (70, 60, [0, 30]),
        (30, 99, [20, 50]),
        (30, 100, [50, 20]),  # ended when A had expired
        (70, 120, [30, 0]),  # what a call had reserved of A is its own
        (30, 20, [20, 50]),  # ended before B was bought, booked later
        (70, 20, [0, 30]),  # the debt it made was paid by B
        (200, 60, [0, 0]),
    ],
)
def test_a_charge_uses_lots_as_they_stood_when_its_call_ended(amount: int, at: int, after: list[int]) -> None:
    found = lots()
    before = left(found)
    changed = take(found, amount, at)
    assert left(found) == after
    assert {lot.seq for lot in changed} == {lot.seq for lot, was in zip(found, before, strict=True)
                                            if lot.remaining_micros != was}  # fmt: skip


def test_an_expiry_takes_of_its_own_lot_alone() -> None:
    found = lots()
    changed, excess = forfeit(found, 1, 60)
    assert (left(found), [lot.seq for lot in changed], excess) == ([0, 50], [1], 10)
    assert forfeit(found, 1, 5) == ([], 5)


def test_a_lot_begins_with_what_is_above_a_debt() -> None:
    assert [worth_of(50, balance) for balance in (70, 50, 20, 0, -10)] == [50, 50, 20, 0, 0]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("in"), st.integers(1, 100)),
            st.tuples(st.just("charge"), st.integers(1, 150)),
            st.tuples(st.just("expire"), st.integers(0, 9)),
            st.tuples(st.just("wait"), st.integers(1, 40)),
        ),
        max_size=60,
    ),
    st.data(),
)
def test_what_is_left_of_lots_is_the_balance_or_nothing_below_zero(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    found: list[Lot] = []
    balance, now = 0, 0
    for what, number in steps:
        if what == "in":
            balance += number
            found.append(Lot(len(found), now, now + 100, worth_of(number, balance)))
        elif what == "charge":
            balance -= number
            take([lot for lot in found if lot.remaining_micros], number, data.draw(st.integers(0, now)))
        elif what == "expire" and number < len(found):
            taken = min(found[number].remaining_micros, max(0, balance))
            _, excess = forfeit(found, number, taken)
            balance -= taken - excess
        else:
            now += number
        assert sum(left(found)) == max(balance, 0)
        assert all(rest >= 0 for rest in left(found))
