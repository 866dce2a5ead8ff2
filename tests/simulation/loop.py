"""An asyncio loop in a time of its own: nothing ever waits, the clock jumps to the next timer.

Everything a worker builds on asyncio (tasks, timers, call_soon) runs unchanged and in the same order each time.  There
are no descriptors: whatever would wait for one belongs to the simulated network.
"""

import asyncio
import heapq
from typing import Any


class StandstillError(Exception):
    """Nothing is left to happen although the simulation has not ended."""


class _NoDescriptors:
    """Stands where a loop has its selector: to wait means to let time pass."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StandstillError("no timer is set and nobody is ready")
        self._loop.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """``now_s`` is its monotonic time in seconds; it starts at a moment that no clock shows by chance."""

    def __init__(self, start_s: float = 1000.0) -> None:
        super().__init__()
        self.now_s = start_s
        self._selector = _NoDescriptors(self)
        self._clock_resolution = 1e-9
        self.faults: list[dict[str, Any]] = []
        """What callbacks and tasks raised: each is a bug."""
        self.set_exception_handler(lambda loop, context: self.faults.append(context))

    def time(self) -> float:
        """The moment, in seconds."""
        return self.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """No thread wakes this loop."""

    def run_until(self, until_s: float) -> None:
        """Let everything happen up to a moment."""
        self.call_at(until_s, self.stop)
        self.run_forever()

    @property
    def timers(self) -> int:
        """Timers that are set and not cancelled."""
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Forget what is left."""
        self._scheduled.clear()  # type: ignore[attr-defined]
        heapq.heapify(self._scheduled)  # type: ignore[attr-defined]
        super().close()
