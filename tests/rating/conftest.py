"""A deck of the size that must load: 336,736 made-up prefixes under real country codes, the same on every run."""

from collections.abc import Iterator

import pytest

ROWS = 336_736
COUNTRY_CODES = ("1", "20", "27", "31", "33", "34", "39", "44", "49", "52", "55", "61", "7", "81", "86", "91", "971")
HEADER = "prefix,region,type,label,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,currency\n"


def big_deck_lines(rows: int = ROWS) -> Iterator[str]:
    """CSV lines: under each country code 0 to 999, then 0000 to 9999, and so on, until there are enough rows."""
    yield HEADER
    for place in range(rows):
        country, number = COUNTRY_CODES[place % len(COUNTRY_CODES)], place // len(COUNTRY_CODES)
        digits = f"{number:03d}" if number < 1_000 else f"{number - 1_000:05d}"
        destination = number // 8 * 31 + place % len(COUNTRY_CODES)
        yield (
            f'{country}{digits},{country},FIXED_LINE,"Place {destination}, District",'
            f"{5_000 + destination * 7919 % 300_000},{destination % 3 * 1_000},60,60,USD\n"
        )


@pytest.fixture(scope="session")
def big_deck() -> list[str]:
    return list(big_deck_lines())
