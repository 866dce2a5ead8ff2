"""Another gate takes calls over and moves both dialogs to itself; and what becomes of a peer that does not follow."""

import json

import pytest

from gateway.call.adoption import SDP_STORED_MAX, Talking, decode
from gateway.call.commands import Prove, Release, Settle
from gateway.call.facts import Moved
from gateway.call.moving import GLARE_RETRY_S, PATIENCE_S, STRAY_ASKED_S
from gateway.call.record import CallRecord, decode_record
from gateway.sip.dialog import Dialog
from gateway.sip.events import Flow
from tests.gateway.call.world import CARRIER, GATE, OFFER, REPLY, Phone, World

OTHER = ("10.0.0.7", 5060)
THIRD = ("10.0.0.8", 5060)
UPDATE = (("Allow", "INVITE, ACK, BYE, UPDATE"),)


def talk(world: World, *, caller_updates: bool = True, called_updates: bool = True) -> tuple[Dialog, Dialog]:
    """An answered call; who does not take UPDATE does not name it."""
    world.caller.invite(headers=UPDATE if caller_updates else ())
    served = world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=UPDATE if called_updates else ())
    dialog = world.caller.dialog()
    world.caller.ack(dialog)
    return dialog, world.called.served(served)


def taken(world: World, after_s: float = 3.0, at: tuple[str, int] = OTHER, proven_s: int = 0) -> None:
    world.run(after_s)
    assert world.restart(at=at, proven_s=proven_s) == [True]


def follow(phone: Phone, dialog: Dialog) -> None:
    """Take the UPDATE."""
    request = phone.request("UPDATE")
    dialog.refresh_target(request)
    phone.answer("UPDATE", 200)


def settled(world: World) -> tuple[Settle, CallRecord]:
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    return closed, decode_record(closed.record)


def moves(world: World) -> list[tuple[str, str, int]]:
    return [(fact.result, fact.side, fact.status) for fact in world.facts if isinstance(fact, Moved)]


@pytest.mark.parametrize("by_caller", [True, False])
def test_both_peers_follow_an_update_and_either_hangs_up(by_caller: bool) -> None:
    world = World()
    a_side, b_side = talk(world)
    taken(world)
    for phone, dialog in ((world.caller, a_side), (world.called, b_side)):
        update = phone.request("UPDATE")
        assert (update.body, update.cseq[0] > 100) == (b"", True)
        assert update.contact is not None
        assert update.contact.uri == "sip:10.0.0.7:5060"
        assert "10.0.0.7:5060" in (update.get("Via") or "")
        follow(phone, dialog)
    assert moves(world) == [("moved", "caller", 200), ("moved", "called", 200)]
    world.run(10.0)
    phone, other, dialog = (world.caller, world.called, a_side) if by_caller else (world.called, world.caller, b_side)
    phone.send(dialog, "BYE")
    assert phone.response(200, "BYE")
    world.ok(other, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, record.reason) == (13_000, "COMPLETED")
    assert world.is_clean()


def test_a_peer_without_update_gets_a_reinvite_with_the_description_it_got_last() -> None:
    world = World()
    a_side, b_side = talk(world, caller_updates=False, called_updates=False)
    taken(world)
    for phone, dialog, description in ((world.caller, a_side, REPLY), (world.called, b_side, OFFER)):
        invite = phone.request("INVITE")
        assert (invite.body, invite.get("Content-Type")) == (description, "application/sdp")
        dialog.refresh_target(invite)
        phone.answer("INVITE", 200, body=b"v=0\r\n")
        assert phone.request("ACK").cseq[0] == invite.cseq[0]
    assert [move[0] for move in moves(world)] == ["moved", "moved"]
    world.called.send(b_side, "BYE")
    world.ok(world.caller, "BYE")
    assert settled(world)[1].reason == "COMPLETED"


def test_what_a_later_offer_brought_is_what_is_repeated() -> None:
    world = World()
    a_side, _ = talk(world, called_updates=False, caller_updates=False)
    newer, answer = OFFER.replace(b"4000", b"4444"), REPLY.replace(b"5000", b"5555")
    world.caller.send(a_side, "INVITE", body=newer)
    world.called.answer("INVITE", 200, body=answer)
    world.caller.ack(a_side, seq=2)
    taken(world)
    assert world.called.request("INVITE").body == newer
    assert world.caller.request("INVITE").body == answer


def test_an_offer_that_came_late_is_answered_by_the_ack_and_that_is_repeated() -> None:
    world = World()
    world.caller.invite(body=b"")
    world.called.answer("INVITE", 200, tag="b1", body=OFFER)
    dialog = world.caller.dialog()
    world.caller.ack(dialog, body=REPLY)
    taken(world)
    assert world.called.request("INVITE").body == REPLY
    assert world.caller.request("INVITE").body == OFFER


def test_where_the_peer_is_now_stands_in_the_record_and_the_next_taker_moves_it_again() -> None:
    world = World()
    a_side, b_side = talk(world)
    taken(world)
    follow(world.caller, a_side)
    follow(world.called, b_side)
    record = decode([c.adoption for c in world.store.commands if isinstance(c, Prove) and c.adoption][-1] or b"")
    assert isinstance(record, Talking)
    assert "10.0.0.7" in record.caller.place
    assert record.caller.place == record.called.place
    taken(world, at=THIRD)
    for phone, dialog in ((world.caller, a_side), (world.called, b_side)):
        assert phone.request("UPDATE").cseq[0] > 200
        follow(phone, dialog)
    world.caller.send(a_side, "BYE")
    world.ok(world.called, "BYE")
    assert settled(world)[0].talk_ms == 6000


def test_a_taker_that_dies_before_a_peer_followed_leaves_it_to_be_moved() -> None:
    world = World()
    a_side, b_side = talk(world)
    taken(world)
    follow(world.caller, a_side)
    taken(world, at=OTHER)
    world.ok(world.caller, "OPTIONS")
    assert len(world.called.got("UPDATE")) == 2, "the one that was not answered, and the next one's"
    world.called.waiting.clear()
    assert len(world.caller.got("UPDATE")) == 1
    assert b_side.remote_target == f"sip:{GATE[0]}:{GATE[1]}"


def test_a_record_of_an_older_release_has_no_place_and_its_peers_are_moved() -> None:
    world = World()
    talk(world)
    world.run(1.0)
    (stored,) = world.store.live()
    row = json.loads(stored.adoption)
    row[1], row[2] = row[1][:6], row[2][:6]
    side = decode(json.dumps(row).encode())
    assert isinstance(side, Talking)
    assert (side.caller.place, side.caller.sdp) == ("", None)


def test_the_cut_at_zero_comes_at_its_moment_whatever_the_peers_say() -> None:
    world = World()
    world.store.balances["contoso"] = 14_000_000
    a_side, b_side = talk(world)
    taken(world, after_s=7.0)
    follow(world.caller, a_side)
    follow(world.called, b_side)
    world.run(6.999)
    assert world.caller.got("BYE") == []
    world.run(0.002)
    for phone in (world.caller, world.called):
        assert "SIP;cause=402" in (phone.request("BYE").get("Reason") or "")
        world.ok(phone, "BYE")
    assert settled(world)[1].reason == "NO_CREDIT"


# peers that do not follow


@pytest.mark.parametrize("status", [481, 408])
def test_a_peer_that_hung_up_meanwhile_ends_the_call_at_its_last_proven_moment(status: int) -> None:
    world = World()
    a_side, _ = talk(world)
    taken(world, after_s=30.0, proven_s=18)
    follow(world.caller, a_side)
    world.called.answer("UPDATE", status)
    world.ok(world.caller, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, record.reason) == (18_000, "DEAD_PEER")


def test_a_peer_with_an_offer_under_way_is_asked_again_as_long_as_that_may_take() -> None:
    world = World()
    a_side, b_side = talk(world)
    taken(world)
    follow(world.caller, a_side)
    for _ in range(10):
        world.called.answer("UPDATE", 491)
        world.run(GLARE_RETRY_S + 0.1)
    follow(world.called, b_side)
    assert moves(world)[-1] == ("moved", "called", 200)


def test_one_that_is_in_glare_for_ever_does_not_follow() -> None:
    world = World()
    a_side, _ = talk(world)
    taken(world)
    follow(world.caller, a_side)
    while world.now < 1003.0 + PATIENCE_S + GLARE_RETRY_S + 1.0 and moves(world)[-1][0] == "moved":
        world.called.answer("UPDATE", 491)
        world.run(GLARE_RETRY_S)
    assert moves(world)[-1] == ("refused", "called", 491)


@pytest.mark.parametrize("status", [401, 488, 500])
def test_one_that_refuses_talks_on_and_is_asked_often_and_charged_to_its_last_answer(status: int) -> None:
    world = World()
    a_side, _ = talk(world)
    taken(world)
    follow(world.caller, a_side)
    world.called.answer("UPDATE", status)
    assert moves(world)[-1] == ("refused", "called", status)
    for _ in range(3):
        world.run(STRAY_ASKED_S)
        world.ok(world.called, "OPTIONS")
    world.run(STRAY_ASKED_S)
    world.called.answer("OPTIONS", 481)
    world.ok(world.caller, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, record.reason) == (48_000, "DEAD_PEER")


def test_one_that_does_not_know_update_after_all_is_stray() -> None:
    world = World()
    a_side, _ = talk(world)
    taken(world)
    follow(world.caller, a_side)
    world.called.answer("UPDATE", 501)
    assert moves(world)[-1] == ("refused", "called", 501)


def test_one_that_got_a_description_too_large_to_be_stored_cannot_be_asked() -> None:
    world = World()
    world.caller.invite(body=OFFER + b"a=x\r\n" * (SDP_STORED_MAX // 5), headers=UPDATE)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    taken(world)
    assert moves(world)[0] == ("impossible", "called", 0)
    world.ok(world.called, "OPTIONS")
    world.caller.answer("UPDATE", 200)
    assert len(world.b2bua) == 1


def test_a_stray_peer_that_makes_an_offer_where_it_finds_us_has_followed() -> None:
    world = World()
    a_side, b_side = talk(world)
    taken(world)
    follow(world.caller, a_side)
    world.called.answer("UPDATE", 500)
    b_side.remote_target = f"sip:{OTHER[0]}:{OTHER[1]}"
    world.called.send(b_side, "UPDATE", body=REPLY)
    world.caller.answer("UPDATE", 200, body=OFFER)
    assert moves(world)[-1] == ("moved", "called", 200)
    asked = len(world.called.got("OPTIONS"))
    world.run(60.0)
    assert len(world.called.got("OPTIONS")) == asked
    world.called.send(b_side, "BYE")
    world.ok(world.caller, "BYE")
    assert settled(world)[0].talk_ms == 63_000


def test_a_peer_that_cannot_be_reached_is_waited_for_as_long_as_one_that_is_silent() -> None:
    for comes in (True, False):
        world = World()
        a_side, b_side = talk(world)
        taken(world)
        follow(world.caller, a_side)
        world.lose = lambda source, target, data: target == CARRIER
        for _ in range(14):
            world.endpoint.send_failed(Flow("udp", *CARRIER), world.now)
            world.run(2.0)
        assert len(world.b2bua) == 1
        world.lose = lambda source, target, data: False
        if comes:
            world.run(2.1)
            follow(world.called, b_side)
            world.run(60.0)
            assert len(world.b2bua) == 1
        else:
            for _ in range(4):
                world.endpoint.send_failed(Flow("udp", *CARRIER), world.now)
                world.run(2.0)
            assert settled(world)[1].reason == "DEAD_PEER"


# an answer whose ACK went to the dead gate, and calls without an answer


def test_an_answer_that_nobody_acknowledged_is_acknowledged_by_the_taker() -> None:
    world = World()
    world.caller.invite(headers=UPDATE)
    served = world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=UPDATE)
    assert world.called.got("ACK") == []
    taken(world, after_s=0.2)
    assert world.called.request("ACK").cseq[0] == 1
    b_side, a_side = world.called.served(served), world.caller.dialog()
    world.caller.ack(a_side)  # to the dead gate
    follow(world.caller, a_side)
    follow(world.called, b_side)
    world.run(60.0)
    assert len(world.b2bua) == 1
    world.caller.send(a_side, "BYE")
    world.ok(world.called, "BYE")
    assert settled(world)[1].reason == "COMPLETED"


def test_an_unanswered_call_is_refused_and_cancelled_in_the_name_of_the_dead_gate() -> None:
    world = World()
    world.ring()
    invite = world.called.request("INVITE")
    taken(world, after_s=1.0)
    assert world.caller.response(500, "INVITE")
    cancel = world.called.request("CANCEL")
    assert (cancel.top_via.branch, cancel.top_via.host) == (invite.top_via.branch, GATE[0])
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Release)
    world.run(80.0)
    assert world.is_clean()
    assert world.endpoint.load == 0
