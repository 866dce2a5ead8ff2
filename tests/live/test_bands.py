"""A price that changes in mid-call, for a real gate: another deck takes its deck's place while the call is talking."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadtest.arrivals import constant
from loadtest.audit import audit
from loadtest.behaviour import parse_mix
from loadtest.bench.gate import CommandBooks, Gate
from loadtest.bench.processes import free_port
from loadtest.figures import Increments
from loadtest.holds import parse_hold
from loadtest.numbers import from_lines
from loadtest.run import Plan, Run
from loadtest.wire import Address

pytestmark = pytest.mark.peer("redis-server")

PBX = "127.0.0.2"
CHEAP = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,6000,0,1,1\n"
DEAR_MICROS, CHEAP_MICROS = 1_000, 100
"""A second by the fixture's deck, and by CHEAP."""

TALK_S = 7.5
CHANGE_S = 12.0
"""How long after it is loaded the new deck takes over: the command may take seconds on a busy machine."""

BEFORE_S = 3.5
"""How long before that the call is made."""


async def test_a_deck_that_comes_into_effect_prices_the_rest_of_the_call(
    make_gate: Callable[..., Gate], tmp_path: Path, carrier: Address
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 2\nrenew_lead_s = 0.5"})
    gate.start()
    cheap = tmp_path / "cheap.csv"
    cheap.write_text(CHEAP)
    change_s = time.time() + CHANGE_S
    moment = datetime.fromtimestamp(change_s, UTC).isoformat()
    loaded = gate.run(
        "rates", "load", str(cheap), "--deck", "standard", "--currency", "USD", "--effective-from", moment
    )
    assert loaded.status == 0, loaded.err
    assert time.time() + BEFORE_S + 1.0 < change_s, "a worker reads its directory within a second"
    time.sleep(change_s - BEFORE_S - time.time())
    plan = Plan(
        target=gate.sip,
        source=Address(PBX, free_port(PBX)),
        uas=carrier,
        cps=60_000.0,
        calls=1,
        concurrent=1,
        arrivals=constant,
        pairs=from_lines(["+442079460000"], ["+14255550000"]),
        mix=parse_mix("normal"),
        hold=parse_hold(str(TALK_S)),
        hangup="caller",
        ring_s=0.0,
        seed=1,
        increments=Increments(),
    )
    figures = await Run(plan).play()
    assert figures["status_by"] == {"200": 1}
    assert gate.wait_booked()
    found = audit(CommandBooks(gate, ["contoso"]))
    assert found.holds, found
    (row,) = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    dear_s, rest = divmod(int(row["Charge Micros"]), DEAR_MICROS)
    assert rest % CHEAP_MICROS == 0
    assert dear_s in (2, 3, 4), "whole seconds that began before the change, less what setting up took"
    assert dear_s + rest // CHEAP_MICROS in (int(TALK_S) + 1, int(TALK_S) + 2)
