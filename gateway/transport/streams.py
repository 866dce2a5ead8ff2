"""All streams of one worker: accepting, opening, finding the one to reuse, and closing those that only cost.

A connection's number is unique over the gate, not only over the worker: its upper half is the worker's slot + 1.
So a worker that got a request handed over (``handoff``) can name the connection that the answer belongs to, and the
worker that holds it finds it.  Where its lower half begins is drawn at random, so that a number from before a restart
does not name a connection after it.
"""

import asyncio
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.sip.events import Flow
from gateway.telemetry.logs import get_logger
from gateway.transport.tcp import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_PEER_MAX,
    CONNECTIONS_PER_STRANGER_MAX,
    IDLE_S,
    STRANGERS_MAX,
    SWEEP_S,
    UNCONNECTED_BYTES_MAX,
    UNFINISHED_S,
    Connection,
    Hears,
)
from gateway.transport.tls import Contexts

SLOT_SHIFT: Final = 32
"""Connection numbers of slot s lie between (s + 1) << 32 and (s + 2) << 32."""

CONNECTING_MAX: Final = 256
"""Connections being opened at once: a carrier that is away must not let a flood of calls use up all descriptors."""


def holder_of(local: int) -> int:
    """The slot of the worker that holds the connection with this number."""
    return (local >> SLOT_SHIFT) - 1


START_BITS: Final = 31
"""Where the numbers of a start begin is one of so many: that none is met again after a restart is all but certain."""

TLS_FAILURES_LOGGED: Final = 10
"""Failed handshakes that are logged between two sweeps; port scanners make many, and a trunk's first one tells all."""

Peer = tuple[str, str, int]
"""Transport, address and port."""

log = get_logger("transport")


class Streams:
    """The TCP and TLS side of a transport; ``may_connect(host)`` says whether a source may connect at all,
    ``knows(host)`` whether a trunk names it, and ``name_of(host, port)`` whom a peer must prove to be."""

    def __init__(
        self,
        slot: int,
        hears: Hears,
        may_connect: Callable[[str], bool],
        contexts: Contexts | None = None,
        *,
        knows: Callable[[str], bool] = lambda host: True,
        name_of: Callable[[str, int], str] = lambda host, port: host,
    ) -> None:
        self.hears = hears
        self.refused_connections = 0
        """Connections closed at once: too many, or from a source that may not connect."""
        self.failed_handshakes = 0
        """Connections closed because a peer did not speak TLS, or did not prove who it is."""
        self.loop: asyncio.AbstractEventLoop
        self._may_connect = may_connect
        self.knows = knows
        self.name_of = name_of
        self._contexts = contexts
        self._last_local = ((slot + 1) << SLOT_SHIFT) + secrets.randbits(START_BITS)
        self._by_local: dict[int, Connection] = {}
        self._by_peer: dict[Peer, Connection] = {}
        self._per_host: Counter[str] = Counter()
        self._strangers = 0
        self._waiting: dict[Peer, list[bytes]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._failures_logged = 0

    def __len__(self) -> int:
        """Open connections."""
        return len(self._by_local)

    async def open(self, own: list[socket.socket], shared: list[socket.socket]) -> None:
        """Begin to accept on listening sockets, the worker's own and those it shares with the others."""
        self.loop = asyncio.get_running_loop()
        await self._accept(own, shared, tls=False)
        self._sweep = self.loop.call_later(SWEEP_S, self._close_idle)

    async def open_tls(self, own: list[socket.socket], shared: list[socket.socket]) -> None:
        """The same for sockets where peers begin with TLS."""
        await self._accept(own, shared, tls=True)

    async def _accept(self, own: list[socket.socket], shared: list[socket.socket], *, tls: bool) -> None:
        for is_shared, socks in ((False, own), (True, shared)):
            for sock in socks:

                def accept(is_shared: bool = is_shared) -> Connection:
                    return Connection(self, shared=is_shared, wire=self._tls.accept() if tls else None)

                self._servers.append(await self.loop.create_server(accept, sock=sock))

    @property
    def _tls(self) -> Contexts:
        if self._contexts is None:
            self._contexts = Contexts(None)
        return self._contexts

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
        if accepted and not self._lets_in(host):
            self.refused_connections += 1
            return False
        self._last_local += 1
        flow = connection.flow = Flow(connection.flow.transport, host, port, self._last_local)
        self._by_local[self._last_local] = connection
        self._by_peer[flow[:3]] = connection
        if accepted:
            self._per_host[host] += 1
            connection.is_stranger = not self.knows(host)
            self._strangers += connection.is_stranger
        return True

    def _lets_in(self, host: str) -> bool:
        if len(self._by_local) >= CONNECTIONS_MAX or not self._may_connect(host):
            return False
        if self.knows(host):
            return self._per_host[host] < CONNECTIONS_PER_PEER_MAX
        return self._strangers < STRANGERS_MAX and self._per_host[host] < CONNECTIONS_PER_STRANGER_MAX

    def alias(self, connection: Connection, port: int) -> None:
        """Requests to this port of the connection's peer may go over it; an older one there is kept while it stands."""
        peer = (connection.flow.transport, connection.flow.host, port)
        older = self._by_peer.get(peer)
        if older is None or not older.is_open:
            self._by_peer[peer] = connection
        connection.alias_port = port

    def note_tls_failure(self, flow: Flow, error: ssl.SSLError) -> None:
        """A peer does not speak TLS, or has not proved who it is: count it, and say it a few times."""
        self.failed_handshakes += 1
        self._failures_logged += 1
        if self._failures_logged <= TLS_FAILURES_LOGGED:
            why = getattr(error, "verify_message", "") or error.reason or str(error)
            log.warning("no TLS with a peer", host=flow.host, port=flow.port, why=why)

    def forget(self, connection: Connection) -> None:
        """A stream has ended: nothing finds it any more, and whoever waits for an answer on it is told.

        On one that never was ready nothing was sent; who was to be told of that has been.
        """
        flow = connection.flow
        if self._by_local.pop(flow.local, None) is None:
            return
        for port in {flow.port, connection.alias_port}:
            if self._by_peer.get((flow.transport, flow.host, port)) is connection:
                del self._by_peer[flow.transport, flow.host, port]
        if connection.accepted:
            self._per_host[flow.host] -= 1
            if not self._per_host[flow.host]:
                del self._per_host[flow.host]
        self._strangers -= connection.is_stranger
        if connection.ready.result():
            self.hears.lost(flow)

    def cut(self, flow: Flow) -> None:
        """Close the connection of this flow at once: its peer is banned."""
        connection = self._by_local.get(flow.local)
        if connection is not None:
            connection.close(abort=True)

    def port_of(self, local: int) -> int:
        """The peer's port of an open connection; 0 where there is none of this number."""
        connection = self._by_local.get(local)
        return connection.flow.port if connection is not None else 0

    def send_on(self, flow: Flow, data: bytes) -> bool:
        """Write on the connection of this flow; False where it is gone.

        The port of a request may be another than the connection's: inside a dialog it is that of the peer's Contact,
        and the connection is the one that the dialog came by.
        """
        connection = self._by_local.get(flow.local)
        if connection is None or connection.flow[:2] != flow[:2]:
            return False
        same = connection.flow.port == flow.port or not data.startswith(b"SIP/2.0 ")
        return same and connection.send(data)

    def send_to(self, transport: str, host: str, port: int, data: bytes) -> None:
        """Write on an open connection to this peer, or open one (RFC 3261 18.1.1)."""
        peer = (transport, host, port)
        connection = self._by_peer.get(peer)
        if connection is not None and connection.send(data):
            return
        waiting = self._waiting.get(peer)
        if waiting is None:
            self._connect(peer, data)
        elif sum(map(len, waiting)) + len(data) <= UNCONNECTED_BYTES_MAX:
            waiting.append(data)
        else:
            self.loop.call_soon(self.hears.failed, *peer)

    def _connect(self, peer: Peer, data: bytes) -> None:
        if len(self._opening) >= CONNECTING_MAX or len(self._by_local) >= CONNECTIONS_MAX:
            self.loop.call_soon(self.hears.failed, *peer)
            return
        self._waiting[peer] = [data]
        task = self.loop.create_task(self._open_one(peer))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_one(self, peer: Peer) -> None:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._opened(peer)
        except (OSError, OverflowError, ValueError):
            # TimeoutError and ssl.SSLError are OSErrors; a port above 65535 is an OverflowError; ValueError: a name
            # that no certificate can have
            pass
        waiting = self._waiting.pop(peer, [])
        if connection is None or not all(connection.send(data) for data in waiting):
            self.hears.failed(*peer)

    async def _opened(self, peer: Peer) -> Connection | None:
        """A connection that can be written to; None where the peer has not proved who it is."""
        transport, host, port = peer
        wire = self._tls.connect(self.name_of(host, port)) if transport == "tls" else None
        connection = Connection(self, opened_to=(host, port), wire=wire)
        try:
            await self.loop.create_connection(lambda: connection, host, port)
            if await connection.ready:
                return connection
        except BaseException:
            connection.close(abort=True)
            raise
        return None

    def _close_idle(self) -> None:
        now = self.loop.time()
        for connection in list(self._by_local.values()):
            since = connection.unfinished_since
            if now - connection.heard_at > IDLE_S or (since is not None and now - since > UNFINISHED_S):
                connection.close(abort=True)
        if self._contexts is not None:
            self._contexts.refresh()
        self._failures_logged = 0
        self._sweep = self.loop.call_later(SWEEP_S, self._close_idle)
