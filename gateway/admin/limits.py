"""A tenant's limits beside what is counted against them now: what ``callgate limits`` shows.

Each limit is a row: its scope (policy.limits), what it limits, the most, what is used (money reserved and spent
together) and until when it counts, None for live calls and rates.  Of users only those with limits are shown.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from gateway.admin.documents import Document
from gateway.credit.views import AccountView, Counters
from gateway.moments import iso_utc
from policy.directory import Tenant, Trunk, User
from policy.limits import UNLIMITED, at_night, call_limits
from policy.terms import QUARTER_MS, hour_label, period_label
from policy.verdict import Limits
from rating.money import format_amount


def limits_document(
    tenant: Tenant,
    users: Sequence[User],
    trunks: Sequence[Trunk],
    account: AccountView,
    counters: Counters,
    now_ms: int,
) -> Document:
    """All limits of a tenant in each scope that has one, and the ranges that are closed today."""
    hour = hour_label(tenant.time_zone, now_ms // QUARTER_MS)
    rows = [
        row
        for limits in _by_scope(tenant, users, trunks)
        for row in _rows(limits, account, counters, tenant.time_zone, hour, now_ms)
    ]
    today = period_label("range/day", hour)
    until = iso_utc(_end_ms(tenant.time_zone, "day", now_ms))
    return {
        "tenant": tenant.id,
        "currency": tenant.currency,
        "limits": list({(row["scope"], row["limits"]): row for row in rows}.values()),
        "closed": [
            {"scope": f"range/{prefix}", "closed_at": iso_utc(at_ms), "until": until}
            for (prefix, day), at_ms in sorted(counters.closed.items())
            if day == today
        ],
    }


def _by_scope(tenant: Tenant, users: Sequence[User], trunks: Sequence[Trunk]) -> Iterator[Limits]:
    yield call_limits(tenant)
    if tenant.limits.night is not None:
        yield at_night(UNLIMITED, tenant.limits.night)
    for name, _ in tenant.limits.classes:
        yield call_limits(tenant, number_class=name)
    for trunk in trunks:
        yield call_limits(tenant, trunk=trunk)
    for user in users:
        yield call_limits(tenant, user)


def _rows(
    limits: Limits, account: AccountView, counters: Counters, zone: str, hour: str, now_ms: int
) -> Iterator[Document]:
    if limits.max_calls is not None:
        yield _row("tenant", "live calls", limits.max_calls, account.calls)
    if limits.calls_per_second is not None:
        yield _row("tenant", "calls a second", limits.calls_per_second)
    for live in limits.live:
        yield _row(live.scope, "live calls", live.most_calls, counters.live.get(live.scope, 0))
    for rate in limits.rate:
        yield _row(rate.scope, "calls a second", rate.per_second)
    for spend in limits.spend:
        scope = f"{spend.scope}/{spend.period}"
        used = counters.spent.get((scope, period_label(scope, hour)), 0)
        until = iso_utc(_end_ms(zone, spend.period, now_ms))
        yield _row(scope, "money", format_amount(spend.most_micros), format_amount(used), until)


def _row(scope: str, limits: str, most: int | str, used: int | str | None = None, until: str | None = None) -> Document:
    return {"scope": scope, "limits": limits, "most": most, "used": used, "until": until}


def _end_ms(zone: str, period: str, now_ms: int) -> int:
    """When the hour, day or month of a moment is over, in that zone."""
    quarter = now_ms // QUARTER_MS
    if period == "hour":  # the one that is repeated when clocks are set back is one hour of the counters
        label = hour_label(zone, quarter)
        return next(each for each in count(quarter) if hour_label(zone, each) != label) * QUARTER_MS
    now = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(zone))
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return int((start + timedelta(days=1)).timestamp()) * 1000
    return int((start.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()) * 1000
