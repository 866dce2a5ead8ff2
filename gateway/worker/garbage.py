"""When Python's cyclic collector runs in a worker: seldom, and never over everything while calls are up.

Reference counting frees messages, transactions and calls, which break their own cycles; the collector only has to
find what slipped through.  Left alone it cost 8–10 % of a worker's processor time at 500 calls/s (measured), and its
oldest generation, a transaction lingering 32 s at a time, would stop the worker for a tenth of a second.

So what exists at the start is frozen (it lives as long as the process), the young generations are looked at in small
portions, and the oldest only when no call is up.
"""

import gc
import time
from typing import Final

YOUNG_OBJECTS: Final = 1_000
"""New containers between two looks at the youngest: about 20 a second at 500 calls/s, 0.2 ms each.  An object that
stays is looked at twice whatever these two numbers are; they only say how long a pause is."""

MIDDLE_ROUNDS: Final = 2
"""Looks at the youngest between two at the middle generation: a pause of a millisecond (10,000 and 1 made it 20)."""

OLDEST_NEVER: Final = 1_000_000_000
"""The oldest generation is not collected by itself."""

QUIET_COLLECT_S: Final = 60.0
"""The oldest generation is collected at most this often, and only while no call is up."""


class Garbage:
    """The collector's regime in one worker."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def settle_down(self) -> None:
        """The start is over: nothing that exists now need ever be looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLDEST_NEVER)

    def take_rest(self, now: float) -> None:
        """No call is up at ``now`` (monotonic seconds): collect what slipped through, if it is time."""
        if now - self._last_s >= QUIET_COLLECT_S:
            self._last_s = now
            gc.collect()
