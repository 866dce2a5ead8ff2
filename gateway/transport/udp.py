"""One UDP socket of a worker: a bounded drain loop for what comes in, the socket itself or a bounded queue for what
goes out, and ICMP errors told to whoever waits for an answer.

The loop watches an epoll set with the socket in it, not the socket: where the kernel queues ICMP errors a socket
reports EPOLLERR, and libuv (so uvloop too) takes that as the end of the descriptor and never looks at it again.  An
epoll set only ever becomes readable.  Where there is no epoll, there are no queued errors and the socket is watched.
"""

import asyncio
import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from gateway.sip.events import Flow
from gateway.transport.sockets import queue_icmp_errors
from gateway.transport.strangers import Strangers

DATAGRAMS_PER_TURN: Final = 16
"""Datagrams read before their answers leave and timers and the store get their turn: at 0.1 ms each nobody waits more
than 2 ms for those behind it, and the loop's own share of a datagram is below 1 us by then.  To ask a socket that is
empty costs a system call and an exception, and a turn of the loop for each datagram costs more (measured)."""

DATAGRAM_BYTES_MAX: Final = 65535
"""The largest UDP payload there is."""

QUEUED_DATAGRAMS_MAX: Final = 1024
"""Datagrams kept while the kernel's send buffer is full; what exceeds it is lost as UDP may lose it, and sent again
by its transaction."""

PEERS_REMEMBERED: Final = 4096
"""Known peers whose Flow is kept ready-made; forgotten all at once when it is full.  No stranger's is kept, so forged
sources push none out and cost no memory."""

ERRORS_PER_TURN: Final = 64
"""ICMP errors read in one turn, for the same reason."""

MSG_ERRQUEUE: Final = 0x2000
_GONE: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})

Peer = tuple[Any, ...]
Hear = Callable[[bytes, Flow], None]


class UdpPort:
    """A bound UDP socket, numbered ``local`` in the flows it hears on.

    ``hear(data, flow)`` is called for each datagram, ``end_turn()`` after each batch of them, ``failed(host, port)``
    when the kernel says that datagrams to that address do not arrive.  ``strangers`` judges what comes from sources
    that are not known; without it there are none.
    """

    __slots__ = (
        "_end_turn",
        "_epoll",
        "_failed",
        "_flows",
        "_hear",
        "_local",
        "_loop",
        "_queue",
        "_strangers",
        "dropped",
        "family",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        local: int,
        hear: Hear,
        end_turn: Callable[[], None],
        failed: Callable[[str, int], None],
        strangers: Strangers | None = None,
    ) -> None:
        self.sock = sock
        self.family = sock.family
        self.dropped = 0
        """Datagrams lost here because the send queue was full."""
        self._local = local
        self._hear = hear
        self._end_turn = end_turn
        self._failed = failed
        self._strangers = strangers
        self._flows: dict[Peer, Flow] = {}
        self._queue: deque[tuple[bytes, Peer]] = deque()
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to hear."""
        self._loop = loop
        if hasattr(select, "epoll") and queue_icmp_errors(self.sock):
            self._epoll = select.epoll()
            self._epoll.register(self.sock.fileno(), select.EPOLLIN)
            loop.add_reader(self._epoll.fileno(), self._ready)
        else:
            loop.add_reader(self.sock.fileno(), self._ready)

    def close(self) -> None:
        """Stop hearing and close this process's end of the socket."""
        if self._loop is not None:
            self._loop.remove_reader(self.sock.fileno() if self._epoll is None else self._epoll.fileno())
            self._loop.remove_writer(self.sock.fileno())
        if self._epoll is not None:
            self._epoll.close()
        self.sock.close()

    def address_of(self, host: str, port: int) -> Peer:
        """The socket address of an IP address and port; raises OSError where it is none of this family."""
        if self.family == socket.AF_INET:
            socket.inet_pton(socket.AF_INET, host)
            return (host, port)
        # getaddrinfo reads the zone of a link-local address; a numeric host never leaves this machine
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
        return found[0][4]

    def send(self, peer: Peer, data: bytes) -> None:
        """Send one datagram now, or as soon as the kernel takes it."""
        if self._queue:
            self._enqueue(data, peer)
            return
        try:
            self.sock.sendto(data, peer)
        except BlockingIOError:
            self._enqueue(data, peer)
        except OSError as error:
            self._send_again(data, peer, error)

    def _send_again(self, data: bytes, peer: Peer, first: OSError) -> None:
        """A send may report an ICMP error about an earlier datagram to anyone: only the second error is our own."""
        try:
            self.sock.sendto(data, peer)
        except BlockingIOError:
            self._enqueue(data, peer)
        except OSError:
            self._failed(peer[0], peer[1])
        if first.errno in _GONE:
            self._read_errors()

    def _enqueue(self, data: bytes, peer: Peer) -> None:
        if len(self._queue) >= QUEUED_DATAGRAMS_MAX:
            self.dropped += 1
            return
        self._queue.append((data, peer))
        self._watch_writable(len(self._queue) > 0)

    def _watch_writable(self, wanted: bool) -> None:
        if self._epoll is not None:
            self._epoll.modify(self.sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if wanted else 0))
        elif self._loop is not None and wanted:
            self._loop.add_writer(self.sock.fileno(), self._flush)
        elif self._loop is not None:
            self._loop.remove_writer(self.sock.fileno())

    def _flush(self) -> None:
        while self._queue:
            data, peer = self._queue[0]
            try:
                self.sock.sendto(data, peer)
            except BlockingIOError:
                return
            except OSError:
                self._failed(peer[0], peer[1])
            self._queue.popleft()
        self._watch_writable(False)

    def _ready(self) -> None:
        if self._queue:
            self._flush()
        heard = self._drain()
        if heard:
            self._end_turn()
        elif self._epoll is not None:
            self._read_errors()

    def _drain(self) -> int:
        """Hear what is waiting, at most DATAGRAMS_PER_TURN datagrams; how many it was."""
        receive, hear, flows = self.sock.recvfrom, self._hear, self._flows
        for count in range(DATAGRAMS_PER_TURN):
            try:
                data, peer = receive(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno in _GONE:
                    self._read_errors()
                continue
            flow = flows.get(peer)
            if flow is None:
                flow = self._meet(peer, data)
                if flow is None:
                    continue
            hear(data, flow)
        return DATAGRAMS_PER_TURN

    def forget_peers(self) -> None:
        """Somebody is not known any more: ask again who is, at the next datagram of each."""
        self._flows.clear()

    def _meet(self, peer: Peer, data: bytes) -> Flow | None:
        """The flow of a peer that has none yet; None where its datagram is to be dropped."""
        strangers = self._strangers
        if strangers is not None and not strangers.knows(peer[0]):
            return Flow("udp", peer[0], peer[1], self._local) if strangers.admits(peer[0], data) else None
        if len(self._flows) >= PEERS_REMEMBERED:
            self._flows.clear()
        flow = self._flows[peer] = Flow("udp", peer[0], peer[1], self._local)
        return flow

    def _read_errors(self) -> None:
        """Read the error queue; the address of each message there is where our datagram was going (ip(7))."""
        for _ in range(ERRORS_PER_TURN):
            try:
                _, ancillary, _, peer = self.sock.recvmsg(0, 512, MSG_ERRQUEUE)
            except OSError:
                return
            if peer and _says_gone(ancillary):
                self._failed(peer[0], peer[1])


def _says_gone(ancillary: list[tuple[int, int, bytes]]) -> bool:
    """Whether a struct sock_extended_err is one of those that mean "nobody there"; "too big" for one does not."""
    return any(len(data) >= 4 and struct.unpack_from("=I", data)[0] in _GONE for _, _, data in ancillary)
