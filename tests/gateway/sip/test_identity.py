"""Who the endpoint is towards peers of either address family (RFC 5118 4.1, 4.5: brackets in Via and Contact)."""

from itertools import count

import pytest

from gateway.sip.address import parse_via
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow
from gateway.sip.message import Request, parse

FOUR = Flow("udp", "192.0.2.2", 5060)
SIX = Flow("udp", "2001:db8::2", 5060)


def both() -> Identity:
    six = Identity("2001:db8::1", 5060, ports={"tls": 5061})
    return Identity("192.0.2.1", 5070, ports={"tls": 5071}, other=six)


def test_each_family_is_told_its_own_address() -> None:
    identity = both()
    assert identity.towards("192.0.2.2") is identity
    assert identity.towards("2001:db8::2").contact("tls") == "<sip:[2001:db8::1]:5061;transport=tls>"
    assert Identity("192.0.2.1", 5060).towards("::1").host == "192.0.2.1"


@pytest.mark.parametrize(("flow", "host"), [(FOUR, "192.0.2.1:5070"), (SIX, "[2001:db8::1]:5060")])
def test_requests_say_it_in_via_and_contact(flow: Flow, host: str) -> None:
    tokens = count(1)
    endpoint = Endpoint(both(), Deadlines(), lambda: f"t{next(tokens)}")
    endpoint.request(
        "OPTIONS", "sip:x@h", flow, from_="<sip:a@h>;tag=1", to="<sip:x@h>", call_id="c", cseq=1,
        contact=endpoint.contact(flow), now=0.0,
    )  # fmt: skip
    (sent,) = endpoint.take_output()
    request = parse(sent.data)
    assert isinstance(request, Request)
    assert f"{request.top_via.host}:{request.top_via.port}" == host
    assert request.get("Contact") == f"<sip:{host}>"


def test_hops_of_both_are_its_own() -> None:
    identity = both()
    for hop in ("SIP/2.0/UDP 192.0.2.1:5070", "SIP/2.0/UDP [2001:DB8::1]", "SIP/2.0/TLS [2001:db8::1]"):
        assert identity.is_mine(parse_via(f"{hop};branch=z9hG4bK1"))
    assert not identity.is_mine(parse_via("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"))


def test_another_address_of_either_family_is_another_place() -> None:
    moved = Identity("192.0.2.1", 5070, ports={"tls": 5071}, other=Identity("2001:db8::9", 5060))
    assert len({both().place, moved.place, Identity("192.0.2.1", 5070).place}) == 3
