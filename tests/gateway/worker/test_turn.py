"""The turn with stand-ins for the quiet rooms: what goes where, in which order, and what a fault leaves standing."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.call.commands import Written
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint as RealEndpoint
from gateway.sip.events import Flow, Send
from gateway.sip.identity import Identity
from gateway.worker import turn as turn_module
from gateway.worker.turn import FAULTS_LOGGED_PER_S, Turn

PEER = Flow("udp", "127.0.0.2", 5060, 1)


class Endpoint:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.output: list[Send] = []
        self.told: list[tuple[str, Any]] = []
        self.loops = False
        self.own: list[bytes] = []

    def hear_own(self, now: float) -> bool:
        own, self.own = self.own, []
        for data in own:
            self.receive(data, PEER, now)
        return bool(own)

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        if data == b"bad":
            raise RuntimeError("a bug")
        self.events.append(data)

    def take_events(self) -> list[Any]:
        events = self.events
        if events:  # as the real one: an empty list stays, and is filled later
            self.events = []
        return events

    def take_output(self) -> list[Send]:
        output, self.output = self.output, []
        return output

    def connection_lost(self, flow: Flow, now: float) -> None:
        self.told.append(("lost", flow))

    def send_failed(self, flow: Flow, now: float) -> None:
        self.told.append(("failed", flow))


class B2bua:
    """Answers each event with an output, a command and a fact; ``again`` makes one more event of the first."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.commands: list[Any] = []
        self.facts: list[Any] = []

    def handle(self, event: Any, now: float) -> None:
        if event == b"broken":
            raise RuntimeError("a bug")
        if event == b"again":
            self.endpoint.events.append(b"more")
        self.endpoint.output.append(Send(PEER, b"re:" + event))
        self.commands.append(b"do:" + event)
        self.facts.append(b"fact:" + event)

    def resolve(self, result: Any, now: float) -> None:
        if result.call_id == "broken":
            raise RuntimeError("a bug")
        self.endpoint.output.append(Send(PEER, result.call_id.encode()))

    def take_commands(self) -> list[Any]:
        commands, self.commands = self.commands, []
        return commands

    def take_facts(self) -> list[Any]:
        facts, self.facts = self.facts, []
        return facts


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.endpoint = Endpoint()
        self.done: list[Any] = []
        self.soon: list[Callable[[], None]] = []
        self.turn = Turn(
            self.endpoint,  # type: ignore[arg-type]
            B2bua(self.endpoint),  # type: ignore[arg-type]
            monotonic=lambda: self.now,
            submit=self.done.append,
            note=self.done.append,
            arm=lambda: self.done.append("armed"),
            soon=self.soon.append,
        )
        self.turn.send = lambda flow, data: self.done.append((flow, data))

    def end_turn(self) -> None:
        self.turn.end_turn()
        self.speak()

    def speak(self) -> None:
        """The store's commands are with the kernel."""
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_turn_ends_once_for_all_messages_that_came(rig: Rig) -> None:
    rig.turn.hear(b"one", PEER)
    rig.turn.hear(b"two", PEER)
    assert rig.done == []
    rig.end_turn()
    sent = [(PEER, b"re:one"), (PEER, b"re:two")]
    assert rig.done == [b"do:one", b"do:two", b"fact:one", b"fact:two", "armed", *sent]


def test_nobody_is_told_what_redis_would_not_know_if_the_process_died_now(rig: Rig) -> None:
    """Once a 200 left before the record of the answer: killed in between, its call was taken for one that rang."""
    rig.turn.hear(b"one", PEER)
    rig.turn.end_turn()
    rig.turn.resolve(Written("two"))
    assert not [each for each in rig.done if isinstance(each, tuple)], "nor does a later turn overtake"
    assert len(rig.soon) == 1
    rig.speak()
    assert [each for each in rig.done if isinstance(each, tuple)] == [(PEER, b"re:one"), (PEER, b"two")]


def test_what_changes_nothing_is_told_at_once(rig: Rig) -> None:
    rig.turn.resolve(Written("two"))
    assert (PEER, b"two") in rig.done


def test_events_that_events_make_belong_to_the_same_turn(rig: Rig) -> None:
    rig.turn.hear(b"again", PEER)
    rig.end_turn()
    assert [each for each in rig.done if isinstance(each, tuple)] == [(PEER, b"re:again"), (PEER, b"re:more")]


def test_what_the_endpoint_says_to_itself_belongs_to_the_same_turn(rig: Rig) -> None:
    rig.endpoint.loops, rig.endpoint.own = True, [b"bad", b"own"]
    rig.turn.hear(b"good", PEER)
    rig.end_turn()
    assert rig.turn.faults == 1
    rig.endpoint.own = [b"own"]
    rig.end_turn()
    assert [each for each in rig.done if isinstance(each, tuple)] == [(PEER, b"re:good"), (PEER, b"re:own")]


def test_a_fault_in_a_message_or_event_leaves_the_others_standing(rig: Rig) -> None:
    for data in (b"bad", b"broken", b"good"):
        rig.turn.hear(data, PEER)
    rig.end_turn()
    assert (PEER, b"re:good") in rig.done
    rig.turn.resolve(Written("broken"))
    rig.turn.resolve(Written("fine"))
    assert (PEER, b"fine") in rig.done
    assert rig.turn.faults == 3


def test_a_fault_in_a_deadline_is_one_like_any_other(rig: Rig) -> None:
    deadlines = Deadlines()
    deadlines.on_fault = rig.turn.deadline_failed

    def broken(now: float) -> None:
        raise RuntimeError("a bug")

    deadlines.at(1.0, broken)
    deadlines.at(2.0, rig.done.append)
    deadlines.run(3.0)
    assert rig.done == [3.0]
    assert rig.turn.faults == 1


def test_a_fault_of_one_call_of_many_is_one_like_any_other(rig: Rig) -> None:
    rig.turn.call_failed(RuntimeError("a bug"), rig.now)
    assert rig.turn.faults == 1


def test_a_fault_on_the_way_out_leaves_what_else_goes_out_standing(rig: Rig) -> None:
    done = rig.done.append

    def unless_bad(what: object) -> None:
        if b"bad" in str(what).encode():
            raise OverflowError("port must be 0-65535")
        done(what)

    rig.turn._submit = rig.turn._note = unless_bad
    rig.turn.send = lambda flow, data: unless_bad((flow, data))
    rig.turn.endpoint.events.extend([b"bad 1", b"good"])  # type: ignore[attr-defined]
    rig.end_turn()
    assert rig.done == [b"do:good", b"fact:good", "armed", (PEER, b"re:good")]
    assert rig.turn.faults == 3


def test_a_peer_that_finds_a_fault_does_not_fill_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    class Log:
        def exception(self, event: str, **facts: object) -> None:
            logged.append(event)

    monkeypatch.setattr(turn_module, "log", Log())
    for _ in range(50):
        rig.turn.hear(b"bad", PEER)
    assert len(logged) == FAULTS_LOGGED_PER_S
    rig.now += 1.5
    rig.turn.hear(b"bad", PEER)
    assert len(logged) == FAULTS_LOGGED_PER_S + 1
    assert rig.turn.faults == 51


def test_what_is_not_wanted_is_not_heard(rig: Rig) -> None:
    rig.turn.is_unheard = lambda data, flow: data == b"stranger"
    rig.turn.hear(b"stranger", PEER)
    rig.turn.hear(b"friend", PEER)
    rig.end_turn()
    assert b"do:friend" in rig.done
    assert b"do:stranger" not in rig.done


def test_a_tap_sees_what_comes_and_goes(rig: Rig) -> None:
    seen: list[tuple[bytes, bool]] = []

    def tap(flow: Flow, data: bytes, now: float, *, sent: bool) -> None:
        seen.append((data, sent))

    rig.turn.tap = tap
    rig.turn.hear(b"x", PEER)
    rig.end_turn()
    assert seen == [(b"x", False), (b"re:x", True)]


def test_transport_troubles_reach_the_endpoint(rig: Rig) -> None:
    rig.turn.connection_lost(PEER)
    rig.turn.send_failed(PEER)
    assert rig.endpoint.told == [("lost", PEER), ("failed", PEER)]


def test_a_request_that_causes_a_fault_is_answered_with_500(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the endpoint itself: once the caller was left with a 100, and its transaction for ever."""
    endpoint = RealEndpoint(Identity("127.0.0.1", 5060), Deadlines(), iter("abcdefgh").__next__)
    rig.turn.endpoint = endpoint

    def broken(event: Any, now: float) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.turn.b2bua, "handle", broken)
    rig.turn.hear(
        b"INVITE sip:+1@gate SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n"
        b"From: <sip:a@pbx>;tag=1\r\nTo: <sip:+1@gate>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
        b"Contact: <sip:a@127.0.0.2>\r\nContent-Length: 0\r\n\r\n",
        PEER,
    )
    rig.end_turn()
    (sent,) = [each for each in rig.done if isinstance(each, tuple)]
    assert sent[0][:3] == PEER[:3]
    assert sent[1].startswith(b"SIP/2.0 500 ")
    assert b'Warning: 399 callgate "INTERNAL: ' in sent[1]
    assert b"Reason: Q.850;cause=41;" in sent[1]


def test_what_may_not_be_said_now_waits_while_the_store_is_told_all_the_same(rig: Rig) -> None:
    rig.turn.may_speak = lambda now: now >= 101.0
    rig.turn.hear(b"one", PEER)
    rig.end_turn()
    assert rig.done == [b"do:one", b"fact:one", "armed"]
    rig.now = 101.0
    rig.end_turn()
    assert (PEER, b"re:one") in rig.done
