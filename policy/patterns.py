"""Regular expressions of dial plans, read before they are run: only what surely ends soon is let in.

Python's matcher tries alternatives one after the other, and a pattern such as ``(\\d+)+$`` makes it try more of them
than there are atoms, on the hot path of a gate.  It cannot be interrupted, so a pattern is judged by its text when
it is provisioned.  What dial plans need is little: digits, ``\\d``, ``.``, classes, groups, alternatives, counts and
the anchors.  Of such a pattern one can count the ways in which it could match at most, and refuse it where that is
too many for an input of ``MAX_DIALLED`` characters.  Look-around, back-references and flags are not part of it.

The tree that is read here also serves the tool that compiles the number plan's table.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_DIALLED: Final = 32
"""Characters that are given to a pattern: E.164's 15 digits, a prefix and a carrier code fit twice (DOMAIN 8)."""

MAX_PATTERN: Final = 200
"""Characters of a pattern: the longest sample rule has 24."""

MAX_WAYS: Final = 5_000
"""Ways to match from one starting place: at some 50 ns a step and 33 starting places the worst pattern that is let
in takes about ten milliseconds, and only on input made for it; ``^\\+?0*(\\d+)$`` has 2,178."""

MAX_DEPTH: Final = 16
"""Groups within groups: reading is recursive."""

_ESCAPED: Final = frozenset("d+*#.()[]{}|?^$-/\\")

_SET_SIGNS: Final = ("--", "&&", "~~", "||")
"""Operations on sets that Python keeps for a later release."""


class Bounds(NamedTuple):
    """How long an input is at most, and in how many ways a pattern may match from one place of it."""

    chars: int
    ways: int


DIALLED: Final = Bounds(MAX_DIALLED, MAX_WAYS)
"""What is dialled."""


class PatternError(ValueError):
    """A pattern that is not let in: what is wrong, where, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a class; ``source`` is the class as it is written."""

    source: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; empty for an anchor."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    branches: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same again, ``least`` to ``most`` times; no bound is the bound of the input."""

    item: "Node"
    least: int
    most: int


Node = Chars | Sequence | Choice | Repeat


def read_pattern(text: str, longest: int = MAX_DIALLED) -> Node:
    """The tree of a pattern for inputs of ``longest`` characters; raises PatternError where it uses what is not let
    in."""
    reader = _Reader(text, longest)
    node = reader.choice(0)
    if reader.place < len(text):
        raise reader.error("a ')' without its '('")
    return node


def check_pattern(text: str, bounds: Bounds = DIALLED) -> None:
    """Raise PatternError for a pattern that is too long, not let in, or could match in too many ways."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"the pattern has {len(text)} characters: at most {MAX_PATTERN} are let in")
    if ways(read_pattern(text, bounds.chars), bounds.ways) > bounds.ways:
        raise PatternError(f"{text!r} could match in too many ways: avoid counts within counts and several * or +")


def ways(node: Node, most: int = MAX_WAYS) -> int:
    """How many ways of matching there are at most, from one place of the input; above ``most`` it does not matter how
    many."""
    match node:
        case Chars():
            return 1
        case Sequence(items):
            product = 1
            for item in items:
                product = min(product * ways(item, most), most + 1)
            return product
        case Choice(branches):
            return sum(ways(branch, most) for branch in branches)
        case Repeat(item, least, times):
            return _ways_to_repeat(ways(item, most), least, times, most)


def _ways_to_repeat(once: int, least: int, times: int, most: int) -> int:
    """Σ once^n for n from least to times; past the limit the exact figure does not matter."""
    total = 0
    for count in range(least, times + 1):
        total += min(once**count, most + 1)
        if total > most:
            break
    return total


class _Reader:
    """Reads one pattern from left to right."""

    __slots__ = ("longest", "place", "quantifiers", "text")

    def __init__(self, text: str, longest: int) -> None:
        self.text = text
        self.longest = longest
        self.quantifiers = {"?": (0, 1), "*": (0, longest), "+": (1, longest)}
        self.place = 0

    def error(self, what: str) -> PatternError:
        return PatternError(f"{self.text!r}, at character {self.place + 1}: {what}")

    def choice(self, depth: int) -> Node:
        branches = [self.sequence(depth)]
        while self.peek() == "|":
            self.place += 1
            branches.append(self.sequence(depth))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while self.peek() not in {"", "|", ")"}:
            items.append(self.repeated(self.item(depth)))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def peek(self) -> str:
        return self.text[self.place : self.place + 1]

    def item(self, depth: int) -> Node:
        char = self.peek()
        if char == "(":
            return self.group(depth)
        if char == "[":
            return self.char_class()
        if char == "\\":
            return self.escape()
        if char in "*+?{":
            raise self.error(f"nothing before {char!r} that could be repeated")
        self.place += 1
        return Sequence(()) if char in "^$" else Chars(char)

    def group(self, depth: int) -> Node:
        if depth >= MAX_DEPTH:
            raise self.error(f"groups more than {MAX_DEPTH} deep")
        self.place += 1
        if self.peek() == "?":
            if not self.text.startswith("?:", self.place):
                raise self.error("only (…) and (?:…) are let in: no look-around, names or flags")
            self.place += 2
        node = self.choice(depth + 1)
        if self.peek() != ")":
            raise self.error("a ')' is missing")
        self.place += 1
        return node

    def char_class(self) -> Node:
        end = self.text.find("]", self.place + 2)
        if end < 0:
            raise self.error("a ']' is missing")
        source = self.text[self.place : end + 1]
        if "[" in source[1:] or "\\" in source.replace("\\d", "") or any(sign in source for sign in _SET_SIGNS):
            raise self.error("a class holds plain characters, ranges and \\d")
        if source == "[^]":
            raise self.error("the class is empty")
        self.place = end + 1
        return Chars(source)

    def escape(self) -> Node:
        source = self.text[self.place : self.place + 2]
        if source[1:] not in _ESCAPED:
            raise self.error(f"{source!r} is not let in: \\d, or \\ before a sign")
        self.place += 2
        return Chars(source)

    def repeated(self, item: Node) -> Node:
        char = self.peek()
        if char in self.quantifiers:
            self.place += 1
            bounds = self.quantifiers[char]
        elif char == "{":
            bounds = self.counts()
        else:
            return item
        if self.peek() in {"?", "*", "+", "{"}:
            raise self.error("a count after a count")
        return Repeat(item, *bounds)

    def counts(self) -> tuple[int, int]:
        """``{3}``, ``{3,}`` or ``{3,7}``."""
        end = self.text.find("}", self.place)
        least, comma, most = self.text[self.place + 1 : end].partition(",") if end > 0 else ("", "", "")
        if not self.is_count(least) or (most and not self.is_count(most)):
            raise self.error(f"write counts as {{3}}, {{3,}} or {{3,7}}, up to {self.longest}")
        bounds = int(least), int(most) if most else (self.longest if comma else int(least))
        if bounds[0] > bounds[1]:
            raise self.error("the first count is above the second")
        self.place = end + 1
        return bounds

    def is_count(self, text: str) -> bool:
        return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= self.longest
