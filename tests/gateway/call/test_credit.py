"""Money along a call: ticks, the cut to the instant on both legs, and everything that can come between."""

import pytest

from gateway.call.call import ENDING_MAX_S, Call
from gateway.call.called import CalledLeg
from gateway.call.caller import CallerLeg
from gateway.call.commands import Grant, Prove, Refusal, Release, Renew, Reserve, Settle
from gateway.call.facts import Cut, Finished, Ticked
from gateway.call.leg import Leg
from gateway.call.record import decode_record
from gateway.call.settings import CallSettings
from policy.verdict import Allow
from tests.gateway.call.world import CARRIER, OFFER, REPLY, Options, Phone, World, allow, answer_to

CUT_REASON = 'SIP;cause=402;text="credit exhausted", Q.850;cause=21'


def settled(world: World) -> Settle:
    (closed,) = world.store.closed.values()
    assert isinstance(closed, Settle)
    return closed


def test_a_call_is_cut_on_both_legs_at_the_moment_its_money_ends() -> None:
    world = World(Options(balance=5_000_000))
    world.talk()
    world.run(4.999)
    assert world.caller.got("BYE") == world.called.got("BYE") == []
    world.run(0.002)
    for phone in (world.caller, world.called):
        (bye,) = phone.got("BYE")
        assert bye.at_s == 1005.0
        assert bye.message.get("Reason") == CUT_REASON
        world.ok(phone, "BYE")
    assert settled(world).talk_ms == 5000
    assert world.store.balances["contoso"] == 0
    assert Cut(0.0) in world.facts
    assert Finished("cut", "NO_CREDIT", "user_out", "pbx") in world.facts
    assert decode_record(settled(world).record).ended_by == "gate"
    assert world.is_clean()


@pytest.mark.parametrize("word", ["ws", "sctp"])
@pytest.mark.parametrize("who", ["caller", "called"])
def test_a_contact_of_a_transport_the_gate_does_not_speak_saves_nobody_from_the_cut(who: str, word: str) -> None:
    world = World(Options(balance=5_000_000))
    phone: Phone = getattr(world, who)
    phone.endpoint.contact = lambda flow, user="": f"<sip:{phone.address[0]};transport={word}>"  # type: ignore[method-assign]
    world.talk()
    world.run(5.001)
    for side in (world.caller, world.called):
        (bye,) = side.got("BYE")
        assert bye.at_s == 1005.0
        world.ok(side, "BYE")
    assert world.called.story() == "INVITE ACK BYE"
    assert settled(world).charge_micros == 5_000_000
    assert world.is_clean()


@pytest.mark.parametrize("leg", ["caller", "called"])
def test_a_fault_in_one_leg_does_not_leave_the_other_one_talking(leg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world, faults = World(Options(balance=5_000_000)), []
    world.deadlines.on_fault = lambda fault, now: faults.append(str(fault))
    world.talk()

    def broken(self: Leg, headers: object, now: float) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(CalledLeg if leg == "called" else CallerLeg, "say_bye", broken, raising=False)
    world.run(5.001)
    assert faults == ["broken"]
    assert len(world.caller.got("BYE")) == (leg == "called")
    assert len(world.called.got("BYE")) == (leg == "caller")
    assert settled(world).charge_micros == 5_000_000
    world.ok(world.caller if leg == "called" else world.called, "BYE")
    world.run(ENDING_MAX_S)
    assert world.is_clean(), "and it is forgotten all the same"


def test_a_fault_in_the_closing_leaves_nobody_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    world, faults = World(Options(balance=5_000_000)), []
    world.deadlines.on_fault = lambda fault, now: faults.append(str(fault))
    world.talk()

    def broken(self: Call, ending: object, now: float) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Call, "_settle", broken)
    world.run(5.001)
    assert faults == ["broken"]
    for phone in (world.caller, world.called):
        world.ok(phone, "BYE")
    assert world.is_clean()


def test_a_late_deadline_bills_no_more_than_was_paid_for() -> None:
    world = World(Options(balance=5_000_000))
    world.talk()
    world.now = 1000.0 + 5.3
    world.deadlines.run(world.now)
    world.settle()
    assert (settled(world).talk_ms, settled(world).charge_micros) == (5000, 5_000_000)
    (cut,) = [fact for fact in world.facts if isinstance(fact, Cut)]
    assert cut.error_s == pytest.approx(0.3)


def test_ticks_are_renewed_a_lead_time_before_they_end() -> None:
    world = World()
    world.talk()
    asked = []
    for _ in range(3):
        world.run(10.0)
        asked.append([command for command in world.store.commands if isinstance(command, Renew)][-1])
    ticks = [(renew.tick, renew.start_s, renew.end_s, renew.proven_s) for renew in asked]
    assert ticks == [(1, 10, 20, 8), (2, 20, 30, 18), (3, 30, 40, 28)]
    assert len(world.b2bua) == 1


def test_money_in_the_last_second_keeps_the_call_up() -> None:
    world = World(Options(balance=5_000_000))
    world.talk()
    world.run(4.5)
    world.store.balances["contoso"] += 3_000_000
    world.b2bua.funded("contoso", world.now)
    world.run(1.0)
    assert world.caller.got("BYE") == []
    world.run(2.6)
    assert world.caller.got("BYE")[0].at_s == 1008.0


def test_money_that_nobody_told_of_is_found_50_ms_before_the_end() -> None:
    world = World(Options(balance=5_000_000))
    world.talk()
    world.run(4.9)
    world.store.balances["contoso"] += 1_000_000
    world.run(0.2)
    assert world.caller.got("BYE") == []
    world.run(1.0)
    assert world.caller.got("BYE")[0].at_s == 1006.0


def test_money_reaches_the_other_calls_where_one_causes_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    world, faults, woken = World(), [], []

    def fund(call: Call, now: float) -> None:
        woken.append(call.id)
        if len(woken) == 1:
            raise RuntimeError("a bug")

    for _ in range(3):
        world.talk()
    for call in world.b2bua._calls.values():
        world.b2bua.thirst(call)
    monkeypatch.setattr(Call, "fund", fund)
    world.b2bua.on_fault = lambda fault, now: faults.append(str(fault))
    world.b2bua.funded("contoso", world.now)
    assert sorted(woken) == sorted(world.b2bua._calls)
    assert faults == ["a bug"]


def test_funding_another_tenant_asks_for_nothing() -> None:
    world = World(Options(balance=5_000_000))
    world.talk()
    world.run(4.0)
    asked = world.store.count(Renew)
    world.b2bua.funded("fabrikam", world.now)
    world.settle()
    assert world.store.count(Renew) == asked


def test_a_store_away_at_renewal_is_asked_again_until_it_is_back() -> None:
    world = World()
    world.talk()
    world.run(7.9)
    world.store.away = True
    world.run(1.5)
    assert 2 <= world.store.count(Renew) <= 10
    world.store.away = False
    world.run(3.0)
    assert world.caller.got("BYE") == []
    assert Ticked("away") in world.facts


def test_a_store_that_stays_away_cuts_the_call_at_paid_until_with_its_own_reason() -> None:
    world = World()
    world.talk()
    world.store.away = True
    world.run(11.0)
    (bye,) = world.called.got("BYE")
    assert bye.at_s == 1010.0
    assert bye.message.get("Reason") == 'SIP;cause=503;text="the credit store cannot be reached", Q.850;cause=41'
    assert settled(world).charge_micros == 10_000_000


def test_a_store_that_is_silent_cuts_the_call_at_paid_until() -> None:
    world = World()
    world.talk()
    world.store.slow = True
    world.run(10.0)
    assert world.called.got("BYE")[0].at_s == 1010.0


def test_a_grant_that_comes_after_the_end_changes_nothing() -> None:
    world = World()
    dialog, _ = world.talk()
    world.run(7.9)
    world.store.slow = True
    world.run(0.2)
    world.caller.send(dialog, "BYE")
    world.store.slow = False
    world.settle()
    world.ok(world.called, "BYE")
    world.run(60.0)
    assert settled(world).talk_ms == 8100
    assert world.store.count(Settle) == 1
    assert not world.store.held
    assert world.is_clean()


def test_a_grant_for_a_call_that_is_over_is_ignored() -> None:
    world = World()
    world.b2bua.resolve(Grant("uuid-unknown", 0, 10, 1), world.now)
    assert world.b2bua.take_commands() == []


def test_a_fenced_call_is_dropped_without_a_word() -> None:
    world = World(Options(balance=12_000_000))
    world.talk()
    world.run(10.1)
    assert Ticked("refused") in world.facts
    world.store.fenced = True
    world.run(60.0)
    assert world.caller.got("BYE") == world.called.got("BYE") == []
    assert world.store.count(Settle) == world.store.count(Release) == 0
    assert world.is_clean()
    assert world.facts[-1] == Finished("fenced", "FENCED", "user_out", "pbx")


@pytest.mark.parametrize("status", [200, 488])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO"])
@pytest.mark.parametrize("by", ["caller", "called"])
def test_a_call_that_is_fenced_says_nothing_to_answers_that_come_later(by: str, method: str, status: int) -> None:
    world = World()
    dialogs = dict(zip(("caller", "called"), world.talk(), strict=True))
    asked = world.called if by == "caller" else world.caller
    asks = world.caller if by == "caller" else world.called
    asks.send(dialogs[by], method, body=OFFER)
    asked.pending(method)
    world.b2bua.resolve(Refusal(next(world.b2bua.calls(world.now)).id, 1, "FENCED"), world.now)
    assert world.is_clean()
    heard, told = asks.story(), len(asked.got("ACK"))
    asked.answer(method, status, body=REPLY if status == 200 else b"")
    world.run(3.0)
    assert asks.story() == heard
    assert len(asked.got("ACK")) == told


@pytest.mark.parametrize("status", [200, 404, 481])
def test_a_call_that_is_fenced_does_not_act_on_the_answer_to_its_own_refresh(status: int) -> None:
    world = World(Options(settings=CallSettings(tick_s=10, session_expires_s=90)))
    world.talk()
    world.run(60.0)
    waiting = [phone for phone in (world.caller, world.called) if phone.waiting]
    assert waiting
    world.b2bua.resolve(Refusal(next(world.b2bua.calls(world.now)).id, 1, "FENCED"), world.now)
    for phone in waiting:
        phone.answer(phone.waiting[0].method, status)
    world.run(200.0)
    assert world.is_clean()
    assert world.caller.got("BYE") == world.called.got("BYE") == []


def test_a_call_that_is_fenced_does_not_acknowledge_its_answer_again() -> None:
    world = World()
    world.talk()
    world.b2bua.resolve(Refusal(next(world.b2bua.calls(world.now)).id, 1, "FENCED"), world.now)
    world.inject(CARRIER, answer_to(world.called.request("INVITE"), "200 OK", "b1"))
    assert len(world.called.got("ACK")) == 1


@pytest.mark.parametrize("state", ["reserving", "answering"])
def test_a_call_that_is_fenced_before_the_caller_heard_an_answer_is_500(state: str) -> None:
    """Unanswered calls are not adopted (SIP.md 5), so nobody else will answer the caller."""
    world = World()
    world.store.fenced = state == "reserving"
    world.caller.invite()
    if state == "answering":
        world.store.fenced = True
        world.called.answer("INVITE", 200, tag="b1", body=REPLY)
        assert world.called.story() == "INVITE ACK BYE"
        world.ok(world.called, "BYE")
    assert "FENCED" in (world.caller.response(500).get("Warning") or "")
    assert world.is_clean()


def test_a_limit_reached_in_mid_call_cuts_with_403() -> None:
    world = World()
    world.talk()
    world.store.deny = "LIMIT_SPEND"
    world.run(11.0)
    assert (world.called.request("BYE").get("Reason") or "").startswith("SIP;cause=403")
    assert decode_record(settled(world).record).reason == "LIMIT_REACHED"


@pytest.mark.parametrize("changed", [{"tariff": None, "payer": "none"}, {"tariff": None, "emergency": True}])
def test_nobody_pays_nobody_is_cut(changed: dict[str, object]) -> None:
    world = World(Options(balance=0, verdict=allow(**changed)))
    dialog, _ = world.talk()
    world.run(3600.0)
    assert world.store.count(Renew) == 0
    world.caller.send(dialog, "BYE")
    assert settled(world).charge_micros == 0
    assert settled(world).talk_ms == 3_600_000


def test_a_call_that_nobody_pays_for_proves_that_it_lives_before_its_lease_ends() -> None:
    world = World(Options(verdict=allow(tariff=None, payer="none")))
    world.talk()
    (reserve,) = [command for command in world.store.commands if isinstance(command, Reserve)]
    world.run(float(reserve.lease_s * 3))
    proofs = [command.proven_s for command in world.store.commands if isinstance(command, Prove)]
    assert len(proofs) == 6
    assert max(later - earlier for earlier, later in zip([0, *proofs], proofs, strict=False)) < reserve.lease_s


def test_free_numbers_count_as_live_calls_and_wait_for_the_store() -> None:
    world = World(Options(verdict=allow(tariff=None, payer="none")))
    world.store.deny = "LIMIT_CALLS"
    world.caller.invite()
    assert world.caller.response(403)


def test_the_longest_call_ends_and_is_charged_no_more() -> None:
    world = World(Options(settings=CallSettings(tick_s=10, max_call_s=25, session_expires_s=0)))
    world.talk()
    world.run(24.9)
    world.now += 0.35
    world.deadlines.run(world.now)
    world.settle()
    assert (world.caller.request("BYE").get("Reason") or "").startswith('SIP;cause=403;text="the longest time')
    assert (settled(world).talk_ms, settled(world).charge_micros) == (25_000, 25_000_000)
    assert decode_record(settled(world).record).reason == "MAX_DURATION"


def test_a_verdict_may_shorten_the_longest_call() -> None:
    world = World(Options(verdict=allow(max_call_s=7)))
    world.talk()
    world.run(8.0)
    assert world.caller.got("BYE")[0].at_s == 1007.0
    assert settled(world).talk_ms == 7000


def test_a_cut_before_the_ack_says_bye_to_the_called_side_at_once_and_to_the_caller_at_its_ack() -> None:
    world = World(Options(balance=2_000_000))
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(2.5)
    assert world.called.story() == "INVITE ACK BYE"
    assert world.called.got("BYE")[0].at_s == 1002.0
    assert world.caller.got("BYE") == []
    world.ok(world.called, "BYE")
    world.caller.ack(world.caller.dialog())
    assert world.caller.request("BYE").get("Reason") == CUT_REASON
    world.ok(world.caller, "BYE")
    assert settled(world).charge_micros == 2_000_000
    assert Cut(0.0) in world.facts
    assert world.is_clean()


def test_a_cut_of_a_call_that_is_never_acked_says_bye_to_the_caller_after_64_t1() -> None:
    world = World(Options(balance=2_000_000))
    world.ring()
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(33.0)
    (bye,) = world.caller.got("BYE")
    assert bye.at_s == pytest.approx(1032.0)
    world.ok(world.called, "BYE")
    world.ok(world.caller, "BYE")
    assert settled(world).charge_micros == 2_000_000
    assert world.is_clean()


@pytest.mark.parametrize("verdict", [allow(), allow(tariff=None, payer="none")])
def test_a_store_that_never_says_that_the_answer_is_written_does_not_hold_it_back_for_ever(verdict: Allow) -> None:
    world = World(Options(verdict=verdict))
    world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(3.9)
    assert world.caller.got(200) == []
    world.run(0.2)
    assert world.caller.got(200)


def test_money_that_ends_while_the_answer_is_being_written_refuses_the_call_free_of_charge() -> None:
    world = World(Options(balance=1_000_000))
    world.ring()
    world.store.slow = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.run(1.5)
    assert world.caller.response(503)
    assert world.called.story() == "INVITE ACK BYE"
    world.ok(world.called, "BYE")
    assert settled(world).charge_micros == 0
    assert world.is_clean()


def test_many_calls_on_one_balance_never_overspend() -> None:
    world = World(Options(balance=7_500_000, settings=CallSettings(tick_s=1, renew_lead_s=0.5, session_expires_s=0)))
    for number in range(5):
        world.caller.invite()
        world.called.answer("INVITE", 200, tag=f"b{number}", body=REPLY)
        world.caller.ack(world.caller.dialog())
        world.run(0.13)
    world.run(20.0)
    assert world.store.count(Settle) == 5
    assert world.store.balances["contoso"] == 500_000
    assert not world.store.held
