"""What a worker keeps of its calls' money until the ledger has it, because Redis may forget its last two seconds.

With an append-only file synced every second, Redis killed and started again may lack the last writes it acknowledged
(MONEY 6).  As long as the worker lives it knows better: the grants of its live calls and the charges of those that
are over are kept here, and said again when Redis came back as another run or in another epoch.  Saying again is
harmless: the scripts merge by (call, tick), and a marker refuses a second charge.
"""

from collections import deque
from collections.abc import Container, Iterable, Iterator
from typing import Final

from gateway.call.adoption import StoredCall
from gateway.call.commands import Answer, Prove, Release, Renew, Reserve, Settle
from policy.drawn import end_money
from policy.verdict import Limits
from rating.tariff import Tariff

UNSENT_MAX: Final = 20_000
"""Charges that Redis has not acknowledged before the gate takes no new calls: as many as one gate's live calls
(sip.max_calls), so an outage that ends every one of them still fits; about 60 MB."""

KEPT_MAX: Final = 50_000
"""Acknowledged charges kept until they are booked: 100 s at 500 calls/s, about 100 MB.  Beyond it (the ledger is away
for long) the oldest are left to Redis, whose file has had them far longer than the seconds it may lose."""

LOSS_WINDOW_S: Final = 5.0
"""How long a charge is kept after Redis took it even if it is booked: more than the two seconds that everysec loses,
else a balance could forget a charge that the ledger has."""


class Live:
    """One live call as the worker last knew it."""

    __slots__ = (
        "adoption", "answered_ms", "call_id", "drawn", "final", "former", "held_micros", "lease_s", "paid_s",
        "proven_s", "tariff", "tenant_id", "terms", "tick", "usage",
    )  # fmt: skip

    def __init__(self, reserve: Reserve, paid_s: int | None, held_micros: int, final: bool, drawn: str = "") -> None:
        self.call_id = reserve.call_id
        self.tenant_id = reserve.tenant_id
        self.tariff: Tariff | None = reserve.tariff
        self.terms, self.drawn = reserve.terms, drawn
        self.lease_s = reserve.lease_s
        self.adoption = reserve.adoption
        self.usage = reserve.usage
        self.tick = reserve.tick
        self.paid_s = paid_s
        self.held_micros = held_micros
        self.final = final
        self.answered_ms = 0
        self.proven_s = 0
        self.former = ("", 0)
        """Whose it was when it was taken over from another slot, and below which generation."""

    def answer(self, command: Answer) -> None:
        """The answer is on its way."""
        self.answered_ms = command.answered_unix_ms
        self.adoption = command.adoption
        if command.resolved is not None:
            self.tariff, paid_s = command.resolved
            if paid_s is not None:
                self.paid_s, self.drawn = paid_s, end_money(self.drawn, paid_s)

    def prove(self, command: Prove | Renew) -> None:
        """Talk up to ``proven_s`` is known to have happened; perhaps the dialogs changed."""
        self.proven_s = max(self.proven_s, command.proven_s)
        if isinstance(command, Prove) and command.adoption is not None:
            self.adoption = command.adoption

    def grant(self, tick: int, paid_s: int | None, held_micros: int, final: bool, drawn: str = "") -> None:
        """A further tick was granted; an older one says nothing new."""
        if tick >= self.tick:
            self.tick, self.paid_s, self.held_micros, self.final, self.drawn = tick, paid_s, held_micros, final, drawn


class Kept:
    """A call that is over: its last command, and what was held for it, until the ledger has the charge."""

    __slots__ = (
        "acknowledged", "again", "booked", "command", "doubtful", "epoch", "leaves_at_s", "live", "sent",
    )  # fmt: skip

    def __init__(self, command: Settle | Release, live: Live | None, was_dirty: bool) -> None:
        self.command = command
        self.live = live
        self.sent = False
        self.again = was_dirty
        """Redis may have forgotten its reservation: what was held is merged before the charge is taken."""
        self.epoch = 0
        """The epoch of its partition when it was made; 0 where none was known."""
        self.doubtful = False
        """A rebuild has begun since it was made: the ledger may have it, which is found out before it is taken."""
        self.acknowledged = False
        self.booked = False
        self.leaves_at_s = 0.0
        """When it may be let go, once it is both booked and acknowledged; an earlier moment counts no more after the
        charge had to be said again."""
        if live is not None:
            live.adoption = live.usage = b""

    def doubt(self, number: int) -> bool:
        """Whether the ledger may have it, its partition being in epoch ``number`` by now."""
        if self.epoch not in {0, number} and self.live is not None and isinstance(self.command, Settle):
            self.doubtful = True
        return self.doubtful


class Keeper:
    """The live calls and unbooked charges of one worker."""

    __slots__ = ("_acknowledged", "_leaving", "dirty", "kept", "live", "owed", "unacknowledged")

    def __init__(self) -> None:
        self.live: dict[str, Live] = {}
        self.kept: dict[str, Kept] = {}
        self.unacknowledged = 0
        self.dirty: dict[str, Live] = {}
        """Live calls that Redis may not know as they are: to be said again as soon as it listens."""
        self.owed: Container[str] = ()
        """Calls that Redis may not have as they are even where they are not dirty: a merge of them is under way."""
        self._leaving: deque[tuple[float, str]] = deque()
        self._acknowledged: deque[str] = deque()

    @property
    def full(self) -> bool:
        """So many charges wait for Redis that no new call may add to them."""
        return self.unacknowledged >= UNSENT_MAX

    def grant_first(self, command: Reserve, paid_s: int | None, held_micros: int, final: bool, drawn: str = "") -> None:
        """The first tick was granted; harmless when repeated, and for a call that was given up meanwhile."""
        if command.call_id not in self.live and command.call_id not in self.kept:
            self.live[command.call_id] = Live(command, paid_s, held_micros, final, drawn)

    def adopt(self, stored: StoredCall) -> None:
        """A call that another process had granted to it is ours now: Redis may be told again of it from here on."""
        first = Reserve(
            stored.call_id, stored.tenant_id, stored.tariff, 0, stored.lease_s, Limits(), stored.adoption, stored.usage,
            tick=stored.tick, terms=stored.terms,
        )  # fmt: skip
        live = Live(first, stored.paid_s, stored.held_micros, stored.final, stored.drawn)
        self.live[stored.call_id] = live
        live.answered_ms, live.proven_s, live.former = stored.answered_ms, stored.proven_s, stored.former

    def knows(self, call_id: str) -> bool:
        """Whether a call is, or was a short while ago, one of this worker's."""
        return call_id in self.live or call_id in self.kept

    def close(self, command: Settle | Release) -> Kept | None:
        """The call is over; None where that was said before."""
        if command.call_id in self.kept:
            return None
        was_dirty = self.dirty.pop(command.call_id, None) is not None or command.call_id in self.owed
        kept = self.kept[command.call_id] = Kept(command, self.live.pop(command.call_id, None), was_dirty)
        self.unacknowledged += 1
        return kept

    def soil(self, call_id: str) -> None:
        """Redis may not know this call as it is, if it is live."""
        live = self.live.get(call_id)
        if live is not None:
            self.dirty[call_id] = live

    def take_over(self, kept: Kept) -> None:
        """Keep a charge of an older start; nothing where it is kept already."""
        if kept.command.call_id not in self.kept:
            self.kept[kept.command.call_id] = kept
            self.unacknowledged += 1

    def doubtful(self, up: bool) -> list[Kept]:
        """What Redis may not have, oldest first: all that it has not acknowledged; not ``up``, then the rest, newest
        first, for it may come back without its last seconds."""
        waiting = [kept for kept in self.kept.values() if not kept.acknowledged]
        rest = () if up else (kept for kept in reversed(self.kept.values()) if kept.acknowledged)
        return [*waiting, *rest]

    def is_taken(self, call_id: str) -> bool:
        """Redis has acknowledged this charge; also where it is not kept any more."""
        kept = self.kept.get(call_id)
        return kept is None or kept.acknowledged

    def acknowledge(self, kept: Kept, now: float) -> None:
        """Redis has taken it (or will never take it): it waits for the ledger now."""
        if kept.acknowledged:
            return
        kept.acknowledged = True
        self.unacknowledged -= 1
        self._remember(kept)
        if kept.booked:
            self._let_leave(kept, now)
        elif len(self.kept) - self.unacknowledged > KEPT_MAX:
            self._drop_oldest()

    def book(self, call_ids: Iterable[str], now: float) -> None:
        """The ledger has these: they go once Redis' file has them for certain too."""
        for call_id in call_ids:
            kept = self.kept.get(call_id)
            if kept is None or kept.booked:
                continue
            kept.booked = True
            if kept.acknowledged:
                self._let_leave(kept, now)

    def _let_leave(self, kept: Kept, now: float) -> None:
        kept.leaves_at_s = now + LOSS_WINDOW_S
        self._leaving.append((kept.leaves_at_s, kept.command.call_id))

    def forget(self, now: float) -> None:
        """Let go of what was booked and acknowledged long enough ago; not to be asked while Redis is away."""
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            at_s, call_id = leaving.popleft()
            kept = self.kept.get(call_id)
            if kept is not None and kept.acknowledged and kept.leaves_at_s == at_s:
                del self.kept[call_id]

    def drop(self, call_id: str) -> None:
        """Somebody else answers for this call now (FENCED)."""
        self.live.pop(call_id, None)
        self.dirty.pop(call_id, None)
        kept = self.kept.pop(call_id, None)
        if kept is not None and not kept.acknowledged:
            self.unacknowledged -= 1

    def unsay(self, kept: Kept) -> None:
        """Redis may have forgotten this charge: it must be taken again."""
        kept.sent, kept.again = False, True
        if kept.acknowledged:
            kept.acknowledged = False
            self.unacknowledged += 1

    def waiting(self) -> Iterator[Kept]:
        """Charges to be sent (again), oldest first."""
        return (kept for kept in list(self.kept.values()) if not kept.sent)

    def _remember(self, kept: Kept) -> None:
        """In the order of acknowledgement; ids of what is gone since then are let go with the front, or all at once."""
        order = self._acknowledged
        order.append(kept.command.call_id)
        if len(order) > len(self.kept) + KEPT_MAX:
            self._acknowledged = deque(dict.fromkeys(call_id for call_id in order if self._stands(call_id)))

    def _stands(self, call_id: str) -> bool:
        kept = self.kept.get(call_id)
        return kept is not None and kept.acknowledged

    def _drop_oldest(self) -> None:
        while self._acknowledged:
            call_id = self._acknowledged.popleft()
            if self._stands(call_id):
                del self.kept[call_id]
                return
