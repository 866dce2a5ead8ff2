"""A gate that died: the next one takes its calls over, from what stands in the store alone."""

from collections.abc import Callable

import pytest

from gateway.call.adopting import CSEQ_GAP, PROBE_EVERY_S
from gateway.call.commands import Prove, Release, Renew, Settle
from gateway.call.facts import Finished
from gateway.call.record import CallRecord, decode_record
from gateway.call.settings import CallSettings
from gateway.call.states import State
from gateway.sip.dialog import Dialog
from gateway.sip.events import AckMissing
from gateway.sip.message import Request
from tests.gateway.call.world import CALLER, CARRIER, NUMBER, OFFER, PBX, REPLY, Options, Phone, World, allow, answer_to

TIMED = CallSettings(tick_s=10, session_expires_s=600)


def settled(world: World) -> tuple[Settle, CallRecord]:
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    return closed, decode_record(closed.record)


def answer_probes(world: World, *phones: Phone) -> None:
    """Every phone has been asked, and says that it is there."""
    for phone in phones or (world.caller, world.called):
        world.ok(phone, "OPTIONS")


def adopted(options: Options | None = None, after_s: float = 3.0) -> tuple[World, Dialog, Dialog]:
    """A call that talks, a gate that dies after ``after_s`` and is back at once; both peers said they are there."""
    world = World(options)
    dialogs = world.talk()
    world.run(after_s)
    assert world.restart() == [True]
    answer_probes(world)
    return world, *dialogs


# an answered call


def test_either_side_hangs_up_and_the_call_is_charged_to_that_moment() -> None:
    for by_caller in (True, False):
        world, a_side, b_side = adopted()
        world.run(1.5)
        phone, other, dialog = (
            (world.caller, world.called, a_side) if by_caller else (world.called, world.caller, b_side)
        )
        phone.send(dialog, "BYE", headers=(("Reason", "Q.850;cause=16"),))
        assert phone.response(200, "BYE")
        assert other.request("BYE").get("Reason") == "Q.850;cause=16"
        world.ok(other, "BYE")
        command, record = settled(world)
        assert (command.talk_ms, command.charge_micros) == (4500, 5_000_000)
        assert (record.talk_ms, record.billed_s, record.carrier, record.trunk) == (4500, 5, "carrier", "pbx")
        assert (record.number, record.caller, record.kind, record.invited_ms > 0) == (NUMBER, CALLER, "user_out", True)
        assert (record.ended_by, record.reason) == ("caller" if by_caller else "callee", "COMPLETED")
        assert world.store.balances["contoso"] == 995_000_000
        assert world.is_clean()


def test_what_is_said_inside_the_dialogs_is_carried_with_numbers_that_jumped() -> None:
    world, a_side, b_side = adopted()
    world.caller.send(a_side, "INVITE", body=OFFER)
    asked = world.called.request("INVITE")
    assert asked.cseq[0] > CSEQ_GAP
    assert asked.body == OFFER
    world.called.answer("INVITE", 200, body=REPLY)
    assert world.caller.response(200, "INVITE").body == REPLY
    world.caller.ack(a_side, seq=2)
    assert world.called.request("ACK").cseq[0] == asked.cseq[0]
    world.called.send(b_side, "INFO", body=b"5")
    world.caller.answer("INFO", 200)
    assert world.called.response(200, "INFO")
    world.called.send(b_side, "UPDATE", body=OFFER)
    world.caller.answer("UPDATE", 200, body=REPLY)
    assert world.called.response(200, "UPDATE").body == REPLY


def test_ticks_go_on_and_the_cut_at_zero_comes_at_its_moment_on_both_legs() -> None:
    world, _, _ = adopted(Options(balance=14_000_000), after_s=7.0)
    world.run(6.999)
    assert world.store.count(Renew) >= 1
    assert world.caller.got("BYE") == []
    world.run(0.002)
    for phone in (world.caller, world.called):
        (bye,) = phone.got("BYE")
        assert bye.at_s == pytest.approx(1014.0, abs=0.0011)  # the answer was stored in whole milliseconds
        assert 'SIP;cause=402;text="credit exhausted"' in (bye.message.get("Reason") or "")
        world.ok(phone, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, record.reason, record.uncharged_micros) == (14_000, "NO_CREDIT", 0)
    assert world.store.balances["contoso"] == 0
    assert Finished("cut", "NO_CREDIT", "user_out", "pbx") in world.facts


def test_ticks_that_elapsed_while_no_gate_was_up_are_asked_for_all_at_once() -> None:
    world = World(Options(balance=1_000_000_000))
    world.talk()
    world.run(3.0)
    world.die()
    world.now += 40.0
    assert world.restart() == [True]
    assert world.store.count(Renew) == 1
    answer_probes(world)
    assert world.b2bua.asks is False
    assert len(world.b2bua) == 1
    (view,) = world.b2bua.calls(world.now)
    assert (view.seconds, view.held_micros) == (43, 53_000_000)
    world.run(10.0)
    assert len(world.b2bua) == 1


@pytest.mark.parametrize(("balance", "paid_s"), [(10_000_000, 10), (25_000_000, 25)], ids=["refused", "trimmed"])
def test_what_cannot_be_paid_of_them_is_not_charged_and_the_call_is_cut(balance: int, paid_s: int) -> None:
    world = World(Options(balance=balance))
    world.talk()
    world.run(3.0)
    world.die()
    world.now += 40.0
    world.restart()
    for phone in (world.caller, world.called):
        assert "SIP;cause=402" in (phone.request("BYE").get("Reason") or "")
        world.ok(phone, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, command.charge_micros) == (paid_s * 1000, balance)
    assert (record.reason, record.uncharged_micros) == ("NO_CREDIT", (43 - paid_s) * 1_000_000)
    assert world.store.balances["contoso"] == 0


def test_a_store_that_goes_away_again_is_waited_for_but_not_for_ever() -> None:
    world = World()
    world.talk()
    world.run(3.0)
    world.die()
    world.now += 40.0
    world.store.away = True
    world.restart()
    world.run(3.9)
    assert world.b2bua._calls
    assert world.caller.got("BYE") == []
    world.run(0.2)
    assert world.caller.got("BYE")
    _, record = settled(world)
    assert (record.reason, record.talk_ms) == ("STORE_AWAY", 10_000)


@pytest.mark.parametrize("status", [481, 408])
def test_a_peer_that_knows_the_call_no_more_ends_it_at_its_last_proven_moment(status: int) -> None:
    world = World()
    world.talk()
    world.run(30.0)
    world.restart(proven_s=18)
    world.ok(world.caller, "OPTIONS")
    world.called.answer("OPTIONS", status)
    assert "SIP;cause=408" in (world.caller.request("BYE").get("Reason") or "")
    world.ok(world.caller, "BYE")
    world.ok(world.called, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, command.charge_micros) == (18_000, 18_000_000)
    assert (record.reason, record.uncharged_micros) == ("DEAD_PEER", 0)
    assert world.is_clean()


def test_a_peer_that_is_silent_ends_it_too_and_proves_nothing() -> None:
    world = World()
    world.talk()
    world.run(3.0)
    world.restart(proven_s=2)
    world.lose = lambda source, target, data: target == PBX
    world.ok(world.called, "OPTIONS")
    world.run(31.0)
    assert len(world.b2bua) == 1, "ticks go on while it is asked"
    proofs = [command.proven_s for command in world.store.commands if isinstance(command, Renew | Prove)]
    assert proofs[-1] == 2
    world.run(2.0)
    world.ok(world.called, "BYE")
    command, record = settled(world)
    assert (command.talk_ms, record.reason) == (2000, "DEAD_PEER")


def test_once_both_were_heard_a_dead_peer_is_charged_as_ever() -> None:
    world, a_side, _ = adopted()
    world.run(5.0)
    world.caller.send(a_side, "INFO", body=b"1")
    world.called.answer("INFO", 481)
    command, _ = settled(world)
    assert command.talk_ms == 8000


@pytest.mark.parametrize("kind", ["free", "emergency"])
def test_calls_that_nobody_pays_are_adopted_too(kind: str) -> None:
    verdict = allow(tariff=None, payer="none", emergency=kind == "emergency")
    world = World(Options(verdict=verdict, settings=CallSettings(session_expires_s=0, max_call_s=300)))
    a_side, _ = world.talk()
    world.run(100.0)
    assert world.restart() == [True]
    answer_probes(world)
    world.run(199.0)
    assert len(world.b2bua) == 1
    assert any(isinstance(command, Prove) and command.proven_s > 100 for command in world.store.commands)
    world.run(2.0)
    if kind == "emergency":
        assert len(world.b2bua) == 1
        world.caller.send(a_side, "BYE")
    world.ok(world.called, "BYE")
    command, record = settled(world)
    assert (command.charge_micros, record.talk_ms) == (0, 301_000 if kind == "emergency" else 300_000)
    assert record.reason == ("COMPLETED" if kind == "emergency" else "MAX_DURATION")


def test_the_longest_call_counts_from_the_answer_and_is_the_callers_own() -> None:
    world = World(Options(verdict=allow(max_call_s=50), settings=CallSettings(tick_s=10, session_expires_s=0)))
    world.talk()
    world.run(30.0)
    world.restart()
    answer_probes(world)
    world.run(20.1)
    _, record = settled(world)
    assert (record.reason, record.talk_ms) == ("MAX_DURATION", 50_000)


def test_talk_beyond_the_longest_call_while_no_gate_was_up_is_cut_and_told_as_uncharged() -> None:
    world = World(Options(verdict=allow(max_call_s=50), settings=CallSettings(tick_s=10, session_expires_s=0)))
    world.talk()
    world.run(48.0)
    world.die()
    world.now += 10.0
    world.restart()
    command, record = settled(world)
    assert (command.talk_ms, record.reason) == (50_000, "MAX_DURATION")
    assert record.uncharged_micros == 8_000_000


def test_session_timers_go_on() -> None:
    world = World(Options(settings=TIMED))
    world.caller.invite(headers=(("Supported", "timer"), ("Session-Expires", "600;refresher=uac")))
    world.called.answer("INVITE", 200, tag="b1", body=REPLY, headers=(
        ("Supported", "timer"), ("Session-Expires", "600;refresher=uac"), ("Require", "timer"), ("Allow", "UPDATE"),
    ))  # fmt: skip
    world.caller.ack(world.caller.dialog())
    world.run(200.0)
    world.restart()
    world.ok(world.caller, "OPTIONS")
    refresh = world.called.request("UPDATE")
    assert refresh.get("Session-Expires") == "600;refresher=uac"
    world.called.answer("UPDATE", 200, headers=(("Session-Expires", "600;refresher=uac"), ("Require", "timer")))
    world.run(299.0)
    assert len(world.called.got("UPDATE")) == 1
    world.run(2.0)
    assert len(world.called.got("UPDATE")) == 2
    world.called.answer("UPDATE", 200, headers=(("Session-Expires", "600;refresher=uac"), ("Require", "timer")))
    world.run(265.0)
    world.called.answer("UPDATE", 200) if world.called.got("UPDATE")[2:] else None
    assert len(world.b2bua) == 1
    world.run(10.0)
    _, record = settled(world)
    assert record.reason == "DEAD_PEER", "the caller, whose duty it is, did not refresh within 600 s"


def test_peers_are_asked_one_call_after_the_other() -> None:
    world = World()
    for _ in range(50):
        world.caller.invite()
        world.called.answer("INVITE", 200, tag="b1", body=REPLY)
        world.caller.ack(world.caller.dialog())
    world.run(1.0)
    assert world.restart() == [True] * 50
    world.run(1.0)
    moments = sorted(seen.at_s for seen in world.called.got("OPTIONS"))
    assert len(moments) == 50
    assert moments[-1] - moments[0] == pytest.approx(49 * PROBE_EVERY_S)


def test_a_peer_that_speaks_before_it_is_asked_is_not_held_for_dead() -> None:
    world = World(Options(settings=TIMED))
    a_side, _ = world.talk()
    world.run(3.0)
    world.b2bua._probe_at = 0.0
    world.restart()
    for phone in (world.caller, world.called):
        phone.answer("OPTIONS", 200)
    world.caller.send(a_side, "INFO", body=b"1")
    world.called.answer("INFO", 200)
    world.run(60.0)
    assert len(world.b2bua) == 1


def test_a_second_successor_uses_numbers_above_those_of_the_first() -> None:
    world, _, _ = adopted()
    first = world.called.request("OPTIONS").cseq[0]
    world.restart()
    second = world.called.request("OPTIONS").cseq[0]
    assert second > first > CSEQ_GAP
    answer_probes(world)
    assert len(world.b2bua) == 1


def test_numbers_are_stored_before_they_come_near_the_jump() -> None:
    world = World()
    a_side, _ = world.talk()
    for _ in range(150):
        world.caller.send(a_side, "INFO", body=b"1")
        world.called.answer("INFO", 200)
    used = world.called.request("INFO").cseq[0]
    world.restart()
    assert world.called.request("OPTIONS").cseq[0] > used


def test_what_is_adopted_twice_is_one_call() -> None:
    world, _, _ = adopted()
    (stored,) = world.store.live()
    assert world.b2bua.adopt(stored, world.now)
    assert len(world.b2bua) == 1


# the ACK was outstanding


def test_an_ack_that_was_still_to_come_is_relayed() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    dialog = world.caller.dialog()
    world.restart()
    (view,) = world.b2bua.calls(world.now)
    assert view.state == State.ANSWERED
    answer_probes(world)
    world.caller.ack(dialog)
    assert world.called.request("ACK").cseq[0] == 1
    (view,) = world.b2bua.calls(world.now)
    assert view.state == State.TALKING
    world.run(40.0)
    assert not [event for event in world.called.events if isinstance(event, AckMissing)]
    assert len(world.b2bua) == 1


def test_a_2xx_that_repeats_because_its_ack_was_lost_is_acknowledged_and_nothing_else() -> None:
    world = World()
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.restart()
    answer_probes(world)
    world.run(2.0)
    assert len(world.called.got("ACK")) == 1
    assert world.called.got("BYE") == []
    assert len(world.b2bua) == 1


def test_nothing_waits_for_the_ack_where_the_call_is_cut() -> None:
    world = World(Options(balance=5_000_000))
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.restart()
    answer_probes(world)
    world.run(5.1)
    for phone in (world.caller, world.called):
        (bye,) = phone.got("BYE")
        assert bye.at_s == pytest.approx(1005.0, abs=0.0011)
        world.ok(phone, "BYE")
    assert world.is_clean()


# an unanswered call


def test_an_unanswered_call_is_refused_cancelled_and_released() -> None:
    world = World()
    world.ring()
    held = world.store.live()
    assert held[0].held_micros
    assert world.restart() == [True]
    refusal = world.caller.response(500, "INVITE")
    assert "RESTARTED" in (refusal.get("Warning") or "")
    assert world.called.request("CANCEL").get("Reason")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Release)
    record = decode_record(closed.record)
    assert (record.reason, record.sip_status, record.carrier, record.ended_by) == ("RESTARTED", 500, "carrier", "gate")
    world.called.answer("INVITE", 487)
    assert world.called.got("ACK") == []  # it belongs to the transaction: nothing is told of it
    before = len(world.sent)
    world.run(40.0)
    repeated = [message for at_s, source, _, message in world.sent[before:] if isinstance(message, Request)]
    assert repeated == [], "the refusal was acknowledged, the 487 too"
    assert world.store.available("contoso") == 1_000_000_000
    assert world.is_clean()


def test_a_2xx_that_comes_all_the_same_is_acknowledged_and_ended() -> None:
    world = World()
    world.ring()
    world.restart()
    transaction = world.called.pending("INVITE")
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.called.request("ACK").cseq[0] == 1
    assert world.called.request("BYE").to.tag == transaction.to_tag or world.called.got("BYE")
    world.ok(world.called, "BYE")
    world.run(40.0)
    assert len(world.called.got("BYE")) == 1
    assert world.is_clean()


def test_an_invite_that_was_not_sent_yet_is_refused_too() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite()
    world.store.slow = False
    assert world.restart() == [True]
    assert world.caller.response(500, "INVITE")
    assert isinstance(next(iter(world.store.closed.values())), Release)
    world.run(80.0)
    assert world.endpoint.load == 0


# what cannot be read, and what comes too early


def change(world: World, adoption: bytes) -> Callable[..., bool]:
    (stored,) = world.store.live()
    world.die()
    world.b2bua = world._new_b2bua(world.deadlines)

    def adopt(**more: object) -> bool:
        values = {name: getattr(stored, name) for name in stored.__dataclass_fields__}
        return world.b2bua.adopt(type(stored)(**{**values, "adoption": adoption, **more}), world.now)

    return adopt


def test_an_answered_call_that_cannot_be_read_is_left_to_the_sweep() -> None:
    world = World()
    world.talk()
    assert change(world, b"[3]")() is False
    world.settle()
    assert world.store.closed == {}
    assert world.is_clean()


def test_an_unanswered_call_that_cannot_be_read_is_released() -> None:
    world = World()
    world.ring()
    assert change(world, b"")() is False
    world.settle()
    (closed,) = world.store.closed.values()
    assert decode_record(closed.record).reason == "RESTARTED"


def test_requests_that_come_before_their_call_is_adopted_wait_for_it() -> None:
    world = World()
    a_side, _ = world.talk()
    world.run(3.0)
    world.die()
    world.b2bua = world._new_b2bua(world.deadlines)
    world.endpoint = world.b2bua.endpoint
    world.b2bua.expect_adoption()
    world.caller.send(a_side, "BYE")
    assert world.caller.got(481) == world.caller.got(200, "BYE") == []
    (stored,) = world.store.live()
    assert world.b2bua.adopt(stored, world.now)
    world.b2bua.end_adoption(world.now)
    world.settle()
    assert world.caller.response(200, "BYE")
    world.ok(world.called, "BYE")
    assert settled(world)[0].talk_ms == 3000
    world.caller.send(a_side, "BYE")
    assert world.caller.response(481, "BYE"), "whatever is not known now never will be"


def test_a_stray_2xx_is_ended_only_when_nothing_is_left_to_adopt() -> None:
    world = World()
    world.ring()
    invite = world.called.request("INVITE")
    world.die()
    world.b2bua.expect_adoption()
    world.inject(CARRIER, answer_to(invite, "200 OK", "other"))
    assert world.called.got("BYE") == []
    world.b2bua.end_adoption(world.now)
    world.settle()
    assert [seen.message.method for seen in world.called.seen[-2:]] == ["ACK", "BYE"]  # type: ignore[union-attr]
