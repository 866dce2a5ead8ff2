"""RFC 4028 on each leg by itself, and the question whether a peer without session timers is still there."""

from typing import Any

import pytest

from gateway.call.commands import Settle
from gateway.call.record import decode_record
from gateway.call.session_timer import Duty, SessionTimer
from gateway.call.settings import CallSettings
from gateway.sip.message import Request, Response, parse
from gateway.sip.transaction import ClientTransaction
from rating.tariff import Tariff
from tests.gateway.call.world import CARRIER, OFFER, PBX, REPLY, Headers, Options, World, allow

TIMER = (("Supported", "timer"),)
FREE = allow(tariff=None, payer="none")


def world_with(interval_s: int = 200) -> World:
    return World(Options(verdict=FREE, settings=CallSettings(session_expires_s=interval_s)))


def answered(world: World, *, caller: Headers = (), called: Headers = ()) -> None:
    world.caller.invite(headers=caller)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=called)
    world.caller.ack(world.caller.dialog())


def request(*headers: str) -> Request:
    lines = "\r\n".join(
        ("INVITE sip:b@x SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@x>;tag=1", "To: <sip:b@x>",
         "Call-ID: c", "CSeq: 1 INVITE", *headers, "Content-Length: 0")
    )  # fmt: skip
    message = parse(f"{lines}\r\n\r\n".encode())
    assert isinstance(message, Request)
    return message


def response(*headers: str) -> Response:
    lines = "\r\n".join(
        ("SIP/2.0 200 OK", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@x>;tag=1", "To: <sip:b@x>;tag=2",
         "Call-ID: c", "CSeq: 1 INVITE", *headers, "Content-Length: 0")
    )  # fmt: skip
    message = parse(f"{lines}\r\n\r\n".encode())
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("asked", "interval_s", "duty", "said"),
    [
        (("Supported: timer",), 1800, Duty.WATCH, "1800;refresher=uac"),
        (("Supported: timer", "Session-Expires: 600"), 600, Duty.WATCH, "600;refresher=uac"),
        (("Supported: timer", "Session-Expires: 7200"), 1800, Duty.WATCH, "1800;refresher=uac"),
        (("Supported: timer", "Session-Expires: 7200", "Min-SE: 3600"), 3600, Duty.WATCH, "3600;refresher=uac"),
        (("Supported: 100rel, timer", "Session-Expires: 600;refresher=uas"), 600, Duty.REFRESH, "600;refresher=uas"),
        (("k: timer", "x: 600;Refresher=UAC"), 600, Duty.WATCH, "600;refresher=uac"),
        (("Supported: timer", "Session-Expires: soon"), 1800, Duty.WATCH, "1800;refresher=uac"),
    ],
)
def test_what_the_gate_agrees_to_as_uas(asked: tuple[str, ...], interval_s: int, duty: Duty, said: str) -> None:
    timer = SessionTimer(1800)
    headers = dict(timer.accept(request(*asked)))
    assert (timer.interval_s, timer.duty, headers["Session-Expires"]) == (interval_s, duty, said)
    assert ("Require" in headers) == (duty is Duty.WATCH)


def test_nothing_is_agreed_with_a_peer_that_knows_no_timers_or_when_they_are_off() -> None:
    timer, off = SessionTimer(1800), SessionTimer(0)
    assert timer.accept(request("Session-Expires: 600")) == ()
    assert timer.duty is Duty.PROBE
    assert off.accept(request("Supported: timer", "Session-Expires: 600")) == ()
    assert off.duty is Duty.NONE


@pytest.mark.parametrize(
    ("said", "interval_s", "duty"),
    [
        ("Session-Expires: 600;refresher=uac", 600, Duty.REFRESH),
        ("Session-Expires: 600;refresher=uas", 600, Duty.WATCH),
        ("Session-Expires: 600", 600, Duty.REFRESH),
        ("Session-Expires: 60;refresher=uac", 60, Duty.REFRESH),
        ("Session-Expires: 1;refresher=uac", 20, Duty.REFRESH),
        ("Session-Expires: 60;refresher=uas", 90, Duty.WATCH),
        ("Session-Expires: 999999;refresher=uac", 86_400, Duty.REFRESH),
        ("Subject: none", 1800, Duty.PROBE),
    ],
)
def test_what_the_gate_takes_from_an_answer_as_uac(said: str, interval_s: int, duty: Duty) -> None:
    timer = SessionTimer(1800)
    timer.agree(response(said))
    assert (timer.interval_s, timer.duty) == (interval_s, duty)


def test_a_watched_session_ends_a_third_or_32_seconds_before_it_expires() -> None:
    timer = SessionTimer(1800)
    timer.accept(request("Supported: timer", "Session-Expires: 90"))
    assert timer.due_at(1000.0) == 1060.0
    timer.accept(request("Supported: timer", "Session-Expires: 900"))
    assert timer.due_at(1000.0) == 1868.0


def test_an_interval_below_90_seconds_is_422() -> None:
    world = world_with()
    world.caller.invite(headers=(*TIMER, ("Session-Expires", "60")))
    refused = world.caller.response(422)
    assert refused.get("Min-SE") == "90"
    assert refused.get("Warning") == '399 callgate "INTERVAL_TOO_SMALL: the session interval is too small"'
    assert refused.get("Reason") == 'Q.850;cause=31;text="the session interval is too small"'
    assert world.called.story() == ""
    assert world.is_clean()


def test_nothing_of_it_is_copied_across() -> None:
    world = world_with()
    answered(
        world,
        caller=(*TIMER, ("Session-Expires", "150;refresher=uac"), ("Min-SE", "120")),
        called=(*TIMER, ("Session-Expires", "100;refresher=uas")),
    )
    sent, got = world.called.request("INVITE"), world.caller.response(200, "INVITE")
    assert (sent.get("Session-Expires"), sent.get("Min-SE"), sent.get("Supported")) == ("200", None, "timer")
    assert (got.get("Session-Expires"), got.get("Require")) == ("150;refresher=uac", "timer")


def test_a_422_of_the_called_side_is_answered_with_a_larger_interval() -> None:
    world = world_with()
    world.caller.invite()
    world.called.answer("INVITE", 422, headers=(("Min-SE", "900"),))
    second = world.called.request("INVITE")
    assert (second.get("Session-Expires"), second.get("Min-SE"), second.cseq[0]) == ("900", "900", 2)
    assert second.call_id == world.called.got("INVITE")[0].message.call_id
    world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=(*TIMER, ("Session-Expires", "900")))
    assert world.caller.response(200)


@pytest.mark.parametrize("least", ["", "90", "999999", "soon"])
def test_a_called_side_that_refuses_every_interval_is_asked_for_none(least: str) -> None:
    """Nothing of session timers is said to it any more, and while they talk it is asked whether it is there."""
    world = world_with()
    world.caller.invite()
    world.called.answer("INVITE", 422, headers=(("Min-SE", least),) if least else ())
    second = world.called.request("INVITE")
    assert (second.get("Session-Expires"), second.get("Min-SE"), second.get("Supported")) == (None, None, None)
    assert (second.body, second.cseq[0]) == (OFFER, 2)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    world.run(100.5)
    assert world.called.got("OPTIONS")


def test_a_422_that_does_not_end_ends_the_call_and_the_caller_is_not_told_of_intervals() -> None:
    world = world_with()
    world.caller.invite()
    for least in (300, 400, 500, 600, 700):
        world.called.answer("INVITE", 422, headers=(("Min-SE", str(least)),))
    assert [seen.message.get("Session-Expires") for seen in world.called.got("INVITE")] == [
        "200", "300", "400", "500", None,
    ]  # fmt: skip
    refused = world.caller.response(500)
    assert (refused.get("Min-SE"), world.caller.got(422)) == (None, [])
    assert world.is_clean()


def test_the_gate_refreshes_by_update_where_the_peer_leaves_it_to_the_gate() -> None:
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "INVITE, UPDATE, BYE"), ("Session-Expires", "100;refresher=uac")))
    for number in (1, 2, 3):
        world.run(50.5)
        assert len(world.called.got("UPDATE")) == number
        update = world.called.request("UPDATE")
        assert (update.get("Session-Expires"), update.body) == ("100;refresher=uac", b"")
        world.called.answer("UPDATE", 200, headers=(*TIMER, ("Session-Expires", "100;refresher=uac")))
        for probe in list(world.caller.waiting):
            world.caller.answer(probe.method, 200)
    assert world.caller.got("UPDATE") == [], "the other leg hears nothing of it"
    assert len(world.b2bua) == 1


def test_the_gate_refreshes_by_re_invite_with_the_same_sdp_where_there_is_no_update() -> None:
    world = world_with()
    answered(world, caller=(*TIMER, ("Session-Expires", "100;refresher=uas"), ("Allow", "INVITE, BYE")))
    world.run(50.5)
    refresh = world.caller.request("INVITE")
    assert (refresh.body, refresh.get("Session-Expires")) == (REPLY, "100;refresher=uac")
    world.caller.answer("INVITE", 200, headers=(("Session-Expires", "100;refresher=uac"),))
    assert world.caller.got("ACK")
    assert len(world.called.got("INVITE")) == 1


def test_an_update_that_is_not_known_is_followed_by_a_re_invite() -> None:
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "100;refresher=uac")))
    world.run(50.5)
    world.called.answer("UPDATE", 501)
    assert len(world.called.got("INVITE")) == 2


def test_a_refresh_of_the_peer_is_answered_by_the_gate_and_counts() -> None:
    world = world_with()
    answered(world, caller=(*TIMER, ("Session-Expires", "100;refresher=uac")))
    dialog = world.caller.dialog()
    for _ in range(4):
        world.run(60.0)
        world.caller.send(dialog, "UPDATE", headers=(*TIMER, ("Session-Expires", "100;refresher=uac")))
        for probe in list(world.called.waiting):
            world.called.answer(probe.method, 200)
    assert len(world.caller.got(200, "UPDATE")) == 4
    assert world.caller.response(200, "UPDATE").get("Session-Expires") == "100;refresher=uac"
    assert world.called.got("UPDATE") == []
    assert len(world.b2bua) == 1


def test_a_peer_that_does_not_refresh_is_dead() -> None:
    world = world_with()
    answered(world, caller=(*TIMER, ("Session-Expires", "90;refresher=uac")))
    world.run(60.5)
    for phone in (world.caller, world.called):
        (bye,) = phone.got("BYE")
        assert bye.at_s == pytest.approx(1060.0)
        world.ok(phone, "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert decode_record(closed.record).reason == "DEAD_PEER"
    assert world.is_clean()


@pytest.mark.parametrize("gone", [PBX, CARRIER])
def test_whoever_vanishes_the_call_ends(gone: tuple[str, int]) -> None:
    """Peers without session timers: one host is switched off in mid-call."""
    world = world_with()
    answered(world)
    world.lose = lambda source, target, data: gone in (source, target)
    left = world.called if gone == PBX else world.caller
    world.run(150.0)
    for transaction in list(left.waiting):
        left.answer(transaction.method, 200)
    world.run(200.0)
    assert left.got("BYE")
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_a_peer_without_timers_is_asked_whether_it_is_there() -> None:
    world = world_with()
    answered(world)
    for _ in range(3):
        world.run(100.5)
        world.caller.answer("OPTIONS", 405)
        world.called.answer("OPTIONS", 200)
    assert len(world.b2bua) == 1
    world.run(100.5)
    world.caller.answer("OPTIONS", 481)
    assert world.called.got("BYE")


def test_a_glare_of_the_gates_own_refresh_is_tried_again() -> None:
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "100;refresher=uac")))
    world.run(50.5)
    world.called.answer("UPDATE", 491)
    world.run(3.1)
    assert len(world.called.got("UPDATE")) == 2


def test_a_refresh_waits_for_an_offer_that_is_open() -> None:
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "100;refresher=uac")))
    world.run(45.0)
    world.caller.send(world.caller.dialog(), "INVITE", body=REPLY)
    world.run(6.0)
    assert world.called.got("UPDATE") == []
    world.called.answer("INVITE", 200, body=REPLY, headers=(("Session-Expires", "100;refresher=uac"),))
    assert world.caller.got(200, "INVITE")


def test_off_means_off() -> None:
    world = World(Options(verdict=FREE, settings=CallSettings(session_expires_s=0)))
    answered(world, caller=(*TIMER, ("Session-Expires", "60")))
    assert world.called.request("INVITE").get("Session-Expires") is None
    assert world.caller.response(200, "INVITE").get("Session-Expires") is None
    world.run(10_000.0)
    assert world.caller.got("OPTIONS") == []
    assert len(world.b2bua) == 1


def refreshed_by_re_invite(world: World) -> None:
    """A called side that leaves the refreshing to the gate and knows no UPDATE."""
    answered(world, called=(*TIMER, ("Allow", "INVITE, BYE"), ("Session-Expires", "100;refresher=uac")))
    world.run(50.5)


def test_the_200_to_a_refresh_that_repeats_is_acknowledged_again() -> None:
    world = world_with()
    refreshed_by_re_invite(world)
    lost: list[bytes] = []

    def lose(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        if data.startswith(b"ACK") and not lost:
            lost.append(data)
            return True
        return False

    world.lose = lose
    acks = len(world.called.got("ACK"))
    world.called.answer("INVITE", 200, body=REPLY, headers=(("Session-Expires", "100;refresher=uac"),))
    world.run(1.0)
    assert lost
    assert len(world.called.got("ACK")) == acks + 1


def test_a_refresh_that_is_answered_after_the_end_is_acknowledged() -> None:
    world = world_with()
    refreshed_by_re_invite(world)
    waiting = world.called.pending("INVITE")
    world.called.say(waiting, 100)
    world.caller.send(world.caller.dialog(), "BYE")
    acks = len(world.called.got("ACK"))
    world.called.say(waiting, 200, body=REPLY)
    world.settle()
    assert len(world.called.got("ACK")) == acks + 1
    world.ok(world.called, "BYE")
    assert world.is_clean()


def test_an_offer_that_meets_the_gates_own_refresh_is_491() -> None:
    world = world_with()
    refreshed_by_re_invite(world)
    world.caller.send(world.caller.dialog(), "INVITE", body=REPLY)
    assert world.caller.response(491)
    assert len(world.called.got("INVITE")) == 2


def test_a_refresh_that_is_too_short_for_the_peer_is_sent_again_longer() -> None:
    world = world_with()
    refreshed_by_re_invite(world)
    world.called.answer("INVITE", 422, headers=(("Min-SE", "300"),))
    again = world.called.request("INVITE")
    assert (again.get("Session-Expires"), again.get("Min-SE")) == ("300;refresher=uac", "300")


def test_a_peer_that_agrees_to_less_than_may_be_is_refreshed_in_its_time() -> None:
    """60 s is less than RFC 4028 5 allows; the peer hangs up when it is not refreshed by then all the same."""
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "60;refresher=uac")))
    for number in (1, 2, 3):
        world.run(30.1)
        assert len(world.called.got("UPDATE")) == number
        assert world.called.request("UPDATE").get("Session-Expires") == "90;refresher=uac"
        world.called.answer("UPDATE", 200, headers=(*TIMER, ("Session-Expires", "60;refresher=uac")))


@pytest.mark.parametrize("every_s", [0, 7])
def test_a_refresh_that_is_refused_is_sent_again_before_the_session_expires(every_s: int) -> None:
    world = World(Options(FREE, CallSettings(session_expires_s=200, options_every_s=every_s)))
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "160;refresher=uac")))
    refreshed_at: list[float] = []
    for _ in range(3400):
        world.run(0.1)
        for phone in (world.caller, world.called):
            for waiting in list(phone.waiting):
                phone.answer(waiting.method, 500 if waiting.method == "UPDATE" else 200)
                if waiting.method == "UPDATE":
                    refreshed_at.append(world.now - 1000.0)
    assert refreshed_at == pytest.approx([80, 100, 120, 140, 220, 240, 260, 280], abs=1), "not without end"
    assert len(world.b2bua) == 1, "who answers is there"


def test_after_a_refresh_that_was_refused_once_all_goes_on_as_before() -> None:
    world = world_with()
    answered(world, called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "160;refresher=uac")))
    world.run(80.5)
    world.called.answer("UPDATE", 500, headers=(("Retry-After", "3"),))
    world.run(20.5)
    world.called.answer("UPDATE", 200, headers=(*TIMER, ("Session-Expires", "160;refresher=uac")))
    for probe in list(world.caller.waiting):
        world.caller.answer(probe.method, 200)
    world.run(79.0)
    assert len(world.called.got("UPDATE")) == 2
    world.run(2.0)
    assert len(world.called.got("UPDATE")) == 3


def in_talk_with_a_peer_that_refuses(world: World) -> ClientTransaction:
    """The caller's new offer is on its way to a called side that wants longer sessions now."""
    answered(world, called=(*TIMER, ("Session-Expires", "200;refresher=uac")))
    return world.caller.send(world.caller.dialog(), "INVITE", body=REPLY)


def test_an_offer_of_the_other_side_is_carried_again_with_a_longer_interval() -> None:
    world = world_with()
    in_talk_with_a_peer_that_refuses(world)
    world.called.answer("INVITE", 422, headers=(("Min-SE", "300"),))
    again = world.called.request("INVITE")
    assert (again.get("Session-Expires"), again.get("Min-SE"), again.body) == ("300;refresher=uac", "300", REPLY)
    world.called.answer("INVITE", 200, body=OFFER, headers=(*TIMER, ("Session-Expires", "300;refresher=uac")))
    assert world.caller.response(200, "INVITE").body == OFFER
    world.caller.ack(world.caller.dialog(), seq=2)
    assert len(world.called.got("ACK")) == 2


def test_an_offer_that_was_cancelled_is_not_carried_again() -> None:
    world = world_with()
    sent = in_talk_with_a_peer_that_refuses(world)
    world.called.say(world.called.pending("INVITE"), 100)
    world.settle()
    world.caller.cancel(sent)
    world.called.answer("INVITE", 422, headers=(("Min-SE", "300"),))
    assert len(world.called.got("INVITE")) == 2
    assert world.caller.got(422) == []
    assert len(world.b2bua) == 1


def test_a_re_invite_that_asks_for_too_short_an_interval_is_422() -> None:
    world = world_with()
    answered(world, caller=TIMER)
    world.caller.send(world.caller.dialog(), "UPDATE", headers=(*TIMER, ("Session-Expires", "30")))
    assert world.caller.response(422, "UPDATE").get("Min-SE") == "90"


@pytest.mark.parametrize("knows_timers", [True, False])
def test_a_peer_that_rings_on_a_re_invite_for_ever_is_dead(knows_timers: bool) -> None:
    """An open offer puts the gate's own refresh off, but not beyond the longest ringing."""
    world = world_with()
    agreed = (*TIMER, ("Allow", "INVITE"), ("Session-Expires", "100;refresher=uac"))
    answered(world, called=agreed if knows_timers else ())
    world.caller.send(world.caller.dialog(), "INVITE", body=REPLY)
    world.called.answer("INVITE", 180)
    for _ in range(10):
        world.run(30.0)
        for transaction in list(world.caller.waiting):
            world.caller.answer(transaction.method, 200)
    assert world.caller.response(487, "INVITE")
    assert world.called.got("CANCEL")
    assert world.called.got("BYE")
    world.run(100.0)
    assert world.is_clean()
    assert world.endpoint.load == 0


EVERY_S = 20


def asked_every_so_often(session_expires_s: int = 0, **paid: Any) -> World:
    settings = CallSettings(session_expires_s=session_expires_s, options_every_s=EVERY_S, tick_s=60)
    return World(Options(verdict=allow(**paid) if paid else FREE, settings=settings))


def test_each_side_is_asked_as_often_as_is_set_whatever_timers_there_are() -> None:
    world = asked_every_so_often()
    answered(world)
    for asked in range(1, 4):
        world.run(EVERY_S + 0.5)
        for phone in (world.caller, world.called):
            assert len(phone.got("OPTIONS")) == asked
            phone.answer("OPTIONS", 200)
    world.run(EVERY_S + 0.5)
    world.called.answer("OPTIONS", 481)
    assert world.caller.got("BYE")


def test_the_question_does_not_put_off_a_refresh_nor_the_end_of_a_session_that_is_not_refreshed() -> None:
    world = asked_every_so_often(200)
    answered(
        world,
        caller=(*TIMER, ("Session-Expires", "120;refresher=uac")),
        called=(*TIMER, ("Allow", "UPDATE"), ("Session-Expires", "100;refresher=uac")),
    )
    for _ in range(2):
        world.run(EVERY_S + 0.5)
        for phone in (world.caller, world.called):
            phone.answer("OPTIONS", 200)
    assert world.called.got("UPDATE") == []
    world.run(10.0)
    world.called.answer("UPDATE", 200, headers=(("Session-Expires", "100;refresher=uac"),))
    world.run(EVERY_S - 0.5)
    world.caller.answer("OPTIONS", 200)
    world.run(EVERY_S - 0.5)
    assert world.caller.got("BYE"), "it said nothing but 200 to questions, and had to refresh"


def test_a_call_whose_peer_vanished_is_charged_to_its_last_proven_moment() -> None:
    """Asked after 20 and 40 seconds; from then on the called host is switched off, which shows at 92 s.  Its last word
    is of 40 s, and the tick after it was bought at 58 s."""
    world = asked_every_so_often(tariff=Tariff(60_000, 0, 1, 1))
    answered(world)
    for _ in range(2):
        world.run(EVERY_S + 0.01)
        for phone in (world.caller, world.called):
            phone.answer("OPTIONS", 200)
    world.lose = lambda source, target, data: CARRIER in (source, target)
    world.run(100.0)
    assert world.caller.got("BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    record = decode_record(closed.record)
    assert (record.reason, record.talk_ms // 1000) == ("DEAD_PEER", 58)
    assert closed.charge_micros == 58_000
