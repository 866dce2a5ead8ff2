"""Every socket of the gate, bound before any process starts and before any store is asked (SIP.md 2).

With one worker the listen addresses are its own.  With more, all workers share the listen addresses, and each has a
private port on the same hosts for what stands in Via and Contact: that of UDP and TCP counted from the beginning of
``sip.worker_ports``, that of TLS from its end, so that neither moves when there are more workers.
"""

import mmap
import socket
import tempfile
from dataclasses import dataclass, field, replace
from typing import IO

from gateway.config.settings import Settings
from gateway.config.values import Listen
from gateway.transport.handoff import LiveSlots, open_inbox
from gateway.transport.sockets import ListenError, open_socket
from gateway.transport.tls import Contexts, TlsError
from gateway.worker.plan import Plan


@dataclass(slots=True)
class Bound:
    """Open sockets by their place: ``shared`` ones, ``own`` ones by slot, inboxes by slot, the admin listener.

    ``tls`` are the descriptors of those sockets where peers begin with TLS.
    """

    shared: list[socket.socket] = field(default_factory=list)
    own: dict[int, list[socket.socket]] = field(default_factory=dict)
    inboxes: dict[int, tuple[socket.socket, socket.socket]] = field(default_factory=dict)
    tls: set[int] = field(default_factory=set)
    admin: socket.socket | None = None
    live: LiveSlots | None = None
    page: IO[bytes] | None = None

    def close(self) -> None:
        """Close everything."""
        for sock in (*self.shared, *(sock for socks in self.own.values() for sock in socks)):
            sock.close()
        for reader, writer in self.inboxes.values():
            reader.close()
            writer.close()
        if self.admin is not None:
            self.admin.close()
        if self.live is not None:
            self.live.close()
        if self.page is not None:
            self.page.close()

    def give_to(self, slot: int, plan: Plan) -> Plan:
        """The plan of a worker with its descriptors in it."""
        own, inbox = self.own.get(slot, []), self.inboxes.get(slot)
        return replace(
            plan,
            slot=slot,
            own_udp=self._of(own, "udp"),
            own_tcp=self._of(own, "tcp"),
            own_tls=self._of(own, "tls"),
            shared_udp=self._of(self.shared, "udp"),
            shared_tcp=self._of(self.shared, "tcp"),
            shared_tls=self._of(self.shared, "tls"),
            live=None if self.page is None else self.page.fileno(),
            inbox=None if inbox is None else inbox[0].fileno(),
            outboxes={other: ends[1].fileno() for other, ends in self.inboxes.items() if other != slot},
        )

    def _of(self, socks: list[socket.socket], transport: str) -> tuple[int, ...]:
        return tuple(sock.fileno() for sock in socks if self._transport(sock) == transport)

    def _transport(self, sock: socket.socket) -> str:
        if sock.type == socket.SOCK_DGRAM:
            return "udp"
        return "tls" if sock.fileno() in self.tls else "tcp"

    def open(self, listen: Listen) -> socket.socket:
        """Open a socket; the caller puts it in its place.  Raises ListenError."""
        sock = open_socket(listen)
        if listen.transport == "tls":
            self.tls.add(sock.fileno())
        return sock


def bind(settings: Settings, *, sip: bool, admin: bool) -> Bound:
    """Open every socket that these roles need.  Raises ListenError, with nothing left open."""
    bound = Bound()
    try:
        if sip:
            _bind_sip(settings, bound)
        if admin:
            listen = settings.admin.listen
            bound.admin = open_socket(Listen("tcp", listen.host, listen.port))
    except ListenError:
        bound.close()
        raise
    return bound


def _bind_sip(settings: Settings, bound: Bound) -> None:
    workers, listens = settings.sip.workers, settings.sip.listen
    if any(listen.transport == "tls" for listen in listens):
        _try_certificates(settings)
    if workers == 1:
        bound.own[0] = []
        for listen in listens:
            bound.own[0].append(bound.open(listen))
        return
    for listen in listens:
        bound.shared.append(bound.open(listen))
    for slot in range(workers):
        bound.own[slot] = []
        for transport, host in dict.fromkeys((listen.transport, listen.host) for listen in listens):
            port = settings.sip.worker_ports[-1 - slot if transport == "tls" else slot]
            bound.own[slot].append(bound.open(Listen(transport, host, port)))
        bound.inboxes[slot] = open_inbox()
    bound.page = tempfile.TemporaryFile()  # noqa: SIM115  closed by Bound.close
    bound.page.truncate(mmap.PAGESIZE)
    bound.live = LiveSlots(bound.page.fileno(), workers)


def _try_certificates(settings: Settings) -> None:
    """Say at once what every worker would fail at."""
    try:
        Contexts(settings.sip.tls)
    except TlsError as error:
        raise ListenError(f"cannot show a certificate: {error}") from error
