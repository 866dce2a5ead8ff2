"""The four transaction machines, each timer of them, by two endpoints on a fake link in fake time."""

import pytest

from gateway.sip import transaction
from gateway.sip.endpoint import Timers
from gateway.sip.events import (
    AckArrived,
    AckMissing,
    CancelArrived,
    InviteArrived,
    RequestArrived,
    RequestFailed,
    ResponseArrived,
    StrayAnswer,
)
from tests.gateway.sip.link import Link


def test_a_call_over_a_good_link_repeats_nothing_and_leaves_nothing_behind() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    for status in (100, 180, 200):
        link.answer(status)
        link.run(link.now + 0.1)
    link.acknowledge()
    link.run(1.0)
    link.ask("BYE")
    link.run(1.1)
    link.answer(200)
    link.run(200.0)
    assert link.ann.lines() == ["INVITE", "ACK", "BYE"]
    assert link.bob.lines() == ["100 INVITE", "180 INVITE", "200 INVITE", "200 BYE"]
    assert link.ann.statuses() == [100, 180, 200, 200]
    assert [type(event) for event in link.bob.events] == [InviteArrived, AckArrived, RequestArrived]
    assert (link.ann.endpoint.load, link.bob.endpoint.load) == (0, 0)
    assert (len(link.ann.deadlines), len(link.bob.deadlines)) == (0, 0)
    assert link.bob.endpoint.counts.repeated_in == link.ann.endpoint.counts.repeated_out == 0


# INVITE client


def test_timer_a_doubles_without_bound_until_timer_b_ends_it() -> None:
    link = Link(drop={"INVITE"})
    sent = link.invite(owner="mine")
    link.run(100.0)
    assert link.ann.times("INVITE") == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    (failed,) = link.ann.events
    assert failed == RequestFailed(sent, timeout=True)
    assert (failed.transaction.owner, sent.finished, link.ann.endpoint.load) == ("mine", True, 0)


def test_timers_are_made_of_t1_t2_and_t4() -> None:
    link = Link(drop={"INVITE", "INFO"}, timers=Timers(t1=0.1, t2=0.4, t4=0.5))
    link.invite()
    link.ask()
    link.run(100.0)
    assert link.ann.times("INVITE") == [0.0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3]
    assert link.ann.times("INFO")[:6] == [0.0, 0.1, 0.3, 0.7, 1.1, 1.5]
    assert [event.timeout for event in link.ann.got(RequestFailed)] == [True, True]


def test_a_provisional_response_ends_timers_a_and_b() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(500.0)
    assert link.ann.times("INVITE") == [0.0]
    assert link.ann.got(RequestFailed) == []
    link.answer(200)
    link.run(500.1)
    assert link.ann.statuses() == [180, 200]


def test_every_2xx_is_delivered_for_64_t1_and_is_a_stray_one_later() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(31.0)
    assert len(link.ann.got(ResponseArrived)) > 5
    assert link.ann.got(StrayAnswer) == []
    final = link.bob.sent[-1][1]
    link.run(33.0)
    assert link.ann.endpoint.load == 0
    link.ann.endpoint.receive(final, link.bob.flow, link.now)
    link.run(33.1)
    (stray,) = link.ann.got(StrayAnswer)
    assert (stray.response.status, stray.flow) == (200, link.bob.flow)


def test_the_2xx_of_two_forks_are_both_delivered() -> None:
    link = Link(drop={"200 INVITE"})
    link.invite()
    link.run(0.1)
    link.answer(200, to_tag="fork-a")
    link.run(0.2)
    first = link.bob.sent[-1][1]
    for tag in (b"fork-a", b"fork-b", b"fork-b"):
        link.ann.endpoint.receive(first.replace(b"fork-a", tag), link.bob.flow, link.now)
    link.run(0.3)
    assert [event.response.to.tag for event in link.ann.got(ResponseArrived)] == ["fork-a", "fork-b", "fork-b"]


def test_a_refusal_is_acknowledged_by_the_transaction_as_often_as_it_comes() -> None:
    link = Link(drop={"ACK"})
    link.invite(route=("<sip:192.0.2.2;lr>",), headers=(("X-Test", "1"),))
    link.run(0.1)
    link.answer(486)
    link.run(5.0)
    assert link.ann.statuses() == [486]
    acks = [data for _, data in link.ann.sent if data.startswith(b"ACK")]
    assert len(acks) == len(link.bob.times("486 INVITE")) == 4
    assert len(set(acks)) == 1
    assert b"\r\nRoute: <sip:192.0.2.2;lr>\r\n" in acks[0]
    assert b"X-Test" not in acks[0]
    invite_via = link.ann.sent[0][1].split(b"\r\n")[1]
    assert acks[0].split(b"\r\n")[1] == invite_via
    link.drop.clear()
    link.run(100.0)
    assert link.bob.got(AckArrived) == []
    assert link.bob.got(AckMissing) == []


@pytest.mark.parametrize(("transport", "lingers_s"), [("udp", 32.0), ("tcp", 0.0)])
def test_timer_d_absorbs_repeated_refusals_on_datagrams_only(transport: str, lingers_s: float) -> None:
    link = Link(transport=transport)
    link.invite()
    link.run(0.1)
    link.answer(404)
    link.run(max(0.2, lingers_s))
    assert link.ann.endpoint.load == (1 if lingers_s else 0)
    link.run(lingers_s + 0.3)
    assert link.ann.endpoint.load == 0


def test_a_transport_error_fails_what_nobody_has_answered() -> None:
    link = Link()
    invite = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    question = link.ask()
    link.ann.endpoint.send_failed(link.bob.flow._replace(local=7), link.now)
    link.ann.endpoint.connection_lost(link.ann.flow, link.now)
    link.run(0.2)
    assert link.ann.got(RequestFailed) == [RequestFailed(question, timeout=False)]
    assert not invite.finished


# non-INVITE client


def test_timer_e_doubles_up_to_t2_until_timer_f_ends_it() -> None:
    link = Link(drop={"INFO"})
    sent = link.ask()
    link.run(100.0)
    assert link.ann.times("INFO") == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert link.ann.events == [RequestFailed(sent, timeout=True)]


def test_a_provisional_response_slows_timer_e_to_t2() -> None:
    link = Link(drop={"200 INFO"})
    link.ask()
    link.run(0.1)
    link.answer(100)
    link.run(40.0)
    assert link.ann.times("INFO") == [0.0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert link.ann.statuses() == [100] * 9
    assert [event.timeout for event in link.ann.got(RequestFailed)] == [True]


def test_timer_k_absorbs_repeated_answers() -> None:
    link = Link(repeat=1.0)
    link.ask()
    link.run(0.1)
    link.answer(200)
    link.run(5.0)
    assert (link.ann.statuses(), link.ann.endpoint.load) == ([200], 1)
    assert len(link.bob.got(RequestArrived)) == 1
    link.run(5.2)
    assert link.ann.endpoint.load == 0
    assert link.ann.got(StrayAnswer) == []


def test_on_a_stream_nothing_is_repeated_and_timer_f_still_ends_it() -> None:
    link = Link(transport="tcp", drop={"INFO", "INVITE"})
    link.ask()
    link.invite()
    link.run(31.9)
    assert link.ann.lines() == ["INFO", "INVITE"]
    assert link.ann.events == []
    link.run(32.1)
    assert [event.timeout for event in link.ann.got(RequestFailed)] == [True, True]
    assert link.ann.endpoint.load == 0


# INVITE server


def test_a_repeated_invite_gets_the_last_provisional_answer_again() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    invite = link.ann.sent[0][1]
    link.bob.endpoint.receive(invite, link.ann.flow, link.now)
    link.run(0.2)
    assert link.bob.lines() == []
    link.answer(100)
    link.answer(180)
    link.bob.endpoint.receive(invite, link.ann.flow, link.now)
    link.run(0.3)
    assert link.bob.lines() == ["100 INVITE", "180 INVITE", "180 INVITE"]
    assert len(link.bob.got(InviteArrived)) == 1


def test_an_invite_repeated_after_its_2xx_is_absorbed() -> None:
    link = Link(drop={"200 INVITE"})
    link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(20.0)
    assert link.ann.times("INVITE") == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert link.bob.times("200 INVITE") == [0.1, 0.6, 1.6, 3.6, 7.6, 11.6, 15.6, 19.6]
    assert len(link.bob.got(InviteArrived)) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_2xx_is_repeated_on_any_transport_until_its_ack(transport: str) -> None:
    link = Link(transport=transport)
    link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(2.0)
    ack = link.acknowledge()
    link.run(2.1)
    link.ann.endpoint.resend(ack, link.bob.flow)
    link.run(100.0)
    assert link.bob.times("200 INVITE") == [0.1, 0.6, 1.6]
    assert link.acks() == 2
    assert link.bob.got(AckMissing) == []
    assert (link.bob.endpoint.load, len(link.bob.deadlines)) == (0, 0)


def test_an_ack_that_never_comes_is_missed_after_64_t1() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(200)
    server = link.asked()
    link.run(32.05)
    assert link.bob.got(AckMissing) == []
    link.run(32.2)
    assert link.bob.got(AckMissing) == [AckMissing(server)]
    assert link.bob.endpoint.load == 0


def test_an_ack_of_another_call_or_number_acknowledges_nothing() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(0.2)
    ack = link.acknowledge()
    link.ann.endpoint.take_output()
    for wrong in (
        ack.replace(b"call-1", b"call-2"),
        ack.replace(b"CSeq: 1", b"CSeq: 2"),
        ack.replace(b"tag=2x", b"tag=3x"),
    ):
        link.bob.endpoint.receive(wrong, link.ann.flow, link.now)
    link.run(2.0)
    assert len(link.bob.times("200 INVITE")) == 3


def test_an_ack_to_a_2xx_with_the_branch_of_the_invite_is_taken_all_the_same() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(0.2)
    ack = link.acknowledge()
    link.ann.endpoint.take_output()
    branch = parse_branch(ack)
    link.bob.endpoint.receive(ack.replace(branch, sent.branch.encode()), link.ann.flow, link.now)
    link.run(5.0)
    assert (link.acks(), link.bob.times("200 INVITE")) == (1, [0.1])


def parse_branch(data: bytes) -> bytes:
    return data.partition(b";branch=")[2].partition(b"\r\n")[0]


def test_a_call_that_is_over_waits_for_no_ack() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(200)
    link.run(0.7)
    link.bob.endpoint.settled(link.asked())
    link.run(100.0)
    assert link.bob.times("200 INVITE") == [0.1, 0.6]
    assert link.bob.got(AckMissing) == []


def test_timer_g_repeats_a_refusal_on_datagrams_until_timer_h() -> None:
    link = Link(drop={"ACK"})
    link.invite()
    link.run(0.1)
    link.answer(503)
    server = link.asked()
    link.run(100.0)
    assert link.bob.times("503 INVITE") == [0.1, 0.6, 1.6, 3.6, 7.6, 11.6, 15.6, 19.6, 23.6, 27.6, 31.6]
    assert link.bob.got(AckMissing) == [AckMissing(server)]
    assert link.bob.endpoint.load == 0


def test_on_a_stream_a_refusal_goes_once_and_timer_h_still_runs() -> None:
    link = Link(transport="tcp", drop={"ACK"})
    link.invite()
    link.run(0.1)
    link.answer(503)
    link.run(100.0)
    assert link.bob.times("503 INVITE") == [0.1]
    assert len(link.bob.got(AckMissing)) == 1


@pytest.mark.parametrize(("transport", "lingers_s"), [("udp", 5.0), ("tcp", 0.0)])
def test_timer_i_absorbs_acks(transport: str, lingers_s: float) -> None:
    link = Link(transport=transport)
    link.invite()
    link.run(0.1)
    link.answer(486)
    link.run(max(0.2, lingers_s))
    ack = next(data for _, data in link.ann.sent if data.startswith(b"ACK"))
    assert link.bob.endpoint.load == (1 if lingers_s else 0)
    if lingers_s:
        link.bob.endpoint.receive(ack, link.ann.flow, link.now)
    link.run(0.2 + lingers_s)
    assert link.bob.endpoint.load == 0
    assert link.bob.got(AckArrived) == []


def test_only_the_first_final_answer_counts() -> None:
    link = Link()
    link.invite()
    link.run(0.1)
    link.answer(486)
    link.answer(200)
    link.answer(180)
    link.run(1.0)
    assert link.bob.lines() == ["486 INVITE"]
    assert link.asked().status == 486


# non-INVITE server


def test_a_repeated_request_gets_its_answer_again_for_timer_j() -> None:
    link = Link(drop={"200 INFO"})
    link.ask()
    link.run(0.1)
    link.answer(200)
    link.run(31.0)
    assert len(link.bob.times("200 INFO")) == len(link.ann.times("INFO")) == 10
    assert len(link.bob.got(RequestArrived)) == 1
    link.run(32.2)
    assert link.bob.endpoint.load == 0


def test_before_its_answer_a_repeated_request_gets_nothing() -> None:
    link = Link()
    link.ask()
    link.run(10.0)
    assert link.bob.lines() == []
    assert len(link.bob.got(RequestArrived)) == 1


# CANCEL


def test_a_cancel_waits_for_a_provisional_response() -> None:
    link = Link()
    sent = link.invite(route=("<sip:192.0.2.2;lr>",))
    link.run(0.1)
    link.ann.endpoint.cancel(sent, headers=(("Reason", "SIP;cause=200"),), now=link.now)
    link.run(0.2)
    assert link.ann.lines() == ["INVITE"]
    link.answer(180)
    link.run(0.3)
    assert link.ann.lines() == ["INVITE", "CANCEL"]
    (cancelled,) = link.bob.got(CancelArrived)
    assert cancelled.transaction is link.asked()
    assert (cancelled.request.get("Reason"), cancelled.request.all("Route")) == (
        "SIP;cause=200",
        ["<sip:192.0.2.2;lr>"],
    )
    assert cancelled.request.top_via.branch == sent.branch
    link.answer(487)
    link.run(100.0)
    assert link.ann.lines() == ["INVITE", "CANCEL", "ACK"]
    assert link.ann.statuses() == [180, 487]
    tags = {
        line.partition(b";tag=")[2]
        for _, data in link.bob.sent
        for line in data.split(b"\r\n")
        if line.startswith(b"To:")
    }
    assert len(tags) == 1
    assert (link.ann.endpoint.load, link.bob.endpoint.load) == (0, 0)


def test_a_cancel_goes_at_once_where_it_rings_and_only_once() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    for _ in range(3):
        link.ann.endpoint.cancel(sent, now=link.now)
        link.run(link.now + 0.1)
    assert link.ann.times("CANCEL") == [0.2]


def test_a_cancel_that_crosses_the_2xx_changes_nothing() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    link.answer(200)
    link.ann.endpoint.cancel(sent, now=link.now)
    link.run(0.3)
    assert link.bob.got(CancelArrived) == []
    assert "200 CANCEL" in link.bob.lines()
    assert link.ann.statuses() == [180, 200]
    link.ann.endpoint.cancel(sent, now=link.now)
    link.run(0.4)
    assert link.ann.lines().count("CANCEL") == 1


def test_a_final_answer_saves_a_waiting_cancel() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.ann.endpoint.cancel(sent, now=link.now)
    link.answer(486)
    link.run(0.3)
    assert link.ann.lines() == ["INVITE", "ACK"]


def test_a_repeated_cancel_is_answered_again_and_told_once() -> None:
    link = Link(drop={"200 CANCEL"})
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    link.ann.endpoint.cancel(sent, now=link.now)
    link.run(5.0)
    assert len(link.bob.times("200 CANCEL")) == len(link.ann.times("CANCEL")) == 4
    assert len(link.bob.got(CancelArrived)) == 1


def test_a_cancel_of_nothing_gets_481() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(0.2)
    link.ann.endpoint.cancel(sent, now=link.now)
    cancel = link.ann.endpoint.take_output()[0].data
    link.bob.endpoint.receive(cancel.replace(sent.branch.encode(), b"z9hG4bKother"), link.ann.flow, link.now)
    link.run(0.3)
    assert link.bob.lines() == ["180 INVITE", "481 CANCEL"]
    assert link.bob.got(CancelArrived) == []


def test_an_invite_whose_cancel_leads_to_nothing_is_given_up_after_64_t1() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    link.answer(180)
    link.run(1.0)
    link.ann.endpoint.cancel(sent, now=link.now)
    link.run(32.9)
    assert link.ann.got(RequestFailed) == []
    link.run(33.1)
    assert link.ann.got(RequestFailed) == [RequestFailed(sent, timeout=True)]


# RFC 2543


def test_without_a_magic_cookie_requests_match_by_what_rfc_2543_had() -> None:
    link = Link()
    sent = link.invite()
    link.run(0.1)
    invite = link.ann.sent[0][1].replace(sent.branch.encode(), b"1")
    link.bob.endpoint.receive(invite.replace(b"call-1", b"old-1"), link.ann.flow, link.now)
    link.bob.endpoint.receive(invite.replace(b"call-1", b"old-2"), link.ann.flow, link.now)
    link.run(0.2)
    assert len(link.bob.got(InviteArrived)) == 3
    link.bob.endpoint.receive(invite.replace(b"call-1", b"old-2"), link.ann.flow, link.now)
    link.run(0.2)
    assert len(link.bob.got(InviteArrived)) == 3
    link.answer(486, to_tag="old-tag")
    ack = invite.replace(b"call-1", b"old-2").replace(b"INVITE sip", b"ACK sip").replace(b"1 INVITE", b"1 ACK")
    link.run(0.3)
    state = link.asked().state
    link.bob.endpoint.receive(ack, link.ann.flow, link.now)
    assert link.asked().state == state == transaction.COMPLETED
    tagged = ack.replace(b"To: <sip:bob@192.0.2.2>", b"To: <sip:bob@192.0.2.2>;tag=old-tag")
    link.bob.endpoint.receive(tagged, link.ann.flow, link.now)
    assert link.asked().state == transaction.CONFIRMED
    link.run(0.4)
    assert link.bob.got(AckArrived) == []


def test_a_branch_is_a_transaction_for_one_sender_and_one_method_only() -> None:
    link = Link()
    sent = link.ask()
    link.run(0.1)
    info = link.ann.sent[0][1]
    link.bob.endpoint.receive(info.replace(b"192.0.2.1:5060;rport", b"192.0.2.9:5060;rport"), link.ann.flow, link.now)
    link.bob.endpoint.receive(info.replace(b"INFO", b"UPDATE"), link.ann.flow, link.now)
    link.bob.endpoint.receive(info, link.ann.flow, link.now)
    link.run(0.1)
    assert [event.request.method for event in link.bob.got(RequestArrived)] == ["INFO", "INFO", "UPDATE"]
    link.answer(200)
    answer = next(data for _, data in link.ann.sent)
    assert sent.branch.encode() in answer
    wrong = b"SIP/2.0 200 OK" + info[info.index(b"\r\n") :].replace(b"2 INFO", b"2 BYE")
    link.ann.endpoint.receive(wrong, link.bob.flow, link.now)
    assert link.ann.endpoint.take_events() == []
