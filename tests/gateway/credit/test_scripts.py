"""What each script promises, one promise a test, on a real Redis; the order of everything is test_machine's."""

from typing import Any

import pytest

from gateway.call.commands import Answer, Prove, Release, Renew, Reserve, Settle
from gateway.credit import lua
from gateway.credit.kept import Live
from gateway.credit.keys import Keyspace
from gateway.credit.requests import Requests
from policy.verdict import Limits
from rating.money import MAX_MICROS
from rating.tariff import Tariff

SECONDS = Tariff(60_000, 0, 1, 1)
"""1,000 micro-units a second."""

MINUTES = Tariff(60_000, 500, 60, 60)


class Till:
    """One partition, one tenant, and whoever asks."""

    def __init__(self, wire: Any, redis: Any) -> None:
        self.wire, self.redis = wire, redis
        self.keys = Keyspace(1)
        self.partition = self.keys.partitions[0]
        self.account = self.keys.tenant("t").account
        redis.set(self.partition.epoch, "1")

    def say(self, command: Any, epoch: str = "1", owner: str = "gate/0", generation: int = 1) -> list[Any]:
        requests = Requests(self.keys, owner, 30)
        requests.generation = generation
        kind = "merge" if isinstance(command, Live) else type(command).__name__.lower()
        reply: list[Any] = self.wire.ask(getattr(requests, kind)(command, epoch))
        self.seen = reply[5:]
        """What the reply told of the account, behind the grant and what was drawn."""
        return reply[:4]

    def fund(self, amount: int, seq: int = 1) -> list[Any]:
        reply: list[Any] = self.wire.call(lua.FUND, [self.partition.epoch, self.account], ["1", seq, amount])
        return reply

    def sweep(self, call: str, quiet_ms: int = 0) -> list[Any]:
        at = self.partition
        keys = [at.epoch, self.account, at.call(call), at.leases, at.outbox, at.opened, self.keys.tenant("t").counters]
        reply: list[Any] = self.wire.call(lua.SWEEP, keys, ["1", f"{call} t", quiet_ms])
        return reply

    def money(self) -> tuple[int, int]:
        balance, held = self.redis.hmget(self.account, "balance", "held")
        return int(balance or 0), int(held or 0)

    def expire(self, call: str) -> None:
        self.redis.zadd(self.partition.leases, {f"{call} t": 1})

    def lease_s(self, call: str) -> float:
        seconds, micros = self.redis.time()
        return self.redis.zscore(self.partition.leases, f"{call} t") / 1000 - seconds - micros / 1e6


@pytest.fixture
def till(wire: Any, server: Any) -> Any:
    with server.client() as redis:
        yield Till(wire, redis)


def reserve(call: str = "c", end_s: int = 60, tariff: Tariff | None = SECONDS, **options: Any) -> Reserve:
    limits = options.pop("limits", Limits())
    return Reserve(call, "t", tariff, end_s, options.pop("lease_s", 90), limits, b"a", b"{}", **options)


def snapshot(redis: Any) -> dict[str, Any]:
    state = {}
    for key in redis.scan_iter():
        kind = redis.type(key)
        read = {"hash": redis.hgetall, "string": redis.get, "stream": redis.xrange}.get(kind)
        state[key] = read(key) if read else redis.zrange(key, 0, -1, withscores=True)
    return state


def test_a_call_from_reserve_to_outbox(till: Till) -> None:
    till.fund(100_000)
    assert till.say(reserve()) == [b"GRANT", 60, 60_000, 0]
    assert till.say(Answer("c", "t", 5, b"b")) == [b"WRITTEN"]
    assert till.say(Renew("c", "t", 1, 60, 90, 58)) == [b"GRANT", 90, 90_000, 0]
    assert till.money() == (100_000, 90_000)
    assert till.say(Settle("c", "t", 70_000, 70_000, b'{"x":1}')) == [b"CLOSED"]
    assert till.money() == (30_000, 0)
    [(_, entry)] = till.redis.xrange(till.partition.outbox)
    assert entry == {"kind": "settle", "call": "c t", "charge": "70000", "record": '{"x":1}', "owner": "gate/0"}
    assert till.redis.hgetall(till.partition.call("c")) == {"done": "settle"}
    assert till.redis.zcard(till.partition.leases) == 0


def test_a_tick_is_trimmed_to_what_can_be_paid(till: Till) -> None:
    till.fund(7_999)
    assert till.say(reserve()) == [b"GRANT", 7, 7_000, 1]
    assert till.say(Renew("c", "t", 1, 7, 67, 0)) == [b"NO_CREDIT"]
    till.fund(1, seq=2)
    assert till.say(Renew("c", "t", 1, 7, 67, 0)) == [b"GRANT", 8, 8_000, 1]


def test_a_refusal_leaves_no_trace(till: Till) -> None:
    till.fund(60_499)
    before = snapshot(till.redis)
    assert till.say(reserve(tariff=MINUTES)) == [b"NO_CREDIT"]
    assert till.say(reserve(limits=Limits(max_calls=0))) == [b"LIMIT_CALLS", b"tenant"]
    assert snapshot(till.redis) == before
    till.fund(1, seq=2)
    assert till.say(reserve(tariff=MINUTES)) == [b"GRANT", 60, 60_500, 0]
    before = snapshot(till.redis)
    assert till.say(Renew("c", "t", 1, 60, 120, 60)) == [b"NO_CREDIT"]
    assert snapshot(till.redis) == before


def test_credit_must_be_above_zero_even_for_what_is_free(till: Till) -> None:
    free = Tariff(0, 0, 60, 60)
    assert till.say(reserve(tariff=free)) == [b"NO_CREDIT"]
    till.fund(1)
    assert till.say(reserve(tariff=free)) == [b"GRANT", 60, 0, 0]
    keys = [till.partition.epoch, till.account, till.partition.withdrawal("w"), till.partition.outbox]
    till.wire.call(lua.WITHDRAW, keys, ["1", "w t", 1, 1, b""])
    assert till.say(Renew("c", "t", 1, 60, 120, 0)) == [b"NO_CREDIT"]


def test_free_seconds_first_increment_and_minimum_are_held_with_the_first_tick(till: Till) -> None:
    till.fund(10**6)
    tariff = Tariff(60_000, 10, 6, 6, free_s=10, minimum_micros=9_000)
    assert till.say(reserve(end_s=16, tariff=tariff)) == [b"GRANT", 16, 9_000, 0]
    assert till.say(Renew("c", "t", 1, 16, 22, 0)) == [b"GRANT", 22, 12_010, 0]


def test_nobody_pays(till: Till) -> None:
    assert till.say(reserve(tariff=None)) == [b"GRANT", -1, 0, 0]
    assert till.say(Answer("c", "t", 1, b"")) == [b"WRITTEN"]
    assert till.say(Renew("c", "t", 1, 60, 120, 60)) == [b"GRANT", -1, 0, 0]
    assert till.say(Settle("c", "t", 1, 0, b"{}")) == [b"CLOSED"]


@pytest.mark.parametrize("amount", [123_456_789_012_345, MAX_MICROS - 1, MAX_MICROS])
def test_big_amounts_are_exact(till: Till, amount: int) -> None:
    assert till.fund(amount) == [b"APPLIED", amount, 0]
    whole = Tariff(0, amount - 1, 60, 60)
    assert till.say(reserve(tariff=whole)) == [b"GRANT", 60, amount - 1, 0]
    assert till.money() == (amount, amount - 1)
    assert till.say(Renew("c", "t", 1, 60, 120, 0)) == [b"GRANT", 120, amount - 1, 0]
    assert till.say(Settle("c", "t", 1, amount - 2, b"{}")) == [b"CLOSED"]
    assert till.money() == (2, 0)
    assert till.redis.xrange(till.partition.outbox)[0][1]["charge"] == str(amount - 2)


def test_a_balance_stays_in_range(till: Till) -> None:
    till.fund(MAX_MICROS)
    assert till.fund(1, seq=2) == [b"ALERT", b"BALANCE_OUT_OF_RANGE"]
    assert till.fund(-1, seq=2) == [b"ALERT", b"BALANCE_OUT_OF_RANGE"]
    assert till.money() == (MAX_MICROS, 0)


def test_sixty_reserves_at_once_share_money_for_seven(till: Till) -> None:
    till.fund(7 * 60_500 + 60_499)
    replies = [till.say(reserve(f"c{number}", tariff=MINUTES)) for number in range(60)]
    assert replies.count([b"GRANT", 60, 60_500, 0]) == 7
    assert replies.count([b"NO_CREDIT"]) == 53


def test_only_live_leases_count_as_calls(till: Till) -> None:
    till.fund(10**6)
    limits = Limits(max_calls=2)
    assert till.say(reserve("a", limits=limits))[0] == b"GRANT"
    assert till.say(reserve("b", limits=limits))[0] == b"GRANT"
    assert till.say(reserve("c", limits=limits)) == [b"LIMIT_CALLS", b"tenant"]
    till.expire("a")
    assert till.say(reserve("c", limits=limits))[0] == b"GRANT"
    assert till.say(reserve("d", limits=limits, emergency=True))[0] == b"GRANT"


def test_calls_per_second_are_a_bucket(till: Till) -> None:
    till.fund(10**9)
    limits = Limits(calls_per_second=3)
    replies = [till.say(reserve(f"c{number}", limits=limits))[0] for number in range(4)]
    assert replies == [b"GRANT", b"GRANT", b"GRANT", b"LIMIT_CALLS_PER_SECOND"]
    till.redis.hincrby(till.account, "bucket_ms", -400)  # as if 0.4 s had gone by: 1.2 calls
    assert till.say(reserve("d", limits=limits))[0] == b"GRANT"
    assert till.say(reserve("e", limits=limits)) == [b"LIMIT_CALLS_PER_SECOND", b"tenant"]
    till.redis.hincrby(till.account, "bucket_ms", 3_600_000)  # Redis' clock was set back
    assert till.say(reserve("e", limits=limits)) == [b"LIMIT_CALLS_PER_SECOND", b"tenant"]
    assert till.say(reserve("e", limits=limits, emergency=True))[0] == b"GRANT"


@pytest.mark.parametrize("stored", [None, "2", "1 rebuilding"])
def test_another_epoch_or_none_is_stale(till: Till, stored: str | None) -> None:
    till.fund(10**6)
    till.say(reserve())
    till.redis.delete(till.partition.epoch)
    if stored:
        till.redis.set(till.partition.epoch, stored)
    before = snapshot(till.redis)
    for command in (
        reserve("d"), Answer("c", "t", 1, b""), Renew("c", "t", 1, 60, 61, 0), Prove("c", "t", 1, b""),
        Settle("c", "t", 1, 1, b"{}"), Release("c", "t", b"{}"), Live(reserve("e"), 60, 60_000, False),
    ):  # fmt: skip
        assert till.say(command) == [b"STALE"]
    assert till.sweep("c") == [b"STALE"]
    assert till.fund(1, seq=2) == [b"STALE"]
    assert snapshot(till.redis) == before


def test_an_older_start_and_another_gate_are_fenced(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve(), generation=2)
    before = snapshot(till.redis)
    for owner, generation in (("gate/0", 1), ("gate/1", 9), ("other/0", 2)):
        for command in (
            reserve(), Answer("c", "t", 1, b""), Renew("c", "t", 1, 60, 61, 0), Prove("c", "t", 1, b""),
            Settle("c", "t", 1, 1, b"{}"), Release("c", "t", b"{}"), Live(reserve(), 60, 60_000, False),
        ):  # fmt: skip
            assert till.say(command, owner=owner, generation=generation) == [b"FENCED"]
    assert snapshot(till.redis) == before
    assert till.say(Renew("c", "t", 1, 60, 61, 0), generation=3)[0] == b"GRANT"
    assert till.say(Renew("c", "t", 2, 61, 62, 0), generation=2) == [b"FENCED"]


def test_a_late_reserve_finds_the_marker(till: Till) -> None:
    till.fund(10**6)
    assert till.say(Release("c", "t", b"{}")) == [b"CLOSED"]
    assert till.say(reserve()) == [b"DONE"]
    assert till.money() == (10**6, 0)


def test_what_was_never_reserved_is_not_charged(till: Till) -> None:
    till.fund(10**6)
    assert till.say(Settle("c", "t", 1, 1, b"{}")) == [b"UNKNOWN"]
    assert till.say(Renew("c", "t", 1, 60, 61, 0)) == [b"UNKNOWN"]
    assert till.say(Answer("c", "t", 1, b"")) == [b"UNKNOWN"]
    assert till.redis.xlen(till.partition.outbox) == 0
    assert till.say(Settle("c", "t", 1, 0, b"{}")) == [b"CLOSED"]  # an emergency call during an outage


@pytest.mark.parametrize("charge", [60_001, -1])
def test_a_breach_changes_nothing(till: Till, charge: int) -> None:
    till.fund(10**6)
    till.say(reserve())
    before = snapshot(till.redis)
    assert till.say(Settle("c", "t", 1, charge, b"{}")) == [b"ALERT", b"CHARGE_ABOVE_HELD"]
    assert snapshot(till.redis) == before


def test_held_that_does_not_add_up_is_an_alert(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve())
    till.redis.hset(till.account, "held", 1)
    before = snapshot(till.redis)
    assert till.say(Settle("c", "t", 1, 1, b"{}")) == [b"ALERT", b"HELD_ABOVE_ACCOUNT"]
    assert snapshot(till.redis) == before


def test_leases_follow_paid_until(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve(lease_s=200))
    assert 199 < till.lease_s("c") <= 200
    till.say(Answer("c", "t", 1, b""))
    assert 89 < till.lease_s("c") <= 90
    till.say(Renew("c", "t", 1, 60, 100, 0))
    assert 129 < till.lease_s("c") <= 130
    till.say(reserve("free", tariff=None, lease_s=50))
    till.say(Answer("free", "t", 1, b""))
    till.expire("free")
    till.say(Prove("free", "t", 1, None))
    assert 49 < till.lease_s("free") <= 50


@pytest.mark.parametrize(
    ("answered", "proven", "charge"), [(False, 0, 0), (True, 0, 0), (True, 17, 17_000), (True, 99, 60_000)]
)
def test_a_dead_owners_call_is_charged_to_its_last_proven_moment(
    till: Till, answered: bool, proven: int, charge: int
) -> None:
    till.fund(10**6)
    till.say(reserve())
    if answered:
        till.say(Answer("c", "t", 77, b""))
        till.say(Prove("c", "t", proven, None))
    assert till.sweep("c") == [b"ALIVE"]
    till.expire("c")
    assert till.sweep("c") == [b"SWEPT", charge]
    assert till.sweep("c") == [b"ALIVE"]
    assert till.money() == (10**6 - charge, 0)
    assert till.say(Renew("c", "t", 1, 60, 120, 0)) == [b"DONE"]
    [(_, entry)] = till.redis.xrange(till.partition.outbox)
    assert (entry["kind"], entry["charge"], entry["answered_ms"]) == ("sweep", str(charge), "77" if answered else "0")


@pytest.mark.parametrize(("proven", "late"), [(0, 60_000), (17, 43_000), (60, 0)])
def test_what_a_swept_call_cost_above_the_sweep_is_charged_once(till: Till, proven: int, late: int) -> None:
    till.fund(60_000)
    till.say(reserve())
    till.say(Answer("c", "t", 77, b""))
    till.say(Prove("c", "t", proven, None))
    till.expire("c")
    assert till.sweep("c") == [b"SWEPT", proven * 1_000]
    settle = Settle("c", "t", 60_000, 60_000, b"{}")
    before = snapshot(till.redis)
    assert till.say(settle, owner="gate/1") == [b"DONE"]
    assert till.say(settle, generation=0) == [b"DONE"]
    assert till.say(Settle("c", "t", 1, -1, b"{}")) == [b"ALERT", b"CHARGE_BELOW_ZERO"]
    assert snapshot(till.redis) == before
    assert till.say(settle) == [b"CLOSED"]
    assert till.say(settle) == [b"DONE"]
    assert till.money() == (0, 0)
    _, (_, entry) = till.redis.xrange(till.partition.outbox)
    assert (entry["kind"], entry["call"], entry["charge"], entry["owner"]) == ("late", "c t", str(late), "gate/0")
    assert till.redis.hgetall(till.partition.call("c")) == {"done": "settle"}


def test_a_late_charge_may_take_more_than_is_available_and_then_nothing_is_granted(till: Till) -> None:
    till.fund(60_000)
    till.say(reserve())
    till.say(Answer("c", "t", 77, b""))
    till.expire("c")
    assert till.sweep("c") == [b"SWEPT", 0]
    assert till.say(reserve("d")) == [b"GRANT", 60, 60_000, 0]
    assert till.say(Settle("c", "t", 60_000, 60_000, b"{}")) == [b"CLOSED"]
    assert till.money() == (0, 60_000)
    assert till.say(reserve("e", tariff=Tariff(0, 0, 60, 60))) == [b"NO_CREDIT"]
    assert till.say(Renew("d", "t", 1, 60, 61, 0)) == [b"NO_CREDIT"]


def test_nothing_is_swept_soon_after_the_epoch_changed(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve())
    till.expire("c")
    till.wire.call(lua.OPEN_EPOCH, [till.partition.epoch, till.partition.opened], ["1", "1"])
    assert till.sweep("c", quiet_ms=30_000) == [b"EARLY"]
    till.redis.decrby(till.partition.opened, 30_000)
    assert till.sweep("c", quiet_ms=30_000) == [b"SWEPT", 0]


def test_a_forgotten_call_is_said_again_and_the_furthest_wins(till: Till) -> None:
    till.fund(50_000)
    known = Live(reserve(), 60, 60_000, False)
    known.tick, known.answered_ms, known.proven_s = 3, 5, 40
    assert till.say(known) == [b"MERGED"]
    assert till.money() == (50_000, 60_000)  # below zero: the talk is being had
    assert 49 < till.lease_s("c") <= 50
    assert till.say(reserve("d")) == [b"NO_CREDIT"]
    older = Live(reserve(), 20, 20_000, False)
    assert till.say(older) == [b"MERGED"]
    assert till.money() == (50_000, 60_000)
    assert till.say(Settle("c", "t", 1, 45_000, b"{}")) == [b"CLOSED"]
    assert till.say(known) == [b"DONE"]
    assert till.money() == (5_000, 0)


def test_a_new_grant_tells_what_is_left_and_how_many_live(till: Till) -> None:
    till.fund(100_000)
    till.say(reserve("a", end_s=10))
    assert till.seen == [90_000, 1]
    till.say(reserve("b", end_s=10))
    assert till.seen == [80_000, 2]
    till.say(Renew("a", "t", 1, 10, 20, 9))
    assert till.seen == [70_000, 2]
    till.say(Renew("a", "t", 1, 10, 20, 9))
    assert till.seen == [], "what is repeated says nothing new"
    till.say(reserve("free", tariff=None))
    assert till.seen == [70_000, 3]


@pytest.mark.parametrize(("theirs", "ours", "stands"), [(10, 30, 30), (30, 10, 30)])
def test_of_one_tick_the_grant_that_goes_further_is_merged(till: Till, theirs: int, ours: int, stands: int) -> None:
    """Redis granted it and could not say so; the worker granted it without Redis (MONEY 8)."""
    till.fund(30_000)
    till.say(reserve(end_s=theirs))
    assert till.say(Live(reserve(), ours, ours * 1000, False)) == [b"MERGED"]
    assert till.money() == (30_000, stands * 1000)
    assert till.say(Settle("c", "t", ours * 1000, ours * 1000, b"{}")) == [b"CLOSED"]
    assert till.money() == (30_000 - ours * 1000, 0)


def test_merging_goes_on_during_a_rebuild(till: Till) -> None:
    till.redis.set(till.partition.epoch, "2 rebuilding")
    assert till.say(Live(reserve(), 60, 60_000, False), epoch="2 rebuilding") == [b"MERGED"]


def test_earlier_grants_are_repeated_word_for_word(till: Till) -> None:
    till.fund(10**9)
    granted = [till.say(reserve(end_s=1))]
    granted += [till.say(Renew("c", "t", tick, tick, tick + 1, 0)) for tick in range(1, 30)]
    money = till.money()
    assert till.say(reserve(end_s=1)) == granted[-1]  # too old to be remembered: what is granted by now
    again = [till.say(Renew("c", "t", tick, tick, tick + 1, 0)) for tick in range(13, 30)]
    assert again == granted[13:]
    assert till.money() == money
    assert len(till.redis.hgetall(till.partition.call("c"))) < 32


def test_a_lost_tick_is_made_good_by_the_next(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve())
    assert till.say(Renew("c", "t", 2, 120, 180, 0)) == [b"GRANT", 180, 180_000, 0]
    assert till.say(Renew("c", "t", 1, 60, 120, 0)) == [b"GRANT", 180, 180_000, 0]
    assert till.money() == (10**6, 180_000)


def claim(wire: Any, instance: str, start: str, epoch: int = 0, ttl_ms: int = 60_000) -> list[Any]:
    reply: list[Any] = wire.call(lua.CLAIM, ["cg:owners"], ["gate/0", instance, start, epoch, ttl_ms])
    return reply


def test_each_start_of_a_slot_raises_its_epoch(wire: Any) -> None:
    assert claim(wire, "here", "first") == [b"CLAIMED", 1]
    assert claim(wire, "here", "first", 1) == [b"CLAIMED", 1]
    assert claim(wire, "here", "second") == [b"CLAIMED", 2]
    assert claim(wire, "here", "first", 1) == [b"FENCED", 2]


def test_a_second_live_holder_is_refused(wire: Any) -> None:
    assert claim(wire, "here", "first") == [b"CLAIMED", 1]
    assert claim(wire, "there", "other") == [b"TAKEN", 1, b"here"]
    assert claim(wire, "here", "first", 1, ttl_ms=0) == [b"CLAIMED", 1]
    assert claim(wire, "there", "other") == [b"CLAIMED", 2]


def test_a_claim_that_redis_forgot_is_made_again(wire: Any, redis: Any) -> None:
    claim(wire, "here", "first")
    claim(wire, "here", "second")
    redis.delete("cg:owners")
    assert claim(wire, "here", "second", 2) == [b"CLAIMED", 2]


def test_versions_never_go_back(wire: Any, redis: Any) -> None:
    for version in (9, 10, 3):
        wire.call(lua.PUBLISH, ["cg:directory"], [version])
    assert redis.get("cg:directory") == "10"


def test_an_account_is_made_once(wire: Any, redis: Any) -> None:
    redis.set("e", "1")
    assert wire.call(lua.CREATE, ["e", "a"], ["1", -5, 3]) == [b"CREATED"]
    assert wire.call(lua.CREATE, ["e", "a"], ["1", 7, 9]) == [b"EXISTS"]
    assert wire.call(lua.CREATE, ["e", "b"], ["2", 7, 9]) == [b"STALE"]
    assert redis.hgetall("a") == {"balance": "-5", "applied": "3"}


# What a rebuild does


def mark(till: Till, epoch: str, done: str = "booked", charge: int = 0, talk_s: int = 0) -> list[Any]:
    at = till.partition
    keys = [at.epoch, till.account, at.call("c"), at.leases, at.said, till.keys.tenant("t").counters]
    reply: list[Any] = till.wire.call(lua.MARK, keys, [epoch, "c t", done, charge, talk_s, 60])
    return reply


def clear(till: Till, epoch: str) -> list[Any]:
    at = till.partition
    reply: list[Any] = till.wire.call(lua.CLEAR, [at.epoch, at.call("c"), at.said], [epoch, 1, "c t", 60])
    return reply


def settle_doubtful(till: Till, charge: int = 1_000) -> Any:
    requests = Requests(till.keys, "gate/0", 30)
    requests.generation = 1
    return till.wire.ask(requests.settle(Settle("c", "t", 1, charge, b"{}"), "1", doubtful=True))


def say_over(till: Till, charge: int = 1_000, epoch: str = "1") -> Any:
    requests = Requests(till.keys, "gate/0", 30)
    requests.generation = 1
    return till.wire.ask(requests.merge(Live(reserve(), 60, 60_000, False), epoch, charge))


def test_a_doubtful_charge_waits_until_it_is_cleared(till: Till) -> None:
    till.fund(10**6)
    assert settle_doubtful(till) == [b"DOUBT"]
    assert say_over(till) == [b"MERGED"]
    assert till.redis.hgetall(till.partition.said) == {"c t": "1000"}
    assert till.money() == (10**6, 60_000)
    assert settle_doubtful(till) == [b"DOUBT"]
    assert clear(till, "1") == [b"CLEARED"]
    assert settle_doubtful(till) == [b"CLOSED"]
    assert till.money() == (10**6 - 1_000, 0)
    assert clear(till, "1") == [b"DONE"], "its charge is on its way"
    assert settle_doubtful(till) == [b"DONE"]
    assert till.redis.hgetall(till.partition.said) == {}


def test_a_charge_that_is_booked_is_not_taken_and_holds_nothing(till: Till) -> None:
    till.fund(10**6)
    say_over(till)
    assert mark(till, "1") == [b"MARKED"]
    assert till.money() == (10**6, 0)
    assert till.redis.zcard(till.partition.leases) == 0
    assert settle_doubtful(till) == [b"BOOKED"]
    assert till.say(Release("c", "t", b"{}")) == [b"BOOKED"]
    assert say_over(till) == [b"DONE"]
    assert 0 < till.redis.ttl(till.partition.call("c")) <= 60
    assert till.redis.xlen(till.partition.outbox) == 0


def test_what_a_sweep_had_charged_is_not_charged_again(till: Till) -> None:
    till.fund(10**6)
    say_over(till, 9_000)
    assert mark(till, "1", "sweep", 4_000, 4) == [b"MARKED"]
    assert settle_doubtful(till, 9_000) == [b"CLOSED"]
    assert till.money() == (10**6 - 5_000, 0)


def test_only_while_it_is_counted_a_marker_is_replaced(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve())
    till.say(Settle("c", "t", 1, 1_000, b"{}"))
    assert mark(till, "1") == [b"DONE"]
    till.redis.set(till.partition.epoch, "1 counting")
    assert (mark(till, "1"), clear(till, "1")) == ([b"STALE"], [b"STALE"])
    assert say_over(till, epoch="1 rebuilding") == [b"STALE"]
    assert clear(till, "1 counting") == [b"CLEARED"]
    till.redis.set(till.partition.epoch, "1")
    assert say_over(till) == [b"MERGED"]
    assert settle_doubtful(till) == [b"CLOSED"]


def test_what_has_no_lease_is_not_counted_as_held(till: Till) -> None:
    till.fund(10**6)
    till.say(reserve())
    till.redis.delete(till.partition.leases)
    till.redis.hset(till.account, mapping={"held": 0, "calls": 0})  # as a rebuild counts it
    for _ in range(2):
        assert till.say(Live(reserve(), 60, 60_000, False)) == [b"MERGED"]
        assert till.money() == (10**6, 60_000)
        assert till.redis.hget(till.account, "calls") == "1"


def test_money_out_of_an_older_epoch_is_forgotten(till: Till) -> None:
    till.fund(10**6)
    keys = [till.partition.epoch, till.account, till.partition.withdrawal("w"), till.partition.outbox]
    for epoch, left in (("1", 999_990), ("1", 999_990), ("2", 999_980)):
        till.redis.set(till.partition.epoch, epoch)
        taken = till.wire.call(lua.WITHDRAW, keys, [epoch, "w t", 10, "1", b"{}"])
        assert taken == [b"TAKEN", 10, left, int(epoch)]
    till.redis.set(till.partition.epoch, "3 counting")
    remembered = till.wire.call(lua.WITHDRAWN, [keys[0], keys[2]], ["3 counting", 3, 10, 60])
    assert remembered == [b"REMEMBERED"]
    till.redis.set(till.partition.epoch, "3")
    assert till.wire.call(lua.WITHDRAW, keys, ["3", "w t", 10, "1", b"{}"]) == [b"TAKEN", 10, 999_980, 3]


def test_an_account_is_restored_only_while_it_is_counted(till: Till) -> None:
    till.fund(10**6)
    keys = [till.partition.epoch, till.account]
    assert till.wire.call(lua.RESTORE, keys, ["1 counting", 5, 3, 1, 9]) == [b"STALE"]
    till.redis.set(till.partition.epoch, "1 counting")
    assert till.wire.call(lua.RESTORE, keys, ["1 counting", -5, 3, 1, 9]) == [b"RESTORED"]
    assert till.redis.hgetall(till.account) == {"balance": "-5", "held": "3", "calls": "1", "applied": "9"}
