"""Emergency calls at a gate that is full or being shut down: never refused and never cut (CONTRACT 6)."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.supervisor.child import KILL_AFTER_S
from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, reason_code, response, sdp
from tests.live.phone import PBX, Phone, cut_on_drain, until

pytestmark = pytest.mark.peer("redis-server")

MakeGate = Callable[..., Gate]

NOBODY = Address("127.0.0.1", 9)
"""The gate of a phone that is there before its gate."""


class Emergency:
    """A gate of two calls and a drain of a second, a phone that calls for help, and where that rings."""

    def __init__(self, make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.psap = Phone(NOBODY, "127.0.0.3")
        lines = "options_ping_s = 0\nemergency = true"
        target = f"sip:{self.psap.here}"
        trunks = Trunks([PBX], [self.psap.here.host], [target], [], 'tenant = "contoso"', lines)
        self.gate: Gate = make_gate("contoso", sections={"sip": "drain_s = 1\nmax_calls = 2"}, trunks=trunks)
        self.phone = Phone(self.gate.sip)
        self._monkeypatch = monkeypatch

    def ring(self, number: str) -> None:
        """Have a call ring that nobody answers yet."""
        self.phone.invite(number)
        self.asked = self.psap.wait(lambda heard: heard.method == "INVITE")
        self.psap.gate = self.gate.sip
        self.psap.send(response(self.asked, 180, "psap"))
        self.phone.wait(lambda heard: heard.status == 180)

    def ring_into_drain(self, cut: bool) -> Any:
        """Have the drain begin while the call rings, and wait until only the call holds it up; the gate's process."""
        if cut:
            cut_on_drain(self.gate, self._monkeypatch)
        self.gate.start()
        self.ring("911")
        process = self.gate.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        until(lambda: "emergency_calls_that_ring" in self.gate.log.read_text())
        return process


@pytest.fixture
def emergency(make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emergency]:
    made = Emergency(make_gate, monkeypatch)
    yield made
    made.phone.sock.close()
    made.psap.sock.close()


def test_emergency_calls_take_no_room_from_ordinary_ones_nor_these_from_them(emergency: Emergency) -> None:
    """Once a live emergency call counted against max_calls like any other."""
    emergency.gate.start()
    for number in ("911", "+442079460000", "+442079460001"):
        emergency.ring(number)
    emergency.phone.invite("+442079460002")
    final = emergency.phone.wait(lambda heard: heard.status > 180)
    assert (final.status, reason_code(final)) == (503, "GATE_CALLS")
    emergency.ring("911")


@pytest.mark.parametrize("cut", [False, True])
def test_a_drain_lets_an_emergency_call_ring_until_it_is_answered(emergency: Emergency, cut: bool) -> None:
    """Once it got 503 when drain_s was over (CONTRACT 6: never refused or cut)."""
    process = emergency.ring_into_drain(cut)
    time.sleep(0.5 if cut else KILL_AFTER_S + 0.5)  # the supervisor does not kill what it waits for
    assert process.poll() is None
    here = emergency.psap.here
    emergency.psap.send(response(emergency.asked, 200, "psap", f"sip:{here}", sdp(here, 2)))
    assert emergency.phone.wait(lambda heard: heard.status > 180).status == 200
    assert process.wait(10) == 0
    emergency.phone.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        emergency.phone.wait_bye()


def test_a_second_sigterm_ends_a_drain_that_waits_for_an_emergency_call(emergency: Emergency) -> None:
    process = emergency.ring_into_drain(cut=False)
    process.send_signal(signal.SIGTERM)
    final = emergency.phone.wait(lambda heard: heard.status > 180)
    assert (final.status, reason_code(final)) == (503, "DRAINING")
    assert process.wait(10) == 0
