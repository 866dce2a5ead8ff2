"""A large mapping with a few changes on top: another one of a hundred thousand entries, made without copying them.

A directory is replaced whole whenever anything in it changes, and the one before goes on to be what it was.  Copying
its dicts would hold the interpreter for some milliseconds at one stroke; so both share one ``base`` that nobody changes
any more, and each has what is different in a small dict of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Generic, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class _Same:
    """Stands for a key of which nothing was changed."""


_SAME: Final = _Same()


class Layered(Mapping[K, V], Generic[K, V]):
    """``base`` as it is with ``changes``; a value None in these is a key that is gone."""

    __slots__ = ("_length", "base", "changes")

    def __init__(self, base: Mapping[K, V], changes: Mapping[K, V | None]) -> None:
        self.base = base
        self.changes = changes
        gone = sum(value is None and key in base for key, value in changes.items())
        new = sum(value is not None and key not in base for key, value in changes.items())
        self._length = len(base) + new - gone

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...
    def get(self, key: K, /, default: object = None) -> object:
        """The value of a key; ``default`` where there is none.  Written out, for it is asked for each call."""
        found = self.changes.get(key, _SAME)
        if found is _SAME:
            return self.base.get(key, default)
        return default if found is None else found

    def __getitem__(self, key: K) -> V:
        found = self.changes.get(key, _SAME)
        if isinstance(found, _Same):
            return self.base[key]
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        changes: Mapping[object, object] = cast(Mapping[object, object], self.changes)
        found = changes.get(key, _SAME)
        return key in self.base if found is _SAME else found is not None

    def __iter__(self) -> Iterator[K]:
        for key in self.base:
            if key not in self.changes:
                yield key
        for key, value in self.changes.items():
            if value is not None:
                yield key

    def __len__(self) -> int:
        return self._length


def base_of(things: Mapping[K, V]) -> Mapping[K, V]:
    """What a mapping shares with those made of it by :func:`with_changes`."""
    return things.base if isinstance(things, Layered) else things


def with_changes(things: Mapping[K, V], changes: Mapping[K, V | None]) -> Mapping[K, V]:
    """``things`` with some of them changed, added or (None) gone; ``things`` must not be changed any more."""
    if not changes:
        return things
    before = things.changes if isinstance(things, Layered) else {}
    return Layered(base_of(things), {**before, **changes})
