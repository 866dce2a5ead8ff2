"""Whom a credit store acts for, and whom it tells: the owner of the calls, and who shows what happens to the store."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns the calls of this store: node name, worker slot, and the installation that may hold the name.

    ``instance`` is a text that a restart of the same installation repeats (kept in its data folder) and no other
    installation has: with it a restart after kill -9 takes its own name over at once, and a second live holder is
    refused.  The epoch of the slot is claimed at the first connection and rises at each start.
    """

    node: str
    slot: int
    instance: str

    @property
    def name(self) -> str:
        """``node/slot``."""
        return f"{self.node}/{self.slot}"


@dataclass(frozen=True, slots=True)
class StoreObserver:
    """Where the store reports what telemetry shows; every field may be left out.

    ``timed(op, seconds)``: redis_seconds.  ``up(bool)``: redis_up.  ``alert(code, text)``: an invariant of money
    was about to be broken and nothing was changed, or Redis refuses writes; it belongs into the log as an error.
    ``sure()``: after a stall the slot turned out to be still ours (``CreditStore.is_sure``).
    """

    timed: Callable[[str, float], None] = lambda op, seconds: None
    up: Callable[[bool], None] = lambda up: None
    sure: Callable[[], None] = lambda: None
    alert: Callable[[str, str], None] = lambda code, text: None
