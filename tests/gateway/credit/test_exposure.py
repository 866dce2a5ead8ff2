"""How much may go uncharged: never more than the ceilings, whatever happens in which order (MONEY 8)."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.credit import exposure
from gateway.credit.exposure import Ceilings, Exposure, Step
from policy.verdict import Limits
from rating.tariff import Tariff, price_micros, tick_end_s

SECONDS = Tariff(60_000, 0, 1, 1)
MINUTES = Tariff(60_000, 500, 60, 60)


def opened(call: int = 100_000, tenant: int = 1_000_000, shares: int = 1) -> Exposure:
    found = Exposure(Ceilings(call, tenant, shares))
    found.see("t", 1, 0)
    return found


def test_a_tick_is_exposed_with_what_it_costs() -> None:
    exposed = opened()
    assert exposed.step("c", "t", SECONDS, 0, 60, 0) == Step(60, 60_000, 60_000, False)
    assert (exposed.tenants, exposed.calls["c"].micros) == ({"t": 60_000}, 60_000)


def test_a_tick_is_trimmed_to_the_increments_within_the_ceiling_of_the_call() -> None:
    exposed = opened(call=100_999)
    exposed.step("c", "t", SECONDS, 0, 60, 0)
    assert exposed.step("c", "t", SECONDS, 60, 120, 60_000) == Step(100, 100_000, 40_000, True)
    assert exposed.step("c", "t", SECONDS, 100, 160, 100_000) is None
    assert exposed.tenants == {"t": 100_000}


def test_whole_increments_only() -> None:
    exposed = opened(call=120_499)
    assert exposed.step("c", "t", MINUTES, 0, 120, 0) == Step(60, 60_500, 60_500, True)
    assert exposed.step("c", "t", MINUTES, 60, 120, 60_500) is None


def test_what_redis_holds_is_not_exposed() -> None:
    exposed = opened()
    exposed.step("c", "t", SECONDS, 60, 120, 60_000)
    assert exposed.tenants == {"t": 60_000}
    exposed.close("c", 70_000)
    assert exposed.tenants == {"t": 10_000}
    exposed.clear("c")
    assert (exposed.tenants, exposed.calls) == ({"t": 0}, {})


def test_a_tenants_ceiling_is_shared_by_its_calls_and_by_all_workers() -> None:
    exposed = opened(tenant=200_000, shares=4)
    assert exposed.step("a", "t", SECONDS, 0, 30, 0) == Step(30, 30_000, 30_000, False)
    assert exposed.step("b", "t", SECONDS, 0, 30, 0) == Step(20, 20_000, 20_000, True)
    assert exposed.step("c", "t", SECONDS, 0, 30, 0) is None
    exposed.see("u", 1, 0)
    assert exposed.step("d", "u", SECONDS, 0, 30, 0) is not None, "another tenant has its own"
    exposed.close("a", 5_000)
    assert exposed.step("c", "t", SECONDS, 0, 30, 0) == Step(25, 25_000, 25_000, True)


def test_a_tick_that_was_not_given_is_not_exposed() -> None:
    exposed = opened()
    exposed.step("c", "t", SECONDS, 0, 60, 0)
    exposed.undo("c", 60_000)
    assert exposed.tenants == {"t": 0}


@pytest.mark.parametrize("available", [0, -1])
def test_nothing_without_money_when_it_was_last_seen(available: int) -> None:
    exposed = Exposure(Ceilings(10**6, 10**6))
    assert exposed.step("c", "t", SECONDS, 0, 60, 0) is None, "never seen"
    exposed.see("t", available, 0)
    assert exposed.step("c", "t", SECONDS, 0, 60, 0) is None
    assert exposed.step("c", "t", None, 0, 60, 0) == Step(None, 0, 0, False), "nobody pays"
    exposed.see("t", 1, 0)
    assert exposed.step("c", "t", SECONDS, 0, 60, 0) is not None
    exposed.see_exhausted("t")
    assert exposed.step("d", "t", SECONDS, 0, 60, 0) is None


def test_a_free_call_of_a_tenant_that_nobody_saw_is_not_granted() -> None:
    assert Exposure(Ceilings(10**6, 10**6)).step("c", "t", None, 0, 60, 0) is None


def test_live_calls_are_limited_as_last_seen() -> None:
    exposed, limits = opened(), Limits(max_calls=5)
    exposed.see("t", 1, 3)
    for _ in range(2):
        assert exposed.limit("t", limits, 0.0) == ""
        exposed.began("t")
    assert exposed.limit("t", limits, 0.0) == "LIMIT_CALLS"
    exposed.began("t", -1)
    assert exposed.limit("t", limits, 0.0) == ""


def test_room_for_live_calls_is_shared_by_all_workers() -> None:
    exposed, limits = opened(shares=2), Limits(max_calls=5)
    exposed.see("t", 1, 2)
    exposed.began("t")
    assert exposed.limit("t", limits, 0.0) == "LIMIT_CALLS"


def test_calls_a_second_are_a_bucket_of_this_workers_share() -> None:
    exposed, limits = opened(shares=2), Limits(calls_per_second=4)
    assert [exposed.limit("t", limits, 0.0) for _ in range(3)] == ["", "", "LIMIT_CALLS_PER_SECOND"]
    assert exposed.limit("t", limits, 0.4) == "LIMIT_CALLS_PER_SECOND"
    assert exposed.limit("t", limits, 0.5) == ""


def test_those_seen_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "SEEN_MAX", 2)
    exposed = Exposure(Ceilings())
    for tenant in ("a", "b", "a", "c"):
        exposed.see(tenant, 1, 0)
    assert [exposed.seen(tenant) is not None for tenant in "abc"] == [True, False, True]


@dataclass
class Talk:
    tenant: str
    tariff: Tariff
    paid_s: int
    held: int
    base: int


moves = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "ask", "fail", "close", "clear", "base", "restart")),
        st.integers(0, 5),
        st.integers(1, 200),
        st.integers(0, 100),
    ),
    max_size=60,
)
tariffs = st.builds(
    Tariff,
    rate_micros_per_min=st.integers(0, 10**6),
    connect_micros=st.sampled_from((0, 700)),
    first_incr_s=st.sampled_from((1, 6, 60)),
    next_incr_s=st.sampled_from((1, 6, 60)),
    free_s=st.sampled_from((0, 10)),
    minimum_micros=st.sampled_from((0, 5000)),
)


@settings(max_examples=300, deadline=None)
@given(
    moves=moves, tariff=tariffs, call=st.integers(0, 10**6), tenant=st.integers(0, 3 * 10**6), shares=st.integers(1, 3)
)
def test_no_ceiling_is_passed_in_any_order(
    moves: list[Any], tariff: Tariff, call: int, tenant: int, shares: int
) -> None:
    """Six calls of two tenants: asked, not written, over, taken by Redis, held by Redis first, begun again."""
    ceilings = Ceilings(call, tenant, shares)
    exposed, talks = Exposure(ceilings), dict[str, Talk]()
    for name in ("t0", "t1"):
        exposed.see(name, 1, 0)
    for act, which, seconds, part in moves:
        name, payer = f"c{which}", f"t{which % 2}"
        talk = talks.get(name)
        if act == "restart":
            again = Exposure(ceilings)
            for each, found in exposed.calls.items():
                again.see(found.tenant_id, 1, 0)
                again.restore(each, found.tenant_id, found.base_micros, found.micros)
            for payer in ("t0", "t1"):
                again.see(payer, 1, 0)
            exposed = again
        elif act == "base" and talk is None:
            end = tick_end_s(tariff, 0, seconds)
            held = price_micros(tariff, end)
            talks[name] = Talk(payer, tariff, end, held, held)
        elif act in {"ask", "fail"}:
            start, held = (talk.paid_s, talk.held) if talk else (0, 0)
            step = exposed.step(name, payer, tariff, start, tick_end_s(tariff, start, seconds), held)
            if step is not None and act == "fail":
                exposed.undo(name, step.cost_micros)
                if talk is None:  # it never began: its release is all that Redis hears
                    exposed.clear(name)
            elif step is not None:
                assert step.paid_s is not None
                assert step.paid_s > start
                assert step.held_micros == price_micros(tariff, step.paid_s)
                talks[name] = Talk(payer, tariff, step.paid_s, step.held_micros, talk.base if talk else 0)
        elif act == "close" and talk is not None:
            charge = price_micros(tariff, talk.paid_s * part // 100)
            exposed.close(name, charge)
            if name in exposed.calls:
                assert exposed.calls[name].micros == max(0, charge - exposed.calls[name].base_micros)
            exposed.clear(name)
            del talks[name]
        elif act == "clear":
            exposed.clear(name)
            if talk is not None:
                talk.base = talk.held
        for payer in ("t0", "t1"):
            of_calls = [each.micros for each in exposed.calls.values() if each.tenant_id == payer]
            assert all(0 <= micros <= call for micros in of_calls)
            assert sum(of_calls) == exposed.tenants.get(payer, 0) <= tenant // shares
        for each, talk in talks.items():  # what Redis does not hold is exposed, to the micro
            assert talk.held - talk.base == (exposed.calls[each].micros if each in exposed.calls else 0)
