"""Callers without money on real sockets: connected with who says so where they are refused, and moved there at zero."""

from collections.abc import Callable

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, response, sdp
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
NUMBER = "+442079460000"


def test_refused_at_zero_and_warned(make_gate: Callable[..., Gate], carrier: Address) -> None:
    nowhere = Address(CARRIER, 9)
    pbx, says, callee = Phone(nowhere), Phone(nowhere, CARRIER), Phone(nowhere, CARRIER)
    uri = f"sip:top-up@{says.here}"
    sections = {
        "credit": "tick_s = 1\nrenew_lead_s = 0.5",
        "announcements": f'refused = "{uri}"\nat_zero = "{uri}"\nlongest_s = 30\nwarning = "info"',
    }
    trunks = Trunks([PBX], [CARRIER], [f"sip:{callee.here}"], access_lines='tenant = "contoso"')
    gate = make_gate("contoso", funds="0.003", sections=sections, trunks=trunks)  # three seconds of talk
    gate.start()
    pbx.gate = says.gate = callee.gate = gate.sip
    dialog = pbx.invite(NUMBER)
    callee.answer("INVITE")
    pbx.acknowledge(dialog)
    assert "call.low_credit" in pbx.answer("INFO").body
    bye = callee.wait_bye()
    assert "cause=402" in bye.first("reason")
    says.answer("INVITE")
    again = pbx.wait(lambda heard: not heard.status and heard.method == "INVITE")
    pbx.send(response(again, 200, "", f"sip:{pbx.here}", sdp(pbx.here, 3)))
    pbx.wait(lambda heard: heard.method == "ACK")
    assert says.wait(lambda heard: heard.method == "ACK").body
    assert pbx.hang_up(dialog).status == 200
    says.wait_bye()
    assert gate.wait_booked()
    dialog = pbx.invite(NUMBER)
    says.answer("INVITE")
    pbx.acknowledge(dialog)
    assert pbx.hang_up(dialog).status == 200
    says.wait_bye()
    assert gate.wait_booked()
    rows = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    (cut,) = [row for row in rows if row["Reason Code"] == "NO_CREDIT" and row["SIP Status"] == 200]
    assert cut["Charge Micros"] == 3000
    assert sum(row["Charge Micros"] for row in rows) == 3000
    assert sorted(row["SIP Status"] for row in rows) == [200, 200, 402]
