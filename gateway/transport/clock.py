"""The one clock of a worker: it arms one loop timer for the earliest deadline, and turns moments into Unix time.

Deadlines run on CLOCK_MONOTONIC; what is stored is Unix milliseconds (MONEY 9).  The two are related once, when the
clock is made: a step of the wall clock afterwards moves no deadline and no stored moment of a live call.

The timer is not moved when the earliest deadline is cancelled, as nearly every SIP timer is: it then fires once in
vain and is armed for the next, which is cheaper than a new timer in each turn.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from gateway.sip.deadlines import Deadlines

DEADLINES_PER_TURN: Final = 16
"""Deadlines fired before what they led to is sent and the sockets are looked at again: cutting a call costs about
0.1 ms, so that of many calls that run dry at once no BYE waits more than 2 ms for those behind it."""

ROUND_UP_S: Final = 0.0005
"""uvloop counts timers in whole milliseconds and rounds; half of one more keeps a timer from firing just too early
and being armed again in vain."""

TIMER_HORIZON_S: Final = 3600.0
"""A timer is never armed further ahead: a later deadline is asked for again then."""


class Clock:
    """Monotonic seconds now, their Unix milliseconds, and the loop timer that fires :class:`Deadlines`."""

    __slots__ = ("_after", "_armed_at", "_deadlines", "_loop", "_offset_ms", "_timer", "monotonic")

    def __init__(
        self,
        deadlines: Deadlines,
        after: Callable[[float], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """``after(now)`` is called after deadlines have fired, whatever they raised: the worker ends its turn there."""
        self.monotonic = monotonic
        self._offset_ms = (wall_s() - monotonic()) * 1000.0
        self._deadlines = deadlines
        self._after = after
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._armed_at = 0.0

    def unix_ms(self, now: float) -> int:
        """The Unix time in milliseconds of a monotonic moment, floored."""
        return int(now * 1000.0 + self._offset_ms)

    def start(self) -> None:
        """Begin to fire deadlines on the running loop."""
        self._loop = asyncio.get_running_loop()
        self.arm()

    def stop(self) -> None:
        """Fire no more."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def arm(self) -> None:
        """Make sure that the earliest deadline will fire; called at the end of each turn."""
        at_s = self._deadlines.next_at()
        if at_s is None or self._loop is None:
            return
        if self._timer is not None:
            if self._armed_at <= at_s:
                return
            self._timer.cancel()
        delay_s = at_s - self.monotonic()
        if delay_s <= 0.0:
            self._timer = self._loop.call_soon(self._fire)
        else:
            self._timer = self._loop.call_later(min(delay_s + ROUND_UP_S, TIMER_HORIZON_S), self._fire)
        self._armed_at = at_s

    def _fire(self) -> None:
        self._timer = None
        now = self.monotonic()
        fired = True
        try:
            fired = self._deadlines.run(now, DEADLINES_PER_TURN) > 0
        finally:
            try:
                if fired:
                    self._after(now)
            finally:
                self.arm()
