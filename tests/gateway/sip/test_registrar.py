"""What a REGISTER does to the bindings of its account (RFC 3261 10.3)."""

import pytest

from gateway.sip.events import Flow
from gateway.sip.message import Request, parse
from gateway.sip.registrar import (
    BINDINGS_MAX,
    EXPIRES_DEFAULT_S,
    EXPIRES_MAX_S,
    EXPIRES_MIN_S,
    Binding,
    Bindings,
    Registered,
    decode,
    encode,
    live,
    register,
    registered_target,
)

NOW_MS = 1_700_000_000_000
HERE = Flow("udp", "192.0.2.7", 5060, 3)


def asked(*contacts: str, expires: str = "", call_id: str = "r1", cseq: int = 1) -> Request:
    lines = "".join(f"Contact: {contact}\r\n" for contact in contacts) + (f"Expires: {expires}\r\n" if expires else "")
    message = parse(
        f"REGISTER sip:gate SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:pbx@gate>;tag=1\r\nTo: <sip:pbx@gate>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n"
        f"{lines}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


def after(bindings: Bindings, *contacts: str, flow: Flow = HERE, now_ms: int = NOW_MS, **more: object) -> Registered:
    return register(bindings, asked(*contacts, **more), flow, now_ms)  # type: ignore[arg-type]


def bound(*contacts: str, **more: object) -> Bindings:
    made = after((), *contacts, **more)  # type: ignore[arg-type]
    assert made.status == 200
    assert made.bindings is not None
    return made.bindings


def lasts(bindings: Bindings) -> list[int]:
    return [(binding.ends_ms - NOW_MS) // 1000 for binding in bindings]


def contacts_of(answer: Registered) -> list[str]:
    return [value for name, value in answer.headers if name == "Contact"]


@pytest.mark.parametrize(
    ("contact", "expires", "lasting_s"),
    [
        ("<sip:pbx@192.0.2.7>", "", EXPIRES_DEFAULT_S),
        ("<sip:pbx@192.0.2.7>", "600", 600),
        ("<sip:pbx@192.0.2.7>;expires=300", "600", 300),
        ("<sip:pbx@192.0.2.7>;expires=soon", "", EXPIRES_DEFAULT_S),
        ("<sip:pbx@192.0.2.7>;expires=99999999999", "", EXPIRES_MAX_S),
        ("<sip:pbx@192.0.2.7>;expires=1000000", "", EXPIRES_MAX_S),
    ],
)
def test_a_binding_lasts_as_long_as_is_asked_within_limits(contact: str, expires: str, lasting_s: int) -> None:
    answer = after((), contact, expires=expires)
    assert answer.bindings is not None
    assert lasts(answer.bindings) == [lasting_s]
    assert contacts_of(answer) == [f"<sip:pbx@192.0.2.7>;expires={lasting_s}"]


def test_one_that_is_too_short_is_423() -> None:
    answer = after((), "<sip:pbx@192.0.2.7>;expires=10")
    assert (answer.status, answer.bindings) == (423, None)
    assert ("Min-Expires", str(EXPIRES_MIN_S)) in answer.headers


def test_the_same_contact_is_renewed_and_another_stands_before_it() -> None:
    first = bound("<sip:pbx@192.0.2.7>")
    again = after(first, "<sip:pbx@192.0.2.7:5060;transport=udp>", "<sip:PBX@192.0.2.7>", cseq=2).bindings
    renewed = after(first, "<sip:pbx@192.0.2.7>", cseq=2).bindings
    assert again is not None
    assert renewed is not None
    assert len(renewed) == 1
    # a user part, a port and a transport that are written make another URI (19.1.4)
    assert [binding.uri for binding in again][-1] == "sip:pbx@192.0.2.7"
    assert len(again) == 3


def test_the_host_is_compared_without_case() -> None:
    first = bound("<sip:pbx@Pbx.Example>")
    assert len(after(first, "<sip:pbx@pbx.example>", cseq=2).bindings or ()) == 1


def test_expires_0_removes_one_and_a_star_all() -> None:
    both = bound("<sip:a@192.0.2.7>", "<sip:b@192.0.2.7>")
    left = after(both, "<sip:a@192.0.2.7>;expires=0", cseq=2)
    assert [binding.uri for binding in left.bindings or ()] == ["sip:b@192.0.2.7"]
    none = after(both, "*", expires="0", cseq=2)
    assert (none.status, none.bindings, contacts_of(none)) == (200, (), [])


@pytest.mark.parametrize(("contacts", "expires"), [(("*",), ""), (("*",), "60"), (("*", "<sip:a@192.0.2.7>"), "0")])
def test_a_star_stands_alone_and_only_removes(contacts: tuple[str, ...], expires: str) -> None:
    assert after(bound("<sip:a@192.0.2.7>"), *contacts, expires=expires, cseq=2).status == 400


@pytest.mark.parametrize("contact", ["<tel:+1425>", "<sip:a@192.0.2.7?Subject=x>", "<sip:a@b c>", "<mailto:a@b>"])
def test_a_contact_that_cannot_be_called_is_400_and_nothing_is_bound(contact: str) -> None:
    answer = after((), "<sip:a@192.0.2.7>", contact)
    assert (answer.status, answer.bindings) == (400, None)


def test_a_register_that_was_overtaken_changes_nothing() -> None:
    first = bound("<sip:a@192.0.2.7>", cseq=5)
    for late in (after(first, "<sip:a@192.0.2.7>", cseq=5), after(first, "*", expires="0", cseq=4)):
        assert (late.status, late.bindings) == (500, None)
    # another Call-ID is a peer that was started anew
    assert after(first, "<sip:a@192.0.2.7>", cseq=1, call_id="r2").status == 200


def test_without_contact_it_is_a_question() -> None:
    answer = after(bound("<sip:a@192.0.2.7>", expires="600"), cseq=2, now_ms=NOW_MS + 100_000)
    assert (answer.status, answer.bindings) == (200, None)
    assert contacts_of(answer) == ["<sip:a@192.0.2.7>;expires=500"]


def test_what_has_ended_is_gone() -> None:
    first = bound("<sip:a@192.0.2.7>", expires="60")
    assert live(first, NOW_MS + 60_000) == ()
    assert contacts_of(after(first, cseq=2, now_ms=NOW_MS + 60_000)) == []


def test_only_the_newest_are_kept() -> None:
    bindings: Bindings = ()
    for number in range(BINDINGS_MAX + 2):
        bindings = after(bindings, f"<sip:a@192.0.2.{number}>", cseq=number + 1).bindings or ()
    newest = BINDINGS_MAX + 1
    assert [binding.uri for binding in bindings] == [f"sip:a@192.0.2.{newest - at}" for at in range(BINDINGS_MAX)]


@pytest.mark.parametrize(
    ("contact", "flow", "target"),
    [
        ("<sip:a@192.0.2.7>", HERE, "sip:a@192.0.2.7:5060"),
        ("<sip:a@192.0.2.7:5080>", HERE, "sip:a@192.0.2.7:5080"),
        ("<sip:a@192.0.2.7:5080;transport=tcp>", HERE, "sip:a@192.0.2.7:5080;transport=tcp"),
        # behind a translation: back to where it came from
        ("<sip:a@10.0.0.5:5062>", Flow("udp", "192.0.2.7", 31000), "sip:a@192.0.2.7:31000"),
        ("<sip:a@pbx.local>", Flow("tcp", "192.0.2.7", 31000, 9), "sip:a@192.0.2.7:31000;transport=tcp"),
        ("<sip:a@[2001:db8::1]:5080>", Flow("udp", "2001:db8::1", 5080), "sip:a@[2001:db8::1]:5080"),
        ("<sip:192.0.2.7:5080>", HERE, "sip:192.0.2.7:5080"),
        ("<sip:a%3Bb@192.0.2.7>", HERE, "sip:a;b@192.0.2.7:5060"),
    ],
)
def test_calls_go_to_the_contact_or_back_through_the_translation(contact: str, flow: Flow, target: str) -> None:
    (binding,) = after((), contact, flow=flow).bindings or ()
    assert binding.target == target


def test_bindings_are_kept_as_text() -> None:
    bindings = bound("<sip:a@192.0.2.7>", "<sip:b@192.0.2.8>")
    assert decode(encode(bindings)) == bindings
    assert encode(()) == ""
    assert decode("") == ()


@pytest.mark.parametrize("text", ["{", "[1]", '[["tel:1","c",1,1,"udp","h",1]]', '[["sip:a@b","c"]]', "[[]]"])
def test_a_text_that_is_none_of_ours_is_nothing(text: str) -> None:
    assert decode(text) == ()


def test_the_place_holder_is_a_target() -> None:
    assert registered_target("pbx-1") == "sip:pbx-1.registered.invalid"
    assert Binding("sip:a@h", "c", 1, 1, "udp", "h", 1).target == "sip:a@h:5060"
