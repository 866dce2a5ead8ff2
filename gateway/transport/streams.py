"""All streams of one worker: accepting, opening, finding the one to reuse, and closing those that only cost.

A connection's number is unique over the gate, not only over the worker: its upper half is the worker's slot + 1.
So a worker that got a request handed over (``handoff``) can name the connection that the answer belongs to, and the
worker that holds it finds it.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.sip.events import Flow
from gateway.transport.tcp import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_PEER_MAX,
    IDLE_S,
    SWEEP_S,
    UNCONNECTED_BYTES_MAX,
    UNFINISHED_S,
    Connection,
    Hears,
)

SLOT_SHIFT: Final = 32
"""Connection numbers of slot s lie between (s + 1) << 32 and (s + 2) << 32."""

CONNECTING_MAX: Final = 256
"""Connections being opened at once: a carrier that is away must not let a flood of calls use up all descriptors."""


def holder_of(local: int) -> int:
    """The slot of the worker that holds the connection with this number."""
    return (local >> SLOT_SHIFT) - 1


class Streams:
    """The TCP side of a transport; ``may_connect(host)`` says whether a source may connect at all."""

    def __init__(self, slot: int, hears: Hears, may_connect: Callable[[str], bool]) -> None:
        self.hears = hears
        self.refused_connections = 0
        """Connections closed at once: too many, or from a source that may not connect."""
        self.loop: asyncio.AbstractEventLoop
        self._may_connect = may_connect
        self._last_local = (slot + 1) << SLOT_SHIFT
        self._by_local: dict[int, Connection] = {}
        self._by_peer: dict[tuple[str, int], Connection] = {}
        self._per_host: Counter[str] = Counter()
        self._waiting: dict[tuple[str, int], list[bytes]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Open connections."""
        return len(self._by_local)

    async def open(self, own: list[socket.socket], shared: list[socket.socket]) -> None:
        """Begin to accept on listening sockets, the worker's own and those it shares with the others."""
        self.loop = asyncio.get_running_loop()
        for sock in own:
            self._servers.append(await self.loop.create_server(lambda: Connection(self), sock=sock))
        for sock in shared:
            self._servers.append(await self.loop.create_server(lambda: Connection(self, shared=True), sock=sock))
        self._sweep = self.loop.call_later(SWEEP_S, self._close_idle)

    async def close(self) -> None:
        """Stop accepting and end every stream."""
        if self._sweep is not None:
            self._sweep.cancel()
        for server in self._servers:
            server.close()
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._by_local.values()):
            connection.close()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def admit(self, connection: Connection, host: str, port: int, *, accepted: bool) -> bool:
        """Number a new connection and remember it; False where there are too many or it may not connect."""
        full = len(self._by_local) >= CONNECTIONS_MAX or self._per_host[host] >= CONNECTIONS_PER_PEER_MAX
        if accepted and (full or not self._may_connect(host)):
            self.refused_connections += 1
            return False
        self._last_local += 1
        connection.flow = Flow("tcp", host, port, self._last_local)
        self._by_local[self._last_local] = connection
        self._by_peer[host, port] = connection
        self._per_host[host] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """A stream has ended: nothing finds it any more, and whoever waits for an answer on it is told."""
        flow = connection.flow
        if self._by_local.pop(flow.local, None) is None:
            return
        if self._by_peer.get((flow.host, flow.port)) is connection:
            del self._by_peer[flow.host, flow.port]
        self._per_host[flow.host] -= 1
        if not self._per_host[flow.host]:
            del self._per_host[flow.host]
        self.hears.lost(flow)

    def send_on(self, flow: Flow, data: bytes) -> bool:
        """Write on the connection of this flow; False where it is gone.

        A worker that was restarted counts its connections anew, so the number alone may be a stranger's.
        """
        connection = self._by_local.get(flow.local)
        return connection is not None and connection.flow == flow and connection.send(data)

    def send_to(self, host: str, port: int, data: bytes) -> None:
        """Write on an open connection to this peer, or open one (RFC 3261 18.1.1)."""
        connection = self._by_peer.get((host, port))
        if connection is not None and connection.send(data):
            return
        waiting = self._waiting.get((host, port))
        if waiting is None:
            self._connect(host, port, data)
        elif sum(map(len, waiting)) + len(data) <= UNCONNECTED_BYTES_MAX:
            waiting.append(data)
        else:
            self.loop.call_soon(self.hears.failed, host, port)

    def _connect(self, host: str, port: int, data: bytes) -> None:
        if len(self._opening) >= CONNECTING_MAX or len(self._by_local) >= CONNECTIONS_MAX:
            self.loop.call_soon(self.hears.failed, host, port)
            return
        self._waiting[host, port] = [data]
        task = self.loop.create_task(self._open_one(host, port))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_one(self, host: str, port: int) -> None:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self, opened_to=(host, port)), host, port
                )
        except (OSError, OverflowError):  # TimeoutError is an OSError; a port above 65535 is an OverflowError
            pass
        waiting = self._waiting.pop((host, port), [])
        if connection is None or not all(connection.send(data) for data in waiting):
            self.hears.failed(host, port)

    def _close_idle(self) -> None:
        now = self.loop.time()
        for connection in list(self._by_local.values()):
            since = connection.unfinished_since
            if now - connection.heard_at > IDLE_S or (since is not None and now - since > UNFINISHED_S):
                connection.close(abort=True)
        self._sweep = self.loop.call_later(SWEEP_S, self._close_idle)
