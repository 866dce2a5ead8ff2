"""From an INVITE to policy's question."""

import pytest

from gateway.call.intake import call_request, dialled_of
from gateway.sip.message import Request, parse
from gateway.sip.uri import parse_uri


def invite(uri: str = "sip:100@gate", *headers: str, from_: str = "<sip:+14255550100@pbx>") -> Request:
    lines = "\r\n".join(
        (f"INVITE {uri} SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", f"From: {from_};tag=1", "To: <sip:b@x>",
         "Call-ID: c", "CSeq: 1 INVITE", *headers, "Content-Length: 0")
    )  # fmt: skip
    message = parse(f"{lines}\r\n\r\n".encode())
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    ("uri", "dialled"),
    [
        ("sip:+14255550123@gate", "+14255550123"),
        ("sip:0014255550123@gate;user=phone", "0014255550123"),
        ("sip:%2B14255550123@gate", "+14255550123"),
        ("sip:+1-425-555-0123@gate;user=phone", "+1-425-555-0123"),
        ("sip:+14255550123;npdi;rn=+1206@gate", "+14255550123"),
        ("sips:911@gate", "911"),
        ("tel:+1-425-555-0123", "+14255550123"),
        ("tel:5550123;phone-context=+1425", "+14255550123"),
        ("tel:5550123;phone-context=example.com", "5550123"),
        ("urn:service:sos", "urn:service:sos"),
        ("urn:service:SOS.fire", "urn:service:sos.fire"),
        ("sip:gate", ""),
        ("sip:sip%3Auser%40example.com@gate", "sip:user@example.com"),
    ],
)
def test_what_was_dialled(uri: str, dialled: str) -> None:
    assert dialled_of(parse_uri(uri)) == dialled


@pytest.mark.parametrize(
    ("headers", "from_", "caller"),
    [
        ((), "<sip:+14255550100@pbx>", "+14255550100"),
        ((), '"Alice" <tel:+1-425-555-0100>', "+14255550100"),
        (("P-Asserted-Identity: <sip:+14255550111@pbx>",), "<sip:anonymous@anonymous.invalid>", "+14255550111"),
        (('P-Asserted-Identity: "A, B" <sip:+14255550111@pbx>, <tel:+1>',), "<sip:x@y>", "+14255550111"),
        (("P-Asserted-Identity: <tel:+14255550112>",), "<sip:x@y>", "+14255550112"),
        (("P-Asserted-Identity: nonsense <",), "<sip:+14255550100@pbx>", "+14255550100"),
        (("P-Asserted-Identity: <sip:pbx>",), "<sip:+14255550100@pbx>", "+14255550100"),
        ((), "<sip:anonymous@anonymous.invalid>", "anonymous"),
        ((), "<mailto:a@b.c>", ""),
    ],
)
def test_who_calls(headers: tuple[str, ...], from_: str, caller: str) -> None:
    assert call_request(invite("sip:1@gate", *headers, from_=from_), "pbx", True, 0).caller == caller


def test_x_callgate_counts_from_access_trunks_only() -> None:
    message = invite(
        "sip:1@gate", "X-Callgate-User: alice@contoso.com", "x-callgate-kind:  Conference ", "X-Callgate-Conference: c1"
    )
    asked = call_request(message, "pbx", True, 7)
    assert (asked.trunk, asked.at_unix_ms) == ("pbx", 7)
    assert (asked.x_user, asked.x_kind, asked.x_conference) == ("alice@contoso.com", "conference", "c1")
    ignored = call_request(message, "carrier", False, 7)
    assert (ignored.x_user, ignored.x_kind, ignored.x_conference) == ("", "", "")


def test_a_private_value_is_bounded() -> None:
    asked = call_request(invite("sip:1@gate", "X-Callgate-User: " + "a" * 5000), "pbx", True, 0)
    assert len(asked.x_user) == 256


def test_a_carrier_that_calls_the_registered_contact_names_the_number_in_to() -> None:
    text = INVITE_TO_CONTACT.format(uri="sip:gate@192.0.2.1")
    request = parse(text.encode())
    assert isinstance(request, Request)
    assert call_request(request, "carrier", False, 0, "gate").dialled == "+18005550199"
    assert call_request(request, "carrier", False, 0, "another").dialled == "gate"
    other = parse(INVITE_TO_CONTACT.format(uri="sip:+18005550100@192.0.2.1").encode())
    assert isinstance(other, Request)
    assert call_request(other, "carrier", False, 0, "gate").dialled == "+18005550100"


INVITE_TO_CONTACT = (
    "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    "From: <sip:+1425@c>;tag=1\r\nTo: <sip:+18005550199@carrier.example>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
    "Contact: <sip:192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (("Diversion: <sip:+14255550101@pbx>;reason=no-answer, <sip:+14255550102@pbx>",), "+14255550101"),
        (("Diversion: <tel:+1-425-555-0101>", "History-Info: <sip:9@pbx?Reason=SIP>;index=1"), "+14255550101"),
        (("Diversion: rubbish <",), ""),
        (
            (
                "History-Info: <sip:+14255550101@pbx?Reason=SIP%3Bcause%3D302>;index=1",
                "History-Info: <sip:+14255550123@pbx;cause=302>;index=1.1;mp=1",
            ),
            "+14255550101",
        ),
        (("History-Info: <sip:1@p>;index=1, <sip:2@p?Reason=SIP%3Bcause%3D486>;index=1.1, <sip:3@p>;index=2",), "2"),
        (("History-Info: <sip:+14255550123@pbx>;index=1",), ""),
        ((), ""),
    ],
)
def test_who_forwarded_last(lines: tuple[str, ...], number: str) -> None:
    request = invite("sip:1@gate", *lines)
    assert call_request(request, "pbx", True, 0).forwarder == number
    assert call_request(request, "carrier", False, 0).forwarder == ""
    assert call_request(request, "pbx", True, 0, is_trusted=False).forwarder == ""
