"""A tenant's pools of minutes, and telling it when they are used to 80 and to 100 per cent (DOMAIN 5).

What a pool has is policy's to say, from licences; what is used of it stands in the ledger's counters.  A settler looks
at all tenants whose use has changed, and works their pools out again only when the directory has changed.
"""

import time
from collections.abc import Mapping

from gateway.config.facts import policy_facts
from gateway.ledger import Ledger
from gateway.settlement.notify_pools import pool_notices
from policy.directory import Directory, Tenant
from policy.terms import month_of
from policy.verdict import Pool


async def tenant_pools(ledger: Ledger, tenant: Tenant) -> tuple[Pool, ...]:
    """The pools of one tenant, by name.  Raises LedgerAway.

    The directory made here has this one tenant and no deck, which would take seconds to read.
    """
    users, services = await ledger.users(tenant.id), await ledger.service_numbers(tenant.id)
    directory = Directory(
        tenants={tenant.id: tenant},
        users={(each.tenant_id, each.id): each for each in users},
        service_numbers={each.number: each for each in services},
        facts=policy_facts(),
    )
    return directory.pools_of(tenant.id)


class PoolWatch:
    """Tells tenants of pools that are used up or nearly so; what was told is the ledger's to remember."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._version = 0
        self._tenants: dict[str, Tenant] = {}
        self._totals: dict[str, dict[str, int]] = {}
        self._seen: dict[str, Mapping[str, int]] = {}

    async def look(self) -> None:
        """Look at the tenants whose use has changed since the last look.  Raises LedgerAway."""
        version = await self._ledger.directory_version()
        if version != self._version:
            self._tenants = {tenant.id: tenant for tenant in await self._ledger.tenants()}
            self._totals.clear()
            self._seen.clear()
            self._version = version
        for tenant_id, used in (await self._ledger.open_minutes()).items():
            tenant = self._tenants.get(tenant_id)
            if tenant is not None and self._seen.get(tenant_id) != used:
                await self._look_at(tenant, used)
                self._seen[tenant_id] = used

    async def _look_at(self, tenant: Tenant, used: Mapping[str, int]) -> None:
        now_ms = time.time_ns() // 1_000_000
        month = month_of(tenant.time_zone, now_ms)
        if tenant.id not in self._totals:
            pools = await tenant_pools(self._ledger, tenant)
            self._totals[tenant.id] = {pool.name: pool.total_minutes for pool in pools}
        totals = self._totals[tenant.id]
        minutes = {pool: used.get(f"used {pool} {month}", 0) for pool in totals}
        notices = list(pool_notices(tenant.id, month, totals, minutes, now_ms))
        if notices:
            await self._ledger.add_notices(notices)
