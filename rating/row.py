"""One row of a rate deck, and what is said about a row that is wrong."""

from typing import Literal, NamedTuple

from rating.tariff import Tariff
from rating.validity import Validity

Direction = Literal["out", "in"]


class DeckError(ValueError):
    """A row that is wrong, which refuses the whole deck: ``row`` (the header is 1), ``column`` and ``reason``."""

    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(f"row {row}, column {column}: {reason}")
        self.row = row
        self.column = column
        self.reason = reason


class RateRow(NamedTuple):
    """One price: its prefix (digits without +), what it is called, its tariff and when it holds (None: always).

    A tuple, because hundreds of thousands are made when a deck is loaded (measured: 15 % of the whole).

    ``direction`` ``out``: the number called by a tenant; ``in``: the service number called from outside; empty: both.
    """

    prefix: str
    destination: str
    region: str
    type: str
    direction: Literal["out", "in", ""]
    tariff: Tariff
    validity: Validity | None = None
