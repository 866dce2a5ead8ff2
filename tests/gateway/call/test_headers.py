"""Which headers cross: the one table, applied to whole calls."""

import pytest

from gateway.call.headers import CROSSING, Crossing
from gateway.sip.grammar import HEADER_NAMES
from tests.gateway.call.world import REPLY, World

CROSSES = [
    ("P-Asserted-Identity", "<sip:+14255550100@pbx>"),
    ("Privacy", "id"),
    ("History-Info", "<sip:a@b>;index=1"),
    ("Diversion", "<sip:a@b>;reason=unconditional"),
    ("Subject", "lunch"),
    ("Expires", "120"),
    ("Date", "Sat, 13 Nov 2010 23:29:00 GMT"),
    ("Geolocation", "<cid:target@example.com>"),
    ("User-to-User", "00"),
    ("Accept", "application/sdp"),
    ("Content-Disposition", "session"),
    ("Recv-Info", "dtmf"),
    ("X-Vendor", "anything"),
]
STAYS = [
    ("X-Callgate-User", "alice@contoso.com"),
    ("x-callgate-kind", "conference"),
    ("X-CALLGATE-NEW", "whatever comes later"),
    ("Authorization", 'Digest username="a"'),
    ("Proxy-Authorization", 'Digest username="a"'),
    ("Record-Route", "<sip:10.0.0.9;lr>"),
    ("Session-Expires", "1800"),
    ("Min-SE", "90"),
    ("Replaces", "a@b;to-tag=1;from-tag=2"),
    ("Timestamp", "54"),
    ("User-Agent", "pbx/1"),
    ("Security-Client", "tls"),
]


@pytest.mark.parametrize("header", CROSSES, ids=lambda header: str(header[0]))
def test_it_crosses_to_the_called_side(header: tuple[str, str]) -> None:
    world = World()
    world.caller.invite(headers=(header,))
    assert world.called.request("INVITE").get(header[0]) == header[1]


@pytest.mark.parametrize("header", STAYS, ids=lambda header: str(header[0]))
def test_it_stays_on_its_leg(header: tuple[str, str]) -> None:
    world = World()
    world.caller.invite(headers=(header,))
    assert world.called.request("INVITE").get(header[0]) is None


def test_answers_cross_by_the_same_table() -> None:
    world = World()
    world.caller.invite()
    headers = (
        ("P-Asserted-Identity", "<sip:b@c>"), ("Server", "carrier/2"), ("X-Callgate-User", "x"), ("Retry-After", "9"),
        ("Allow", "INVITE, REFER, UPDATE, NOTIFY"), ("Supported", "100rel, replaces, timer"),
    )  # fmt: skip
    world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=headers)
    answer = world.caller.response(200, "INVITE")
    assert answer.get("P-Asserted-Identity") == "<sip:b@c>"
    assert answer.get("Allow") == "INVITE, UPDATE"
    assert answer.get("Supported") == "100rel"
    for name in ("Server", "X-Callgate-User", "Retry-After"):
        assert answer.get(name) is None


def test_bye_and_ack_carry_what_the_side_said() -> None:
    world = World()
    dialog, _ = world.talk()
    said = (("X-RTP-Stat", "PS=1"), ("X-Callgate-User", "x"), ("Reason", "Q.850;cause=16"))
    world.caller.send(dialog, "BYE", headers=said)
    bye = world.called.request("BYE")
    assert (bye.get("X-RTP-Stat"), bye.get("X-Callgate-User"), bye.get("Reason")) == ("PS=1", None, "Q.850;cause=16")


@pytest.mark.parametrize(("came", "leaves"), [(70, 69), (5, 4), (2, 1)])
def test_max_forwards_leaves_one_less(came: int, leaves: int) -> None:
    world = World()
    world.caller.invite(max_forwards=came)
    assert world.called.request("INVITE").max_forwards == leaves


def test_max_forwards_0_goes_no_further() -> None:
    world = World()
    world.caller.invite(max_forwards=0)
    assert world.called.story() == ""
    assert len(world.b2bua) == 0


def test_allow_promises_what_the_gate_carries() -> None:
    world = World()
    world.caller.invite(headers=(("Allow", "INVITE, ACK, REFER, UPDATE, SUBSCRIBE, INFO, BYE"),))
    assert world.called.request("INVITE").get("Allow") == "INVITE, ACK, UPDATE, INFO, BYE"


def test_require_of_the_ends_crosses() -> None:
    world = World()
    world.caller.invite(headers=(("Require", "100rel"),))
    assert world.called.request("INVITE").get("Require") == "100rel"


def test_a_route_of_the_caller_is_used_for_requests_to_it_and_does_not_cross() -> None:
    world = World()
    world.caller.invite(headers=(("Record-Route", "<sip:10.0.0.4:5060;lr>"),))
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.caller.response(200, "INVITE").get("Record-Route") == "<sip:10.0.0.4:5060;lr>"
    world.caller.ack(world.caller.dialog())
    world.b2bua.cut_ordinary(world.now)
    world.settle()
    assert world.spare.request("BYE").get("Route") == "<sip:10.0.0.4:5060;lr>"
    assert world.called.request("BYE").get("Route") is None


def test_order_and_repetition_are_kept() -> None:
    lines = (("History-Info", "<sip:a>"), ("X-A", "1"), ("History-Info", "<sip:b>"), ("X-A", "2"))
    world = World()
    world.caller.invite(headers=(*lines, ("X-Callgate-Kind", "user"), ("Allow", "INVITE"), ("Allow", "REFER, INFO")))
    sent = world.called.request("INVITE")
    assert tuple(line for line in sent.header_lines() if line[0] in ("History-Info", "X-A")) == lines
    assert sent.all("Allow") == ["INVITE", "INFO"]


def test_the_table_names_headers_as_the_parser_does() -> None:
    assert set(CROSSING) <= HEADER_NAMES | {"Max-Breadth", "Proxy-Authentication-Info"}
    assert CROSSING["Via"] is Crossing.NEVER
