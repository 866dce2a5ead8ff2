"""Calls that minutes of pools pay for, and what follows: the cut, the charge, the record, limits, another process."""

from typing import Any

from gateway.call.commands import Renew, Settle
from gateway.call.record import CallRecord, decode_record
from gateway.call.settings import CallSettings
from policy.verdict import Limits, Pool, SpendLimit
from tests.gateway.call.world import PER_SECOND, Options, World, allow

PLAN = Pool("MCOPSTN5/GB", "MCOPSTN5", "GB", 3)
MONTH = "2023-11"
UNIT = 1_000_000


def world_with(balance: int = 100 * UNIT, tick_s: int = 10, **verdict: Any) -> World:
    return World(Options(allow(**verdict), CallSettings(tick_s=tick_s, session_expires_s=0), balance))


def record_of(world: World) -> CallRecord:
    (closed,) = world.store.closed.values()
    return decode_record(closed.record)


def hang_up(world: World, after_s: float) -> CallRecord:
    dialog, _ = world.talk()
    world.run(after_s)
    world.caller.send(dialog, "BYE")
    world.ok(world.called, "BYE")
    assert world.is_clean()
    return record_of(world)


def test_a_call_within_its_minutes_costs_nothing_not_even_a_connect_fee() -> None:
    world = world_with(pools=(PLAN,), payer="pool")
    record = hang_up(world, 61)
    assert (record.charge_micros, record.billed_s, record.pool, record.pool_minutes) == (0, 0, PLAN.name, 2)
    assert world.store.counters[f"used MCOPSTN5/GB {MONTH}"] == 2
    assert world.store.balances["contoso"] == 100 * UNIT


def test_ticks_of_minutes_are_whole_minutes_whatever_the_tick() -> None:
    world = world_with(pools=(PLAN,))
    hang_up(world, 61)
    assert [command.start_s for command in world.store.commands if isinstance(command, Renew)] == [60]


def test_when_the_pool_is_empty_money_goes_on_priced_by_itself() -> None:
    world = world_with(pools=(PLAN,))
    record = hang_up(world, 187.2)
    assert (record.charge_micros, record.billed_s, record.pool_minutes) == (8 * UNIT, 8, 3)
    assert world.store.balances["contoso"] == 92 * UNIT


def test_without_credits_the_call_is_cut_with_its_last_minute() -> None:
    world = world_with(pools=(PLAN,), tariff=None, payer="pool")
    world.talk()
    world.run(180.5)
    assert "SIP;cause=403" in str(world.called.request("BYE").all("Reason"))
    assert record_of(world).reason == "NO_MINUTES"
    assert record_of(world).talk_ms == 180_000
    assert world.store.counters[f"used MCOPSTN5/GB {MONTH}"] == 3


def test_money_that_runs_out_behind_a_pool_cuts_to_the_second() -> None:
    world = world_with(balance=4 * UNIT, pools=(PLAN,))
    world.talk()
    world.run(190)
    record = record_of(world)
    assert (record.reason, record.talk_ms, record.charge_micros) == ("NO_CREDIT", 184_000, 4 * UNIT)


def test_nothing_left_and_no_credits_refuses_the_call() -> None:
    world = world_with(pools=(PLAN,), tariff=None)
    world.store.counters[f"used MCOPSTN5/GB {MONTH}"] = 3
    world.caller.invite()
    world.settle()
    assert world.caller.story() == "100 403"


def test_a_spending_limit_ends_a_call_as_a_limit() -> None:
    limits = Limits(spend=(SpendLimit("tenant", "day", 7 * UNIT),))
    world = world_with(limits=limits)
    world.talk()
    world.run(12)
    record = record_of(world)
    assert (record.reason, record.talk_ms, record.charge_micros) == ("LIMIT_REACHED", 7_000, 7 * UNIT)
    assert record.limit == "tenant/day"


def test_the_next_process_goes_on_by_the_same_terms() -> None:
    world = world_with(pools=(PLAN,))
    world.talk()
    world.run(70)
    world.restart(proven_s=70)
    world.run(0.1)
    world.ok(world.caller, "OPTIONS")
    world.ok(world.called, "OPTIONS")
    world.run(60 * 2)
    (held,) = world.store.held.values()
    assert held.drawn.startswith(f"pool 180 MCOPSTN5/GB {MONTH}\nmoney ")
    assert held.tariff == PER_SECOND


def test_minutes_of_a_new_month_are_of_the_month_in_which_they_begin() -> None:
    world = world_with(pools=(PLAN,))
    until_month_s = 1_388_800 - 90  # 2023-11-30T23:58:30Z, as the world counts from its own epoch
    world.now += until_month_s
    hang_up(world, 170)
    used = {name: much for name, much in world.store.counters.items() if name.startswith("used") and much}
    assert sum(used.values()) == 3
    assert len(used) == 2
    assert isinstance(next(iter(world.store.closed.values())), Settle)
