"""Every socket of the gate, bound before any process starts and before any store is asked (SIP.md 2).

With one worker the listen addresses are its own.  With more, all workers share the listen addresses, and each has a
private port on the same hosts for what stands in Via and Contact.
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
from gateway.worker.plan import Plan


@dataclass(slots=True)
class Bound:
    """Open sockets by their place: ``shared`` ones, ``own`` ones by slot, inboxes by slot, the admin listener."""

    shared: list[socket.socket] = field(default_factory=list)
    own: dict[int, list[socket.socket]] = field(default_factory=dict)
    inboxes: dict[int, tuple[socket.socket, socket.socket]] = field(default_factory=dict)
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
            own_udp=_of_kind(own, socket.SOCK_DGRAM),
            own_tcp=_of_kind(own, socket.SOCK_STREAM),
            shared_udp=_of_kind(self.shared, socket.SOCK_DGRAM),
            shared_tcp=_of_kind(self.shared, socket.SOCK_STREAM),
            live=None if self.page is None else self.page.fileno(),
            inbox=None if inbox is None else inbox[0].fileno(),
            outboxes={other: ends[1].fileno() for other, ends in self.inboxes.items() if other != slot},
        )


def _of_kind(socks: list[socket.socket], kind: socket.SocketKind) -> tuple[int, ...]:
    return tuple(sock.fileno() for sock in socks if sock.type == kind)


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
    for listen in listens:
        if listen.transport == "tls":
            raise ListenError(f"cannot listen on {listen}: TLS is not built yet; use tcp:// or udp://")
    if workers == 1:
        bound.own[0] = []
        for listen in listens:
            bound.own[0].append(open_socket(listen))
        return
    for listen in listens:
        bound.shared.append(open_socket(listen))
    for slot in range(workers):
        bound.own[slot] = []
        for transport, host in dict.fromkeys((listen.transport, listen.host) for listen in listens):
            bound.own[slot].append(open_socket(Listen(transport, host, settings.sip.worker_ports[slot])))
        bound.inboxes[slot] = open_inbox()
    bound.page = tempfile.TemporaryFile()  # noqa: SIM115  closed by Bound.close
    bound.page.truncate(mmap.PAGESIZE)
    bound.live = LiveSlots(bound.page.fileno(), workers)
