"""The words of SIP's own refusals, and the causes of all statuses."""

import re
from pathlib import Path

import pytest

from gateway.sip import reasons
from gateway.sip.build import REASONS as PHRASES
from gateway.sip.reasons import (
    CAUSES,
    SIP_REASONS,
    cause_in,
    q850_of,
    reason_of_fault,
    refusal_of,
    status_of,
    warning,
)

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


@pytest.mark.parametrize(
    ("cause", "status"), [(1, 404), (17, 486), (18, 408), (21, 403), (28, 484), (34, 503), (127, 500), (16, None)]
)
def test_statuses_of_causes(cause: int, status: int | None) -> None:
    assert status_of(cause) == status


def test_each_status_and_each_cause_stands_in_the_table_once() -> None:
    statuses = [status for cause in CAUSES for status in cause.statuses]
    assert len(statuses) == len(set(statuses))
    assert len({cause.number for cause in CAUSES}) == len(CAUSES)
    assert {cause.status for cause in CAUSES} <= set(PHRASES)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("Q.850;cause=17", 17),
        ('SIP;cause=200;text="Q.850 or not, done", Q.850 ; cause = 31', 31),
        ('q.850;text="busy";cause=17;location=LN', 17),
        ("SIP;cause=486", None),
        ("Q.850;cause=x", None),
        ("Q.850", None),
        ("Q.850" + ";" * 100_000, None),
    ],
)
def test_a_cause_that_is_told(value: str, cause: int | None) -> None:
    assert cause_in([("Subject", "Q.850;cause=1"), ("Reason", value)]) == cause
