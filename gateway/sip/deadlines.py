"""The one deadline heap: every timer of a worker, from SIP's Timer A to the end of paid talk, waits here.

A heap entry is a plain list, so that cancelling is one store and never a search: a cancelled entry stays in the
heap until its moment passes or until cancelled entries outnumber the live ones, and is then dropped.  The heap
reads no clock; the loud room that owns the loop asks :meth:`Deadlines.next_at` and calls :meth:`Deadlines.run`.

Deadlines are a way into the call machine like messages are: what one of them raises is a bug, which goes to
``on_fault``, and those of all other calls fire as if nothing had been.
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final, Generic, TypeVar

Fire = Callable[[float], None]
"""What is called when a deadline comes, with the present moment in monotonic seconds."""

OnFault = Callable[[Exception, float], None]
"""What is told of an exception that is being caught, and of the present moment: it logs and counts, for a quiet room
has no log, and what was under way goes on with the next deadline or call."""

Deadline = list[Any]
"""An entry ``[at_s, sequence, fire]``; ``fire`` is None once it has fired or was cancelled."""

COMPACT_ABOVE: Final = 4096
"""Cancelled entries kept before the heap is rebuilt: a SIP transaction cancels most of its timers, and a rebuild
of this size costs well under a millisecond."""

LINE_BATCH: Final = 1000
"""Items a delay line hands out before it lets the sockets have their turn: a few milliseconds of work."""

LINE_PAUSE_S: Final = 0.001
"""How long it then waits."""

LINE_GRAIN_S: Final = 0.02
"""How long a delay line rests at least between two looks, so that a busy one wakes its worker 50 times a second and not
for each message: SIP's timers begin at half a second, and 20 ms more mean nothing to them."""

Item = TypeVar("Item")


def let_it_rise(fault: Exception, now: float) -> None:
    """What hears of faults until somebody else wants to: nobody, they leave the room."""
    raise fault


class Deadlines:
    """A heap of moments (monotonic seconds) and what to call when they come; one per worker.

    ``on_fault`` hears what a deadline raised; unless it is set, the exception leaves :meth:`run`, and what was due
    behind it fires in the next run.
    """

    __slots__ = ("_cancelled", "_heap", "_sequence", "on_fault")

    def __init__(self) -> None:
        self.on_fault: OnFault = let_it_rise
        self._heap: list[Deadline] = []
        self._sequence = 0
        self._cancelled = 0

    def __len__(self) -> int:
        """Deadlines that are still to come."""
        return len(self._heap) - self._cancelled

    def at(self, at_s: float, fire: Fire) -> Deadline:
        """Call ``fire`` when ``at_s`` (monotonic seconds) has come; of equal moments the first set comes first."""
        self._sequence += 1
        entry: Deadline = [at_s, self._sequence, fire]
        heappush(self._heap, entry)
        return entry

    def cancel(self, entry: Deadline | None) -> None:
        """Forget a deadline; harmless for None, for one that has fired and for one already cancelled."""
        if entry is None or entry[2] is None:
            return
        entry[2] = None
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._compact()

    def next_at(self) -> float | None:
        """The earliest moment still waited for, in monotonic seconds; None when there is none."""
        heap = self._heap
        while heap:
            if heap[0][2] is not None:
                at_s: float = heap[0][0]
                return at_s
            heappop(heap)
            self._cancelled -= 1
        return None

    def run(self, now: float, limit: int = 10_000) -> int:
        """Fire what is due at ``now``, earliest first, at most ``limit`` of them; return how many fired.

        The limit keeps a burst of deadlines from starving the sockets: what is left fires in the next turn.
        """
        heap, fired = self._heap, 0
        while heap and heap[0][0] <= now and fired < limit:
            entry = heappop(heap)
            fire = entry[2]
            if fire is None:
                self._cancelled -= 1
                continue
            entry[2] = None
            fired += 1
            try:
                fire(now)
            except Exception as fault:
                self.on_fault(fault, now)
        return fired

    def _compact(self) -> None:
        # In place: run() may be in the middle of this very list.
        self._heap[:] = [entry for entry in self._heap if entry[2] is not None]
        heapify(self._heap)
        self._cancelled = 0


class DelayLine(Generic[Item]):
    """Items that all wait equally long: a queue with one deadline for its head, instead of one heap entry each.

    SIP's timers have few lengths (T1, T4, 64·T1) and most are never needed: adding costs an append, cancelling
    nothing, because ``fire`` gets every item with the moment it was due and ignores those that have moved on.  What
    is due within LINE_GRAIN_S of the item before it fires together with those behind it, that much later at most.
    """

    __slots__ = ("_armed", "_deadlines", "_fire", "_queue", "delay_s")

    def __init__(self, deadlines: Deadlines, delay_s: float, fire: Callable[[Item, float, float], None]) -> None:
        self.delay_s = delay_s
        self._deadlines = deadlines
        self._fire = fire
        self._queue: deque[tuple[float, Item]] = deque()
        self._armed = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, item: Item, now: float) -> float:
        """Let ``item`` wait from ``now`` on; return when it is due: ``fire(item, due, now)`` is called then."""
        due = now + self.delay_s
        self._queue.append((due, item))
        if not self._armed:
            self._armed = True
            self._deadlines.at(due, self._run)
        return due

    def _run(self, now: float) -> None:
        queue, fired = self._queue, 0
        try:
            while queue and queue[0][0] <= now and fired < LINE_BATCH:
                due, item = queue.popleft()
                self._fire(item, due, now)
                fired += 1
        finally:  # an item that raises is lost, the line goes on with the next
            self._armed = bool(queue)
            if queue:
                due = queue[0][0]
                self._deadlines.at(max(due, now + LINE_GRAIN_S) if due > now else now + LINE_PAUSE_S, self._run)
