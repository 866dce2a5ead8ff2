"""A peer that vanishes in mid-call, on real sockets: asked by OPTIONS, missed, and charged up to its last word."""

from collections.abc import Callable

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address
from tests.live.phone import PBX, Phone

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
NUMBER = "+442079460000"


@pytest.mark.parametrize(
    ("says_so", "charge"),
    [(True, 3_000), (False, 5_000)],
    ids=["its host says so", "in silence, and the other side was heard"],
)
def test_a_caller_that_vanished_is_missed_and_charged_up_to_its_last_word(
    make_gate: Callable[..., Gate], says_so: bool, charge: int
) -> None:
    nowhere = Address(CARRIER, 9)
    caller, callee = Phone(nowhere), Phone(nowhere, CARRIER)
    trunks = Trunks([PBX], [CARRIER], [f"sip:{callee.here}"], access_lines='tenant = "contoso"')
    gate = make_gate("contoso", funds="1.00", sections={"sip": "options_every_s = 2\nt1_s = 0.05"}, trunks=trunks)
    gate.start()
    caller.gate = callee.gate = gate.sip
    dialog = caller.invite(NUMBER)
    callee.answer("INVITE")
    caller.acknowledge(dialog)
    assert caller.answer("OPTIONS").first("cseq").endswith("OPTIONS")
    callee.answer("OPTIONS")
    if says_so:
        caller.sock.close()  # from now on its host says that nobody is there (ICMP)
    else:
        callee.answer("OPTIONS")  # the called side goes on answering, the caller does not
    bye = callee.wait_bye()
    assert "cause=" in bye.first("reason")
    assert gate.wait_booked()
    (row,) = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    assert row["Reason Code"] == "DEAD_PEER"
    assert row["Charge Micros"] == charge, "seconds up to the last answer and what had begun of the next one"
