"""Limits beside what is counted against them, and until when."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.admin.limits import limits_document
from gateway.credit.views import AccountView, Counters
from policy.directory import CountedLimits, Tenant, TenantLimits, Trunk, User

HOURLY = CountedLimits(spend_per_hour_micros=5)
LIMITS = TenantLimits(max_calls=3, spend_per_day_micros=9, spend_per_month_micros=8, classes=(("premium", HOURLY),))
PBX = Trunk("pbx", "access", tenant="t", limits=CountedLimits(max_calls=2))


def shown(now: datetime, zone: str, counters: Counters = Counters(), *users: User) -> dict[str, Any]:  # noqa: B008
    tenant = Tenant("t", time_zone=zone, limits=LIMITS)
    return limits_document(
        tenant, users, [PBX], AccountView("t", 0, 0, 0, 1, exists=True), counters, int(now.timestamp() * 1000)
    )


@pytest.mark.parametrize(
    ("zone", "now", "hour", "day", "month"),
    [
        ("UTC", "2026-12-31T23:59:59", "2027-01-01T00:00", "2027-01-01T00:00", "2027-01-01T00:00"),
        ("Asia/Kathmandu", "2026-02-27T18:20:00", "2026-02-27T19:15", "2026-02-28T18:15", "2026-02-28T18:15"),
        ("Europe/Berlin", "2026-03-29T00:30:00", "2026-03-29T01:00", "2026-03-29T22:00", "2026-03-31T22:00"),
        ("Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T02:00", "2026-10-25T23:00", "2026-10-31T23:00"),
    ],
)
def test_a_period_ends_in_the_tenants_zone(zone: str, now: str, hour: str, day: str, month: str) -> None:
    rows = shown(datetime.fromisoformat(now).replace(tzinfo=UTC), zone)["limits"]
    until = {row["scope"]: row["until"][:16] for row in rows if row["until"]}
    assert until == {"tenant/day": day, "tenant/month": month, "class/premium/hour": hour}


def test_each_limit_stands_once_with_what_is_used() -> None:
    counters = Counters(
        spent={("tenant/day", "2026-11-30"): 4, ("tenant/day", "2026-11-29"): 7},
        live={"trunk/pbx": 2},
        closed={("+882", "2026-11-30"): 0, ("+883", "2026-11-29"): 0},
    )
    user = User("u", "t", limits=TenantLimits(calls_per_second=1))
    page = shown(datetime(2026, 11, 30, 12, tzinfo=UTC), "UTC", counters, user, User("v", "t"))
    assert [(row["scope"], row["most"], row["used"]) for row in page["limits"]] == [
        ("tenant", 3, 1),
        ("tenant/day", "0.000009", "0.000004"),
        ("tenant/month", "0.000008", "0.000000"),
        ("class/premium/hour", "0.000005", "0.000000"),
        ("trunk/pbx", 2, 2),
        ("user/u", 1, None),
    ]
    (closed,) = page["closed"]
    assert (closed["scope"], closed["until"]) == ("range/+882", "2026-12-01T00:00:00.000Z")
