"""Messages that cross, come twice, too late or never: each race has one outcome, on both legs and for the money."""

import pytest

from gateway.call.commands import Release, Settle
from gateway.call.record import decode_record
from gateway.sip.message import Request
from tests.gateway.call.world import CARRIER, PBX, REPLY, Options, World, answer_to


def released(world: World) -> Release:
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Release)
    return closed


def test_cancel_while_ringing() -> None:
    world = World()
    sent = world.ring()
    world.caller.cancel(sent, headers=(("Reason", "SIP;cause=487"),))
    assert world.caller.response(487)
    assert world.called.request("CANCEL").get("Reason") == "SIP;cause=487"
    world.called.answer("INVITE", 487, tag="b1")
    assert decode_record(released(world).record).reason == "CANCELLED"
    assert world.is_clean()


def test_cancel_waits_for_a_provisional_answer() -> None:
    world = World()
    sent = world.caller.invite()
    world.caller.cancel(sent)
    assert world.caller.response(487)
    assert world.called.got("CANCEL") == []
    world.called.answer("INVITE", 180, tag="b1")
    assert world.called.got("CANCEL")
    world.called.answer("INVITE", 487, tag="b1")
    assert world.is_clean()


def test_cancel_before_the_first_tick_is_granted() -> None:
    world = World()
    world.store.slow = True
    sent = world.caller.invite()
    world.caller.cancel(sent)
    assert world.caller.response(487)
    world.store.slow = False
    world.settle()
    assert world.called.story() == ""
    assert released(world)
    assert not world.store.held
    assert world.is_clean()


def test_cancel_arrives_together_with_the_refusal_of_the_called_side() -> None:
    world = World()
    sent = world.ring()
    world.delay_s = 0.2
    world.called.answer("INVITE", 486, tag="b1", run=False)
    world.settle()
    world.caller.cancel(sent)
    world.run(2.0)
    assert world.caller.response(486)
    assert decode_record(released(world).record).reason == "FAR_END"
    assert world.is_clean()


def test_cancel_crosses_the_200_of_the_called_side() -> None:
    """Both are on their way when the gate hears the CANCEL first: the 200 is acknowledged, ended, and costs nothing."""
    world = World()
    sent = world.ring()
    world.delay_s = 0.01
    world.caller.cancel(sent)
    world.run(0.005)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(0.1)
    assert world.caller.response(487)
    assert world.called.request("BYE")
    world.ok(world.called, "BYE")
    world.run(0.1)
    assert released(world)
    assert world.store.balances["contoso"] == 1_000_000_000
    assert world.is_clean()


def test_cancel_arrives_while_the_answer_is_being_written() -> None:
    world = World()
    sent = world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.cancel(sent)
    assert world.caller.response(487)
    assert world.called.story() == "INVITE ACK BYE"
    world.store.slow = False
    world.settle()
    world.ok(world.called, "BYE")
    assert world.caller.got(200, "INVITE") == []
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert closed.charge_micros == 0
    assert decode_record(closed.record).reason == "CANCELLED"
    assert world.is_clean()


def test_cancel_that_comes_after_the_200_changes_nothing() -> None:
    world = World()
    sent = world.ring()
    world.delay_s = 0.01
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(0.012)
    world.caller.cancel(sent)
    world.run(1.0)
    assert world.caller.got(200, "INVITE")
    assert world.called.got("BYE") == []
    world.caller.ack(world.caller.dialog())
    world.run(0.1)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_an_answer_after_cancel_is_acknowledged_and_ended_free_of_charge() -> None:
    world = World()
    sent = world.ring()
    world.caller.cancel(sent)
    assert world.is_clean()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.called.story().startswith("INVITE CANCEL ACK BYE")
    world.ok(world.called, "BYE")
    assert released(world)
    assert world.store.balances["contoso"] == 1_000_000_000


def test_a_late_answer_that_repeats_is_acknowledged_each_time_and_ended_once() -> None:
    world = World()
    sent = world.ring()
    world.caller.cancel(sent)
    world.lose = lambda source, target, data: data.startswith(b"ACK") and target == CARRIER
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.ok(world.called, "BYE")
    world.run(2.0)
    assert sum(target == CARRIER and isinstance(m, Request) and m.method == "ACK" for _, _, target, m in world.sent) > 1
    assert len(world.called.got("BYE")) == 1


def test_bye_crosses_bye() -> None:
    world = World()
    dialog, other = world.talk()
    world.delay_s = 0.02
    world.run(5.0)
    world.caller.send(dialog, "BYE")
    world.called.send(other, "BYE")
    world.run(0.05)
    for phone in (world.caller, world.called):
        for transaction in list(phone.waiting):
            if transaction.method == "BYE":
                world.ok(phone, "BYE")
    world.run(0.1)
    assert world.caller.got(200, "BYE")
    assert world.called.got(200, "BYE")
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_a_cut_crosses_the_callers_bye() -> None:
    world = World(Options(balance=5_000_000))
    dialog, _ = world.talk()
    world.delay_s = 0.02
    world.run(4.99)
    world.caller.send(dialog, "BYE")
    world.run(0.1)
    assert world.caller.got(200, "BYE")
    world.ok(world.called, "BYE")
    world.run(0.1)
    assert world.store.count(Settle) == 1
    assert world.store.balances["contoso"] == 0
    assert world.is_clean()


def test_the_caller_hangs_up_before_its_ack() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(0.2)
    world.caller.send(world.caller.dialog(), "BYE")
    assert world.caller.got(200, "BYE")
    assert world.called.story() == "INVITE ACK BYE"
    world.ok(world.called, "BYE")
    answers = len(world.caller.got(200, "INVITE"))
    world.run(60.0)
    assert len(world.caller.got(200, "INVITE")) == answers, "the 200 is not repeated any more"
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_the_called_side_hangs_up_before_the_ack() -> None:
    world = World()
    world.ring()
    transaction = world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(0.2)
    world.called.send(world.called.served(transaction), "BYE")
    assert world.called.got(200, "BYE")
    assert world.caller.got("BYE") == []
    world.caller.ack(world.caller.dialog())
    assert world.caller.got("BYE")
    world.ok(world.caller, "BYE")
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_the_called_side_hangs_up_while_its_answer_is_being_written() -> None:
    world = World()
    world.ring()
    world.store.slow = True
    transaction = world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.called.send(world.called.served(transaction), "BYE")
    assert world.called.got(200, "BYE")
    assert world.caller.response(480)
    world.store.slow = False
    world.settle()
    assert world.store.balances["contoso"] == 1_000_000_000
    assert world.is_clean()


def test_a_200_is_repeated_until_its_ack() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(3.6)
    assert [seen.at_s for seen in world.caller.got(200)] == pytest.approx([1000.0, 1000.5, 1001.5, 1003.5])
    world.caller.ack(world.caller.dialog())
    world.run(10.0)
    assert len(world.caller.got(200)) == 4


def test_a_200_that_is_never_acknowledged_ends_the_call_after_64_t1() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(32.1)
    for phone in (world.caller, world.called):
        (bye,) = phone.got("BYE")
        assert bye.at_s == pytest.approx(1032.0)
        assert "SIP;cause=408" in (bye.message.get("Reason") or "")
        world.ok(phone, "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert closed.charge_micros == 32_000_000
    assert decode_record(closed.record).reason == "NO_ACK"
    assert world.is_clean()


def test_a_repeated_200_of_the_called_side_gets_the_same_ack_again() -> None:
    world = World()
    lost = []

    def lose(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        if data.startswith(b"ACK") and target == CARRIER and not lost:
            lost.append(data)
            return True
        return False

    world.lose = lose
    world.talk()
    assert world.called.story() == "INVITE"
    world.run(1.0)
    assert world.called.story() == "INVITE ACK"
    world.run(40.0)
    assert world.called.story().count("ACK") == 1


def test_a_repeated_invite_places_one_call() -> None:
    world = World()
    sent = world.caller.invite()
    for _ in range(3):
        world.inject(PBX, sent.request_bytes)
    assert len(world.called.got("INVITE")) == 1


def test_a_merged_invite_places_one_call() -> None:
    """The same INVITE over another path has another branch; the second is 482 (RFC 3261 8.2.2.2)."""
    world = World()
    sent = world.caller.invite()
    branch = sent.branch.encode()
    other = sent.request_bytes.replace(branch, branch + b"x")
    world.inject(PBX, other)
    assert len(world.called.got("INVITE")) == 1
    assert len(world.b2bua) == 1
    assert any(getattr(message, "status", 0) == 482 for _, _, target, message in world.sent if target == PBX)


def test_an_invite_retransmitted_after_its_200_is_no_new_call() -> None:
    world = World()
    sent = world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.inject(PBX, sent.request_bytes)
    assert len(world.called.got("INVITE")) == 1
    assert len(world.b2bua) == 1


def test_the_caller_ends_an_early_dialog_by_bye() -> None:
    world = World()
    world.ring()
    world.caller.send(world.caller.dialog(), "BYE")
    assert world.caller.got(200, "BYE")
    assert world.caller.response(487)
    assert world.called.got("CANCEL")
    assert released(world)
    assert world.is_clean()


def test_the_called_side_may_not_end_an_early_dialog_by_bye() -> None:
    world = World()
    world.ring()
    world.called.send(world.called.served(world.called.pending("INVITE")), "BYE")
    assert world.called.response(481)
    assert len(world.b2bua) == 1


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "PRACK", "INVITE"])
def test_a_request_inside_a_dialog_that_nobody_knows_is_481(method: str) -> None:
    world = World()
    dialog, _ = world.talk()
    dialog.local_tag += "x"
    dialog.local += "x"
    world.caller.send(dialog, method)
    assert world.caller.response(481, method)
    assert len(world.b2bua) == 1


def test_a_stranger_cannot_hang_up_with_a_guessed_tag_of_ours() -> None:
    world = World()
    dialog, _ = world.talk()
    dialog.call_id = "guessed"
    world.spare.send(dialog, "BYE")
    assert world.spare.response(481)
    assert world.called.got("BYE") == []


def test_a_bye_after_the_call_is_481() -> None:
    world = World()
    dialog, other = world.talk()
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    world.called.send(other, "BYE")
    assert world.called.response(481)


def test_a_request_out_of_order_is_500() -> None:
    world = World()
    dialog, _ = world.talk()
    dialog.local_seq = 0
    world.caller.send(dialog, "INFO")
    assert world.caller.response(500, "INFO")


def test_a_stray_answer_is_acknowledged_and_ended() -> None:
    """A 2xx to an INVITE of ours of which nothing is known any more, say after a restart (SIP.md 4)."""
    world = World()
    sent = world.ring()
    transaction = world.called.pending("INVITE")
    world.caller.cancel(sent)
    world.called.answer("INVITE", 487, tag="b1")
    world.run(60.0)
    assert world.is_clean()
    world.called.seen.clear()
    request = transaction.request
    world.inject(CARRIER, answer_to(request, "200 OK", "late"))
    assert world.called.story() == "ACK BYE"
    assert world.called.request("BYE").to.tag == "late"


def test_lost_datagrams_are_made_good_by_retransmissions() -> None:
    """Every third datagram is lost; the call comes about, is cut on both legs, and is charged once."""
    world = World(Options(balance=20_000_000))
    counted = [0]

    def lose(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bool:
        counted[0] += 1
        return counted[0] % 3 == 0

    world.lose = lose
    world.delay_s = 0.005
    world.caller.invite()
    world.run(3.0)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(3.0)
    dialog = world.caller.dialog()
    for _ in range(4):
        world.caller.ack(dialog)
        world.run(0.5)
    world.run(20.0)
    for phone in (world.caller, world.called):
        assert phone.got("BYE"), phone.story()
        world.ok(phone, "BYE")
    world.run(40.0)
    assert world.store.count(Settle) == 1
    assert world.store.balances["contoso"] == 0
    assert world.is_clean()


def test_an_ack_before_the_200_means_nothing() -> None:
    world = World()
    world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    world.store.slow = False
    world.settle()
    assert world.called.got("ACK") == []
    world.caller.ack(world.caller.dialog())
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]
    assert world.called.got("ACK")
