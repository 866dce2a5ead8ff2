"""Auto-recharge by its table: strictly below, once at a time, rests after declines, within its limits."""

from itertools import pairwise

import pytest

from policy.recharge import (
    COOL_DOWNS_MS,
    DAY_MS,
    HOUR_MS,
    TABLE,
    Happening,
    RechargeLimits,
    RechargeRule,
    Standing,
    State,
    due,
    move,
    usable_micros,
)

RULE = RechargeRule(enabled=True, trigger_micros=50, amount_micros=200)
LIMITS = RechargeLimits(per_hour=2, per_day=3)
NOW = 10 * DAY_MS


def whether(has: int, standing: Standing | None = None, asked: list[int] | None = None) -> Happening | None:
    return due(standing or Standing(), RULE, LIMITS, has, asked or [], NOW)


def test_every_state_has_a_row_and_every_happening_leads_somewhere() -> None:
    assert set(TABLE) == set(State)
    assert {happening for row in TABLE.values() for happening in row} == set(Happening)
    assert {action for row in TABLE.values() for action, _ in row.values()} == {"ask", "add", "tell", "reset"}


def test_it_triggers_strictly_below() -> None:
    assert whether(49) is Happening.BELOW
    assert whether(50) is None
    assert due(Standing(), RechargeRule(False, 50, 200), LIMITS, 0, [], NOW) is None


def test_what_answered_calls_hold_is_as_good_as_spent() -> None:
    assert usable_micros(60, 15) == 45


def test_pending_is_asked_for_once() -> None:
    step = move(Standing(), Happening.BELOW, NOW)
    assert step == ("ask", Standing(State.PENDING))
    assert whether(0, step[1]) is None
    assert move(step[1], Happening.FUNDED, NOW) is None


@pytest.mark.parametrize(
    ("asked", "may"),
    [([], True), ([NOW - 1], True), ([NOW - 1, NOW - 2], False), ([NOW - HOUR_MS, NOW - 2], True),
     ([NOW - 2 * HOUR_MS] * 2 + [NOW - 1], False), ([NOW - DAY_MS] * 5, True)],
)  # fmt: skip
def test_limits_of_an_hour_and_a_day(asked: list[int], may: bool) -> None:
    assert (whether(0, asked=asked) is not None) is may


def test_declines_rest_one_six_and_24_hours_and_24_from_then_on() -> None:
    standing, now = Standing(State.PENDING), NOW
    rests = []
    for _ in range(5):
        step = move(standing, Happening.DECLINED, now)
        assert step is not None
        action, standing = step
        assert (action, standing.state) == ("tell", State.FAILED)
        rests.append(standing.retry_ms - now)
        assert due(standing, RULE, LIMITS, 0, [], standing.retry_ms - 1) is None
        now = standing.retry_ms
        assert due(standing, RULE, LIMITS, 0, [], now) is Happening.COOLED
        step = move(standing, Happening.COOLED, now)
        assert step is not None
        assert step[0] == "ask"
        standing = step[1]
    assert rests == [*COOL_DOWNS_MS, COOL_DOWNS_MS[-1], COOL_DOWNS_MS[-1]] == [h * HOUR_MS for h in (1, 6, 24, 24, 24)]
    assert all(one <= other for one, other in pairwise(rests))


@pytest.mark.parametrize("happening", [Happening.FUNDED, Happening.CHANGED])
def test_money_by_hand_and_other_settings_end_the_rest(happening: Happening) -> None:
    assert move(Standing(State.FAILED, 3, NOW + DAY_MS), happening, NOW) == ("reset", Standing())


def test_a_payment_that_is_made_forgets_failures() -> None:
    assert move(Standing(State.PENDING, 2), Happening.PAID, NOW) == ("add", Standing())


@pytest.mark.parametrize("state", list(State))
def test_money_that_comes_after_all_is_added_in_every_state(state: State) -> None:
    step = move(Standing(state), Happening.PAID_LATE, NOW)
    assert step is not None
    assert step[0] == "add"
    assert step[1].state is (State.PENDING if state is State.PENDING else State.IDLE)
