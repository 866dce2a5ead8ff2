"""A UDP socket with two telephones' habits: it drains what has come, and sends again what is not answered.

Every message that has to be sent twice is counted: on a loopback link a retransmission means that the gate was late
by half a second or lost something.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from gateway.sip.deadlines import Deadline, Deadlines
from loadtest.wire import MAX_DATAGRAM, Address, Heard, MalformedError, hear

T1_S: Final = 0.5
T2_S: Final = 4.0
GIVE_UP_S: Final = 64 * T1_S
"""RFC 3261 17.1.1.1: how long a request, and an answer that wants its ACK, is repeated."""

DRAIN: Final = 64
"""Datagrams taken in one turn of the loop: enough for a burst, few enough that timers keep their time."""

SOCKET_BUFFER: Final = 4 * 1024 * 1024
"""Octets asked of the kernel for waiting datagrams: some seconds of messages at the highest rate."""

MAX_EXAMPLES: Final = 10
"""Malformed messages of which the fault is kept; the rest are only counted."""

Hear = Callable[[Heard, Address, float], None]
"""Takes a message, who sent it and when it was read (monotonic seconds)."""


class LineError(Exception):
    """An address that cannot be spoken from; the message says why and what to do."""


class WireTally:
    """What the sockets of a run saw besides calls."""

    def __init__(self) -> None:
        self.retransmissions = 0
        self.repeats_heard = 0
        self.malformed = 0
        self.malformed_examples: list[str] = []
        self.strays = 0
        self.unsent = 0

    def note_malformed(self, fault: str) -> None:
        """Count a message that was not SIP, and keep the first few faults."""
        self.malformed += 1
        if len(self.malformed_examples) < MAX_EXAMPLES:
            self.malformed_examples.append(fault)


class Line:
    """One bound UDP socket; ``heard`` gets each message, ``turn_over`` is called when a batch is done."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        tally: WireTally,
        deadlines: Deadlines,
        turn_over: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._turn_over = turn_over
        self._socket = _bound(address)
        self.tally = tally
        self.deadlines = deadlines
        self.here = Address(*self._socket.getsockname()[:2])
        self._heard: Hear = lambda heard, sender, now: None
        loop.add_reader(self._socket.fileno(), self._drain)

    def listen(self, heard: Hear) -> None:
        """From now on ``heard`` gets every message."""
        self._heard = heard

    def send(self, datagram: bytes, to: Address) -> None:
        """Send once; a full socket buffer or an ICMP error loses it, as a network would."""
        try:
            self._socket.sendto(datagram, to)
        except OSError:
            self.tally.unsent += 1

    def close(self) -> None:
        """Give the socket back."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _drain(self) -> None:
        for _ in range(DRAIN):
            try:
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier send, reported here
                continue
            if datagram.strip(b"\r\n\0"):  # RFC 5626 keep-alives are empty
                self._hear(datagram, Address(*sender[:2]))
        self._turn_over()

    def _hear(self, datagram: bytes, sender: Address) -> None:
        now = time.monotonic()
        try:
            heard = hear(datagram)
        except MalformedError as fault:
            self.tally.note_malformed(str(fault))
            return
        self._heard(heard, sender, now)


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise LineError(f"cannot play a telephone on {address}: {error.strerror}; choose another") from error
    return bound


class Repeat:
    """A message sent until it is answered: the gap doubles from T1 up to ``cap_s``, for 64·T1 in all (17.1.1.2)."""

    __slots__ = ("_cap_s", "_datagram", "_entry", "_gap_s", "_give_up", "_gone_s", "_line", "_to")

    def __init__(
        self,
        line: Line,
        datagram: bytes,
        to: Address,
        now: float,
        give_up: Callable[[float], None],
        cap_s: float = T2_S,
    ) -> None:
        self._line = line
        self._datagram = datagram
        self._to = to
        self._cap_s = cap_s
        self._give_up = give_up
        self._gap_s = T1_S
        self._gone_s = 0.0
        line.send(datagram, to)
        self._entry: Deadline | None = line.deadlines.at(now + T1_S, self._again)

    def stop(self) -> None:
        """It was answered; harmless a second time."""
        self._line.deadlines.cancel(self._entry)
        self._entry = None

    def _again(self, now: float) -> None:
        self._gone_s += self._gap_s
        if self._gone_s >= GIVE_UP_S:
            self._entry = None
            self._give_up(now)
            return
        self._line.tally.retransmissions += 1
        self._line.send(self._datagram, self._to)
        self._gap_s = min(2 * self._gap_s, self._cap_s)
        self._entry = self._line.deadlines.at(now + self._gap_s, self._again)
