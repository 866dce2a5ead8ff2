"""The two networks of a simulation: datagrams that may be lost, doubled, late and out of order, and the way to Redis,
which keeps its order and breaks whole.

All dice are of one generator, so that a seed says everything that happens.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hiredis import Reader

from gateway.credit.resp import Link
from gateway.sip.events import Flow
from tests.simulation.loop import VirtualLoop
from tests.simulation.redis import SimRedis

Address = tuple[str, int]
Hear = Callable[[bytes, Flow], None]


@dataclass(slots=True)
class Weather:
    """How bad the network is: chances per datagram, seconds of delay."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.002
    jitter_s: float = 0.0


SOCKET_MAX = 200
"""Datagrams that wait in a socket nobody reads; what comes then is lost, as in a kernel's buffer."""


class Network:
    """Carries datagrams between addresses; an address that nobody holds swallows them.

    A gate's sockets outlive its processes (SIP.md 2): what arrives while one is :meth:`leave`-d waits for the next.
    """

    def __init__(self, loop: VirtualLoop, dice: random.Random, weather: Weather) -> None:
        self._loop, self._dice, self.weather = loop, dice, weather
        self.holders: dict[Address, Hear] = {}
        self._waiting: dict[Address, list[tuple[bytes, Flow]]] = {}
        self.sent = 0

    def hold(self, address: Address, hear: Hear) -> None:
        """Read this socket from now on, beginning with what waits in it."""
        self.holders[address] = hear
        for data, flow in self._waiting.pop(address, ()):
            hear(data, flow)

    def leave(self, address: Address) -> None:
        """Nobody reads this socket until it is held again."""
        waiting = self._waiting.setdefault(address, [])
        self.holders[address] = lambda data, flow: waiting.append((data, flow)) if len(waiting) < SOCKET_MAX else None

    def send(self, source: Address, flow: Flow, data: bytes) -> None:
        """Send one datagram from ``source`` to where ``flow`` points."""
        self.sent += 1
        weather, dice = self.weather, self._dice
        for _ in range(1 + (dice.random() < weather.repeat)):
            if dice.random() >= weather.loss:
                delay_s = weather.delay_s + dice.random() * weather.jitter_s
                self._loop.call_later(delay_s, self._arrive, source, (flow.host, flow.port), data)

    def _arrive(self, source: Address, target: Address, data: bytes) -> None:
        hear = self.holders.get(target)
        if hear is not None:
            hear(data, Flow("udp", *source))


class Cable:
    """The way to Redis: ``up`` or not, with a delay each way; what is on it when it breaks is lost or carried out."""

    def __init__(self, loop: VirtualLoop, dice: random.Random, server: SimRedis) -> None:
        self.loop, self.dice, self.server = loop, dice, server
        self.up = True
        self.hangs = False
        self.unread = False
        """The gate's process stands still: answers wait for it."""
        self.delay_s = 0.0003
        self.wires: list[Wire] = []

    async def open_link(self, on_lost: Callable[[Link], None]) -> Link:
        """A connection, as gateway.credit.resp.open_link makes one."""
        if not self.up:
            raise ConnectionError("the simulated Redis is down")
        link = Link(on_lost)
        self.wires = [wire for wire in self.wires if not wire.broken]
        self.wires.append(Wire(self, link))
        link.connection_made(self.wires[-1])  # type: ignore[arg-type]
        return link

    def read_on(self) -> None:
        """The process goes on: what waited in its connections it reads before its timers fire, as a loop does."""
        self.unread = False
        for wire in self.wires:
            wire.deliver()

    def cut(self) -> None:
        """Break every connection: half of what was on its way arrives, and no answer comes back."""
        for wire in self.wires:
            wire.cut()
        self.wires.clear()


class Wire:
    """One connection, as asyncio would hand it to a Link."""

    def __init__(self, cable: Cable, link: Link) -> None:
        self._cable, self._link = cable, link
        self.broken = False
        self._reader = Reader()
        self._under_way: list[list[bytes]] = []
        self._answers: list[Any] = []
        self._free_at_s = self._answers_at_s = 0.0

    def write(self, data: bytes) -> None:
        """Asyncio's transport: bytes for the server."""
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._under_way.append([_bytes(word) for word in words])
            loop = self._cable.loop
            # one after another: a slow command never lets a later one overtake it
            arrives_s = loop.time() + self._cable.delay_s * (0.5 + self._cable.dice.random())
            self._free_at_s = max(self._free_at_s + 1e-6, arrives_s)
            loop.call_at(self._free_at_s, self._serve)

    def abort(self) -> None:
        """Asyncio's transport: the client gave the connection up; what it has sent may still be carried out."""
        self.broken = True

    def cut(self) -> None:
        """The network gave it up."""
        self.broken = True
        for _ in range(len(self._under_way) // 2):
            self._cable.server.ask(self._under_way.pop(0))
        self._under_way.clear()
        self._link.connection_lost(None)

    def _serve(self) -> None:
        if not self._under_way:
            return
        if self._cable.hangs:
            self._cable.loop.call_later(0.05, self._serve)
            return
        reply = self._cable.server.ask(self._under_way.pop(0))
        if not self.broken:
            # nor does an answer, where the way gets faster while one is on it
            self._answers_at_s = max(self._answers_at_s + 1e-6, self._cable.loop.time() + self._cable.delay_s)
            self._cable.loop.call_at(self._answers_at_s, self._answer, reply)

    def _answer(self, reply: Any) -> None:
        self._answers.append(reply)
        self.deliver()

    def deliver(self) -> None:
        """Give the client its answers in their order; they wait while its process stands still."""
        while self._answers and not self.broken and not self._cable.unread:
            self._link.data_received(encode(self._answers.pop(0)))


def encode(reply: Any) -> bytes:
    """A reply as it stands on the wire (RESP 2)."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Exception):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n%b" % (len(reply), b"".join(encode(each) for each in reply))


def _bytes(word: Any) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()
