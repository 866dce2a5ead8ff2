"""Which limits a call is counted against: its tenant's, its user's, its number class's and its trunk's.

Each is counted in a scope of its own beside the tenant's account, so that the reserve script checks and moves all of
them at once with the money (MONEY 3), and a refusal can say whose limit it was.  Two tenants that call from one trunk
are counted apart: their accounts may stand in two partitions, and no script touches both.

| scope | counts |
|---|---|
| ``tenant`` | every call of the tenant |
| ``user/ID`` | calls of the user to the outside and to colleagues |
| ``class/NAME`` | the tenant's calls to numbers of that class (policy.plan) outside |
| ``trunk/NAME`` | the tenant's calls that come in by that access trunk |
| ``night`` | calls to the outside that began at night |
| ``range/PREFIX`` | different numbers with these first digits that the tenant called within an hour |
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from policy.directory import NO_LIMITS, NOT_COUNTED, CountedLimits, Night, Tenant, Trunk, User
from policy.terms import QUARTER_MS, hour_label, minute_of
from policy.verdict import Limits, LiveLimit, RateLimit, SpendLimit, Velocity

UNLIMITED: Final = Limits()

NO_USER: Final = User(id="", tenant_id="")
"""Stands for the user where the call is nobody's in particular."""

NO_TRUNK: Final = Trunk("", "carrier")
"""Stands for the trunk where it limits nothing."""


def call_limits(tenant: Tenant, user: User = NO_USER, trunk: Trunk = NO_TRUNK, number_class: str = "") -> Limits:
    """The limits that the reserve script checks with the money; ``number_class`` is empty for a number of one's own."""
    limits, own = tenant.limits, not _is_open(user.limits) or user.spend_limit_per_month_micros is not None
    spend = () if _is_open(limits) else tuple(_spend("tenant", limits, limits.spend_per_month_micros))
    if not (own or limits.classes or trunk.limits is not NOT_COUNTED):  # nearly every call, and the fastest
        return UNLIMITED if _is_open(limits) else Limits(limits.max_calls, limits.calls_per_second, spend)
    scopes = list(_scopes(tenant, user if own else NO_USER, trunk, number_class))
    return Limits(
        limits.max_calls,
        limits.calls_per_second,
        (*spend, *_spends(user, scopes)),
        tuple(LiveLimit(scope, each.max_calls) for scope, each in scopes if each.max_calls is not None),
        tuple(RateLimit(scope, each.calls_per_second) for scope, each in scopes if each.calls_per_second is not None),
    )


def _is_open(limits: CountedLimits) -> bool:
    """Compared only where it is not the very one that nearly everybody has."""
    return limits is NO_LIMITS or limits == NO_LIMITS


Scoped = tuple[str, CountedLimits]


def _scopes(tenant: Tenant, user: User, trunk: Trunk, number_class: str) -> Iterator[Scoped]:
    if user.id:
        yield f"user/{user.id}", user.limits
    for name, limits in tenant.limits.classes:
        if name == number_class:
            yield f"class/{name}", limits
    if trunk.limits is not NOT_COUNTED:
        yield f"trunk/{trunk.name}", trunk.limits


def _spends(user: User, scopes: list[Scoped]) -> Iterator[SpendLimit]:
    for scope, limits in scopes:
        monthly = limits.spend_per_month_micros
        if limits is user.limits:
            monthly = least(monthly, user.spend_limit_per_month_micros)
        yield from _spend(scope, limits, monthly)


def _spend(scope: str, limits: CountedLimits, monthly_micros: int | None) -> Iterator[SpendLimit]:
    if limits.spend_per_hour_micros is not None:
        yield SpendLimit(scope, "hour", limits.spend_per_hour_micros)
    if limits.spend_per_day_micros is not None:
        yield SpendLimit(scope, "day", limits.spend_per_day_micros)
    if monthly_micros is not None:
        yield SpendLimit(scope, "month", monthly_micros)


def is_night(tenant: Tenant, at_unix_ms: int) -> bool:
    """Whether the tenant's night rule holds."""
    night = tenant.limits.night
    return night is not None and night.holds(minute_of(tenant.time_zone, at_unix_ms))


def at_night(limits: Limits, night: Night) -> Limits:
    """The same, with what may be spent an hour on calls that begin at night."""
    if night.spend_per_hour_micros is None:
        return limits
    return replace(limits, spend=(*limits.spend, SpendLimit("night", "hour", night.spend_per_hour_micros)))


def watched(limits: Limits, tenant: Tenant, number: str, at_unix_ms: int) -> Limits:
    """The same, with what a call to the outside is watched for where the tenant wants it: nights, and how many numbers
    of one range are called."""
    if tenant.limits.night is not None and is_night(tenant, at_unix_ms):
        limits = at_night(limits, tenant.limits.night)
    most = tenant.limits.numbers_per_range_per_hour
    if most is None:
        return limits
    day = hour_label(tenant.time_zone, at_unix_ms // QUARTER_MS)[:DAY_DIGITS]
    return replace(limits, velocity=Velocity(number[: tenant.limits.range_digits + 1], number, most, day))


DAY_DIGITS: Final = 10
"""``2026-11-30``."""


def least(*limits: int | None) -> int | None:
    """The lowest of those that are set; None: none is."""
    return min((limit for limit in limits if limit is not None), default=None)
