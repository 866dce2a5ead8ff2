"""The directory read last, kept in the data folder: for a gate that starts while its ledger is away.

A large directory is a second's work to pickle, and pickling holds the interpreter; so it is written in pieces with a
rest after each, and a deck has a file of its own that is written only where the deck is another one.
Each file is written whole and by rename.  Deck and directory may come from different moments after a crash between the
two: it is only a spare.
"""

import pickle
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gateway.telemetry.logs import get_logger
from policy.directory import Coming, Directory, User
from rating.deck import Deck

FORMAT: Final = 5
"""Raised when Directory changes so that an older spare cannot be used."""

SNAPSHOT_FILE: Final = "directory.snapshot"

PIECE: Final = 1_000
"""Users or rows pickled at once: a millisecond's work."""

REST_S: Final = 0.002
"""Between two pieces of a file nobody waits for: while a piece is made, whatever the loop does takes twice as long."""

_FIELDS: Final = ("version", "trunks", "tenants", "service_numbers", "failure_policy", "facts")
"""Written as they are; the rest is made from them, from users and from decks."""

Key = tuple[str, int]
"""A deck that is kept: its name, and the Unix milliseconds from which on it will hold; 0 for the one in use."""

log = get_logger("worker")


class Spare:
    """The spare of one data folder; remembers which decks it has written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[Key, Deck] = {}

    def save(self, directory: Directory) -> None:
        """Write what is new.  Raises OSError."""
        decks = {(name, 0): deck for name, deck in directory.decks.items()}
        decks |= {(name, at_ms): deck for name, coming in directory.coming.items() for at_ms, deck in coming}
        for key, deck in decks.items():
            if self._written.get(key) is not deck:
                _write(self._deck_file(key), [deck.name, deck.currency], deck.rows())
        self._written = decks
        fields = {name: getattr(directory, name) for name in _FIELDS}
        _write(self._folder / SNAPSHOT_FILE, [fields, list(decks)], directory.users.values())
        used = {self._deck_file(key) for key in decks}
        for file in self._folder.glob("deck-*.snapshot"):
            if file not in used:
                file.unlink(missing_ok=True)

    def load(self) -> Directory | None:
        """The directory saved last; None where there is none that this release can read."""
        file = self._folder / SNAPSHOT_FILE
        try:
            return self._load(file)
        except FileNotFoundError:
            return None
        except Exception as error:  # one of another release may fail in any way
            log.warning("directory snapshot unreadable", file=str(file), error=repr(error))
            return None

    def _load(self, file: Path) -> Directory:
        parts = _read(file)
        fields, keys = next(parts)
        users: list[User] = list(parts)
        coming: dict[str, tuple[Coming, ...]] = {}
        for name, at_ms in keys:  # in the order in which they follow
            if at_ms:
                coming[name] = (*coming.get(name, ()), Coming(at_ms, self._load_deck((name, at_ms))))
        return Directory(
            **fields,
            users={(user.tenant_id, user.id): user for user in users},
            users_by_number={user.number: user for user in users if user.number},
            decks={name: self._load_deck((name, 0)) for name, at_ms in keys if not at_ms},
            coming=coming,
        )

    def _load_deck(self, key: Key) -> Deck:
        parts = _read(self._deck_file(key))
        own_name, currency = next(parts)
        return Deck(own_name, currency, parts)

    def _deck_file(self, key: Key) -> Path:
        name, at_ms = key
        text = f"{name}\0{at_ms}" if at_ms else name
        return self._folder / f"deck-{sha256(text.encode()).hexdigest()[:16]}.snapshot"


def _write(path: Path, head: list[Any], things: Iterable[Any]) -> None:
    following, rest = path.with_suffix(".new"), iter(things)
    with following.open("wb") as file:
        pickle.dump((FORMAT, head), file, pickle.HIGHEST_PROTOCOL)
        while piece := list(islice(rest, PIECE)):
            pickle.dump(piece, file, pickle.HIGHEST_PROTOCOL)
            time.sleep(REST_S)
        pickle.dump([], file)
    following.replace(path)


def _read(path: Path) -> Iterator[Any]:
    """The head, then the things one by one.  Raises whatever a damaged file makes of itself."""
    with path.open("rb") as file:
        form, head = pickle.load(file)  # noqa: S301  written by this gate into its own data folder
        if form != FORMAT:
            raise ValueError(f"format {form}")
        yield head
        while piece := pickle.load(file):  # noqa: S301
            yield from piece
