"""The reservation of one call: when it asks, when it ends, what it charges; alone, without SIP."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.commands import Away, Grant, Refusal, Renew, StoreAway
from gateway.call.money import AWAY_ASK_S, LAST_ASK_S, Reservation
from gateway.call.settings import CallSettings
from policy.verdict import Limits
from rating.tariff import Tariff, affordable_end_s, price_micros, tick_micros

PER_SECOND = Tariff(rate_micros_per_min=600_000, first_incr_s=1, next_incr_s=1)
SETTINGS = CallSettings(tick_s=10, renew_lead_s=2.0)


def reserved(tariff: Tariff | None = PER_SECOND, paid_s: int | None = 10, longest_s: int = 14400) -> Reservation:
    money = Reservation("c1", "contoso", tariff, longest_s, SETTINGS)
    money.reserve(Limits(), b"", b"", emergency=False)
    held = price_micros(tariff, paid_s or 0) if tariff else 0
    assert money.grant(Grant("c1", 0, paid_s, held), 0.0)
    return money


def talking(paid_s: int = 10, longest_s: int = 14400) -> Reservation:
    money = reserved(paid_s=paid_s, longest_s=longest_s)
    money.answer(100.0, 1_700_000_000_000, b"")
    money.start(100.0)
    return money


def silence(tick: int, cause: Away = Away.UNREACHABLE) -> StoreAway:
    return StoreAway("c1", tick, cause)


def test_the_first_tick_is_rounded_up_to_an_increment_and_outlasts_the_ringing() -> None:
    money = Reservation("c1", "contoso", Tariff(600_000, first_incr_s=30, next_incr_s=6), 14400, SETTINGS)
    command = money.reserve(Limits(max_calls=3), b"a", b"u", emergency=False)
    assert (command.tick, command.end_s, command.lease_s, command.limits.max_calls) == (0, 30, 210, 3)


def test_nothing_is_awaited_before_the_answer() -> None:
    assert reserved().next_at() == inf


def test_the_next_tick_is_asked_for_a_lead_time_before_paid_time_ends() -> None:
    money = talking()
    assert money.next_at() == 108.0
    assert money.renew(108.0) == Renew("c1", "contoso", 1, 10, 20, 8)
    assert money.next_at() == 110.0


def test_a_grant_moves_the_end() -> None:
    money = talking()
    money.renew(108.0)
    assert money.grant(Grant("c1", 1, 20, 2_000_000), 108.1)
    assert (money.paid_until, money.next_at(), money.held_micros) == (120.0, 118.0, 2_000_000)


def test_a_repeated_or_foreign_grant_changes_nothing() -> None:
    money = talking()
    assert not money.grant(Grant("c1", 0, 99, 1), 101.0)
    money.renew(108.0)
    assert money.grant(Grant("c1", 1, 20, 2), 108.1)
    assert not money.grant(Grant("c1", 1, 99, 3), 108.2)
    assert money.paid_until == 120.0


def test_a_repeated_or_foreign_refusal_or_silence_changes_nothing() -> None:
    money = talking()
    assert not money.refuse(Refusal("c1", 0, "NO_CREDIT"), 101.0)
    assert not money.away(silence(0), 101.0)
    money.renew(108.0)
    assert not money.refuse(Refusal("c1", 7, "NO_CREDIT"), 108.1)
    assert not money.away(silence(7), 108.1)
    assert (money.refused, money.next_at()) == ("", 110.0)


def test_a_refused_tick_is_asked_for_again_50_ms_before_the_end_under_its_number() -> None:
    money = talking()
    first = money.renew(108.0)
    assert money.refuse(Refusal("c1", 1, "NO_CREDIT"), 108.01)
    assert money.next_at() == 110.0 - LAST_ASK_S
    second = money.renew(109.95)
    assert (second.tick, second.start_s, second.end_s) == (first.tick, first.start_s, first.end_s)
    money.refuse(Refusal("c1", 1, "NO_CREDIT"), 109.96)
    assert money.next_at() == 110.0
    assert money.cut_reason().code == "NO_CREDIT"


def test_money_in_the_last_second_keeps_the_call_up() -> None:
    money = talking()
    money.renew(108.0)
    money.refuse(Refusal("c1", 1, "NO_CREDIT"), 108.01)
    assert money.fund(109.5)
    money.renew(109.5)
    assert money.grant(Grant("c1", 1, 20, 2), 109.51)
    assert money.paid_until == 120.0


def test_money_that_arrives_while_a_tick_is_asked_for_is_asked_for_at_once() -> None:
    money = talking()
    money.renew(108.0)
    assert not money.fund(108.005)
    money.refuse(Refusal("c1", 1, "NO_CREDIT"), 108.01)
    assert money.next_at() == 108.01
    money.renew(108.01)
    money.refuse(Refusal("c1", 1, "NO_CREDIT"), 108.02)
    assert money.next_at() == 110.0 - LAST_ASK_S


def test_a_store_that_is_away_is_asked_again_at_a_bounded_rate_until_the_end() -> None:
    money = talking()
    now, asked = 108.0, 0
    while money.next_at() < money.paid_until:
        now = money.next_at()
        money.renew(now)
        asked += 1
        assert money.away(silence(1), now)
    assert asked <= 2.0 / AWAY_ASK_S + 1
    assert money.next_at() == 110.0
    assert money.cut_reason().code == "STORE_AWAY"


def test_a_ceiling_is_the_reason_of_the_cut_while_it_stands() -> None:
    money = talking()
    money.renew(108.0)
    money.away(silence(1, Away.CEILING), 108.0)
    assert money.next_at() == 108.0 + AWAY_ASK_S, "a store that is back before the end saves the call"
    assert money.cut_reason().code == "FAILURE_CEILING"
    money.renew(109.0)
    money.away(silence(1), 109.0)
    assert money.cut_reason().code == "STORE_AWAY"


def test_a_limit_that_is_reached_is_the_reason_of_the_cut() -> None:
    money = talking()
    money.renew(108.0)
    money.refuse(Refusal("c1", 1, "LIMIT_SPEND"), 108.01)
    assert money.cut_reason().code == "LIMIT_REACHED"


def test_nothing_is_asked_for_beyond_the_longest_call() -> None:
    money = talking(longest_s=10)
    assert money.next_at() == 110.0
    assert money.cut_reason().code == "MAX_DURATION"


def test_an_answer_of_the_store_after_the_end_asks_for_nothing() -> None:
    money = talking()
    money.renew(108.0)
    money.settle(8000, 8, b"")
    assert not money.refuse(Refusal("c1", 1, "NO_CREDIT"), 108.1)
    assert not money.away(silence(1), 108.1)
    assert not money.grant(Grant("c1", 1, 20, 2), 108.1)
    assert money.next_at() == inf


def test_talk_is_floored_to_milliseconds_and_ends_at_paid_until() -> None:
    money = talking()
    assert money.talk_ms(101.2349) == 1234
    assert money.talk_ms(105.0) == 5000
    assert money.talk_ms(110.0) == money.talk_ms(115.0) == 10_000
    assert money.talk_ms(99.0) == 0


def test_talk_of_an_unpaid_call_has_no_end() -> None:
    money = reserved(tariff=None, paid_s=None, longest_s=10**6)
    money.answer(100.0, 0, b"")
    money.start(100.0)
    assert money.next_at() == inf
    assert money.talk_ms(100_000.0) == 99_900_000
    assert money.charge_micros(99_900_000) == 0


def test_closing_twice_is_an_error() -> None:
    money = talking()
    money.settle(1000, 10_000, b"")
    with pytest.raises(AssertionError):
        money.release(b"")
    assert money.next_at() == inf
    assert not money.fund(101.0)


@given(
    balance=st.integers(0, 5_000_000),
    rate=st.integers(1, 3_000_000),
    first=st.integers(1, 70),
    following=st.integers(1, 70),
    connect=st.integers(0, 100_000),
    free_s=st.integers(0, 20),
    tick_s=st.integers(1, 70),
    ended=st.floats(0, 200),
)
def test_a_charge_never_exceeds_what_is_held(
    balance: int, rate: int, first: int, following: int, connect: int, free_s: int, tick_s: int, ended: float
) -> None:
    """Ticks are renewed against one balance until it runs dry; wherever the call ends it costs what is held or less."""
    tariff = Tariff(rate, connect, first, following, free_s)
    money = Reservation("c1", "t", tariff, 14400, CallSettings(tick_s=tick_s))
    asked = money.reserve(Limits(), b"", b"", emergency=False)
    end_s = affordable_end_s(tariff, 0, asked.end_s, balance)
    if end_s is None:
        return
    held = tick_micros(tariff, 0, end_s)
    money.grant(Grant("c1", 0, end_s, held), 0.0)
    money.answer(1000.0, 0, b"")
    money.start(1000.0)
    while (now := money.next_at()) < min(money.paid_until, 1000.0 + ended):
        renewal = money.renew(now)
        granted = affordable_end_s(tariff, renewal.start_s, renewal.end_s, balance - held)
        if granted is None:
            money.refuse(Refusal("c1", renewal.tick, "NO_CREDIT"), now)
            continue
        held += tick_micros(tariff, renewal.start_s, granted)
        money.grant(Grant("c1", renewal.tick, granted, held), now)
    talk_ms = money.talk_ms(1000.0 + ended)
    assert money.charge_micros(talk_ms) <= held <= balance
