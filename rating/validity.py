"""When a price holds: effective dates and time-of-day bands, judged by the wall clock of the row's own time zone.

A row holds from ``effective_from`` up to, but not at, ``effective_to``, so that the next price may begin at the very
moment the last one ends.  A band narrows that to days of the week and a window of the day; a window that ends before
it begins runs over midnight and belongs to the day on which it began.  Wall clock means what a clock on the wall
shows: on the day summer time begins a band from 02:30 to 03:30 lasts half an hour, on the day it ends one from 02:00
to 03:00 lasts two.  No clock is read here: the moment is always an argument, in Unix milliseconds.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

FindZone = Callable[[str], tzinfo]
"""Finds a time zone by its IANA name; raises KeyError or ValueError for an unknown one."""

DAY_S: Final = 86_400
EVERY_DAY: Final = 0b111_1111
"""Days of the week as bits: Monday is bit 0, as datetime.weekday has it."""

ALWAYS_MS: Final = 2**63 - 1
"""Later than any moment that comes: the end of a row that has none."""

_DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS: Final = {name: day for day, name in enumerate(_DAY_NAMES)} | {str(day + 1): day for day in range(7)}
_SEPARATORS: Final = re.compile(r"[\s,;|]+")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Validity:
    """The moments at which a row holds.

    ``from_unix_ms`` ≤ moment < ``to_unix_ms``, on one of ``days`` (bits, Monday first), between ``from_s`` and
    ``to_s`` seconds of that day, by the wall clock of ``zone``.
    """

    from_unix_ms: int = 0
    to_unix_ms: int = ALWAYS_MS
    days: int = EVERY_DAY
    from_s: int = 0
    to_s: int = DAY_S
    zone: tzinfo = UTC

    @property
    def is_banded(self) -> bool:
        """Whether the row holds on some days or hours only."""
        return self.days != EVERY_DAY or self.from_s != 0 or self.to_s != DAY_S

    def covers(self, at_unix_ms: int) -> bool:
        """Whether the row holds at that moment."""
        if not self.from_unix_ms <= at_unix_ms < self.to_unix_ms:
            return False
        if not self.is_banded:
            return True
        clock = datetime.fromtimestamp(at_unix_ms // 1000, self.zone)
        return self._in_band(clock.weekday(), clock.hour * 3600 + clock.minute * 60 + clock.second)

    def _in_band(self, day: int, second: int) -> bool:
        today = bool(self.days >> day & 1)
        if self.from_s < self.to_s:
            return today and self.from_s <= second < self.to_s
        yesterday = bool(self.days >> (day - 1) % 7 & 1)
        return (today and second >= self.from_s) or (yesterday and second < self.to_s)


def read_moment(text: str, zone: tzinfo) -> int:
    """Unix milliseconds of an ISO 8601 date or date and time; without an offset it is wall clock in ``zone``.

    Raises ValueError where it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date or time: write 2026-01-31 or 2026-01-31T18:00:00") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return round(moment.timestamp() * 1000)


def read_days(text: str) -> int:
    """Bits of the days in a list such as ``mon-fri``, ``sat sun`` or ``1,3,5-7`` (1 is Monday, ISO 8601).

    Raises ValueError for anything else.
    """
    bits = 0
    for part in _SEPARATORS.split(text.strip().lower()):
        for day in _days_of(part):
            bits |= 1 << day
    return bits


def _days_of(part: str) -> Iterator[int]:
    first, dash, last = part.partition("-")
    start, end = _DAYS.get(first), _DAYS.get(last if dash else first)
    if start is None or end is None:
        raise ValueError(f"{part!r} is not a day of the week: write mon,tue or mon-fri, or 1 to 7 from Monday")
    return (day % 7 for day in range(start, end + 1 if end >= start else end + 8))


def read_clock(text: str) -> int:
    """Seconds of the day of ``HH:MM`` or ``HH:MM:SS``; ``24:00`` is the end of the day.  Raises ValueError."""
    if text in {"24:00", "24:00:00"}:
        return DAY_S
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of day: write 08:00 or 08:00:00, or 24:00 for the end of the day")
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
