"""One run: arrivals are drawn, calls placed, both legs followed to their end, the figures made.

Everything happens on one event loop with one deadline heap.  A run has an end whatever the gate does: after the last
arrival and its talk, what is still up is hung up and what still rings is cancelled.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from gateway.sip.deadlines import Deadline, Deadlines
from loadtest.alarm import Alarm
from loadtest.arrivals import Arrivals
from loadtest.behaviour import Mix
from loadtest.call import Call, Pairing
from loadtest.callees import Callees
from loadtest.callers import Callers
from loadtest.figures import Increments, Tally
from loadtest.holds import Hold
from loadtest.line import GIVE_UP_S, Line, WireTally
from loadtest.numbers import Pairs
from loadtest.series import Series
from loadtest.wire import Address

MAX_CALLS: Final = 100_000_000
MAX_LIVE: Final = 200_000
"""Live calls of one process: about a gigabyte of legs."""

OTHER_LEG_S: Final = 10.0
"""How long one leg may be over before the other: time for the gate to repeat its BYE or CANCEL four times."""

TIDY_S: Final = GIVE_UP_S + OTHER_LEG_S
"""What a run may take longer than its calls: the longest a lost message is repeated, and the other leg after it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.  ``hangup`` is ``caller``, ``callee`` or ``gateway``; ``uas`` None: nobody plays callees.

    ``hold`` None only with ``hangup`` gateway: calls last until the gate cuts them.  ``limit_s`` is how long calls
    may go on after the last arrival, None: as their hold times tell.
    """

    target: Address
    source: Address
    uas: Address | None
    cps: float
    calls: int
    concurrent: int
    arrivals: Arrivals
    pairs: Pairs
    mix: Mix
    hold: Hold | None
    hangup: str
    ring_s: float
    seed: int
    increments: Increments
    limit_s: float | None = None
    extra_headers: str = ""


class Run:
    """The run of one plan; ``tally`` and ``wire`` hold what is known so far and may be read while it plays."""

    def __init__(self, plan: Plan, progress: Callable[["Run"], None] = lambda run: None) -> None:
        self.plan = plan
        self.held_back = 0
        self._progress = progress
        self._dice = Random(plan.seed)
        self._deadlines = Deadlines()
        self._pairing = Pairing()
        self._live: dict[int, Call] = {}
        self._waiting: deque[Call] = deque()
        self._placed = 0
        self._last_s = 0.0
        self._longest_s = 0.0
        self._stopping = False
        self._arrival: Deadline | None = None

    @property
    def live(self) -> int:
        """Calls under way, from the INVITE until both legs are over."""
        return len(self._live)

    async def play(self) -> dict[str, Any]:
        """Place every call and follow it to its end; returns the figures.  Raises LineError for a taken address."""
        loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._alarm = Alarm(loop, self._ring)
        self.wire = WireTally()
        lines: list[Line] = []
        try:
            self._open(loop, lines)
            with _no_garbage_pauses():
                self._begin()
                await self._done.wait()
        finally:
            self._alarm.close()
            for line in lines:
                line.close()
        return self.tally.figures(self.wire, self._span_s(), self.held_back)

    def stop(self) -> None:
        """End the run early: no more arrivals, hang up what is up."""
        if not self._stopping:
            self._give_up(time.monotonic())
            self._turn_over()

    def _open(self, loop: asyncio.AbstractEventLoop, lines: list[Line]) -> None:
        plan = self.plan
        lines.append(Line(loop, plan.source, self.wire, self._deadlines, self._turn_over))
        caller_hangs_up = plan.hangup == "caller"
        self._callers = Callers(
            lines[0],
            plan.target,
            self._caller_over,
            hang_up=caller_hangs_up,
            ring_s=plan.ring_s,
            extra=plan.extra_headers,
        )
        self._callees: Callees | None = None
        if plan.uas is not None:
            lines.append(Line(loop, plan.uas, self.wire, self._deadlines, self._turn_over))
            callee_hangs_up = plan.hangup == "callee"
            self._callees = Callees(
                lines[1],
                self._pairing,
                self._callee_over,
                hang_up=callee_hangs_up,
                ring_s=plan.ring_s,
            )

    def _begin(self) -> None:
        plan = self.plan
        self._start_s = time.monotonic()
        due_s = None
        if plan.hangup == "gateway" and plan.hold is not None:
            due_s = plan.hold.typical_s
        self.tally = Tally(Series(self._start_s), plan.increments, due_s)
        self._offsets = plan.arrivals(plan.cps, self._dice)
        self._numbers: Iterator[tuple[str, str]] = plan.pairs(self._dice)
        self._await_arrival()
        self._deadlines.at(self._start_s, self._report)
        self._turn_over()

    def _await_arrival(self) -> None:
        self._last_s = self._start_s + next(self._offsets)
        self._arrival = self._deadlines.at(self._last_s, self._arrive)

    def _arrive(self, now: float) -> None:
        plan, dice = self.plan, self._dice
        number, caller = next(self._numbers)
        hold_s = plan.hold.draw_s(dice) if plan.hold is not None else 0.0
        self._longest_s = max(self._longest_s, hold_s)
        self._placed += 1
        call = Call(self._placed, number, caller, plan.mix(dice), hold_s, self._last_s)
        if self.live >= plan.concurrent:
            self.held_back += 1
            self._waiting.append(call)
        else:
            self._place(call, now)
        if self._placed < plan.calls:
            self._await_arrival()
        else:
            self._deadlines.at(now + self._limit_s(), self._give_up)

    def _limit_s(self) -> float:
        if self.plan.limit_s is not None:
            return self.plan.limit_s
        # calls held back by --concurrent take their turn one after another, at worst
        turns = 1 + len(self._waiting) // max(1, self.plan.concurrent)
        return TIDY_S + turns * (self._longest_s + self.plan.ring_s)

    def _place(self, call: Call, now: float) -> None:
        self._live[call.place] = call
        if self._callees is not None:
            self._pairing.expect(call)
        self._callers.place(call, now)
        self.tally.offer(call, self.live)

    def _caller_over(self, call: Call, now: float) -> None:
        call.caller_over = True
        self._leg_over(call, now)

    def _callee_over(self, call: Call, now: float) -> None:
        call.callee_over = True
        self._leg_over(call, now)

    def _leg_over(self, call: Call, now: float) -> None:
        if not call.over:
            self._deadlines.at(now + OTHER_LEG_S, lambda moment: self._other_leg_late(call, moment))
            return
        self._book(call)
        if self._waiting and not self._stopping:
            held_back = self._waiting.popleft()
            held_back.slot_s = now
            self._place(held_back, now)
        elif not self.live and (self._placed >= self.plan.calls or self._stopping):
            self._done.set()

    def _book(self, call: Call) -> None:
        self._pairing.forget(call)
        del self._live[call.place]
        self.tally.book(call)

    def _other_leg_late(self, call: Call, now: float) -> None:
        if call.over:
            return
        call.complain("the called leg was left up" if call.caller_over else "the calling leg was left up")
        call.caller_over = call.callee_over = True
        self._leg_over(call, now)

    def _give_up(self, now: float) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._deadlines.cancel(self._arrival)
        self._waiting.clear()
        if not self.live:
            self._done.set()
            return
        self._callers.give_up_all(now)
        self._deadlines.at(now + TIDY_S, self._abandon)

    def _abandon(self, now: float) -> None:
        """Nothing more is waited for: what is not over has failed."""
        del now
        for call in list(self._live.values()):
            call.complain("not over when the run ended")
            self._book(call)
        self._done.set()

    def _report(self, now: float) -> None:
        self._progress(self)
        self._deadlines.at(now + 0.25, self._report)

    def _ring(self) -> None:
        self._deadlines.run(time.monotonic())
        self._turn_over()

    def _turn_over(self) -> None:
        self._alarm.set(self._deadlines.next_at())

    def _span_s(self) -> float:
        gap_s = 1 / self.plan.cps
        return max(gap_s, self._last_s - self._start_s + gap_s)


@contextmanager
def _no_garbage_pauses() -> Iterator[None]:
    """Keep the collector from stopping the clock in mid-run: legs die by reference count, the rest waits."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
