"""Reading and writing messages: what one writes the other reads, and any bytes at all are read or refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.sip.build import build_request, build_response, echo_of
from gateway.sip.errors import BadMessage
from gateway.sip.grammar import COMPACT_NAMES, HEADER_NAMES, TCHAR
from gateway.sip.message import DEFAULT_SIZE, Request, Response, Size, parse
from tests.gateway.sip.torture_cases import DROPPED, REFUSED, TAKEN

INVITE = (
    b"INVITE sip:+14255550123@gate.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa1;rport\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.1, SIP/2.0/TCP 10.0.0.2\r\n"
    b"Max-Forwards: 69\r\n"
    b"Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n"
    b"Record-Route: <sip:p3.example;lr>\r\n"
    b'From: "Ann" <sip:ann@pbx.example>;tag=f1\r\n'
    b"To: <sip:+14255550123@gate.example>\r\n"
    b"Call-ID: c1@pbx.example\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:ann@192.0.2.1>\r\n"
    b"Supported: 100rel, timer\r\n"
    b"X-Vendor-Thing: 1\r\n"
    b"x-vendor-thing: 2\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 3\r\n\r\nv=0"
)


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def response(data: bytes) -> Response:
    message = parse(data)
    assert isinstance(message, Response)
    return message


def bad(data: bytes, size: Size = DEFAULT_SIZE, *, stream: bool = False) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse(data, size, stream=stream)
    return caught.value


def test_a_request() -> None:
    invite = request(INVITE)
    assert (invite.method, invite.uri, invite.body) == ("INVITE", "sip:+14255550123@gate.example", b"v=0")
    assert (invite.call_id, invite.cseq, invite.max_forwards) == ("c1@pbx.example", (7, "INVITE"), 69)
    assert (invite.from_.display, invite.from_.tag, invite.to.tag) == ("Ann", "f1", "")
    assert invite.contact is not None
    assert invite.contact.uri == "sip:ann@192.0.2.1"
    assert (invite.top_via.branch, invite.via_count) == ("z9hG4bKa1", 3)


def test_header_lookup() -> None:
    invite = request(INVITE)
    assert invite.get("Supported") == invite.get("supported") == invite.get("k") == "100rel, timer"
    assert invite.get("X-VENDOR-THING") == invite.get("x-vendor-thing") == "1"
    assert invite.all("X-Vendor-Thing") == ["1", "2"]
    assert invite.get("Subject") is None
    assert invite.all("Subject") == invite.values("Subject") == []
    assert invite.values("Record-Route") == ["<sip:p1.example;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"]
    assert invite.all("Record-Route") == ["<sip:p1.example;lr>, <sip:p2.example;lr>", "<sip:p3.example;lr>"]
    assert [name for name, _ in invite.header_lines()][-4:] == [
        "X-Vendor-Thing", "x-vendor-thing", "Content-Type", "Content-Length",
    ]  # fmt: skip


def test_a_message_in_which_no_name_repeats_keeps_its_order_too() -> None:
    lines = [
        ("Via", "SIP/2.0/UDP a"), ("To", "<sip:b@c>"), ("Subject", "x: y"), ("From", "<sip:a@c>"),
        ("CSeq", "1 BYE"), ("Call-ID", "i"),
    ]  # fmt: skip
    text = "BYE sip:b@c SIP/2.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    assert list(request(text.encode()).header_lines()) == lines
    odd = text.replace("Call-ID", "i").replace("Subject", "s").replace("CSeq", "CSEQ")
    assert list(request(odd.encode()).header_lines()) == lines


def test_a_response() -> None:
    ringing = response(
        INVITE.replace(b"INVITE sip:+14255550123@gate.example SIP/2.0", b"SIP/2.0 180 Il sonne \xe2\x98\x8e")
    )
    assert (ringing.status, ringing.reason, ringing.branch) == (180, "Il sonne ☎", "z9hG4bKa1")
    assert response(b"SIP/2.0 100" + INVITE[INVITE.index(b"\r\n") :]).reason == ""


def test_what_is_broken_in_a_response_is_told_when_it_is_asked_for_and_never_raised_by_its_parties() -> None:
    text = INVITE.replace(b"INVITE sip:+14255550123@gate.example SIP/2.0", b"SIP/2.0 200 OK")
    broken = response(text.replace(b'"Ann"', b'"Ann').replace(b"To: <", b"To: <<").replace(b"UDP 192", b"UDP;192"))
    assert (broken.from_.uri, broken.to.uri, broken.to.tag, broken.contact is None) == ("", "", "", False)
    with pytest.raises(BadMessage):
        _ = broken.top_via
    assert response(text.replace(b"/UDP 192.0.2.1:5060;", b"/UDP ;;")).branch in ("", "z9hG4bKa1")


@pytest.mark.parametrize("status", [b"99", b"099", b"700", b"2000", b"20", b"-200", b"2 0", "２００".encode(), b""])
def test_statuses_that_are_none(status: bytes) -> None:
    assert bad(b"SIP/2.0 " + status + b" OK" + INVITE[INVITE.index(b"\r\n") :]).request is None


def test_header_bytes_that_are_no_utf_8_are_read_as_latin_1() -> None:
    invite = request(INVITE.replace(b'"Ann"', b'"J\xfcrgen"'))
    assert invite.from_.display == "Jürgen"
    echo_of(invite)
    assert '"Jürgen"'.encode() in build_response(invite, 100)


def test_padded_values_are_read_like_others() -> None:
    padded = INVITE
    for name in (b"Content-Length", b"Max-Forwards", b"CSeq", b"From", b"To", b"Via", b"Call-ID"):
        padded = padded.replace(b"\r\n" + name + b": ", b"\r\n" + name + b":  \t ")
    invite = request(padded.replace(b"Supported: 100rel, timer\r\n", b"Supported:  100rel, timer \t\r\n"))
    assert (invite.body, invite.max_forwards, invite.cseq, invite.from_.tag) == (b"v=0", 69, (7, "INVITE"), "f1")
    assert invite.get("Supported") == "100rel, timer"
    only_length = request(INVITE.replace(b"Content-Length: 3", b"Content-Length:        3"))  # as SIPp writes it
    assert only_length.body == b"v=0"


def test_a_datagram_without_content_length_is_body_to_its_end_and_a_stream_must_say_it() -> None:
    data = INVITE.replace(b"Content-Length: 3\r\n", b"")
    assert request(data + b"\r\no=-").body == b"v=0\r\no=-"
    fault = bad(data, stream=True)
    assert (fault.status, fault.request is not None) == (400, True)
    assert request(INVITE + b"BYE sip:next").body == b"v=0"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"SIP/2.0\r\n", b"SIP/4.0\r\n", 505),
        (b"SIP/2.0\r\n", b"SIP/2\r\n", 400),
        (b"CSeq: 7 INVITE", b"CSeq: 7 invite", 400),
        (b"CSeq: 7 INVITE", b"CSeq: INVITE", 400),
        (b"CSeq: 7 INVITE", b"CSeq: +7 INVITE", 400),
        (b"CSeq: 7 INVITE", "CSeq: ٧ INVITE".encode(), 400),
        (b"Call-ID: c1@pbx.example", b"Call-ID: c1 c2", 400),
        (b"Call-ID: c1@pbx.example", b"Call-ID:", 400),
        (b"Content-Length: 3", b"Content-Length: 4", 400),
        (b"Content-Length: 3", b"Content-Length: 0x3", 400),
        (b"Content-Length: 3", b"Content-Length: " + b"9" * 5000, 400),
        (b"Max-Forwards: 69", b"Max-Forwards: -1", 400),
        (b"Max-Forwards: 69", b"Max-Forwards: 69\r\nMax-Forwards: 69", 400),
        (b"X-Vendor-Thing: 1", b"X Vendor Thing: 1", 400),
        (b"X-Vendor-Thing: 1", b": 1", 400),
        (b"X-Vendor-Thing: 1", b"no colon", 400),
        (b"X-Vendor-Thing: 1", b"X-Vendor-Thing: a\rb", 400),
        (b"X-Vendor-Thing: 1", b"X-Vendor-Thing: a\nb", 400),
        (b"\r\n\r\n", b"\r\n", 400),
    ],
)
def test_faults_and_the_status_that_fits(old: bytes, new: bytes, status: int) -> None:
    fault = bad(INVITE.replace(old, new, 1))
    assert (fault.status, fault.request is not None, fault.via is not None) == (status, True, True)
    # and neither an ACK nor a response is ever answered
    assert bad(INVITE.replace(b"INVITE", b"ACK").replace(old.replace(b"INVITE", b"ACK"), new, 1)).request is None


def test_limits_of_size() -> None:
    small = Size(message=len(INVITE), headers=15, vias=3)
    assert parse(INVITE, small)
    assert bad(INVITE + b" ", small).status == 513
    assert bad(INVITE, small._replace(headers=14)).status == 513
    assert bad(INVITE, small._replace(vias=2)).status == 483


def test_a_response_repeats_what_it_must() -> None:
    invite = request(INVITE)
    echo_of(invite, invite.top_via.stamped("192.0.2.9", 4000))
    data = build_response(
        invite,
        183,
        to_tag="t1",
        contact="<sip:gate>",
        headers=[("RSeq", "1")],
        body=b"v=1",
        content_type="application/sdp",
    )
    progress = response(data)
    assert progress.values("Via")[0] == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa1;received=192.0.2.9;rport=4000"
    assert progress.values("Via")[1:] == invite.values("Via")[1:]
    assert progress.values("Record-Route") == invite.values("Record-Route")
    assert (progress.call_id, progress.cseq, progress.to.tag) == (invite.call_id, invite.cseq, "t1")
    assert (progress.get("From"), progress.get("RSeq")) == (invite.get("From"), "1")
    assert (progress.body, progress.get("Content-Type"), progress.reason) == (
        b"v=1",
        "application/sdp",
        "Session Progress",
    )


def test_only_a_response_that_makes_a_dialog_has_a_route_and_a_tag_is_added_once() -> None:
    invite = request(INVITE.replace(b"gate.example>\r\n", b"gate.example>;tag=mine\r\n"))
    for status in (100, 404):
        answer = response(build_response(invite, status, "Why not", to_tag="other"))
        assert (answer.get("Record-Route"), answer.to.tag, answer.reason) == (None, "mine", "Why not")


def test_hops_behind_the_first_on_one_line_stay() -> None:
    invite = request(INVITE.replace(b";rport\r\nVia: ", b";rport, "))
    echo_of(invite, invite.top_via.stamped("192.0.2.9", 4000))
    hops = response(build_response(invite, 100)).values("Via")
    assert hops[0].endswith("rport=4000")
    assert hops[1:] == ["SIP/2.0/UDP 10.0.0.1", "SIP/2.0/TCP 10.0.0.2"]


_NAMES = st.one_of(
    st.sampled_from(
        sorted(
            HEADER_NAMES
            - {"Via", "From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards", "Expires", "Route"}
        )
    ),
    st.from_regex(rf"x-{TCHAR}{{1,12}}", fullmatch=True),
)
_VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40).map(
    lambda text: text.strip(" \t")
)


@given(
    headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=12, unique_by=lambda header: header[0].lower()),
    body=st.binary(max_size=60),
    routes=st.lists(st.just("<sip:proxy.example;lr>"), max_size=3),
)
def test_what_is_written_is_read_again(headers: list[tuple[str, str]], body: bytes, routes: list[str]) -> None:
    data = build_request(
        "INVITE",
        "sip:bob@gate.example",
        via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa",
        from_='"Zoë" <sip:zoe@pbx.example>;tag=z',
        to="<sip:bob@gate.example>",
        call_id="c",
        cseq=2,
        route=routes,
        headers=headers,
        body=body,
    )
    invite = request(data)
    read = list(invite.header_lines())
    for name, value in headers:
        assert (name, value) in read
        assert invite.get(name.upper()) is not None
    assert (invite.values("Route")[-len(routes) :] if routes else []) == routes
    assert (invite.body, invite.from_.display, invite.max_forwards) == (body, "Zoë", 70)


def respelled(name: str, choice: int) -> str:
    compact = next((short for short, long in COMPACT_NAMES.items() if long == name), name)
    return (name, name.upper(), name.lower(), compact, compact.upper())[choice]


@given(st.data())
def test_spelling_folding_and_blanks_make_no_difference(data: st.DataObject) -> None:
    head, _, body = INVITE.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    odd = [start]
    for line in lines:
        name, _, value = line.partition(": ")
        name = respelled(name, data.draw(st.integers(0, 4))) + data.draw(st.sampled_from(["", " ", "\t "]))
        gap = st.sampled_from(["", " ", "  ", "\r\n ", " \r\n\t "])
        odd.append(name + ":" + data.draw(gap) + value + data.draw(st.sampled_from(["", " ", "\t"])))
    plain, other = request(INVITE), request("\r\n".join(odd).encode() + b"\r\n\r\n" + body)
    assert [(n.lower(), v) for n, v in other.header_lines()] == [(n.lower(), v) for n, v in plain.header_lines()]
    assert (other.cseq, other.body, other.from_.tag, other.via_count) == (plain.cseq, plain.body, plain.from_.tag, 3)
    assert other.top_via.key == plain.top_via.key


SEEDS = [case.data for case in (*TAKEN, *REFUSED, *DROPPED)]


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
@example(b"\r\n\r\n")
@example(b"SIP/2.0")
@example(b"SIP/2.0 \r\n\r\n")
@example(b" SIP/2.0\r\n\r\n")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_all(data)


@settings(max_examples=600)
@given(st.sampled_from(SEEDS), st.data())
def test_any_message_with_some_bytes_changed_is_read_or_refused(seed: bytes, data: st.DataObject) -> None:
    octets = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(octets)))
        size = data.draw(st.integers(0, 4))
        octets[at : at + size] = data.draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from([b"\r\n", b": ", b";", b",", b'"', b"<", b">", b"\r\n ", b"SIP/2.0", b"\n"]),
            )
        )
    read_all(bytes(octets))


def read(data: bytes) -> Request | Response | BadMessage:
    try:
        return parse(data)
    except BadMessage as fault:
        return fault


def read_all(data: bytes) -> None:
    """Read a message and everything that can be asked of it."""
    message = read(data)
    if isinstance(message, BadMessage):
        assert 400 <= message.status <= 513
        if message.request is not None:
            assert build_response(message.request, message.status, to_tag="t").endswith(b"\r\n\r\n")
        return
    assert message.values("Via")
    assert (message.from_.tag, message.to.tag, message.contact) is not None
    for name, value in message.header_lines():
        assert message.get(name) is not None
        assert "\n" not in value
        assert "\r" not in value
        value.encode()
    if isinstance(message, Request):
        assert message.top_via.key
        assert parse(build_response(message, 200, to_tag="t")).cseq == message.cseq


def test_hostile_headers_are_read_in_linear_time() -> None:
    for value in (
        '"' * 30_000,
        "<" * 30_000,
        ";" * 30_000,
        "a " * 15_000,
        "\\" * 30_000,
        '"a\\' * 10_000,
        ",;" * 15_000,
    ):
        for name in (b"To", b"Via", b"Contact", b"Record-Route"):
            line = name + b": " + value.encode() + b"\r\n"
            read_all(
                INVITE.replace(
                    INVITE[INVITE.index(name + b": ") : INVITE.index(b"\r\n", INVITE.index(name + b": ")) + 2], line, 1
                )
            )
