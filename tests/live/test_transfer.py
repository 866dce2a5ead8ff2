"""A PBX transfers a call from outside by REFER: the way to the third party is a call that the user who refers pays."""

from collections.abc import Callable

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, Dialog, request, response, sdp, uri_in
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
USER = "+14255550000"
NEW = "+442079460000"


def test_the_user_who_refers_pays_for_the_way(make_gate: Callable[..., Gate], carrier: Address) -> None:
    nowhere = Address(PBX, 9)
    pbx, caller, third = Phone(nowhere), Phone(nowhere, CARRIER), Phone(nowhere, CARRIER)
    access = 'tenant = "contoso"\noptions_ping_s = 0'
    trunks = Trunks([PBX], [CARRIER], [f"sip:{third.here}"], [f"sip:{pbx.here}"], access_lines=access)
    gate = make_gate("contoso", sections={"sip": 'refer = "transfer"'}, trunks=trunks)
    gate.start()
    pbx.gate = caller.gate = third.gate = gate.sip

    dialog = caller.invite(USER)
    invited = pbx.answer("INVITE")
    final = caller.wait(lambda heard: heard.method == "INVITE" and heard.status >= 200)
    dialog.remote = final.first("to")
    dialog.learn(uri_in(final.first("contact")), [])
    caller.send(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-ack"), dialog.next_hop)
    pbx.wait(lambda heard: heard.method == "ACK")

    local, remote = f"{invited.first('to')};tag=callee", invited.first("from")
    contact = uri_in(invited.first("contact"))
    inside = Dialog(pbx.here, invited.call_id, local, remote, f"sip:{pbx.here}", contact, gate.sip, cseq=1)
    pbx.send(request(inside, "REFER", "z9hG4bK-refer", extra=f"Refer-To: <sip:{NEW}@{gate.sip}>\r\n"))
    assert pbx.wait(lambda heard: heard.method == "REFER").status == 202
    assert "100 Trying" in pbx.answer("NOTIFY").body
    offered = third.answer("INVITE")
    assert offered.body == ""
    assert offered.first("from").startswith(f"<sip:{USER}@")
    moved = caller.wait(lambda heard: heard.method == "INVITE" and not heard.status)
    assert moved.body
    caller.send(response(moved, 200, "", f"sip:{caller.here}", sdp(caller.here, 3)))
    assert third.wait(lambda heard: heard.method == "ACK").body
    assert "200 OK" in pbx.answer("NOTIFY").body
    pbx.wait_bye()

    dialog.cseq += 1
    assert caller.hang_up(dialog).status == 200
    third.wait_bye()
    assert gate.wait_booked()
    rows = {row["Call Type"]: row for row in gate.run("usage", "--tenant", "contoso", "--format", "json").document()}
    assert set(rows) == {"user_in", "user_out_transfer"}
    assert rows["user_in"]["Charge Micros"] == 0
    assert rows["user_out_transfer"]["Charge Micros"] > 0
    assert rows["user_out_transfer"]["UPN"] == "u@contoso"
