"""Rate decks: which price holds for a number, a direction and a moment.

The longest prefix of the number that has a row in effect wins.  A row whose dates or hours do not cover the moment,
or that is for the other direction, is as good as absent: the next shorter prefix is looked at.  Of several rows in
effect under one prefix, the row for this very direction goes before one that serves both; then the one that took
effect last, because a later price replaces an earlier one; then one with days or hours before one without; then the
one that stands first in the file.

The table is a plain dict from prefix to row, asked longest first over those lengths that occur at all under the
number's first two digits: measured faster than any trie (DOMAIN 9).  Nearly all rows hold always, so a dict value is
either such a row itself, found without looking at the time, or a tuple of candidates in the order above.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from rating.columns import RowReader, text_lines
from rating.row import DeckError, Direction, RateRow
from rating.validity import FindZone, Validity

__all__ = ["Deck", "DeckError", "Direction", "RateRow", "load_deck", "text_lines"]

HEAD_DIGITS: Final = 2
"""Digits by which the lengths that occur are told apart: 100 heads keep the walk at one to seven steps."""

MAX_CHANGES: Final = 64
"""Changes of a number's price that are told of one span: nine bands a day for a week, which is the longest call there
can be.  Each is stored with a call that they concern, in 15 to 25 octets.  After the last one its price holds on."""

_Entry = RateRow | tuple[RateRow, ...]


class Deck:
    """All prices of one currency under one name; immutable once made."""

    __slots__ = ("_in", "_in_lengths", "_out", "_out_lengths", "_rows", "currency", "has_timed", "name")

    def __init__(self, name: str, currency: str, rows: Iterable[RateRow] = ()) -> None:
        """Take the rows in file order; raises ValueError where two rows differ in nothing but their price."""
        draft = _Draft()
        for row in rows:
            draft.add(row)
        self.name = name
        self.currency = currency
        self._rows = draft.rows
        self.has_timed = draft.has_timed
        """Whether a row of it holds at some times only."""
        self._out = draft.table("out")
        self._in = draft.table("in")
        self._out_lengths = _lengths_by_head(self._out)
        self._in_lengths = self._out_lengths if self._in is self._out else _lengths_by_head(self._in)

    def __len__(self) -> int:
        """Rows of the deck."""
        return self._rows

    def rows(self) -> Iterator[RateRow]:
        """Every row once, in an order of which an equal deck can be made."""
        for entry in self._out.values():
            yield from reversed(_candidates(entry))
        for entry in self._in.values() if self._in is not self._out else ():
            yield from (row for row in reversed(_candidates(entry)) if row.direction == "in")

    def lookup(self, digits: str, direction: Direction, at_unix_ms: int) -> RateRow | None:
        """The price of a number (E.164 digits without +) at a moment: the longest prefix in effect; None: no rate."""
        if direction == "out":
            table, lengths = self._out, self._out_lengths
        else:
            table, lengths = self._in, self._in_lengths
        for length in lengths.get(digits[:HEAD_DIGITS], ()):
            entry = table.get(digits[:length])
            if entry is None:
                continue
            if isinstance(entry, RateRow):
                return entry
            for row in entry:
                if row.validity is None or row.validity.covers(at_unix_ms):
                    return row
        return None

    def changes(
        self, digits: str, direction: Direction, from_unix_ms: int, to_unix_ms: int
    ) -> Iterator[tuple[int, RateRow]]:
        """When within a span, its start excluded, :meth:`lookup` answers another row, and which: at most MAX_CHANGES.

        Where no row is in effect the one before goes on: a hole in a deck ends no call.  A deck whose rows all hold
        always costs nothing, and another one's numbers under such rows a walk along their prefixes.
        """
        timed = self._timed(digits, direction) if self.has_timed else ()
        if not timed:
            return
        instants = {at for each in timed for at in each.instants(from_unix_ms, to_unix_ms)}
        last, told = self.lookup(digits, direction, from_unix_ms), 0
        for at_unix_ms in sorted(instants):
            row = self.lookup(digits, direction, at_unix_ms)
            if row is not None and row is not last:
                yield at_unix_ms, row
                last, told = row, told + 1
                if told == MAX_CHANGES:
                    return

    def _timed(self, digits: str, direction: Direction) -> set[Validity]:
        """When the rows under the number's prefixes hold, down to the first that always does; mostly nothing."""
        table, lengths = (self._out, self._out_lengths) if direction == "out" else (self._in, self._in_lengths)
        found: set[Validity] = set()
        for length in lengths.get(digits[:HEAD_DIGITS], ()):
            entry = table.get(digits[:length])
            if isinstance(entry, RateRow):
                break
            for row in entry or ():
                if row.validity is None:
                    return found
                found.add(row.validity)
        return found


def load_deck(
    name: str,
    lines: Iterable[str],
    currency: str | None = None,
    find_zone: FindZone = ZoneInfo,
    is_new: bool = True,
) -> Deck:
    """Read a deck from the text lines of its CSV file (CONTRACT 5), the header first; of bytes make ``text_lines``.

    ``currency``: the one the deck must be in; None: the one its rows name.  ``find_zone`` finds the zones that rows
    name.  A file that is not ``is_new`` was taken before, maybe by an earlier release, which took more.  Raises
    DeckError at the first thing that is wrong; nothing of the file is used then.
    """
    reader = RowReader(currency, find_zone, is_new)
    try:
        deck = Deck(name, currency or "", reader.rows(lines))
    except DeckError:
        raise
    except ValueError as error:
        raise DeckError(reader.number, "prefix", str(error)) from error
    if not reader.currency:
        raise DeckError(1, "currency", "missing: name the currency in the file or beside it")
    deck.currency = reader.currency
    return deck


class _Draft:
    """Rows on their way into a deck: one table for each direction that rows name."""

    __slots__ = ("has_timed", "rows", "tables")

    def __init__(self) -> None:
        self.has_timed = False
        self.rows = 0
        self.tables: dict[str, dict[str, _Entry]] = {"": {}, "out": {}, "in": {}}

    def add(self, row: RateRow) -> None:
        table = self.tables[row.direction]
        known = table.get(row.prefix)
        if known is None:
            table[row.prefix] = row if row.validity is None else (row,)
        else:
            table[row.prefix] = _ranked(row, *_candidates(known))
        self.rows += 1
        if row.validity is not None:
            self.has_timed = True

    def table(self, direction: Direction) -> Mapping[str, _Entry]:
        """The rows that serve a direction; where no row names one, both directions share one dict."""
        both, own = self.tables[""], self.tables[direction]
        if not own:
            return both
        merged = dict(both)
        for prefix, entry in own.items():
            merged[prefix] = entry if isinstance(entry, RateRow) else entry + _candidates(both.get(prefix, ()))
        return merged


def _candidates(entry: _Entry) -> tuple[RateRow, ...]:
    return (entry,) if isinstance(entry, RateRow) else entry


def _ranked(new: RateRow, *known: RateRow) -> tuple[RateRow, ...]:
    """The rows of one prefix and direction, the one to be asked first in front."""
    if any(row.validity == new.validity for row in known):
        raise ValueError(f"prefix {new.prefix} has a row above for the same direction, dates and hours")
    return tuple(sorted((*known, new), key=_rank))


def _rank(row: RateRow) -> tuple[int, bool]:
    """Latest effect first, then rows with days or hours; the sort is stable, so the file's order comes last."""
    if row.validity is None:
        return 0, True
    return -row.validity.from_unix_ms, not row.validity.is_banded


def _lengths_by_head(table: Mapping[str, _Entry]) -> dict[str, tuple[int, ...]]:
    """For the first digits of a number, the lengths of prefix worth asking, longest first."""
    lengths: dict[str, set[int]] = {}
    for head, length in {(prefix[:HEAD_DIGITS], len(prefix)) for prefix in table}:
        for full in _full_heads(head):
            lengths.setdefault(full, set()).add(length)
    return {head: tuple(sorted(known, reverse=True)) for head, known in lengths.items()}


def _full_heads(head: str) -> tuple[str, ...]:
    """The heads under which a prefix is looked up: one of a single digit stands under ten, and under itself."""
    if len(head) == HEAD_DIGITS:
        return (head,)
    return (head, *(head + digit for digit in "0123456789"))
