"""Pools, spending limits, live-call limits and postpaid credit in the scripts: examples by name, and any order.

The machine plays calls of two tenants over hours and months on a real Redis, beside the plain model of
tests.gateway.drawing: grants and counters are the model's word for word, whatever is repeated, swept, charged late,
lost by Redis and said again; minutes and money are conserved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.call.commands import Release, Renew, Reserve, Settle
from gateway.credit import lua
from gateway.credit.kept import Live
from gateway.credit.keys import Keyspace
from gateway.credit.requests import Requests, read_tariff
from policy.drawn import draw_money, minutes_used, money_tariff
from policy.terms import write_terms
from policy.verdict import Limits, LiveLimit, Pool, RateLimit, SpendLimit, Velocity
from rating.tariff import Tariff, price_micros, tick_end_s
from tests.gateway import drawing
from tests.gateway.drawing import Tenant, Tick

SECONDS = Tariff(60_000, 0, 1, 1)
MINUTES = Tariff(120_000, 100_000, 60, 60)
HOUR = "2026-11-30T14"
DOMESTIC = Pool("MCOPSTN5/GB", "MCOPSTN5", "GB", 12_000)


class Till:
    """One tenant of one partition."""

    def __init__(self, wire: Any, redis: Any) -> None:
        self.wire, self.redis, self.keys = wire, redis, Keyspace(1)
        self.partition, self.tenant = self.keys.partitions[0], self.keys.tenant("t")
        self.requests = Requests(self.keys, "gate/0", 30)
        self.requests.generation = 1
        redis.set(self.partition.epoch, "1")

    def say(self, command: Any) -> list[Any]:
        kind = "merge" if isinstance(command, Live) else type(command).__name__.lower()
        reply: list[Any] = self.wire.ask(getattr(self.requests, kind)(command, "1"))
        return [reply[0], *reply[1:4], *(part.decode() for part in reply[4:5])]

    def fund(self, micros: int, seq: int = 1) -> None:
        self.wire.call(lua.FUND, [self.partition.epoch, self.tenant.account], ["1", seq, micros])

    def sweep(self, call: str) -> list[Any]:
        at, tenant = self.partition, self.tenant
        self.redis.zadd(at.leases, {f"{call} t": 1})
        places = [at.epoch, tenant.account, at.call(call), at.leases, at.outbox, at.opened, tenant.counters]
        reply: list[Any] = self.wire.call(lua.SWEEP, places, ["1", f"{call} t", 0])
        return reply

    @property
    def counters(self) -> dict[str, int]:
        return {name: int(much) for name, much in self.redis.hgetall(self.tenant.counters).items() if int(much)}

    @property
    def money(self) -> tuple[int, int]:
        balance, held = self.redis.hmget(self.tenant.account, "balance", "held")
        return int(balance or 0), int(held or 0)

    @property
    def outbox(self) -> list[dict[str, str]]:
        return [entry for _, entry in self.redis.xrange(self.partition.outbox)]


@pytest.fixture
def till(wire: Any, server: Any) -> Any:
    with server.client() as redis:
        yield Till(wire, redis)


def reserve(terms: str, tariff: Tariff | None = SECONDS, call: str = "c", end_s: int = 60, hour: str = HOUR) -> Reserve:
    return Reserve(call, "t", tariff, end_s, 90, Limits(), b"a", b"{}", terms=terms, hour=hour)


def renew(tick: int, start_s: int, end_s: int, hour: str = HOUR, call: str = "c", proven_s: int = 0) -> Renew:
    return Renew(call, "t", tick, start_s, end_s, proven_s, hour)


def pools(*totals: Pool) -> str:
    return write_terms(totals, (), (), 0, "UTC")


def test_minutes_first_then_money_in_one_leg(till: Till) -> None:
    """DOMAIN 8, example 4: 2 minutes are left, a call of 5 takes them and 3 x 0.020 from the balance."""
    till.fund(10**6)
    till.redis.hset(till.tenant.counters, "used MCOPSTN5/GB 2026-11", 11_998)
    fixed = Tariff(20_000)
    assert till.say(reserve(pools(DOMESTIC), fixed)) == [b"GRANT", 60, 0, 0, "pool 60 MCOPSTN5/GB 2026-11"]
    assert till.say(renew(1, 60, 120)) == [b"GRANT", 120, 0, 0, "pool 120 MCOPSTN5/GB 2026-11"]
    drawn = "pool 120 MCOPSTN5/GB 2026-11\nmoney 180"
    assert till.say(renew(2, 120, 180)) == [b"GRANT", 180, 20_000, 0, drawn]
    till.say(renew(3, 180, 240))
    till.say(renew(4, 240, 300))
    assert till.say(Settle("c", "t", 300_000, 60_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"used MCOPSTN5/GB 2026-11": 12_000}
    assert till.money == (940_000, 0)
    assert till.outbox[0]["pools"] == "2 MCOPSTN5/GB 2026-11"


def test_without_a_licence_for_credits_the_call_ends_with_its_minutes(till: Till) -> None:
    """The same example without the licence: 2:00 and not a second more, whatever the balance."""
    till.fund(10**6)
    till.redis.hset(till.tenant.counters, "used MCOPSTN5/GB 2026-11", 11_998)
    assert till.say(reserve(pools(DOMESTIC), None, end_s=300))[:4] == [b"GRANT", 120, 0, 0]
    assert till.say(renew(1, 120, 420)) == [b"NO_MINUTES"]
    assert till.say(reserve(pools(DOMESTIC), None, call="other")) == [b"NO_MINUTES"]


def test_crossing_in_two_grants(till: Till) -> None:
    """DOMAIN 8, example 2: 3 minutes left, a dial-out to FR of 4:30 is 3 minutes of the pool and 2 x 0.018."""
    till.fund(10**6)
    till.redis.hset(till.tenant.counters, "used MCOMEETADD 2026-11", 6_897)
    zone_a = pools(Pool("MCOMEETADD", "MCOMEETADD", "", 6_900))
    assert till.say(reserve(zone_a, Tariff(18_000), end_s=600))[1:4] == [180, 0, 0]
    assert till.say(renew(1, 180, 780))[1:4] == [780, 180_000, 0]
    assert till.say(Settle("c", "t", 270_000, 36_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"used MCOMEETADD 2026-11": 6_900}
    assert till.money == (964_000, 0)


def test_either_maximum_ends_a_plan(till: Till) -> None:
    """DOMAIN 8, example 5: with its 600 international minutes used, the plan's next domestic minute is overage."""
    till.fund(10**6)
    till.redis.hset(till.tenant.counters, mapping={
        "used MCOPSTN2/US 2026-11": 100, "used MCOPSTN2/US/international 2026-11": 600,
    })  # fmt: skip
    both = Pool("MCOPSTN2/US", "MCOPSTN2", "US", 3_000, (("MCOPSTN2/US/international", 600),))
    assert till.say(reserve(pools(both), Tariff(13_000)))[1:] == [60, 13_000, 0, "money 60"]
    till.redis.hincrby(till.tenant.counters, "used MCOPSTN2/US/international 2026-11", -1)
    assert till.say(reserve(pools(both), Tariff(13_000), call="d"))[1:4] == [60, 0, 0]


def test_unused_minutes_go_back_to_their_month_and_the_next_month_pays_again(till: Till) -> None:
    till.fund(10**6)
    one = pools(Pool("P", "P", "US", 1))
    assert till.say(reserve(one, SECONDS))[4] == "pool 60 P 2026-11"
    assert till.say(renew(1, 60, 90))[1:] == [90, 30_000, 0, "pool 60 P 2026-11\nmoney 90"]
    drawn = "pool 60 P 2026-11\nmoney 90\npool 150 P 2026-12"
    assert till.say(renew(2, 90, 120, "2026-12-01T00"))[1:] == [150, 30_000, 0, drawn]
    assert till.counters == {"held P 2026-11": 1, "held P 2026-12": 1}
    assert till.say(Settle("c", "t", 80_000, 20_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"used P 2026-11": 1}


def test_where_minutes_came_first_money_has_no_free_seconds(till: Till) -> None:
    till.fund(10**6)
    free = Tariff(60_000, 500, 60, 60, 30, 0)
    till.say(reserve(pools(Pool("P", "P", "US", 1)), free))
    assert read_tariff(till.redis.hget(till.partition.call("c"), "tariff")) == Tariff(60_000, 500, 60, 60, 0, 0)
    assert till.say(renew(1, 60, 120))[1:3] == [120, 60_500]


def test_minutes_after_money_that_was_granted_without_redis_are_no_more_than_they_are(till: Till) -> None:
    """MONEY 8: no part was written down of talk that money paid from the beginning."""
    till.fund(10**6)
    one = reserve(pools(Pool("P", "P", "US", 1)))
    assert till.say(Live(one, 60, 60_000, False)) == [b"MERGED"]
    assert till.say(renew(1, 60, 120))[1:] == [120, 60_000, 0, "money 60\npool 120 P 2026-11"]
    assert till.counters == {"held P 2026-11": 1}
    assert till.say(Settle("c", "t", 90_000, 60_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"used P 2026-11": 1}
    assert till.money == (940_000, 0)


@pytest.mark.parametrize("paid_s", [60, 40])
def test_a_first_tick_of_minutes_that_was_granted_again_by_money_is_money(till: Till, paid_s: int) -> None:
    """Redis hung and drew minutes when it woke; meanwhile the worker went on by money (MONEY 8)."""
    till.fund(10**6)
    free = Tariff(60_000, 500, 1, 1, 10, 0)
    one = reserve(pools(Pool("P", "P", "US", 5)), free)
    assert till.say(one)[4] == "pool 60 P 2026-11"
    held = price_micros(free, paid_s)
    for _ in range(2):
        assert till.say(Live(one, paid_s, held, False)) == [b"MERGED"]
        assert till.money == (10**6, held)
        assert till.counters == {}
    assert read_tariff(till.redis.hget(till.partition.call("c"), "tariff")) == free
    assert till.say(Settle("c", "t", paid_s * 1000, held, b"{}")) == [b"CLOSED"]
    assert till.counters == {}
    assert till.money == (10**6 - held, 0)


def test_a_later_tick_of_minutes_that_was_granted_again_by_money_is_money(till: Till) -> None:
    till.fund(10**6)
    one = reserve(pools(Pool("P", "P", "US", 5)))
    first = till.say(one)[4]
    assert till.say(renew(1, 60, 120))[4] == "pool 120 P 2026-11"
    live = Live(one, 60, 0, False, first)
    live.grant(1, 100, 40_000, False, draw_money(first, one.terms, HOUR, 100, 40_000))
    assert till.say(live) == [b"MERGED"]
    assert till.counters == {"held P 2026-11": 1}
    assert till.say(renew(2, 100, 160))[1:] == [160, 40_000, 0, "pool 60 P 2026-11\nmoney 100\npool 160 P 2026-11"]
    assert till.say(Settle("c", "t", 100_000, 40_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"used P 2026-11": 1}
    assert till.money == (960_000, 0)


def test_a_spending_limit_trims_like_a_balance_and_gives_back(till: Till) -> None:
    till.fund(10**6)
    limit = write_terms((), (SpendLimit("tenant", "day", 70_000),), (), 0, "UTC")
    assert till.say(reserve(limit))[1:] == [60, 60_000, 0, "spent 60000 tenant/day 2026-11-30"]
    assert till.say(renew(1, 60, 120))[1:4] == [70, 70_000, 1]
    assert till.say(renew(2, 70, 130)) == [b"LIMIT_SPEND", b"tenant/day"]
    assert till.say(reserve(limit, call="d")) == [b"LIMIT_SPEND", b"tenant/day"]
    assert till.say(renew(2, 70, 130, "2026-12-01T00"))[1:4] == [130, 130_000, 0]
    assert till.say(Settle("c", "t", 65_000, 65_000, b"{}")) == [b"CLOSED"]
    assert till.counters == {"spent tenant/day 2026-11-30": 65_000}
    assert till.outbox[0]["spent"] == "65000 tenant/day 2026-11-30"


def test_a_limit_of_live_calls_counts_calls(till: Till) -> None:
    till.fund(10**6)
    two = write_terms((), (), (LiveLimit("user/alice", 2),), 0, "UTC")
    assert till.say(reserve(two, call="a"))[4] == "live user/alice"
    till.say(reserve(two, call="b"))
    assert till.say(reserve(two, call="c")) == [b"LIMIT_CALLS", b"user/alice"]
    till.say(Release("a", "t", b"{}"))
    assert till.say(reserve(two, call="c"))[0] == b"GRANT"


def test_calls_a_second_of_a_user_are_a_bucket(till: Till) -> None:
    till.fund(10**6)
    one = write_terms((), (), (), 0, "UTC", (RateLimit("user/alice", 1),))
    assert till.say(reserve(one, call="a"))[0] == b"GRANT"
    assert till.say(reserve(one, call="b")) == [b"LIMIT_CALLS_PER_SECOND", b"user/alice"]
    level, filled_ms = till.redis.hget(till.tenant.counters, "bucket user/alice").split(" ")
    till.redis.hset(till.tenant.counters, "bucket user/alice", f"{level} {int(filled_ms) - 1_000}")
    assert till.say(reserve(one, call="b"))[0] == b"GRANT"


def test_a_refusal_says_whose_limit_leaves_least(till: Till) -> None:
    till.fund(10**6)
    mobile = SpendLimit("class/mobile", "hour", 60_000)
    both = write_terms((), (SpendLimit("tenant", "day", 90_000), mobile, SpendLimit("trunk/pbx", "month", 10**6)),
                       (LiveLimit("tenant/x", 9), LiveLimit("trunk/pbx", 1)), 0, "UTC")  # fmt: skip
    assert till.say(reserve(both, call="a"))[1:4] == [60, 60_000, 0]
    assert till.say(renew(1, 60, 120, call="a")) == [b"LIMIT_SPEND", b"class/mobile/hour"]
    assert till.say(reserve(both, call="b")) == [b"LIMIT_CALLS", b"trunk/pbx"]
    assert till.say(renew(1, 60, 120, "2026-11-30T15", call="a"))[1:4] == [90, 90_000, 1]
    assert till.say(renew(2, 90, 150, "2026-11-30T16", call="a")) == [b"LIMIT_SPEND", b"tenant/day"]


def watched(number: str, call: str, most: int = 2, day: str = "2026-11-30") -> Reserve:
    limits = Limits(velocity=Velocity("+88213", number, most, day))
    return Reserve(call, "t", SECONDS, 1, 90, limits, b"a", b"{}")


def test_many_numbers_of_one_range_close_it_for_the_day(till: Till) -> None:
    till.fund(10**6)
    for call, number in enumerate(("+8821301", "+8821302", "+8821301")):
        assert till.say(watched(number, f"c{call}"))[0] == b"GRANT"
    closed = [b"LIMIT_VELOCITY", b"range/+88213"]
    assert till.say(watched("+8821303", "d")) == closed
    assert till.say(watched("+8821301", "e")) == closed, "a range is closed as a whole"
    assert list(till.counters) == ["closed +88213 2026-11-30"]
    assert till.say(watched("+8821303", "c0"))[0] == b"GRANT", "a call that is live already is not asked again"
    assert till.say(watched("+8821303", "f", day="2026-12-01"))[0] == b"GRANT"


def test_numbers_called_an_hour_ago_count_no_more_and_go(till: Till) -> None:
    till.fund(10**6)
    till.say(watched("+8821301", "a", most=1))
    numbers = till.partition.range("t", "+88213")
    assert 3_590_000 < till.redis.pttl(numbers) <= 3_600_000
    till.redis.zincrby(numbers, -3_600_001, "+8821301")
    assert till.say(watched("+8821302", "b", most=1))[0] == b"GRANT"
    assert till.redis.zrange(numbers, 0, -1) == ["+8821302"]


def test_what_is_refused_for_want_of_money_counts_no_number(till: Till) -> None:
    assert till.say(watched("+8821301", "a")) == [b"NO_CREDIT"]
    assert not till.redis.exists(till.partition.range("t", "+88213"))


def test_a_range_that_was_closed_stays_closed_when_counters_are_made_anew(till: Till) -> None:
    till.redis.hset(till.tenant.counters, mapping={"closed +88213 2026-11-30": 1, "used P 2026-11": 5})
    till.redis.set(till.partition.epoch, "2 counting")
    places = [till.partition.epoch, till.tenant.counters]
    assert till.wire.call(lua.RECOUNT, places, ["2 counting", "used P 2026-11", 3]) == [b"RECOUNTED"]
    assert till.counters == {"closed +88213 2026-11-30": 1, "used P 2026-11": 3}
    till.wire.call(lua.RECOUNT, places, ["2 counting"])
    assert till.counters == {"closed +88213 2026-11-30": 1}


def test_a_postpaid_tenant_talks_down_to_its_credit_limit(till: Till) -> None:
    postpaid = write_terms((), (), (), 90_000, "UTC")
    assert till.say(reserve(postpaid))[1:4] == [60, 60_000, 0]
    assert till.say(renew(1, 60, 120))[1:4] == [90, 90_000, 1]
    assert till.say(renew(2, 90, 150)) == [b"NO_CREDIT"]
    assert till.say(Settle("c", "t", 90_000, 90_000, b"{}")) == [b"CLOSED"]
    assert till.say(reserve(postpaid, Tariff(0), call="d")) == [b"NO_CREDIT"]
    assert till.money == (-90_000, 0)


@dataclass
class Talk:
    """A live call."""

    tenant: str
    terms: str
    tariff: Tariff | None
    paid: int
    held: int
    drawn: str
    hour: str
    tick: int = 0
    proven: int = 0
    answered: bool = False


TENANTS = ("a", "b")
HOURS = ("2026-11-30T22", "2026-11-30T23", "2026-12-01T00", "2026-12-01T01")
TARIFFS = (SECONDS, MINUTES, Tariff(100_001, 777, 30, 6, 0, 40_000), Tariff(12_345, 0, 7, 13, 20), None)
POOLS = (
    Pool("P/US", "P", "US", 3),
    Pool("Q/US", "Q", "US", 5, (("Q/US/international", 4),)),
    Pool("Q/US/international", "Q", "US", 4, (("Q/US", 5),)),
)
some_terms = st.builds(
    write_terms,
    st.lists(st.sampled_from(POOLS), max_size=2, unique=True).map(tuple),
    st.lists(
        st.builds(SpendLimit, st.sampled_from(("tenant", "user/u", "class/mobile")),
                  st.sampled_from(("hour", "day", "month")), st.sampled_from((50_000, 300_000))),
        max_size=3, unique_by=lambda limit: limit[:2],
    ).map(tuple),
    st.lists(
        st.sampled_from((LiveLimit("user/u", 2), LiveLimit("class/mobile", 1), LiveLimit("trunk/pbx", 3))),
        max_size=2, unique=True,
    ).map(tuple),
    st.sampled_from((0, 0, 150_000)),
    st.just("UTC"),
)  # fmt: skip
which_one = st.integers(0, 99)


class Machine(RuleBasedStateMachine):
    """Calls of one gate, the sweep, and a Redis that forgets them."""

    wire: Any
    redis: Any

    @initialize(money=st.sampled_from((0, 40_000, 10**6)))
    def begin(self, money: int) -> None:
        self.redis.flushall()
        self.keys = Keyspace(1)
        self.partition = self.keys.partitions[0]
        self.requests = Requests(self.keys, "gate/0", 30)
        self.requests.generation = 1
        self.redis.set(self.partition.epoch, "1")
        self.tenants = {name: Tenant() for name in TENANTS}
        self.live: dict[str, Talk] = {}
        self.swept: dict[str, Talk] = {}
        self.count = self.seq = 0
        self.now = 0
        self.late = False
        self.charged: dict[str, int] = {}
        for name in TENANTS:
            self.fund(name, money)

    @rule(name=st.sampled_from(TENANTS), micros=st.sampled_from((1, 60_000, 500_000)))
    def fund(self, name: str, micros: int) -> None:
        self.seq += 1
        keys = [self.partition.epoch, self.keys.tenant(name).account]
        assert self.wire.call(lua.FUND, keys, ["1", self.seq, micros])[0] == b"APPLIED"
        self.tenants[name].balance += micros

    @rule()
    def time_goes_on(self) -> None:
        self.now = min(self.now + 1, len(HOURS) - 1)

    @rule(
        name=st.sampled_from(TENANTS),
        terms=some_terms,
        tariff=st.sampled_from(TARIFFS),
        tick_s=st.sampled_from((5, 60, 150)),
        number=st.sampled_from(("", "", "+88211", "+88212", "+88213", "+44201")),
        most=st.sampled_from((1, 2)),
    )
    def call(self, name: str, terms: str, tariff: Tariff | None, tick_s: int, number: str, most: int) -> None:
        if tariff is None and "\npool " not in terms:
            return
        terms = terms if "\n" in terms else ""
        self.count += 1
        call_id, hour, tenant = f"call-{self.count}", HOURS[self.now] if terms else "", self.tenants[name]
        end = tick_end_s(tariff, 0, tick_s) if tariff else tick_s
        velocity = Velocity(number[:5], number, most, HOURS[self.now][:10]) if number else None
        limits = Limits(velocity=velocity)
        reply = self.say(Reserve(call_id, name, tariff, end, 90, limits, b"a", b"{}", terms=terms, hour=hour))
        if scope := tenant.live_limit(terms):
            assert reply == [b"LIMIT_CALLS", scope.encode()]
            return
        if scope := tenant.closes(velocity):
            assert reply == [b"LIMIT_VELOCITY", scope.encode()]
            return
        tick = tenant.tick(tariff, terms, hour, "", 0, end, 0)
        if isinstance(tick, str):
            assert reply == tick.encode().split(b" "), (reply, tick)
            return
        if velocity:
            tenant.called[velocity.range].add(number)
        drawn = drawing.draw("", terms, hour, tick) if terms else ""
        talk = Talk(name, terms, money_tariff(tariff, drawn), tick.end_s, tick.cost, drawn, hour)
        self.grant(call_id, talk, reply, tick)
        self.live[call_id] = talk
        tenant.held += tick.cost
        tenant.hold(drawn)

    @precondition(lambda self: self.live)
    @rule(which=which_one, tick_s=st.sampled_from((5, 60, 150)), proven=st.floats(0, 1))
    def go_on(self, which: int, tick_s: int, proven: float) -> None:
        call_id, talk = self.pick(self.live, which)
        tenant, hour = self.tenants[talk.tenant], HOURS[self.now] if talk.terms else ""
        money = drawing.money_s(talk.drawn, talk.paid)
        end = talk.paid + tick_s
        if talk.tariff is not None:
            end = talk.paid - money + tick_end_s(talk.tariff, money, tick_s)
        proven_s = int(proven * talk.paid)
        reply = self.say(Renew(call_id, talk.tenant, talk.tick + 1, talk.paid, end, proven_s, hour))
        tick = tenant.tick(talk.tariff, talk.terms, hour, talk.drawn, talk.paid, end, talk.held)
        if isinstance(tick, str):
            assert reply == tick.encode().split(b" "), (reply, tick)
            return
        tenant.hold(talk.drawn, -1)
        talk.drawn = drawing.draw(talk.drawn, talk.terms, hour, tick) if talk.terms else ""
        tenant.hold(talk.drawn)
        talk.tick, talk.held, talk.paid = talk.tick + 1, talk.held + tick.cost, tick.end_s
        talk.proven = max(talk.proven, proven_s)
        tenant.held += tick.cost
        self.grant(call_id, talk, reply, tick)
        assert self.say(Renew(call_id, talk.tenant, talk.tick, 0, end, 0, hour))[:5] == reply[:5], "repeated"

    @precondition(lambda self: self.live)
    @rule(which=which_one, part=st.floats(0, 1), released=st.sampled_from((False, False, True)))
    def end(self, which: int, part: float, released: bool) -> None:
        call_id, talk = self.pick(self.live, which)
        talk_ms = 0 if released else int(part * talk.paid * 1000)
        charge = 0 if released else drawing.price(talk.tariff, talk.drawn, -(-talk_ms // 1000))
        ending = (
            Release(call_id, talk.tenant, b"{}") if released else Settle(call_id, talk.tenant, talk_ms, charge, b"{}")
        )
        assert self.say(ending) == [b"CLOSED"]
        self.close(call_id, talk, talk_ms, charge)
        assert self.say(ending) == [b"DONE"]

    @precondition(lambda self: self.live)
    @rule(which=which_one, answered=st.booleans())
    def sweep(self, which: int, answered: bool) -> None:
        call_id, talk = self.pick(self.live, which)
        at, tenant = self.partition, self.keys.tenant(talk.tenant)
        if answered and not talk.answered:
            talk.answered = True
            self.redis.hset(at.call(call_id), mapping={"clock_ms": 1, "answered_ms": 1})
        talk.proven = talk.proven if talk.answered else 0
        self.redis.zadd(at.leases, {f"{call_id} {talk.tenant}": 1})
        places = [at.epoch, tenant.account, at.call(call_id), at.leases, at.outbox, at.opened, tenant.counters]
        charge = drawing.price(talk.tariff, talk.drawn, talk.proven) if talk.answered else 0
        assert self.wire.call(lua.SWEEP, places, ["1", f"{call_id} {talk.tenant}", 0]) == [b"SWEPT", charge]
        self.close(call_id, talk, talk.proven * 1000, charge)
        self.swept[call_id] = talk

    @precondition(lambda self: self.swept)
    @rule(which=which_one, part=st.floats(0, 1))
    def hear_of_a_swept_call(self, which: int, part: float) -> None:
        call_id, talk = self.pick(self.swept, which)
        del self.swept[call_id]
        talk_ms = max(talk.proven * 1000, int(part * talk.paid * 1000))
        had = self.charged[call_id]
        charge = max(had, drawing.price(talk.tariff, talk.drawn, -(-talk_ms // 1000)))
        assert self.say(Settle(call_id, talk.tenant, talk_ms, charge, b"{}")) == [b"CLOSED"]
        tenant = self.tenants[talk.tenant]
        tenant.balance -= charge - had
        tenant.end(talk.drawn, talk_ms, charge, talk.proven * 1000, had)
        self.late = True

    @precondition(lambda self: self.live)
    @rule()
    def redis_forgets_the_calls(self) -> None:
        """What is held of live calls is gone; the worker says them again, twice."""
        for call_id, talk in self.live.items():
            self.redis.delete(self.partition.call(call_id))
            self.redis.zrem(self.partition.leases, f"{call_id} {talk.tenant}")
            tenant = self.keys.tenant(talk.tenant)
            self.redis.hincrby(tenant.account, "held", -talk.held)
            for name, much in drawing.held_counters(talk.drawn).items():
                self.redis.hincrby(tenant.counters, name, -much)
        for call_id, talk in [*self.live.items(), *self.live.items()]:
            first = Reserve(call_id, talk.tenant, talk.tariff, 0, 90, Limits(), b"a", b"{}", terms=talk.terms)
            known = Live(first, talk.paid, talk.held, False, talk.drawn)
            known.tick, known.answered_ms, known.proven_s = talk.tick, 1, talk.proven
            talk.answered = True
            assert self.say(known)[0] == b"MERGED"

    def close(self, call_id: str, talk: Talk, talk_ms: int, charge: int) -> None:
        del self.live[call_id]
        self.charged[call_id] = charge
        tenant = self.tenants[talk.tenant]
        tenant.held -= talk.held
        tenant.balance -= charge
        tenant.hold(talk.drawn, -1)
        tenant.end(talk.drawn, talk_ms, charge)
        entry = self.redis.xrevrange(self.partition.outbox, count=1)[0][1]
        minutes = [f"{used} {pool} {month}" for pool, month, used in minutes_used(talk.drawn, talk_ms)]
        assert entry.get("pools", "") == "\n".join(minutes)

    def grant(self, call_id: str, talk: Talk, reply: list[Any], tick: Tick) -> None:
        assert reply[:5] == [b"GRANT", talk.paid, talk.held, int(tick.trimmed), talk.drawn.encode()], (
            reply,
            talk,
            tick,
        )

    def say(self, command: Any) -> list[Any]:
        kind = "merge" if isinstance(command, Live) else type(command).__name__.lower()
        reply: list[Any] = self.wire.ask(getattr(self.requests, kind)(command, "1"))
        return reply

    @staticmethod
    def pick(of: dict[str, Talk], which: int) -> tuple[str, Talk]:
        call_id = sorted(of)[which % len(of)]
        return call_id, of[call_id]

    @invariant()
    def redis_is_the_model(self) -> None:
        for name, tenant in self.tenants.items():
            keys = self.keys.tenant(name)
            stored = self.redis.hmget(keys.account, "balance", "held")
            assert [int(value or 0) for value in stored] == [tenant.balance, tenant.held]
            counters = {name: int(value) for name, value in self.redis.hgetall(keys.counters).items() if int(value)}
            closed = {name.partition(" ")[2] for name in counters if name.startswith("closed ")}
            assert closed == tenant.closed
            counters = {name: value for name, value in counters.items() if not name.startswith("closed ")}
            for prefix, numbers in tenant.called.items():
                assert set(self.redis.zrange(self.partition.range(name, prefix), 0, -1)) == numbers
            assert counters == {name: value for name, value in tenant.counters.items() if value}
            for pool in POOLS if not self.late else ():
                for month in ("2026-11", "2026-12"):
                    assert tenant.minutes(f"{pool.name} {month}") <= pool.total_minutes


def test_any_order_of_things(shared_server: Any, open_wire: Callable[[Any], Any]) -> None:
    wire = open_wire(shared_server)
    with shared_server.client() as redis:
        machine = type("Machine", (Machine,), {"wire": wire, "redis": redis})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=150,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            ),
        )
