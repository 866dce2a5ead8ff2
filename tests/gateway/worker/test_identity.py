"""What a worker tells peers of each family about where it is: its own first address, or what is advertised."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import settings
from gateway.config.values import Listen
from gateway.transport.sockets import open_socket
from gateway.transport.transport import Sockets
from gateway.worker.worker import _identity


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    opened = Sockets(
        own_udp=[open_socket(Listen("udp", "127.0.0.1", 0)), open_socket(Listen("udp", "::1", 0))],
        own_tcp=[open_socket(Listen("tcp", "::1", 0))],
        own_tls=[open_socket(Listen("tls", "127.0.0.1", 0))],
    )
    yield opened
    for sock in (*opened.own_udp, *opened.own_tcp, *opened.own_tls):
        sock.close()


@pytest.mark.parametrize(
    ("advertise", "four", "six"),
    [
        ("", "127.0.0.1", "[::1]"),
        ("192.0.2.1", "192.0.2.1", "[::1]"),
        ("2001:db8::1", "127.0.0.1", "[2001:db8::1]"),
        ("gate.example.org", "gate.example.org", "gate.example.org"),
    ],
)
def test_each_family_is_told_what_it_can_reach(sockets: Sockets, advertise: str, four: str, six: str) -> None:
    given = settings.parse({"sip": {"advertise": advertise}}, "", Path("/x"))
    identity = _identity(given, sockets)
    assert (identity.towards("192.0.2.9").host, identity.towards("2001:db8::9").host) == (four, six)


def test_ports_are_those_of_the_family(sockets: Sockets) -> None:
    identity = _identity(settings.parse({}, "", Path("/x")), sockets)
    udp = [sock.getsockname()[1] for sock in sockets.own_udp]
    four, six = identity.towards("192.0.2.9").ports, identity.towards("::2").ports
    assert (four["udp"], four["tls"]) == (udp[0], sockets.own_tls[0].getsockname()[1])
    assert (six["udp"], six["tcp"]) == (udp[1], sockets.own_tcp[0].getsockname()[1])


def test_an_address_that_stands_for_all_is_never_told() -> None:
    sock = open_socket(Listen("udp", "::", 0))
    identity = _identity(settings.parse({"sip": {"advertise": "192.0.2.1"}}, "", Path("/x")), Sockets(own_udp=[sock]))
    assert identity.towards("2001:db8::9").host == "192.0.2.1"
    sock.close()
