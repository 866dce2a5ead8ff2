"""What crosses a whole gate between a PBX and a carrier that is not trusted: numbers as the carrier wants them, headers
as the rules of both trunks have them, the caller's name only where it is not hidden, and no address of the other side.
"""

from collections.abc import Callable

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, Heard, response, sdp
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
FROM_PBX = """tenant = "contoso"
header_rules = [
    { action = "remove", header = "X-Inside", direction = "arriving" },
    { action = "rewrite", header = "X-Site", direction = "arriving", pattern = "^site-(.*)$", value = "$1" },
]"""
TO_CARRIER = """options_ping_s = 0
trusted = false
number_plus = false
number_prefix = "9900"
header_rules = [
    { action = "add", header = "X-Customer", value = "4711" },
    { action = "remove", header = "X-Answered-By", direction = "arriving" },
]"""


def words(heard: Heard, *names: str) -> list[str]:
    return [heard.first(name) if name in heard.headers else "" for name in names]


def test_headers_numbers_and_names_cross_as_each_trunk_has_it(make_gate: Callable[..., Gate]) -> None:
    nowhere = Address(CARRIER, 9)
    caller, callee = Phone(nowhere), Phone(nowhere, CARRIER)
    trunks = Trunks([PBX], [CARRIER], [f"sip:{callee.here}"], access_lines=FROM_PBX, carrier_lines=TO_CARRIER)
    gate = make_gate("contoso", trunks=trunks)
    gate.start()
    caller.gate = callee.gate = gate.sip
    own = "X-Inside: secret\r\nX-Site: site-Graz\r\nPrivacy: id\r\nUser-Agent: Inside PBX 1.0\r\n"
    dialog = caller.invite("+442079460000", own + f"P-Asserted-Identity: <sip:+14255550000@{PBX}>\r\n")
    invited = callee.wait(lambda heard: heard.method == "INVITE")
    assert invited.uri == f"sip:9900442079460000@{callee.here}"
    assert words(invited, "x-inside", "x-site", "x-customer", "p-asserted-identity") == ["", "Graz", "4711", ""]
    assert "anonymous" in invited.first("from")
    said = "\n".join(value for name, values in invited.headers.items() for value in (name, *values))
    for inside in (PBX, dialog.call_id, "14255550000", "Inside PBX"):
        assert inside not in said, f"{inside} is the other side's own"
    answer = response(invited, 200, "callee", f"sip:{callee.here}", sdp(callee.here, 2))
    callee.send(answer.replace(b"\r\nContact:", b"\r\nServer: Carrier 9\r\nX-Answered-By: 10.9.8.7\r\nContact:"))
    final = caller.wait(lambda heard: heard.status == 200)
    assert words(final, "x-answered-by", "server") == ["", "callgate"]
    assert CARRIER not in "\n".join(value for values in final.headers.values() for value in values)
