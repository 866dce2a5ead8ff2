"""Floods from strangers, each a process of its own: ``python -m loadtest.bench.flood KIND HOST:PORT RATE SECONDS``.

Every flood comes from 240 addresses of 127/8, others for each kind, so that a ban of one says nothing of the
next: at 5,000 a second that is 21 a second from each, below what a gate has to suspect of one source.  The sender is a
loop of sendto that wakes every 2 ms; what it reached it prints as JSON when it ends.

``tcp`` opens a tenth of RATE connections a second and sends an octet a second on each that stays open, of a message
that never ends: slow-loris.  The rest of a backlog's worth of attacks needs raw sockets, and is the kernel's to stop.
"""

import contextlib
import json
import random
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Final

from loadtest.wire import Address

KINDS: Final = ("garbage", "options", "invite", "register", "tcp")
SOURCES: Final = 240
STEP_S: Final = 0.002
"""Between two wakings: the datagrams of one fit into any socket's buffer."""

BEHIND_MAX: Final = 50
"""Datagrams made up for at one waking where the sender was kept waiting: a flood, not a burst."""

OPEN_MAX: Final = 900
"""Connections held at once, below the descriptors that a process has on most machines (1,024)."""

TEXT: Final = (
    "{method} sip:1{number}@{gate} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {here};branch=z9hG4bK{token};rport\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:{number}@{here}>;tag={token}\r\n"
    "To: <sip:1{number}@{gate}>\r\n"
    "Call-ID: {token}@{here}\r\n"
    "CSeq: 1 {method}\r\n"
    "Contact: <sip:{number}@{here}>\r\n"
    "Content-Length: 0\r\n\r\n"
)


def source(kind: str, number: int) -> str:
    """One of the addresses a flood comes from."""
    return f"127.0.{100 + KINDS.index(kind)}.{1 + number % SOURCES}"


def messages(kind: str, gate: Address, seed: int = 1) -> Iterator[bytes]:
    """What is sent, without end: no two datagrams are the same, as retransmissions would be cheaper."""
    dice = random.Random(seed)
    for number in count():
        here = f"{source(kind, number)}:5060"
        if kind == "garbage":
            start = b"INVITE sip:x SIP/2.0\r\n" if number % 4 == 0 else b""
            yield start + dice.randbytes(dice.randrange(5, 600))
        else:
            token = f"{number}x{dice.getrandbits(40):x}"
            text = TEXT.format(method=kind.upper(), gate=gate, here=here, number=4_250_000_000 + number, token=token)
            yield text.encode()


def send_datagrams(kind: str, gate: Address, rate: float, seconds: float) -> dict[str, float]:
    """Send ``rate`` datagrams a second; returns how many went out and at which rate."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SOURCES)]
        for number, sock in enumerate(socks):
            sock.bind((source(kind, number), 0))
            sock.setblocking(False)
        made = messages(kind, gate)
        sent, began_s = 0, time.monotonic()
        due = 0.0
        while (passed_s := time.monotonic() - began_s) < seconds:
            due = max(due, rate * passed_s - BEHIND_MAX)  # what was missed by more is not made up for
            while due < rate * passed_s:
                due += 1
                with contextlib.suppress(OSError):
                    socks[sent % SOURCES].sendto(next(made), gate)
                sent += 1
            time.sleep(STEP_S)
    return {"sent": sent, "per_second": round(sent / seconds, 1)}


def hold_connections(gate: Address, rate: float, seconds: float) -> dict[str, float]:
    """Open ``rate`` / 10 connections a second, at most OPEN_MAX at once, and send an octet a second on each."""
    held: deque[socket.socket] = deque()
    opened = closed = most = 0
    turns = 0.0
    began_s = last_s = time.monotonic()
    while (now_s := time.monotonic()) - began_s < seconds:
        while opened < rate / 10 * (now_s - began_s) and len(held) < OPEN_MAX:
            held.append(_connected(gate, opened))
            opened += 1
        turns, last_s = turns + len(held) * (now_s - last_s), now_s
        for _ in range(min(int(turns), len(held))):
            sock = held.popleft()
            if _trickles(sock):
                held.append(sock)
            else:
                closed += 1
        turns, most = turns % 1, max(most, len(held))
        time.sleep(STEP_S)
    for sock in held:
        sock.close()
    return {"sent": opened, "per_second": round(opened / seconds, 1), "closed_by_gate": closed, "held": most}


def _connected(gate: Address, number: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((source("tcp", number), 0))
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.connect(gate)
    return sock


def _trickles(sock: socket.socket) -> bool:
    """Send an octet of a header that does not end; False, and closed, where the gate has had enough."""
    try:
        sock.send(b"X")
        if sock.recv(1) == b"":
            sock.close()
            return False
    except BlockingIOError:
        pass
    except OSError:
        sock.close()
        return False
    return True


def main() -> None:
    """Entry point."""
    kind, gate, rate, seconds = sys.argv[1:]
    host, _, port = gate.rpartition(":")
    send = hold_connections if kind == "tcp" else partial(send_datagrams, kind)
    sys.stdout.write(json.dumps(send(Address(host, int(port)), float(rate), float(seconds))) + "\n")


if __name__ == "__main__":
    main()
