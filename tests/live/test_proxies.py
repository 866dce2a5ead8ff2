"""Kamailio before the gate, as the dispatcher of an SBC, and behind it, as the proxy of a carrier."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtest.arrivals import constant
from loadtest.audit import audit
from loadtest.behaviour import parse_mix
from loadtest.bench.gate import CommandBooks, Gate, Trunks
from loadtest.bench.kamailio import modules
from loadtest.bench.processes import Children, free_port, free_sip_port, wait_until
from loadtest.figures import Increments
from loadtest.holds import parse_hold
from loadtest.numbers import from_lines
from loadtest.run import Plan, Run
from loadtest.wire import Address

pytestmark = pytest.mark.peer("kamailio", "redis-server")

PEERS = Path(__file__).parent / "peers"

DECK = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,United Kingdom,60000,0,1,1\n"
PROVISIONING = """
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"

[[tenant]]
id = "rich"
name = "Rich"
rate_deck = "standard"
licensing = "none"

[[tenant.user]]
id = "u@rich"
number = "+14255550100"

[[tenant]]
id = "poor"
name = "Poor"
rate_deck = "standard"
licensing = "none"

[[tenant.user]]
id = "u@poor"
number = "+14255550101"
"""


def start_kamailio(children: Children, folder: Path, listen: Address, to: Address) -> None:
    """A Kamailio at ``listen`` that dispatches first requests to ``to``."""
    folder.mkdir()
    destinations = folder / "dispatcher.list"
    destinations.write_text(f"1 sip:{to}\n")
    names = {"LISTEN": f"udp:{listen}", "LIST": f'"{destinations}"'}
    defines = [word for name, value in names.items() for word in ("-A", f"{name}={value}")]
    log = folder / "log"
    process = children.start(
        ["kamailio", "-f", PEERS / "dispatcher.cfg", "-DD", "-E", "-L", modules(), "-m", "32", "-M", "8",
         "-P", folder / "pid", "-Y", folder, *defines],
        log,
    )  # fmt: skip
    port = f":{listen.port:04X} "
    wait_until(lambda: port in Path("/proc/net/udp").read_text(), 10, "kamailio", process, log)


@dataclass
class Way:
    """A gate between two Kamailios: callers dial ``front``, calls arrive at ``callee``."""

    gate: Gate
    front: Address
    callee: Address


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("way")
    front, behind = Address("127.0.0.2", free_sip_port("127.0.0.2")), Address("127.0.0.4", free_sip_port("127.0.0.4"))
    callee = Address("127.0.0.3", free_port("127.0.0.3"))
    with Children() as children:
        sections = {"credit": "tick_s = 1\nrenew_lead_s = 0.5"}
        gate = Gate(
            children, folder / "gate", Trunks([str(front)], [str(behind)], [f"sip:{behind}"]), sections=sections
        )
        gate.start_redis()
        gate.provision(PROVISIONING, DECK, [("rich", "10"), ("poor", "0.020")])
        gate.start()
        start_kamailio(children, folder / "front", front, gate.sip)
        start_kamailio(children, folder / "behind", behind, callee)
        yield Way(gate, front, callee)


@pytest.mark.parametrize("hangup", ["caller", "callee", "gateway"])
async def test_calls_cross_kamailio_gate_and_kamailio(way: Way, hangup: str) -> None:
    cut = hangup == "gateway"
    tenant, caller = ("poor", "+14255550101") if cut else ("rich", "+14255550100")
    before = audit(CommandBooks(way.gate, [tenant])).tenants[0].charges
    plan = Plan(
        target=way.front,
        source=Address("127.0.0.5", free_port("127.0.0.5")),
        uas=way.callee,
        cps=50.0,
        calls=10,
        concurrent=100,
        arrivals=constant,
        pairs=from_lines([f"+442079460{place:03d}" for place in range(10)], [caller]),
        mix=parse_mix("normal"),
        hold=None if cut else parse_hold("0.5"),
        hangup=hangup,
        ring_s=0.05,
        seed=1,
        increments=Increments(),
        limit_s=20.0,
    )
    figures = await Run(plan).play()
    assert figures["answered"] == 10
    assert figures["failed_by"] == {}
    assert figures["cut_by"] == ({"402": 10} if cut else {})
    assert way.gate.wait_booked()
    found = audit(CommandBooks(way.gate, [tenant]))
    assert found.holds, found
    assert found.tenants[0].charges == before + 10
    assert (found.tenants[0].balance == "0.000000") is cut
    assert "Traceback" not in way.gate.log.read_text()
