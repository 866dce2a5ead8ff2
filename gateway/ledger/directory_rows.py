"""What policy knows of tenants, users and numbers, made of the rows of the ledger's tables.

Nearly all users share a few sets of licences, limits and dial plans, so their JSON texts are read once each, and users
with the same text have the very same value.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sqlalchemy.engine import RowMapping

from gateway.ledger.tables import tenants, users
from policy.directory import NO_LIMITS, CountedLimits, DialRule, Night, ServiceNumber, Tenant, TenantLimits, User
from policy.funds import Purchased
from policy.unassigned import UnassignedRule

TEXTS_KEPT = 10_000
"""JSON texts whose values are remembered."""


@lru_cache(TEXTS_KEPT)
def _limits(text: str) -> TenantLimits:
    values = json.loads(text)
    for name in ("blocked_prefixes", "open_high_risk"):
        if name in values:
            values[name] = tuple(values[name])
    if "night" in values:
        night = values["night"]
        values["night"] = Night(**night | {"blocked_prefixes": tuple(night.get("blocked_prefixes", ()))})
    if "classes" in values:
        values["classes"] = tuple((name, CountedLimits(**each)) for name, each in values["classes"])
    return TenantLimits(**values) if values else NO_LIMITS


@lru_cache(TEXTS_KEPT)
def _dial_plan(text: str) -> tuple[DialRule, ...]:
    return tuple(DialRule(*rule) for rule in json.loads(text))


@lru_cache(TEXTS_KEPT)
def licences_of(text: str) -> tuple[str, ...]:
    """A JSON list of licences."""
    return tuple(json.loads(text))


TENANT_COLUMNS = tuple(tenants.c[field.name] for field in fields(Tenant))
"""Only what policy needs: whom to tell, whose addresses hold secrets, is in no worker's memory or snapshot."""


def tenant_of(row: RowMapping) -> Tenant:
    """A row of TENANT_COLUMNS."""
    return Tenant(
        id=row["id"],
        name=row["name"],
        country=row["country"],
        currency=row["currency"],
        mode=row["mode"],
        credit_limit_micros=row["credit_limit_micros"],
        rate_deck=row["rate_deck"],
        licensing=row["licensing"],
        dial_out_policy=row["dial_out_policy"],
        failure_policy=row["failure_policy"],
        time_zone=row["time_zone"],
        limits=_limits(row["limits"]),
        dial_plan=_dial_plan(row["dial_plan"]),
        purchased=tuple(Purchased(sku, country, count) for sku, country, count in json.loads(row["purchased"])),
        unassigned=tuple(UnassignedRule(pattern, target) for pattern, target in json.loads(row["unassigned"])),
        conference_overage=row["conference_overage"],
    )


USER_COLUMNS = (
    users.c.id, users.c.tenant_id, users.c.number, users.c.name, users.c.usage_location, users.c.licences,
    users.c.dial_out_policy, users.c.blocked, users.c.barred_toll_free, users.c.spend_limit_per_month_micros,
    users.c.limits, users.c.dial_plan,
)  # fmt: skip
"""As the fields of User, so that a hundred thousand users are made without a look at a column's name."""


def user_of(row: Sequence[Any]) -> User:
    """A row of USER_COLUMNS."""
    id_, tenant_id, number, name, location, licences, policy, blocked, barred, spend, limits, dial_plan = row
    return User(
        id_, tenant_id, number or "", name, location, licences_of(licences), policy, blocked, barred, spend,
        _limits(limits), _dial_plan(dial_plan),
    )  # fmt: skip


def service_number_of(row: RowMapping) -> ServiceNumber:
    """A whole row of ``service_numbers``."""
    return ServiceNumber(
        number=row["number"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        serves=row["serves"],
        deliver_to=row["deliver_to"],
        licences=licences_of(row["licences"]),
        organiser=row["organiser"],
    )
