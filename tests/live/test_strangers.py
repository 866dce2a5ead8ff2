"""Strangers against the living gate: floods are dropped and banned, connections that only cost are closed, and a trunk
notices nothing of it."""

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.transport.tcp import CONNECTIONS_PER_STRANGER_MAX, UNFINISHED_S
from loadtest.bench.gate import Gate
from loadtest.wire import Address

pytestmark = pytest.mark.peer("redis-server")

PBX, STRANGER, FLOODER = "127.0.0.2", "127.0.44.1", "127.0.44.2"
OPTIONS = (
    "OPTIONS sip:{gate} SIP/2.0\r\n"
    "Via: SIP/2.0/{transport} {here};branch=z9hG4bK{token};rport\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:x@{here}>;tag={token}\r\n"
    "To: <sip:{gate}>\r\n"
    "Call-ID: {token}@{here}\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Content-Length: 0\r\n\r\n"
)
REGISTERS = """
[[trunk]]
name = "branch"
role = "access"
tenant = "contoso"
hosts = ["register"]
digest = { username = "branch", password = "s3cret" }
"""
GUESS = (
    'Authorization: Digest username="branch", realm="callgate", nonce="{nonce}", uri="sip:{gate}", '
    'response="{wrong:032x}", algorithm=MD5, qop=auth, nc=00000001, cnonce="x"\r\nContent-Length'
)
TOKENS = itertools.count()


def options(gate: Address, sock: socket.socket, transport: str = "UDP") -> bytes:
    here = Address(*sock.getsockname())
    return OPTIONS.format(gate=gate, here=here, transport=transport, token=f"t{next(TOKENS)}").encode()


def answers(gate: Address, sock: socket.socket, transport: str = "UDP") -> bool:
    """Whether the gate answers OPTIONS within a moment."""
    sock.settimeout(2)
    try:
        if transport == "UDP":
            sock.sendto(options(gate, sock), gate)
        else:
            sock.sendall(options(gate, sock, transport))
        return sock.recv(65_535).startswith(b"SIP/2.0 ")
    except (TimeoutError, ConnectionError):
        return False


@contextlib.contextmanager
def udp(host: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        yield sock


def tcp(host: str, gate: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.settimeout(UNFINISHED_S + 20)
    sock.connect(gate)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """Wait until the gate has closed the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def until(true: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 15
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


def test_a_stranger_that_floods_is_banned_and_a_trunk_never_is(make_gate: Callable[..., Gate]) -> None:
    gate = make_gate("contoso", sections={"sip.strangers": "ban_s = 600"})
    gate.start()
    with udp(PBX) as pbx, udp(STRANGER) as stranger, udp(FLOODER) as flooder:
        assert all(answers(gate.sip, sock) for sock in (pbx, stranger, flooder))
        for number in range(1000):
            for sock in (pbx, flooder):
                sock.sendto(b"\x00garbage of any kind %d" % number, gate.sip)
            time.sleep(0.0005)  # no faster than its socket's buffer holds
        until(lambda: gate.metrics()["callgate_banned_sources"] == 1)
        assert not answers(gate.sip, flooder)
        assert answers(gate.sip, stranger)
        assert answers(gate.sip, pbx)
        with contextlib.closing(tcp(FLOODER, gate.sip)) as connection:
            assert is_closed(connection)
    samples = gate.metrics()
    dropped = {cause: samples[f'callgate_dropped_messages_total{{cause="{cause}"}}'] for cause in ("garbage", "banned")}
    assert dropped["garbage"] >= 1
    assert dropped["banned"] >= 500
    assert samples["callgate_sip_parse_errors_total"] >= 900  # the trunk's
    log = gate.log.read_text()
    assert log.count("source banned") == 1
    assert FLOODER in log


def test_who_guesses_passwords_is_banned(make_gate: Callable[..., Gate]) -> None:
    gate = make_gate("contoso")
    gate.config.write_text(gate.config.read_text() + REGISTERS)
    gate.start()
    with udp(FLOODER) as guesser, udp(STRANGER) as stranger:
        guesser.settimeout(1)
        guesses = 0
        with contextlib.suppress(TimeoutError):
            while guesses < 30:
                text = options(gate.sip, guesser).decode().replace("OPTIONS", "REGISTER")
                guesser.sendto(text.encode(), gate.sip)
                found = re.search(r'nonce="([^"]+)"', guesser.recv(65_535).decode())
                assert found is not None
                answer = GUESS.format(nonce=found[1], gate=gate.sip, wrong=guesses)
                text = re.sub(r"branch=z9hG4bKt", "branch=z9hG4bKu", text).replace("CSeq: 1", "CSeq: 2")
                guesser.sendto(text.replace("Content-Length", answer).encode(), gate.sip)
                assert guesser.recv(65_535).startswith(b"SIP/2.0 401 ")
                guesses += 1
        assert 5 <= guesses <= 10
        assert answers(gate.sip, stranger)
    until(lambda: gate.metrics()["callgate_banned_sources"] == 1)
    assert gate.metrics()['callgate_credentials_total{result="wrong"}'] == guesses


def test_connections_that_only_cost_are_few_and_do_not_last(make_gate: Callable[..., Gate]) -> None:
    """Slow-loris, half-open and silent ones; the limits are those of gateway.transport.tcp."""
    gate = make_gate("contoso")
    gate.start()
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(contextlib.closing(tcp(STRANGER, gate.sip)))
            for _ in range(CONNECTIONS_PER_STRANGER_MAX)
        ]
        one_more = stack.enter_context(contextlib.closing(tcp(STRANGER, gate.sip)))
        assert is_closed(one_more)
        pbx = stack.enter_context(contextlib.closing(tcp(PBX, gate.sip)))
        assert answers(gate.sip, pbx, "TCP")
        held[0].sendall(b"OPTIONS sip:x SIP/2.0\r\nX: ")
        for sock in held[1:4]:  # a header that never ends, an octet now and then; the others say nothing at all
            sock.sendall(b"O")
        began_s = time.monotonic()
        while time.monotonic() - began_s < UNFINISHED_S / 2:
            with contextlib.suppress(OSError):
                held[0].sendall(b"x")
            assert answers(gate.sip, pbx, "TCP")
            time.sleep(1)
        assert all(is_closed(sock) for sock in held)
        assert answers(gate.sip, pbx, "TCP")
        assert answers(gate.sip, stack.enter_context(contextlib.closing(tcp(STRANGER, gate.sip))), "TCP")
