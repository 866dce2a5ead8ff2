"""Who calls whom: pairs of called and calling number, from a file or made up.

A line of a numbers file is ``CALLED`` or ``CALLED,CALLER``; ``x`` stands for a random digit; ``#`` begins a comment.
The lines are used in turn, from the top again after the last.  Without a file every call gets a called number of its
own, since the two legs of a call are joined by it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Final

MAX_LINES: Final = 1_000_000
"""Lines a numbers file may have: enough for every line of a large deck, and it still fits in memory."""

MAX_DIGITS: Final = 32
"""Characters of a number: twice what E.164 allows, so that refusals of over-long numbers can be tried as well."""

DEFAULT_CALLER: Final = "+14255550100"
_FIRST_MADE_UP: Final = 2_000_000
_MADE_UP: Final = 8_000_000
"""Called numbers that are made up: +1212 and seven digits from 2000000 on, all of them valid in the numbering plan."""

_NUMBER: Final = re.compile(r"\+?[0-9xX*#]+")

Pairs = Callable[[Random], Iterator[tuple[str, str]]]
"""Takes the dice; yields (called, caller) without an end."""


class NumbersError(ValueError):
    """A numbers file that cannot be used; the message names the line."""


def made_up(callers: list[str]) -> Pairs:
    """A called number of its own for each of the first eight million calls; ``callers`` in turn."""

    def pairs(dice: Random) -> Iterator[tuple[str, str]]:
        del dice
        count = 0
        while True:
            called = f"+1212{_FIRST_MADE_UP + count % _MADE_UP}"
            yield called, callers[count % len(callers)]
            count += 1

    return pairs


def from_lines(lines: Iterable[str], callers: list[str]) -> Pairs:
    """Pairs as written, in turn; a line without a caller gets the next of ``callers``.

    Raises :class:`NumbersError` for a line that is not a pair of numbers, and where there is none at all.
    """
    rows = [row for place, line in enumerate(lines, 1) if (row := _row(place, line))]
    if not rows:
        raise NumbersError("the numbers file is empty: give one CALLED or CALLED,CALLER a line")

    def pairs(dice: Random) -> Iterator[tuple[str, str]]:
        count = 0
        while True:
            called, caller = rows[count % len(rows)]
            yield _filled(called, dice), _filled(caller or callers[count % len(callers)], dice)
            count += 1

    return pairs


def _row(place: int, line: str) -> tuple[str, str] | None:
    if place > MAX_LINES:
        raise NumbersError(f"line {place}: a numbers file has at most {MAX_LINES} lines")
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    called, _, caller = (part.strip() for part in text.partition(","))
    for number in (called, caller):
        if number and (len(number) > MAX_DIGITS or not _NUMBER.fullmatch(number)):
            raise NumbersError(f"line {place}: {number!r} is not a number; expected CALLED or CALLED,CALLER")
    if not called:
        raise NumbersError(f"line {place}: the called number is missing; expected CALLED or CALLED,CALLER")
    return called, caller


def _filled(number: str, dice: Random) -> str:
    if "x" not in number and "X" not in number:
        return number
    return "".join(str(dice.randrange(10)) if digit in "xX" else digit for digit in number)
