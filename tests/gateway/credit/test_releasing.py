"""Room under a limit before its time: a spending limit that is released."""

from typing import Any

from gateway.call.commands import Reserve, Settle
from gateway.credit import lua
from policy.terms import write_terms
from policy.verdict import Limits, SpendLimit

from .test_drawing import HOUR, SECONDS, Till
from .test_drawing import till as till


def test_a_spending_limit_counts_anew_what_live_calls_hold(till: Till) -> None:
    till.fund(10**9)
    counters, leases, bucket = till.tenant.counters, till.partition.leases, "tenant/day 2026-11-30"
    terms = write_terms((), (SpendLimit("tenant", "day", 10**6),), (), 0, "UTC")
    for call in ("a", "b"):
        till.say(Reserve(call, "t", SECONDS, 10, 30, Limits(), b"", b"{}", terms=terms, hour=HOUR))
    till.say(Settle("a", "t", 10_000, 10_000, b"{}"))
    till.redis.hset(till.partition.call("gone"), "done", "settle")

    def anew(*calls: str) -> list[Any]:
        places = [till.partition.epoch, counters, leases, *(till.partition.call(call) for call in calls)]
        reply: list[Any] = till.wire.call(lua.ANEW, places, ["1", "t", bucket, *(f"{call} t" for call in calls)])
        return reply

    assert anew() == [b"AGAIN"]
    assert till.counters[f"spent {bucket}"] == 20_000
    assert anew("b", "gone") == [b"ANEW", 10_000, 10_000]
    assert till.counters[f"spent {bucket}"] == 10_000
    assert anew("b") == [b"ANEW", 0, 10_000]
    till.say(Settle("b", "t", 10_000, 10_000, b"{}"))
    assert anew() == [b"ANEW", 10_000, 20_000]
