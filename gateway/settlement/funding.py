"""Money in and out, in the one order that loses nothing (MONEY 4): what ``callgate fund`` and the API call.

Money in stands in the ledger before Redis hears of it, and Redis applies it once by its ledger sequence number; where
Redis is away it is applied by the settler when it is back.  Money out leaves Redis first, so that no call can be
granted it meanwhile, and reaches the ledger through the outbox; it is booked here as well, at once, since the outbox
entry is then found to be booked already.
"""

from dataclasses import dataclass, replace
from typing import cast

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.ledger import (
    AmountRefused,
    Booked,
    EpochPassed,
    FundingKind,
    Ledger,
    LedgerAway,
    NotEnoughAvailable,
    Source,
    WithdrawalEntry,
    check_reason,
)
from gateway.settlement.accounts import apply_money_in
from gateway.settlement.outbox import withdrawal_id, withdrawal_record
from gateway.telemetry.logs import get_logger
from rating.money import format_amount

log = get_logger("settlement")


@dataclass(frozen=True, slots=True)
class FundingOutcome:
    """``booked`` is the ledger's line.  ``applied``: Redis knows of it; else it is told as soon as it is back."""

    booked: Booked
    applied: bool


async def fund(
    ledger: Ledger,
    credit: CreditAdmin,
    tenant_id: str,
    amount_micros: int,
    reference: str,
    *,
    kind: str = "manual",
    actor: str = "",
    reason: str = "",
) -> FundingOutcome:
    """Book money once by its reference, without blanks around it (MONEY 9), and let calls have it.

    Raises LedgerAway (nothing was booked; of money out its text says whether it waits in the outbox), UnknownTenant,
    ReferenceConflict, AmountRefused, and for money out NotEnoughAvailable or StoreError (nothing was taken).
    """
    reference = reference.strip()  # two that differ in blanks look the same on every list
    if amount_micros < 0:
        return await _withdraw(ledger, credit, tenant_id, amount_micros, reference, kind, actor, reason)
    booked = await ledger.fund(tenant_id, amount_micros, reference, kind, actor, reason)
    try:
        await apply_money_in(ledger, credit, tenant_id)
    except (StoreError, LedgerAway) as error:
        log.warning("money is booked, Redis will be told later", tenant=tenant_id, why=str(error))
        return FundingOutcome(booked, applied=False)
    return FundingOutcome(booked, applied=True)


async def _withdraw(
    ledger: Ledger,
    credit: CreditAdmin,
    tenant_id: str,
    amount_micros: int,
    reference: str,
    kind: str,
    actor: str,
    reason: str,
) -> FundingOutcome:
    check_reason(reason)
    known = await ledger.find_funding(tenant_id, amount_micros, reference, kind)
    if known:
        return FundingOutcome(known, applied=True)
    funding_kind = cast(FundingKind, kind)  # find_funding has checked it
    charge_id, record = withdrawal_id(tenant_id, reference), withdrawal_record(reference, funding_kind, actor, reason)
    taken = await credit.withdraw(tenant_id, charge_id, -amount_micros, record, exact=True)
    if taken.taken_micros == 0:
        account = await credit.account(tenant_id)
        raise NotEnoughAvailable(
            f"{format_amount(-amount_micros)} cannot be taken: {format_amount(account.available_micros)} is available",
            "take less, or wait until live calls give back what they hold",
        )
    if taken.taken_micros != -amount_micros:
        raise AmountRefused(
            f"reference {reference!r} has already taken {format_amount(taken.taken_micros)}",
            "choose a new reference, or repeat the first amount",
        )
    entry = WithdrawalEntry(reference, tenant_id, -amount_micros, funding_kind, actor, f"fund/{charge_id}", reason)
    try:
        await ledger.book([entry], Source(taken.epoch))
        booked = await ledger.find_funding(tenant_id, amount_micros, reference, kind)
    except LedgerAway as error:
        raise LedgerAway(
            f"the money has left Redis, but {error.what}", "the settler books it when it is back"
        ) from error
    except EpochPassed as error:
        raise StoreError(
            "Redis is being rebuilt: whether the money was taken is not known yet; say it again, same reference"
        ) from error
    assert booked is not None, "a reference is booked, or find_funding says with what it conflicts"
    return FundingOutcome(replace(booked, repeated=False), applied=True)
