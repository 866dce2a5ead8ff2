"""A PBX forwards a call from outside by 3xx: the way there is a call of its own, which the user who forwards pays."""

import time
from collections.abc import Callable

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, response
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
USER = "+14255550000"
NEW = "+442079460000"


def test_the_user_who_forwards_pays_for_the_way(make_gate: Callable[..., Gate], carrier: Address) -> None:
    nowhere = Address(PBX, 9)
    pbx, caller, callee = Phone(nowhere), Phone(nowhere, CARRIER), Phone(nowhere, CARRIER)
    access = 'tenant = "contoso"\noptions_ping_s = 0'
    trunks = Trunks([PBX], [CARRIER], [f"sip:{callee.here}"], [f"sip:{pbx.here}"], access_lines=access)
    gate = make_gate("contoso", sections={"sip": "follow_redirects = true"}, trunks=trunks)
    gate.start()
    pbx.gate = caller.gate = callee.gate = gate.sip
    dialog = caller.invite(USER)
    asked = pbx.wait(lambda heard: heard.method == "INVITE" and not heard.status)
    moved = response(asked, 486, "pbx", f"sip:{NEW}@{pbx.here}").replace(b"486 Busy Here", b"302 Moved Temporarily")
    pbx.send(moved)
    invited = callee.answer("INVITE")
    assert invited.first("diversion").startswith(f"<sip:{USER}@")
    caller.acknowledge(dialog)
    time.sleep(0.05)  # talk of less than a millisecond costs nothing
    assert caller.hang_up(dialog).status == 200
    callee.wait_bye()
    assert gate.wait_booked()
    rows = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    kinds = {row["Call Type"]: row for row in rows}
    assert len(rows) == 2
    assert set(kinds) == {"user_in", "user_out_forwarding"}
    assert kinds["user_in"]["Charge Micros"] == 0
    assert kinds["user_out_forwarding"]["Charge Micros"] > 0
    assert kinds["user_out_forwarding"]["UPN"] == "u@contoso"
