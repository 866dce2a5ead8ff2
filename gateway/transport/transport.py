"""The sockets of one worker seen as one thing: bytes with their flow come up, a flow and bytes go down.

A flow that names a local end leaves from there: a UDP answer from the socket its request came in on, also where
another worker read it; a stream answer on its connection, through the worker that holds it.  A flow without one
(``local`` 0) leaves from the worker's own UDP socket, or over a connection to that peer.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from gateway.sip.errors import BadMessage
from gateway.sip.events import Flow
from gateway.sip.message import Response, parse
from gateway.transport.handoff import HEARD, WRITE, Handoff, LiveSlots
from gateway.transport.names import Names
from gateway.transport.strangers import Strangers
from gateway.transport.streams import Streams, holder_of
from gateway.transport.tls import Contexts
from gateway.transport.udp import UdpPort

ROUTES_MAX: Final = 4096
"""Flows whose way out is kept ready-made; forgotten all at once when full (each peer has a few)."""

PORT_MAX: Final = 65535

Route = Callable[[bytes], None]


class Listener(Protocol):
    """What a transport tells the worker; each is called from the loop, never from inside a send."""

    def hear(self, data: bytes, flow: Flow) -> None:
        """One message came in."""

    def end_turn(self) -> None:
        """All that was waiting has been told: act on it."""

    def connection_lost(self, flow: Flow) -> None:
        """The connection that messages of this flow came on is gone."""

    def send_failed(self, flow: Flow) -> None:
        """What was sent on this flow did not arrive."""


@dataclass(slots=True)
class Sockets:
    """The sockets a worker has inherited.

    With one worker everything is its own.  With more, ``shared`` ones are read by all of them and ``own`` ones
    are the private port that stands in Via and Contact (SIP.md 2).
    """

    slot: int = 0
    own_udp: list[socket.socket] = field(default_factory=list)
    own_tcp: list[socket.socket] = field(default_factory=list)
    own_tls: list[socket.socket] = field(default_factory=list)
    shared_udp: list[socket.socket] = field(default_factory=list)
    shared_tcp: list[socket.socket] = field(default_factory=list)
    shared_tls: list[socket.socket] = field(default_factory=list)
    live: LiveSlots | None = None
    inbox: socket.socket | None = None
    outboxes: dict[int, socket.socket] = field(default_factory=dict)


class Transport:
    """All sockets of one worker; ``may_connect(host)`` says which sources may open a stream.

    ``contexts`` are the certificates of TLS, ``knows(host)`` says whether a trunk names a source, ``strangers`` judges
    what comes from sources that are not known.
    """

    def __init__(
        self,
        sockets: Sockets,
        listener: Listener,
        may_connect: Callable[[str], bool],
        contexts: Contexts | None = None,
        *,
        knows: Callable[[str], bool] = lambda host: True,
        strangers: Strangers | None = None,
    ) -> None:
        self._sockets = sockets
        self._strangers = strangers
        if strangers is not None:
            strangers.on_forget = self._forget_peers
        self._listener = listener
        self._routes: dict[Flow, Route] = {}
        self._flows_to: dict[tuple[str, str, int], set[Flow]] = {}
        self._expected: dict[tuple[str, int], str] = {}
        self._looked_up: dict[tuple[str, int], str] = {}
        self._handoff = self._make_handoff(sockets)
        self._udp: dict[int, UdpPort] = {}
        self._own: list[UdpPort] = []
        self.streams = Streams(
            sockets.slot, self, self._not_banned(may_connect), contexts, knows=knows, name_of=self._name_of
        )
        self._names: Names | None = None

    def _not_banned(self, may_connect: Callable[[str], bool]) -> Callable[[str], bool]:
        strangers = self._strangers
        if strangers is None:
            return may_connect
        return lambda host: may_connect(host) and not strangers.is_banned(host)

    def _make_handoff(self, sockets: Sockets) -> Handoff | None:
        if sockets.live is None or sockets.inbox is None:
            return None
        end_turn = self._listener.end_turn
        return Handoff(sockets.slot, sockets.live, sockets.inbox, sockets.outboxes, self._handed_over, end_turn)

    async def open(self) -> None:
        """Begin to hear and to send."""
        loop = asyncio.get_running_loop()
        self._names = Names(loop)
        # shared sockets are numbered first, so that a number means the same socket in every worker
        for shared, socks in ((True, self._sockets.shared_udp), (False, self._sockets.own_udp)):
            for sock in socks:
                self._open_udp(sock, shared, loop)
        await self.streams.open(self._sockets.own_tcp, self._sockets.shared_tcp)
        await self.streams.open_tls(self._sockets.own_tls, self._sockets.shared_tls)
        if self._handoff is not None:
            self._handoff.open(loop)

    def _open_udp(self, sock: socket.socket, shared: bool, loop: asyncio.AbstractEventLoop) -> None:
        hear = self.hear_shared if shared else self._listener.hear
        local = len(self._udp) + 1
        port = UdpPort(sock, local, hear, self._listener.end_turn, partial(self._failed, "udp"), self._strangers)
        self._udp[local] = port
        if not shared:
            self._own.append(port)
        port.open(loop)

    async def close(self) -> None:
        """Close every socket and stream."""
        for port in self._udp.values():
            port.close()
        await self.streams.close()
        if self._handoff is not None:
            self._handoff.close()
        if self._names is not None:
            await self._names.close()

    def _forget_peers(self) -> None:
        for port in self._udp.values():
            port.forget_peers()

    def expect(self, names: Mapping[tuple[str, int], str]) -> None:
        """Whom peers at these addresses and ports must prove to be (RFC 5922 7.3).

        What was said of other addresses before holds on: a call may live longer than the DNS records that led to its
        peer, and a new connection to it must prove the name all the same.
        """
        kept = {place: name for place, name in self._expected.items() if place not in names}
        spare = max(0, ROUTES_MAX - len(names))
        self._expected = {**dict(list(kept.items())[-spare:] if spare else ()), **names}

    def _name_of(self, host: str, port: int) -> str:
        place = (host, port)
        return self._expected.get(place) or self._looked_up.get(place) or host.partition("%")[0]

    @property
    def lost_datagrams(self) -> int:
        """Datagrams and frames lost here because a bounded queue was full."""
        return sum(port.dropped for port in self._udp.values()) + (self._handoff.dropped if self._handoff else 0)

    # what goes out

    def send(self, flow: Flow, data: bytes) -> None:
        """Send ``data`` on ``flow``; failures are told later, by ``send_failed``."""
        route = self._routes.get(flow)
        if route is not None or (route := self._find_route(flow)) is not None:
            route(data)
        else:
            self._look_up(flow, data)

    def _find_route(self, flow: Flow) -> Route | None:
        """The way out for a flow, remembered; None where its host is a name that must be looked up first."""
        if flow.transport != "udp" and flow.local:
            return partial(self._send_on_stream, flow)
        try:
            ipaddress.ip_address(flow.host.partition("%")[0])
        except ValueError:
            return None
        return self._remember(flow, flow.host)

    def _remember(self, flow: Flow, address: str) -> Route | None:
        strangers = self._strangers
        if flow.local and strangers is not None and not strangers.knows(address):
            return self._route_to(flow, address)  # an answer to a stranger: forged sources push no other way out
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
            self._flows_to.clear()
        route = self._route_to(flow, address)
        self._routes[flow] = route
        self._flows_to.setdefault((flow.transport, address, flow.port), set()).add(flow)
        return route

    def _route_to(self, flow: Flow, address: str) -> Route:
        if not 0 < flow.port <= PORT_MAX:
            return partial(self._no_way, flow)
        if not flow.local and self._strangers is not None:
            self._strangers.expect(address)  # a request of ours goes there
        if flow.transport != "udp":
            return partial(self.streams.send_to, flow.transport, address, flow.port)
        port = self._udp.get(flow.local) or self._own_port(address)
        if port is None:
            return partial(self._no_way, flow)
        try:
            return partial(port.send, port.address_of(address, flow.port))
        except (OSError, ValueError):
            return partial(self._no_way, flow)

    def _own_port(self, address: str) -> UdpPort | None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return next((port for port in self._own if port.family == family), None)

    def _no_way(self, flow: Flow, data: bytes) -> None:
        """No socket of ours can send there: a family we do not listen on, or a port that is no port."""
        asyncio.get_running_loop().call_soon(self._tell_failed, flow)

    def _look_up(self, flow: Flow, data: bytes) -> None:
        assert self._names is not None, "send before open"

        def found(address: str | None) -> None:
            if address is None:
                self._no_way(flow, data)
            else:
                if flow.transport == "tls":
                    if len(self._looked_up) >= ROUTES_MAX:
                        self._looked_up.clear()
                    self._looked_up[address, flow.port] = flow.host
                # not remembered under the name: the next message asks again when the answer is too old
                self._flows_to.setdefault((flow.transport, address, flow.port), set()).add(flow)
                self._route_to(flow, address)(data)

        self._names.find(flow.host, found)

    def _send_on_stream(self, flow: Flow, data: bytes) -> None:
        """Send on the connection that the flow names, or where it is gone, over one to the flow's address.

        A response is written by whichever worker holds the connection.  A request of ours is not handed to another
        one, which would hear its response and not know it.
        """
        slot, is_request = holder_of(flow.local), not data.startswith(b"SIP/2.0 ")
        if slot != self._sockets.slot and not is_request:
            if self._handoff is not None:
                self._handoff.send(slot, WRITE, flow, data)
            return
        if is_request:
            self._tell_of(flow, self.streams.port_of(flow.local) or flow.port)
        if not self.streams.send_on(flow, data):
            port = flow.port if is_request else _port_without_connection(flow, data)
            self.streams.send_to(flow.transport, flow.host, port, data)

    def _tell_of(self, flow: Flow, port: int) -> None:
        """Remember whom to tell when the connection to this port, or the one that is opened instead, breaks."""
        if len(self._flows_to) >= ROUTES_MAX:
            self._flows_to.clear()
            self._routes.clear()
        for each in {port, flow.port}:
            self._flows_to.setdefault((flow.transport, flow.host, each), set()).add(flow)

    # what comes in

    def hear_shared(self, data: bytes, flow: Flow) -> None:
        """A message came in on a socket that all workers read: it may be another's."""
        if self._handoff is None or not self._handoff.pass_on(data, flow):
            self._listener.hear(data, flow)

    def hear_stream(self, data: bytes, flow: Flow, shared: bool) -> None:
        """A message came in on a connection, ``shared``: accepted from a listener that all workers have."""
        strangers = self._strangers
        if strangers is not None and not strangers.knows(flow.host) and not strangers.admits(flow.host, data):
            if strangers.is_banned(flow.host):
                self.streams.cut(flow)
            return
        if shared:
            self.hear_shared(data, flow)
        else:
            self._listener.hear(data, flow)

    def _handed_over(self, kind: int, flow: Flow, data: bytes) -> None:
        if kind == HEARD:
            self._listener.hear(data, flow)
        elif kind == WRITE:
            self._send_on_stream(flow, data)

    def end_turn(self) -> None:
        """A connection has told all it read."""
        self._listener.end_turn()

    def lost(self, flow: Flow) -> None:
        """A connection is gone: also what had been sent to its peer over it."""
        self._listener.connection_lost(flow)
        self._failed(flow.transport, flow.host, flow.port)

    def failed(self, transport: str, host: str, port: int) -> None:
        """Nothing arrives at this address by this transport."""
        self._failed(transport, host, port)

    def _failed(self, transport: str, host: str, port: int) -> None:
        for flow in self._flows_to.get((transport, host, port), ()):
            # told in a turn of its own: this may be the middle of a send
            asyncio.get_running_loop().call_soon(self._tell_failed, flow)

    def _tell_failed(self, flow: Flow) -> None:
        self._listener.send_failed(flow)
        self._listener.end_turn()


def _port_without_connection(flow: Flow, data: bytes) -> int:
    """Where an answer goes when its connection has broken: the port of its Via, else the default (RFC 3261 18.2.2)."""
    try:
        message = parse(data)
    except BadMessage:
        return flow.port
    if not isinstance(message, Response):
        return flow.port
    return message.top_via.reply_port
