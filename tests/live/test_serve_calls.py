"""Paid calls through the whole gate, SIPp as PBX and carrier: from the INVITE to the posting in the ledger."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate
from loadtest.bench.processes import Children, free_port
from loadtest.bench.sipp import CALLER_WAITS, Sipp, calls_of
from loadtest.wire import Address

pytestmark = pytest.mark.peer("sipp", "redis-server")

PBX = "127.0.0.2"
MakeGate = Callable[..., Gate]


def numbers(count: int, tenants: int = 1) -> list[tuple[str, str]]:
    """(calling, called) for ``count`` calls, the callers being the users of ``tenants`` tenants in turn."""
    return [(f"+14255550{index % tenants:03d}", f"+442079460{index:03d}") for index in range(count)]


def pbx() -> Address:
    return Address(PBX, free_port(PBX))


async def test_a_call_is_reserved_bridged_charged_and_booked(
    make_gate: MakeGate, children: Children, tmp_path: Path, carrier: Address
) -> None:
    gate = make_gate("contoso")
    gate.start()
    callee, caller = Sipp(children, tmp_path, "callee"), Sipp(children, tmp_path, "caller")
    callee.start_callee(carrier)
    caller.start_caller(pbx(), gate.sip, numbers(1), 1, hold_ms=1500)
    assert caller.wait(20)
    assert caller.statistics()["SuccessfulCall"] == 1
    assert gate.wait_booked()
    balance = gate.run("balance", "contoso", "--json").document()
    assert (balance["balance"], balance["held"], balance["unsynced"]) == ("9.998000", "0.000000", "0.000000")
    record = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    assert len(record["calls"] if isinstance(record, dict) else record) == 1
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    assert gate.stop() == 0


async def test_calls_are_cut_on_both_legs_when_their_money_ends(
    make_gate: MakeGate, children: Children, tmp_path: Path, carrier: Address
) -> None:
    names = [f"t{index}" for index in range(20)]
    gate = make_gate(*names, funds="0.003")
    gate.start()
    callee, caller = Sipp(children, tmp_path, "callee"), Sipp(children, tmp_path, "caller")
    callee.start_callee(carrier, trace=True)
    caller.start_caller(pbx(), gate.sip, numbers(20, tenants=20), 20, scenario=CALLER_WAITS, trace=True)
    assert caller.wait(20)
    caller.stop()
    callee.stop()
    calls = calls_of(caller, callee)
    assert len(calls) == 20
    for call in calls.values():
        talked = call.uas["heard BYE"] - call.uas["sent 200 INVITE"]
        assert 2.9 < talked < 3.5
        assert "heard BYE" in call.uac
    assert gate.wait_booked()
    for name in names[:3]:
        assert gate.run("balance", name, "--json").document()["balance"] == "0.000000"
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    assert gate.stop() == 0
