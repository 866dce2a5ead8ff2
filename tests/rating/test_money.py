"""Amounts: what is read, what is refused, and that writing and reading are each other's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.money import MAX_MICROS, MoneyError, checked, format_amount, format_cents, parse_amount


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("12.34", 12_340_000),
        ("12.340000", 12_340_000),
        ("-0.000001", -1),
        ("0.1", 100_000),
        ("9007199254.740990", MAX_MICROS),
        ("-9007199254.740990", -MAX_MICROS),
    ],
)
def test_amounts_are_read_exactly(text: str, micros: int) -> None:
    assert parse_amount(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "1.", ".5", "+1", "1,5", "1e3", "0x1", " 1", "1 ", "1\n", "--1", "1.2.3", "0.0000001", "nan", "inf",
     "٣", "12345678901", "1" * 100],
)  # fmt: skip
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(MoneyError, match="is not an amount: write digits"):
        parse_amount(text)


@pytest.mark.parametrize("text", ["9007199254.740991", "-9007199254.740991", "9999999999"])
def test_amounts_beyond_two_to_the_53_are_refused(text: str) -> None:
    with pytest.raises(MoneyError, match="too many"):
        parse_amount(text)


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_writing_and_reading_are_inverse(micros: int) -> None:
    assert parse_amount(format_amount(micros)) == micros
    assert checked(micros) == micros


def test_an_amount_is_written_with_six_decimals() -> None:
    assert format_amount(12_340_000) == "12.340000"
    assert format_amount(-1) == "-0.000001"


@pytest.mark.parametrize(
    ("micros", "cents"),
    [(0, "0.00"), (4_999, "0.00"), (5_000, "0.01"), (-4_999, "0.00"), (-5_000, "-0.01"), (580_000, "0.58"),
     (1_994_999, "1.99"), (1_995_000, "2.00"), (-1_995_000, "-2.00")],
)  # fmt: skip
def test_exports_round_halves_away_from_zero(micros: int, cents: str) -> None:
    assert format_cents(micros) == cents
