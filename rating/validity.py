"""When a price holds: effective dates and time-of-day bands, judged by the wall clock of the row's own time zone.

A row holds from ``effective_from`` up to, but not at, ``effective_to``, so that the next price may begin at the very
moment the last one ends.  A band narrows that to days of the week and a window of the day; a window that ends before
it begins runs over midnight and belongs to the day on which it began.  Wall clock means what a clock on the wall
shows: on the day summer time begins a band from 02:30 to 03:30 lasts half an hour, on the day it ends one from 02:00
to 03:00 lasts two.  No clock is read here: the moment is always an argument, in Unix milliseconds.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
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

    def instants(self, from_unix_ms: int, to_unix_ms: int) -> Iterator[int]:
        """Moments of the span, its start excluded, among which are all at which the row begins or ceases to hold.

        They come in no order, and some may change nothing.
        """
        for at_unix_ms in (self.from_unix_ms, self.to_unix_ms):
            if from_unix_ms < at_unix_ms <= to_unix_ms:
                yield at_unix_ms
        if self.is_banded:
            for at_s in _wall_edges({0, self.from_s, self.to_s}, self.zone, from_unix_ms // 1000, to_unix_ms // 1000):
                if from_unix_ms < at_s * 1000 <= to_unix_ms:
                    yield at_s * 1000

    def _in_band(self, day: int, second: int) -> bool:
        today = bool(self.days >> day & 1)
        if self.from_s < self.to_s:
            return today and self.from_s <= second < self.to_s
        yesterday = bool(self.days >> (day - 1) % 7 & 1)
        return (today and second >= self.from_s) or (yesterday and second < self.to_s)


SAMPLE_S: Final = 6 * 3600
"""How often a zone's offset is looked at.  Two changes of an offset within so short a time would be missed where the
second took the first one back; the IANA database has no such pair in any year that a call is priced in."""


def _wall_edges(seconds: Iterable[int], zone: tzinfo, from_s: int, to_s: int) -> Iterator[int]:
    """When a clock on the wall of ``zone`` shows one of these seconds of a day, or jumps, from ``from_s`` to ``to_s``.

    Between two jumps it goes as fast as Unix time does, so that an edge is plain arithmetic.
    """
    for begin_s, end_s, offset_s in _stretches(zone, from_s, to_s):
        yield begin_s
        for day in range((begin_s + offset_s) // DAY_S, (end_s + offset_s) // DAY_S + 1):
            for second in seconds:
                at_s = day * DAY_S + second - offset_s
                if begin_s <= at_s <= end_s:
                    yield at_s


def _stretches(zone: tzinfo, from_s: int, to_s: int) -> Iterator[tuple[int, int, int]]:
    """The span in parts of one offset each: where it begins and ends (Unix seconds), and the offset in seconds."""
    if zone is UTC:
        yield from_s, to_s, 0
        return
    begin_s, before_s, offset_s = from_s, from_s, _offset_s(zone, from_s)
    for seen_s in (*range(from_s + SAMPLE_S, to_s, SAMPLE_S), to_s):
        now_s = _offset_s(zone, seen_s)
        if now_s != offset_s:
            jump_s = _jump(zone, before_s, seen_s)
            yield begin_s, jump_s, offset_s
            begin_s, offset_s = jump_s, now_s
        before_s = seen_s
    yield begin_s, to_s, offset_s


def _jump(zone: tzinfo, before_s: int, after_s: int) -> int:
    """The first second of the later offset, by halving."""
    old_s = _offset_s(zone, before_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(zone, middle_s) == old_s:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s


def _offset_s(zone: tzinfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    assert offset is not None, "the moment has a zone"
    return int(offset.total_seconds())


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
    for day in _days(text):
        bits |= 1 << day
    return bits


def check_days(text: str) -> None:
    """Raises ValueError where a day is named twice, since another one was meant, or as :func:`read_days` does."""
    days = sorted(_days(text))
    for one, other in pairwise(days):
        if one == other:
            raise ValueError(f"{text!r} names {_DAY_NAMES[one]} twice")


def _days(text: str) -> Iterator[int]:
    for part in _SEPARATORS.split(text.strip().lower()):
        yield from _days_of(part)


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
