"""How much talk may go on uncharged while Redis cannot be reached, and how much does: arithmetic alone (MONEY 8).

A tenant whose failure policy is ``continue`` is granted ticks without Redis where it was last seen with money, within
its limits as they were last seen.  What a call was granted beyond what Redis holds for it is its *exposure*.  No
call's exposure passes the ceiling of a call, and no tenant's the share of the tenant's ceiling that this worker has: a
tick is trimmed to the increments that are still within both.  A call stands here from its first such grant, also one
that cost nothing, until Redis is known to have all of it; then it is exposed no more.
"""

from dataclasses import dataclass
from typing import Final

from policy.verdict import Limits
from rating.tariff import Tariff, affordable_end_s, price_micros

SEEN_MAX: Final = 50_000
"""Tenants that are remembered as they were last seen, about 15 MB; of more, those seen longest ago are forgotten, and
treated as with ``terminate``."""

MILLI: Final = 1000
"""A token of the bucket for calls a second, in thousandths of a call, as in scripts/reserve.lua."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What may go uncharged, in micro-units: for one call, and for one tenant in one of ``shares`` equal workers."""

    call_micros: int = 0
    tenant_micros: int = 0
    shares: int = 1

    @property
    def share_micros(self) -> int:
        """What one worker may let a tenant talk uncharged."""
        return self.tenant_micros // self.shares


@dataclass(slots=True)
class Seen:
    """A tenant's account as a grant told of it: what was available, how many calls lived in all gates.

    ``began`` counts the calls that this worker has begun since then without Redis, less those it ended; ``milli`` is
    what is in its own bucket of new calls at ``filled_s``, None while it is untouched.
    """

    available_micros: int
    calls: int
    began: int = 0
    milli: int | None = None
    filled_s: float = 0.0


@dataclass(slots=True)
class Exposed:
    """A call that Redis may not have as it is: Redis holds ``base_micros`` for it, ``micros`` are beyond that."""

    tenant_id: str
    base_micros: int
    micros: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A tick granted on exposure: up to ``paid_s`` (None: nobody pays), ``held_micros`` for the whole call by then, of
    which ``cost_micros`` are exposed by this tick; ``final`` where it was trimmed."""

    paid_s: int | None
    held_micros: int
    cost_micros: int
    final: bool


class Exposure:
    """The accounts of one worker's exposed calls, by call and tenant."""

    __slots__ = ("_ceilings", "_seen", "calls", "tenants")

    def __init__(self, ceilings: Ceilings) -> None:
        self._ceilings = ceilings
        self._seen: dict[str, Seen] = {}
        self.calls: dict[str, Exposed] = {}
        self.tenants: dict[str, int] = {}
        """Micro-units by tenant; one whose calls are all charged stays, with 0."""

    # what was last seen

    def see(self, tenant_id: str, available_micros: int, calls: int) -> None:
        """A grant of Redis told of the tenant's account."""
        self._seen.pop(tenant_id, None)  # to the end: the order is that of sight
        self._seen[tenant_id] = Seen(available_micros, calls)
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def see_exhausted(self, tenant_id: str) -> None:
        """Redis refused the tenant a tick for want of credit."""
        seen = self._seen.get(tenant_id)
        if seen is not None:
            seen.available_micros = 0

    def seen(self, tenant_id: str) -> Seen | None:
        """The account as it was last seen; None: never, or too long ago."""
        return self._seen.get(tenant_id)

    # granting

    def limit(self, tenant_id: str, limits: Limits, now: float) -> str:
        """The code of the limit that a new call of the tenant would break by what was last seen; empty: none.

        ``now`` is monotonic seconds.  Room for live calls and the bucket of calls a second are shared out evenly over
        all workers, for none of them hears of the others.
        """
        seen, shares = self._seen[tenant_id], self._ceilings.shares
        if limits.max_calls is not None and seen.began + 1 > max(0, limits.max_calls - seen.calls) // shares:
            return "LIMIT_CALLS"
        if limits.calls_per_second is not None and not _take_token(seen, limits.calls_per_second, shares, now):
            return "LIMIT_CALLS_PER_SECOND"
        return ""

    def step(
        self, call_id: str, tenant_id: str, tariff: Tariff | None, start_s: int, end_s: int, held_micros: int
    ) -> Step | None:
        """Expose a tick of talk from ``start_s`` to at most ``end_s``, of a call for which ``held_micros`` is held.

        None, and nothing exposed, where not one increment is within the ceilings or nobody saw the tenant with money.
        """
        seen = self._seen.get(tenant_id)
        if tariff is None:
            step = Step(None, held_micros, 0, False) if seen is not None else None
        elif seen is None or seen.available_micros <= 0:
            step = None
        else:
            step = self._trimmed(call_id, tenant_id, tariff, start_s, end_s, held_micros)
        if step is not None:
            self.stand(call_id, tenant_id, held_micros)
            self._move(self.calls[call_id], step.cost_micros)
        return step

    def _trimmed(
        self, call_id: str, tenant_id: str, tariff: Tariff, start_s: int, end_s: int, held_micros: int
    ) -> Step | None:
        if end_s <= start_s:
            return Step(start_s, held_micros, 0, False)
        paid_micros = price_micros(tariff, start_s) if start_s > 0 else 0
        budget = self.room(call_id, tenant_id) + held_micros - paid_micros
        paid_s = affordable_end_s(tariff, start_s, end_s, budget)
        if paid_s is None:
            return None
        cost = max(0, price_micros(tariff, paid_s) - held_micros)
        return Step(paid_s, held_micros + cost, cost, paid_s < end_s)

    def room(self, call_id: str, tenant_id: str) -> int:
        """Micro-units that may still be exposed for this call."""
        exposed, ceilings = self.calls.get(call_id), self._ceilings
        of_call = ceilings.call_micros - (0 if exposed is None else exposed.micros)
        return max(0, min(of_call, ceilings.share_micros - self.tenants.get(tenant_id, 0)))

    def stand(self, call_id: str, tenant_id: str, held_micros: int) -> None:
        """Redis, which holds so much for the call, may not have it as it is from now on."""
        self.calls.setdefault(call_id, Exposed(tenant_id, held_micros))

    def undo(self, call_id: str, cost_micros: int) -> None:
        """A tick was not given after all."""
        exposed = self.calls.get(call_id)
        if exposed is not None:
            self._move(exposed, -min(cost_micros, exposed.micros))

    # counting calls

    def began(self, tenant_id: str, calls: int = 1) -> None:
        """So many calls began without Redis since the tenant was last seen; negative: ended."""
        seen = self._seen.get(tenant_id)
        if seen is not None:
            seen.began += calls

    # the end of it

    def close(self, call_id: str, charge_micros: int) -> None:
        """The call is over: what it cost beyond what Redis holds stays exposed until Redis has taken it."""
        exposed = self.calls.get(call_id)
        if exposed is not None:
            rest = max(0, charge_micros - exposed.base_micros)
            self._move(exposed, min(rest, exposed.micros) - exposed.micros)

    def clear(self, call_id: str) -> None:
        """Redis has all of this call: it holds what was granted, or has taken the charge."""
        exposed = self.calls.pop(call_id, None)
        if exposed is not None:
            self._move(exposed, -exposed.micros)

    # from a journal

    def restore(self, call_id: str, tenant_id: str, base_micros: int, micros: int) -> None:
        """What an older start of this worker exposed, whatever the ceilings are now."""
        self.clear(call_id)
        exposed = self.calls[call_id] = Exposed(tenant_id, base_micros)
        self._move(exposed, micros)

    def _move(self, exposed: Exposed, micros: int) -> None:
        exposed.micros += micros
        self.tenants[exposed.tenant_id] = self.tenants.get(exposed.tenant_id, 0) + micros


def _take_token(seen: Seen, per_second: int, shares: int, now: float) -> bool:
    full = max(MILLI, per_second * MILLI // shares)
    if seen.milli is None:
        seen.milli, seen.filled_s = full, now
    gained = int(per_second * MILLI * max(0.0, now - seen.filled_s) / shares)
    level = min(full, seen.milli + gained)
    if level < MILLI:
        return False
    seen.milli, seen.filled_s = level - MILLI, now
    return True
