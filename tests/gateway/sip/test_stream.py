"""Framing on streams: any pieces give the same messages, and what cannot be read on says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow, RequestArrived
from gateway.sip.stream import KEEPALIVE_LIMIT, MESSAGE_LIMIT, BadFrame, StreamFramer


def info(number: int, body: bytes = b"", length: bytes = b"Content-Length: %d\r\n") -> bytes:
    return (
        b"INFO sip:gate.example SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK%d\r\n"
        b"From: <sip:ann@pbx.example>;tag=f\r\nTo: <sip:gate.example>;tag=t\r\nCall-ID: c\r\nCSeq: %d INFO\r\n"
        % (number, number)
        + (length % len(body) if b"%d" in length else length)
        + b"\r\n"
        + body
    )


MESSAGES = [info(1), info(2, b"two\r\n\r\nlines"), info(3, bytes(300)), info(4, b"x", b"l :\r\n  %d\r\n")]


def test_byte_by_byte() -> None:
    framer = StreamFramer()
    stream = b"\r\n\r\n" + b"\r\n\r\n".join(MESSAGES)
    found = [message for octet in stream for message in framer.feed(bytes([octet]))]
    assert found == MESSAGES
    assert framer.pending == 0


@given(st.lists(st.integers(0, 1200), max_size=12))
def test_pieces_of_any_size(cuts: list[int]) -> None:
    framer, stream, at, found = StreamFramer(), b"\r\n".join(MESSAGES), 0, []
    for cut in sorted(cuts):
        found += framer.feed(stream[at:cut])
        at = max(at, cut)
    assert found + framer.feed(stream[at:]) == MESSAGES


def test_a_body_that_does_not_come_stays_pending() -> None:
    framer = StreamFramer()
    whole = info(1, b"0123456789")
    assert framer.feed(whole[:-1]) == []
    assert framer.pending == len(whole) - 1
    assert framer.feed(whole[-1:]) == [whole]


@pytest.mark.parametrize(
    "length",
    [
        b"",
        b"Content-Length: -1\r\n",
        b"Content-Length: ten\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 1\r\nl: 2\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Content-Length: 70000\r\n",
    ],
)
def test_a_message_without_a_known_end_gets_400_and_ends_the_stream(length: bytes) -> None:
    framer = StreamFramer()
    with pytest.raises(BadFrame) as caught:
        framer.feed(info(1) + info(2, b"", length))
    assert caught.value.complete == [info(1)]
    endpoint = Endpoint(Identity("127.0.0.1", 5060), Deadlines(), iter(f"token{n}" for n in range(9)).__next__)
    endpoint.receive(caught.value.data, Flow("tcp", "192.0.2.1", 40_000, 3), 0.0)
    assert endpoint.take_events() == []
    (answer,) = endpoint.take_output()
    assert answer.data.startswith(b"SIP/2.0 400 ")
    assert answer.flow == Flow("tcp", "192.0.2.1", 40_000, 3)


def test_the_same_length_twice_still_ends_somewhere_but_is_refused_above() -> None:
    data = info(1, b"x", b"Content-Length: 1\r\nContent-Length: 1\r\n")
    assert StreamFramer().feed(data) == [data]


def test_limits() -> None:
    with pytest.raises(BadFrame, match="no message head ends") as caught:
        StreamFramer().feed(b"a" * (MESSAGE_LIMIT + 1))
    assert caught.value.data == b""
    with pytest.raises(BadFrame, match="no keep-alive"):
        StreamFramer().feed(b"\r\n" * KEEPALIVE_LIMIT)
    largest = info(1, bytes(MESSAGE_LIMIT - len(info(1, b"", b"Content-Length: 65000\r\n"))))
    assert StreamFramer().feed(largest) == [largest]


def test_a_slow_sender_of_a_long_head_costs_no_more_than_a_fast_one() -> None:
    framer = StreamFramer()
    head = info(1, b"", b"X: " + b"y" * 50_000 + b"\r\nContent-Length: 0\r\n")
    assert [message for octet in head for message in framer.feed(bytes([octet]))] == [head]


def test_what_is_framed_is_understood() -> None:
    endpoint = Endpoint(Identity("127.0.0.1", 5060), Deadlines(), iter(f"token{n}" for n in range(9)).__next__)
    for message in StreamFramer().feed(b"".join(MESSAGES)):
        endpoint.receive(message, Flow("tcp", "192.0.2.1", 40_000, 3), 0.0)
    events = endpoint.take_events()
    assert [event.request.body for event in events if isinstance(event, RequestArrived)] == [
        b"", b"two\r\n\r\nlines", bytes(300), b"x",
    ]  # fmt: skip


def test_a_double_line_end_is_a_ping_in_whatever_pieces_it_comes() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == []
    assert framer.take_pings() == 1
    assert framer.take_pings() == 0
    for piece in (b"\r\n", b"\r", b"\n"):
        assert framer.take_pings() == 0
        framer.feed(piece)
    assert framer.take_pings() == 1
    assert framer.feed(b"\r\n\r\n\r\n\r\n" + MESSAGES[0] + b"\r\n\r\n") == [MESSAGES[0]]
    assert framer.take_pings() == 3


def test_one_line_end_before_a_message_is_no_ping() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n" + MESSAGES[0] + b"\r\n" + MESSAGES[0]) == [MESSAGES[0], MESSAGES[0]]
    assert framer.take_pings() == 0
