"""Which limits a call is counted against: its tenant's and its payer's, each in its own scope."""

import pytest

from policy.directory import NO_LIMITS, CountedLimits, Tenant, TenantLimits, Trunk, User
from policy.limits import call_limits
from policy.verdict import Limits, LiveLimit, RateLimit, SpendLimit

HOUR, DAY = SpendLimit("tenant", "hour", 1), SpendLimit("tenant", "day", 2)
OF_TENANT = TenantLimits(max_calls=5, calls_per_second=6, spend_per_hour_micros=1, spend_per_day_micros=2)
OF_USER = TenantLimits(max_calls=1, calls_per_second=2, spend_per_day_micros=3, spend_per_month_micros=9)


NONE = TenantLimits()


def limits(tenant: TenantLimits = NONE, user: TenantLimits = NONE, monthly: int | None = None) -> Limits:
    return call_limits(Tenant("t", limits=tenant), User("a@t", "t", limits=user, spend_limit_per_month_micros=monthly))


def test_without_limits_there_is_nothing_to_count() -> None:
    assert limits() == Limits()
    assert limits(TenantLimits(blocked_prefixes=("+1900",))) == Limits()


def test_a_tenants_limits() -> None:
    assert limits(OF_TENANT) == Limits(5, 6, (HOUR, DAY))


def test_a_users_limits_stand_beside_them() -> None:
    found = limits(OF_TENANT, OF_USER)
    assert found.spend == (HOUR, DAY, SpendLimit("user/a@t", "day", 3), SpendLimit("user/a@t", "month", 9))
    assert (found.live, found.rate) == ((LiveLimit("user/a@t", 1),), (RateLimit("user/a@t", 2),))


@pytest.mark.parametrize(("monthly", "most"), [(4, 4), (20, 9), (None, 9)])
def test_of_two_monthly_limits_the_lower_one_holds(monthly: int | None, most: int) -> None:
    assert limits(user=OF_USER, monthly=monthly).spend[-1] == SpendLimit("user/a@t", "month", most)


PREMIUM = CountedLimits(max_calls=2, spend_per_day_micros=20)
CLASSES = TenantLimits(classes=(("premium", PREMIUM), ("mobile", CountedLimits(calls_per_second=3))))
PBX = Trunk("pbx", "access", limits=CountedLimits(7, 8, 9))


def test_a_class_has_limits_of_its_own() -> None:
    tenant = Tenant("t", limits=CLASSES)
    premium = Limits(spend=(SpendLimit("class/premium", "day", 20),), live=(LiveLimit("class/premium", 2),))
    assert call_limits(tenant, number_class="premium") == premium
    assert call_limits(tenant, number_class="mobile") == Limits(rate=(RateLimit("class/mobile", 3),))
    assert call_limits(tenant, number_class="fixed") == call_limits(tenant) == Limits()


@pytest.mark.parametrize("limits", [NO_LIMITS, TenantLimits(), CLASSES])
def test_a_trunk_has_limits_of_its_own(limits: TenantLimits) -> None:
    found = call_limits(Tenant("t", limits=limits), User("a@t", "t"), PBX, "fixed")
    of_trunk = SpendLimit("trunk/pbx", "hour", 9), LiveLimit("trunk/pbx", 7), RateLimit("trunk/pbx", 8)
    assert (*found.spend, *found.live, *found.rate) == of_trunk
