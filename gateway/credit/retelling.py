"""What Redis may not have, or have forgotten, is said again: the ends of calls, and the calls that go on (MONEY 5, 6).

A charge or release is sent until Redis has acknowledged it, and kept until the ledger has it (``kept``).  A live call
whose reservation Redis may lack is merged, by call and tick, the furthest wins.  When ``tie`` has found Redis back,
or in another epoch, all of that is said before anything new is asked for; some hundred calls a turn, so that SIP is
not kept waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gateway.call.commands import Away, Release, Settle
from gateway.credit.acknowledge import Acknowledgement
from gateway.credit.kept import Keeper, Kept, Live
from gateway.credit.keys import DOUBTFUL_KEY, HEARD_KEY, Keyspace, epoch_number
from gateway.credit.requests import Requests, is_noscript, with_text
from gateway.credit.resp import Link
from gateway.credit.tie import Tie
from gateway.credit.unsent import Unsent
from gateway.credit.way import Way

SAID_A_TURN: Final = 500
"""Calls told to a Redis that is back, in one turn: some 5 ms, so that 20,000 live calls do not stop SIP for long."""


_JUDGED: Final = frozenset({b"CLOSED", b"DONE", b"BOOKED", b"FENCED", b"ALERT", b"UNKNOWN"})
"""Answers after which the end of a call is not said again."""


class Retelling:
    """Says what ``keeper`` keeps for the slot of ``owner``, over ``tie``; see the file's head."""

    __slots__ = (
        "_acknowledgement", "_keeper", "_keys", "_requests", "_saying", "_tie", "_to_say", "_unsent", "_way", "taken",
    )  # fmt: skip

    def __init__(
        self, owner: str, tie: Tie, way: Way, keys: Keyspace, requests: Requests, keeper: Keeper, unsent: Unsent
    ) -> None:
        self.taken: Callable[[str], None] = lambda call_id: None
        """Told of each call that Redis has answered for: it holds what was granted, or has taken the charge."""
        self._tie, self._way, self._keys, self._requests = tie, way, keys, requests
        self._keeper, self._unsent = keeper, unsent
        self._acknowledgement = Acknowledgement(owner)
        self._to_say: deque[Live | Kept] = deque()
        self._saying = False

    @property
    def pending(self) -> bool:
        """Calls wait to be said again: nothing new may be granted meanwhile, or a live one would be counted short."""
        return bool(self._to_say)

    def keep_house(self) -> None:
        """Each second: say what is not said yet, and acknowledge a rebuild that all is said to."""
        if self._acknowledgement.unsaid:
            self._acknowledgement.keep(self._keeper.live.keys() | self._keeper.kept.keys())
            self._acknowledge()

    def say_waiting(self) -> None:
        """Each second while Redis is up: what was not acknowledged in time, and what Redis refused meanwhile."""
        for kept in self._keeper.waiting():
            self._send_kept(kept)
        self._merge_dirty()

    def merge(self, live: Live) -> None:
        """Say a live call that is dirty, behind those that are being said."""
        if self._to_say:
            self._to_say.append(live)
        else:
            self._merge(live)

    def close(self, command: Settle | Release) -> Kept | None:
        """A call is over: its charge, or that there is none, is kept until it is safe, and said.

        Gives what is kept; None where the call was closed before.
        """
        kept = self._keeper.close(command)
        if kept is None:
            return None
        kept.epoch = epoch_number(self._tie.epochs[self._keys.partition(command.tenant_id).number])
        if command.call_id in self._acknowledgement.unsaid:  # no rebuild has heard of it: what it holds is said with it
            self._keeper.unsay(kept)
            kept.doubtful = kept.live is not None and isinstance(command, Settle)
            if not kept.doubtful:
                self._count_said(command.call_id)
        self._send_kept(kept)
        return kept

    def _send_kept(self, kept: Kept) -> None:
        """Say that a call is over; while its partition is rebuilt, only what it held and what it cost."""
        tie, partition = self._tie, self._keys.partition(kept.command.tenant_id).number
        link, epoch, is_open = tie.links[partition], tie.epochs[partition], bool(tie.open_epochs[partition])
        kept.doubt(epoch_number(epoch))
        if link is None or link.crowded or not (is_open or (kept.doubtful and epoch)):
            return
        if kept.again:
            self._merge_kept(kept, link)
        if is_open:
            kept.sent = True
            link.send_soon(self._pack_kept(kept, epoch), self._on_kept, kept)

    def _merge_kept(self, kept: Kept, link: Link, change: Callable[[bytes], bytes] = lambda packed: packed) -> None:
        if kept.live is not None and isinstance(kept.command, Settle):
            epoch = self._tie.epochs[self._keys.partition(kept.command.tenant_id).number]
            charge = kept.command.charge_micros if kept.doubtful else None
            link.send(change(self._requests.merge(kept.live, epoch, charge)), self._on_merge_kept, kept)

    def _pack_kept(self, kept: Kept, epoch: str) -> bytes:
        if isinstance(kept.command, Settle):
            return self._requests.settle(kept.command, epoch, doubtful=kept.doubtful)
        return self._requests.release(kept.command, epoch)

    def _on_kept(self, kept: Kept, reply: Any, seconds: float) -> None:
        self._way.time("settle" if isinstance(kept.command, Settle) else "release", reply, seconds)
        command = kept.command
        code = reply[0] if type(reply) is list else b""
        if code in {b"CLOSED", b"DONE"}:
            self._keeper.acknowledge(kept, monotonic())
        elif code == b"BOOKED":
            self._keeper.acknowledge(kept, monotonic())
            self._keeper.book([command.call_id], monotonic())
        elif code == b"FENCED":
            self._keeper.drop(command.call_id)
            self._unsent.leave(command.call_id)
        elif code in {b"ALERT", b"UNKNOWN"}:
            self._keeper.acknowledge(kept, monotonic())
            self._unsent.refuse(command.call_id)
            why = reply[1].decode() if code == b"ALERT" else "UNKNOWN_CALL"
            micros = command.charge_micros if isinstance(command, Settle) else 0
            self._way.alert(
                why, f"call {command.call_id} of tenant {command.tenant_id} was not charged {micros} micros"
            )
        elif is_noscript(reply):
            to = self._way.to(command.tenant_id)
            kept.sent = not isinstance(to, Away)
            if not isinstance(to, Away):
                to[0].send(with_text(self._pack_kept(kept, to[1])), self._on_kept, kept)
        elif code == b"DOUBT":
            kept.sent = False
            link = self._tie.link_to(DOUBTFUL_KEY)
            if link is not None:
                self._acknowledgement.ask_settler(link, self._keys.partition(command.tenant_id).number)
        else:
            kept.sent = False
            self._way.why(command.tenant_id, reply)
        if code in _JUDGED:
            self.taken(command.call_id)

    def _on_merge(self, live: Live, reply: Any, seconds: float) -> None:
        self._way.time("merge", reply, seconds)
        if type(reply) is list and reply[0] != b"STALE":
            if reply[0] == b"FENCED":  # another owner answers for this call now
                self._keeper.drop(live.call_id)
            elif reply[0] == b"ALERT":
                self._way.alert(reply[1].decode(), f"call {live.call_id} of tenant {live.tenant_id} was not merged")
            self._count_said(live.call_id)
            self.taken(live.call_id)
            return
        self._keeper.soil(live.call_id)
        if is_noscript(reply):
            self._merge(live, with_text)
        else:
            self._way.why(live.tenant_id, reply)

    def _on_merge_kept(self, kept: Kept, reply: Any, seconds: float) -> None:
        """Whatever it was: the charge that follows tells whether it can be taken."""
        self._way.time("merge", reply, seconds)
        if type(reply) is list and reply[0] != b"STALE":
            self._count_said(kept.command.call_id)
        elif is_noscript(reply) and (link := self._way.link(kept.command.tenant_id)) is not None:
            self._merge_kept(kept, link, with_text)

    def say_again(self, again: set[int], renumbered: set[int]) -> None:
        """Redis is back: tell these partitions of every call, the others of what they did not acknowledge.

        Nothing else is sent until that is done, or a new call could be granted what a live one has already.  In the
        partitions of ``again`` Redis may have lost its last writes; those ``renumbered`` are in another epoch, and
        their charges doubtful.
        """
        self._acknowledgement.begin()
        partitions, unsaid = again | renumbered, self._acknowledgement.unsaid
        for live in self._keeper.live.values() if partitions else ():
            if self._keys.partition(live.tenant_id).number in partitions:
                self._keeper.soil(live.call_id)
                unsaid.add(live.call_id)
        for kept in self._keeper.kept.values() if partitions else ():
            partition = self._keys.partition(kept.command.tenant_id).number
            if partition in partitions:
                self._keeper.unsay(kept)
                if kept.doubt(epoch_number(self._tie.epochs[partition])):
                    unsaid.add(kept.command.call_id)
        self._to_say.clear()
        self._to_say.extend(self._keeper.dirty.values())
        self._to_say.extend(kept for kept in self._keeper.kept.values() if not kept.sent)
        if not self._saying:
            self._say()

    def _say(self) -> None:
        to_say = self._to_say
        if not self._tie.up_links:
            to_say.clear()
        for _ in range(min(SAID_A_TURN, len(to_say))):
            said = to_say.popleft()
            if isinstance(said, Live):
                self._merge(said)
            elif not said.sent:
                self._send_kept(said)
        self._saying = bool(to_say)
        if self._saying:
            asyncio.get_running_loop().call_soon(self._say)
        else:
            self._acknowledge()

    def _count_said(self, call_id: str) -> None:
        """Redis has answered for this call, whatever it made of it."""
        if self._acknowledgement.unsaid:
            self._acknowledgement.unsaid.discard(call_id)
            self._acknowledge()

    def _acknowledge(self) -> None:
        link = self._tie.link_to(HEARD_KEY)
        if not self._to_say and self._tie.up and link is not None:
            self._acknowledgement.send(link, self._tie.number)

    def _merge(self, live: Live, change: Callable[[bytes], bytes] = lambda packed: packed) -> None:
        partition = self._keys.partition(live.tenant_id).number
        link, epoch = self._tie.links[partition], self._tie.epochs[partition]
        if live.call_id in self._keeper.dirty and link is not None and epoch:
            del self._keeper.dirty[live.call_id]
            link.send(change(self._requests.merge(live, epoch)), self._on_merge, live)

    def _merge_dirty(self) -> None:
        """What Redis refused, or was not told while others were said again, it is told now; some of it each second."""
        for live in [*self._keeper.dirty.values()][:SAID_A_TURN] if not self._to_say else ():
            self._merge(live)
