"""Which worker a message belongs to, and how it gets there (SIP.md 2).

Every worker reads from the shared ports; the kernel gives one peer's datagrams to whoever is free.  The reader
hashes the Call-ID over the live slots and sends the bytes with the peer's address to the owner's inbox, a Unix
datagram socket.  Retransmissions, CANCEL and ACK carry the same Call-ID, so they follow by themselves.  What comes
back: bytes for a connection that only the accepting worker can write.

Highest random weight decides: when a slot dies for good only its own Call-IDs move, and they come back with it.
Which slots live is one byte each in a page of memory that the supervisor writes and the workers only read.
"""

import asyncio
import hashlib
import mmap
import re
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.sip.events import Flow

SLOTS_MAX: Final = 256
"""Workers a gate can have; a page of memory holds their bytes many times over, and few machines have more cores."""

INBOX_BYTES: Final = 4 * 1024 * 1024
"""Asked of the kernel for each inbox: what waits there while a killed worker is restarted."""

QUEUED_FRAMES_MAX: Final = 1024
"""Frames kept for an inbox that is full; a peer's retransmission replaces what exceeds it."""

FRAMES_PER_TURN: Final = 32
"""As DATAGRAMS_PER_TURN of a UDP port, for the same reason."""

FRAME_BYTES_MAX: Final = 65535 + 128
"""The longest message and its frame."""

HEARD: Final = 1
"""A message that was heard on ``flow``: the receiver owns its Call-ID."""
WRITE: Final = 2
"""Bytes to be written on the connection ``flow.local``, which the receiver holds."""

_TRANSPORTS: Final = ("udp", "tcp", "tls")
_HEAD: Final = struct.Struct("!BBHBQ")
_CALL_ID: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t\r\n]*([^\s]+)", re.IGNORECASE)


def frame(kind: int, flow: Flow, data: bytes) -> bytes:
    """One datagram between workers: what it is, the flow, the message."""
    host = flow.host.encode("ascii")
    return _HEAD.pack(kind, _TRANSPORTS.index(flow.transport), flow.port, len(host), flow.local) + host + data


def unframe(datagram: bytes) -> tuple[int, Flow, bytes]:
    """Take :func:`frame` apart; raises ValueError where it is not one."""
    if len(datagram) < _HEAD.size:
        raise ValueError("a frame between workers is at least a head long")
    kind, transport, port, host_length, local = _HEAD.unpack_from(datagram)
    start = _HEAD.size + host_length
    if transport >= len(_TRANSPORTS) or len(datagram) < start:
        raise ValueError("not a frame between workers")
    host = datagram[_HEAD.size : start].decode("ascii")
    return kind, Flow(_TRANSPORTS[transport], host, port, local), datagram[start:]


def call_id_of(message: bytes) -> bytes:
    """The Call-ID of a message that has not been parsed; empty where none is found (every owner is then as good)."""
    found = _CALL_ID.search(message)
    return found.group(1) if found else b""


def owner(call_id: bytes, slots: list[int]) -> int:
    """The slot a Call-ID belongs to among the live ``slots`` (not empty): the one with the highest weight."""
    if len(slots) == 1:
        return slots[0]
    return max(slots, key=lambda slot: hashlib.blake2b(call_id, digest_size=8, key=b"%d" % slot).digest())


class LiveSlots:
    """Which slots have a worker, in memory shared by the supervisor (who writes) and the workers (who read)."""

    __slots__ = ("_count", "_list", "_page", "_seen")

    def __init__(self, fd: int, count: int) -> None:
        """``fd``: a file of one page that all processes have inherited; ``count``: slots of the gate."""
        self._page = mmap.mmap(fd, mmap.PAGESIZE)
        self._count = count
        self._seen = b""
        self._list: list[int] = []

    def set(self, slot: int, live: bool) -> None:
        """Say that a slot has a worker, or has none and will get none soon."""
        self._page[slot] = int(live)

    def list(self) -> list[int]:
        """The live slots, in order."""
        seen = self._page[: self._count]
        if seen != self._seen:
            self._seen = seen
            self._list = [slot for slot, live in enumerate(seen) if live]
        return self._list

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()


def open_inbox() -> tuple[socket.socket, socket.socket]:
    """An inbox of a slot: the end that its worker reads and the end that all others write.

    A connected pair and not a bound socket: the kernel bounds the bytes under way to it, not their number (a bound
    Unix datagram socket takes net.unix.max_dgram_qlen datagrams, ten on many machines).
    """
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_BYTES)
    for end in (reader, writer):
        end.setblocking(False)
    return reader, writer


class Handoff:
    """One worker's inbox and its ways to the inboxes of the other slots."""

    def __init__(
        self,
        slot: int,
        live: LiveSlots,
        inbox: socket.socket,
        outboxes: dict[int, socket.socket],
        hear: Callable[[int, Flow, bytes], None],
        end_turn: Callable[[], None],
    ) -> None:
        """``hear(kind, flow, data)`` is called for each frame in the inbox, ``end_turn()`` after each batch."""
        self.dropped = 0
        """Frames lost because an inbox and the queue for it were full."""
        self._slot = slot
        self._live = live
        self._inbox = inbox
        self._outboxes = outboxes
        self._hear = hear
        self._end_turn = end_turn
        self._queues: dict[int, deque[bytes]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read the inbox."""
        self._loop = loop
        loop.add_reader(self._inbox.fileno(), self._drain)

    def close(self) -> None:
        """Stop reading."""
        if self._loop is not None:
            self._loop.remove_reader(self._inbox.fileno())
            for slot in self._queues:
                self._loop.remove_writer(self._outboxes[slot].fileno())
        for sock in (self._inbox, *self._outboxes.values()):
            sock.close()

    def pass_on(self, message: bytes, flow: Flow) -> bool:
        """Send a message heard on a shared port to its owner; False: it is our own."""
        slots = self._live.list()
        to = owner(call_id_of(message), slots) if slots else self._slot
        if to == self._slot:
            return False
        self.send(to, HEARD, flow, message)
        return True

    def send(self, slot: int, kind: int, flow: Flow, data: bytes) -> None:
        """Send one frame to a slot's inbox."""
        outbox = self._outboxes.get(slot)
        if outbox is None:
            self.dropped += 1
            return
        datagram = frame(kind, flow, data)
        queue = self._queues.get(slot)
        if queue is None:
            try:
                outbox.send(datagram)
            except (BlockingIOError, InterruptedError):
                queue = self._queues[slot] = deque()
                if self._loop is not None:
                    self._loop.add_writer(outbox.fileno(), self._flush, slot)
            else:
                return
        if len(queue) >= QUEUED_FRAMES_MAX:
            self.dropped += 1
        else:
            queue.append(datagram)

    def _flush(self, slot: int) -> None:
        queue, outbox = self._queues[slot], self._outboxes[slot]
        while queue:
            try:
                outbox.send(queue[0])
            except (BlockingIOError, InterruptedError):
                return
            queue.popleft()
        del self._queues[slot]
        if self._loop is not None:
            self._loop.remove_writer(outbox.fileno())

    def _drain(self) -> None:
        for _ in range(FRAMES_PER_TURN):
            try:
                datagram = self._inbox.recv(FRAME_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                break
            kind, flow, data = unframe(datagram)
            self._hear(kind, flow, data)
        self._end_turn()
