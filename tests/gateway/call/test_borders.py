"""What a peer is told of the other side: trust, privacy, addresses, and the rules of its trunk; on whole calls."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from gateway.call import borders
from gateway.call.borders import (
    ANONYMOUS,
    CACHED_CHARS,
    HIDDEN_MAX,
    REWRITTEN_MAX,
    RULE_BOUNDS,
    Border,
    Borders,
    HeaderRule,
    RuleError,
    TrunkTerms,
    check_rule,
)
from gateway.call.settings import CallSettings
from gateway.sip.identity import Identity
from gateway.sip.message import Message, Request
from gateway.sip.uri import parse_uri
from tests.gateway.call.world import CALLER, NUMBER, OFFER, REPLY, Options, World, allow, both_targets

ASSERTED = ("P-Asserted-Identity", f"<sip:{CALLER}@10.0.0.2>")
HIDDEN = ("P-Asserted-Identity", f"<sip:{CALLER}@10.0.0.1>")
PRIVATE = ("Privacy", "id")


def world(**terms: TrunkTerms) -> World:
    return World(Options(settings=CallSettings(tick_s=10, session_expires_s=0, terms=terms)))


def told(gate: World, *headers: tuple[str, str]) -> Request:
    """The INVITE that the carrier gets."""
    gate.caller.invite(headers=headers)
    return gate.called.request("INVITE")


def all_of(message: Message, names: Iterable[str]) -> list[str | None]:
    return [message.get(name) for name in names]


# who calls


@pytest.mark.parametrize(
    ("pbx", "carrier", "heard"),
    [(True, True, HIDDEN[1]), (False, True, None), (True, False, None), (False, False, None)],
)
def test_an_asserted_identity_crosses_among_trusted_trunks_alone(pbx: bool, carrier: bool, heard: str | None) -> None:
    gate = world(pbx=TrunkTerms(trusted=pbx), carrier=TrunkTerms(trusted=carrier))
    assert told(gate, ASSERTED, PRIVATE).get("P-Asserted-Identity") == heard


@pytest.mark.parametrize("asked", ["id", "user;critical", "header", "history, ID"])
def test_who_wants_privacy_is_anonymous_to_a_carrier_that_is_not_trusted(asked: str) -> None:
    gate = world(carrier=TrunkTerms(trusted=False))
    invite = told(gate, ASSERTED, ("Privacy", asked))
    assert f'"{invite.from_.display}" <{invite.from_.uri}>' == ANONYMOUS
    assert CALLER not in str(invite.header_lines())


def test_a_trusted_carrier_is_told_who_wants_privacy_and_that_it_does() -> None:
    invite = told(world(), ASSERTED, PRIVATE)
    assert all_of(invite, ("P-Asserted-Identity", "Privacy")) == [HIDDEN[1], "id"]
    assert CALLER in invite.from_.uri


@pytest.mark.parametrize("headers", [(), (("Privacy", "none"),)])
def test_who_wants_none_is_named(headers: tuple[tuple[str, str], ...]) -> None:
    assert CALLER in told(world(carrier=TrunkTerms(trusted=False)), *headers).from_.uri


def test_what_networks_tell_themselves_stays_among_them() -> None:
    inside = (("P-Charging-Vector", "icid-value=1"), ("P-Access-Network-Info", "x"))
    names = [name for name, _ in inside]
    assert None not in all_of(told(world(), *inside), names)
    assert all_of(told(world(carrier=TrunkTerms(trusted=False)), *inside), names) == [None, None]


def test_an_answer_asserts_by_the_same_rule() -> None:
    gate = world(pbx=TrunkTerms(trusted=False))
    gate.caller.invite()
    gate.called.answer(
        "INVITE", 200, tag="b", body=REPLY, headers=(("P-Asserted-Identity", f"<sip:{NUMBER}@10.0.0.3>"),)
    )
    assert gate.caller.response(200).get("P-Asserted-Identity") is None


def test_the_next_target_is_told_what_its_own_trunk_is_told() -> None:
    first, second = both_targets()
    verdict = allow(routes=(first, replace(second, trunk="spare")))
    terms = {"carrier": TrunkTerms(trusted=False)}
    gate = World(Options(verdict, CallSettings(tick_s=10, session_expires_s=0, terms=terms)))
    gate.caller.invite(headers=(ASSERTED,))
    assert gate.called.request("INVITE").get("P-Asserted-Identity") is None
    gate.called.answer("INVITE", 503)
    assert gate.spare.request("INVITE").get("P-Asserted-Identity") == HIDDEN[1]


def test_a_signed_identity_and_the_body_are_not_touched() -> None:
    identity = "eyJhbGciOiJFUzI1NiJ9.eyJvcmlnIjp7InRuIjoiMSJ9fQ.c2ln;info=<https://10.0.0.2/cert>;alg=ES256"
    invite = told(world(carrier=TrunkTerms(trusted=False)), ("Identity", identity))
    assert invite.get("Identity") == identity
    assert invite.body == OFFER  # with the PBX's address in it


# where somebody is


@pytest.mark.parametrize(
    ("header", "value", "hidden"),
    [
        ("Diversion", "<sip:+1@10.0.0.2:5080>;reason=no-answer", "<sip:+1@10.0.0.1>;reason=no-answer"),
        ("History-Info", "<sip:a@192.168.1.2;user=phone>;index=1, <sips:b@[fd00::1]:5061>;index=2",
         "<sip:a@10.0.0.1;user=phone>;index=1, <sips:b@10.0.0.1>;index=2"),
        ("Remote-Party-ID", "sip:172.16.0.9;party=calling", "sip:10.0.0.1;party=calling"),
        ("Referred-By", "<sip:a@contoso.com>", "<sip:a@contoso.com>"),
        ("Reply-To", "<sip:a@10.0.0.2.example.com>", "<sip:a@10.0.0.2.example.com>"),
        ("Reason", 'Q.850;cause=41;text="10.0.0.2 down"', 'Q.850;cause=41;text="10.0.0.1 down"'),
        ("Warning", '399 10.0.0.2:5060 "no 192.168.1.2", 307 pbx.local "x"',
         '399 - "no 10.0.0.1", 307 - "x"'),
        ("Subject", "10.0.0.2", "10.0.0.2"),
        ("Diversion", f"<sip:a@10.0.0.2>;x={'y' * HIDDEN_MAX}", None),
    ],
)  # fmt: skip
def test_addresses_of_the_other_side_are_hidden(header: str, value: str, hidden: str | None) -> None:
    assert told(world(), (header, value)).get(header) == hidden
    shown = told(world(carrier=TrunkTerms(sees_addresses=True)), (header, value))
    assert shown.get(header) == value


def test_a_long_value_is_hidden_and_takes_no_room_afterwards() -> None:
    long = "<sip:a@192.0.2.9>;x=" + "y" * CACHED_CHARS
    before = borders._hide_short.cache_info().currsize
    assert borders._hidden(long, "gate.example") == long.replace("192.0.2.9", "gate.example")
    assert borders._hide_short.cache_info().currsize == before


def test_nothing_of_the_other_leg_shows_in_an_invite_and_its_answer() -> None:
    gate = world()
    gate.caller.invite(headers=(ASSERTED, ("User-Agent", "pbx 10.0.0.2"), ("Record-Route", "<sip:10.0.0.2;lr>")))
    gate.called.answer("INVITE", 200, tag="b", headers=(("Server", "10.0.0.3"), ("Record-Route", "<sip:10.0.0.3;lr>")))
    sent = [data for _, source, target, message in gate.sent if source == ("10.0.0.1", 5060)
            for data in [str(message.header_lines())] if target == ("10.0.0.3", 5060)]  # fmt: skip
    assert sent
    assert not any("10.0.0.2" in text for text in sent)
    answer = gate.caller.response(200)
    assert "10.0.0.3" not in str([line for line in answer.header_lines() if line[0] not in ("To", "Via", "From")])


def test_a_bye_and_a_cancel_say_why_without_an_address() -> None:
    gate = world()
    sent = gate.ring()
    gate.caller.cancel(sent, headers=(("Reason", 'SIP;cause=200;text="taken at 10.0.0.2"'),))
    assert gate.called.request("CANCEL").get("Reason") == 'SIP;cause=200;text="taken at 10.0.0.1"'
    talk = world()
    dialog, _ = talk.talk()
    talk.caller.send(dialog, "BYE", headers=(("Reason", 'SIP;text="10.0.0.2"'),))
    assert talk.called.request("BYE").get("Reason") == 'SIP;text="10.0.0.1"'


def test_a_redirect_to_the_number_called_itself_is_not_shown_to_lead_back_here() -> None:
    gate = world()
    gate.caller.invite()
    contacts = (
        ("Contact", f"<sip:{NUMBER}@10.0.0.4>"),
        ("Contact", "<sip:+1425@10.0.0.4>"),
        ("Contact", "<sip:a@b.c>"),
    )
    gate.called.answer("INVITE", 302, headers=contacts)
    assert gate.caller.response(302).all("Contact") == ["<sip:+1425@10.0.0.1:5060>", "<sip:a@b.c>"]


@pytest.mark.parametrize(
    ("contact", "told"),
    [
        ("<sip:+1425@10.0.0.4:5099;transport=tcp>;q=0.5", "<sip:+1425@10.0.0.1:5060>;q=0.5"),
        ('"A B" <sips:+1425@[2001:db8::4]>;expires=60', '"A B" <sip:+1425@10.0.0.1:5060>;expires=60'),
        ("<sip:+1425@proxy.example;maddr=10.0.0.4>", "<sip:+1425@10.0.0.1:5060>"),
        ("<tel:+1425>", "<tel:+1425>"),
    ],
)
def test_a_redirect_leads_by_the_gates_own_way(contact: str, told: str) -> None:
    """A port or transport of the stranger with the gate's host would lead nowhere."""
    gate = world()
    gate.caller.invite()
    gate.called.answer("INVITE", 302, headers=(("Contact", contact),))
    assert gate.caller.response(302).all("Contact") == [told]


@pytest.mark.parametrize("contact", [f"<sip:{NUMBER}@10.0.0.4>", "<sip:10.0.0.4>", "nonsense", ""])
def test_a_redirect_of_which_nothing_is_left_is_480(contact: str) -> None:
    gate = world()
    gate.caller.invite()
    gate.called.answer("INVITE", 302, headers=(("Contact", contact),) if contact else ())
    answer = gate.caller.response(480)
    assert answer.get("Contact") is None
    assert "FAR_END" in (answer.get("Warning") or "")
    assert gate.store.available("contoso") == 1_000_000_000


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("agent", ["10.0.0.5", "callgate", "CallGate"])
def test_a_far_side_does_not_speak_in_the_gates_name(agent: str, sees: bool) -> None:
    gate = world(pbx=TrunkTerms(sees_addresses=sees))
    gate.caller.invite()
    gate.called.answer("INVITE", 486, headers=(("Warning", f'399 {agent} "NO_CREDIT: far side"'),))
    own = [value for value in gate.caller.response(486).all("Warning") if value.startswith("399 callgate ")]
    assert [value.partition('"')[2][:7] for value in own] == ["FAR_END"]


def test_a_peer_is_told_the_gates_host_of_its_own_address_family() -> None:
    gate = Borders({}, Identity("10.0.0.1", 5060, other=Identity("2001:db8::1", 5060)))
    for towards, shown in (("10.0.0.3", "10.0.0.1"), ("2001:db8::3", "[2001:db8::1]")):
        assert gate.between("pbx", "carrier", towards)._hide("<sip:+1@10.0.0.2:5080>") == f"<sip:+1@{shown}>"


@pytest.mark.parametrize("shown", [True, False])
def test_from_is_a_uri_in_any_case(shown: bool) -> None:
    invite = told(world(carrier=TrunkTerms(sees_addresses=shown, plus=False)))
    assert parse_uri(invite.from_.uri)
    assert invite.from_.uri == f"sip:{CALLER[1:]}@10.0.0.{2 if shown else 1}"


def test_the_plus_goes_from_an_asserted_identity_too() -> None:
    invite = told(world(carrier=TrunkTerms(plus=False)), ASSERTED)
    assert invite.get("P-Asserted-Identity") == f"<sip:{CALLER[1:]}@10.0.0.1>"


# rules of a trunk


def rules(*made: HeaderRule, arriving: bool = False) -> World:
    for rule in made:
        check_rule(rule)
    return world(pbx=TrunkTerms(arriving=made)) if arriving else world(carrier=TrunkTerms(leaving=made))


@pytest.mark.parametrize("arriving", [True, False])
def test_a_header_is_added_removed_and_rewritten(arriving: bool) -> None:
    gate = rules(
        HeaderRule("add", "X-Account", "4711"),
        HeaderRule("remove", "x-noise"),
        HeaderRule("remove", "Organization"),
        HeaderRule("rewrite", "Subject", "call $2 for ${1}", r"(.*) to (.*)"),
        HeaderRule("rewrite", "X-Odd", r"a\b$1", "([0-9]{1,5}).*"),
        arriving=arriving,
    )
    said = (("X-Noise", "1"), ("Organization", "x"), ("Subject", "lunch to go"), ("X-ODD", "12 34"))
    invite = told(gate, *said)
    names = ("X-Account", "X-Noise", "Organization", "Subject", "X-ODD")
    assert all_of(invite, names) == ["4711", None, None, "call go for lunch", r"a\b12"]


def test_a_header_is_added_to_invite_alone_and_rules_go_one_way() -> None:
    gate = rules(HeaderRule("add", "X-Account", "4711"), HeaderRule("remove", "Organization"))
    dialog, _ = gate.talk()
    gate.caller.send(dialog, "BYE", headers=(("Organization", "x"),))
    assert gate.called.request("INVITE").get("X-Account") == "4711"
    assert all_of(gate.called.request("BYE"), ("X-Account", "Organization")) == [None, None]
    assert gate.caller.response(200, "INVITE").get("X-Account") is None


def test_rules_of_the_same_header_come_one_after_the_other() -> None:
    gate = rules(
        HeaderRule("rewrite", "Subject", "b", "a"),
        HeaderRule("rewrite", "Subject", "c", "b"),
        HeaderRule("rewrite", "X-New", "2", "1"),
        HeaderRule("rewrite", "X-New", "3", "2"),
    )
    assert all_of(told(gate, ("Subject", "a"), ("X-New", "1")), ("Subject", "X-New")) == ["c", "3"]


def test_a_rule_sees_what_is_left_after_hiding() -> None:
    gate = rules(HeaderRule("rewrite", "Diversion", "<sip:$1@example.com>", r"<sip:(\+[0-9]*)@10\.0\.0\.1>"))
    assert told(gate, ("Diversion", "<sip:+1@10.0.0.2>")).get("Diversion") == "<sip:+1@example.com>"


@pytest.mark.parametrize("value", ["other", "x" * (REWRITTEN_MAX + 1)])
def test_what_does_not_match_or_is_too_long_stays(value: str) -> None:
    gate = rules(HeaderRule("rewrite", "Subject", "y", "x*"))
    assert told(gate, ("Subject", value)).get("Subject") == value


@pytest.mark.parametrize(
    "rule",
    [
        HeaderRule("remove", "Via"),
        HeaderRule("rewrite", "f", "x", ".*"),
        HeaderRule("add", "Call-ID", "x"),
        HeaderRule("add", "Identity", "x"),
        HeaderRule("remove", "content-type"),
        HeaderRule("add", "X-Callgate-User", "x"),
        HeaderRule("add", "X-A", "a\r\nB: c"),
        HeaderRule("add", "X-A", "a", "b"),
        HeaderRule("rewrite", "X-A", "a", "(a+)+"),
        HeaderRule("rewrite", "X-A", "a", ".*.*.*"),
        HeaderRule("rewrite", "X-A", "a", "(?=a)"),
        HeaderRule("rewrite", "X-A", "$2", "(a)"),
        HeaderRule("rewrite", "X-A", "a", "["),
    ],
    ids=lambda rule: f"{rule.action} {rule.header} {rule.pattern}",
)
def test_a_rule_that_could_harm_is_refused(rule: HeaderRule) -> None:
    with pytest.raises(RuleError):
        check_rule(rule)


def test_two_parts_of_any_length_are_let_in() -> None:
    check_rule(HeaderRule("rewrite", "X-A", "$2 $1", "([^@]*)@(.*)"))
    assert RULE_BOUNDS.chars == REWRITTEN_MAX


def test_without_rules_a_border_costs_no_look_at_unknown_names() -> None:
    assert not Border(TrunkTerms(), TrunkTerms(), "h")._named
