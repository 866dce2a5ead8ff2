"""All moments one call waits for, behind one entry of the worker's heap.

A call waits for up to seven moments at once (the end of its setup, of its paid time, of the longest call, the session
timers of two legs, the end of its BYEs, a warning), and most of them are put off again and again.  The clock keeps them
in a list and sets a deadline only where a new moment is earlier than the one set; a deadline that comes too early looks
for the next one.  Putting a moment off is thus one store, and a call costs the heap about two entries.
"""

from collections.abc import Callable
from enum import IntEnum
from math import inf
from typing import Final

from gateway.sip.deadlines import Deadline, Deadlines


class Bell(IntEnum):
    """What a call may wait for; of moments that come together the first of this list rings first."""

    MONEY = 0
    """The next tick is to be asked for, or paid time ends."""
    SETUP = 1
    """The store, a target or the ringing takes too long."""
    LONGEST = 2
    """The longest time allowed for a call is over."""
    PROOF = 3
    """The lease of a call that nobody pays for is to be refreshed."""
    CALLER_SESSION = 4
    CALLED_SESSION = 5
    """A session refresh is to be sent, or one that was due did not come (RFC 4028 10)."""
    ENDING = 6
    """The answers to the BYEs take too long."""
    WARNING = 7
    """The caller is to be told that its money ends."""


_BELLS: Final = tuple(Bell)


class CallClock:
    """The moments of one call; ``ring`` is called with the bell and the present moment in monotonic seconds."""

    __slots__ = ("_deadlines", "_due", "_entry", "_ring", "_set_at")

    def __init__(self, deadlines: Deadlines, ring: Callable[[Bell, float], None]) -> None:
        self._deadlines = deadlines
        self._ring = ring
        self._due = [inf] * len(_BELLS)
        self._entry: Deadline | None = None
        self._set_at = inf

    def wait(self, bell: Bell, at_s: float) -> None:
        """Ring ``bell`` at ``at_s`` instead of whenever it was to ring before; ``inf``: not at all."""
        self._due[bell] = at_s
        if at_s < self._set_at:
            if self._entry is not None:
                self._deadlines.cancel(self._entry)
            self._set(at_s)

    def stop(self) -> None:
        """Ring nothing any more."""
        self._due = [inf] * len(_BELLS)
        self._deadlines.cancel(self._entry)
        self._entry = None
        if self._set_at > -inf:
            self._set_at = inf

    def _set(self, at_s: float) -> None:
        self._set_at = at_s
        self._entry = self._deadlines.at(at_s, self._fire)

    def _fire(self, now: float) -> None:
        self._entry, self._set_at = None, -inf  # while bells ring nothing is set: once, below, is enough
        try:
            for bell in _BELLS:
                if self._due[bell] <= now:
                    self._due[bell] = inf
                    self._ring(bell, now)
        finally:  # where a bell raises, those behind it are due at once, and a call never waits for nothing
            self._set_at = inf
            earliest = min(self._due)
            if earliest < inf:
                self._set(earliest)
