"""Awkward messages from a known trunk: each of the project's own, and RFC 4475's and 5118's where they are at hand."""

import json
import re
from pathlib import Path

import pytest

from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Event, Flow, InviteArrived, RequestArrived, Send
from gateway.sip.message import parse
from gateway.sip.reasons import SIP_REASONS, SipReason, q850_of
from tests.gateway.sip.torture_case import Case
from tests.gateway.sip.torture_cases import DROPPED, REFUSED, TAKEN

SHARED = Path(__file__).parents[4] / "shared" / "torture"
INDEX = json.loads((SHARED / "index.json").read_text()) if (SHARED / "index.json").is_file() else []

TRUNK = Flow("udp", "198.51.100.7", 5060)


def received(data: bytes) -> tuple[list[Event], list[Send]]:
    endpoint = Endpoint(Identity("127.0.0.1", 5060), Deadlines(), iter(f"token{n}" for n in range(99)).__next__)
    endpoint.receive(data, TRUNK, 0.0)
    return endpoint.take_events(), endpoint.take_output()


def status_of(output: list[Send]) -> int:
    assert len(output) == 1
    assert output[0].flow.host == TRUNK.host
    version, status, _ = output[0].data.split(b" ", 2)  # what repeats a broken request is no good response itself
    assert version == b"SIP/2.0"
    return int(status)


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_awkward_but_right_is_taken(case: Case) -> None:
    events, output = received(case.data)
    if case.expected != "event":
        assert events == []
        assert status_of(output) == case.expected
        return
    assert output == []
    assert len(events) == 1
    event = events[0]
    assert isinstance(event, InviteArrived if event.request.method == "INVITE" else RequestArrived)
    assert event.transaction.request is event.request
    assert case.check is None or case.check(event.request)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_wrong_is_refused_with_a_status_that_fits(case: Case) -> None:
    events, output = received(case.data)
    assert events == []
    assert status_of(output) == case.expected
    assert refusal_in(output[0].data).status == case.expected


def refusal_in(data: bytes) -> SipReason:
    """The reason a refusal gives, which its Q.850 cause fits (CONTRACT 6)."""
    head = data.partition(b"\r\n\r\n")[0].decode()
    (code,) = re.findall(r'^Warning: 399 callgate "([A-Z_]+): .+"\r?$', head, re.M)
    reason = SIP_REASONS[code]
    assert f'\nReason: Q.850;cause={q850_of(reason.status)};text="{reason.text}"\r' in f"{head}\r"
    return reason


@pytest.mark.parametrize("case", DROPPED, ids=lambda case: case.name)
def test_what_may_not_be_answered_is_dropped(case: Case) -> None:
    assert received(case.data) == ([], [])


def test_a_refusal_says_what_was_wrong_and_repeats_what_could_be_read() -> None:
    case = next(case for case in REFUSED if case.name.startswith("a quotation mark"))
    response = parse(received(case.data)[1][0].data.replace(b'"Bob', b"Bob"))
    assert response.call_id == "quote-1"
    assert response.cseq == (8, "INVITE")
    assert response.to.tag
    assert "is not an address" in (response.get("Warning") or "")


def test_a_refusal_of_extensions_names_them_and_of_methods_the_ones_there_are() -> None:
    extension = next(case for case in REFUSED if case.expected == 420)
    assert parse(received(extension.data)[1][0].data).values("Unsupported") == ["levitation", "telepathy"]
    method = next(case for case in TAKEN if case.expected == 501)
    assert "INVITE" in parse(received(method.data)[1][0].data.replace(b'\\"', b"")).values("Allow")


if INDEX:

    @pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["name"])
    def test_the_messages_of_rfc_4475_and_5118(entry: dict[str, object]) -> None:
        events, output = received((SHARED / str(entry["file"])).read_bytes())
        verdict, codes = entry["verdict"], entry["codes"]
        assert isinstance(codes, list)
        assert len(events) + len(output) == (0 if verdict == "drop" else 1)
        if verdict == "drop":
            return
        status = status_of(output) if output else 0
        if verdict == "reject":
            assert status in codes
            assert refusal_in(output[0].data).status == status
        elif verdict == "accept":
            assert status != 400
            assert status < 500 or status in codes
        else:
            assert status < 500
        for event in events:
            assert isinstance(event, InviteArrived | RequestArrived)
            assert event.request.method == event.request.cseq[1]


def test_all_messages_of_the_rfcs_run_where_they_are_at_hand() -> None:
    assert len(INDEX) == (61 if SHARED.is_dir() else 0)
