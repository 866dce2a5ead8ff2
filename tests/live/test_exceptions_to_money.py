"""Calls with rules of their own: toll-free calls that the called tenant pays for, and emergency calls nobody does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.arrivals import constant
from loadtest.behaviour import parse_mix
from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.figures import Increments
from loadtest.holds import parse_hold
from loadtest.numbers import from_lines
from loadtest.run import Plan, Run
from loadtest.wire import Address

pytestmark = pytest.mark.peer("redis-server")

PBX = "127.0.0.2"
CARRIER = "127.0.0.3"
TOLL_FREE = "+18005550199"
MakeGate = Callable[..., Gate]

DECK = (
    "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,direction\n"
    "1800,Toll free,60000,0,1,1,in\n"
    "1,United States,60000,0,1,1,\n"
)
PROVISIONING = f"""
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"

[[tenant]]
id = "contoso"
name = "Contoso"
country = "US"
rate_deck = "standard"
licensing = "none"

[[tenant.user]]
id = "u@contoso"
number = "+14255550000"

[[tenant.service_number]]
number = "{TOLL_FREE}"
kind = "toll_free"
serves = "auto_attendant"
deliver_to = "pbx"
"""


async def place(gate: Gate, source: Address, uas: Address, number: str, caller: str, calls: int = 3) -> dict[str, Any]:
    """A few calls of half a second to one number."""
    plan = Plan(
        target=gate.sip,
        source=source,
        uas=uas,
        cps=50.0,
        calls=calls,
        concurrent=10,
        arrivals=constant,
        pairs=from_lines([number], [caller]),
        mix=parse_mix("normal"),
        hold=parse_hold("0.5"),
        hangup="caller",
        ring_s=0.0,
        seed=1,
        increments=Increments(),
        limit_s=10.0,
    )
    return await Run(plan).play()


@pytest.fixture
def gate(children: Children, tmp_path: Path, carrier: Address, pbx: Address) -> Gate:
    trunks = Trunks(
        [PBX],
        [CARRIER],
        [f"sip:{carrier}"],
        [f"sip:{pbx}"],
        'tenant = "contoso"',
        "options_ping_s = 0\nemergency = true",
    )
    made = Gate(children, tmp_path / "gate", trunks)
    made.start_redis()
    made.provision(PROVISIONING, DECK, [])
    made.start()
    return made


@pytest.fixture
def pbx() -> Address:
    return Address(PBX, free_port(PBX))


async def test_a_toll_free_call_is_refused_at_zero_and_paid_by_the_called_tenant(gate: Gate, pbx: Address) -> None:
    source = Address(CARRIER, free_port(CARRIER))
    refused = await place(gate, source, pbx, TOLL_FREE, "+12065550100")
    assert refused["status_by"] == {"402": 3}
    assert refused["refused_by"] == {"NO_CREDIT": 3}
    assert gate.run("fund", "contoso", "1", "--reference", "r1").status == 0
    answered = await place(gate, source, pbx, TOLL_FREE, "+12065550100")
    assert answered["answered"] == 3
    assert answered["failed"] == 0
    assert gate.wait_booked()
    assert gate.run("balance", "contoso", "--json").document()["balance"] == "0.997000"
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0


async def test_emergency_calls_pass_without_money_and_without_redis(gate: Gate, pbx: Address, carrier: Address) -> None:
    without_money = await place(gate, pbx, carrier, "911", "+14255550000")
    assert without_money["answered"] == 3
    ordinary = await place(gate, Address(PBX, free_port(PBX)), carrier, "+12065550100", "+14255550000")
    assert ordinary["status_by"] == {"402": 3}
    gate.stop_redis()
    source = Address(PBX, free_port(PBX))
    without_redis = await place(gate, source, carrier, "911", "+14255550000")
    assert without_redis["answered"] == 3
    assert without_redis["failed"] == 0
    ordinary = await place(gate, Address(PBX, free_port(PBX)), carrier, "+12065550100", "+14255550000")
    assert ordinary["status_by"] == {"503": 3}
    assert ordinary["refused_by"] == {"STORE_AWAY": 3}
