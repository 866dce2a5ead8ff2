"""A PBX transfers a call from outside by REFER: to a third party that is called then, or with whom it talks already."""

import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, Dialog, request, response, sdp, tag_of, uri_in
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
USER = "+14255550000"
NEW = "+442079460000"


Three = tuple[Gate, Phone, Phone, Phone]


@pytest.fixture
def three(make_gate: Callable[..., Gate], carrier: Address) -> Three:
    """A gate, the PBX, a caller from outside, and a third party behind the carrier."""
    nowhere = Address(PBX, 9)
    pbx, caller, third = Phone(nowhere), Phone(nowhere, CARRIER), Phone(nowhere, CARRIER)
    access = 'tenant = "contoso"\noptions_ping_s = 0'
    trunks = Trunks([PBX], [CARRIER], [f"sip:{third.here}"], [f"sip:{pbx.here}"], access_lines=access)
    gate = make_gate("contoso", sections={"sip": 'refer = "transfer"'}, trunks=trunks)
    gate.start()
    pbx.gate = caller.gate = third.gate = gate.sip
    return gate, pbx, caller, third


def talk(gate: Gate, pbx: Phone, caller: Phone) -> tuple[Dialog, Dialog]:
    """The caller has called the PBX: the dialogs of both."""
    dialog = caller.invite(USER)
    invited = pbx.answer("INVITE")
    caller.acknowledge(dialog)
    pbx.wait(lambda heard: heard.method == "ACK")
    local, remote = f"{invited.first('to')};tag=callee", invited.first("from")
    contact = uri_in(invited.first("contact"))
    return dialog, Dialog(pbx.here, invited.call_id, local, remote, f"sip:{pbx.here}", contact, gate.sip, cseq=1)


def rejoin(caller: Phone) -> None:
    """Agree to the re-INVITE."""
    moved = caller.wait(lambda heard: heard.method == "INVITE" and not heard.status)
    assert moved.body
    caller.send(response(moved, 200, "", f"sip:{caller.here}", sdp(caller.here, 3)))


def booked(gate: Gate) -> dict[str, dict[str, object]]:
    """The records of all calls by their type."""
    assert gate.wait_booked()
    rows = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    assert len(rows) == 2
    return {row["Call Type"]: row for row in rows}


def test_the_user_who_refers_pays_for_the_way(three: Three) -> None:
    gate, pbx, caller, third = three
    dialog, inside = talk(gate, pbx, caller)
    pbx.send(request(inside, "REFER", "z9hG4bK-refer", extra=f"Refer-To: <sip:{NEW}@{gate.sip}>\r\n"))
    assert pbx.wait(lambda heard: heard.method == "REFER").status == 202
    assert "100 Trying" in pbx.answer("NOTIFY").body
    offered = third.answer("INVITE")
    assert offered.body == ""
    assert offered.first("from").startswith(f"<sip:{USER}@")
    rejoin(caller)
    assert third.wait(lambda heard: heard.method == "ACK").body
    assert "200 OK" in pbx.answer("NOTIFY").body
    pbx.wait_bye()
    time.sleep(0.05)  # talk of less than a millisecond costs nothing
    assert caller.hang_up(dialog).status == 200
    third.wait_bye()
    rows = booked(gate)
    assert set(rows) == {"user_in", "user_out_transfer"}
    assert rows["user_in"]["Charge Micros"] == 0
    assert rows["user_out_transfer"]["Charge Micros"] > 0
    assert rows["user_out_transfer"]["UPN"] == "u@contoso"


def test_a_pbx_that_talks_with_both_has_them_talk_with_each_other(three: Three) -> None:
    gate, pbx, caller, third = three
    dialog, inside = talk(gate, pbx, caller)
    second = pbx.invite(NEW)
    third.answer("INVITE")
    pbx.acknowledge(second)
    third.wait(lambda heard: heard.method == "ACK")
    named = f"{second.call_id};to-tag={tag_of(second.remote)};from-tag={tag_of(second.local)}"
    to = f"Refer-To: <sip:{NEW}@{gate.sip}?Replaces={quote(named, safe='')}>\r\n"
    pbx.send(request(inside, "REFER", "z9hG4bK-refer", extra=to))
    assert pbx.wait(lambda heard: heard.method == "REFER").status == 202
    assert "100 Trying" in pbx.answer("NOTIFY").body
    assert third.answer("INVITE").body == ""
    rejoin(caller)
    assert third.wait(lambda heard: heard.method == "ACK").body
    ended = {pbx.wait_bye().call_id, pbx.wait_bye().call_id}
    assert ended == {inside.call_id, second.call_id}
    time.sleep(0.05)  # talk of less than a millisecond costs nothing
    assert caller.hang_up(dialog).status == 200
    third.wait_bye()
    rows = booked(gate)
    assert set(rows) == {"user_in", "user_out"}
    assert rows["user_out"]["Charge Micros"] > 0
