"""The number plan: what the digits of the world's telephone numbers say, compiled from phonenumbers' metadata.

Three tables of policy/data make it.  *numbers* gives for each prefix what a number of each length is (its region and
class); a number is valid where the row of its longest prefix names its length, and what could still become one by
more digits is a number's beginning.  *countries* says how numbers are dialled in a region: prefixes, lengths, and the
shape numbers have in general.  *emergency* gives each region's emergency numbers.

Metadata ages while ranges are opened: a number that has the general shape of its country's numbers, but lies in a
range nobody has assigned as far as the table knows, is taken as one of class ``unknown``, and the rate deck decides
whether it can be called.
"""

import csv
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

HEAD_DIGITS: Final = 2
MAX_CODE_DIGITS: Final = 3
"""Digits of the longest calling code (ITU-T E.164 6.2.1)."""

PATTERNS_KEPT: Final = 1024
"""Compiled expressions kept: some 250 regions with up to four each; a gate meets a few dozen."""


class NumberClass(NamedTuple):
    """Where a number belongs (ISO 3166 region, ``001`` for the world's own codes) and what kind it is.

    ``name`` is ``fixed``, ``mobile``, ``fixed_or_mobile``, ``toll_free``, ``premium``, ``shared_cost``, ``voip``,
    ``personal``, ``pager``, ``uan``, ``voicemail`` or ``unknown``.
    """

    region: str
    name: str


@dataclass(frozen=True, slots=True)
class Country:
    """How numbers are dialled in a region; patterns are regular expressions of the metadata, empty for none."""

    region: str
    calling_code: str
    lengths: frozenset[int]
    international_prefix: str
    national_prefix: str
    transform_rule: str
    viable: str

    def is_viable(self, national: str) -> bool:
        """Whether digits without the calling code have the general shape of this region's numbers."""
        return compiled(self.viable).fullmatch(national) is not None


class NumberPlan:
    """The tables, made for asking once per call; immutable."""

    __slots__ = ("_any_emergency", "_codes", "_countries", "_emergency", "_lengths", "_numbers", "_prefixes")

    def __init__(
        self,
        numbers: Mapping[str, Mapping[int, NumberClass]],
        countries: Iterable[Country],
        emergency: Mapping[str, str],
    ) -> None:
        self._numbers = numbers
        self._prefixes = sorted(numbers)
        self._lengths = _lengths_by_head(numbers)
        self._countries: dict[str, Country] = {}
        self._codes: dict[str, list[Country]] = {}
        for country in countries:
            self._countries.setdefault(country.region, country)
            self._codes.setdefault(country.calling_code, []).append(country)
        self._emergency = emergency
        self._any_emergency = "|".join(sorted(set(emergency.values())))

    def country(self, region: str) -> Country | None:
        """How numbers are dialled in a region; None for a region that is not known."""
        return self._countries.get(region)

    def valid_class(self, digits: str) -> NumberClass | None:
        """The class of a valid number, E.164 digits without +; None for anything else."""
        for length in self._lengths.get(digits[:HEAD_DIGITS], ()):
            classes = self._numbers.get(digits[:length])
            if classes is not None:
                return classes.get(len(digits))
        return None

    def is_beginning(self, digits: str) -> bool:
        """Whether more digits could make a valid number of these (RFC 3261 21.4.22: then 484, else 404)."""
        for length in self._lengths.get(digits[:HEAD_DIGITS], ()):
            classes = self._numbers.get(digits[:length])
            if classes is not None:
                return any(known > len(digits) for known in classes)
        place = bisect_left(self._prefixes, digits)
        return place < len(self._prefixes) and self._prefixes[place].startswith(digits)

    def classify(self, digits: str) -> NumberClass | None:
        """The class of a number, ``unknown`` in a range the table has not; None for what is no number (yet)."""
        known = self.valid_class(digits)
        if known is not None or self.is_beginning(digits):
            return known
        for length in range(1, MAX_CODE_DIGITS + 1):
            for country in self._codes.get(digits[:length], ()):
                national = digits[length:]
                if len(national) in country.lengths and country.is_viable(national):
                    return NumberClass(country.region, "unknown")
        return None

    def is_emergency(self, digits: str, region: str) -> bool:
        """Whether digits as dialled reach the emergency services of a region.

        Where the region is not known, those of any region count: to refuse such a call is the worse mistake.
        """
        pattern = self._emergency.get(region, self._any_emergency)
        return compiled(pattern).fullmatch(digits) is not None


def load_number_plan(numbers: Iterable[str], countries: Iterable[str], emergency: Iterable[str]) -> NumberPlan:
    """Build the plan from the text lines of policy/data's three tables, headers first.

    Raises ValueError or KeyError where a table is not what ``gateway.config.compile_numbers`` writes.
    """
    shared: dict[str, Mapping[int, NumberClass]] = {}
    rows = csv.reader(numbers)
    next(rows)
    table = {prefix: shared.get(text) or shared.setdefault(text, _classes(text)) for prefix, text in rows}
    return NumberPlan(
        table,
        [_country(row) for row in csv.DictReader(countries)],
        {row["region"]: row["pattern"] for row in csv.DictReader(emergency)},
    )


@lru_cache(PATTERNS_KEPT)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression of the metadata, compiled at its first use."""
    return re.compile(pattern, re.ASCII)


def _classes(text: str) -> Mapping[int, NumberClass]:
    """``GB/mobile:12;GB/pager:11+13`` by total digits."""
    classes = {}
    for part in text.split(";"):
        label, _, lengths = part.partition(":")
        region, _, name = label.partition("/")
        known = NumberClass(region, name)
        classes.update({int(length): known for length in lengths.split("+")})
    return classes


def _country(row: dict[str, str]) -> Country:
    lengths = frozenset(int(length) for length in row["lengths"].split("+"))
    patterns = (row["international_prefix"], row["national_prefix"], row["transform_rule"], row["viable"])
    return Country(row["region"], row["calling_code"], lengths, *patterns)


def _lengths_by_head(numbers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """For the first two digits of a number, the lengths of prefix worth asking, longest first (as in rating.deck)."""
    lengths: dict[str, set[int]] = {}
    for prefix in numbers:
        lengths.setdefault(prefix[:HEAD_DIGITS], set()).add(len(prefix))
    return {head: tuple(sorted(known, reverse=True)) for head, known in lengths.items()}
