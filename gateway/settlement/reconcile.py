"""Does the money add up?  Ledger = Redis + outbox, for each tenant (MONEY 1)."""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger


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
        return not (
            self.drift_micros or self.records_drift_micros or self.postings_drift_micros or self.accounts_drift_micros
        )


async def reconcile(ledger: Ledger, credit: CreditAdmin, tenant_ids: Collection[str] | None = None) -> list[Drift]:
    """Compare ledger, Redis, outbox and call records of these tenants (None: all), while calls may be running.

    One row for each tenant, also where all is well.  Raises UnknownTenant, LedgerAway or StoreError.
    """
    raise NotImplementedError
