"""Which row of a tenant's deck prices a number at a moment, and which rows follow while a call may ring or talk.

A deck's next version is in the directory before its moment: a call that goes on beyond that is priced by both.
"""

from collections.abc import Iterator

from policy.directory import Coming, Directory
from rating.deck import MAX_CHANGES
from rating.row import Direction, RateRow
from rating.schedule import Change


def rate_at(directory: Directory, deck: str, number: str, direction: Direction, at_unix_ms: int) -> RateRow | None:
    """The row that prices a number (E.164 with +) at a moment; None: none does, or there is no such deck."""
    found = directory.decks.get(deck)
    for coming in directory.coming.get(deck, ()):
        if coming.from_unix_ms <= at_unix_ms:
            found = coming.deck
    return None if found is None else found.lookup(number[1:], direction, at_unix_ms)


def changes_after(
    directory: Directory, deck: str, number: str, direction: Direction, row: RateRow, from_unix_ms: int, to_unix_ms: int
) -> tuple[Change, ...]:
    """When within a span, its start excluded, the number costs something else than before, at first than by ``row``.

    At most MAX_CHANGES; where no row is in effect the last price goes on.
    """
    if not directory.coming.get(deck) and not directory.decks[deck].has_timed:
        return ()  # nearly every call
    found: list[Change] = []
    tariff = row.tariff
    for at_unix_ms, following in _rows_after(directory, deck, number[1:], direction, from_unix_ms, to_unix_ms):
        if following.tariff != tariff:
            tariff = following.tariff
            found.append(Change(at_unix_ms, tariff))
            if len(found) == MAX_CHANGES:
                break
    return tuple(found)


def _rows_after(
    directory: Directory, name: str, digits: str, direction: Direction, from_unix_ms: int, to_unix_ms: int
) -> Iterator[tuple[int, RateRow]]:
    """The rows that follow, in order, deck after deck."""
    deck = directory.decks.get(name)
    for coming in (*directory.coming.get(name, ()), Coming(to_unix_ms + 1, directory.decks[name])):
        if coming.from_unix_ms > from_unix_ms:
            until_ms = min(coming.from_unix_ms - 1, to_unix_ms)
            yield from deck.changes(digits, direction, from_unix_ms, until_ms) if deck is not None else ()
            if coming.from_unix_ms > to_unix_ms:
                return
            row = coming.deck.lookup(digits, direction, coming.from_unix_ms)
            if row is not None:
                yield coming.from_unix_ms, row
            from_unix_ms = coming.from_unix_ms
        deck = coming.deck
