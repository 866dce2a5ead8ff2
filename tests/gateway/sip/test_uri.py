"""URIs: what is read, what is written again, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import BadUri
from gateway.sip.events import Flow
from gateway.sip.uri import SipUri, TelUri, UrnUri, escape_user, parse_uri, unescape


def sip(text: str) -> SipUri:
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    return uri


def test_all_parts_of_a_sip_uri() -> None:
    uri = sip("sip:alice:secret@gate.example:5070;transport=TCP;lr;x=%41b?subject=a%20b&to=c")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == ("sip", "alice", "secret", "gate.example", 5070)
    assert uri.params == {"transport": "TCP", "lr": "", "x": "Ab"}
    assert uri.headers == "subject=a%20b&to=c"
    assert str(uri) == "sip:alice:secret@gate.example:5070;transport=TCP;lr;x=Ab?subject=a%20b&to=c"


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        ("sip:gate.example", Flow("udp", "gate.example", 5060)),
        ("sip:gate.example:5070", Flow("udp", "gate.example", 5070)),
        ("SIP:bob@192.0.2.1;Transport=tcp", Flow("tcp", "192.0.2.1", 5060)),
        ("sip:bob@192.0.2.1;transport=tls", Flow("tls", "192.0.2.1", 5061)),
        ("sips:bob@192.0.2.1", Flow("tls", "192.0.2.1", 5061)),
        ("sips:bob@192.0.2.1;transport=tcp", Flow("tls", "192.0.2.1", 5061)),
        ("sip:[2001:db8::1]:5070", Flow("udp", "2001:db8::1", 5070)),
    ],
)
def test_where_a_request_to_a_uri_goes(text: str, flow: Flow) -> None:
    assert sip(text).flow() == flow


@pytest.mark.parametrize(
    "text",
    [
        "sip:",
        "sip:@host",
        "sip:user@",
        "sip:user@ho st",
        "sip:us er@host",
        "sip:user@host:",
        "sip:user@host:0",
        "sip:user@host:65536",
        "sip:user@host:123456",
        "sip:user@host;",
        "sip:user@host;;lr",
        "sip:a@b@host",
        "sip:user@[2001:db8::1",
        "sip:user@[2001:db8:::1]",
        "sip:user@[::1]x",
        "sip:2001:db8::1",
        "sip:us%er@host",
        "sip:us%4@host",
        "sip:üser@host",
        "sip:user@höst",
        "sip:user@host\n",
        "<sip:user@host>",
        "user@host",
        "",
        ":",
        "1a:b",
        "a_b:c",
        "tel:",
        "tel:+",
        "tel:call me",
        "urn:",
        "urn:service",
        "urn:service:so s",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(BadUri) as caught:
        parse_uri(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["http://example.org/", "isbn:123", "soap.beep://192.0.2.1:3002", "im:bob@example"])
def test_other_schemes_get_416(text: str) -> None:
    with pytest.raises(BadUri, match="not known here") as caught:
        parse_uri(text)
    assert caught.value.status == 416


def test_telephone_numbers() -> None:
    uri = parse_uri("tel:+1-425.555(0100);ext=7;phone-context=example.com")
    assert isinstance(uri, TelUri)
    assert (uri.number, uri.user) == ("+14255550100", "+14255550100")
    assert uri.params == {"ext": "7", "phone-context": "example.com"}
    assert str(uri) == "tel:+14255550100;ext=7;phone-context=example.com"
    local = parse_uri("tel:*31#5550100")
    assert isinstance(local, TelUri)
    assert local.number == "*31#5550100"


@pytest.mark.parametrize(
    ("text", "emergency"),
    [
        ("urn:service:sos", True),
        ("URN:Service:SOS.Police", True),
        ("urn:service:sossage", False),
        ("urn:service:counseling", False),
        ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", False),
    ],
)
def test_emergency_services(text: str, emergency: bool) -> None:
    uri = parse_uri(text)
    assert isinstance(uri, UrnUri)
    assert uri.is_emergency is emergency
    assert str(uri) == text.lower()


def test_dialled_digits_with_a_number_sign_are_taken_and_written_escaped() -> None:
    assert sip("sip:*31#555@gate.example").user == "*31#555"
    assert str(sip("sip:*31#555@gate.example")) == "sip:*31%23555@gate.example"


def test_escapes_that_are_no_utf_8_are_read_as_latin_1() -> None:
    assert unescape("M%FCller") == "Müller"
    assert unescape("M%C3%BCller") == "Müller"
    assert unescape("%2541") == "%41"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_user_part_survives_writing_and_reading(user: str) -> None:
    assert unescape(escape_user(user)) == user
    assert sip(f"sip:{escape_user(user)}@gate.example").user == user if user else True


@given(
    user=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    host=st.from_regex(r"[a-z0-9]([a-z0-9-]*\.){0,3}[a-z]+", fullmatch=True),
    port=st.integers(0, 65535),
    params=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
        .map(str.lower)
        .filter(lambda name: name == name.lower()),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        max_size=4,
    ),
)
def test_a_uri_survives_writing_and_reading(user: str, host: str, port: int, params: dict[str, str]) -> None:
    uri = sip(str(SipUri(host, port, user, params=params)))
    assert (uri.user, uri.host, uri.port, uri.params) == (user, host, port, params)


@given(st.text())
def test_reading_never_fails_but_with_bad_uri(text: str) -> None:
    for scheme in ("", "sip:", "sips:", "tel:", "urn:"):
        try:
            uri = parse_uri(scheme + text)
        except BadUri:
            continue
        assert str(parse_uri(str(uri))) == str(uri)


def test_hostile_uris_are_read_in_linear_time() -> None:
    # Each of these makes a backtracking pattern work for minutes.
    for text in (
        "sip:" + "a" * 60_000,
        "sip:" + "a:" * 30_000 + "@",
        "sip:x@h" + ";a" * 30_000 + "<",
        "tel:" + "1-" * 30_000 + "x",
    ):
        with pytest.raises(BadUri):
            parse_uri(text + "\x00")
