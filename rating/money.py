"""Amounts of money: integers of micro-units inside, decimal strings outside, and nothing in between.

One micro-unit is a millionth of the tenant's one currency (MONEY 1).  People, files and the API write amounts as
decimal strings with at most six decimals, which :func:`parse_amount` reads exactly; no float ever stands between
the two.  Amounts stay below 2^53 − 1 because the arbiter's scripts compute in doubles, which are exact up to there.
"""

import re
from typing import Final

MICROS_PER_UNIT: Final = 1_000_000
DECIMALS: Final = 6

MAX_MICROS: Final = 2**53 - 2
"""The largest amount, either way: |amount| < 2^53 − 1 (MONEY 1), about nine thousand million units."""

_AMOUNT: Final = re.compile(r"(-?)([0-9]{1,10})(?:\.([0-9]{1,6}))?")
"""Ten digits before the point are one more than MAX_MICROS needs, so that what is too large is called that."""


class MoneyError(ValueError):
    """An amount that is not one: what was wrong with it and how amounts are written."""


def parse_amount(text: str) -> int:
    """Micro-units of a decimal string such as ``12.34`` or ``-0.000001``.

    Raises MoneyError where the text is no plain decimal number, has more than six decimals, or is beyond
    ``MAX_MICROS``.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise MoneyError(f"{text[:40]!r} is not an amount: write digits with at most six decimals, such as 12.34")
    sign, whole, decimals = match.groups(default="")
    micros = int(whole) * MICROS_PER_UNIT + int(decimals.ljust(DECIMALS, "0"))
    return checked(-micros if sign else micros)


def checked(micros: int) -> int:
    """The same amount, if it is one that can be kept; raises MoneyError beyond ``MAX_MICROS``."""
    if -MAX_MICROS <= micros <= MAX_MICROS:
        return micros
    raise MoneyError(f"{micros} micro-units are too many: an amount is at most {format_amount(MAX_MICROS)}")


def format_amount(micros: int) -> str:
    """The amount with all six decimals, ``12.340000``; :func:`parse_amount` reads it back."""
    whole, rest = divmod(abs(micros), MICROS_PER_UNIT)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}"


def format_cents(micros: int) -> str:
    """The amount with two decimals, halves rounded away from zero: for exported reports only (DOMAIN 4)."""
    cents = (abs(micros) + 5_000) // 10_000
    return f"{'-' if micros < 0 and cents else ''}{cents // 100}.{cents % 100:02d}"
