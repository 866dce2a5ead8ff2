"""How a worker reaches its peers, with real sockets and a name server of the test's own."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.config import settings as settings_module
from gateway.config.settings import Settings
from gateway.config.values import Listen
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow
from gateway.transport.sockets import open_socket
from gateway.transport.transport import Sockets, Transport
from gateway.worker.reach import Reach
from policy.verdict import Route
from tests.name_server import NameServer

ZONE = {
    "_sips._tcp.carrier.test": {"SRV": (60, ["1 1 5061 edge.test."])},
    "edge.test": {"A": (60, ["192.0.2.7"]), "AAAA": (60, ["2001:db8::7"])},
    "plain.test": {"A": (60, ["192.0.2.8"])},
}
TRUNKS = """
[[trunk]]
name = "a"
role = "carrier"
targets = ["sips:carrier.test"]
[[trunk]]
name = "b"
role = "carrier"
targets = ["sip:plain.test:5070", "sip:192.0.2.9;transport=udp"]
[[trunk]]
name = "c"
role = "carrier"
large_by_tcp = false
targets = ["sip:192.0.2.10"]
"""


class Nobody:
    """Hears, and counts, nothing."""

    def hear(self, data: bytes, flow: Flow) -> None: ...

    def end_turn(self) -> None: ...

    def connection_lost(self, flow: Flow) -> None: ...

    def send_failed(self, flow: Flow) -> None: ...

    def ping(self, result: str) -> None: ...

    def targets(self, up: dict[tuple[str, str], bool]) -> None: ...


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer({name: dict(kinds) for name, kinds in ZONE.items()}) as server:
        yield server


def settings(names: NameServer) -> Settings:
    text = f'[sip]\ntarget_timeout_s = 2\nnameservers = ["{names.address}"]\nlisten = ["tls://127.0.0.1:5061"]\n'
    text += 'tls = { certificate = "c.pem", key = "k.pem" }\n' + TRUNKS
    return settings_module.parse(tomllib.loads(text), "", Path("/x"))


@pytest.fixture
async def reach(names: NameServer) -> AsyncIterator[Reach]:
    tokens = count(1)
    sockets = Sockets(
        own_udp=[open_socket(Listen("udp", "127.0.0.1", 0))], own_tls=[open_socket(Listen("tls", "127.0.0.1", 0))]
    )
    endpoint = Endpoint(Identity("127.0.0.1", 5060), Deadlines(), lambda: f"t{next(tokens)}")
    transport = Transport(sockets, Nobody(), lambda host: True)

    def do(act: Callable[[float], None]) -> None:
        act(asyncio.get_running_loop().time())

    made = Reach(settings(names), sockets, endpoint, lambda: f"p{next(tokens)}", transport, Nobody(), do)
    await made.find()
    made.watch()
    yield made
    await made.stop()
    for sock in (*sockets.own_udp, *sockets.own_tls):
        sock.close()


async def test_names_lead_to_addresses_of_families_the_worker_has(reach: Reach) -> None:
    found = reach.targets.order([Route("a", "sips:carrier.test", "+44"), Route("b", "sip:plain.test:5070", "+44")])
    assert [route.hop for route in found] == ["sip:192.0.2.7:5061;transport=tls", "sip:192.0.2.8:5070"]


async def test_a_peer_found_by_dns_must_prove_to_be_who_the_target_says(reach: Reach) -> None:
    assert reach._transport._name_of("192.0.2.7", 5061) == "carrier.test"
    assert reach._transport._name_of("192.0.2.99", 5061) == "192.0.2.99"


async def test_who_gets_large_requests_by_tcp(reach: Reach) -> None:
    assert reach._endpoint.large.peers == {("192.0.2.8", 5070)}
    assert reach._endpoint.large.try_s == 0.5  # a quarter of target_timeout_s
