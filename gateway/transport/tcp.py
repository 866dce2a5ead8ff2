"""Streams: connections that peers open to us and we to peers, TCP with or without TLS, one set per worker, reused as
RFC 3261 18 and RFC 5923 ask.

A request goes over an open connection to the same address and port, or a new one (18.1.1); a response goes back on
the connection its request came on, and if that has broken, over one to the address the request came from with the
port of its Via (18.2.2).  Peers are many and some are hostile: each number below bounds what one of them can hold.
"""

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Final, Protocol, cast

from gateway.sip.events import Flow
from gateway.sip.stream import BadFrame, StreamFramer
from gateway.sip.uri import SIPS_PORT
from gateway.transport.tls import Wire

if TYPE_CHECKING:
    from gateway.transport.streams import Streams

CONNECTIONS_MAX: Final = 4096
"""Open connections of a worker; each holds a file descriptor and up to a message of memory."""

CONNECTIONS_PER_PEER_MAX: Final = 512
"""Connections from one address: PBXs that open one for each call exist; one of them must not take all."""

CONNECTIONS_PER_STRANGER_MAX: Final = 16
"""Connections from an address that no trunk names: enough to be told 403 by."""

STRANGERS_MAX: Final = CONNECTIONS_MAX // 8
"""Connections of all such addresses together: a flood of half-open ones leaves the trunks their room."""

UNSENT_BYTES_MAX: Final = 262_144
"""Bytes waiting for a peer that reads slowly, some hundred messages; beyond it the connection is cut."""

UNCONNECTED_BYTES_MAX: Final = 65_536
"""Bytes waiting for a connection that is being opened; beyond it sends fail as if it had been refused."""

CONNECT_TIMEOUT_S: Final = 3.5
"""How long an address may take to accept and to prove who it is: below target_timeout_s, so that the call learns of it
and goes on without it."""

IDLE_S: Final = 600.0
"""A connection without a byte for this long is closed: peers that keep one open ping it (RFC 5626: 120 s)."""

UNFINISHED_S: Final = 32.0
"""A message must be complete this long after its first byte, and the handshake of TLS after the peer connected; a
stranger must have said something whole by then, a message or a ping.  64·T1, when its transaction is over.  A peer that
a trunk names may connect and be silent, as some do long before their first call, until IDLE_S."""

SWEEP_S: Final = 5.0
"""How often idle connections, and certificates that have changed, are looked for."""

PONG: Final = b"\r\n"
"""The answer to a peer that keeps its connection open and asks whether we do (RFC 5626 4.4.1)."""

_ALIAS = re.compile(
    rb"\r\n(?:via|v)[ \t]*:[ \t]*SIP/2\.0/TLS[ \t]+(?:\[[0-9a-f:.]++\]|[^\s:;,]++)(?::([0-9]{1,5}+))?"
    rb"(?:;(?!alias\b)[^\r\n;,]*+)*+;alias\b",
    re.IGNORECASE,
)
"""The newest Via of a request over TLS that offers its connection for requests the other way (RFC 5923 5), with its
port.  It is looked for once for each connection: in the first message that it brings."""


class Hears(Protocol):
    """What the streams tell their worker."""

    def hear_stream(self, data: bytes, flow: Flow, shared: bool) -> None:
        """One whole message came; ``shared``: its connection was accepted from a listener that all workers have."""

    def end_turn(self) -> None:
        """What came in one read has been told."""

    def lost(self, flow: Flow) -> None:
        """A connection is gone, with what was sent on it; ``flow`` is the one its messages came with."""

    def failed(self, transport: str, host: str, port: int) -> None:
        """No connection to this address could be opened, or it takes no more."""


class Connection(asyncio.Protocol):
    """One stream; ``flow`` names it in everything that was heard on it."""

    __slots__ = (
        "_framer", "_looked", "_opened_to", "_shared", "_streams", "_transport", "_wire", "alias_port", "flow",
        "heard_at", "is_stranger", "ready", "unfinished_since",
    )  # fmt: skip

    def __init__(
        self,
        streams: "Streams",
        *,
        opened_to: tuple[str, int] | None = None,
        shared: bool = False,
        wire: Wire | None = None,
    ) -> None:
        """``wire``: the TLS of this connection; None: plain TCP."""
        self.flow = Flow("tcp" if wire is None else "tls", "", 0)
        self.alias_port = 0
        """The peer's own port, if it lets requests to it come over this connection."""
        self.is_stranger = False
        """Whether it was counted as one when it came; its peer may be known by the end of it."""
        self.heard_at = 0.0
        self.unfinished_since: float | None = None
        self.ready: asyncio.Future[bool] = streams.loop.create_future()
        """Whether the peer can be written to: set once it has accepted and, of TLS, proved itself, or has not."""
        self._streams = streams
        self._opened_to = opened_to
        self._shared = shared
        self._looked = opened_to is not None or wire is None
        """Whether it is known if the peer offers an alias, which only one that comes by TLS can do."""
        self._wire = wire
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the peer has been accepted or has accepted."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        host, port = self._opened_to or (peer[0], peer[1])
        self.heard_at = self._streams.loop.time()
        accepted = self.accepted
        is_to_speak = self._wire is not None or not self._streams.knows(host)
        self.unfinished_since = self.heard_at if accepted and is_to_speak else None
        if not self._streams.admit(self, host, port, accepted=accepted):
            self._transport.abort()
        elif self._wire is None:
            self._is_ready(True)
        elif not accepted:
            self._wire.begin()
            self._flush()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what was read."""
        if self._transport is None or self._transport.is_closing():
            return  # what comes after the cut is nobody's
        self.heard_at = self._streams.loop.time()
        plain = data if self._wire is None else self._decrypted(self._wire, data)
        if plain:
            self._hear(plain)
        if self._wire is not None and self._wire.ended:
            self.close()

    def _decrypted(self, wire: Wire, data: bytes) -> bytes:
        try:
            plain = wire.feed(data)
        except ssl.SSLError as error:
            self._streams.note_tls_failure(self.flow, error)
            self._flush()  # the alert that says why
            self.close()
            return b""
        self._flush()
        if wire.ready:
            if self.unfinished_since is not None and not self.ready.done() and self._streams.knows(self.flow.host):
                self.unfinished_since = None  # its handshake is over, and it may be silent
            self._is_ready(True)
        return plain

    def _hear(self, data: bytes) -> None:
        """Tell what is whole in the plain bytes that came."""
        framer = self._framer
        bad: BadFrame | None = None
        try:
            messages = framer.feed(data)
        except BadFrame as error:
            messages, bad = error.complete, error
        if framer.take_pings():
            self.send(PONG)
            self.unfinished_since = None
        if messages:
            self.unfinished_since = None
            if not self._looked:
                self._looked = True
                self._look_for_alias(messages[0])
        for message in messages:
            self._streams.hears.hear_stream(message, self.flow, self._shared)
        if framer.pending and self.unfinished_since is None:
            self.unfinished_since = self.heard_at
        if bad is not None and bad.data:
            # what can be answered is answered by the endpoint of this worker, whoever owns its call
            self._streams.hears.hear_stream(bad.data, self.flow, False)
        self._streams.hears.end_turn()
        if bad is not None:
            self.close()

    def _look_for_alias(self, message: bytes) -> None:
        """Requests to the peer's own port may come over this connection (RFC 5923 8), if it proves the name that a
        connection to that port would have to prove: an authority signs for many, and each could take another's calls.
        """
        found = _ALIAS.search(message)
        if found is None or self._wire is None:
            return
        port = int(found[1] or SIPS_PORT)
        if self._wire.proves(self._streams.name_of(self.flow.host, port)):
            self._streams.alias(self, port)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the stream has ended, whoever ended it."""
        self._transport = None
        self._is_ready(False)
        self._streams.forget(self)

    def eof_received(self) -> bool:
        """The peer has finished sending: a SIP peer that half-closes is gone."""
        return False

    def send(self, data: bytes) -> bool:
        """Write, or cut the connection where the peer does not read; False: nothing can be sent here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        waiting = transport.get_write_buffer_size() + (self._wire.waiting if self._wire is not None else 0)
        if waiting + len(data) > UNSENT_BYTES_MAX:
            transport.abort()
            return False
        if self._wire is None:
            transport.write(data)
        else:
            self._wire.write(data)
            self._flush()
        return True

    @property
    def accepted(self) -> bool:
        """Whether the peer opened it, and not we."""
        return self._opened_to is None

    @property
    def is_open(self) -> bool:
        """Whether it stands, and nobody has begun to close it."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self, *, abort: bool = False) -> None:
        """End the stream, at once with ``abort``."""
        if not self.is_open or self._transport is None:
            return
        if abort:
            self._transport.abort()
            return
        if self._wire is not None:
            self._wire.end()
            self._flush()
        self._transport.close()

    def _flush(self) -> None:
        """Write what TLS has made."""
        if self._wire is not None and self._transport is not None and (made := self._wire.take()):
            self._transport.write(made)

    def _is_ready(self, ready: bool) -> None:
        if not self.ready.done():
            self.ready.set_result(ready)
