"""Inside a call: reliable ringing, early requests, late offers, re-INVITE, UPDATE, INFO, and offers that collide."""

import pytest

from gateway.call.commands import Prove, Settle
from gateway.call.record import decode_record
from gateway.call.settings import CallSettings
from gateway.sip.dialog import Dialog
from tests.gateway.call.world import CARRIER, OFFER, REPLY, Options, World, allow, both_targets

HOLD = OFFER.replace(b"4000", b"4002")
AGREED = REPLY.replace(b"5000", b"5002")
RELIABLE = (("Require", "100rel"), ("RSeq", "17"))


def early(world: World, tag: str = "b1") -> tuple[Dialog, Dialog]:
    """A call that rings reliably: both sides' early dialogs."""
    world.caller.invite(headers=(("Supported", "100rel"),))
    transaction = world.called.answer("INVITE", 183, tag=tag, body=REPLY, headers=RELIABLE)
    return world.caller.dialog(), world.called.served(transaction)


def test_reliable_ringing_and_its_prack_pass_through() -> None:
    world = World()
    dialog, _ = early(world)
    progress = world.caller.response(183)
    assert (progress.get("RSeq"), progress.get("Require")) == ("17", "100rel")
    world.caller.send(dialog, "PRACK", headers=(("RAck", "17 1 INVITE"),))
    prack = world.called.request("PRACK")
    assert prack.get("RAck") == "17 1 INVITE"
    assert prack.to.tag == "b1"
    world.ok(world.called, "PRACK")
    assert world.caller.got(200, "PRACK")


def test_rack_names_the_cseq_of_the_leg_it_is_on() -> None:
    """The called side's INVITE was sent again after a 422, so its CSeq is not the caller's."""
    world = World(Options(settings=CallSettings(session_expires_s=1800)))
    world.caller.invite(headers=(("Supported", "100rel"),))
    world.called.answer("INVITE", 422, headers=(("Min-SE", "3600"),))
    world.called.answer("INVITE", 183, tag="b1", headers=RELIABLE)
    world.caller.send(world.caller.dialog(), "PRACK", headers=(("RAck", "17 1 INVITE"),))
    assert world.called.request("PRACK").get("RAck") == "17 2 INVITE"


def test_reliable_ringing_that_repeats_is_relayed_each_time() -> None:
    world = World()
    world.caller.invite(headers=(("Supported", "100rel"),))
    for _ in range(3):
        world.called.answer("INVITE", 183, tag="b1", body=REPLY, headers=RELIABLE)
    assert [seen.message.get("RSeq") for seen in world.caller.got(183)] == ["17"] * 3


def test_forks_have_their_own_rseq_space() -> None:
    world = World()
    world.caller.invite(headers=(("Supported", "100rel"),))
    for tag, number in (("b1", "5"), ("b2", "5")):
        world.called.answer("INVITE", 183, tag=tag, headers=(("Require", "100rel"), ("RSeq", number)))
    first, second = [seen.message for seen in world.caller.got(183)]
    world.caller.send(world.caller.dialog(second.to.tag), "PRACK", headers=(("RAck", "5 1 INVITE"),))
    assert world.called.request("PRACK").to.tag == "b2"
    world.caller.send(world.caller.dialog(first.to.tag), "PRACK", headers=(("RAck", "5 1 INVITE"),))
    assert world.called.request("PRACK").to.tag == "b1"


def test_100rel_is_not_offered_where_the_caller_did_not() -> None:
    world = World()
    world.caller.invite(headers=(("Supported", "replaces, path"),))
    assert world.called.request("INVITE").get("Supported") is None


def test_a_prack_for_a_target_that_was_given_up_is_481() -> None:
    world = World()
    dialog, _ = early(world)
    world.called.answer("INVITE", 486, tag="b1")
    world.caller.send(dialog, "PRACK", headers=(("RAck", "17 1 INVITE"),))
    assert world.caller.response(481, "PRACK")


@pytest.mark.parametrize("by_caller", [True, False])
def test_update_in_an_early_dialog(by_caller: bool) -> None:
    world = World()
    from_caller, from_called = early(world)
    sender, other = (world.caller, world.called) if by_caller else (world.called, world.caller)
    sender.send(from_caller if by_caller else from_called, "UPDATE", body=HOLD)
    assert other.request("UPDATE").body == HOLD
    other.answer("UPDATE", 200, body=AGREED)
    assert sender.response(200, "UPDATE").body == AGREED
    assert sender.response(200, "UPDATE").contact is not None
    world.called.answer("INVITE", 200, tag="b1")
    assert world.caller.got(200, "INVITE")


@pytest.mark.parametrize("by_caller", [True, False])
def test_info_both_ways_with_its_package(by_caller: bool) -> None:
    world = World()
    from_caller, from_called = world.talk()
    sender, other = (world.caller, world.called) if by_caller else (world.called, world.caller)
    sender.send(from_caller if by_caller else from_called, "INFO", headers=(("Info-Package", "dtmf"),), body=b"1")
    info = other.request("INFO")
    assert (info.get("Info-Package"), info.body) == ("dtmf", b"1")
    other.answer("INFO", 469, headers=(("Recv-Info", "none"),))
    assert sender.response(469).get("Recv-Info") == "none"


def test_info_before_the_answer() -> None:
    world = World()
    dialog, _ = early(world)
    world.caller.send(dialog, "INFO", body=b"5")
    world.ok(world.called, "INFO")
    assert world.caller.got(200, "INFO")


def test_options_inside_a_dialog_is_answered_by_the_gate() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "OPTIONS")
    assert "UPDATE" in (world.caller.response(200, "OPTIONS").get("Allow") or "")
    assert world.called.got("OPTIONS") == []


def test_a_late_offer_is_answered_in_the_ack_end_to_end() -> None:
    world = World()
    world.caller.invite(body=b"")
    assert world.called.request("INVITE").body == b""
    world.called.answer("INVITE", 200, tag="b1", body=OFFER)
    assert world.caller.response(200, "INVITE").body == OFFER
    assert world.called.got("ACK") == []
    world.caller.ack(world.caller.dialog(), body=REPLY)
    ack = world.called.request("ACK")
    assert (ack.body, ack.get("Content-Type"), ack.cseq) == (REPLY, "application/sdp", (1, "ACK"))


@pytest.mark.parametrize("by_caller", [True, False])
def test_a_re_invite_passes_with_its_answer_and_ack(by_caller: bool) -> None:
    world = World()
    from_caller, from_called = world.talk()
    sender, other = (world.caller, world.called) if by_caller else (world.called, world.caller)
    dialog = from_caller if by_caller else from_called
    sender.send(dialog, "INVITE", body=HOLD)
    assert other.request("INVITE").body == HOLD
    other.answer("INVITE", 180)
    other.answer("INVITE", 200, body=AGREED)
    assert sender.response(200, "INVITE").body == AGREED
    acks = len(other.got("ACK"))
    sender.ack(dialog, seq=dialog.local_seq)
    assert len(other.got("ACK")) == acks + 1
    assert other.request("ACK").cseq[0] == other.request("INVITE").cseq[0]
    assert any(isinstance(command, Prove) for command in world.store.commands)
    assert len(world.b2bua) == 1


def test_a_late_offer_in_a_re_invite() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE")
    world.called.answer("INVITE", 200, body=OFFER)
    world.caller.ack(dialog, seq=2, body=REPLY)
    assert world.called.request("ACK").body == REPLY


def test_a_re_invite_that_is_refused_leaves_the_call_up() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE", body=HOLD)
    world.called.answer("INVITE", 488)
    assert world.caller.response(488)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]
    world.caller.send(dialog, "INVITE", body=HOLD)
    world.called.answer("INVITE", 200, body=AGREED)
    assert world.caller.got(200, "INVITE")


def test_re_invites_that_collide_get_491_on_both_sides() -> None:
    world = World()
    from_caller, from_called = world.talk()
    world.caller.send(from_caller, "INVITE", body=HOLD, run=False)
    world.called.send(from_called, "INVITE", body=HOLD, run=False)
    world.settle()
    for phone in (world.caller, world.called):
        for transaction in list(phone.waiting):
            if transaction.method == "INVITE":
                phone.answer("INVITE", 491)
    statuses = {phone.name: phone.story() for phone in (world.caller, world.called)}
    assert "491" in statuses["caller"] or "491" in statuses["called"]
    world.run(3.0)
    world.caller.send(from_caller, "INVITE", body=HOLD)
    world.called.answer("INVITE", 200, body=AGREED)
    assert world.caller.got(200, "INVITE")


def test_a_re_invite_that_meets_one_on_its_way_to_the_same_side_is_491() -> None:
    world = World()
    from_caller, from_called = world.talk()
    world.caller.send(from_caller, "INVITE", body=HOLD)
    world.called.send(from_called, "INVITE", body=HOLD)
    assert world.called.response(491)
    assert world.caller.got("INVITE") == []


def test_a_second_offer_while_the_first_is_open_is_500() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "UPDATE", body=HOLD)
    world.caller.send(dialog, "UPDATE", body=HOLD)
    assert world.caller.response(500, "UPDATE").get("Retry-After") is not None
    assert len(world.called.got("UPDATE")) == 1


def test_a_re_invite_before_the_ack_is_491() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.send(world.caller.dialog(), "INVITE", body=HOLD)
    assert world.caller.response(491)


def test_a_re_invite_is_given_up() -> None:
    world = World()
    dialog, _ = world.talk()
    sent = world.caller.send(dialog, "INVITE", body=HOLD)
    world.called.answer("INVITE", 180)
    world.caller.cancel(sent)
    assert world.called.got("CANCEL")
    world.called.answer("INVITE", 487)
    assert world.caller.response(487)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_a_bye_answers_what_was_open() -> None:
    world = World()
    dialog, other = world.talk()
    world.caller.send(dialog, "INVITE", body=HOLD)
    world.called.send(other, "BYE")
    assert world.caller.response(487, "INVITE")
    world.ok(world.caller, "BYE")
    assert world.called.got(200, "BYE")
    assert world.is_clean()


def test_a_re_invite_whose_200_is_never_acknowledged_ends_the_call() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE", body=HOLD)
    world.called.answer("INVITE", 200, body=AGREED)
    world.run(33.0)
    for phone in (world.caller, world.called):
        world.ok(phone, "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert decode_record(closed.record).reason == "NO_ACK"
    assert world.is_clean()


def test_the_re_invites_200_that_repeats_is_acknowledged_again() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE", body=HOLD)
    lost: list[bytes] = []

    def lose(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        if data.startswith(b"ACK") and target == CARRIER and not lost:
            lost.append(data)
            return True
        return False

    world.lose = lose
    world.called.answer("INVITE", 200, body=AGREED)
    world.caller.ack(dialog, seq=2)
    assert len(world.called.got("ACK")) == 1
    world.run(1.0)
    assert len(world.called.got("ACK")) == 2


@pytest.mark.parametrize("status", [481, 408])
def test_a_side_that_lost_the_dialog_ends_the_call(status: int) -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INFO", body=b"1")
    world.called.answer("INFO", status)
    assert world.caller.response(status, "INFO")
    for phone in (world.caller, world.called):
        assert "SIP;cause=408" in (phone.request("BYE").get("Reason") or "")
        world.ok(phone, "BYE")
    (closed,) = world.store.closed.values()
    assert decode_record(closed.record).reason == "DEAD_PEER"  # type: ignore[union-attr]
    assert world.is_clean()


def test_a_side_that_is_silent_to_a_request_ends_the_call() -> None:
    world = World()
    dialog, _ = world.talk()
    world.lose = lambda source, target, data: target == CARRIER
    world.caller.send(dialog, "INFO", body=b"1")
    world.run(33.0)
    world.ok(world.caller, "BYE")
    world.run(40.0)
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_a_moved_contact_is_followed_and_stored() -> None:
    world = World()
    dialog, _ = world.talk()
    moved = (("Contact", "<sip:10.0.0.4:5060>"),)
    flow = world.caller.endpoint.contact
    world.caller.endpoint.contact = lambda *_: ""  # type: ignore[method-assign]
    world.caller.send(dialog, "UPDATE", headers=moved)
    world.caller.endpoint.contact = flow  # type: ignore[method-assign]
    assert world.caller.response(200, "UPDATE")
    proofs = [command for command in world.store.commands if isinstance(command, Prove)]
    assert proofs
    assert b"10.0.0.4" in (proofs[-1].adoption or b"")
    (view,) = world.b2bua.calls(world.now)
    world.b2bua.hang_up(view.id, world.now)
    world.settle()
    assert world.spare.got("BYE")


def test_requests_that_wait_for_the_other_side_are_bounded() -> None:
    world = World()
    dialog, _ = world.talk()
    for _ in range(20):
        world.caller.send(dialog, "INFO", body=b"1")
    assert len(world.called.got("INFO")) == 16
    assert len(world.caller.got(500, "INFO")) == 4


def test_prack_inside_a_re_invite_names_its_cseq() -> None:
    world = World()
    _, dialog = world.talk()
    world.called.send(dialog, "INVITE", body=HOLD, headers=(("Supported", "100rel"),))
    world.caller.answer("INVITE", 183, body=AGREED, headers=RELIABLE)
    assert world.called.response(183).get("RSeq") == "17"
    world.called.send(dialog, "PRACK", headers=(("RAck", f"17 {dialog.local_seq} INVITE"),))
    assert world.caller.request("PRACK").get("RAck") == f"17 {world.caller.request('INVITE').cseq[0]} INVITE"


def test_a_request_that_waits_when_its_target_is_given_up_is_answered() -> None:
    world = World(Options(verdict=allow(routes=both_targets())))
    _, from_called = early(world)
    world.called.send(from_called, "INFO", body=b"1")
    world.called.answer("INVITE", 503, tag="b1")
    assert world.called.response(487, "INFO")
    world.ok(world.caller, "INFO")
    assert world.called.got(200, "INFO") == []


def test_a_request_for_a_fork_that_is_gone_is_481() -> None:
    world = World(Options(verdict=allow(routes=both_targets())))
    from_caller, _ = early(world)
    world.called.answer("INVITE", 503, tag="b1")
    world.spare.answer("INVITE", 180, tag="s1")
    world.caller.send(from_caller, "INFO", body=b"1")
    assert world.caller.response(481, "INFO")
    assert len(world.b2bua) == 1


def test_an_answer_to_a_re_invite_that_comes_after_the_end_is_acknowledged() -> None:
    world = World()
    dialog, _ = world.talk()
    world.caller.send(dialog, "INVITE", body=HOLD)
    waiting = world.called.pending("INVITE")
    world.caller.send(dialog, "BYE")
    assert world.caller.response(487, "INVITE")
    acks = len(world.called.got("ACK"))
    world.called.say(waiting, 200, body=AGREED)
    world.settle()
    assert len(world.called.got("ACK")) == acks + 1
    world.ok(world.called, "BYE")
    assert world.is_clean()


def test_a_request_to_a_leg_that_ends_is_481() -> None:
    world = World()
    from_caller, from_called = world.talk()
    world.caller.send(from_caller, "BYE")
    world.called.send(from_called, "INFO", body=b"1")
    assert world.called.response(481, "INFO")
    world.ok(world.called, "BYE")
    assert world.is_clean()
