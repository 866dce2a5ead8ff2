"""Calls of tenants whose failure policy is ``continue`` go on while Redis cannot be reached (MONEY 8).

The store hands over here what it could not ask Redis.  A tick that the ceilings and what was last seen of the tenant
allow (``exposure``) is written to the ``journal``, and given once it is on the disk.  What Redis lacks is said again
when it is back, as everything that it may have forgotten: live calls are merged, charges follow (``retelling``), even
where available goes below zero.  A call stands in the journal whole, as Redis would have it, so that the next start of
the slot can carry it on whether or not Redis is back: what was exposed stays exposed, calls that are over are charged,
live ones adopted.  Saying all of it again is harmless, for it is told by call and tick like everything else.

The journal goes when Redis has all of it and has then stayed up for LOSS_WINDOW_S (``kept``): its own file has it then.
Until that time it is kept up with what Redis grants, so that the next start never knows less than it stood.

Redis being made ready (a rebuild: STALE) is not Redis being away: nothing is granted then (MONEY 6).
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.call.adoption import StoredCall
from gateway.call.commands import (
    Answer,
    Away,
    Grant,
    Prove,
    Refusal,
    Renew,
    Reserve,
    Result,
    Settle,
    StoreAway,
    Written,
)
from gateway.credit.charge_file import MERGE_WITHIN_S, charge_row, live_row, read_charge, read_live
from gateway.credit.exposure import Ceilings, Exposure, Step
from gateway.credit.journal import BYTES_MAX, Journal, Row, read_journals
from gateway.credit.kept import LOSS_WINDOW_S, Keeper, Kept, Live
from policy.drawn import begin_with_money, draw_money, money_s, money_tariff
from policy.terms import has_pools

CONTINUE: Final = "continue"

_MS_PER_S: Final = 1000

_BROKEN: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What a row raises that is whole and yet none of ours."""


class Onward:
    """The calls of one owner (``node/slot``) that Redis may not have as they are.

    ``policy_of`` tells a tenant's failure policy, ``on_result`` takes what the store answers a command with, ``merge``
    says a live call to a Redis that is up, ``alert(code, text)`` tells whoever watches.  ``data_dir`` None: nothing
    goes on.
    """

    def __init__(
        self,
        data_dir: Path | None,
        owner: str,
        keeper: Keeper,
        ceilings: Ceilings,
        *,
        policy_of: Callable[[str], str],
        on_result: Callable[[Result], None],
        merge: Callable[[Live], None],
        alert: Callable[[str, str], None],
    ) -> None:
        self._data_dir, self._owner, self._keeper = data_dir, owner, keeper
        self._policy_of, self._on_result, self._merge, self._alert = policy_of, on_result, merge, alert
        self.exposure = Exposure(ceilings)
        self._journal = Journal(data_dir, owner, lambda text: alert("EXPOSURE_NOT_WRITTEN", text))
        self._stands: set[str] = set()
        """Calls that stand in the journal."""
        self._born: set[str] = set()
        """Of these, live ones that began without Redis: nobody but this worker has counted them."""
        self._pending: set[str] = set()
        """Calls with a tick that is being written."""
        self._left: set[str] = set()
        """Live calls of an older start that are neither adopted nor declined yet."""
        self._declined: set[str] = set()
        self._since_s: float | None = None
        keeper.owed = self.exposure.calls

    @property
    def waiting(self) -> bool:
        """A journal stands: not all of it is known to be safe in Redis."""
        return self._journal.stands

    # what Redis says

    def hear_grant(self, command: Reserve | Renew, reply: list[Any]) -> None:
        """Redis granted a tick: remember what it tells of the tenant, and keep up the journal."""
        if len(reply) > 5 and self._policy_of(command.tenant_id) == CONTINUE:
            self.exposure.see(command.tenant_id, reply[5], reply[6])
        if command.call_id in self._stands and (live := self._keeper.live.get(command.call_id)) is not None:
            self._note(_tick_row(live, self._exposed(live.call_id)))

    def hear_exhausted(self, tenant_id: str) -> None:
        """Redis refused a tick for want of credit."""
        self.exposure.see_exhausted(tenant_id)

    def taken(self, call_id: str) -> None:
        """Redis has answered for all it was told of this call."""
        if call_id in self.exposure.calls and call_id not in self._pending and call_id not in self._keeper.dirty:
            self.exposure.clear(call_id)
            self._born.discard(call_id)
            if call_id in self._stands:
                self._note({"taken": call_id})
            if call_id in self._declined:
                self._declined.discard(call_id)
                self._keeper.live.pop(call_id, None)

    # what could not be asked

    def reserve(self, command: Reserve) -> bool:
        """Grant or refuse the first tick of a call; False where that is not done without Redis."""
        tenant_id = command.tenant_id
        if command.emergency or not self._may(tenant_id) or self.exposure.seen(tenant_id) is None:
            return False
        code = self.exposure.limit(tenant_id, command.limits, time.monotonic())
        if code:
            self._later(Refusal(command.call_id, command.tick, code, "tenant"))
            return True
        if command.tariff is None and has_pools(command.terms):
            return False  # nobody can say here whether minutes are left
        step = self.exposure.step(command.call_id, tenant_id, command.tariff, 0, command.end_s, 0)
        if step is None:
            return self._refuse(command)
        drawn = begin_with_money(command.terms, command.hour, step.cost_micros)
        live = Live(command, step.paid_s, step.held_micros, step.final, drawn)
        self._count(live, 1)
        self._stands.add(command.call_id)
        self._pending.add(command.call_id)
        self._journal.write(self._call_row(live), lambda written: self._give_first(command, step, drawn, written))
        return True

    def _give_first(self, command: Reserve, step: Step, drawn: str, written: bool) -> None:
        call_id, keeper = command.call_id, self._keeper
        self._pending.discard(call_id)
        if written and not keeper.knows(call_id):
            keeper.grant_first(command, step.paid_s, step.held_micros, step.final, drawn)
            self._owe(call_id)
            self._on_result(Grant(call_id, command.tick, step.paid_s, step.held_micros, step.final, drawn))
            return
        self._born.discard(call_id)  # nobody took it down, or the caller gave up meanwhile
        self.exposure.began(command.tenant_id, -1)
        if keeper.is_taken(call_id):
            self.exposure.clear(call_id)
        if not written:
            self._stands.discard(call_id)
            self._on_result(StoreAway(call_id, command.tick, Away.UNREACHABLE))

    def renew(self, command: Renew) -> bool:
        """Grant a further tick; False where that is not done without Redis."""
        live = self._keeper.live.get(command.call_id)
        if live is None or not self._may(command.tenant_id):
            return False
        if command.tick <= live.tick:
            self._later(Grant(command.call_id, command.tick, live.paid_s, live.held_micros, live.final, live.drawn))
            return True
        if live.tariff is None and live.paid_s is not None:
            return False  # only a pool pays
        start_s, held = live.paid_s or 0, live.held_micros
        before_s = start_s - money_s(live.drawn, start_s)  # talk that pools paid
        tariff = money_tariff(live.tariff, live.drawn)
        step = self.exposure.step(
            command.call_id, command.tenant_id, tariff, start_s - before_s, command.end_s - before_s, held
        )
        if step is None:
            return self._refuse(command)
        self._pending.add(command.call_id)
        grant = _grant_of(command, live, step, before_s)
        stood = command.call_id in self._stands
        self._stands.add(command.call_id)
        row = _tick_row(live, self._exposed(live.call_id), grant) if stood else self._call_row(live, grant)
        self._journal.write(row, lambda written: self._give(grant, step, stood, written))
        return True

    def _give(self, grant: Grant, step: Step, stood: bool, written: bool) -> None:
        call_id = grant.call_id
        self._pending.discard(call_id)
        live = self._keeper.live.get(call_id)
        if live is None and self._keeper.is_taken(call_id):
            self.exposure.clear(call_id)  # it was over before, and Redis has it
        if not written:
            self.exposure.undo(call_id, step.cost_micros)
            self._forget_unwritten(call_id, stood)
            self._on_result(StoreAway(call_id, grant.tick, Away.UNREACHABLE))
            return
        if live is not None:
            live.grant(grant.tick, grant.paid_s, grant.held_micros, grant.final, grant.drawn)
            self._owe(call_id)
        self._on_result(grant)

    def answer(self, command: Answer) -> bool:
        """Write down that the call was answered; False where that is not done without Redis."""
        live = self._keeper.live.get(command.call_id)
        if live is None or not self._may(command.tenant_id):
            return False
        call_id, stood = command.call_id, command.call_id in self._stands
        self.exposure.stand(call_id, command.tenant_id, live.held_micros)
        self._keeper.soil(call_id)
        self._stands.add(call_id)

        def follow(written: bool) -> None:
            if not written:
                self._forget_unwritten(call_id, stood)
            self._on_result(Written(call_id) if written else StoreAway(call_id, 0, Away.UNREACHABLE))

        self._journal.write(self._call_row(live), follow)
        return True

    def hear_answer(self, command: Answer) -> None:
        """Redis has written down the answer, and what it fixed: keep up the journal."""
        live = self._keeper.live.get(command.call_id)
        if command.call_id in self._stands and live is not None:
            self._note(self._call_row(live))

    def prove(self, command: Prove) -> None:
        """A call's dialogs changed: keep up the journal."""
        live = self._keeper.live.get(command.call_id)
        if command.adoption is not None and command.call_id in self._stands and live is not None:
            self._note(self._call_row(live))

    def end(self, kept: Kept) -> None:
        """A call is over, and its charge kept: what it cost stays exposed until Redis has taken it."""
        call_id = kept.command.call_id
        if kept.live is not None:
            self._count(kept.live, -1)
        if call_id in self.exposure.calls:
            self.exposure.close(call_id, kept.command.charge_micros if isinstance(kept.command, Settle) else 0)
        if call_id in self._stands:
            self._note({"end": charge_row(kept), "exposed": self._exposed(call_id)})

    def _may(self, tenant_id: str) -> bool:
        if self._data_dir is None or self._policy_of(tenant_id) != CONTINUE:
            return False
        if not self._journal.usable:
            text = f"it holds {BYTES_MAX} bytes, or the disk is too slow: nothing more is granted without Redis"
            self._alert("EXPOSURE_JOURNAL_FULL", text)
            return False
        return True

    def _refuse(self, command: Reserve | Renew) -> bool:
        """Beyond the ceilings; of a tenant that was last seen without money nothing goes on at all."""
        seen = self.exposure.seen(command.tenant_id)
        if seen is None or seen.available_micros <= 0:
            return False
        self._later(StoreAway(command.call_id, command.tick, Away.CEILING))
        return True

    def _count(self, live: Live, calls: int) -> None:
        self.exposure.began(live.tenant_id, calls)
        if calls > 0:
            self._born.add(live.call_id)
        else:
            self._born.discard(live.call_id)

    def _owe(self, call_id: str) -> None:
        """Redis is to be told as soon as it listens, which may be now."""
        live = self._keeper.live.get(call_id)
        if live is not None:
            self._keeper.soil(call_id)
            self._merge(live)

    def _forget_unwritten(self, call_id: str, stood: bool) -> None:
        if not stood:
            self._stands.discard(call_id)
            self.exposure.clear(call_id)

    def _note(self, row: Row) -> None:
        self._journal.write(row, lambda written: None)

    def _later(self, result: Result) -> None:
        asyncio.get_running_loop().call_soon(self._on_result, result)

    # the journal

    def _exposed(self, call_id: str) -> int:
        exposed = self.exposure.calls.get(call_id)
        return 0 if exposed is None else exposed.micros

    def _call_row(self, live: Live, grant: Grant | None = None) -> Row:
        exposed, seen = self.exposure.calls.get(live.call_id), self.exposure.seen(live.tenant_id)
        return {
            "call": live.call_id,
            "tenant_id": live.tenant_id,
            "live": live_row(live) | (_granted(grant) if grant is not None else {}),
            "adoption": live.adoption.decode("utf-8", "surrogateescape"),
            "usage": live.usage.decode("utf-8", "surrogateescape"),
            "base": live.held_micros if exposed is None else exposed.base_micros,
            "exposed": 0 if exposed is None else exposed.micros,
            "former": list(live.former),
            "born": live.call_id in self._born,
            "seen": None if seen is None else [seen.available_micros, seen.calls],
        }

    def keep_house(self, now: float, up: bool) -> None:
        """Remove the journal once Redis has all of it for certain; called every second or so."""
        if not self._journal.stands or not self._is_calm(up):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now
        elif now - self._since_s >= LOSS_WINDOW_S:
            self._since_s = None
            try:
                self._journal.remove()
            except OSError as error:  # said again by the next start, which takes nothing a second time
                self._alert("EXPOSURE_JOURNAL_LEFT", f"{error}: Redis has all of it")
                return
            self._stands.clear()

    def _is_calm(self, up: bool) -> bool:
        if not up or self.exposure.calls or not self._journal.idle:
            return False
        keeper = self._keeper
        return all(call_id not in keeper.dirty and keeper.is_taken(call_id) for call_id in self._stands)

    def doubt(self) -> None:
        """Redis came back and may have forgotten: its last answers are to be waited for again."""
        self._since_s = None

    async def stop(self) -> None:
        """Write what waits; live calls stay in the journal for the next start."""
        await self._journal.stop()

    # the start

    def take_over(self) -> None:
        """Read what older starts of this owner left: keep their charges, their live calls, and what is exposed."""
        if self._data_dir is None:
            return
        try:
            left = read_journals(self._data_dir, self._owner)
        except OSError as error:
            self._alert("EXPOSURE_JOURNAL_UNREADABLE", f"{error}: its calls are not carried on")
            return
        self._journal.inherit(left)
        replay = _Replay()
        for read in left:
            read.bad += sum(not replay.apply(row) for row in read.rows)
            if read.bad:
                text = f"{read.bad} lines of {read.path} cannot be read; it is set aside once the others are in Redis"
                self._alert("EXPOSURE_JOURNAL_BROKEN", text)
        self._restore(replay)

    def _restore(self, replay: "_Replay") -> None:
        for tenant_id, (available, calls) in replay.seen.items():
            self.exposure.see(tenant_id, available, calls)
        for live in replay.live.values():
            self._restore_live(live, replay)
        for kept in replay.ended.values():
            command, call_id = kept.command, kept.command.call_id
            self._keeper.take_over(kept)
            self._stands.add(call_id)
            self.exposure.restore(call_id, command.tenant_id, replay.base.get(call_id, 0), replay.exposed[call_id])

    def _restore_live(self, live: Live, replay: "_Replay") -> None:
        call_id, exposed = live.call_id, replay.exposed[live.call_id]
        end_ms = live.answered_ms + (live.paid_s or live.proven_s) * _MS_PER_S
        if live.answered_ms and end_ms < (time.time() - MERGE_WITHIN_S) * _MS_PER_S:
            text = f"call {call_id} of tenant {live.tenant_id}, of which {exposed} micros went uncharged, is too old"
            self._alert("EXPOSURE_TOO_OLD", f"{text} to be said to Redis: look whether `callgate ledger` has it")
            return
        self._keeper.live[call_id] = live
        self._keeper.soil(call_id)
        self._stands.add(call_id)
        self._left.add(call_id)
        self.exposure.restore(call_id, live.tenant_id, replay.base[call_id], exposed)
        if call_id in replay.born:
            self._count(live, 1)

    def left(self) -> list[StoredCall]:
        """Live calls of older starts, as the journal has them, that were neither adopted nor declined yet."""
        live = self._keeper.live
        self._left &= live.keys()
        return [_stored(live[call_id]) for call_id in sorted(self._left)]

    def adopt(self, call_id: str) -> bool:
        """The call goes on here; False where it does not stand in the journal."""
        if call_id not in self._left:
            return False
        self._left.discard(call_id)
        return True

    def decline(self, call_id: str) -> None:
        """Nobody can carry the call on: Redis is told of it, and it is left to the sweep."""
        if call_id in self._left:
            self._left.discard(call_id)
            self._declined.add(call_id)
            if call_id not in self.exposure.calls:
                self._declined.discard(call_id)
                self._keeper.live.pop(call_id, None)


class _Replay:
    """What the lines of a journal come to, one after the other."""

    def __init__(self) -> None:
        self.live: dict[str, Live] = {}
        self.ended: dict[str, Kept] = {}
        self.base: dict[str, int] = {}
        self.exposed: dict[str, int] = {}
        self.born: set[str] = set()
        self.seen: dict[str, tuple[int, int]] = {}

    def apply(self, row: Row) -> bool:
        """One line; False where it is whole and yet none that can be read."""
        try:
            if "end" in row:
                self._end(read_charge(row["end"], time.time() * _MS_PER_S), int(row["exposed"]))
            elif "taken" in row:
                self._taken(str(row["taken"]))
            elif "tick" in row:
                self._tick(str(row["tick"]), row)
            elif "call" in row:
                self._call(str(row["call"]), row)
        except _BROKEN:
            return False
        return True

    def _call(self, call_id: str, row: Row) -> None:
        texts = (row[name].encode("utf-8", "surrogateescape") for name in ("adoption", "usage"))
        live = read_live(call_id, str(row["tenant_id"]), row["live"], *texts)
        base, exposed = int(row["base"]), int(row["exposed"])
        live.former = (str(row["former"][0]), int(row["former"][1]))
        seen = row["seen"]
        if seen is not None:
            self.seen[live.tenant_id] = (int(seen[0]), int(seen[1]))
        self.live[call_id], self.base[call_id], self.exposed[call_id] = live, base, exposed
        if row["born"]:
            self.born.add(call_id)

    def _tick(self, call_id: str, row: Row) -> None:
        live, granted = self.live.get(call_id), row["granted"]
        if live is not None:
            paid_s = None if granted["paid_s"] is None else int(granted["paid_s"])
            live.grant(
                int(granted["tick"]),
                paid_s,
                int(granted["held_micros"]),
                bool(granted["final"]),
                str(granted.get("drawn", "")),
            )
            live.proven_s = max(live.proven_s, int(row["proven_s"]))
            self.exposed[call_id] = int(row["exposed"])

    def _taken(self, call_id: str) -> None:
        """Redis had all of it then; it is said again all the same, for Redis may have forgotten."""
        live = self.live.get(call_id)
        self.exposed[call_id] = 0
        self.base[call_id] = self.base.get(call_id, 0) if live is None else live.held_micros
        self.born.discard(call_id)

    def _end(self, kept: Kept, exposed: int) -> None:
        call_id = kept.command.call_id
        self.live.pop(call_id, None)
        self.ended[call_id], self.exposed[call_id] = kept, exposed


def _grant_of(command: Renew, live: Live, step: Step, before_s: int) -> Grant:
    """A step of money in the time of the whole call, which begins with ``before_s`` seconds that pools paid."""
    if step.paid_s is None:
        return Grant(command.call_id, command.tick, None, step.held_micros, step.final, live.drawn)
    end_s = before_s + step.paid_s
    drawn = draw_money(live.drawn, live.terms, command.hour, end_s, step.cost_micros)
    return Grant(command.call_id, command.tick, end_s, step.held_micros, step.final, drawn)


def _granted(grant: Grant) -> Row:
    return {
        "tick": grant.tick,
        "paid_s": grant.paid_s,
        "held_micros": grant.held_micros,
        "final": grant.final,
        "drawn": grant.drawn,
    }


def _tick_row(live: Live, exposed: int, grant: Grant | None = None) -> Row:
    known = grant or Grant(live.call_id, live.tick, live.paid_s, live.held_micros, live.final, live.drawn)
    return {"tick": live.call_id, "granted": _granted(known), "proven_s": live.proven_s, "exposed": exposed}


def _stored(live: Live) -> StoredCall:
    return StoredCall(
        live.call_id,
        live.tenant_id,
        tick=live.tick,
        paid_s=live.paid_s,
        held_micros=live.held_micros,
        final=live.final,
        tariff=live.tariff,
        lease_s=live.lease_s,
        answered_ms=live.answered_ms,
        proven_s=min(live.proven_s, live.paid_s) if live.paid_s is not None else live.proven_s,
        usage=live.usage,
        adoption=live.adoption,
        former=live.former,
        terms=live.terms,
        drawn=live.drawn,
    )
