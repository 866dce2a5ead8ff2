"""Does the money add up?  Ledger = Redis + outbox, for each tenant, while calls are running (MONEY 1).

Two stores cannot be read in one instant, so each tenant is read in the order ledger, Redis, ledger: Redis' part (its
balance and its outbox) is one atomic look at a partition, and it belongs to the ledger's part where the ledger's
sequence number was the same before and after.  A tenant that was booked in between is looked at again; the settler
books a few times a second, a look takes milliseconds.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.views import AccountView, OutboxEntry
from gateway.ledger import Ledger, LedgerAccount, Totals, UnknownTenant
from gateway.settlement.outbox import withdrawn_reference

LOOKS: Final = 50
"""How often a busy tenant is looked at before it is given up."""

DOUBTS: Final = 3
"""Glances in a row at which a tenant's balances differ before it is looked at: about a second."""

LOOK_PAUSE_S: Final = 0.02

TENANTS_AT_ONCE: Final = 500
"""Tenants of one look: enough to be quick, few enough that the look stays short."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One tenant's money as each place has it, in micro-units.

    ``expected_micros`` is what Redis' balance must be: the ledger's balance, less charges and withdrawals still in the
    outbox, less money in that Redis has not applied yet.  ``drift_micros`` is Redis' balance less that.
    ``records_drift_micros`` is what the call records charge less what the postings charge, ``postings_drift_micros``
    the ledger's balance less the sum of its postings, ``accounts_drift_micros`` the sum over the tenant's accounts.
    """

    tenant_id: str
    ledger_micros: int
    redis_micros: int
    held_micros: int
    outbox_micros: int
    unapplied_micros: int
    expected_micros: int
    drift_micros: int
    records_drift_micros: int = 0
    postings_drift_micros: int = 0
    accounts_drift_micros: int = 0

    @property
    def clean(self) -> bool:
        """True where everything adds up to the micro."""
        return not self.total_micros

    @property
    def total_micros(self) -> int:
        """All differences together, each counted as positive."""
        apart = (self.drift_micros, self.records_drift_micros, self.postings_drift_micros, self.accounts_drift_micros)
        return sum(abs(micros) for micros in apart)


async def reconcile(ledger: Ledger, credit: CreditAdmin, tenant_ids: Collection[str] | None = None) -> list[Drift]:
    """Compare ledger, Redis, outbox and call records of these tenants (None: all), while calls may be running.

    One row for each tenant, also where all is well.  Reads every posting and call record of the tenants.
    Raises UnknownTenant, LedgerAway or StoreError.
    """
    drifts = await compare(ledger, credit, tenant_ids)
    totals = {each.tenant_id: each for each in await ledger.totals(tenant_ids)}
    return [_with_totals(drift, totals[drift.tenant_id]) for drift in drifts]


def _with_totals(drift: Drift, totals: Totals) -> Drift:
    return replace(
        drift,
        records_drift_micros=totals.records_micros - totals.charged_micros,
        postings_drift_micros=totals.balance_micros - totals.postings_micros,
        accounts_drift_micros=totals.accounts_micros,
    )


async def compare(ledger: Ledger, credit: CreditAdmin, tenant_ids: Collection[str] | None = None) -> list[Drift]:
    """Only the balances of ledger and Redis, without reading every row.  Raises as :func:`reconcile`."""
    before = await ledger.accounts(tenant_ids)
    if tenant_ids is not None:
        known = {account.tenant_id for account in before}
        for tenant_id in tenant_ids:
            if tenant_id not in known:
                raise UnknownTenant(tenant_id)
    found: dict[str, Drift] = {}
    waiting = before
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_PAUSE_S)
            waiting = await ledger.accounts([account.tenant_id for account in waiting])
        for start in range(0, len(waiting), TENANTS_AT_ONCE):
            found |= await _look(ledger, credit, waiting[start : start + TENANTS_AT_ONCE])
        waiting = [account for account in waiting if account.tenant_id not in found]
        if not waiting:
            return [found[account.tenant_id] for account in before]
    busy = ", ".join(account.tenant_id for account in waiting[:5])
    raise StoreError(f"{len(waiting)} tenants ({busy}) were booked during every one of {LOOKS} looks: try again")


class DriftWatch:
    """Watches for drift all the time, at little cost: balances are compared at a glance, and only where they go on to
    differ is a tenant looked at in one instant.  A busy tenant differs at most glances, by charges that are just on
    their way; one that drifts differs at every glance."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin) -> None:
        self._ledger = ledger
        self._credit = credit
        self._doubts: Counter[str] = Counter()

    async def glance(self, accounts: Iterable[LedgerAccount], views: Iterable[AccountView]) -> list[Drift]:
        """The tenants that drift, from what ledger and Redis said one after the other.

        One that is booked during the look is left for the next glance.  Raises LedgerAway or StoreError.
        """
        differing = [
            account.tenant_id
            for account, view in zip(accounts, views, strict=True)
            if account.balance_micros != view.balance_micros or account.money_in_seq > view.applied_seq
        ]
        self._doubts = Counter({tenant_id: self._doubts[tenant_id] + 1 for tenant_id in differing})
        suspect = [tenant_id for tenant_id in differing if self._doubts[tenant_id] >= DOUBTS]
        found: dict[str, Drift] = {}
        for start in range(0, len(suspect), TENANTS_AT_ONCE):
            some = await self._ledger.accounts(suspect[start : start + TENANTS_AT_ONCE])
            found |= await _look(self._ledger, self._credit, some)
        drifting = [drift for drift in found.values() if drift.drift_micros]
        for tenant_id in found.keys() - {drift.tenant_id for drift in drifting}:
            del self._doubts[tenant_id]
        return drifting


async def _look(ledger: Ledger, credit: CreditAdmin, before: Sequence[LedgerAccount]) -> dict[str, Drift]:
    """The tenants that nobody booked during the look."""
    ids = [account.tenant_id for account in before]
    views, entries = await credit.snapshot(ids)
    outbox = await _unbooked(ledger, entries)
    unapplied = {
        view.tenant_id: await _unapplied(ledger, view, account) for view, account in zip(views, before, strict=True)
    }
    after = {account.tenant_id: account.seq for account in await ledger.accounts(ids)}
    return {
        account.tenant_id: _drift(account, view, outbox[account.tenant_id], unapplied[account.tenant_id])
        for view, account in zip(views, before, strict=True)
        if after[account.tenant_id] == account.seq
    }


async def _unapplied(ledger: Ledger, view: AccountView, account: LedgerAccount) -> int:
    if account.money_in_seq <= view.applied_seq:
        return 0
    waiting = await ledger.money_in_after(account.tenant_id, view.applied_seq)
    return sum(money.amount_micros for money in waiting if money.seq <= account.seq)


async def _unbooked(ledger: Ledger, entries: Iterable[OutboxEntry]) -> dict[str, int]:
    """Per tenant what stands in the outbox and not yet in the ledger."""
    charges: dict[str, OutboxEntry] = {}
    waiting: dict[str, int] = defaultdict(int)
    for entry in entries:
        reference = withdrawn_reference(entry)
        if reference is None:
            charges[entry.charge_id] = entry
        elif not await ledger.has_reference(entry.tenant_id, reference):
            waiting[entry.tenant_id] += entry.charge_micros
    booked = await ledger.booked_charges(charges)
    for charge_id, entry in charges.items():
        if charge_id not in booked:
            waiting[entry.tenant_id] += entry.charge_micros
    return waiting


def _drift(account: LedgerAccount, view: AccountView, outbox_micros: int, unapplied_micros: int) -> Drift:
    expected = account.balance_micros - outbox_micros - unapplied_micros
    return Drift(
        tenant_id=account.tenant_id,
        ledger_micros=account.balance_micros,
        redis_micros=view.balance_micros,
        held_micros=view.held_micros,
        outbox_micros=outbox_micros,
        unapplied_micros=unapplied_micros,
        expected_micros=expected,
        drift_micros=view.balance_micros - expected,
    )
