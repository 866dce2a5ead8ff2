"""Floods: what is sent is what it says, from many sources; connections are held as long as the other side lets them."""

import contextlib
import itertools
import socket
import threading

import pytest

from gateway.sip.message import Request, parse
from loadtest.bench.flood import KINDS, SOURCES, hold_connections, messages, send_datagrams, source
from loadtest.wire import Address

GATE = Address("127.0.0.1", 5060)


@pytest.mark.parametrize("kind", ["options", "invite", "register"])
def test_each_request_is_a_good_one_of_its_own(kind: str) -> None:
    branches, sources = set(), set()
    for data in itertools.islice(messages(kind, GATE), 500):
        request = parse(data)
        assert isinstance(request, Request)
        assert request.method == kind.upper()
        branches.add(request.top_via.branch)
        sources.add(request.top_via.host)
    assert (len(branches), len(sources)) == (500, SOURCES)


def test_floods_have_sources_of_their_own_and_are_the_same_each_time() -> None:
    assert len({source(kind, number) for kind in KINDS for number in range(SOURCES)}) == len(KINDS) * SOURCES
    for kind in KINDS[:4]:
        one, other = (list(itertools.islice(messages(kind, GATE), 50)) for _ in range(2))
        assert one == other


def test_datagrams_arrive_from_many_sources() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        said = send_datagrams("garbage", Address(*ear.getsockname()), 500, 0.5)
        ear.setblocking(False)
        heard = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.add(ear.recvfrom(65_535)[1][0])
    assert 0 < said["sent"] <= 260
    assert len(heard) == min(SOURCES, said["sent"])


def test_connections_are_held_and_those_that_are_closed_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gate = Address(*server.getsockname())
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])
                    if len(accepted) % 2:
                        accepted[-1].close()

        threading.Thread(target=accept, daemon=True).start()
        said = hold_connections(gate, 200, 2)
        for sock in accepted:
            sock.close()
        server.shutdown(socket.SHUT_RDWR)
    assert said["sent"] > 10
    assert 0 < said["closed_by_gate"] < said["sent"]
    assert said["held"] > 5
