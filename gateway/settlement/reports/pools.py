"""Minute pools of one month: the source's minute-pools report (DOMAIN 6).

Totals come from licences (policy), what is used from the ledger.  A pool that was used and that no licence makes any
more has a row too, without minutes; where licences went, more may be used than there is, and nothing is available.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.config.facts import policy_facts
from gateway.ledger import Ledger
from gateway.settlement.minutes import tenant_pools
from gateway.settlement.reports.table import Report, ReportColumn
from policy.facts import Facts
from policy.funds import INTERNATIONAL, ZONE_A_POOL
from policy.terms import month_of
from policy.verdict import Pool

COLUMNS: Final = (
    ReportColumn("Country or Region"),
    ReportColumn("Capability Description"),
    ReportColumn("Total Minutes", "whole"),
    ReportColumn("Minutes Used", "whole"),
    ReportColumn("Minutes Available", "whole"),
    ReportColumn("Capability"),
    ReportColumn("Month"),
    ReportColumn("Pool"),
)
"""The six of the source, then ours."""

ZONE_A: Final = "Outbound Calls to Zone A Countries"
"""What the source calls the pool that conferences dial out from."""


def pools_report(month: str, pools: Sequence[Pool], used: Mapping[str, int], names: Mapping[str, str]) -> Report:
    """The pools of ``month`` ("2026-11") by name; ``used`` are minutes by pool, ``names`` describe capabilities."""
    known = {pool.name: pool for pool in pools}
    every = sorted(known.keys() | used.keys())
    return Report("Minute pools", COLUMNS, [tuple(_row(name, month, known, used, names)) for name in every])


def _row(
    name: str, month: str, known: Mapping[str, Pool], used: Mapping[str, int], names: Mapping[str, str]
) -> Iterator[Any]:
    capability, country = (*name.split("/"), "")[:2]
    pool = known.get(name) or Pool(name, capability, "" if country == ZONE_A_POOL else country, 0)
    minutes = used.get(name, 0)
    yield pool.usage_country
    yield _description(pool, names)
    yield pool.total_minutes
    yield minutes
    yield max(0, pool.total_minutes - minutes)
    yield pool.capability
    yield month
    yield pool.name


def _description(pool: Pool, names: Mapping[str, str]) -> str:
    """As the source words it: ``Domestic and International Calling Plan (600 international minutes)``."""
    parts = pool.name.split("/")[1:]
    if ZONE_A_POOL in parts[:1]:
        return ZONE_A
    reach = INTERNATIONAL if INTERNATIONAL in parts[1:] else "domestic"
    return f"{names.get(pool.capability, pool.capability)} ({pool.total_minutes} {reach} minutes)"


async def minute_pools(ledger: Ledger, tenant_id: str, month: str, now_ms: int) -> Report:
    """A tenant's pools in a month of its time zone ("2026-11"; empty: now).  Raises UnknownTenant, LedgerAway."""
    tenant = await ledger.tenant(tenant_id)
    month = month or month_of(tenant.time_zone, now_ms)
    used = {each.pool: each.minutes for each in await ledger.pool_use(tenant_id, month)}
    return pools_report(month, await tenant_pools(ledger, tenant), used, _names(policy_facts()))


def _names(facts: Facts) -> dict[str, str]:
    """What licences of calling plans are called."""
    return {capability: plans[0].name for capability, plans in facts.plans.items()}
