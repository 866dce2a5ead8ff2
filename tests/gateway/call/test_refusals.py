"""The words of refusals and endings."""

import pytest

from gateway.call.refusals import ending_headers, refusal_headers, relayed_headers, relayed_status
from gateway.sip.reasons import SIP_REASONS
from policy.reasons import REASONS, Reason

WHOLE_GATE = {"GATE_CALLS", "GATE_CALLS_PER_SECOND", "DRAINING", "OUTBOX_FULL"}


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_refusal_names_its_code_and_cause(code: str) -> None:
    headers = dict(refusal_headers(REASONS[code]))
    assert headers["Warning"] == f'399 callgate "{code}: {REASONS[code].text}"'
    assert headers["Reason"] == f'Q.850;cause={REASONS[code].q850};text="{REASONS[code].text}"'
    assert ("Retry-After" in headers) == (code in WHOLE_GATE)


def test_no_code_means_two_things() -> None:
    assert not set(REASONS) & set(SIP_REASONS)


def test_a_reason_that_is_not_in_the_table_is_worded_alike() -> None:
    headers = dict(refusal_headers(Reason("NEW", 403, 21, "something new")))
    assert headers["Warning"] == '399 callgate "NEW: something new"'


def test_the_end_of_credit_in_a_request() -> None:
    assert ending_headers(REASONS["NO_CREDIT"]) == (
        ("Reason", 'SIP;cause=402;text="credit exhausted", Q.850;cause=21'),
    )


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, 1), (484, 28), (486, 17), (500, 41), (503, 41), (408, 102), (480, 18), (603, 21), (487, 31), (699, 31)],
)
def test_causes_of_the_far_sides_refusals(status: int, cause: int) -> None:
    assert relayed_headers(status, has_reason=False)[1] == ("Reason", f"Q.850;cause={cause}")
    assert len(relayed_headers(status, has_reason=True)) == 1


@pytest.mark.parametrize(("far", "shown"), [(503, 500), (401, 500), (407, 500), (486, 486), (500, 500), (302, 302)])
def test_what_the_caller_gets(far: int, shown: int) -> None:
    assert relayed_status(far) == shown
