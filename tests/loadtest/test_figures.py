"""What calls come to: each is counted once, for what it was, and timed against the right moment."""

from typing import Any

import pytest

from loadtest.behaviour import BEHAVIOURS
from loadtest.call import Call, Pairing
from loadtest.figures import Increments, Tally
from loadtest.line import WireTally
from loadtest.series import Series
from loadtest.wire import Address, sdp


def call(place: int = 1, behaviour: str = "normal", number: str = "+12125550100", **moments: Any) -> Call:
    made = Call(place, number, "+14255550100", BEHAVIOURS[behaviour], 5.0, 10.0, invite_sent=10.0)
    for name, value in moments.items():
        setattr(made, name, value)
    return made


ANSWERED: dict[str, Any] = {
    "invite_heard": 10.001, "ring_sent": 10.002, "ring_heard": 10.004, "answer_sent": 12.0, "answer_heard": 12.001,
    "status": 200,
}  # fmt: skip


def figures(*calls: Call, due_s: float | None = None, increments: Increments | None = None) -> dict[str, Any]:
    tally = Tally(Series(10.0), increments or Increments(), due_s)
    for each in calls:
        tally.offer(each, 1)
        tally.book(each)
    return tally.figures(WireTally(), 2.0, 0)


def test_an_answered_call_is_carried_and_timed() -> None:
    found = figures(call(**ANSWERED, caller_bye_sent=17.0, callee_bye_heard=17.001))
    assert (found["answered"], found["failed"], found["carried_cps"]) == (1, 0, 0.5)
    assert found["setup_delay_ms"]["max"] == 3.0
    assert found["post_dial_delay_ms"]["max"] == 4.0
    assert found["talk_s"] == 5.0


def test_a_call_that_was_held_back_is_timed_from_the_moment_there_was_room() -> None:
    waited = call(**{**ANSWERED, "invite_sent": 10.0005}, slot_s=10.0)
    waited.intended_s = 4.0
    found = figures(waited, call(2, **{**ANSWERED, "invite_sent": 10.0005}))
    assert (found["held_back_ms"]["count"], found["held_back_ms"]["max"]) == (1, 6000.0)
    assert found["setup_delay_ms"]["max"] == found["setup_delay_ms"]["min"] == 3.0
    assert found["post_dial_delay_ms"]["max"] == 4.0
    assert found["lateness_ms"]["max"] == found["lateness_ms"]["min"] == 0.5


@pytest.mark.parametrize(
    ("behaviour", "status", "code", "counted"),
    [
        ("normal", 402, "NO_CREDIT", {"refused_by": {"NO_CREDIT": 1}}),
        ("busy", 486, "", {"unanswered_by": {"486": 1}}),
        ("cancel", 487, "", {"unanswered_by": {"487": 1}}),
        ("normal", 486, "", {"failed_by": {"status 486 without a reason": 1}}),
        ("normal", 500, "", {"failed_by": {"status 500 without a reason": 1}}),
    ],
)
def test_an_unanswered_call_is_counted_for_what_it_was(
    behaviour: str, status: int, code: str, counted: dict[str, dict[str, int]]
) -> None:
    found = figures(call(behaviour=behaviour, status=status, code=code))
    for key in ("refused_by", "unanswered_by", "failed_by"):
        assert found[key] == counted.get(key, {})
    assert found["answered"] == 0
    assert found["status_by"] == {str(status): 1}


CUT: dict[str, Any] = {**ANSWERED, "caller_cause": 402, "callee_cause": 402}


def test_a_cut_is_timed_against_the_talk_that_was_paid_for() -> None:
    found = figures(call(**CUT, caller_bye_heard=17.010, callee_bye_heard=16.990), due_s=5.0)
    assert (found["cut_error_ms"]["min"], found["cut_error_ms"]["max"]) == (-10.0, 10.0)
    assert found["cut_by"] == {"402": 1}
    assert found["failed"] == 0


@pytest.mark.parametrize(
    ("increments", "late_ms"), [(Increments(1, 1), 10), (Increments(4, 2), -990), (Increments(60, 60), -54_990)]
)
def test_a_cut_of_unknown_talk_is_timed_against_the_nearest_increment(increments: Increments, late_ms: float) -> None:
    found = figures(call(**CUT, caller_bye_heard=17.010, callee_bye_heard=17.010), increments=increments)
    assert found["cut_error_ms"]["max"] == pytest.approx(late_ms)


def test_a_cut_for_another_reason_is_counted_but_not_timed() -> None:
    moments = {**ANSWERED, "caller_cause": 403, "callee_cause": 403, "caller_bye_heard": 13.0, "callee_bye_heard": 13.0}
    found = figures(call(**moments))
    assert found["cut_by"] == {"403": 1}
    assert found["cut_error_ms"]["count"] == 0


def test_legs_that_do_not_hear_the_same_reason_are_a_fault_unless_they_hung_up_meanwhile() -> None:
    moments = {**ANSWERED, "caller_cause": 402, "caller_bye_heard": 17.0, "callee_bye_heard": 17.0}
    assert figures(call(**moments))["failed_by"] == {"cut, but the legs did not both hear why": 1}
    assert figures(call(**moments, callee_bye_sent=17.0))["failed"] == 0


def test_different_faults_are_bounded() -> None:
    found = figures(*(call(place=place, fault=f"fault {place}") for place in range(1000)))
    assert len(found["failed_by"]) <= 201
    assert found["failed"] == 1000


def test_calls_are_joined_by_number_and_told_apart_by_description() -> None:
    pairing = Pairing()
    first, second, third = call(1), call(2), call(3, number="+33140300000")
    for each in (first, second, third):
        pairing.expect(each)
    assert pairing.take("+999", "") is None
    assert pairing.take("12125550100", sdp(Address("127.0.0.1", 1), 2)) is second
    assert pairing.take("+12125550100", "") is first
    pairing.forget(third)
    pairing.forget(third)
    assert pairing.take("+33140300000", "") is None
