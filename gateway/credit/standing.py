"""Whether this process may still speak for its worker slot, although it may have stood still for a while.

A worker that was stopped (a signal, a machine that was suspended) wakes in the past: its deadlines are overdue and its
calls may long belong to a newer start of the slot.  So whoever is about to speak asks first.  A gap between two beats
of the store's periodic check is a stall; after one nothing is sure until the claim to the slot has been confirmed by an
answer to a question that was asked after the waking: one that had been asked before it says nothing.
"""

from typing import Final

STALL_S: Final = 3.0
"""A process that stood still for longer is in doubt.  Its check beats 20 times a second and no work of a worker takes a
tenth of this; it is a fifth of a claim's time, so what doubt is about is a newer start of our own, not another gate."""


class Standing:
    """Moments are monotonic seconds; the process begins sure of its slot at ``now``."""

    __slots__ = ("_beat_at_s", "_doubt_at_s")

    def __init__(self, now: float) -> None:
        self._beat_at_s = now
        self._doubt_at_s: float | None = None

    def is_sure(self, now: float) -> bool:
        """Whether the slot is known to be ours at ``now``."""
        if now - self._beat_at_s > STALL_S:
            self._doubt_at_s = self._beat_at_s = now
        return self._doubt_at_s is None

    def beat(self, now: float) -> bool:
        """The periodic check runs: False where the claim has to be confirmed."""
        sure = self.is_sure(now)
        self._beat_at_s = now
        return sure

    def confirm(self, asked_at_s: float) -> bool:
        """A claim that was sent at ``asked_at_s`` is ours: True where this ends a doubt."""
        if self._doubt_at_s is None or asked_at_s < self._doubt_at_s:
            return False
        self._doubt_at_s = None
        return True
