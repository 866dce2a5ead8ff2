"""The credit store as a worker sees it: commands in, results out, one pipeline per event-loop turn (SIP.md 2)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.call.commands import Command, Result


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
    """

    timed: Callable[[str, float], None] = lambda op, seconds: None
    up: Callable[[bool], None] = lambda up: None
    alert: Callable[[str, str], None] = lambda code, text: None


class CreditStore:
    """Carries out the commands of one worker's calls; all of one event-loop turn leave as one pipeline."""

    def __init__(
        self,
        url: str,
        owner: Owner,
        on_result: Callable[[Result], None],
        *,
        partitions: int = 256,
        lease_grace_s: int = 30,
        outbox_max: int = 1_000_000,
        refused_per_s: int = 50,
        timeout_s: float = 1.0,
        observer: StoreObserver | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def up(self) -> bool:
        """Connected, claimed, and Redis answers."""
        raise NotImplementedError

    @property
    def fenced(self) -> bool:
        """A newer start of this slot, or another installation, holds the name: this worker must end (SIP.md 1)."""
        raise NotImplementedError

    @property
    def full(self) -> bool:
        """So many charges wait for Redis, or so many outbox entries for the ledger, that new calls get 503."""
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """The epoch of this slot's present start; 0 before the first connection."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to connect, and wait for the first attempt's outcome; Redis being down is not an error."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Send what waits, wait for its acknowledgement at most ``timeout_s``, and close."""
        raise NotImplementedError

    def submit(self, command: Command) -> None:
        """Carry a command out; its result, if it has one, comes to ``on_result`` in a later turn, never from here."""
        raise NotImplementedError

    def booked(self, call_ids: Iterable[str]) -> None:
        """The ledger has these charges: forget them (orders.Booked)."""
        raise NotImplementedError
