"""Who paid for which talk: what money is charged for, and which minutes were used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.drawn import (
    Minutes,
    Part,
    Spent,
    begin_with_money,
    draw_money,
    end_money,
    held_counters,
    minutes_used,
    money_ms,
    money_s,
    money_tariff,
    read_minutes,
    read_parts,
    read_spent,
)
from policy.terms import write_terms
from policy.verdict import LiveLimit, Pool, SpendLimit
from rating.tariff import Step, Tariff, price_micros

SPLIT = "pool 120 P/GB 2026-11\nmoney 180\npool 240 P/GB 2026-12\nspent 9 tenant/day 2026-11-30\nlive user/a"


def test_parts_are_read_in_their_order() -> None:
    assert read_parts(SPLIT) == [Part(120, "P/GB", "2026-11"), Part(180), Part(240, "P/GB", "2026-12")]
    assert read_parts("spent 9 tenant/day 2026-11-30") == read_parts("") == []


@pytest.mark.parametrize(
    ("talk_ms", "money", "minutes"),
    [
        (0, None, []),
        (1, None, [Minutes("P/GB", "2026-11", 1)]),
        (60_000, None, [Minutes("P/GB", "2026-11", 1)]),
        (60_001, None, [Minutes("P/GB", "2026-11", 2)]),
        (120_000, None, [Minutes("P/GB", "2026-11", 2)]),
        (120_001, 1, [Minutes("P/GB", "2026-11", 2)]),
        (180_000, 60_000, [Minutes("P/GB", "2026-11", 2)]),
        (240_000, 60_000, [Minutes("P/GB", "2026-11", 2), Minutes("P/GB", "2026-12", 1)]),
    ],
)
def test_talk_is_split_where_the_payer_changes(talk_ms: int, money: int | None, minutes: list[Minutes]) -> None:
    assert money_ms(SPLIT, talk_ms) == money
    assert minutes_used(SPLIT, talk_ms) == minutes


@given(st.integers(0, 10**7))
def test_without_parts_money_pays_all(talk_ms: int) -> None:
    assert money_ms("", talk_ms) == money_ms("live user/a", talk_ms) == talk_ms
    assert minutes_used("", talk_ms) == []


@given(st.lists(st.tuples(st.sampled_from(("P", "Q", "")), st.integers(1, 9)), min_size=1), st.integers(0, 10**7))
def test_every_moment_is_paid_once(parts: list[tuple[str, int]], talk_ms: int) -> None:
    """Money's talk and the minutes used cover the talk, each begun minute once, and none more than was drawn."""
    end, lines = 0, []
    for pool, minutes in parts:
        end += 60 * minutes
        lines.append(f"pool {end} {pool} 2026-11" if pool else f"money {end}")
    drawn, talk_ms = "\n".join(lines), min(talk_ms, end * 1000)
    used = 60_000 * sum(each.minutes for each in minutes_used(drawn, talk_ms))
    paid = (money_ms(drawn, talk_ms) or 0) + used
    assert talk_ms <= paid < talk_ms + 60_000
    assert sum(each.minutes for each in minutes_used(drawn, end * 1000)) == sum(n for pool, n in parts if pool)


def test_a_call_that_begins_with_money_pays_its_connect_fee() -> None:
    assert money_ms("money 60\npool 120 P 2026-12", 0) == 0


def test_where_minutes_came_first_no_seconds_are_free() -> None:
    free = Tariff(60_000, free_s=30)
    assert money_tariff(free, "pool 60 P 2026-11") == Tariff(60_000)
    assert money_tariff(free, "money 60\npool 120 P 2026-12") is free
    assert money_tariff(None, "pool 60 P 2026-11") is None


def test_what_a_live_call_holds_of_each_counter() -> None:
    assert held_counters(SPLIT) == {
        "held P/GB 2026-11": 2, "held P/GB 2026-12": 1, "spent tenant/day 2026-11-30": 9, "live user/a": 1,
    }  # fmt: skip


def test_money_goes_on_without_the_store() -> None:
    pool, limit = Pool("P", "P", "US", 9), SpendLimit("tenant", "day", 99)
    terms = write_terms((pool,), (limit,), (LiveLimit("user/a", 2),), 0, "UTC")
    assert begin_with_money(terms, "2026-11-30T14", 5) == "live user/a\nspent 5 tenant/day 2026-11-30"
    more = draw_money("pool 60 P 2026-11\nspent 1 tenant/day 2026-11-30", terms, "2026-11-30T14", 120, 5)
    assert more == "pool 60 P 2026-11\nmoney 120\nspent 6 tenant/day 2026-11-30"
    more = draw_money(more, terms, "2026-12-01T00", 180, 7)
    assert more == "pool 60 P 2026-11\nmoney 180\nspent 6 tenant/day 2026-11-30\nspent 7 tenant/day 2026-12-01"
    assert money_s(more, 180) == 120


def test_what_the_ledger_is_told() -> None:
    assert read_minutes("2 P/GB 2026-11\n1 P/GB 2026-12") == (
        Minutes("P/GB", "2026-11", 2),
        Minutes("P/GB", "2026-12", 1),
    )
    assert read_spent("65000 tenant/day 2026-11-30") == (Spent("tenant/day", "2026-11-30", 65_000),)
    assert read_minutes("") == read_spent("") == ()
    with pytest.raises(ValueError, match="unpack"):
        read_minutes("P/GB 2026-11")


STEPPED = Tariff(60_000, 5, 60, 60, 30, 0, (Step(90, 30_000, 1), Step(150, 20_000, 6), Step(400, 10_000, 1)))


@pytest.mark.parametrize(
    ("drawn", "free_s", "from_s"),
    [
        ("", 30, (90, 150, 400)),
        ("money 60\nlive user/a", 30, (90, 150, 400)),
        ("pool 120 P 2026-11", 0, (0, 30, 280)),
        ("pool 120 P 2026-11\nmoney 180", 0, (0, 30, 280)),
        (SPLIT, 0, (0, 30, 220)),
        ("money 60\npool 120 P 2026-12", 30, (60, 90, 340)),
    ],
)
def test_a_step_comes_when_money_has_paid_so_much(drawn: str, free_s: int, from_s: tuple[int, ...]) -> None:
    known = money_tariff(STEPPED, drawn)
    assert known is not None
    assert (known.free_s, tuple(step.from_s for step in known.steps)) == (free_s, from_s)
    assert [step[1:] for step in known.steps] == [step[1:] for step in STEPPED.steps]
    assert money_tariff(STEPPED, "") is money_tariff(STEPPED, "money 60") is STEPPED


@given(st.lists(st.tuples(st.sampled_from(("P", "")), st.integers(1, 4)), min_size=1), st.integers(1, 9))
def test_parts_that_follow_never_change_the_price_of_what_is_paid(parts: list[tuple[str, int]], minutes: int) -> None:
    """What money paid by now costs the same after minutes were drawn behind it, though later steps come later."""
    end, lines = 0, []
    for pool, some in parts:
        end += 60 * some
        lines.append(f"pool {end} {pool} 2026-11" if pool else f"money {end}")
    before = "\n".join(lines)
    after = f"{before}\npool {end + 60 * minutes} Q 2026-12"
    one, other = money_tariff(STEPPED, before), money_tariff(STEPPED, after)
    assert one is not None
    assert other is not None
    paid_s = money_s(before, end)
    assert price_micros(one, paid_s) == price_micros(other, paid_s)


def test_a_first_tick_of_money_ends_where_the_answer_says() -> None:
    assert end_money("money 60\nspent 9 tenant/day 2026-11-30", 42) == "money 42\nspent 9 tenant/day 2026-11-30"
    assert end_money("spent 9 money/day 2026-11-30", 42) == "spent 9 money/day 2026-11-30"
    assert end_money("", 42) == ""
