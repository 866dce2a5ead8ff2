"""Money that ends: calls cut on both legs with their reason, and no more calls let in than there is money for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.arrivals import constant
from loadtest.audit import audit
from loadtest.behaviour import parse_mix
from loadtest.bench.gate import CommandBooks, Gate
from loadtest.bench.processes import Children, free_port
from loadtest.bench.sipp import Sipp, calls_of
from loadtest.figures import Increments
from loadtest.holds import parse_hold
from loadtest.numbers import from_lines
from loadtest.run import Plan, Run
from loadtest.wire import Address

pytestmark = pytest.mark.peer("sipp", "redis-server")

PBX = "127.0.0.2"
PEERS = Path(__file__).parent / "peers"
MakeGate = Callable[..., Gate]

CALLS = 200
TENANTS = 20
TALK_S = 5


def test_every_call_is_cut_on_both_legs_to_the_last_micro(
    make_gate: MakeGate, children: Children, tmp_path: Path, carrier: Address
) -> None:
    names = [f"t{place}" for place in range(TENANTS)]
    each = CALLS // TENANTS
    # ten calls of a tenant share one balance, in ticks of a second: money for 5 s of each of them
    gate = make_gate(*names, funds=f"0.{TALK_S * each:03d}", sections={"credit": "tick_s = 1\nrenew_lead_s = 0.5"})
    gate.start()
    callee, caller = Sipp(children, tmp_path, "callee"), Sipp(children, tmp_path, "caller")
    callee.start_callee(carrier, scenario=PEERS / "callee_cut.xml", trace=True)
    pairs = [(f"+14255550{place % TENANTS:03d}", f"+442079460{place:03d}") for place in range(CALLS)]
    here = Address(PBX, free_port(PBX))
    caller.start_caller(here, gate.sip, pairs, CALLS, scenario=PEERS / "caller_cut.xml", trace=True)
    assert caller.wait(40)
    callee.stop()
    caller.stop()
    assert caller.statistics()["SuccessfulCall"] == CALLS
    assert callee.statistics()["SuccessfulCall"] == CALLS
    calls = calls_of(caller, callee).values()
    assert sum("heard BYE" in call.uac and "heard BYE" in call.uas for call in calls) == CALLS
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, names))
    assert found.holds, found
    assert {tenant.balance for tenant in found.tenants} == {"0.000000"}
    assert sum(tenant.charges for tenant in found.tenants) == CALLS
    _every_charge_is_shown(gate, names)


def _every_charge_is_shown(gate: Gate, names: list[str]) -> None:
    """``usage`` has a row and ``ledger`` a posting of the same amount for each call."""
    asked = [["usage", "--tenant", name, "--format", "json"] for name in names]
    asked += [["ledger", "--tenant", name, "--json"] for name in names]
    said = [answer.document() for answer in gate.run_many(asked)]
    for usage, ledger in zip(said[: len(names)], said[len(names) :], strict=True):
        rows: list[dict[str, Any]] = usage
        charges = [row for row in ledger if row["kind"] == "charge"]
        assert len(rows) == len(charges) == CALLS // TENANTS
        booked = sorted(round(-float(charge["amount"]) * 1e6) for charge in charges)
        assert sorted(int(row["Charge Micros"]) for row in rows) == booked
        assert sum(booked) == TALK_S * 1000 * CALLS // TENANTS


async def test_sixty_calls_at_once_with_money_for_seven(make_gate: MakeGate, carrier: Address) -> None:
    gate = make_gate("contoso", funds="0.070", sections={"credit": "tick_s = 10"})
    gate.start()
    plan = Plan(
        target=gate.sip,
        source=Address(PBX, free_port(PBX)),
        uas=carrier,
        cps=60_000.0,
        calls=60,
        concurrent=60,
        arrivals=constant,
        pairs=from_lines([f"+442079460{place:03d}" for place in range(60)], ["+14255550000"]),
        mix=parse_mix("normal"),
        hold=parse_hold("2.5"),
        hangup="caller",
        ring_s=0.0,
        seed=1,
        increments=Increments(),
    )
    figures = await Run(plan).play()
    assert figures["status_by"] == {"402": 53, "200": 7}
    assert figures["refused_by"] == {"NO_CREDIT": 53}
    assert figures["failed"] == 0
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    assert found.tenants[0].balance == "0.049000"
    assert found.tenants[0].charges == 7
