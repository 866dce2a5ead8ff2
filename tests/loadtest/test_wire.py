"""The tester's own reader: what it takes apart, and what it refuses to call SIP."""

import pytest

from loadtest.wire import (
    Address,
    Dialog,
    MalformedError,
    address_of,
    hear,
    origin_of,
    reason_code,
    request,
    response,
    routes_in,
    sdp,
    sip_cause,
    tag_of,
    uri_in,
    user_of,
)

INVITE = (
    b"INVITE sip:+12125550100@gate SIP/2.0\r\n"
    b"v: SIP/2.0/UDP a.example;branch=z9hG4bK77\r\nVia: SIP/2.0/UDP b.example;branch=z9hG4bK88\r\n"
    b'Max-Forwards: 70\r\nf: "A;tag=no" <sip:a@b>\r\n ;tag=yes\r\nTo: <sip:+12125550100@gate>\r\n'
    b"i: 1@b\r\nCSeq: 7 INVITE\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nm: <sip:a@127.0.0.9:5070;x=1>\r\n"
    b"l: 2\r\n\r\nhi"
)


def test_a_request_is_taken_apart() -> None:
    heard = hear(INVITE)
    assert (heard.status, heard.method, heard.cseq, heard.call_id) == (0, "INVITE", 7, "1@b")
    assert heard.branch == "z9hG4bK77"
    assert len(heard.headers["via"]) == 2
    assert tag_of(heard.first("from")) == "yes"
    assert user_of(heard.uri) == "+12125550100"
    assert routes_in(heard) == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert uri_in(heard.first("contact")) == "sip:a@127.0.0.9:5070;x=1"
    assert address_of(heard.first("contact")) == Address("127.0.0.9", 5070)
    assert heard.body == "hi"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"\r\n\r\nhi", b"\r\n", "no empty line"),
        (b"i: 1@b\r\n", b"", "call-id is missing"),
        (b"l: 2", b"l: 3", "Content-Length 3"),
        (b"CSeq: 7 INVITE", b"CSeq: x INVITE", "CSeq"),
        (b"CSeq: 7 INVITE", b"CSeq: 7 BYE", "CSeq method"),
        (b"gate SIP/2.0", b"gate SIP/3.0", "start line"),
        (b"INVITE sip", b"SIP/2.0 99 sip", "status"),
        (b"Max-Forwards: 70", b"Max-Forwards 70", "no colon"),
        (b"v: SIP", b" v: SIP", "folding"),
    ],
)
def test_what_a_gate_may_not_send_is_malformed(old: bytes, new: bytes, fault: str) -> None:
    with pytest.raises(MalformedError, match=fault):
        hear(INVITE.replace(old, new))


def test_an_answer_carries_back_what_it_must() -> None:
    answer = hear(response(hear(INVITE), 180, "t1", "sip:b@127.0.0.3:5090"))
    assert (answer.status, answer.method, answer.cseq) == (180, "INVITE", 7)
    assert [via.partition("branch=")[2] for via in answer.headers["via"]] == ["z9hG4bK77", "z9hG4bK88"]
    assert tag_of(answer.first("to")) == "t1"
    assert uri_in(answer.first("contact")) == "sip:b@127.0.0.3:5090"
    assert routes_in(answer) == ["<sip:p1;lr>", "<sip:p2;lr>"]


def test_a_request_in_a_dialog_follows_contact_and_route() -> None:
    here = Address("::1", 5061)
    dialog = Dialog(here, "1@b", "<sip:a@b>;tag=1", "<sip:b@c>;tag=2", "sip:a@[::1]:5061", "sip:b@c", here, cseq=3)
    dialog.learn("sip:b@127.0.0.3:5090", ["<sip:127.0.0.4:5062;lr>"])
    heard = hear(request(dialog, "BYE", "z9hG4bK1"))
    assert heard.uri == "sip:b@127.0.0.3:5090"
    assert heard.first("route") == "<sip:127.0.0.4:5062;lr>"
    assert dialog.next_hop == Address("127.0.0.4", 5062)
    assert "[::1]:5061" in heard.first("via")


def test_reasons_of_the_gate_are_read() -> None:
    text = INVITE.replace(
        b"l: 2",
        b'Warning: 399 callgate "NO_CREDIT: credit exhausted"\r\nReason: Q.850;cause=21, SIP ;cause=402\r\nl: 2',
    )
    assert reason_code(hear(text)) == "NO_CREDIT"
    assert sip_cause(hear(text)) == 402
    assert sip_cause(hear(text.replace(b", SIP ;cause=402", b'\r\nReason: SIP;text="x";cause=403'))) == 403
    assert reason_code(hear(INVITE)) == ""
    assert sip_cause(hear(INVITE)) == 0


def test_the_session_description_says_which_call_it_is() -> None:
    assert origin_of(sdp(Address("::1", 1), 42)) == 42
    assert origin_of("v=0\r\no=alice 1 1 IN IP4 x\r\n") == 0


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:127.0.0.1", Address("127.0.0.1", 5060)),
        ("<sip:a:b@[::1]:5070;transport=udp>", Address("::1", 5070)),
        ("sips:a@host.example", Address("host.example", 5060)),
        ("tel:+1", None),
    ],
)
def test_a_uri_names_an_address(uri: str, address: Address | None) -> None:
    assert address_of(uri) == address
