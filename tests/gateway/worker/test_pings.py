"""Pings with an endpoint and a clock of the test's own: when an address is down, and when it is up again."""

from itertools import count
from typing import Any

import pytest

from gateway.config.settings import TrunkSettings
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow, RequestFailed, ResponseArrived, Send
from gateway.sip.message import Request, parse
from gateway.transport.locate import Hop, Located, Way
from gateway.worker.pings import PINGS_PER_LOOK, QUICK_S, TIMEOUT_S, Pings
from gateway.worker.targets import TrunkTarget

HOP = Hop("udp", "192.0.2.2", 5060)
FLOW = Flow(*HOP)


def peer(host: str = "192.0.2.2", every_s: int = 30) -> TrunkTarget:
    trunk = TrunkSettings.model_validate(
        {"name": "carrier", "role": "carrier", "targets": [f"sip:{host}"], "options_ping_s": every_s}
    )
    return TrunkTarget(trunk, 1, trunk.targets[0])


class Gate:
    """Pings over an endpoint; ``now`` is moved by :meth:`pass_s`."""

    def __init__(self, *peers: TrunkTarget) -> None:
        tokens = count(1)
        self.now = 0.0
        self.deadlines = Deadlines()
        self.endpoint = Endpoint(Identity("192.0.2.1", 5060), self.deadlines, lambda: f"t{next(tokens)}")
        self.results: list[str] = []
        self.up: dict[tuple[str, str], bool] = {}
        self.downs: list[bool] = []
        self.pings = Pings(self.endpoint, lambda: f"p{next(tokens)}", self, self.downs.append)
        self.pings.follow(peers or (peer(),), 0.0)

    def ping(self, result: str) -> None:
        self.results.append(result)

    def targets(self, up: dict[tuple[str, str], bool]) -> None:
        self.up = up

    def pass_s(self, seconds: float) -> list[Send]:
        """Let time pass and look; new OPTIONS that left."""
        self.now += seconds
        self.deadlines.run(self.now)
        self.endpoint.take_output()  # repetitions
        self.pings.look(self.now)
        self._hear()
        return self.endpoint.take_output()

    def answer(self, sent: Send, status: int) -> None:
        asked = parse(sent.data)
        assert isinstance(asked, Request)
        echo = "".join(f"{name}: {asked.get(name)}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
        data = f"SIP/2.0 {status} X\r\n{echo}To: {asked.get('To')};tag=b\r\nContent-Length: 0\r\n\r\n".encode()
        self.endpoint.receive(data, sent.flow, self.now)
        self._hear()

    def _hear(self) -> None:
        for event in self.endpoint.take_events():
            owner: Any = event.transaction.owner  # type: ignore[union-attr]
            if isinstance(event, ResponseArrived):
                owner.heard(event.response, self.now)
            elif isinstance(event, RequestFailed):
                owner.failed(event.timeout, self.now)


def test_a_ping_is_an_options_to_the_target() -> None:
    gate = Gate()
    assert gate.pass_s(29.9) == []
    (sent,) = gate.pass_s(0.1)
    request = parse(sent.data)
    assert isinstance(request, Request)
    assert (request.method, request.uri, sent.flow) == ("OPTIONS", "sip:192.0.2.2", FLOW)
    assert request.get("Contact") == "<sip:192.0.2.1:5060>"
    gate.answer(sent, 200)
    assert gate.results == ["answered"]
    assert gate.up == {("carrier", "udp:192.0.2.2:5060"): True}
    assert gate.pass_s(29.9) == []
    assert len(gate.pass_s(0.1)) == 1


@pytest.mark.parametrize("status", [200, 404, 405, 481, 486, 500, 603])
def test_any_answer_is_a_sign_of_life(status: int) -> None:
    gate = Gate()
    for _ in range(3):
        (sent,) = gate.pass_s(30.0)
        gate.answer(sent, status)
    assert gate.results == ["answered"] * 3
    assert not gate.pings.is_down(HOP)


def lose(gate: Gate, wait_s: float) -> None:
    assert len(gate.pass_s(wait_s)) == 1
    assert gate.pass_s(TIMEOUT_S) == []


def known(*peers: TrunkTarget) -> Gate:
    """Pings of peers that have answered one: only of them silence says something."""
    gate = Gate(*peers)
    (sent,) = gate.pass_s(30.0)
    gate.answer(sent, 200)
    gate.results.clear()
    return gate


def test_a_peer_that_never_answers_pings_is_not_down() -> None:
    gate = Gate()
    for _ in range(6):
        lose(gate, 30.0)
    assert not gate.pings.is_down(HOP)
    assert gate.up == {("carrier", "udp:192.0.2.2:5060"): True}
    (sent,) = gate.pass_s(30.0)
    gate.answer(sent, 200)
    lose(gate, 30.0)
    lose(gate, QUICK_S)
    assert gate.pings.is_down(HOP)


def test_two_lost_in_a_row_are_down_and_one_is_not() -> None:
    gate = known()
    lose(gate, 30.0)
    assert not gate.pings.is_down(HOP)
    (sent,) = gate.pass_s(QUICK_S)
    gate.answer(sent, 200)
    lose(gate, 30.0)
    assert not gate.pings.is_down(HOP)
    lose(gate, QUICK_S)
    assert gate.pings.is_down(HOP)
    assert gate.up == {("carrier", "udp:192.0.2.2:5060"): False}
    assert gate.downs[-1] is True
    assert gate.results == ["lost", "answered", "lost", "lost"]


@pytest.mark.parametrize("status", [503, 408])
def test_a_peer_that_takes_nothing_is_down(status: int) -> None:
    gate = Gate()
    for wait_s in (30.0, QUICK_S):
        (sent,) = gate.pass_s(wait_s)
        gate.answer(sent, status)
    assert gate.pings.is_down(HOP)
    assert gate.results == ["refused", "refused"]


def test_two_answers_in_a_row_bring_it_back_and_one_does_not() -> None:
    gate = known()
    lose(gate, 30.0)
    lose(gate, QUICK_S)
    for answered, down in ((True, True), (False, True), (True, True), (True, False)):
        (sent,) = gate.pass_s(QUICK_S)
        if answered:
            gate.answer(sent, 200)
        else:
            gate.pass_s(TIMEOUT_S)
        assert gate.pings.is_down(HOP) is down
    assert gate.downs[-1] is False
    assert gate.pass_s(QUICK_S) == []
    assert len(gate.pass_s(25.0)) == 1


def test_what_cannot_be_sent_is_lost_at_once() -> None:
    gate = Gate()
    gate.pass_s(30.0)
    gate.endpoint.send_failed(FLOW, gate.now)
    gate._hear()
    assert gate.results == ["lost"]


def test_an_answer_that_comes_too_late_says_nothing() -> None:
    gate = Gate()
    (sent,) = gate.pass_s(30.0)
    gate.pass_s(TIMEOUT_S)
    gate.answer(sent, 200)
    assert gate.results == ["lost"]


def test_who_is_not_to_be_pinged_is_not() -> None:
    gate = Gate(peer(every_s=0))
    assert gate.pass_s(3600.0) == []
    assert gate.up == {}


def test_many_pings_do_not_leave_at_once() -> None:
    gate = Gate(*[peer(f"192.0.2.{host}") for host in range(1, 51)])
    assert [len(gate.pass_s(wait_s)) for wait_s in (30.0, 0.5, 0.5)] == [PINGS_PER_LOOK, PINGS_PER_LOOK, 10]


def test_what_is_known_stays_when_addresses_change() -> None:
    one = peer()
    gate = known(one)
    lose(gate, 30.0)
    lose(gate, QUICK_S)
    other = Hop("tcp", "192.0.2.7", 5060)
    one.located = Located((Way((HOP, other)),), 60.0)
    gate.pings.follow([one], gate.now)
    assert gate.up == {("carrier", "udp:192.0.2.2:5060"): False, ("carrier", "tcp:192.0.2.7:5060"): True}
    one.located = Located((Way((other,)),), 60.0)
    gate.pings.follow([one], gate.now)
    assert not gate.pings.is_down(HOP)
    assert gate.downs[-1] is False
