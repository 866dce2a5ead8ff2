"""The rebuild of a lost or doubtful Redis from the ledger and the workers: never wipe, always merge (MONEY 6).

**Who.** One leader, by a lock in the ledger (``gateway.ledger.rebuilding``); without the ledger there is no rebuild,
and what is shut stays shut.  Whoever finds Redis in doubt leads: a settler, or ``reconcile --repair`` beside it.  All
partitions are rebuilt together: to lose part of Redis is rare, and the others pause for a second or two.

**Steps.**  Each may be the leader's last; whoever follows begins again with the next number.

1. ``n rebuilding``.  The ledger remembers ``n`` first, from then on no entry read in an older epoch is booked; then
   every partition is moved.  All scripts name the epoch they believe, so nothing is granted, charged, swept or paid in.
2. The outbox that survived is booked.  Nothing can be added to it, so afterwards it is empty.
3. Workers see the new epoch within a fifth of a second and say their live calls and unbooked charges; those that
   survived merge with them, the furthest wins.  A worker that has said all it knows acknowledges ``n``.  The leader
   waits for every worker whose claim lives, at least HEAR_MIN_S (claims may be lost too) and at most HEAR_MAX_S.
4. ``n counting``.  Workers are not heard either, so that counting meets nothing that moves.  Each call that has a lease
   or was said is looked up in the ledger.  One that is booked is over: a marker, nothing held, nothing taken.  A charge
   that was said and is not booked is cleared: its worker takes it once Redis is open, from what it holds.  Then each
   account: balance and ``applied`` are the ledger's balance and last sequence number, out of one row; held and calls
   are the sum over the reservations.
5. ``n``: open.

**Why it is exact.**  At step 4 a charge is in the ledger, or some worker keeps it, or it is lost, which needs Redis
and that worker to die within the loss window.  (The outbox is empty and cannot grow; an entry in some other settler's
hands cannot be booked, for it names an older epoch.)  Those in the ledger are part of the balance, and their markers
refuse them a second time.  Those that a worker keeps are not part of it, hold what they may cost, and are taken once by
the script that leaves their marker.  Money in is part of the balance up to the sequence number that is written beside
it; above that it is applied, once, by ``fund.lua``.  Money out was either booked, or is not known any more and is said
again by who asked for it: its marker counts only in the epoch it was made in, and the ledger books it only then.

**Pools and limits.**  Their counters are made anew as well: what the ledger booked of periods that are not over, and
what live calls have drawn.

**What is merged how.**  Reservations: the furthest tick of Redis and worker; what nobody says again stays until its
lease runs out.  Markers: the ledger decides.  Balance, applied: the ledger's.  Held, calls: counted.  Tokens of calls
per second: a tenant's are left as they are, a user's begin full.  Orders, the directory's version, claims: their
writers say them again.

**Who is heard later** (its link was cut for longer than HEAR_MAX_S) adopts its calls even where available falls below
zero: at most what they hold beyond what was granted meanwhile.  Its charges are judged by the settler in the open epoch
by the same rule (:func:`judge_late`), and wait for that in the worker.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import COUNTING, REBUILDING, epoch_number
from gateway.credit.streams import LATE
from gateway.credit.views import AccountView, BookedCall, Reservation, Restored, SaidCharge
from gateway.ledger import BookedCharge, Ledger, LedgerAccount, LedgerError
from gateway.settlement.outbox import book_outbox, withdrawal_id
from gateway.telemetry.logs import get_logger
from policy.drawn import held_counters

HEAR_MIN_S: Final = 1.0
"""A worker looks for a new epoch each 0.2 s; one that connects again tries each 0.4 s and then reads everything."""

HEAR_MAX_S: Final = 2.5
"""Longest wait for workers: a dead one's claim lives 15 s, and all of a rebuild must be done in five seconds."""

HEAR_POLL_S: Final = 0.05

RENEW_S: Final = 1.0
"""How often the lock is renewed while workers are waited for: three times within its life."""

RECENT_MS: Final = 60_000
"""Withdrawals so recent may be said again by who asked for them, or by a settler after a restart of Redis."""

MS_PER_S: Final = 1000

log = get_logger("settlement")


@dataclass(frozen=True, slots=True)
class Findings:
    """What the leader saw once nothing moved any more."""

    reservations: Sequence[Reservation]
    said: Sequence[SaidCharge]
    booked: Mapping[str, BookedCharge]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``over``: booked, so over in Redis too.  ``cleared``: to be taken.  ``held`` and ``calls`` by tenant, and
    what live calls have ``drawn``, by tenant and counter (policy.drawn)."""

    over: Sequence[BookedCall]
    cleared: Sequence[SaidCharge]
    held: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    drawn: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestoredAccount:
    """An account that a rebuild changed, in micro-units: what Redis had (all 0 where it had none), what it has now."""

    before: AccountView
    after: Restored


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: epoch, why, entries booked, calls kept and ended, charges cleared, accounts changed."""

    number: int
    why: str
    booked: int
    kept: int
    over: int
    cleared: int
    changed: tuple[RestoredAccount, ...]
    unheard: tuple[str, ...]
    seconds: float


# deciding: nothing here asks anybody anything


def judge(found: Findings) -> Verdict:
    """Which calls are over, which charges may be taken, and what each tenant's reservations hold."""
    said = {each.call_id: each for each in found.said}
    known: list[Reservation | SaidCharge] = [*found.reservations, *found.said]
    over = {each.call_id: call for each in known if (call := _booked(each, said, found))}
    left = [each for each in found.reservations if each.call_id not in over]
    held: Counter[str] = Counter()
    drawn: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in left:
        held[each.tenant_id] += each.held_micros
        if each.drawn:
            drawn[each.tenant_id].update(held_counters(each.drawn))
    cleared = [each for each in found.said if each.call_id not in over]
    return Verdict(list(over.values()), cleared, held, Counter(each.tenant_id for each in left), drawn)


def _booked(each: Reservation | SaidCharge, said: Mapping[str, SaidCharge], found: Findings) -> BookedCall | None:
    """The call as the ledger has it; ``swept`` where its owner may still charge more than a sweep did (MONEY 5)."""
    booked = found.booked.get(each.call_id)
    if booked is None:
        return None
    late = found.booked.get(each.call_id + LATE, BookedCharge(0, 0))
    charge, talk_s = booked.charge_micros + late.charge_micros, (booked.talk_ms + late.talk_ms) // MS_PER_S
    swept = each.call_id not in said or said[each.call_id].charge_micros > charge
    return BookedCall(each.partition, each.call_id, each.tenant_id, swept, charge, talk_s)


def restored(accounts: Iterable[LedgerAccount], verdict: Verdict) -> list[Restored]:
    """What every account is set to."""
    return [
        Restored(each.tenant_id, each.balance_micros, verdict.held.get(each.tenant_id, 0),
                 verdict.calls.get(each.tenant_id, 0), each.seq)
        for each in accounts
    ]  # fmt: skip


def recounted(
    booked: Mapping[str, Mapping[str, int]], verdict: Verdict, accounts: Iterable[Restored]
) -> dict[str, Counter[str]]:
    """What the counters of every tenant are set to: what is booked in open periods, and what live calls have drawn."""
    counters: dict[str, Counter[str]] = {}
    for account in accounts:
        mine = counters[account.tenant_id] = Counter(booked.get(account.tenant_id, {}))
        mine.update(verdict.drawn.get(account.tenant_id, {}))
    return counters


def differs(view: AccountView, wanted: Restored) -> bool:
    """Whether Redis has anything else."""
    has = (view.exists, view.balance_micros, view.held_micros, view.calls, view.applied_seq)
    return has != (True, wanted.balance_micros, wanted.held_micros, wanted.calls, wanted.seq)


# acting


async def rebuild(ledger: Ledger, credit: CreditAdmin, why: str, *, first: bool = False) -> Rebuilt:
    """Rebuild Redis; with ``first`` no worker can know anything yet, and nobody is waited for.

    Raises RebuildHeld where another one leads, LedgerAway or StoreError: Redis stays shut then, until this or another
    process comes through.
    """
    await credit.fix_partitions()
    return await _Leader(ledger, credit).lead(why, first)


class _Leader:
    """One attempt at a rebuild."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin) -> None:
        self._ledger, self._credit = ledger, credit
        self._holder = uuid4().hex
        self._number = 0
        self._began_s = time.monotonic()

    async def lead(self, why: str, first: bool) -> Rebuilt:
        try:
            await self._shut()
            booked, unheard = 0, tuple[str, ...]()
            if not first:
                log.warning("rebuilding Redis", epoch=self._number, why=why)
                booked = await self._book()
                unheard = await self._hear()
            await self._move(REBUILDING, COUNTING)
            verdict, changed = await self._count()
            await self._ledger.renew_rebuild(self._holder, self._number)
            await self._move(COUNTING, "")
        finally:
            with contextlib.suppress(LedgerError):  # it runs out by itself
                await self._ledger.end_rebuild(self._holder, self._number)
        kept = sum(verdict.calls.values())
        took_s = time.monotonic() - self._began_s
        done = Rebuilt(
            self._number, why, booked, kept, len(verdict.over), len(verdict.cleared), tuple(changed), unheard, took_s
        )
        if not first:
            _tell(done)
        return done

    async def _shut(self) -> None:
        """Step 1."""
        found = await self._credit.epochs()
        self._number = await self._ledger.begin_rebuild(self._holder, max(map(epoch_number, found)))
        await self._credit.move_epochs(found, f"{self._number}{REBUILDING}")
        await self._credit.announce_epoch(self._number)

    async def _book(self) -> int:
        """Step 2; how many entries."""
        booked = 0
        while entries := (await book_outbox(self._ledger, self._credit, self._number)).entries:
            booked += entries
            await self._ledger.renew_rebuild(self._holder, self._number)
        return booked

    async def _hear(self) -> tuple[str, ...]:
        """Step 3; the workers that were not heard in time."""
        renew_at_s = 0.0
        while True:
            now_s = time.monotonic()
            if now_s >= renew_at_s:
                await self._ledger.renew_rebuild(self._holder, self._number)
                renew_at_s = now_s + RENEW_S
            heard = await self._credit.heard()
            live = [worker.name for worker in await self._credit.workers() if worker.alive]
            waiting = tuple(name for name in live if heard.get(name, 0) < self._number)
            waited_s = now_s - self._began_s
            if waited_s >= HEAR_MAX_S or (waited_s >= HEAR_MIN_S and not waiting):
                return waiting
            await asyncio.sleep(HEAR_POLL_S)

    async def _count(self) -> tuple[Verdict, list[RestoredAccount]]:
        """Step 4."""
        credit, ledger, number = self._credit, self._ledger, self._number
        epoch = f"{number}{COUNTING}"
        verdict = judge(await find(ledger, credit, await credit.reservations(), await credit.said_charges()))
        await credit.mark_booked(verdict.over, epoch)
        await credit.clear(verdict.cleared, epoch, number)
        recent = await ledger.recent_withdrawals(RECENT_MS)
        await credit.remember_withdrawals(
            ((each.tenant_id, withdrawal_id(each.tenant_id, each.reference), each.amount_micros) for each in recent),
            number,
        )
        wanted = restored(await ledger.accounts(), verdict)
        views = await credit.accounts([each.tenant_id for each in wanted])
        changed = [RestoredAccount(*pair) for pair in zip(views, wanted, strict=True) if differs(*pair)]
        await credit.restore((each.after for each in changed), number)
        await credit.recount(recounted(await ledger.open_counters(), verdict, wanted), number)
        await credit.note_marks(await ledger.outbox_marks())
        return verdict, changed

    async def _move(self, old: str, new: str) -> None:
        partitions = len(await self._credit.epochs())
        await self._credit.move_epochs([f"{self._number}{old}"] * partitions, f"{self._number}{new}")


async def find(
    ledger: Ledger, credit: CreditAdmin, reservations: Sequence[Reservation], said: Sequence[SaidCharge]
) -> Findings:
    """Look these calls up in the ledger; also what was charged late (MONEY 5)."""
    ids = {each.call_id for each in reservations} | {each.call_id for each in said}
    booked = await ledger.charges(ids)
    late = await ledger.charges([call_id + LATE for call_id in booked])
    return Findings(reservations, said, {**booked, **late})


async def judge_late(ledger: Ledger, credit: CreditAdmin) -> int:
    """Judge charges of workers that were heard after the rebuild; how many.  Raises LedgerAway or StoreError.

    In an open epoch a charge of an older one is booked or never will be, unless a marker says that it is on its way.
    """
    doubtful = await credit.take_doubtful()
    if not doubtful:
        return 0
    number, epochs = await ledger.redis_epoch(), await credit.epochs()
    said = await credit.said_charges(each for each in doubtful if epochs[each] == str(number))
    verdict = judge(await find(ledger, credit, (), said))
    await credit.mark_booked(verdict.over, str(number))
    await credit.clear(verdict.cleared, str(number), number)
    return len(said)


def _tell(done: Rebuilt) -> None:
    by_kind: dict[str, int] = defaultdict(int)
    for each in done.changed:
        by_kind["lost" if not each.before.exists else "corrected"] += 1
    log.warning(
        "Redis was rebuilt", epoch=done.number, booked=done.booked, calls_kept=done.kept, calls_over=done.over,
        charges_said=done.cleared, accounts=dict(by_kind), unheard=list(done.unheard), seconds=round(done.seconds, 3),
    )  # fmt: skip
