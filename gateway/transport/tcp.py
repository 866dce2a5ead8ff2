"""Streams: connections that peers open to us and we to peers, one set per worker, reused as RFC 3261 18 asks.

A request goes over an open connection to the same address and port, or a new one (18.1.1); a response goes back on
the connection its request came on, and if that has broken, over one to the address the request came from with the
port of its Via (18.2.2).  Peers are many and some are hostile: each number below bounds what one of them can hold.
"""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway.sip.events import Flow
from gateway.sip.stream import BadFrame, StreamFramer

if TYPE_CHECKING:
    from gateway.transport.streams import Streams

CONNECTIONS_MAX: Final = 4096
"""Open connections of a worker; each holds a file descriptor and up to a message of memory."""

CONNECTIONS_PER_PEER_MAX: Final = 512
"""Connections from one address: PBXs that open one for each call exist; one of them must not take all."""

UNSENT_BYTES_MAX: Final = 262_144
"""Bytes waiting for a peer that reads slowly, some hundred messages; beyond it the connection is cut."""

UNCONNECTED_BYTES_MAX: Final = 65_536
"""Bytes waiting for a connection that is being opened; beyond it sends fail as if it had been refused."""

CONNECT_TIMEOUT_S: Final = 4.0
"""How long an address may take to accept: below target_timeout_s failover goes on without it."""

IDLE_S: Final = 600.0
"""A connection without a message for this long is closed: peers that keep one open ping it (RFC 5626: 120 s)."""

UNFINISHED_S: Final = 32.0
"""A message must be complete this long after its first byte, 64·T1: its transaction is over by then."""

SWEEP_S: Final = 5.0
"""How often idle connections are looked for."""

PING: Final = b"\r\n\r\n"
PONG: Final = b"\r\n"
"""A peer that keeps its connection open asks whether we do (RFC 5626 4.4.1)."""


class Hears(Protocol):
    """What the streams tell their worker."""

    def hear_stream(self, data: bytes, flow: Flow, shared: bool) -> None:
        """One whole message came; ``shared``: its connection was accepted from a listener that all workers have."""

    def end_turn(self) -> None:
        """What came in one read has been told."""

    def lost(self, flow: Flow) -> None:
        """A connection is gone, with what was sent on it; ``flow`` is the one its messages came with."""

    def failed(self, host: str, port: int) -> None:
        """No connection to this address could be opened, or it takes no more."""


class Connection(asyncio.Protocol):
    """One stream; ``flow`` names it in everything that was heard on it."""

    __slots__ = ("_framer", "_opened_to", "_shared", "_streams", "_transport", "flow", "heard_at", "unfinished_since")

    def __init__(self, streams: "Streams", *, opened_to: tuple[str, int] | None = None, shared: bool = False) -> None:
        self.flow = Flow("tcp", "", 0)
        self.heard_at = 0.0
        self.unfinished_since: float | None = None
        self._streams = streams
        self._opened_to = opened_to
        self._shared = shared
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the peer has been accepted or has accepted."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        host, port = self._opened_to or (peer[0], peer[1])
        self.heard_at = self._streams.loop.time()
        if not self._streams.admit(self, host, port, accepted=self._opened_to is None):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what was read."""
        now = self._streams.loop.time()
        self.heard_at = now
        if data == PING and not self._framer.pending:
            self.send(PONG)
            return
        bad: BadFrame | None = None
        try:
            messages = self._framer.feed(data)
        except BadFrame as error:
            messages, bad = error.complete, error
        for message in messages:
            self._streams.hears.hear_stream(message, self.flow, self._shared)
        self.unfinished_since = (self.unfinished_since or now) if self._framer.pending else None
        if bad is not None and bad.data:
            # what can be answered is answered by the endpoint of this worker, whoever owns its call
            self._streams.hears.hear_stream(bad.data, self.flow, False)
        self._streams.hears.end_turn()
        if bad is not None:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the stream has ended, whoever ended it."""
        self._transport = None
        self._streams.forget(self)

    def eof_received(self) -> bool:
        """The peer has finished sending: a SIP peer that half-closes is gone."""
        return False

    def send(self, data: bytes) -> bool:
        """Write, or cut the connection where the peer does not read; False: nothing can be sent here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(data) > UNSENT_BYTES_MAX:
            transport.abort()
            return False
        transport.write(data)
        return True

    def close(self, *, abort: bool = False) -> None:
        """End the stream, at once with ``abort``."""
        if self._transport is not None:
            self._transport.abort() if abort else self._transport.close()
