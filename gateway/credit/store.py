"""The credit store as a worker sees it: commands in, results out, one pipeline per event-loop turn (SIP.md 2).

A command is packed and sent, or answered StoreAway where Redis is known to be away; its reply becomes a result.
Nothing waits here: what must not be lost (charges, live grants) is kept by ``kept`` and said until Redis and ledger
have it by ``retelling``, and all else is the call machine's to ask again.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

from hiredis import ReplyError

from gateway.call.adoption import StoredCall
from gateway.call.commands import (
    Answer,
    Away,
    Command,
    Grant,
    Prove,
    Refusal,
    Refused,
    Release,
    Renew,
    Reserve,
    Result,
    Settle,
    StoreAway,
    Written,
)
from gateway.credit.address import parse_address
from gateway.credit.exposure import Ceilings
from gateway.credit.heirs import Heirs
from gateway.credit.kept import Keeper
from gateway.credit.keys import OWNERS_KEY, Keyspace
from gateway.credit.layout import make_finder
from gateway.credit.onward import Onward
from gateway.credit.owner import Owner, StoreObserver
from gateway.credit.refusals import RefusedRows
from gateway.credit.requests import Requests, is_noscript, with_text
from gateway.credit.resp import Link, OnReply, pack
from gateway.credit.retelling import Retelling
from gateway.credit.succession import Holder, Succession
from gateway.credit.tie import OwnerTakenError, Tie
from gateway.credit.unsent import Unsent
from gateway.credit.way import Way
from policy.reasons import is_limit

__all__ = ["CreditStore", "Owner", "OwnerTakenError", "StoreObserver"]

HOUSEKEEPING_S: Final = 1.0
"""How often booked charges are let go, refused calls summed up and unsent charges tried again."""

OUTBOXES_A_SECOND: Final = 64
"""Partitions whose outbox length is asked for each second: all 256 within four, which at 2,000 calls/s is less than
a hundredth of outbox_max; too little to be felt."""

_REFUSALS: Final = {
    b"NO_CREDIT": "NO_CREDIT",
    b"LIMIT_CALLS": "LIMIT_CALLS",
    b"LIMIT_CALLS_PER_SECOND": "LIMIT_CALLS_PER_SECOND",
    b"LIMIT_SPEND": "LIMIT_SPEND",
    b"LIMIT_VELOCITY": "LIMIT_VELOCITY",
    b"NO_MINUTES": "NO_MINUTES",
    b"FENCED": "FENCED",
    b"DONE": "INTERNAL",
    b"UNKNOWN": "INTERNAL",
    b"ALERT": "INTERNAL",
}
"""What a script says instead of a grant, as a code of policy.reasons.  DONE and UNKNOWN: the call was closed (swept,
released) or never reserved, so no further talk of it can be paid."""


def _refusal(command: Reserve | Renew, reply: list[bytes]) -> Refusal:
    code = _REFUSALS.get(reply[0], "INTERNAL")
    return Refusal(command.call_id, command.tick, code, reply[1].decode() if is_limit(code) else "")


class CreditStore:
    """Carries out the commands of one worker's calls; all of one event-loop turn leave as one pipeline.

    ``data_dir`` is where charges wait that Redis has not taken by the end (``unsent``); None: they are lost then.
    ``policy_of`` tells a tenant's failure policy, ``ceilings`` how much may go uncharged with "continue" (``onward``).
    """

    def __init__(
        self,
        url: str,
        owner: Owner,
        on_result: Callable[[Result], None],
        *,
        partitions: int = 256,
        lease_grace_s: int = 30,
        takeover_after_s: float = 0,
        outbox_max: int = 1_000_000,
        refused_per_s: int = 50,
        timeout_s: float = 1.0,
        data_dir: Path | None = None,
        policy_of: Callable[[str], str] = lambda tenant_id: "terminate",
        ceilings: Ceilings | None = None,
        observer: StoreObserver | None = None,
    ) -> None:
        self._observer = observer or StoreObserver()
        self._on_result = on_result
        self._keys = Keyspace(partitions)
        self._requests = Requests(self._keys, owner.name, lease_grace_s)
        self._keeper = Keeper()
        self._unsent = Unsent(data_dir, owner.name, self._keeper, self._observer.alert)
        self._owner = owner.name
        self._succession = Succession(self._keys, lease_grace_s, self._keeper.knows)
        self._heirs = Heirs(owner, takeover_after_s, lambda: Succession(self._keys, lease_grace_s, self._keeper.knows))
        self._refused = RefusedRows(refused_per_s)
        self._timeout_s, self._outbox_max = timeout_s, outbox_max
        self._outboxes, self._outbox_next, self._outbox_total = [0] * partitions, 0, 0
        self._results: list[Result] = []
        self._housekeeping_at_s = 0.0
        self._tie = Tie(
            make_finder(parse_address(url)), self._keys, owner.name, owner.instance, timeout_s,
            on_return=self._say_again, on_up=self._on_up, on_check=self._on_check, on_sure=self._observer.sure,
            alert=self._alert,
        )  # fmt: skip
        self.is_sure: Callable[[float], bool] = self._tie.is_sure
        """Whether this process may speak for its slot at a moment (monotonic seconds): not after a stall (standing)."""
        self._way = Way(self._tie, self._keys, self._observer)
        self._retelling = Retelling(
            owner.name, self._tie, self._way, self._keys, self._requests, self._keeper, self._unsent
        )
        self._onward = Onward(
            data_dir, owner.name, self._keeper, ceilings or Ceilings(),
            policy_of=policy_of, on_result=on_result, merge=self._retelling.merge, alert=self._way.alert,
        )  # fmt: skip
        self._retelling.taken = self._onward.taken

    @property
    def up(self) -> bool:
        """Connected, claimed, and Redis answers."""
        return self._tie.up

    @property
    def open(self) -> bool:
        """Up, and no partition waits for its epoch: what is asked for is granted or refused on its merits."""
        return self._tie.up and all(self._tie.open_epochs)

    @property
    def fenced(self) -> bool:
        """A newer start of this slot, or another installation, holds the name: this worker must end (SIP.md 1)."""
        return self._tie.fenced

    @property
    def has_heir(self) -> bool:
        """Fenced because others took this slot for gone and have its calls; a new start may have the name (heirs)."""
        return self._tie.has_heir

    @property
    def full(self) -> bool:
        """So many charges wait for Redis, or so many outbox entries for the ledger, that new calls get 503."""
        return self._keeper.full or self._outbox_total >= self._outbox_max

    @property
    def epoch(self) -> int:
        """The epoch of this slot's present start; 0 before the first connection."""
        return self._tie.generation

    @property
    def unacknowledged(self) -> int:
        """Charges and releases that Redis has not acknowledged yet."""
        return self._keeper.unacknowledged

    @property
    def unbooked(self) -> int:
        """Charges and releases that are kept because the ledger is not known to have them."""
        return len(self._keeper.kept)

    @property
    def unsent(self) -> bool:
        """Charges or calls of an older start are not known to be safe in Redis yet."""
        return self._unsent.waiting or self._onward.waiting

    @property
    def exposure(self) -> Mapping[str, int]:
        """What tenants have talked, or may by now, beyond what Redis knows of, in micro-units (MONEY 8)."""
        return self._onward.exposure.tenants

    async def start(self) -> None:
        """Take over what an older start left, begin to connect, and wait for the first attempt's outcome.

        Redis being down is not an error.  Raises OwnerTakenError where another live installation holds this node name.
        """
        self._unsent.take_over()
        self._onward.take_over()
        await self._tie.start()

    async def stop(self) -> None:
        """Send what waits, wait for its acknowledgement at most ``timeout_s``, and close.

        Charges that Redis has not taken by then wait in ``data_dir`` for the next start: an alert says how many and
        how much.
        """
        until_s = monotonic() + self._timeout_s
        while self._keeper.unacknowledged and self._tie.up_links and monotonic() < until_s:
            try:
                await asyncio.gather(*(link.ask("PING") for link in self._tie.up_links))
            except (OSError, ReplyError):
                break
        up = self.up
        await self._tie.stop()
        await self._onward.stop()
        self._unsent.write(up)

    @property
    def adopted(self) -> bool:
        """Every partition was looked through for calls that an older start of this slot left behind."""
        return not self._succession.open

    async def take_over(self) -> list[StoredCall]:
        """Calls that an older start of this slot left behind, which is fenced out of them now (SIP.md 5).

        Asked again until ``adopted``, it gives those of partitions that were not open, and those that were not
        :meth:`adopt`-ed or :meth:`decline`-d; while Redis is away only calls that went on without it (``onward``).
        """
        tie, ours = self._tie, Holder(self._owner, self._tie.generation)
        try:
            found = await self._succession.take_over(tie.links, ours, ours, tie.open_epochs)
        except (ConnectionError, ReplyError) as error:
            self._way.alert("NOT_ADOPTED", f"live calls could not be taken over: {error!r}")
            found = []
        return [*self._onward.left(), *found]

    async def inherit(self, running: Collection[str]) -> list[StoredCall]:
        """Calls of slots that are gone for good, of this gate or another: they are ours now (``heirs``).

        ``running`` are the slots (``node/slot``) of this installation; empty where it is not to be said which are
        gone.  To be asked about once a second, and :meth:`inherited` told once its calls were :meth:`adopt`-ed.
        """
        tie = self._tie
        if (link := tie.link_to(OWNERS_KEY)) is None or not tie.up:
            return []
        try:
            return await self._heirs.inherit(link, tie.links, tie.generation, tie.open_epochs, running, monotonic())
        except (ConnectionError, ReplyError) as error:
            self._way.alert("NOT_ADOPTED", f"live calls of others could not be taken over: {error!r}")
            return []

    async def inherited(self) -> None:
        """What :meth:`inherit` gave is adopted."""
        if (link := self._tie.link_to(OWNERS_KEY)) is not None:
            with suppress(ConnectionError, ReplyError):
                await self._heirs.leave(link)

    def adopt(self, stored: StoredCall) -> None:
        """The call goes on here: keep what is held for it, and say it again where Redis forgets it."""
        if not self._onward.adopt(stored.call_id):
            self._keeper.adopt(stored)

    def decline(self, stored: StoredCall) -> None:
        """The call cannot be carried on: it is left to the sweep."""
        self._onward.decline(stored.call_id)

    def submit(self, command: Command) -> None:
        """Carry a command out; its result, if it has one, comes to ``on_result`` in a later turn, never from here."""
        _CARRIED_OUT[type(command)](self, command)

    def booked(self, call_ids: Iterable[str]) -> None:
        """The ledger has these charges: forget them (orders.Booked)."""
        self._keeper.book(call_ids, monotonic())

    # Sending

    def _to(self, tenant_id: str) -> tuple[Link, str] | Away:
        """Where a call's commands go: the way to its partition, once all calls are said again."""
        return Away.STALE if self._retelling.pending else self._way.to(tenant_id)

    def _reserve(self, command: Reserve) -> None:
        if self.full and not command.emergency:
            self._later(Refusal(command.call_id, command.tick, "OUTBOX_FULL"))
            return
        way = self._to(command.tenant_id)
        if isinstance(way, Away):
            self._unasked(command, way)
            return
        way[0].send(self._requests.reserve(command, way[1]), self._on_reserve, command)

    def _answer(self, command: Answer) -> None:
        live = self._keeper.live.get(command.call_id)
        if live is not None:
            live.answer(command)
        way = self._to(command.tenant_id)
        if isinstance(way, Away):
            self._missed(command, way)
            return
        way[0].send(self._requests.answer(command, way[1]), self._on_answer, command)

    def _renew(self, command: Renew) -> None:
        live = self._keeper.live.get(command.call_id)
        if live is not None:
            live.prove(command)
        way = self._to(command.tenant_id)
        if isinstance(way, Away):
            self._unasked(command, way)
            return
        way[0].send(self._requests.renew(command, way[1]), self._on_renew, command)

    def _prove(self, command: Prove) -> None:
        live = self._keeper.live.get(command.call_id)
        if live is not None:
            live.prove(command)
        self._onward.prove(command)
        way = self._to(command.tenant_id)
        if isinstance(way, Away):
            self._keeper.soil(command.call_id)
            return
        way[0].send(self._requests.prove(command, way[1]), self._on_prove, command)

    def _close(self, command: Settle | Release) -> None:
        kept = self._retelling.close(command)
        if kept is not None:
            self._onward.end(kept)

    def _refuse(self, command: Refused) -> None:
        if self._refused.admit(command, bool(self._tie.up_links)):
            self._send_refused(command)

    def _send_refused(self, command: Refused) -> None:
        link = self._way.link(command.tenant_id)
        if link is not None:
            link.send_soon(self._requests.refused(command), self._on_refused)

    # Replies

    def _on_reserve(self, command: Reserve, reply: Any, seconds: float) -> None:
        self._way.time("reserve", reply, seconds)
        if type(reply) is list and reply[0] == b"GRANT":
            paid_s = reply[1] if reply[1] >= 0 else None
            drawn = reply[4].decode()
            self._keeper.grant_first(command, paid_s, reply[2], reply[3] == 1, drawn)
            self._onward.hear_grant(command, reply)
            self._on_result(Grant(command.call_id, command.tick, paid_s, reply[2], reply[3] == 1, drawn))
            return
        self._not_granted(command, reply, self._on_reserve, self._requests.reserve)

    def _on_renew(self, command: Renew, reply: Any, seconds: float) -> None:
        self._way.time("renew", reply, seconds)
        if type(reply) is list and reply[0] == b"GRANT":
            paid_s = reply[1] if reply[1] >= 0 else None
            drawn = reply[4].decode()
            live = self._keeper.live.get(command.call_id)
            if live is not None:
                live.grant(command.tick, paid_s, reply[2], reply[3] == 1, drawn)
            self._onward.hear_grant(command, reply)
            self._on_result(Grant(command.call_id, command.tick, paid_s, reply[2], reply[3] == 1, drawn))
            return
        self._not_granted(command, reply, self._on_renew, self._requests.renew)

    def _on_answer(self, command: Answer, reply: Any, seconds: float) -> None:
        self._way.time("answer", reply, seconds)
        if type(reply) is list and reply[0] == b"WRITTEN":
            self._onward.hear_answer(command)
            self._on_result(Written(command.call_id))
            return
        if self._again_with_text(command, reply, self._on_answer, self._requests.answer):
            return
        if type(reply) is list and reply[0] != b"STALE":
            self._heed_fence(command.call_id, reply)
            self._on_result(StoreAway(command.call_id, 0, Away.STALE))
            return
        self._missed(command, self._way.why(command.tenant_id, reply))

    def _on_prove(self, command: Prove, reply: Any, seconds: float) -> None:
        self._way.time("prove", reply, seconds)
        if type(reply) is list and reply[0] != b"STALE":
            self._heed_fence(command.call_id, reply)
            return
        if self._again_with_text(command, reply, self._on_prove, self._requests.prove):
            return
        self._way.why(command.tenant_id, reply)
        self._keeper.soil(command.call_id)

    def _on_refused(self, _subject: object, reply: Any, seconds: float) -> None:
        self._way.time("refused", reply, seconds)

    def _on_outbox(self, partition: int, reply: Any, _seconds: float) -> None:
        if type(reply) is int:
            self._outbox_total += reply - self._outboxes[partition]
            self._outboxes[partition] = reply

    def _not_granted(
        self, command: Reserve | Renew, reply: Any, on_reply: OnReply, pack: Callable[[Any, str], bytes]
    ) -> None:
        if self._again_with_text(command, reply, on_reply, pack):
            return
        if type(reply) is list and reply[0] != b"STALE":
            self._heed_fence(command.call_id, reply)
            if reply[0] == b"ALERT":
                self._way.alert(reply[1].decode(), f"tick {command.tick} of call {command.call_id} was not granted")
            elif reply[0] == b"NO_CREDIT":
                self._onward.hear_exhausted(command.tenant_id)
            self._on_result(_refusal(command, reply))
            return
        self._unasked(command, self._way.why(command.tenant_id, reply))

    def _unasked(self, command: Reserve | Renew, cause: Away) -> None:
        """Redis did not answer for a tick: it may go on without (``onward``), but not while it is being made ready."""
        onward = self._onward
        if cause is Away.UNREACHABLE and (
            onward.reserve(command) if isinstance(command, Reserve) else onward.renew(command)
        ):
            return
        self._later(StoreAway(command.call_id, command.tick, cause))

    def _heed_fence(self, call_id: str, reply: Any) -> None:
        """Another owner answers for this call now: it is not ours to say again."""
        if reply[0] == b"FENCED":
            self._keeper.drop(call_id)

    def _again_with_text(
        self, command: Command, reply: Any, on_reply: OnReply, pack: Callable[[Any, str], bytes]
    ) -> bool:
        """Redis was made to forget its scripts: say the command again with the script's text."""
        if not is_noscript(reply):
            return False
        way = self._to(command.tenant_id)
        if isinstance(way, Away):
            return False
        way[0].send(with_text(pack(command, way[1])), on_reply, command)
        return True

    def _missed(self, command: Answer, cause: Away) -> None:
        if cause is Away.UNREACHABLE and self._onward.answer(command):
            return
        self._keeper.soil(command.call_id)
        self._later(StoreAway(command.call_id, 0, cause))

    # What is not asked for by a command

    def _later(self, result: Result) -> None:
        """Give a result in the next turn: whoever submits must not be called back from there."""
        if not self._results:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._results.append(result)

    def _deliver(self) -> None:
        results, self._results = self._results, []
        for result in results:
            self._on_result(result)

    def _say_again(self, again: set[int], renumbered: set[int]) -> None:
        """Redis is back, perhaps without its last writes, or partitions of it are in another epoch."""
        self._requests.generation = self._tie.generation
        self._unsent.doubt()
        self._onward.doubt()
        self._retelling.say_again(again, renumbered)

    def _on_up(self, up: bool) -> None:
        if up:
            self._heirs.redis_returned(monotonic())
        self._observer.up(up)

    def _alert(self, code: str, text: str) -> None:
        self._way.alert(code, text)

    def _on_check(self, now: float) -> None:
        if now < self._housekeeping_at_s:
            return
        self._housekeeping_at_s = now + HOUSEKEEPING_S
        if self.up:  # a Redis that is away may come back without what was kept for it
            self._keeper.forget(now)
        self._unsent.keep_house(now, self.up)
        self._onward.keep_house(now, self.up)
        self._retelling.keep_house()
        for row in self._refused.sum_up():
            self._send_refused(row)
        if self._tie.up_links:
            self._retelling.say_waiting()
            self._ask_outboxes()

    def _ask_outboxes(self) -> None:
        count = len(self._outboxes)
        for _ in range(min(OUTBOXES_A_SECOND, count)):
            following = self._outbox_next = (self._outbox_next + 1) % count
            link = self._tie.links[following]
            if link is not None and not link.crowded:
                link.send(pack(("XLEN", self._keys.partitions[following].outbox)), self._on_outbox, following)


_CARRIED_OUT: Final[dict[type, Callable[[CreditStore, Any], None]]] = {
    Reserve: CreditStore._reserve,
    Answer: CreditStore._answer,
    Renew: CreditStore._renew,
    Prove: CreditStore._prove,
    Settle: CreditStore._close,
    Release: CreditStore._close,
    Refused: CreditStore._refuse,
}
