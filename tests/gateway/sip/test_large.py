"""Requests too large for a datagram: by TCP where the peer is to be asked by it, and as datagrams after all."""

from itertools import count

import pytest

from gateway.sip import large as large_module
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow, RequestFailed, ResponseArrived, Send
from gateway.sip.large import DATAGRAM_SIZE, REST_S, TRY_S
from gateway.sip.message import Request, parse
from gateway.sip.transaction import ClientTransaction

PEER = Flow("udp", "192.0.2.2", 5060)
PEER_TCP = Flow("tcp", "192.0.2.2", 5060)


class Ann:
    """An endpoint that sends; ``sent`` is what left since the last look."""

    def __init__(self, *, asks: bool = True) -> None:
        tokens = count(1)
        self.deadlines = Deadlines()
        identity = Identity("192.0.2.1", 5060, ports={"tcp": 5062})
        self.endpoint = Endpoint(identity, self.deadlines, lambda: f"t{next(tokens)}")
        if asks:
            self.endpoint.large.peers = frozenset({(PEER.host, PEER.port)})

    def ask(self, method: str = "INVITE", size: int = 1300, now: float = 0.0) -> ClientTransaction:
        return self.endpoint.request(
            method, "sip:bob@192.0.2.2", PEER, from_="<sip:ann@192.0.2.1>;tag=a", to="<sip:bob@192.0.2.2>",
            call_id="c", cseq=1, contact="<sip:192.0.2.1>", body=b"x" * size, content_type="text/plain", now=now,
        )  # fmt: skip

    def sent(self) -> list[Send]:
        return self.endpoint.take_output()

    def answer(self, request: Send, status: int) -> None:
        asked = parse(request.data)
        assert isinstance(asked, Request)
        echo = "".join(f"{name}: {asked.get(name)}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
        data = f"SIP/2.0 {status} X\r\n{echo}To: {asked.get('To')};tag=b\r\nContent-Length: 0\r\n\r\n".encode()
        self.endpoint.receive(data, request.flow, 0.0)


def via(sent: Send) -> str:
    request = parse(sent.data)
    return request.get("Via") or ""


def test_a_large_request_goes_by_tcp_with_a_via_that_says_so() -> None:
    ann = Ann()
    ann.ask()
    (sent,) = ann.sent()
    assert sent.flow == PEER_TCP
    assert via(sent).startswith("SIP/2.0/TCP 192.0.2.1:5062;rport;branch=z9hG4bK")
    assert len(sent.data) > DATAGRAM_SIZE
    ann.answer(sent, 180)
    ann.deadlines.run(31.0)
    assert ann.sent() == []


@pytest.mark.parametrize(("asks", "size"), [(False, 1300), (True, 100)])
def test_others_go_as_datagrams(asks: bool, size: int) -> None:
    ann = Ann(asks=asks)
    ann.ask(size=size)
    (sent,) = ann.sent()
    assert sent.flow == PEER
    assert via(sent).startswith("SIP/2.0/UDP 192.0.2.1:5060;")


def test_cancel_and_ack_follow_their_invite() -> None:
    ann = Ann()
    invite = ann.ask()
    (sent,) = ann.sent()
    ann.answer(sent, 180)
    ann.endpoint.cancel(invite, now=0.1)
    (cancel,) = ann.sent()
    assert (cancel.flow, via(cancel)) == (PEER_TCP, via(sent))
    ann.answer(sent, 487)
    (ack,) = ann.sent()
    assert (ack.flow, via(ack)) == (PEER_TCP, via(sent))


@pytest.mark.parametrize("method", ["INVITE", "INFO"])
def test_refused_it_goes_as_a_datagram_and_is_repeated_as_one(method: str) -> None:
    ann = Ann()
    ann.ask(method)
    (by_tcp,) = ann.sent()
    ann.endpoint.send_failed(PEER_TCP, 0.1)
    (datagram,) = ann.sent()
    assert datagram.flow == PEER
    assert via(datagram).startswith("SIP/2.0/UDP 192.0.2.1:5060;")
    assert via(datagram).partition("branch=")[2] == via(by_tcp).partition("branch=")[2]
    ann.deadlines.run(0.61)
    assert ann.sent() == [datagram]
    ann.answer(datagram, 200)
    assert [type(event) for event in ann.endpoint.take_events()] == [ResponseArrived]


def test_unanswered_for_a_second_it_goes_as_a_datagram() -> None:
    ann = Ann()
    ann.ask()
    ann.sent()
    ann.deadlines.run(TRY_S - 0.01)
    assert ann.sent() == []
    ann.deadlines.run(TRY_S)
    (datagram,) = ann.sent()
    assert datagram.flow == PEER
    ann.endpoint.send_failed(PEER_TCP, 1.5)
    assert ann.endpoint.take_events() == []
    ann.endpoint.send_failed(PEER, 1.6)
    (failed,) = ann.endpoint.take_events()
    assert isinstance(failed, RequestFailed)
    assert not failed.timeout


def test_silent_both_ways_it_fails_by_timer_b_counted_from_the_datagram() -> None:
    ann = Ann()
    ann.ask()
    for at_s in range(1, 33):
        ann.deadlines.run(float(at_s))
        assert ann.endpoint.take_events() == []
    ann.deadlines.run(33.1)
    (failed,) = ann.endpoint.take_events()
    assert isinstance(failed, RequestFailed)
    assert failed.timeout
    assert ann.endpoint.load == 0


def test_nothing_is_kept_of_a_try_that_was_answered() -> None:
    ann = Ann()
    ann.ask("INFO")
    (sent,) = ann.sent()
    ann.answer(sent, 200)
    assert ann.endpoint._layer.spares == {}
    ann.deadlines.run(TRY_S)
    assert ann.sent() == []


def test_a_peer_that_fails_by_tcp_is_sent_datagrams_for_some_minutes() -> None:
    ann = Ann()
    ann.ask()
    ann.sent()
    ann.deadlines.run(TRY_S)
    assert [sent.flow for sent in ann.sent()] == [PEER]
    ann.ask(now=TRY_S + REST_S - 0.1)
    (sent,) = ann.sent()
    assert (sent.flow, via(sent)[:11]) == (PEER, "SIP/2.0/UDP")
    ann.ask(now=TRY_S + REST_S)
    assert [sent.flow for sent in ann.sent()] == [PEER_TCP]


def test_the_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_module, "RESTING_MAX", 3)
    large = Ann().endpoint.large
    for port in range(5060, 5070):
        large.note_failure(Flow("udp", "192.0.2.2", port), 0.0)
        assert len(large._resting) <= 3


def test_how_long_tcp_is_tried_may_be_set_shorter() -> None:
    ann = Ann()
    ann.endpoint.large.try_s = 0.25
    ann.ask()
    ann.sent()
    ann.deadlines.run(0.25)
    assert [sent.flow for sent in ann.sent()] == [PEER]
