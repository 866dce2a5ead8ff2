"""Compiles phonenumbers' metadata into the tables of policy/data: ``python -m gateway.config.compile_numbers``.

phonenumbers describes each kind of number of each region by a regular expression.  Asked per call that costs tens of
microseconds, so this tool walks the expressions of one calling code side by side, digit by digit, and stops wherever
only the number of digits to come still matters: the digits walked so far become a row of ``numbers.csv.gz`` with
what a number of each length is.  A number is valid exactly where the row of its longest prefix names its length.

Run it again after an upgrade of phonenumbers and commit what it writes; SOURCES.md beside the tables says which
release they are from.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneMetadata

from policy.patterns import Chars, Choice, Node, Repeat, Sequence, read_pattern

CLASSES: Final = {
    "premium_rate": "premium", "toll_free": "toll_free", "shared_cost": "shared_cost", "voip": "voip",
    "personal_number": "personal", "pager": "pager", "uan": "uan", "voicemail": "voicemail",
}  # fmt: skip
"""Kinds of number in the order in which phonenumbers asks for them, and policy's names of them."""

OVERRIDES: Final = {"GB": ("shared_cost", r"8(?:4[345]|7[012])\d{7}")}
"""What is asked before anything else.  The United Kingdom's 084 and 087 ranges are shared-cost numbers to those who
call them, though the metadata calls them premium (DOMAIN 9)."""

DIGITS: Final = "0123456789"
WORLD: Final = "001"
Profile = tuple[str, ...]
"""What a number is after 0, 1, 2 … more digits, whichever they are; trailing empty names left out."""


@dataclass(frozen=True)
class Tag:
    """What it means that an expression matched: a kind of number of a region, if the length is right as well."""

    region: str
    kind: str
    lengths: frozenset[int]


class Automaton:
    """The expressions of one calling code side by side: states are numbers, a set of them is where a walk stands."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, frozenset[int]]] = []
        self.tags: dict[int, Tag] = {}
        self.start: frozenset[int] = frozenset()

    def add(self, pattern: str, tag: Tag, open_ended: bool = False) -> None:
        """Take in an expression; an open-ended one is also matched by everything that begins with what it matches."""
        end = self._state("", frozenset())
        self.tags[end] = tag
        if open_ended:
            self.moves[end] = (DIGITS, frozenset([end]))
        self.start |= self._build(read_pattern(pattern), frozenset([end]))

    def _state(self, digits: str, targets: frozenset[int]) -> int:
        self.moves.append((digits, targets))
        return len(self.moves) - 1

    def _build(self, node: Node, targets: frozenset[int]) -> frozenset[int]:
        """States from which ``node`` leads to ``targets``."""
        match node:
            case Chars(source):
                digits = "".join(digit for digit in DIGITS if re.fullmatch(source, digit))
                return frozenset([self._state(digits, targets)])
            case Sequence(items):
                for item in reversed(items):
                    targets = self._build(item, targets)
                return targets
            case Choice(branches):
                return frozenset().union(*(self._build(branch, targets) for branch in branches))
            case Repeat(item, least, most):
                return self._build_repeat(item, least, most, targets)

    def _build_repeat(self, item: Node, least: int, most: int, targets: frozenset[int]) -> frozenset[int]:
        starts = targets
        for _ in range(most - least):
            starts = self._build(item, starts) | targets
        for _ in range(least):
            starts = self._build(item, starts)
        return starts

    def step(self, states: frozenset[int], digit: str) -> frozenset[int]:
        """Where a walk stands after one more digit."""
        return frozenset().union(*(self.moves[state][1] for state in states if digit in self.moves[state][0]))

    def matched(self, states: frozenset[int], length: int) -> set[tuple[str, str]]:
        """(region, kind) of each expression that ends here at this length."""
        found = (self.tags[state] for state in states if state in self.tags)
        return {(tag.region, tag.kind) for tag in found if not tag.lengths or length in tag.lengths}


class CallingCode:
    """All regions of one calling code, and the label phonenumbers would give a number that ends at a place."""

    def __init__(self, code: int, regions: Iterable[str]) -> None:
        self.code = str(code)
        self.metadata = {region: metadata_of(code, region) for region in regions}
        self.automaton = Automaton()
        for region, metadata in self.metadata.items():
            self._add_region(region, metadata)
        self.longest = max(max(metadata.general_desc.possible_length) for metadata in self.metadata.values())

    def _add_region(self, region: str, metadata: Any) -> None:
        for kind in ("general_desc", *CLASSES, "fixed_line", "mobile"):
            desc = getattr(metadata, kind)
            if desc is not None and desc.national_number_pattern:
                tag = Tag(region, kind, frozenset(desc.possible_length))
                self.automaton.add(desc.national_number_pattern, tag)
        if metadata.leading_digits:
            self.automaton.add(metadata.leading_digits, Tag(region, "leading", frozenset()), open_ended=True)
        if region in OVERRIDES:
            self.automaton.add(OVERRIDES[region][1], Tag(region, "override", frozenset()))

    def label(self, states: frozenset[int], length: int) -> str:
        """``REGION/class`` of a valid number; empty for any other (phonenumbers' region_code_for_number)."""
        matched = self.automaton.matched(states, length)
        for region, metadata in self.metadata.items():
            kind = class_of(region, metadata, matched)
            claimed = (region, "leading") in matched if metadata.leading_digits and len(self.metadata) > 1 else kind
            if claimed:
                return f"{region}/{kind}" if kind else ""
        return ""

    def rows(self) -> Iterator[tuple[str, str]]:
        """(prefix, what a number of each length is) of the calling code, in order of prefix."""

        @cache
        def profile(states: frozenset[int], length: int) -> Profile | None:
            """What numbers from here on are, if their next digits do not matter; else None."""
            if length > self.longest or not states:
                return ()
            tails = {profile(self.automaton.step(states, digit), length + 1) for digit in DIGITS}
            tail = tails.pop()
            if tails or tail is None:
                return None
            whole = (self.label(states, length), *tail)
            return whole if any(whole) else ()

        def walk(digits: str, states: frozenset[int]) -> Iterator[tuple[str, str]]:
            found = profile(states, len(digits))
            if found is None:
                label = self.label(states, len(digits))
                if label:
                    yield self.row(digits, (label,))
                for digit in DIGITS:
                    yield from walk(digits + digit, self.automaton.step(states, digit))
            elif found:
                yield self.row(digits, found)

        yield from walk("", self.automaton.start)

    def row(self, digits: str, profile: Profile) -> tuple[str, str]:
        """A prefix with its calling code, and what numbers below it are by their total digits."""
        lengths: dict[str, list[str]] = {}
        for more, label in enumerate(profile):
            if label:
                lengths.setdefault(label, []).append(str(len(self.code) + len(digits) + more))
        return self.code + digits, ";".join(f"{label}:{'+'.join(found)}" for label, found in lengths.items())


def class_of(region: str, metadata: Any, matched: set[tuple[str, str]]) -> str:
    """The class of a number by the kinds that matched, in phonenumbers' order; empty where it is not valid."""

    def is_a(kind: str) -> bool:
        return (region, kind) in matched

    if not is_a("general_desc"):
        return ""
    if is_a("override"):
        return OVERRIDES[region][0]
    for kind, name in CLASSES.items():
        if is_a(kind):
            return name
    if is_a("fixed_line"):
        return "fixed_or_mobile" if metadata.same_mobile_and_fixed_line_pattern or is_a("mobile") else "fixed"
    return "mobile" if is_a("mobile") and not metadata.same_mobile_and_fixed_line_pattern else ""


def metadata_of(code: int, region: str) -> Any:
    """What phonenumbers knows of a region; of the world's own codes by the code."""
    if region == WORLD:
        return PhoneMetadata.metadata_for_nongeo_region(code)
    return PhoneMetadata.metadata_for_region(region)


def number_rows() -> Iterator[tuple[str, ...]]:
    """The rows of numbers.csv.gz."""
    yield "prefix", "numbers"
    for code, regions in sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items(), key=lambda entry: str(entry[0])):
        yield from CallingCode(code, regions).rows()


def country_rows() -> Iterator[tuple[str, ...]]:
    """The rows of countries.csv: how numbers are dialled in a region, and how long they can be."""
    yield (
        "region", "calling_code", "lengths", "international_prefix", "national_prefix", "transform_rule", "viable",
    )  # fmt: skip
    for code, regions in sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()):
        for region in regions:
            metadata = metadata_of(code, region)
            yield (
                region,
                str(code),
                "+".join(str(length) for length in metadata.general_desc.possible_length),
                metadata.international_prefix or "",
                metadata.national_prefix_for_parsing or "",
                metadata.national_prefix_transform_rule or "",
                metadata.general_desc.national_number_pattern,
            )


def emergency_rows() -> Iterator[tuple[str, ...]]:
    """The rows of emergency.csv: the short numbers that reach emergency services in a region."""
    yield "region", "pattern"
    for region in sorted(phonenumbers.SUPPORTED_SHORT_REGIONS):
        metadata = PhoneMetadata.short_metadata_for_region(region)
        if metadata is not None and metadata.emergency is not None and metadata.emergency.national_number_pattern:
            yield region, metadata.emergency.national_number_pattern


def csv_bytes(rows: Iterable[tuple[str, ...]]) -> bytes:
    """The rows as a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def main() -> None:
    """Write the three tables where the package keeps them."""
    with resources.as_file(resources.files("policy") / "data") as folder:
        write_tables(Path(folder))


def write_tables(folder: Path) -> None:
    """Write the three tables into a folder; the same metadata gives the same bytes."""
    (folder / "numbers.csv.gz").write_bytes(gzip.compress(csv_bytes(number_rows()), mtime=0))
    (folder / "countries.csv").write_bytes(csv_bytes(country_rows()))
    (folder / "emergency.csv").write_bytes(csv_bytes(emergency_rows()))


if __name__ == "__main__":
    main()
