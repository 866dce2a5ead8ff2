"""Lots that are a year old: what is left of them is forfeited, by the way that all money out goes (MONEY 4).

A lot is looked at LATE_MS after it expired, and only where no charge of its tenant from before that waits in the
outbox, so that every call that ended in time has used what it could of it.  Redis gives at most what is available:
never what live calls hold.  What it could not give is asked for again, under the number of the next part; each part is
taken once by its reference, which the lot and the number make.
"""

from typing import Final

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger, LotView, Source, WithdrawalEntry
from gateway.settlement.outbox import withdrawal_id, withdrawal_record
from gateway.telemetry.logs import get_logger
from rating.money import format_amount

LATE_MS: Final = 60_000
"""Clocks of gates and Redis are apart by less, and a call that ended is in the outbox by then."""

ACTOR: Final = "expiry"

log = get_logger("settlement")


async def expire_lots(ledger: Ledger, credit: CreditAdmin) -> bool:
    """Warn of lots that expire soon and forfeit those that have; whether there is more to do at once.

    Raises LedgerAway, StoreError, EpochPassed; said again it does what was missed, and nothing twice.
    """
    await ledger.warn_of_lots()
    last: LotView | None = None
    while found := await ledger.expired_lots(LATE_MS, last):
        for last in found:
            _, waiting = await credit.snapshot([last.tenant_id])
            if not any(entry.at_unix_ms <= last.expires_ms + LATE_MS for entry in waiting):
                await _forfeit(ledger, credit, last)
    return False


async def _forfeit(ledger: Ledger, credit: CreditAdmin, lot: LotView) -> None:
    tenant, reference = lot.tenant_id, f"expiry:{lot.seq}:{lot.parts + 1}"
    reason = f"lot {lot.seq} ({lot.reference}) expired"
    record = withdrawal_record(reference, "expiry", ACTOR, reason, lot.seq)
    charge_id = withdrawal_id(tenant, reference)
    taken = await credit.withdraw(tenant, charge_id, lot.remaining_micros, record)
    if not taken.taken_micros:
        return
    origin = f"expiry/{charge_id}"
    entry = WithdrawalEntry(reference, tenant, taken.taken_micros, "expiry", ACTOR, origin, reason, lot.seq)
    await ledger.book([entry], Source(taken.epoch))
    left = format_amount(lot.remaining_micros - taken.taken_micros)
    log.info("lot forfeited", tenant=tenant, lot=lot.seq, amount=format_amount(taken.taken_micros), left=left)
