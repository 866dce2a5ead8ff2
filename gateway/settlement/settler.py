"""The settler: the process that brings charges from Redis' outbox into the ledger, and money from the ledger to Redis.

It is a list of jobs, each with its own rhythm and a task of its own, each harmless when repeated and none minding what
the others are doing.  A job that fails because a store is away is tried again later and later, up to BACKOFF_MAX_S,
while the others go on: with the ledger away leases are still swept and the outbox is still watched.  Nothing is
remembered between turns that could not be lost: what waits stands in Redis' streams and in the ledger (MONEY 4).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.credit.admin import CreditAdmin, StoreError, StoreStaleError, StoreUnreachableError
from gateway.ledger import (
    EpochPassed,
    HeadFiles,
    Ledger,
    LedgerAccount,
    LedgerAway,
    LedgerBehind,
    LedgerError,
    RebuildHeld,
    is_over,
)
from gateway.settlement.accounts import apply_all_money_in, make_accounts, settle_in
from gateway.settlement.doubt import missing_accounts
from gateway.settlement.expiry import expire_lots
from gateway.settlement.gauges import Gauges
from gateway.settlement.heads import keep_heads
from gateway.settlement.minutes import PoolWatch
from gateway.settlement.outbox import READ_EACH, book_outbox, book_refused
from gateway.settlement.rebuild import judge_late
from gateway.settlement.recharge import Recharger
from gateway.settlement.reconcile import DriftWatch
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import Meter

if TYPE_CHECKING:
    from gateway.settlement.notify import Notifier  # with its HTTP client and languages, which few who import this need

BOOK_S: Final = 0.4
"""Rest between two looks at the outbox: some hundred charges gather, which share one commit and one reading; a charge
is in the ledger well within a second."""

WATCH_S: Final = 0.4
"""Gauges are at most one second old (CONTRACT 8), and the process writes them down each half second."""

REFUSED_S: Final = 2.0
"""Refused calls move no money; their records may come two seconds later."""

SWEEP_S: Final = 5.0
"""Leases outlive paid-until by 30 s anyway (MONEY 5)."""

SWEEP_MAX: Final = 1_000
"""Leases closed in one turn: some 0.1 s of Redis' time."""

SETTLE_IN_S: Final = 0.4
"""How soon a Redis that was restarted or emptied unnoticed is looked at, and rebuilt where it lost something."""

DIRECTORY_S: Final = 2.0
"""How late a rate deck may come into effect; workers take up to half a second more to read it."""

HEADS_S: Final = 60.0
"""How late after the beginning of a day its file of heads may come."""

COUNTERS_S: Final = 3600.0
"""How often counters of periods that are over are taken away: hours are the shortest of them."""

FORGET_S: Final = 30.0
"""How often some old notices are taken away: a million and more a day, and never enough at once to delay a charge."""

KEEP_DAYS: Final = 400
"""The default of [notifications] keep_days: a year and a month, so that last year's are there to compare with."""

POOLS_S: Final = 5.0
"""How late a tenant is told that its minutes are used up, once the call that used them is booked."""

NOTIFY_S: Final = 1.0
"""How late a tenant is told of what is booked."""

EXPIRE_S: Final = 60.0
"""How late a lot may be forfeited; what calls held of it then is looked at again as often."""

RECHARGE_S: Final = 1.0
"""How soon an account that fell below its trigger asks for money, and a payment that is due is asked about."""

BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 1.0
"""A store that is back is noticed within a second."""

LAST_TURN_S: Final = 5.0
"""At the stop, how long the last charges are booked for; what is left waits for the next settler."""

WATCH_SHARE: Final = 0.02
"""Watching takes at most this share of the time, whatever the number of tenants."""

log = get_logger("settlement")


@dataclass(slots=True)
class _Job:
    """Something to be done every ``every_s``.

    ``needs_settled``: only once :func:`settle_in` has succeeded.
    """

    name: str
    every_s: float
    work: Callable[[], Awaitable[bool]]
    needs_settled: bool = False
    failures: int = 0


class Settler:
    """Outbox → ledger, ledger → Redis, accounts, sweep, gauges.  One per installation; a second one does no harm."""

    def __init__(
        self,
        ledger: Ledger,
        credit: CreditAdmin,
        meter: Meter | None = None,
        heads: HeadFiles | None = None,
        notifier: "Notifier | None" = None,
        recharger: Recharger | None = None,
        keep_days: int = KEEP_DAYS,
    ) -> None:
        """``heads``: where the heads of the ledger's chains are kept, once a day.

        ``notifier`` tells tenants; ``recharger`` None: no recharges.  ``keep_days``: how long notices are remembered.
        """
        self._keep_days = keep_days
        self._ledger = ledger
        self._credit = credit
        self._notifier, self._recharger = notifier, recharger
        self._gauges = Gauges(meter or Meter())
        self._drift = DriftWatch(ledger, credit)
        self._pools = PoolWatch(ledger)
        self._run_id = ""
        self._epoch = 0
        self._settled = asyncio.Event()
        self._accounts: list[LedgerAccount] = []
        self._directory_version = 0
        self._watch_due_s = 0.0
        self._is_behind = False
        self._jobs = [
            _Job("settle in", SETTLE_IN_S, self._settle_in),
            _Job("book", BOOK_S, self._book, needs_settled=True),
            _Job("watch the outbox", WATCH_S, self._watch_outbox),
            _Job("keep refused calls", REFUSED_S, self._book_refused, needs_settled=True),
            _Job("sweep", SWEEP_S, self._sweep),
            _Job("publish the directory", DIRECTORY_S, self._publish_directory, needs_settled=True),
            _Job("forget counters", COUNTERS_S, self._forget_counters, needs_settled=True),
            _Job("forget notices", FORGET_S, self._forget_notices, needs_settled=True),
            _Job("watch pools", POOLS_S, self._watch_pools, needs_settled=True),
            _Job("expire lots", EXPIRE_S, lambda: expire_lots(ledger, credit), needs_settled=True),
        ]
        if recharger:
            self._jobs.append(_Job("watch for recharges", RECHARGE_S, recharger.watch, needs_settled=True))
        if heads:
            self._jobs.append(_Job("keep heads", HEADS_S, lambda: keep_heads(ledger, heads), needs_settled=True))

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; survives ledger and Redis being away, at the start too.

        The ledger is migrated first.  At the stop it books what waits, for at most LAST_TURN_S.
        """
        async with asyncio.TaskGroup() as jobs:
            for job in [*self._jobs, *self._waiting_for_others(stop)]:
                jobs.create_task(self._keep_doing(job, stop))
        if self._settled.is_set():
            await self._last_turn()

    def _waiting_for_others(self, stop: asyncio.Event) -> list[_Job]:
        """Messages and payments wait for other people's servers, and so are broken off at the stop: the last charges
        are booked after it.  Tenants are told while Redis is away, too."""
        notifier, recharger, jobs = self._notifier, self._recharger, list[_Job]()
        if notifier:
            jobs.append(_Job("tell tenants", NOTIFY_S, lambda: _unless(stop, notifier.deliver())))
        if recharger:
            paying = _Job("ask for payments", RECHARGE_S, lambda: _unless(stop, recharger.pay()), needs_settled=True)
            jobs.append(paying)
        return jobs

    async def _keep_doing(self, job: _Job, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if job.needs_settled and not self._settled.is_set():
                await _either(stop, self._settled)
            else:
                await _wait(stop, await self._do(job))

    async def settle_once(self) -> int:
        """One turn by hand: book what waits in the outbox; how many entries.  Raises LedgerAway or StoreError."""
        turn = await book_outbox(self._ledger, self._credit, self._epoch or await self._ledger.redis_epoch())
        return turn.entries + await book_refused(self._ledger, self._credit)

    async def _last_turn(self) -> None:
        until_s = time.monotonic() + LAST_TURN_S
        try:
            while await self.settle_once() and time.monotonic() < until_s:
                pass
        except (LedgerError, StoreError) as error:
            log.warning("charges wait in the outbox for the next settler", why=str(error))

    async def _do(self, job: _Job) -> float:
        """One turn of a job; how long to rest.  What fails is logged once and tried again."""
        try:
            busy = await job.work()
        except LedgerAway as error:
            self._gauges.ledger_up(False)
            return _failed(job, str(error), quietly=isinstance(error, LedgerBehind))
        except StoreError as error:
            self._lose_redis(error)
            return _failed(job, str(error))
        except (EpochPassed, RebuildHeld) as error:
            self._settled.clear()
            return _failed(job, str(error))
        except Exception as error:  # a mistake of our own must not keep charges waiting for ever
            if not job.failures:
                log.exception("settler job failed", job=job.name)
            return _failed(job, repr(error))
        if job.failures:
            log.info("settler job goes on", job=job.name, after_failures=job.failures)
        job.failures = 0
        return 0.0 if busy else job.every_s

    def _lose_redis(self, error: StoreError) -> None:
        """Who knows what Redis remembers when it is back: settle in again before anything is booked."""
        if isinstance(error, StoreUnreachableError):
            self._gauges.redis_up(False)
        if isinstance(error, StoreUnreachableError | StoreStaleError):
            self._settled.clear()

    # Jobs: each returns whether there is more to do at once

    async def _settle_in(self) -> bool:
        """Done at the start, and again when Redis was away, another run of it answers, or it forgot its epoch."""
        run_id, newest = await self._credit.run_id(), await self._credit.newest_epoch()
        if self._settled.is_set() and (run_id, newest) == (self._run_id, self._epoch):
            return False
        self._settled.clear()
        if self._run_id and run_id != self._run_id:
            log.warning("Redis was restarted: saying accounts and money in again")
        self._epoch = await settle_in(self._ledger, self._credit)
        self._run_id = run_id
        self._settled.set()
        self._gauges.redis_up(True)
        self._gauges.ledger_up(True)
        return False

    async def _book(self) -> bool:
        """Busy while a whole reading's worth waits, so that a backlog is booked without rests.

        Right after it the outbox is all but empty, which is the moment to see whether the money adds up.
        """
        turn = await book_outbox(self._ledger, self._credit, self._epoch)
        self._gauges.outbox(turn.entries, turn.lag_s)
        self._is_behind = behind = turn.entries >= READ_EACH
        began_s = time.monotonic()
        if began_s >= self._watch_due_s:
            await self._watch(behind)
            now_s = time.monotonic()
            self._watch_due_s = max(began_s + WATCH_S, now_s + (now_s - began_s) * (1 / WATCH_SHARE - 1))
        return behind

    async def _watch(self, behind: bool) -> None:
        """Gauges and drift; new tenants get their accounts, and money that somebody booked but did not apply."""
        accounts = self._accounts = await self._ledger.accounts()
        views = await self._credit.accounts([account.tenant_id for account in accounts])
        self._gauges.tenants(accounts, views)
        if not all(view.exists for view in views) and await missing_accounts(self._ledger, self._credit, accounts):
            raise StoreStaleError("accounts are missing in Redis: it has lost part of its memory")
        await make_accounts(self._credit, accounts, views)
        await judge_late(self._ledger, self._credit)
        await apply_all_money_in(self._ledger, self._credit, accounts, views)
        if not behind:
            self._gauges.drift(await self._drift.glance(accounts, views))
        self._gauges.redis_up(True)
        self._gauges.ledger_up(True)

    async def _watch_outbox(self) -> bool:
        """The same gauges from Redis alone, while nothing is booked because the ledger is away."""
        if time.monotonic() < self._watch_due_s + WATCH_S:
            return False
        self._gauges.outbox_state(await self._credit.outbox_state(), time.time_ns() // 1_000_000)
        accounts = self._accounts
        views = await self._credit.accounts([account.tenant_id for account in accounts])
        self._gauges.tenants(accounts, views)
        self._gauges.redis_up(True)
        return False

    async def _book_refused(self) -> bool:
        return await book_refused(self._ledger, self._credit) >= READ_EACH

    async def _sweep(self) -> bool:
        swept = await self._credit.sweep(SWEEP_MAX)
        for call in swept:
            where = {"call_id": call.call_id, "tenant": call.tenant_id}
            if call.alert:
                do = "run `callgate reconcile`"
                log.error("lease ran out: call cannot be closed", **where, why=call.alert, do=do)
            else:
                log.warning("lease ran out: call closed", **where, charge=call.charge_micros)
        self._gauges.swept(sum(1 for call in swept if not call.alert))
        return len(swept) == SWEEP_MAX

    async def _forget_counters(self) -> bool:
        """Of pools and limits in periods that are over."""
        now_ms = time.time_ns() // 1_000_000
        accounts = await self._ledger.accounts()
        await self._credit.forget_counters((each.tenant_id for each in accounts), lambda field: is_over(field, now_ms))
        await self._ledger.forget_spent()
        return False

    async def _forget_notices(self) -> bool:
        """Those that are too old, in quiet times: not while charges wait to be booked."""
        if not self._is_behind:
            await self._ledger.forget_notices(self._keep_days)
        return False

    async def _watch_pools(self) -> bool:
        await self._pools.look()
        return False

    async def _publish_directory(self) -> bool:
        """Its version, where whoever changed it could not tell Redis; and decks that were loaded for this moment."""
        version = await self._ledger.announce_due_decks()
        if version != self._directory_version:
            await self._credit.publish_directory(version)
            self._directory_version = version
        return False


def _failed(job: _Job, why: str, *, quietly: bool = False) -> float:
    """Tell of a failure the first time (``quietly``: it is none, but a start); how long to rest before the next try."""
    if not job.failures:
        (log.info if quietly else log.error)("settler job waits", job=job.name, why=why)
    job.failures += 1
    return float(min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(job.failures, 10)))


async def _wait(stop: asyncio.Event, rest_s: float) -> None:
    """Until ``stop``, or so long; other jobs have their turn in any case."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(rest_s):
            await stop.wait()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, bool]) -> bool:
    """Do ``work``, and break it off at ``stop``."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        working.cancel()  # nothing, where it is done
    try:
        return await working
    except asyncio.CancelledError:
        return False


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    """Until one of them is set."""
    waits = [asyncio.create_task(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
