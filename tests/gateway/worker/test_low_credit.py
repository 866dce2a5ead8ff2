"""A live call whose money ends is said of, and no other."""

from dataclasses import replace

import pytest

from gateway.call.commands import Grant, Refusal, Refused, Result, Written
from gateway.call.record import decode_record
from gateway.call.views import CallView
from gateway.worker.low_credit import SHARE, LowCredit

LIVE = CallView(
    "c1", "contoso", "alice", "pbx", "+14255550100", "+442079460000", "user_out", "talking",
    answered_ms=1_000, seconds=1, charged_micros=1, held_micros=2, paid_until_ms=61_000, node="gate-1",
)  # fmt: skip
RINGING = replace(LIVE, id="ringing", answered_ms=0, paid_until_ms=0)


class Rig:
    def __init__(self) -> None:
        self.said: list[Refused] = []
        calls = {"c1": LIVE, "ringing": RINGING}
        self.low = LowCredit(calls.get, self.said.append)  # type: ignore[arg-type]


@pytest.mark.parametrize("result", [Grant("c1", 1, 60, 9, final=True), Refusal("c1", 2, "NO_CREDIT")])
def test_the_last_tick_and_a_refused_one_are_said(result: Result) -> None:
    rig = Rig()
    rig.low.hear(result)
    (said,) = rig.said
    record = decode_record(said.record)
    assert (said.tenant_id, said.trunk, record.call_id) == ("contoso", SHARE, "c1:low")
    assert (record.reason, record.ended_ms, record.charge_micros) == ("LOW_CREDIT", 61_000, 0)


@pytest.mark.parametrize(
    "result",
    [
        Grant("c1", 1, 60, 9),
        Refusal("c1", 2, "LIMIT_CALLS"),
        Refusal("over", 0, "NO_CREDIT"),
        Grant("ringing", 0, 60, 9, final=True),
        Written("c1"),
    ],
)
def test_nothing_is_said_of_others(result: Result) -> None:
    rig = Rig()
    rig.low.hear(result)
    assert rig.said == []
