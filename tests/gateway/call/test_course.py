"""The ordinary course of calls, from INVITE to the last BYE, and how they are refused."""

import pytest

from gateway.call.call import Call
from gateway.call.commands import Release, Reserve, Settle
from gateway.call.facts import Finished, Placed, Ticked
from gateway.call.record import decode_record
from gateway.call.settings import CallSettings
from gateway.sip.events import Flow
from policy.reasons import REASONS, Reason
from policy.verdict import Deny, Route
from tests.gateway.call.world import CALLER, EPOCH_MS, GATE, NUMBER, OFFER, REPLY, Options, World, allow


def test_a_call_from_invite_to_the_callers_bye() -> None:
    world = World()
    dialog, _ = world.talk()
    assert world.caller.story() == "100 180 200"
    assert world.called.story() == "INVITE ACK"
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]
    world.run(3.0)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    assert world.caller.story() == "100 180 200 200"
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert (closed.talk_ms, closed.charge_micros) == (3000, 3_000_000)
    assert world.is_clean()


def test_the_called_side_hangs_up() -> None:
    world = World()
    _, dialog = world.talk()
    world.run(2.5)
    world.called.send(dialog, "BYE", headers=(("Reason", "Q.850;cause=16"),))
    world.ok(world.caller, "BYE")
    assert world.caller.request("BYE").get("Reason") == "Q.850;cause=16"
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert (closed.talk_ms, closed.charge_micros) == (2500, 3_000_000)
    assert decode_record(closed.record).ended_by == "callee"
    assert world.is_clean()


def test_100_is_sent_before_anything_is_decided() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite()
    assert world.caller.story() == "100"
    assert world.called.story() == ""


def test_nothing_is_dialled_before_the_first_tick_is_granted() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite()
    assert world.called.story() == ""
    world.store.slow = False
    world.settle()
    assert world.called.story() == "INVITE"


def test_the_answer_is_written_before_the_caller_hears_of_it() -> None:
    world = World()
    world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.caller.story() == "100 180"
    world.store.slow = False
    world.settle()
    assert world.caller.story() == "100 180 200"


def test_the_answer_is_relayed_where_the_store_cannot_write_it() -> None:
    world = World()
    world.ring()
    world.store.away = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    assert world.caller.story() == "100 180 200"


def test_talk_counts_from_the_called_sides_200() -> None:
    world = World()
    world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(0.4)
    world.store.slow = False
    world.settle()
    world.caller.ack(world.caller.dialog())
    world.run(1.0)
    world.caller.send(world.caller.dialog(), "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert closed.talk_ms == 1400


def test_sdp_passes_unchanged_both_ways() -> None:
    world = World()
    world.talk()
    assert world.called.request("INVITE").body == OFFER
    assert world.called.request("INVITE").get("Content-Type") == "application/sdp"
    assert world.caller.response(200, "INVITE").body == REPLY


def test_early_media_reaches_the_caller() -> None:
    world = World()
    world.caller.invite()
    world.called.answer("INVITE", 183, tag="b1", body=REPLY, headers=(("P-Early-Media", "sendrecv"),))
    progress = world.caller.response(183)
    assert progress.body == REPLY
    assert progress.get("P-Early-Media") == "sendrecv"


def test_each_leg_has_its_own_identity() -> None:
    world = World()
    world.talk()
    sent, got = world.called.request("INVITE"), world.caller.response(200, "INVITE")
    assert sent.call_id != got.call_id
    assert sent.from_.tag != got.from_.tag
    assert got.to.tag != "b1"
    assert sent.uri == f"sip:{NUMBER}@10.0.0.3:5060"
    assert sent.top_via.text.startswith("SIP/2.0/UDP 10.0.0.1:5060")
    assert str(sent.contact).startswith("<sip:10.0.0.1:5060")
    assert sent.from_.uri == f"sip:{CALLER}@10.0.0.1"  # the caller's address is its own affair


@pytest.mark.parametrize("code", ["UNKNOWN_CALLER", "NO_RATE", "INCOMPLETE_NUMBER", "LIMIT_CALLS", "BLOCKED_PREFIX"])
def test_policy_refuses_with_status_warning_and_reason(code: str) -> None:
    reason = REASONS[code]
    world = World(Options(verdict=Deny(reason, tenant_id="contoso", kind="user_out", trunk="pbx")))
    world.caller.invite()
    refusal = world.caller.response(reason.sip_status)
    assert refusal.get("Warning") == f'399 callgate "{code}: {reason.text}"'
    assert refusal.get("Reason") == f'Q.850;cause={reason.q850};text="{reason.text}"'
    assert refusal.get("Retry-After") is None
    (refused,) = world.store.refused
    record = decode_record(refused.record)
    assert (record.reason, record.sip_status, record.charge_micros, record.trunk) == (code, reason.sip_status, 0, "pbx")
    assert world.facts == [Finished("refused", code, "user_out", "pbx")]
    assert world.is_clean()


@pytest.mark.parametrize("code", ["GATE_CALLS", "GATE_CALLS_PER_SECOND"])
def test_the_gates_own_limits_say_when_to_come_again(code: str) -> None:
    world = World(Options(verdict=Deny(REASONS[code])))
    world.caller.invite()
    assert world.caller.response(503).get("Retry-After") is not None


def test_no_credit_is_402() -> None:
    world = World(Options(balance=999_999))
    world.caller.invite()
    refusal = world.caller.response(402)
    assert refusal.get("Warning") == '399 callgate "NO_CREDIT: credit exhausted"'
    assert refusal.get("Reason") == 'Q.850;cause=21;text="credit exhausted"'
    assert world.called.story() == ""
    (refused,) = world.store.refused
    assert decode_record(refused.record).reason == "NO_CREDIT"
    assert Ticked("refused") in world.facts
    assert world.is_clean()


def test_a_limit_counted_by_the_store_is_403() -> None:
    world = World()
    world.store.deny = "LIMIT_CALLS"
    world.caller.invite()
    assert world.caller.response(403).get("Warning") == (
        '399 callgate "LIMIT_CALLS: as many calls are live as the limit allows"'
    )


def test_a_store_that_is_away_is_503_and_a_late_reservation_dies() -> None:
    world = World()
    world.store.away = True
    world.caller.invite()
    refusal = world.caller.response(503)
    assert "STORE_AWAY" in (refusal.get("Warning") or "")
    assert refusal.get("Retry-After") is None
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Release)
    assert world.is_clean()


def test_a_store_that_never_answers_is_503_in_the_end() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite()
    world.run(5.0)
    assert world.caller.response(503)
    assert world.store.count(Release) == 1
    world.store.slow = False
    world.settle()
    assert world.called.story() == ""
    assert world.is_clean()


def emergency() -> Options:
    route = Route("carrier", "sip:10.0.0.3:5060", "911")
    return Options(verdict=allow(emergency=True, tariff=None, payer="none", number="911", routes=(route,)))


def test_an_emergency_call_never_waits_for_the_store() -> None:
    world = World(emergency())
    world.store.slow = True
    world.caller.invite("911")
    assert world.called.request("INVITE").uri == "sip:911@10.0.0.3:5060"
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    world.run(10_000.0)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_an_emergency_call_is_not_refused_for_its_session_interval_nor_cut_for_its_length() -> None:
    world = World(Options(verdict=emergency().verdict, settings=CallSettings(session_expires_s=1800, max_call_s=60)))
    dialog, _ = world.talk(headers=(("Supported", "timer"), ("Session-Expires", "30")))
    assert world.caller.response(200, "INVITE").get("Session-Expires") == "90;refresher=uac"
    world.run(59.0)
    world.caller.send(dialog, "UPDATE")
    world.run(10.0)
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_with_retry_an_invite_waits_half_a_second_for_a_store_that_is_away() -> None:
    world = World(Options(verdict=allow(failure_policy="retry")))
    world.store.away = True
    world.caller.invite()
    world.run(0.499)
    assert world.caller.got(503) == []
    world.run(0.002)
    assert world.caller.got(503)[0].at_s == 1000.5
    assert "STORE_AWAY" in (world.caller.response(503).get("Warning") or "")
    assert 3 <= world.store.count(Reserve) <= 12
    assert world.is_clean()


def test_with_retry_an_invite_goes_out_as_soon_as_the_store_is_back() -> None:
    world = World(Options(verdict=allow(failure_policy="retry")))
    world.store.away = True
    world.caller.invite()
    world.run(0.3)
    world.store.away = False
    world.run(0.1)
    assert world.called.got("INVITE")[0].at_s <= 1000.35
    world.run(1.0)
    first, *others = [command for command in world.store.commands if isinstance(command, Reserve)]
    assert others
    assert all(other == first for other in others), "one request to the store (MONEY 3)"


def test_with_retry_a_caller_may_give_up_meanwhile() -> None:
    world = World(Options(verdict=allow(failure_policy="retry")))
    world.store.away = True
    invite = world.caller.invite()
    world.caller.cancel(invite)
    assert world.caller.got(487)
    asked = world.store.count(Reserve)
    world.run(1.0)
    assert world.store.count(Reserve) == asked
    assert world.is_clean()


def test_an_emergency_call_passes_with_the_store_away_and_during_a_drain() -> None:
    world = World(emergency())
    world.store.away = True
    world.b2bua.drain(world.now)
    dialog, _ = world.talk()
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert closed.charge_micros == 0
    assert world.is_clean()


def test_an_emergency_urn_keeps_its_request_uri() -> None:
    route = Route("carrier", "sip:10.0.0.3:5060", "urn:service:sos.fire")
    world = World(Options(verdict=allow(emergency=True, tariff=None, payer="none", routes=(route,))))
    world.caller.invite()
    assert world.called.request("INVITE").uri == "urn:service:sos.fire"


def test_a_draining_gate_takes_no_new_calls() -> None:
    world = World()
    world.b2bua.drain(world.now)
    world.caller.invite()
    assert world.caller.response(503).get("Retry-After") is not None
    assert "DRAINING" in (world.caller.response(503).get("Warning") or "")
    assert world.store.count(Release) == 0


def test_a_draining_gate_says_so_to_who_asks() -> None:
    """A dispatcher in front sends no more calls where OPTIONS gets what an INVITE would."""
    world = World()
    for status in (200, 503):
        world.caller.endpoint.request(
            "OPTIONS", f"sip:{GATE[0]}", Flow("udp", *GATE), from_="<sip:10.0.0.2>;tag=1", to=f"<sip:{GATE[0]}>",
            call_id=f"ping-{status}", cseq=1, now=world.now,
        )  # fmt: skip
        world.settle()
        assert world.caller.response(status, "OPTIONS")
        world.b2bua.drain(world.now)


def test_the_end_of_a_drain_refuses_what_is_unanswered_and_leaves_what_talks() -> None:
    world = World()
    world.talk()
    world.caller.invite()
    world.called.answer("INVITE", 180, tag="b2")
    world.b2bua.end_unanswered(world.now)
    world.settle()
    assert world.caller.response(503).get("Retry-After") is not None
    assert world.called.request("CANCEL").get("Reason") == (
        'SIP;cause=503;text="the gate is being shut down", Q.850;cause=41'
    )
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_the_end_of_a_drain_leaves_an_emergency_call_to_ring() -> None:
    world = World(emergency())
    world.ring()
    world.b2bua.drain(world.now)
    world.b2bua.end_unanswered(world.now)
    world.b2bua.cut_ordinary(world.now)
    world.settle()
    assert (world.caller.story(), world.called.story()) == ("100 180", "INVITE")
    assert world.b2bua.unanswered_emergencies() == 1
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    assert world.b2bua.unanswered_emergencies() == 0
    world.b2bua.cut_ordinary(world.now)
    world.b2bua.end_emergencies(world.now)
    world.settle()
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"]


def test_a_drain_waits_for_an_emergency_call_no_longer_than_it_may_ring() -> None:
    world = World(emergency())
    world.ring()
    world.b2bua.drain(world.now)
    world.run(179.0)
    assert world.b2bua.unanswered_emergencies() == 1
    world.run(2.0)
    assert world.caller.response(480)
    assert world.b2bua.unanswered_emergencies() == 0


def test_a_process_that_goes_tells_the_callers_of_emergency_calls_that_ring() -> None:
    world = World(emergency())
    world.ring()
    world.b2bua.end_emergencies(world.now)
    world.settle()
    assert "DRAINING" in (world.caller.response(503).get("Warning") or "")
    world.called.answer("INVITE", 487)
    world.run(40.0)
    assert world.is_clean()


def test_emergency_calls_are_counted_by_themselves() -> None:
    world = World(emergency())
    dialog, _ = world.talk()
    assert (len(world.b2bua), world.b2bua.ordinary_calls()) == (1, 0)
    world.verdict = allow()
    world.caller.invite()
    assert (len(world.b2bua), world.b2bua.ordinary_calls()) == (2, 1)
    world.called.answer("INVITE", 486)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    assert (len(world.b2bua), world.b2bua.ordinary_calls()) == (0, 0)
    assert world.is_clean()


@pytest.mark.parametrize("faults", [1, 2])
def test_one_call_that_causes_a_fault_keeps_no_other_from_its_end(faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world, heard, stop, stopped = World(), [], Call.stop, []

    def broken(call: Call, reason: Reason, now: float) -> None:
        stopped.append(call.id)
        if len(stopped) <= faults:
            raise RuntimeError(f"a bug of {call.id}")
        stop(call, reason, now)

    monkeypatch.setattr(Call, "stop", broken)
    world.b2bua.on_fault = lambda fault, now: heard.append((str(fault), now))
    for _ in range(3):
        world.talk()
    world.b2bua.cut_ordinary(world.now)
    assert len(set(stopped)) == 3
    assert heard == [(f"a bug of {call_id}", world.now) for call_id in stopped[:faults]]
    assert [view.state for view in world.b2bua.calls(world.now)] == ["talking"] * faults + ["ending"] * (3 - faults)


def test_a_fault_nobody_wants_to_hear_of_leaves_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Call, reason: Reason, now: float) -> None:
        raise RuntimeError("a bug")

    world = World()
    world.talk()
    monkeypatch.setattr(Call, "stop", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        world.b2bua.cut_ordinary(world.now)


def test_cutting_on_drain_ends_every_ordinary_call() -> None:
    world = World()
    world.talk()
    world.b2bua.cut_ordinary(world.now)
    world.settle()
    world.ok(world.caller, "BYE")
    world.ok(world.called, "BYE")
    assert world.store.count(Settle) == 1
    assert world.is_clean()


def test_an_operator_hangs_up() -> None:
    world = World()
    world.talk()
    (view,) = world.b2bua.calls(world.now)
    world.run(2.0)
    assert not world.b2bua.hang_up("no-such-call", world.now)
    assert world.b2bua.hang_up(view.id, world.now)
    assert not world.b2bua.hang_up(view.id, world.now)
    world.settle()
    for phone in (world.caller, world.called):
        bye = phone.request("BYE")
        assert bye.get("Reason") == 'SIP;cause=480;text="hung up by an operator", Q.850;cause=16'
        world.ok(phone, "BYE")
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    assert closed.charge_micros == 2_000_000
    assert world.is_clean()


def test_the_record_of_an_answered_call() -> None:
    world = World()
    dialog, _ = world.talk(call_id="abc")
    world.run(61.25)
    world.caller.send(dialog, "BYE")
    (closed,) = world.store.closed.values()
    record = decode_record(closed.record)
    assert (record.call_id, record.tenant_id, record.kind, record.sip_call_id) == (
        closed.call_id, "contoso", "user_out", "abc",
    )  # fmt: skip
    assert (record.trunk, record.carrier, record.caller, record.number) == ("pbx", "carrier", CALLER, NUMBER)
    assert (record.invited_ms, record.answered_ms, record.ended_ms) == (EPOCH_MS, EPOCH_MS, EPOCH_MS + 61_250)
    assert (record.talk_ms, record.billed_s, record.charge_micros) == (61_250, 62, 62_000_000)
    assert (record.reason, record.sip_status, record.ended_by, record.payer) == ("COMPLETED", 200, "caller", "credits")
    assert (record.rate_micros_per_min, record.currency, record.node) == (60_000_000, "USD", "gate-1")


def test_facts_of_a_call() -> None:
    world = World()
    world.store.slow = True
    world.caller.invite(run=False)
    world.run(0.25)
    world.store.slow = False
    world.settle()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    world.caller.send(world.caller.dialog(), "BYE")
    assert world.facts == [Ticked("granted"), Placed(0.25), Finished("answered", "COMPLETED", "user_out", "pbx")]


def test_the_census_counts_by_trunk_and_state() -> None:
    world = World()
    world.talk()
    world.caller.invite()
    assert world.b2bua.census() == {("pbx", "talking"): 1, ("pbx", "dialling"): 1}


def test_a_view_of_a_live_call() -> None:
    world = World(Options(settings=CallSettings(tick_s=10, node="gate-7")))
    world.talk()
    world.run(3.7)
    (view,) = world.b2bua.calls(world.now)
    assert (view.tenant, view.number, view.state, view.node) == ("contoso", NUMBER, "talking", "gate-7")
    assert (view.seconds, view.charged_micros, view.held_micros) == (3, 4_000_000, 10_000_000)
    assert (view.answered_ms, view.paid_until_ms) == (EPOCH_MS, EPOCH_MS + 10_000)


def test_a_repeated_caller_call_id_is_a_call_of_its_own() -> None:
    world = World()
    world.caller.invite(call_id="same")
    world.caller.invite(call_id="same")
    assert len({view.id for view in world.b2bua.calls(world.now)}) == 2
    assert len({seen.message.call_id for seen in world.called.got("INVITE")}) == 2
