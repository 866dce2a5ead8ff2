"""The store's tie to Redis: a connection to each node, watched, given up when it hangs, and taken up again.

Mostly there is one node.  In Redis Cluster each serves some partitions, and is away or back by itself; what belongs to
no partition (the claim to the slot, the newest epoch) is asked of the node that serves its key.  Which nodes there are
is looked up where one is lost or says that it is the wrong one (``layout``); behind sentinels it is the master of the
moment.

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
from gateway.credit.cluster_link import ClusterLink
from gateway.credit.keys import (
    DOUBTFUL_KEY,
    HEARD_KEY,
    NEWEST_KEY,
    OWNERS_KEY,
    PARTITIONS_KEY,
    Keyspace,
    epoch_number,
    is_open,
)
from gateway.credit.layout import WATCH_S, Finder, Layout
from gateway.credit.node import Node, run_of
from gateway.credit.requests import is_cutting, is_noscript, pack_claim, with_text
from gateway.credit.resp import LOST, Link, open_link, pack
from gateway.credit.standing import Standing

CHECK_S: Final = 0.05
"""How often time limits are looked at: fine enough for limits of a second, and 20 looks a second cost nothing."""

LOOK_EVERY_S: Final = 0.2
"""How often the newest epoch is asked for: a hang is noticed within a second, a rebuild well before its leader has
waited for the workers (gateway.settlement.rebuild)."""

LOOK_MARGIN_S: Final = 0.3
"""How much sooner than a command an unanswered look tells: rest, check and look together take one timeout."""

BACKOFF_S: Final = (0.0, 0.05, 0.1, 0.1, 0.1)
"""Waits between attempts to connect; the last is repeated.  An INVITE that is retried for half a second (MONEY 8) meets
a Redis that is back meanwhile, and ten attempts a second cost nothing."""

STALE_POLL_S: Final = 0.2
"""How often the epochs of partitions that are not open are read again."""

CLAIM_EVERY_S: Final = 5.0
CLAIM_TTL_MS: Final = 15_000
"""A holder that says nothing for three rounds is gone: another installation may take its name over."""


GLOBAL_KEYS: Final = (OWNERS_KEY, NEWEST_KEY, HEARD_KEY, DOUBTFUL_KEY, PARTITIONS_KEY)
"""Keys of no partition that a worker asks for: in a cluster each may be at another node."""

_PING: Final = pack(("PING",))


class OwnerTakenError(Exception):
    """Another live installation holds this node name; the text says which, and what to do."""


class Tie:
    """``links[n]`` is the connection to the node of partition n, None where it is away; ``open_epochs[n]`` its epoch,
    empty where nothing may be granted.  ``up``: every node is there; ``up_links`` are those that are."""

    def __init__(
        self,
        finder: Finder,
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
        self._finder, self._keys = finder, keys
        self._owner, self._instance, self._start = owner, instance, uuid4().hex
        self._timeout_s = timeout_s
        self._on_return, self._on_up, self._on_check, self._alert = on_return, on_up, on_check, alert
        self._on_sure = on_sure
        self._standing = Standing(monotonic())
        count = len(keys.partitions)
        self.links: list[Link | None] = [None] * count
        self.up_links: tuple[Link, ...] = ()
        self.up = False
        self.fenced = False
        self.has_heir = False
        self.generation = 0
        self.epochs = [""] * count
        self.open_epochs = [""] * count
        self._run_ids = [""] * count
        self._nodes: dict[Address, Node] = {}
        self._layout: Layout | None = None
        self._serving: list[Node | None] = [None] * count
        self._serving_key: dict[str, Node | None] = dict.fromkeys(GLOBAL_KEYS)
        self._stale: set[int] = set()
        self._heard: dict[int, Any] = {}
        self._newest: bytes | None = None
        self._found = asyncio.Event()
        self._look = asyncio.Event()
        self._claimed = asyncio.Event()
        self._finding: asyncio.Task[None] | None = None
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._taken: OwnerTakenError | None = None
        self._claim_at_s = 0.0

    async def start(self) -> None:
        """Connect, or have tried to.  Raises OwnerTakenError."""
        self._check()
        if self._finder.fixed is not None:
            self._apply(self._finder.fixed)
        else:
            self._finding = asyncio.create_task(self._keep_finding())
            await self._found.wait()
        home = self._serving_key[OWNERS_KEY]
        if home is not None:
            await home.first.wait()
        for node in list(self._nodes.values()) if self.generation else ():
            await node.first.wait()
        if self._taken is not None:
            raise self._taken

    async def stop(self) -> None:
        """Give the name free and close."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._finding, *(node.task for node in self._nodes.values())) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        link = self.link_to(OWNERS_KEY)
        if link is not None:
            link.send(self._claim(ttl_ms=0), lambda *_: None)
            with suppress(OSError, ReplyError):
                await asyncio.wait_for(link.ask("PING"), self._timeout_s)
        self.up = False  # by our own will: nobody need be told that Redis is away
        self._cut_all()
        await self._finder.close()

    @property
    def link(self) -> Link | None:
        """The connection to the node that knows the claims; also while it is being signed in to."""
        node = self._serving_key[OWNERS_KEY]
        return None if node is None else node.link

    def link_to(self, key: str) -> Link | None:
        """The connection to the node of a key of GLOBAL_KEYS; None where it is away."""
        node = self._serving_key[key]
        return node.link if node is not None and node.up else None

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

    # which nodes there are

    async def _keep_finding(self) -> None:
        """Look for the layout: at once where something is wrong, else each WATCH_S."""
        while not (self.fenced or self._stopping):
            self._look.clear()
            try:
                self._apply(await asyncio.wait_for(self._finder.find(), self._timeout_s))
            except Exception as error:  # whatever it is: without this task a new master would never be found
                if not self.up:
                    self._alert("STORE_AWAY", f"the Redis nodes are not found: {error or repr(error)}")
            self._found.set()
            await asyncio.sleep(BACKOFF_S[3])
            if self.up:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), WATCH_S)

    def _apply(self, layout: Layout) -> None:
        """Tie to the nodes of a layout, and let go of those that are not in it any more."""
        if layout == self._layout:
            return
        self._layout = layout
        was_up, before = self.up, self._serving
        nodes = [self._nodes.get(each) or Node(each) for each in layout.nodes]
        for node in self._nodes.values():
            node.partitions.clear()

        def serving(key: str) -> Node | None:
            number = layout.node_of(key)
            return None if number is None else nodes[number]

        self._serving = [serving(keys.epoch) for keys in self._keys.partitions]
        self._serving_key = {key: serving(key) for key in GLOBAL_KEYS}
        for partition, at in enumerate(self._serving):
            if at is not None:
                at.partitions.add(partition)
        gone = [node for node in self._nodes.values() if node not in nodes]
        self._nodes = {node.address: node for node in nodes}
        for node in gone:
            self._retire(node)
        for node in nodes:
            if node.task is None:
                node.task = asyncio.create_task(self._stay_connected(node))
        self._route()
        self._take_in(before)
        self._show(was_up)

    def _take_in(self, before: list[Node | None]) -> None:
        """Partitions that came to a node which is connected already: as if it had just been connected for them."""
        moved = {
            partition
            for partition, node in enumerate(self._serving)
            if node is not None and node.up and before[partition] is not node
        }
        if moved:
            for partition in moved:
                node = self._serving[partition]
                self._run_ids[partition] = "" if node is None else node.run_id
            self._on_return(moved, set())
            self._ask_epochs(sorted(moved))

    def _retire(self, node: Node) -> None:
        node.up = False
        node.first.set()
        if node.task is not None:
            node.task.cancel()
        if node.link is not None:
            node.link.cut()

    def _reroute(self, host: str, port: int) -> Link | None:
        """The node that another one named is the right one: the layout has changed."""
        self._look.set()
        for node in self._nodes.values():
            if node.up and node.address.port == port and host in {"", node.address.host}:
                return node.link
        return None

    def _route(self) -> None:
        """Who is there has changed: where commands go, and whether all is well."""
        self.links = [node.link if node is not None and node.up else None for node in self._serving]
        self.up_links = tuple(node.link for node in self._nodes.values() if node.up and node.link is not None)
        self.up = bool(self.up_links) and None not in self.links

    def _show(self, was_up: bool) -> None:
        """Tell whoever watches, where it is news."""
        if self.up != was_up:
            self._on_up(self.up)

    # a connection

    async def _stay_connected(self, node: Node) -> None:
        attempt = 0
        while not (self.fenced or self._stopping):
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1
            try:
                await self._connect(node)
                attempt = 1
            except OwnerTakenError as error:
                self._taken, self.fenced = error, True
                self._alert("OWNER_TAKEN", str(error))
            except Exception as error:  # whatever it is: without this task Redis would never be found again
                if node.link is not None:
                    node.link.cut()
                self._look.set()
                if attempt == len(BACKOFF_S) or not isinstance(error, OSError | ReplyError):
                    self._alert("STORE_AWAY", why_away(node.address, node.address.tls, error))
            node.first.set()
            if self._stopping:  # wait_for may lose a cancellation that meets an outcome (Python 3.11)
                return
            if node.link is not None and not node.link.lost:
                await node.gone.wait()

    async def _connect(self, node: Node) -> None:
        node.gone.clear()
        link = node.link = await asyncio.wait_for(self._open(node.address), self._timeout_s)
        told = _told(await link.ask("INFO"))
        node.run_id = run_of(told)
        if self._finder.must_be_master and told.get("role") != "master":
            raise ConnectionError(f"{node.address} is no master any more")
        await asyncio.gather(*(link.ask("SCRIPT", "LOAD", script.text) for script in lua.HOT))
        if self._serving_key[PARTITIONS_KEY] is node:
            await self._check_partitions(link)
        if self._serving_key[OWNERS_KEY] is node:
            await self._claim_slot(link)
        elif not self.generation:
            await self._claimed.wait()
        again, renumbered = await self._read_epochs(node, link)
        if link.lost:
            raise ConnectionError("the connection to Redis was lost again at once")
        was_up, node.up = self.up, True
        self._route()
        self._on_return(again, renumbered)
        self._show(was_up)

    async def _open(self, address: Address) -> Link:
        if self._layout is not None and self._layout.slots is not None:
            return await open_link(address, self._on_lost, lambda on_lost: ClusterLink(on_lost, self._reroute))
        return await open_link(address, self._on_lost)

    async def _read_epochs(self, node: Node, link: Link) -> tuple[set[int], set[int]]:
        """Partitions of this node that may lack writes, for another run of Redis answers; and those in a new epoch."""
        if self._serving_key[NEWEST_KEY] is node:  # before the epochs: one that begins meanwhile is seen later
            newest = await link.ask("GET", NEWEST_KEY)
            if newest != self._newest:
                others = [number for number, each in enumerate(self._serving) if each is not node]
                self._newest = newest
                self._ask_epochs(others)
        partitions = sorted(node.partitions)
        asked = (link.ask("GET", self._keys.partitions[number].epoch) for number in partitions)
        replies = await asyncio.gather(*asked)
        self._stale.difference_update(partitions)
        again = {number for number in partitions if self._run_ids[number] not in {"", node.run_id}}
        renumbered = {number for number, reply in zip(partitions, replies, strict=True) if self._learn(number, reply)}
        for number in partitions:
            self._run_ids[number] = node.run_id
        return again, renumbered

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
            self._claimed.set()
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
        link = self.link
        if is_noscript(reply) and link is not None:
            link.send(with_text(self._claim()), self._on_claim, monotonic())
        elif is_cutting(reply) and link is not None:  # a master that has become a replica takes no claims
            link.cut()
        if not isinstance(reply, list):
            return
        if reply[0] == b"CLAIMED":
            self._confirm(asked_at_s)
            return
        self.fenced, self.has_heir = True, reply[0] == b"INHERITED"
        self._alert("FENCED", self._taken_text(reply))
        self._cut_all()

    def _cut_all(self) -> None:
        for node in self._nodes.values():
            if node.link is not None:
                node.link.cut()

    def _taken_text(self, reply: list[Any]) -> str:
        if reply[0] == b"INHERITED":
            heir = reply[2].decode(errors="replace")
            return f"{self._owner} was not heard for so long that {heir} has its calls: this worker must start anew"
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
            link = self.links[partition]
            if link is not None:
                link.send(pack(("GET", self._keys.partitions[partition].epoch)), self._on_epoch, partition)

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
        renumbered, opened = set(), False
        for partition, reply in heard.items():
            if self.links[partition] is None:
                continue  # the next connection reads it
            was_open = bool(self.open_epochs[partition])
            if self._learn(partition, reply):
                renumbered.add(partition)
            opened = opened or bool(self.open_epochs[partition] and not was_open)
        if renumbered or opened:
            self._on_return(set(), renumbered)

    def _on_lost(self, link: Link) -> None:
        node = next((each for each in self._nodes.values() if each.link is link), None)
        if node is None:
            return
        was_up, node.up = self.up, False
        node.gone.set()
        self._look.set()
        self._route()
        self._show(was_up)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(CHECK_S, self._check)
        if not self._standing.beat(monotonic()):
            self._claim_at_s = min(self._claim_at_s, now)
        for node in list(self._nodes.values()):
            if node.link is not None and not node.link.lost:
                self._check_link(node, node.link, now)
        self._on_check(now)

    def _check_link(self, node: Node, link: Link, now: float) -> None:
        oldest = link.oldest
        if oldest is not None:
            is_look = oldest[0] in (self._on_newest, _on_look)
            if now - oldest[2] > self._timeout_s - (LOOK_MARGIN_S if is_look else CHECK_S):
                link.cut()
            return
        if not node.up:
            return
        if now >= self._claim_at_s and self._serving_key[OWNERS_KEY] is node:
            self._claim_at_s = now + CLAIM_EVERY_S
            link.send(self._claim(), self._on_claim, monotonic())
        stale = self._stale & node.partitions if self._stale else None
        if stale and now >= node.poll_at_s:
            node.poll_at_s = now + STALE_POLL_S
            self._ask_epochs(sorted(stale))
        if now >= node.look_at_s:
            node.look_at_s = now + LOOK_EVERY_S
            if self._serving_key[NEWEST_KEY] is node:
                link.send(pack(("GET", NEWEST_KEY)), self._on_newest)
            else:
                link.send(_PING, _on_look)

    def _on_newest(self, _subject: object, reply: Any, _seconds: float) -> None:
        node = self._serving_key[NEWEST_KEY]
        if reply is LOST or node is None or node.link is None or not node.up:
            return
        if isinstance(reply, ReplyError):
            node.link.cut()
        elif reply != self._newest:
            self._newest = reply
            home = self.link_to(OWNERS_KEY)
            if home is not None:
                home.send(self._claim(), self._on_claim)
            self._ask_epochs(list(range(len(self.epochs))))


def _on_look(_subject: object, _reply: Any, _seconds: float) -> None:
    """It answers: that was the question."""


def _told(info: bytes) -> dict[str, str]:
    """What INFO tells."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}
