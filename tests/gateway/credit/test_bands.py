"""A price that changes inside a call, in the scripts: ticks split at the change, what the answer fixes, pools before
money.  The increment formula itself is test_price.py's, any order of things test_drawing.py's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call.commands import Answer, Reserve, Resolved, Settle
from gateway.credit.kept import Live
from gateway.credit.requests import read_tariff, write_tariff
from policy.drawn import money_s, money_tariff
from policy.terms import write_terms
from policy.verdict import Limits, Pool, SpendLimit
from rating.schedule import Change, ceiling, resolve
from rating.tariff import Step, Tariff, price_micros, tick_end_s
from tests.gateway.credit.test_drawing import HOUR, Till, pools, renew, reserve
from tests.gateway.credit.test_price import steps, tariffs

SCRIPTS = Path(__file__).parents[3] / "gateway" / "credit" / "scripts" / "lib"

DAY = Tariff(60_000, 5_000, 60, 60)
NIGHT = Tariff(30_000, 0, 1, 1)
STEPPED = Tariff(60_000, 5_000, 60, 60, steps=(Step(90, 30_000, 1),))
"""The day's rate up to the end of the minute that is under way at 90 s, then the night's."""


@pytest.fixture
def till(wire: Any, server: Any) -> Any:
    with server.client() as redis:
        yield Till(wire, redis)


def stored(till: Till, *fields: str) -> list[str]:
    return [value or "" for value in till.redis.hmget(till.partition.call("c"), *fields)]


def test_a_call_over_a_change_is_charged_to_the_micro(till: Till) -> None:
    """Connect fee and two minutes by day, 30 s by night: 5 000 + 120 000 + 15 000."""
    till.fund(10**6)
    assert till.say(reserve("", STEPPED))[1:4] == [60, 65_000, 0]
    assert till.say(renew(1, 60, tick_end_s(STEPPED, 60, 60)))[1:4] == [120, 125_000, 0]
    assert till.say(renew(2, 120, tick_end_s(STEPPED, 120, 60)))[1:4] == [180, 155_000, 0]
    assert till.say(Settle("c", "t", 149_500, 140_000, b"{}")) == [b"CLOSED"]
    assert till.money == (860_000, 0)


def test_money_is_trimmed_to_whole_increments_of_whichever_side_of_the_change(till: Till) -> None:
    till.fund(130_400)
    assert till.say(reserve("", STEPPED, end_s=300))[1:4] == [130, 130_000, 1], "10 seconds of the night"
    assert till.say(renew(1, 130, 190)) == [b"NO_CREDIT"]
    till.fund(100, seq=2)
    assert till.say(renew(1, 130, 190))[1:4] == [131, 130_500, 1]


def test_the_sweep_charges_by_the_steps(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve("", STEPPED, end_s=300))
    till.say(Answer("c", "t", 1_700_000_000_000, b"b"))
    till.redis.hset(till.partition.call("c"), "proven_s", 150)
    assert till.sweep("c") == [b"SWEPT", 140_000]
    assert read_tariff(till.outbox[0]["tariff"]) == STEPPED


def ringing(till: Till, balance: int = 10**6, terms: str = "") -> Reserve:
    """Reserved by the dearer of day and night, since the answer may come on either side of the change."""
    till.fund(balance)
    top = ceiling(DAY, [Change(1_000, NIGHT)], 210_000, 60)
    assert top == DAY
    command = reserve(terms, top)
    assert till.say(command)[1:3] == [60, 65_000]
    return command


def test_an_answer_after_the_change_makes_the_call_cheaper_and_what_is_held_pays_for_it(till: Till) -> None:
    ringing(till)
    answer = Answer("c", "t", 1_700_000_000_000, b"b", Resolved(NIGHT, 60))
    for _ in range(2):
        assert till.say(answer) == [b"WRITTEN"]
        assert stored(till, "tariff", "paid_s", "held") == [write_tariff(NIGHT), "60", "65000"]
    assert till.say(renew(1, 60, 120))[1:4] == [120, 65_000, 0], "60 000 of 65 000"
    assert till.say(renew(2, 120, 180))[1:4] == [180, 90_000, 0]
    assert till.say(Settle("c", "t", 125_000, 62_500, b"{}")) == [b"CLOSED"]
    assert till.money == (937_500, 0)


def test_what_is_held_is_no_new_money_where_there_is_none_left(till: Till) -> None:
    """Another tick out of what was held already is granted with nothing available, and not one second more."""
    ringing(till, balance=65_000)
    till.say(Answer("c", "t", 1_700_000_000_000, b"b", Resolved(NIGHT, 60)))
    assert till.say(renew(1, 60, 120))[1:4] == [120, 65_000, 0]
    assert till.say(renew(2, 120, 180))[1:4] == [130, 65_000, 1]
    assert till.say(renew(3, 130, 190)) == [b"NO_CREDIT"]


def test_the_lease_follows_what_the_answer_pays_for(till: Till) -> None:
    ringing(till)
    short = Resolved(Tariff(60_000, 5_000, 7, 7), 49)
    till.say(Answer("c", "t", 1_700_000_000_000, b"b", short))
    now_ms = int(till.redis.time()[0]) * 1000
    assert now_ms + 76_000 < till.redis.zscore(till.partition.leases, "c t") < now_ms + 82_000


def test_an_answer_that_was_lost_comes_with_the_next_tick(till: Till) -> None:
    ringing(till)
    resolved = Resolved(STEPPED, 60)
    command = renew(1, 60, 120)
    command.resolved = resolved
    assert till.say(command)[1:4] == [120, 125_000, 0]
    assert stored(till, "tariff") == [write_tariff(STEPPED)]
    assert till.say(command)[1:4] == [120, 125_000, 0]


def test_an_answer_that_was_lost_comes_with_what_is_said_again(till: Till) -> None:
    """Also where less talk is paid than was granted by the ceiling."""
    first = ringing(till)
    live = Live(first, 60, 65_000, False)
    resolved = Resolved(Tariff(60_000, 5_000, 7, 7), 56)
    live.answer(Answer("c", "t", 1_700_000_000_000, b"b", resolved))
    for _ in range(2):
        assert till.say(live) == [b"MERGED"]
        assert stored(till, "tariff", "paid_s", "held") == [write_tariff(resolved.tariff), "56", "65000"]
    assert till.money == (10**6, 65_000)


def test_parts_and_limits_end_where_the_answer_says(till: Till) -> None:
    one = Pool("P", "P", "US", 1)
    terms = write_terms((one,), (SpendLimit("tenant", "day", 10**6),), (), 0, "UTC")
    till.redis.hset(till.tenant.counters, "used P 2026-11", 1)
    ringing(till, terms=terms)
    till.say(Answer("c", "t", 1_700_000_000_000, b"b", Resolved(Tariff(60_000, 5_000, 7, 7), 56)))
    assert stored(till, "drawn") == ["money 56\nspent 65000 tenant/day 2026-11-30"]
    assert till.say(renew(1, 56, 116, "2026-12-01T00"))[1:3] == [116, 65_000]
    assert stored(till, "drawn") == ["money 56\npool 116 P 2026-12\nspent 65000 tenant/day 2026-11-30"]


def test_a_step_behind_minutes_comes_after_as_much_talk_as_money_pays(till: Till) -> None:
    """A pool pays two minutes; of the change at 150 s, money sees 30 s: a minute by day, then seconds by night."""
    till.fund(10**6)
    till.say(
        reserve(pools(Pool("P", "P", "US", 2)), Tariff(60_000, 5_000, 60, 60, steps=(Step(150, 30_000, 1),)), end_s=120)
    )
    assert till.say(renew(1, 120, 180))[1:3] == [180, 65_000]
    assert till.say(renew(2, 180, 240))[1:3] == [240, 95_000]
    assert till.say(Settle("c", "t", 200_000, 75_000, b"{}")) == [b"CLOSED"]


def test_a_step_within_minutes_is_in_effect_when_money_begins(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve(pools(Pool("P", "P", "US", 2)), STEPPED, end_s=120))
    assert till.say(renew(1, 120, 180))[1:3] == [180, 35_000], "connect fee and first minute, at the night's rate"


def test_minutes_of_a_new_month_put_off_what_follows(till: Till) -> None:
    """A step at 150 s; money pays 60 s, a pool of the new month 60 s, then money again: it comes at 90 s of money."""
    till.fund(10**6)
    tariff = Tariff(60_000, 0, 1, 1, steps=(Step(150, 30_000, 1),))
    till.redis.hset(till.tenant.counters, "used P 2026-11", 1)
    assert till.say(reserve(pools(Pool("P", "P", "US", 1)), tariff))[1:3] == [60, 60_000]
    assert till.say(renew(1, 60, 120, "2026-12-01T00"))[1:3] == [120, 60_000]
    assert till.say(renew(2, 120, 180, "2026-12-01T00"))[1:3] == [180, 60_000 + 30_000 + 15_000]


ASK = """
local parts = read_drawn(ARGV[2]).parts
local paid = money_talk(parts, tonumber(ARGV[3]))
return paid and whole(price(money_tariff(read_tariff(ARGV[1]), parts), paid)) or ''
"""


@pytest.fixture(scope="module")
def ask(shared_server: Any) -> Iterator[Any]:
    texts = [(SCRIPTS / f"{name}.lua").read_text() for name in ("amount", "price", "drawn")]
    with shared_server.client() as client:
        yield client.register_script("".join(texts) + ASK)


@settings(max_examples=800, deadline=None)
@given(
    tariff=tariffs.filter(lambda tariff: tariff.rate_micros_per_min < 10**9),
    some=steps.filter(lambda some: all(step.rate_micros_per_min < 10**9 for step in some)),
    parts=st.lists(st.tuples(st.sampled_from(("P", "Q", "")), st.integers(1, 9)), max_size=5),
    share=st.floats(0, 1),
)
def test_lua_maps_steps_as_policy_does(
    ask: Any, tariff: Tariff, some: tuple[Step, ...], parts: list[tuple[str, int]], share: float
) -> None:
    end_s, lines = 0, []
    for pool, minutes in parts:
        end_s += 60 * minutes
        lines.append(f"pool {end_s} {pool} 2026-11" if pool else f"money {end_s}")
    drawn = "\n".join(lines)
    talk_s = int(share * (end_s or 3_000))
    known = money_tariff(tariff, drawn)
    assert known is not None
    said = ask(args=[write_tariff(tariff), drawn, talk_s])
    if said:
        assert int(said) == price_micros(known, money_s(drawn, talk_s))
    else:
        assert money_s(drawn, talk_s) == 0


def test_a_whole_call_from_the_schedule_to_the_charge(till: Till) -> None:
    """Rings across one change, talks across another: what each tick costs adds up to the charge."""
    till.fund(10**6)
    changes = [Change(30_000, NIGHT), Change(200_500, DAY)]
    top = ceiling(DAY, changes, 210_000, 60)
    first = Reserve("c", "t", top, tick_end_s(top, 0, 60), 210, Limits(), b"a", b"{}")
    assert till.say(first)[1:3] == [60, 65_000]
    tariff = resolve(DAY, changes, 45_000, 3_600)
    assert tariff == Tariff(30_000, 0, 1, 1, steps=(Step(156, 60_000, 60),))
    till.say(Answer("c", "t", 45_000, b"b", Resolved(tariff, 60)))
    paid_s, tick, ends = 60, 0, []
    while paid_s < 300:
        tick += 1
        reply = till.say(renew(tick, paid_s, tick_end_s(tariff, paid_s, 60), HOUR))
        paid_s = reply[1]
        ends.append((paid_s, reply[2]))
    assert ends == [(120, 65_000), (156, 78_000), (216, 138_000), (276, 198_000), (336, 258_000)]
    assert till.say(Settle("c", "t", 290_000, price_micros(tariff, 290), b"{}")) == [b"CLOSED"]
    assert till.money == (10**6 - 258_000, 0)
