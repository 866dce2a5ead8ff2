"""The store's tie to one Redis node: connected, watched, given up when it hangs, and taken up again.

At each connection the node is asked who it is.  Another run id than before means that Redis was restarted and may
lack its last two seconds; another epoch of a partition, that a rebuild has begun (MONEY 6).  Either way the store is
told to say its calls again before anything new is asked for.  The worker's slot is claimed in the same breath, so that
no two processes act under one name (SIP.md 1).

One periodic check serves all time limits: it cuts a link whose oldest command has waited too long, and a few times a
second it asks for the newest epoch.  So a Redis that hangs is noticed within a second even in silence, and one that
was emptied, or is being rebuilt, even where no partition of it is asked for anything: all epochs are read then, and
the slot is claimed again, so that the rebuild's leader sees who lives.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from hiredis import ReplyError

from gateway.credit import lua
from gateway.credit.address import Address
from gateway.credit.away import why_away
from gateway.credit.keys import NEWEST_KEY, OWNERS_KEY, PARTITIONS_KEY, Keyspace, epoch_number, is_open
from gateway.credit.requests import is_noscript, pack_claim, with_text
from gateway.credit.resp import LOST, Link, open_link, pack
from gateway.credit.standing import Standing

CHECK_S: Final = 0.05
"""How often time limits are looked at: fine enough for limits of a second, and 20 looks a second cost nothing."""

LOOK_EVERY_S: Final = 0.2
"""How often the newest epoch is asked for: a hang is noticed within a second, a rebuild well before its leader has
waited for the workers (gateway.settlement.rebuild)."""

LOOK_MARGIN_S: Final = 0.3
"""How much sooner than a command an unanswered look tells: rest, check and look together take one timeout."""

BACKOFF_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Waits between attempts to connect; the last is repeated.  Redis that is back is found within half a second."""

STALE_POLL_S: Final = 0.2
"""How often the epochs of partitions that are not open are read again."""

CLAIM_EVERY_S: Final = 5.0
CLAIM_TTL_MS: Final = 15_000
"""A holder that says nothing for three rounds is gone: another installation may take its name over."""


class OwnerTakenError(Exception):
    """Another live installation holds this node name; the text says which, and what to do."""


class Tie:
    """One node's connection; ``open_epochs[n]`` is the epoch of partition n, empty where nothing may be granted."""

    def __init__(
        self,
        address: Address,
        keys: Keyspace,
        owner: str,
        instance: str,
        timeout_s: float,
        *,
        on_return: Callable[[set[int], set[int]], None],
        on_up: Callable[[bool], None],
        on_check: Callable[[float], None],
        on_sure: Callable[[], None],
        alert: Callable[[str, str], None],
    ) -> None:
        self._address, self._keys = address, keys
        self._owner, self._instance, self._start = owner, instance, uuid4().hex
        self._timeout_s = timeout_s
        self._on_return, self._on_up, self._on_check, self._alert = on_return, on_up, on_check, alert
        self._on_sure = on_sure
        self._standing = Standing(monotonic())
        self.link: Link | None = None
        self.up = False
        self.fenced = False
        self.generation = 0
        self.epochs = [""] * len(keys.partitions)
        self.open_epochs = [""] * len(keys.partitions)
        self._stale: set[int] = set()
        self._heard: dict[int, Any] = {}
        self._run_id = ""
        self._newest: bytes | None = None
        self._first = asyncio.Event()
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._taken: OwnerTakenError | None = None
        self._look_at_s = self._poll_at_s = self._claim_at_s = 0.0

    async def start(self) -> None:
        """Connect, or have tried to.  Raises OwnerTakenError."""
        self._check()
        self._task = asyncio.create_task(self._stay_connected())
        await self._first.wait()
        if self._taken is not None:
            raise self._taken

    async def stop(self) -> None:
        """Give the name free and close."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.link is not None and self.up:
            self.link.send(self._claim(ttl_ms=0), lambda *_: None)
            with suppress(OSError, ReplyError):
                await asyncio.wait_for(self.link.ask("PING"), self._timeout_s)
        self.up = False  # by our own will: nobody need be told that Redis is away
        if self.link is not None:
            self.link.cut()

    def is_sure(self, now: float) -> bool:
        """Whether this process may speak for its slot at ``now`` (monotonic seconds); ``on_sure`` tells when again."""
        return self._standing.is_sure(now) and not self.fenced

    def stale(self, partition: int) -> None:
        """A script said that this partition's epoch is another one: ask which, grant nothing until it is known."""
        self.open_epochs[partition] = ""
        if partition not in self._stale:
            self._stale.add(partition)
            self._ask_epochs([partition])

    @property
    def number(self) -> int:
        """The epoch that every partition has reached, open or not; 0 where one has none."""
        return min(map(epoch_number, self.epochs))

    async def _stay_connected(self) -> None:
        attempt = 0
        while not self.fenced:
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1
            try:
                await self._connect()
                attempt = 1
            except OwnerTakenError as error:
                self._taken, self.fenced = error, True
                self._alert("OWNER_TAKEN", str(error))
            except Exception as error:  # whatever it is: without this task Redis would never be found again
                if self.link is not None:
                    self.link.cut()
                if attempt == len(BACKOFF_S) or not isinstance(error, OSError | ReplyError):
                    self._alert("STORE_AWAY", why_away(self._address, self._address.tls, error))
            self._first.set()
            if self.link is not None and not self.link.lost:
                await self._gone.wait()

    async def _connect(self) -> None:
        self._gone.clear()
        link = self.link = await asyncio.wait_for(open_link(self._address, self._on_lost), self._timeout_s)
        run_id = _run_id(await link.ask("INFO", "server"))
        await asyncio.gather(*(link.ask("SCRIPT", "LOAD", script.text) for script in lua.HOT))
        await self._check_partitions(link)
        await self._claim_slot(link)
        again = set(range(len(self.epochs))) if self._run_id not in {"", run_id} else set()
        self._newest = await link.ask("GET", NEWEST_KEY)  # before the epochs: one that begins meanwhile is seen later
        replies = await asyncio.gather(*(link.ask("GET", keys.epoch) for keys in self._keys.partitions))
        self._stale.clear()
        renumbered = {partition for partition, reply in enumerate(replies) if self._learn(partition, reply)}
        if link.lost:
            raise ConnectionError("the connection to Redis was lost again at once")
        self._run_id = run_id
        self.up = True
        self._on_return(again, renumbered)
        self._on_up(True)

    async def _check_partitions(self, link: Link) -> None:
        stored = await link.ask("GET", PARTITIONS_KEY)
        if stored is not None and int(stored) != len(self.epochs):
            text = f"this Redis has {int(stored)} partitions and the gate {len(self.epochs)}: they never change"
            self._alert("PARTITIONS", text)
            raise ConnectionError(text)

    async def _claim_slot(self, link: Link) -> None:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_reply(_subject: Any, reply: Any, _seconds: float) -> None:
            if not answer.done():
                answer.set_result(reply)

        asked_at_s = monotonic()
        link.send(self._claim(), on_reply)
        reply = await answer
        if not isinstance(reply, list):
            raise ConnectionError(f"the slot {self._owner} could not be claimed: {reply!r}")
        if reply[0] == b"CLAIMED":
            self.generation = reply[1]
            self._claim_at_s = asyncio.get_running_loop().time() + CLAIM_EVERY_S
            self._confirm(asked_at_s)
            return
        self._on_claim(None, reply, 0.0)
        raise OwnerTakenError(self._taken_text(reply))

    def _claim(self, ttl_ms: int = CLAIM_TTL_MS) -> bytes:
        return pack_claim(self._owner, self._instance, self._start, self.generation, ttl_ms, OWNERS_KEY)

    def _confirm(self, asked_at_s: float) -> None:
        if self._standing.confirm(asked_at_s):
            self._on_sure()

    def _on_claim(self, asked_at_s: Any, reply: Any, _seconds: float) -> None:
        if is_noscript(reply) and self.link is not None:
            self.link.send(with_text(self._claim()), self._on_claim, monotonic())
        if not isinstance(reply, list):
            return
        if reply[0] == b"CLAIMED":
            self._confirm(asked_at_s)
            return
        self.fenced = True
        self._alert("FENCED", self._taken_text(reply))
        if self.link is not None:
            self.link.cut()

    def _taken_text(self, reply: list[Any]) -> str:
        if reply[0] == b"FENCED":
            return f"a newer start holds {self._owner} (epoch {reply[1]}, ours {self.generation}): this worker must end"
        other = reply[2].decode(errors="replace")
        return f"the name {self._owner} is held by a live gate (installation {other}): give node.name another value"

    def _learn(self, partition: int, reply: bytes | None) -> bool:
        """Believe an epoch as it was read; True where its number is new, so that our calls must be said again."""
        value = "" if reply is None else reply.decode()
        before, self.epochs[partition] = self.epochs[partition], value
        self.open_epochs[partition] = value if is_open(value) else ""
        if is_open(value):
            self._stale.discard(partition)
        else:
            self._stale.add(partition)
        return epoch_number(value) != epoch_number(before)

    def _ask_epochs(self, partitions: list[int]) -> None:
        for partition in partitions:
            if self.link is not None:
                words = ("GET", self._keys.partitions[partition].epoch)
                self.link.send(pack(words), self._on_epoch, partition)

    def _on_epoch(self, partition: int, reply: Any, _seconds: float) -> None:
        if reply is LOST or isinstance(reply, ReplyError):
            return
        if not self._heard:
            asyncio.get_running_loop().call_soon(self._learn_heard)
        self._heard[partition] = reply

    def _learn_heard(self) -> None:
        """Believe what one turn has said of epochs; the calls of partitions with a new one are said again at once.

        Of one that has opened only what it has not taken yet is said, which the store knows.
        """
        heard, self._heard = self._heard, {}
        if not self.up:
            return  # the next connection reads them all
        renumbered, opened = set(), False
        for partition, reply in heard.items():
            was_open = bool(self.open_epochs[partition])
            if self._learn(partition, reply):
                renumbered.add(partition)
            opened = opened or bool(self.open_epochs[partition] and not was_open)
        if renumbered or opened:
            self._on_return(set(), renumbered)

    def _on_lost(self, link: Link) -> None:
        if link is not self.link:
            return
        was_up, self.up = self.up, False
        self._gone.set()
        if was_up:
            self._on_up(False)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(CHECK_S, self._check)
        if not self._standing.beat(monotonic()):
            self._claim_at_s = min(self._claim_at_s, now)
        link = self.link
        if link is not None and not link.lost:
            self._check_link(link, now)
        self._on_check(now)

    def _check_link(self, link: Link, now: float) -> None:
        oldest = link.oldest
        if oldest is not None:
            patience_s = self._timeout_s - (LOOK_MARGIN_S if oldest[0] == self._on_newest else CHECK_S)
            if now - oldest[2] > patience_s:
                link.cut()
            return
        if not self.up:
            return
        if now >= self._claim_at_s:
            self._claim_at_s = now + CLAIM_EVERY_S
            link.send(self._claim(), self._on_claim, monotonic())
        if self._stale and now >= self._poll_at_s:
            self._poll_at_s = now + STALE_POLL_S
            self._ask_epochs(sorted(self._stale))
        if now >= self._look_at_s:
            self._look_at_s = now + LOOK_EVERY_S
            link.send(pack(("GET", NEWEST_KEY)), self._on_newest)

    def _on_newest(self, _subject: object, reply: Any, _seconds: float) -> None:
        link = self.link
        if reply is LOST or link is None or not self.up:
            return
        if isinstance(reply, ReplyError):
            link.cut()
        elif reply != self._newest:
            self._newest = reply
            link.send(self._claim(), self._on_claim)
            self._ask_epochs(list(range(len(self.epochs))))


def _run_id(info: bytes) -> str:
    for line in info.decode(errors="replace").splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:")
    raise ConnectionError("Redis does not tell its run id: allow the command INFO to this user")
