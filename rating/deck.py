"""Rate decks: which price holds for a number, a direction and a moment."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rating.tariff import Tariff

Direction = Literal["out", "in"]


class DeckError(ValueError):
    """A row that is wrong, which refuses the whole deck: ``row`` (1 is the header), ``column`` and ``reason``."""

    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(f"row {row}, column {column}: {reason}")
        self.row = row
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RateRow:
    """One price: its prefix (digits without +), what it is called, and its tariff."""

    prefix: str
    destination: str
    region: str
    type: str
    direction: Literal["out", "in", ""]
    tariff: Tariff


class Deck:
    """All prices of one currency under one name; immutable once loaded."""

    __slots__ = ("currency", "name")

    def __init__(self, name: str, currency: str) -> None:
        self.name = name
        self.currency = currency

    def __len__(self) -> int:
        """Rows of the deck."""
        raise NotImplementedError

    def lookup(self, digits: str, direction: Direction, at_unix_ms: int) -> RateRow | None:
        """The price of a number (E.164 digits without +) at a moment: the longest prefix in effect; None: no rate."""
        raise NotImplementedError


def load_deck(name: str, lines: Iterable[str], currency: str | None = None) -> Deck:
    """Read a deck from the text lines of its CSV file (CONTRACT 5); raises DeckError at the first bad row."""
    raise NotImplementedError
