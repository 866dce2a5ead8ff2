"""When Python's cyclic collector runs in a worker: seldom, and never over everything while calls are up.

Reference counting frees messages, transactions and calls, which break their own cycles; the collector only has to
find what slipped through.  Left alone it cost 8–10 % of a worker's processor time at 500 calls/s (measured), and its
oldest generation, a transaction lingering 32 s at a time, would stop the worker for a tenth of a second.

So what exists at the start is frozen (it lives as long as the process), what is new is looked at once, in small
portions, and the rest only when no call is up.
"""

import gc
import time
from typing import Final

YOUNG_OBJECTS: Final = 3_000
"""New containers between two looks at the youngest generation: some 30 a second at 500 calls/s, each half a
millisecond; with a third of that the looks themselves cost 4 % more of a worker's time (measured)."""

NEVER_ROUNDS: Final = 1_000_000_000
"""The older generations are not collected by themselves: a second look at what stays (a call's objects stay as long as
people talk) costs as much as the first, and finds only cycles that were still in use at the first."""

QUIET_COLLECT_S: Final = 60.0
"""Everything is collected at most this often, and only while no call is up."""


class Garbage:
    """The collector's regime in one worker."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def begin(self) -> None:
        """The start begins: a large directory is not looked through again and again while it is read."""
        gc.set_threshold(YOUNG_OBJECTS, NEVER_ROUNDS, NEVER_ROUNDS)

    def settle_down(self) -> None:
        """The start is over: nothing that exists now need ever be looked at again."""
        gc.collect()
        self.keep()

    def keep(self) -> None:
        """What exists now is not looked at any more: there is a new directory, of a hundred thousand objects and more
        and without cycles, and looking through it would stop the worker.  Costs next to nothing."""
        gc.freeze()

    def take_rest(self, now: float) -> None:
        """No call is up at ``now`` (monotonic seconds): collect what slipped through, if it is time."""
        if now - self._last_s >= QUIET_COLLECT_S:
            self._last_s = now
            gc.collect()
