"""A whole gate with two workers over Redis behind sentinels, and over a cluster: a master is killed under live calls.

The call goes on, new ones are granted once another master is there, and all is charged once.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.credit.keys import Keyspace
from loadtest.audit import audit
from loadtest.bench.gate import CommandBooks, Gate, Trunks
from loadtest.bench.processes import Children
from loadtest.bench.sipp import Sipp
from loadtest.wire import Address
from tests.gateway.redis_server import RedisCluster, RedisServer, SentinelGroup, wait_for
from tests.live.phone import Phone, until

pytestmark = pytest.mark.peer("sipp", "redis-server")

FAILOVER_S = 90.0
"""Sentinels that had to wait for a busy machine do nothing for 30 s (their tilt mode)."""

PBX, CARRIER = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def callee(children: Children, tmp_path: Path, carrier: Address) -> Sipp:
    sipp = Sipp(children, tmp_path, "callee")
    sipp.start_callee(carrier)
    return sipp


class Many:
    """A kind of Redis, and the master of contoso's account in it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self.redis: Any = SentinelGroup(folder) if kind == "sentinel" else RedisCluster(folder)

    def master(self) -> RedisServer:
        serving = Keyspace(256).partition("contoso").epoch
        found: RedisServer = self.redis.master() if self._kind == "sentinel" else self.redis.serving(serving)
        return found

    def wait_until_replicas_have_all(self) -> None:
        if self._kind == "sentinel":
            self.redis.wait_until_replicas_have_all()
        else:
            wait_for(lambda: self.redis.has_replica(self.master()), "a replica that has everything")


@pytest.fixture(params=["sentinel", "cluster"])
def many(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Many]:
    started = Many(request.param, tmp_path / "redis")
    yield started
    started.redis.close()


@pytest.mark.usefixtures("callee")
def test_calls_outlive_a_killed_master(
    children: Children, tmp_path: Path, carrier: Address, many: Many, books: tuple[Callable[..., str], str]
) -> None:
    trunks = Trunks([PBX], [CARRIER], [f"sip:{carrier}"], access_lines='tenant = "contoso"')
    credit = {"credit": "tick_s = 300"}
    url = many.redis.url
    gate = Gate(children, tmp_path / "gate", trunks, sections=credit, own_redis=False, redis_url=url, workers=2)
    tenants, deck = books
    gate.provision(tenants("contoso"), deck, [("contoso", "10")])
    gate.start()
    phone = Phone(gate.sip)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    many.wait_until_replicas_have_all()
    many.master().kill()
    until(lambda: granted(phone), FAILOVER_S)
    assert phone.hang_up(dialog).status == 200
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    assert found.tenants[0].charges == 2
    phone.sock.close()
    assert gate.stop() == 0


def granted(phone: Phone) -> bool:
    """A further call; over at once where it is granted."""
    dialog, final = phone.call("+442079460002")
    if final.status != 200:
        assert final.status == 503
        time.sleep(0.1)
        return False
    time.sleep(0.05)  # what lasts no millisecond costs nothing
    assert phone.hang_up(dialog).status == 200
    return True
