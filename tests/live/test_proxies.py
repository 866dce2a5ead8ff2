"""Kamailio before the gate, as the dispatcher of an SBC, and behind it, as the proxy of a carrier."""

import contextlib
from collections.abc import Callable
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
MakeGate = Callable[..., Gate]


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


@pytest.mark.parametrize("hangup", ["caller", "callee", "gateway"])
async def test_calls_cross_kamailio_gate_and_kamailio(
    make_gate: MakeGate, children: Children, tmp_path: Path, carrier: Address, hangup: str
) -> None:
    front = Address("127.0.0.2", free_sip_port("127.0.0.2"))
    behind = Address("127.0.0.4", free_sip_port("127.0.0.4"))
    trunks = Trunks([str(front)], [str(behind)], [f"sip:{behind}"], access_lines='tenant = "contoso"')
    funds = "0.020" if hangup == "gateway" else "10"
    gate = make_gate("contoso", funds=funds, trunks=trunks, sections={"credit": "tick_s = 1\nrenew_lead_s = 0.5"})
    gate.start()
    start_kamailio(children, tmp_path / "front", front, gate.sip)
    start_kamailio(children, tmp_path / "behind", behind, carrier)
    plan = Plan(
        target=front,
        source=Address("127.0.0.5", free_port("127.0.0.5")),
        uas=carrier,
        cps=50.0,
        calls=10,
        concurrent=100,
        arrivals=constant,
        pairs=from_lines([f"+442079460{place:03d}" for place in range(10)], ["+14255550000"]),
        mix=parse_mix("normal"),
        hold=None if hangup == "gateway" else parse_hold("0.5"),
        hangup=hangup,
        ring_s=0.05,
        seed=1,
        increments=Increments(),
        limit_s=20.0,
    )
    figures = await Run(plan).play()
    assert figures["answered"] == 10
    assert figures["failed_by"] == {}
    assert figures["cut_by"] == ({"402": 10} if hangup == "gateway" else {})
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    assert found.tenants[0].charges == 10
    assert (found.tenants[0].balance == "0.000000") is (hangup == "gateway")
    with contextlib.suppress(FileNotFoundError):
        assert "Traceback" not in gate.log.read_text()
