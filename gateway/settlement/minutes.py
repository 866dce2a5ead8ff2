"""A tenant's pools of minutes, and telling it when they are used to 80 and to 100 per cent (DOMAIN 5).

What a pool has is policy's to say, from licences; what is used of it stands in the ledger's counters.  A settler looks
at all tenants whose use has changed, and works their pools out again only when the directory has changed.
"""

import time
from collections.abc import Mapping

from gateway.config.facts import policy_facts
from gateway.ledger import Ledger
from gateway.settlement.notify_pools import pool_notices
from policy.directory import Tenant
from policy.funds import Funds, Holder, Place, all_pools, index_funds, personal, pools_by_name
from policy.terms import month_of
from policy.verdict import Pool


async def tenant_pools(ledger: Ledger, tenant: Tenant) -> tuple[Pool, ...]:
    """The pools of one tenant, by name.  Raises LedgerAway."""
    funds = await _funds(ledger, tenant)
    found = pools_by_name(each for each in funds.values() if not each.personal)
    for holder, each in funds.items():
        for id_ in await ledger.holder_ids(holder) if each.personal else ():
            found.update({pool.name: pool for pool in personal(all_pools(each), id_)})
    return tuple(found[name] for name in sorted(found))


async def _funds(ledger: Ledger, tenant: Tenant) -> dict[Holder, Funds]:
    """What each group of a tenant's users is paid from; the database counts the groups, and no user is read."""
    place = Place(tenant.country, tenant.purchased)
    return index_funds(await ledger.holders(tenant.id), {tenant.id: place}, policy_facts())


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
            pools = pools_by_name((await _funds(self._ledger, tenant)).values())
            self._totals[tenant.id] = {name: pool.total_minutes for name, pool in pools.items()}
        fields = (field.split(" ") for field in used)
        minutes = {pool: used[f"used {pool} {label}"] for _, pool, label in fields if label == month}
        totals = {pool: self._total(tenant.id, pool) for pool in minutes}
        notices = list(pool_notices(tenant.id, month, totals, minutes, now_ms))
        if notices:
            await self._ledger.add_notices(notices)

    def _total(self, tenant_id: str, pool: str) -> int:
        """Minutes of a pool in a month; one that is a user's alone is known without the user's id at its end."""
        totals = self._totals[tenant_id]
        return totals.get(pool) or totals.get(pool.rpartition("/")[0] + "/", 0)
