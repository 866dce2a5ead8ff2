"""Whole runs of the tester against itself and against a stand-in that refuses, cuts, loses and falls silent."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from loadtest.arrivals import constant, poisson
from loadtest.behaviour import parse_mix
from loadtest.bench.processes import free_port
from loadtest.figures import Increments
from loadtest.holds import parse_hold
from loadtest.line import LineError
from loadtest.numbers import DEFAULT_CALLER, from_lines, made_up
from loadtest.run import Plan, Run
from loadtest.wire import Address
from tests.loadtest.fake_gate import FakeGate, Orders


def plan(target: Address | None, uas: Address, **changes: Any) -> Plan:
    asked: dict[str, Any] = {
        "target": target or uas,
        "source": Address("127.0.0.1", free_port()),
        "uas": uas,
        "cps": 200.0,
        "calls": 20,
        "concurrent": 1000,
        "arrivals": constant,
        "pairs": made_up([DEFAULT_CALLER]),
        "mix": parse_mix("normal"),
        "hold": parse_hold("0.05"),
        "hangup": "caller",
        "ring_s": 0.0,
        "seed": 7,
        "increments": Increments(),
    }
    return Plan(**{**asked, **changes})


def callee() -> Address:
    return Address("127.0.0.1", free_port())


async def through(orders: Orders, **changes: Any) -> dict[str, Any]:
    uas = callee()
    gate = await FakeGate.start(uas, orders)
    try:
        return await Run(plan(gate.here, uas, **changes)).play()
    finally:
        gate.stop()


@pytest.mark.parametrize("hangup", ["caller", "callee"])
async def test_every_call_is_answered_and_ends_on_both_legs(hangup: str) -> None:
    figures = await through(Orders(), hangup=hangup, arrivals=poisson)
    assert figures["answered"] == figures["offered"] == 20
    assert not figures["failed_by"]
    assert figures["setup_delay_ms"]["count"] == 20
    assert 1.0 <= figures["talk_s"] <= 5.0
    assert figures["retransmissions"] == figures["malformed"] == figures["strays"] == 0


async def test_a_mix_of_behaviours_ends_as_planned() -> None:
    figures = await through(Orders(), mix=parse_mix("normal,busy,no-answer,cancel"), ring_s=0.02, calls=60)
    assert figures["failed_by"] == {}
    assert set(figures["unanswered_by"]) == {"486", "480", "487"}
    assert figures["answered"] + figures["unanswered"] == 60


async def test_refusals_are_counted_by_the_gates_own_code() -> None:
    figures = await through(Orders(refuse_from=8))
    assert figures["refused_by"] == {"NO_CREDIT": 13}
    assert figures["status_by"] == {"200": 7, "402": 13}
    assert figures["answered"] == 7
    assert figures["failed"] == 0


async def test_somebody_else_may_play_the_called_side() -> None:
    gate = await FakeGate.start(callee(), Orders(refuse_from=0))
    figures = await Run(replace(plan(gate.here, callee()), uas=None)).play()
    gate.stop()
    assert figures["refused"] == 20
    assert figures["setup_delay_ms"]["count"] == 0


async def test_a_cut_is_timed_on_both_legs_against_the_moment_the_money_ends() -> None:
    figures = await through(Orders(cut_after_s=0.1), hangup="gateway", hold=parse_hold("0.1"), calls=5)
    assert figures["cut_by"] == {"402": 5}
    assert figures["failed"] == 0
    assert figures["cut_error_ms"]["count"] == 10
    assert figures["cut_error_ms"]["min"] > -5  # the moment is exact: a cut can only be heard later, however busy it is


async def test_without_a_hold_time_a_cut_is_timed_against_the_nearest_increment() -> None:
    figures = await through(Orders(cut_after_s=1.0), hangup="gateway", hold=None, calls=2, limit_s=20.0)
    assert figures["cut"] == 2
    assert abs(figures["cut_error_ms"]["max"]) < 500


@pytest.mark.parametrize("leg", ["caller", "callee"])
async def test_a_leg_that_hears_no_cut_is_a_fault(leg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.run.OTHER_LEG_S", 0.1)
    figures = await through(Orders(cut_after_s=0.05, cut_legs=leg), hangup="gateway", hold=None, calls=2)
    other = "called" if leg == "caller" else "calling"
    assert figures["failed_by"] == {f"the {other} leg was left up": 2}


@pytest.mark.parametrize("message", ["INVITE", "SIP/2.0 200", "BYE"])
async def test_a_lost_message_is_sent_again_and_counted(message: str) -> None:
    figures = await through(Orders(lose_first=message), calls=3)
    assert figures["answered"] == 3
    assert figures["failed"] == 0
    assert figures["retransmissions"] >= 3


async def test_what_concurrent_holds_back_is_told_apart_from_the_gates_delay() -> None:
    figures = await through(Orders(), concurrent=1, calls=4, cps=1000.0, hold=parse_hold("0.3"))
    assert figures["held_back"] == figures["held_back_ms"]["count"] == 3
    assert figures["held_back_ms"]["min"] >= 290
    assert figures["held_back_ms"]["max"] >= 890
    for own in ("setup_delay_ms", "post_dial_delay_ms", "lateness_ms"):
        assert figures[own]["count"] == 4
        assert figures[own]["max"] < 290, own


async def test_a_gate_that_stands_still_delays_every_call_that_arrives_meanwhile() -> None:
    """One in fifty is not the worst moment: all that arrive in the pause wait for its end, as callers would."""
    figures = await through(Orders(stands_still_s=0.5), calls=50, cps=100.0, hold=parse_hold("0"))
    assert (figures["held_back"], figures["held_back_ms"]["count"]) == (0, 0)
    assert figures["setup_delay_ms"]["max"] >= 450
    assert figures["setup_delay_ms"]["p50"] >= 200


async def test_a_malformed_message_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.run.TIDY_S", 0.2)
    figures = await through(Orders(spoil="CSeq: 1 INVITE\r\n"), calls=1, limit_s=0.2)
    assert figures["malformed"] >= 1
    assert "cseq is missing" in figures["malformed_examples"][0]
    assert figures["failed"] == 1


async def test_a_silent_gate_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.run.TIDY_S", 0.1)
    figures = await through(Orders(deaf=True), calls=3, limit_s=0.1)
    assert figures["failed_by"] == {"not over when the run ended": 3}


async def test_stopping_hangs_up_what_is_up() -> None:
    def stop_when_answered(run: Run) -> None:
        if any(call.answer_heard for call in run._live.values()):
            run.stop()

    run = Run(plan(None, callee(), calls=1000, cps=100.0, hold=parse_hold("60")), stop_when_answered)
    figures = await run.play()
    assert 0 < figures["offered"] < 1000
    assert figures["answered"] > 0
    assert set(figures["failed_by"]) <= {"not over when the run ended"}  # a call in the midst of its set-up
    assert figures["talk_s"] < figures["offered"]


async def test_calls_to_one_number_are_told_apart_by_their_session_description() -> None:
    figures = await through(Orders(), pairs=from_lines(["+12125550100"], [DEFAULT_CALLER]), ring_s=0.05)
    assert figures["answered"] == 20
    assert figures["failed"] == 0


async def test_a_taken_address_is_told_plainly() -> None:
    uas = callee()
    with pytest.raises(LineError, match=r"cannot play a telephone on 127\.0\.0\.1:\d+: Address already in use"):
        await Run(plan(None, uas, source=uas)).play()


def test_the_same_seed_makes_the_same_calls() -> None:
    def draw() -> list[float]:
        dice = Random(5)
        offsets = poisson(10.0, dice)
        return [next(offsets) for _ in range(10)]

    assert draw() == draw()
