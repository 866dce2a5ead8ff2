"""Parties and hops: name-addr and Via."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.address import parse_name_addr, parse_via, write_display
from gateway.sip.errors import BadMessage
from gateway.sip.grammar import quote, split_params, split_values, unquote


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ("<sip:ann@pbx>;tag=1", "", "sip:ann@pbx", "1"),
        ("sip:ann@pbx;tag=1", "", "sip:ann@pbx", "1"),
        ('"Ann B." <sip:ann@pbx>;hue=red;tag=1', "Ann B.", "sip:ann@pbx", "1"),
        ("Ann B <sip:ann@pbx;x=y>;Tag=1", "Ann B", "sip:ann@pbx;x=y", "1"),
        ('"a \\"b\\" \\\\"<sip:ann@pbx>', 'a "b" \\', "sip:ann@pbx", ""),
        ('"Größe €"<sip:ann@pbx>', "Größe €", "sip:ann@pbx", ""),
        ('"<sip:trap@pbx>" <sip:ann@pbx> ; tag = 1 ', "<sip:trap@pbx>", "sip:ann@pbx", "1"),
        ('<sip:ann@pbx>;x="tag=2;tag=3";tag=1', "", "sip:ann@pbx", "1"),
        ("<sip:ann@pbx;tag=uri>", "", "sip:ann@pbx;tag=uri", ""),
        ("<tel:+14255550100>;tag=1", "", "tel:+14255550100", "1"),
    ],
)
def test_parties(text: str, display: str, uri: str, tag: str) -> None:
    party = parse_name_addr(text)
    assert (party.display, party.uri, party.tag) == (display, uri, tag)
    again = parse_name_addr(str(party))
    assert (again.display, again.uri, again.params) == (display, uri, party.params)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "<>",
        "<sip:ann@pbx",
        "sip:ann@pbx>",
        '"Ann <sip:ann@pbx>',
        '"Ann" "B" <sip:ann@pbx>',
        "sip:ann@pbx?Route=x",
        "sip:ann@pbx, sip:bob@pbx",
        "<sip:ann@pbx> <sip:bob@pbx>",
        "<sip:ann@pbx>;",
        "<sip:ann@pbx>;=1",
        "<sip:ann@pbx>;tag=",
        "<sip:ann@pbx>;tag=a b",
        "< sip:ann@pbx >",
        "<sip:ann @pbx>",
        "*",
    ],
)
def test_what_is_no_party(text: str) -> None:
    with pytest.raises(BadMessage, match="is not an address"):
        parse_name_addr(text)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_any_display_name_survives_writing_and_reading(display: str) -> None:
    party = parse_name_addr(f"{write_display(display)}<sip:ann@pbx>")
    assert party.display == display


def test_a_hop_and_those_behind_it() -> None:
    via = parse_via("SIP/2.0/UDP host.example:5070;branch=z9hG4bKa;rport , SIP/2.0/TCP b;branch=z9hG4bKb")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "host.example", 5070, "z9hG4bKa")
    assert (via.rest, via.params) == ("SIP/2.0/TCP b;branch=z9hG4bKb", {"branch": "z9hG4bKa", "rport": ""})
    assert via.key == ("z9hG4bKa", "host.example", "5070")


@pytest.mark.parametrize(
    ("text", "branch", "is_cookie"),
    [
        ("SIP/2.0/UDP a;branch=z9hG4bKx", "z9hG4bKx", True),
        ("SIP/2.0/UDP a;Branch=Z9HG4BKx", "Z9HG4BKx", True),
        ("sip / 2.0 / udp  a : 5060 ; branch = z9hG4bKx", "z9hG4bKx", True),
        ('SIP/2.0/UDP a;x=";branch=z9hG4bKtrap";branch=z9hG4bKx', "z9hG4bKx", True),
        ("SIP/2.0/UDP a;branch=z9hG4bK", "z9hG4bK", False),
        ("SIP/2.0/UDP a;branch=1", "1", False),
        ("SIP/2.0/UDP a", "", False),
    ],
)
def test_branches(text: str, branch: str, is_cookie: bool) -> None:
    via = parse_via(text)
    assert (via.branch, via.is_cookie) == (branch, is_cookie)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/3.0/UDP a",
        "SIP/2.0/UDP a:x",
        "SIP/2.0/UDP a:123456",
        "SIP/2.0/UDP a;;",
        "SIP/2.0/UDP a b",
    ],
)
def test_what_is_no_hop(text: str) -> None:
    with pytest.raises(BadMessage, match="cannot be read"):
        parse_via(text)


@pytest.mark.parametrize(
    ("text", "stamped"),
    [
        # RFC 3261 18.2.1: received only where the source is another address than sent-by's
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa"),
        ("SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKa", "SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKa;received=192.0.2.1"),
        ("SIP/2.0/UDP host.example;branch=z9hG4bKa", "SIP/2.0/UDP host.example;branch=z9hG4bKa;received=192.0.2.1"),
        # RFC 3581 4: rport filled in, received beside it even where it is the same
        (
            "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKa",
            "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;rport=4000;branch=z9hG4bKa",
        ),
        (
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport",
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;received=192.0.2.1;rport=4000",
        ),
        (
            "SIP/2.0/UDP 192.0.2.1;Rport;branch=z9hG4bKa",
            "SIP/2.0/UDP 192.0.2.1;rport=4000;branch=z9hG4bKa;received=192.0.2.1",
        ),
        # what the peer says about itself is replaced
        (
            "SIP/2.0/UDP a;received=10.0.0.9;rport=1;branch=z9hG4bKa",
            "SIP/2.0/UDP a;rport=4000;branch=z9hG4bKa;received=192.0.2.1",
        ),
        ("SIP/2.0/UDP 192.0.2.1;received=10.0.0.9;branch=z9hG4bKa", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa"),
        # and only the parameter, not what looks like it
        (
            'SIP/2.0/UDP 192.0.2.1;x="a;rport;b";rport',
            'SIP/2.0/UDP 192.0.2.1;x="a;rport;b";rport=4000;received=192.0.2.1',
        ),
        ("SIP/2.0/UDP 192.0.2.1;rportable;branch=z9hG4bKa", "SIP/2.0/UDP 192.0.2.1;rportable;branch=z9hG4bKa"),
    ],
)
def test_an_answer_says_where_its_request_came_from(text: str, stamped: str) -> None:
    assert parse_via(text + ", SIP/2.0/UDP behind").stamped("192.0.2.1", 4000) == stamped
    assert parse_via(text).stamped("192.0.2.1", 4000) == stamped


def test_lists_are_cut_at_commas_outside_quotes_and_brackets() -> None:
    assert split_values('"a, b" <sip:x,y@z>;q=1 , <sip:c>,,d ') == ['"a, b" <sip:x,y@z>;q=1', "<sip:c>", "d"]
    assert split_values("100rel, timer ,replaces,") == ["100rel", "timer", "replaces"]
    assert split_values("") == []
    assert split_values('a, "open, b') == ["a", '"open, b']
    assert split_values("a, <open, b") == ["a", "<open, b"]


@given(st.text())
def test_splitting_never_fails_and_loses_nothing_but_commas_and_blanks(text: str) -> None:
    kept = "".join(split_values(text))
    assert [letter for letter in kept if letter not in ", \t"] == [letter for letter in text if letter not in ", \t"]
    split_params(text)


@given(st.text())
def test_quoting(text: str) -> None:
    assert unquote(quote(text)) == text


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_hop_names_a_port_that_exists(port: str) -> None:
    """An answer to such a port could not be sent, and once took the answers of other calls with it."""
    with pytest.raises(BadMessage, match="a port is 1 to 65535"):
        parse_via(f"SIP/2.0/UDP 192.0.2.1:{port};branch=z9hG4bKa")
