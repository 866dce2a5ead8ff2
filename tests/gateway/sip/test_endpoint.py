"""What the endpoint settles by itself, and what it hands up."""

import pytest

from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity, Limits
from gateway.sip.events import AckArrived, Event, Flow, InviteArrived, RequestArrived, StrayAnswer
from gateway.sip.identity import mark_of
from gateway.sip.message import Request, Response, parse
from gateway.sip.reasons import SIP_REASONS, q850_of

PEER = Flow("udp", "192.0.2.1", 4000, 1)

INVITE = (
    b"INVITE sip:+14255550123@gate.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa1\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:ann@pbx.example>;tag=f1\r\n"
    b"To: <sip:+14255550123@gate.example>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:ann@192.0.2.1>\r\n"
    b"Content-Length: 0\r\n\r\n"
)
OPTIONS = INVITE.replace(b"INVITE", b"OPTIONS")
BYE = INVITE.replace(b"INVITE", b"BYE").replace(b"gate.example>\r\n", b"gate.example>;tag=t1\r\n")
ACK = BYE.replace(b"BYE", b"ACK")


class Gate:
    """An endpoint that is asked one thing at a time."""

    def __init__(self, limits: Limits = Limits(), product: str = "") -> None:  # noqa: B008 - immutable
        identity = Identity("127.0.0.1", 5060, ports={"tcp": 5062}, product=product)
        self.endpoint = Endpoint(identity, Deadlines(), iter(f"token{n}" for n in range(10**6)).__next__, limits=limits)
        self.flows: list[Flow] = []

    def hear(self, data: bytes, flow: Flow = PEER) -> tuple[list[Event], list[Request | Response]]:
        self.endpoint.receive(data, flow, 0.0)
        output = self.endpoint.take_output()
        self.flows = [send.flow for send in output]
        return self.endpoint.take_events(), [parse(send.data) for send in output]

    def status(self, data: bytes, flow: Flow = PEER) -> int:
        """The status of the only answer, given without an event."""
        events, (answer,) = self.hear(data, flow)
        assert events == []
        assert isinstance(answer, Response)
        return answer.status


def test_where_answers_go() -> None:
    gate = Gate()
    for via, port in (
        (b"192.0.2.1:5070;branch=z9hG4bKp1", 5070),
        (b"192.0.2.1;branch=z9hG4bKp2", 5060),
        (b"192.0.2.1;branch=z9hG4bKp3;rport", 4000),
        (b"192.0.2.1;RPort;branch=z9hG4bKp4", 4000),
        (b"10.9.9.9:5071;branch=z9hG4bKp5", 5071),
        (b"192.0.2.1;maddr=203.0.113.9;branch=z9hG4bKp6", 5060),
    ):
        gate.hear(OPTIONS.replace(b"192.0.2.1:5060;branch=z9hG4bKa1", via))
        assert gate.flows == [Flow("udp", "192.0.2.1", port, 1)]
    stream = Flow("tcp", "192.0.2.1", 40_000, 9)
    gate.hear(OPTIONS.replace(b"UDP 192.0.2.1:5060", b"TCP 10.9.9.9:5060"), stream)
    assert gate.flows == [stream]


def test_an_unreadable_request_is_answered_as_well_as_it_can_be() -> None:
    gate = Gate(product="gate")
    _, (answer,) = gate.hear(
        INVITE.replace(b"Call-ID: c1", b"Call-ID: c1\r\nCall-ID: c2").replace(b"5060;", b"5077;rport;")
    )
    assert isinstance(answer, Response)
    assert (answer.status, answer.call_id, answer.get("Server")) == (400, "c1", "gate")
    assert answer.get("Warning") == '399 callgate "MALFORMED: Call-ID stands more than once"'
    assert (gate.flows, answer.to.tag != "") == ([PEER], True)
    gate.endpoint.receive(INVITE.replace(b"SIP/2.0/UDP", b"SIP/2.0/UDP;"), PEER, 0.0)
    (send,) = gate.endpoint.take_output()
    assert send.flow == PEER, "without a Via that can be read the answer goes where the bytes came from"
    assert b"Via: SIP/2.0/UDP; 192.0.2.1:5060;branch=z9hG4bKa1\r\n" in send.data
    assert gate.endpoint.counts.parse_errors == 2


def test_options_outside_a_dialog_say_what_is_spoken_here() -> None:
    gate = Gate()
    events, (answer,) = gate.hear(OPTIONS)
    assert (events, isinstance(answer, Response) and answer.status) == ([], 200)
    assert set(answer.values("Allow")) >= {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO"}
    assert (answer.values("Supported"), answer.get("Accept")) == (["100rel", "timer"], "application/sdp")
    gate.endpoint.available_status = 503
    assert gate.status(OPTIONS) == 503
    events, answers = gate.hear(OPTIONS.replace(b"gate.example>\r\n", b"gate.example>;tag=t1\r\n"))
    assert ([type(event) for event in events], answers) == ([RequestArrived], [])


def test_what_is_refused_without_a_transaction_leaves_nothing_behind() -> None:
    gate = Gate()
    refused = INVITE.replace(b"CSeq", b"Require: teleport\r\nCSeq")
    _, (first,) = gate.hear(refused)
    _, (second,) = gate.hear(refused)
    assert isinstance(first, Response)
    assert (first.status, first.get("Unsupported"), first.to.tag) == (420, "teleport", second.to.tag)
    assert gate.endpoint.load == 0
    # The ACK to such a refusal has the same branch and our tag: it ends here (8.2.7).
    ack = refused.replace(b"INVITE sip", b"ACK sip").replace(b"7 INVITE", b"7 ACK")
    ack = ack.replace(b"gate.example>\r\n", b"gate.example>;tag=%s\r\n" % first.to.tag.encode())
    assert gate.hear(ack) == ([], [])
    assert [type(event) for event in gate.hear(ack.replace(b"tag=%s" % first.to.tag.encode(), b"tag=x"))[0]] == [
        AckArrived
    ]


def test_what_may_be_required() -> None:
    gate = Gate()
    events, _ = gate.hear(INVITE.replace(b"CSeq", b"Require: 100rel, Timer\r\nCSeq"))
    assert [type(event) for event in events] == [InviteArrived]


def test_a_request_that_comes_over_two_ways_is_one_request() -> None:
    gate = Gate()
    assert len(gate.hear(INVITE)[0]) == 1
    other_way = INVITE.replace(b"z9hG4bKa1", b"z9hG4bKa2")
    events, (answer,) = gate.hear(other_way)
    assert isinstance(answer, Response)
    assert (events, answer.status, answer.reason) == ([], 482, "Request Merged")
    for number, (old, new) in enumerate(
        ((b"Call-ID: c1", b"Call-ID: c2"), (b"tag=f1", b"tag=f2"), (b"CSeq: 7", b"CSeq: 8"))
    ):
        assert len(gate.hear(other_way.replace(b"Ka2", b"Kb%d" % number).replace(old, new))[0]) == 1
    within = other_way.replace(b"gate.example>\r\n", b"gate.example>;tag=t1\r\n")
    assert len(gate.hear(within)[0]) == 1, "within a dialog nothing is merged"


def test_no_hop_left_is_refused_outside_dialogs_and_taken_within() -> None:
    gate = Gate()
    assert gate.status(INVITE.replace(b"Forwards: 70", b"Forwards: 0")) == 483
    assert len(gate.hear(BYE.replace(b"Forwards: 70", b"Forwards: 0"))[0]) == 1


def own_hops(*uris: str) -> bytes:
    hops = "".join(f"Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKours{mark_of(uri)}\r\n" for uri in uris)
    return INVITE.replace(b"Max-Forwards", hops.encode() + b"Max-Forwards")


def test_a_number_that_went_round_twice_is_a_loop_and_once_is_a_hairpin() -> None:
    number, other = "sip:+14255550123@carrier.example", "sip:+14255550199@carrier.example"
    assert len(Gate().hear(own_hops(number))[0]) == 1
    assert len(Gate().hear(own_hops(number, other, other))[0]) == 1
    assert Gate().status(own_hops(number, number)) == 482
    assert Gate(Limits(passes=1)).status(own_hops(number)) == 482
    foreign = own_hops(number, number).replace(b"127.0.0.1:5060", b"127.0.0.1:5099")
    assert len(Gate().hear(foreign)[0]) == 1


def test_our_own_invite_shows_as_a_pass_when_it_comes_back() -> None:
    gate = Gate(Limits(passes=1))
    gate.endpoint.request(
        "INVITE", "sip:+14255550123@carrier.example", PEER, from_="<sip:a@b>;tag=1", to="<sip:c@d>", call_id="c9",
        cseq=1, contact=gate.endpoint.contact(PEER), now=0.0,
    )  # fmt: skip
    ours = gate.endpoint.take_output()[0].data
    back = ours.replace(b"carrier.example SIP", b"gate.example SIP").replace(
        b"Via:", b"Via: SIP/2.0/UDP p;branch=z9hG4bKp\r\nVia:"
    )
    assert gate.status(back) == 482


def test_too_many_transactions() -> None:
    gate = Gate(Limits(transactions=2))
    for number in (1, 2):
        assert len(gate.hear(INVITE.replace(b"c1", b"c%d" % number).replace(b"Ka1", b"Kb%d" % number))[0]) == 1
    events, (answer,) = gate.hear(INVITE.replace(b"c1", b"c3").replace(b"Ka1", b"Kb3"))
    assert isinstance(answer, Response)
    assert (events, answer.status, answer.get("Retry-After")) == ([], 503, "10")
    assert gate.endpoint.load == 2
    assert len(gate.hear(BYE)[0]) == 1, "calls that are up may always end"
    assert gate.hear(INVITE.replace(b"c1", b"c2").replace(b"Ka1", b"Kb2")) == ([], []), "a repeated request is known"


HOP = b"Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKours%s\r\n" % mark_of("sip:+14255550123@c").encode()


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("MALFORMED", b"Contact: <sip:ann@192.0.2.1>\r\n", b""),
        ("MALFORMED", b"CSeq: 7", b"Call-ID: c2\r\nCSeq: 7"),
        ("METHOD_NOT_ALLOWED", b"INVITE", b"MESSAGE"),
        ("BAD_EVENT", b"INVITE", b"SUBSCRIBE"),
        ("BAD_EVENT", b"INVITE", b"PUBLISH"),
        ("NO_SUBSCRIPTION", b"INVITE", b"NOTIFY"),
        ("NO_TRANSFER", b"INVITE", b"REFER"),
        ("BAD_SCHEME", b"INVITE sip:+1", b"INVITE ftp:+1"),
        ("BAD_EXTENSION", b"CSeq", b"Require: teleport\r\nCSeq"),
        ("LOOP", b"Max-", HOP * 2 + b"Max-"),
        ("MERGED", b"z9hG4bKa1", b"z9hG4bKa2"),
        ("TOO_MANY_HOPS", b"Forwards: 70", b"Forwards: 0"),
        ("UNKNOWN_METHOD", b"INVITE", b"BEAM"),
        ("OVERLOADED", b"c1", b"c2"),
        ("BAD_VERSION", b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"),
        ("TOO_LARGE", b"Content-Length: 0\r\n\r\n", b"Content-Length: 99999\r\n\r\n" + 99_999 * b"x"),
    ],
)
def test_every_refusal_names_its_code_and_cause(code: str, old: bytes, new: bytes) -> None:
    """Once only refusals of calls did; those of SIP's own had no Reason, and some no Warning."""
    gate, reason = Gate(Limits(transactions=1 if code == "OVERLOADED" else 9)), SIP_REASONS[code]
    if code in ("MERGED", "OVERLOADED"):
        gate.hear(INVITE)
    _, (answer,) = gate.hear(INVITE.replace(old, new).replace(b"Ka1", b"Ka2"))
    assert isinstance(answer, Response)
    assert answer.status == reason.status
    assert (answer.get("Warning") or "").startswith(f'399 callgate "{code}: ')
    assert answer.get("Reason") == f'Q.850;cause={q850_of(reason.status)};text="{reason.text}"'
    assert (answer.get("Retry-After") is not None) == (code == "OVERLOADED"), "of limits of the whole gate only"


@pytest.mark.parametrize(
    "contact", [b"<tel:+14255550100>", b"<sip:>", b"*", b"<sip:a@b>, <sip:c@d>", b"<sip:a@b", b"<mailto:a@b>"]
)
def test_an_invite_that_could_not_be_called_back_is_refused(contact: bytes) -> None:
    assert Gate().status(INVITE.replace(b"<sip:ann@192.0.2.1>", contact)) == 400


def test_a_record_route_that_cannot_be_read_is_refused() -> None:
    assert Gate().status(INVITE.replace(b"CSeq", b"Record-Route: <sip:p1;lr\r\nCSeq")) == 400


def test_an_emergency_urn_and_a_telephone_number_are_addresses() -> None:
    for uri in (b"urn:service:sos", b"tel:+14255550123", b"sips:a@b"):
        assert len(Gate().hear(INVITE.replace(b"sip:+14255550123@gate.example SIP", uri + b" SIP"))[0]) == 1


def test_a_2xx_that_nobody_waits_for_is_told_if_it_is_an_answer_to_us() -> None:
    gate = Gate()
    stray = INVITE.replace(b"INVITE sip:+14255550123@gate.example SIP/2.0", b"SIP/2.0 200 OK")
    stray = stray.replace(b"192.0.2.1:5060;", b"127.0.0.1:5060;rport=5060;")
    events, answers = gate.hear(stray)
    assert ([type(event) for event in events], answers) == ([StrayAnswer], [])
    for other in (
        stray.replace(b"127.0.0.1", b"127.0.0.9"),
        stray.replace(b"127.0.0.1:5060", b"127.0.0.1:5099"),
        stray.replace(b"z9hG4bKa1", b"a1"),
        stray.replace(b"200 OK", b"180 Ringing"),
        stray.replace(b"200 OK", b"404 Not Found"),
        stray.replace(b"7 INVITE", b"7 BYE"),
        stray.replace(b"To: <", b"To: <<"),
        stray.replace(b"Via: ", b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa0\r\nVia: "),
        stray.replace(b"SIP/2.0/UDP 127", b"SIP/2.0/UDP;127"),
    ):
        assert gate.hear(other) == ([], [])
    tcp = stray.replace(b"UDP 127.0.0.1:5060", b"TCP 127.0.0.1:5062")
    assert len(gate.hear(tcp, Flow("tcp", "192.0.2.1", 5060, 3))[0]) == 1


def test_an_unanswered_ack_is_handed_up_and_never_answered() -> None:
    for ack in (ACK, ACK.replace(b"sip:+1", b"???"), ACK.replace(b"CSeq", b"Require: teleport\r\nCSeq")):
        events, answers = Gate().hear(ack)
        assert ([type(event) for event in events], answers) == ([AckArrived], [])


def test_identity() -> None:
    plain = Identity("192.0.2.9", 5070, ports={"tcp": 5071})
    assert plain.contact() == "<sip:192.0.2.9:5070>"
    assert plain.contact("tcp", "ann") == "<sip:ann@192.0.2.9:5071;transport=tcp>"
    assert plain.via("udp", "z9hG4bKx") == "SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bKx"
    assert Identity("2001:db8::1", 5060).contact() == "<sip:[2001:db8::1]:5060>"


def test_what_went_by_is_counted_without_names_that_a_peer_makes_up() -> None:
    gate = Gate(product="gate")
    gate.hear(OPTIONS)
    gate.hear(INVITE)
    gate.hear(INVITE)
    for number in range(20):
        assert gate.status(OPTIONS.replace(b"OPTIONS", b"MADEUP%d" % number)) == 501
    counts = gate.endpoint.counts
    assert counts.messages == {
        ("in", "OPTIONS", 0): 1,
        ("out", "OPTIONS", 200): 1,
        ("in", "INVITE", 0): 2,
        ("in", "other", 0): 20,
        ("out", "other", 501): 20,
    }
    assert (counts.repeated_in, counts.repeated_out, counts.parse_errors) == (1, 0, 0)


def test_a_request_of_ours_carries_what_it_is_given() -> None:
    gate = Gate(product="gate 1")
    branch, target = gate.endpoint.new_branch(), Flow("tcp", "192.0.2.5", 5060)
    sent = gate.endpoint.request(
        "INVITE", "sip:bob@carrier.example", target, from_="<sip:a@b>;tag=1", to="<sip:bob@carrier.example>",
        call_id="c5", cseq=3, route=["<sip:p;lr>"], max_forwards=12, contact=gate.endpoint.contact(target),
        headers=[("X-A", "1")], body=b"v=0", content_type="application/sdp", branch=branch, owner="me", now=0.0,
    )  # fmt: skip
    (send,) = gate.endpoint.take_output()
    invite = parse(send.data)
    assert isinstance(invite, Request)
    assert (invite.top_via.branch, invite.top_via.transport, invite.top_via.port) == (branch, "TCP", 5062)
    assert (invite.max_forwards, invite.values("Route"), invite.get("X-A")) == (12, ["<sip:p;lr>"], "1")
    assert (invite.get("User-Agent"), invite.get("Content-Type"), invite.body) == ("gate 1", "application/sdp", b"v=0")
    assert (sent.owner, sent.branch, sent.request_bytes, send.flow) == ("me", branch, send.data, sent.target)


def test_the_timestamp_is_copied_into_100_alone() -> None:
    """RFC 3261 8.2.6.1; it measures the way to here, which says nothing of the call's."""
    gate = Gate()
    (event,), _ = gate.hear(INVITE.replace(b"CSeq", b"Timestamp: 54.25\r\nCSeq"))
    assert isinstance(event, InviteArrived)
    gate.endpoint.respond(event.transaction, 100, now=0.0)
    gate.endpoint.respond(event.transaction, 180, now=0.0)
    trying, ringing = (parse(sent.data) for sent in gate.endpoint.take_output())
    assert (trying.get("Timestamp"), ringing.get("Timestamp")) == ("54.25", None)


def test_extensions_of_the_two_ends_may_be_required() -> None:
    events, _ = Gate().hear(INVITE.replace(b"CSeq", b"Require: precondition, histinfo\r\nCSeq"))
    assert len(events) == 1
    _, (answer,) = Gate().hear(INVITE.replace(b"CSeq", b"Require: precondition, replaces\r\nCSeq"))
    assert isinstance(answer, Response)
    assert (answer.status, answer.get("Unsupported")) == (420, "replaces")
