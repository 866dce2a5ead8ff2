"""Calls whose price changes while they ring or talk: what is reserved, where a tick ends, cut, charge and record."""

from typing import Any

import pytest

from gateway.call.commands import Answer, Renew, Reserve, Resolved
from gateway.call.record import CallRecord, decode_record
from gateway.call.settings import CallSettings
from policy.reasons import REASONS
from policy.verdict import Pool
from rating.schedule import Change
from rating.tariff import Step, Tariff
from tests.gateway.call.world import EPOCH_MS, PER_SECOND, REPLY, Options, World, allow

UNIT = 1_000_000
HALF = Tariff(rate_micros_per_min=30_000_000, first_incr_s=1, next_incr_s=1)
DOUBLE = Tariff(rate_micros_per_min=120_000_000, connect_micros=3 * UNIT, first_incr_s=1, next_incr_s=1)


def world_with(*changes: tuple[float, Tariff], balance: float = 100, **verdict: Any) -> World:
    """The world's clock begins with the INVITE; prices change so many seconds later."""
    told = tuple(Change(EPOCH_MS + int(after_s * 1000), tariff) for after_s, tariff in changes)
    settings = CallSettings(tick_s=10, session_expires_s=0)
    return World(Options(allow(changes=told, **verdict), settings, int(balance * UNIT)))


def record_of(world: World) -> CallRecord:
    (closed,) = world.store.closed.values()
    return decode_record(closed.record)


def hang_up(world: World, after_s: float, ring_s: float = 0.0) -> CallRecord:
    """A call that rings and talks for so long; its record."""
    world.ring()
    world.run(ring_s)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    dialog = world.caller.dialog()
    world.caller.ack(dialog)
    world.run(after_s)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    world.run(70)
    assert world.is_clean()
    return record_of(world)


def ticks(world: World) -> list[tuple[int, int]]:
    return [(command.start_s, command.end_s) for command in world.store.commands if isinstance(command, Renew)]


def test_a_call_over_a_change_down_costs_both_rates_and_a_tick_is_split_there() -> None:
    world = world_with((25, HALF))
    record = hang_up(world, 40)
    assert (record.charge_micros, record.billed_s) == (int(32.5 * UNIT), 40)
    assert record.rates == "0 60000000, 25 30000000"
    assert ticks(world) == [(10, 20), (20, 25), (25, 35), (35, 45)]
    assert world.store.balances["contoso"] == int(67.5 * UNIT)


def test_a_change_up_takes_the_new_rate_and_not_its_connect_fee() -> None:
    record = hang_up(world_with((25, DOUBLE)), 40)
    assert record.charge_micros == (25 + 2 * 15) * UNIT


@pytest.mark.parametrize(
    ("change", "balance", "cut_s"),
    [((25, HALF), 30, 35), ((25, HALF), 30.4, 35), ((25, DOUBLE), 31, 28), ((25, DOUBLE), 26.9, 25)],
)
def test_the_call_is_cut_exactly_where_the_money_ends(change: tuple[float, Tariff], balance: float, cut_s: int) -> None:
    world = world_with(change, balance=balance)
    world.talk()
    world.run(90)
    record = record_of(world)
    assert (record.reason, record.talk_ms) == ("NO_CREDIT", cut_s * 1000)
    assert 0 <= world.store.balances["contoso"] < 2 * UNIT


@pytest.mark.parametrize(
    ("tariff", "charge", "rates"),
    [(HALF, 10, "0 30000000"), (DOUBLE, 43, "0 120000000")],
)
def test_a_call_that_rings_across_a_change_is_charged_by_what_holds_at_its_answer(
    tariff: Tariff, charge: int, rates: str
) -> None:
    world = world_with((5, tariff))
    record = hang_up(world, 20, ring_s=8)
    assert (record.charge_micros, record.rates) == (charge * UNIT, rates)
    assert record.rate_micros_per_min == PER_SECOND.rate_micros_per_min, "the column is the INVITE's"


def test_an_answer_before_the_change_is_charged_by_the_first_rate() -> None:
    world = world_with((5, DOUBLE))
    record = hang_up(world, 2, ring_s=3)
    assert (record.charge_micros, record.rates) == (2 * UNIT, "0 60000000, 2 120000000")


def test_until_the_answer_the_dearest_that_may_hold_is_reserved() -> None:
    world = world_with((170, DOUBLE), (500, HALF))
    world.ring()
    (first,) = [command for command in world.store.commands if isinstance(command, Reserve)]
    assert first.tariff == DOUBLE
    assert world.store.available("contoso") == (100 - 23) * UNIT
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    (answer,) = [command for command in world.store.commands if isinstance(command, Answer)]
    steps = (Step(170, 120_000_000, 1), Step(500, 30_000_000, 1))
    assert answer.resolved == Resolved(Tariff(60_000_000, 0, 1, 1, steps=steps), 10)


def test_what_is_held_for_a_trimmed_tick_pays_for_more_where_the_answer_is_cheaper() -> None:
    """Fifteen pay for six seconds at two a second and the connect fee; of those, fifteen held are fifteen seconds."""
    world = world_with((170, DOUBLE), balance=15)
    world.talk()
    (held,) = world.store.held.values()
    assert (held.paid_s, held.micros) == (10, 15 * UNIT)
    world.run(30)
    assert record_of(world).talk_ms == 15_000
    assert world.store.balances["contoso"] == 0


def test_a_change_that_no_first_tick_meets_is_told_at_the_answer() -> None:
    world = world_with((300, HALF))
    world.talk()
    first = next(command for command in world.store.commands if isinstance(command, Reserve))
    assert first.tariff == PER_SECOND
    (held,) = world.store.held.values()
    assert held.tariff == Tariff(60_000_000, 0, 1, 1, steps=(Step(300, 30_000_000, 1),))
    assert held.paid_s == 10


def test_a_call_without_changes_says_nothing_of_them() -> None:
    world = world_with()
    assert hang_up(world, 12).rates == ""
    assert all(command.resolved is None for command in world.store.commands if isinstance(command, Answer | Renew))


def test_a_change_while_minutes_pay_is_in_effect_when_money_begins() -> None:
    plan = Pool("MCOPSTN5/GB", "MCOPSTN5", "GB", 1)
    world = world_with((25, HALF), (70, DOUBLE), pools=(plan,), payer="pool")
    record = hang_up(world, 80)
    assert (record.pool_minutes, record.billed_s) == (1, 20)
    assert record.charge_micros == (10 // 2 + 10 * 2) * UNIT


def test_a_store_that_did_not_hear_the_answer_hears_it_with_the_next_tick() -> None:
    world = world_with((5, HALF))
    world.ring()
    world.run(6)
    world.store.away = True
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    world.caller.ack(world.caller.dialog())
    (held,) = world.store.held.values()
    assert held.tariff == PER_SECOND
    world.store.away = False
    world.run(9)
    assert (held.tariff, held.paid_s, held.micros) == (HALF, 20, 10 * UNIT)


def test_the_next_process_goes_on_by_the_steps() -> None:
    world = world_with((25, HALF))
    world.talk()
    world.run(15)
    world.restart(proven_s=15)
    world.run(0.1)
    world.ok(world.caller, "OPTIONS")
    world.ok(world.called, "OPTIONS")
    world.run(25)
    call = next(iter(world.b2bua._calls.values()))
    call.stop(REASONS["HUNG_UP"], world.now)
    world.run(1)
    record = record_of(world)
    assert record.charge_micros == 25 * UNIT + -(-(record.talk_ms - 25_000) // 1000) * UNIT // 2
    assert record.rates == "0 60000000, 25 30000000"


def test_talk_that_went_on_over_a_change_while_no_gate_was_up_is_asked_for_at_once() -> None:
    """Paid up to 20 s, back at 37 s: one tick beyond the change at 25 s, and the call goes on."""
    world = world_with((25, HALF))
    world.talk()
    world.run(15)
    world.now += 22
    world.restart(proven_s=15)
    world.run(0.5)
    assert ticks(world)[-1][0] == 20
    assert ticks(world)[-1][1] >= 37
    assert not world.store.closed


DEAR = Tariff(rate_micros_per_min=120_000_000, first_incr_s=60, next_incr_s=60)


def reserved(world: World) -> list[Tariff | None]:
    return [command.tariff for command in world.store.commands if isinstance(command, Reserve)]


def test_a_call_that_only_the_dearer_price_could_stop_is_let_in_by_its_own() -> None:
    """The dearer minute is not payable, ten seconds at the INVITE's price are."""
    world = world_with((170, DEAR), balance=20)
    record = hang_up(world, 7)
    assert reserved(world) == [DEAR, PER_SECOND]
    assert (record.reason, record.charge_micros) == ("COMPLETED", 7 * UNIT)
    assert world.store.balances["contoso"] == 13 * UNIT


def test_answered_at_a_dearer_price_that_is_not_held_it_does_not_begin() -> None:
    world = world_with((5, DEAR), balance=20)
    world.ring()
    world.run(8)
    world.called.answer("INVITE", 200, tag="b1", body=REPLY)
    refusal = world.caller.response(402)
    assert "NO_CREDIT" in (refusal.get("Warning") or "")
    assert world.caller.got(200) == []
    assert world.called.request("ACK")
    assert "cause=402" in (world.called.request("BYE").get("Reason") or "")
    world.ok(world.called, "BYE")
    world.run(70)
    assert world.is_clean()
    record = record_of(world)
    assert (record.reason, record.sip_status, record.charge_micros, record.talk_ms) == ("NO_CREDIT", 402, 0, 0)
    assert world.store.available("contoso") == 20 * UNIT
    assert world.store.count(Answer) == 0


def test_without_money_for_its_own_price_it_is_refused_once() -> None:
    world = world_with((170, DEAR), balance=0)
    world.caller.invite()
    assert world.caller.response(402)
    assert len(reserved(world)) == 2
    assert world.called.got("INVITE") == []
    world.run(40)
    assert world.is_clean()


@pytest.mark.parametrize("code", ["LIMIT_CALLS", "NO_MINUTES"])
def test_what_no_price_would_help_is_not_asked_again(code: str) -> None:
    world = world_with((170, DEAR))
    world.store.deny = code
    world.caller.invite()
    world.run(1)
    assert len(reserved(world)) == 1


def test_a_store_that_is_silent_is_asked_again_for_the_cheaper_one() -> None:
    world = world_with((170, DEAR), balance=20, failure_policy="retry")
    world.store.slow = True
    world.caller.invite()
    world.store.slow = False
    world.run(1)
    assert world.called.request("INVITE")
    assert reserved(world)[-1] == PER_SECOND
