"""The words of SIP's own refusals, and the causes of all statuses."""

import re
from pathlib import Path

import pytest

from gateway.sip import reasons
from gateway.sip.build import REASONS as PHRASES
from gateway.sip.reasons import SIP_REASONS, q850_of, reason_of_fault, refusal_of, warning

ROOM = Path(reasons.__file__).parent


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, 1), (484, 28), (486, 17), (500, 41), (503, 41), (408, 102), (480, 18), (603, 21), (487, 31), (699, 31)],
)
def test_causes_of_statuses(status: int, cause: int) -> None:
    assert q850_of(status) == cause


@pytest.mark.parametrize("code", SIP_REASONS)
def test_every_reason_is_worded_alike(code: str) -> None:
    reason = SIP_REASONS[code]
    assert reason.status in PHRASES
    assert re.fullmatch(r"[A-Z_]+", code)
    assert not set('"\\\\\r\n') & set(reason.text)
    assert refusal_of(reason) == (
        ("Warning", f'399 callgate "{code}: {reason.text}"'),
        ("Reason", f'Q.850;cause={q850_of(reason.status)};text="{reason.text}"'),
    )


def test_details_are_told_to_a_person_and_cannot_break_out_of_their_line() -> None:
    headers = dict(refusal_of(SIP_REASONS["MALFORMED"], 'a "quoted"\r\nX-Evil: 1'))
    assert headers["Warning"] == r'399 callgate "MALFORMED: a \"quoted\" X-Evil: 1"'
    assert headers["Reason"] == 'Q.850;cause=41;text="the request cannot be read"'
    assert warning("A", "b")[1] == '399 callgate "A: b"'


def test_every_status_that_a_fault_hints_at_has_its_reason() -> None:
    hinted = {400}
    for path in ROOM.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        hinted |= {int(status) for status in re.findall(r"raise Bad\w+\([^\n]*, (\d{3})\)", text)}
    assert hinted > {416, 505, 513}
    assert {reason_of_fault(status).status for status in hinted} == hinted
    assert reason_of_fault(499).code == "MALFORMED"
