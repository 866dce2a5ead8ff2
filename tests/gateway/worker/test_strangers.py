"""``unknown_source = "drop"``: what is heard of sources that no trunk names."""

import pytest

from gateway.config.values import parse_host_rule
from gateway.sip.events import Flow
from gateway.transport.admission import Sources
from gateway.worker.strangers import LOOKED_AT, is_stranger

KNOWN, BOUND, REBOUND = Flow("udp", "10.0.0.2", 5060), Flow("udp", "192.0.2.7", 5060), Flow("udp", "192.0.2.7", 6000)
SOURCES = Sources({"pbx": [parse_host_rule("10.0.0.2")]})
TAG = "0123456789abcdef"


def message(method: str, to: str = "To: <sip:b@gate>") -> bytes:
    return f"{method} sip:b@gate SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n{to}\r\nCall-ID: 1\r\n\r\n".encode()


def heard(data: bytes, flow: Flow, *, registers: bool) -> bool:
    def is_bound(host: str, port: int) -> bool:
        return (host, port) == BOUND[1:3]

    return not is_stranger(SOURCES, lambda tag: tag == TAG, is_bound if registers else None)(data, flow)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "ACK", "UPDATE", "INFO"])
@pytest.mark.parametrize("registers", [True, False])
@pytest.mark.parametrize(
    "to",
    [
        f"To: <sip:b@gate>;tag={TAG}",
        f't : "a;tag=b" <sip:b@gate> ; x=1 ; Tag = {TAG};y',
        f"to: <sip:b@gate>\r\n ;tag={TAG}",
    ],
)
def test_a_peer_whose_address_changed_is_heard_in_its_call(method: str, registers: bool, to: str) -> None:
    assert heard(message(method, to), REBOUND, registers=registers)


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "ACK", "CANCEL"])
def test_while_a_trunk_registers_the_first_words_are_heard_to_be_challenged(method: str) -> None:
    assert heard(message(method), REBOUND, registers=True)
    assert not heard(message(method), REBOUND, registers=False)


@pytest.mark.parametrize(
    "data",
    [
        message("OPTIONS"),
        message("BYE", "To: <sip:b@gate>;tag=other"),
        message("BYE", f"From: <sip:b@gate>;tag={TAG}"),
        message("BYE", f"X: {'y' * LOOKED_AT}\r\nTo: <sip:b@gate>;tag={TAG}"),
        b"nonsense",
    ],
)
@pytest.mark.parametrize("registers", [True, False])
def test_all_else_is_dropped(data: bytes, registers: bool) -> None:
    assert not heard(data, REBOUND, registers=registers)
    assert heard(data, KNOWN, registers=registers)


def test_who_registered_is_heard_where_it_did_and_answers_from_anywhere() -> None:
    assert heard(message("OPTIONS"), BOUND, registers=True)
    assert heard(b"SIP/2.0 200 OK\r\n\r\n", REBOUND, registers=False)
