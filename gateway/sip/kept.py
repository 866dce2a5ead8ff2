"""What was read in texts that come again and again: kept for short texts only, and not for many.

Texts come from peers, and some from strangers.  functools.lru_cache bounds how many it keeps and not how long they are:
2,048 header values of 64 kB each would be 130 MB.  Here a long text is read each time, and when there are as many as
may be, all are forgotten and read again.  A hit costs one look-up of a dict and no call of Python.
"""

from collections.abc import Callable
from typing import Final, TypeVar

KEPT_CHARS_MAX: Final = 300
"""Characters of a text that is kept: what peers write again and again is shorter, and 2,048 of them are 3 MB."""

Read = TypeVar("Read")


class _Kept(dict[str, Read]):
    """Texts with what was read in them."""

    __slots__ = ("_most", "_read")

    def __init__(self, most: int, read: Callable[[str], Read]) -> None:
        super().__init__()
        self._most = most
        self._read = read

    def __missing__(self, text: str) -> Read:
        found = self._read(text)
        if len(text) <= KEPT_CHARS_MAX:
            if len(self) >= self._most:
                self.clear()
            self[text] = found
        return found


def kept(most: int) -> Callable[[Callable[[str], Read]], Callable[[str], Read]]:
    """A decorator: ``read(text)`` is called once for each of up to ``most`` short texts; what it raises is not kept.

    What it gives is shared, so it must not be changed.
    """

    def keeping(read: Callable[[str], Read]) -> Callable[[str], Read]:
        return _Kept(most, read).__getitem__

    return keeping
