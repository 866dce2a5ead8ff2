"""Money in and out, in the one order that loses nothing (MONEY 4): what ``callgate fund`` and the API call.

Money in stands in the ledger before Redis hears of it, and Redis applies it once by its ledger sequence number; where
Redis is away it is applied by the settler when it is back.  Money out leaves Redis first, so that no call can be granted
it meanwhile, and reaches the ledger through the outbox; it is booked here as well, at once, since the outbox entry is
then found to be booked already.
"""

import hashlib
import json
from dataclasses import dataclass

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.orders import Funded
from gateway.ledger import Booked, Ledger, NotEnoughAvailable, WithdrawalEntry
from rating.money import format_amount


@dataclass(frozen=True, slots=True)
class FundingOutcome:
    """``booked`` is the ledger's line.  ``applied``: Redis knows of it; else it will be told as soon as it is back."""

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
) -> FundingOutcome:
    """Book money once by its reference (MONEY 9) and let calls have it.

    Raises LedgerAway (nothing was booked), UnknownTenant, ReferenceConflict, AmountRefused, and for money out
    NotEnoughAvailable or StoreError (nothing was taken).
    """
    raise NotImplementedError


async def apply_money_in(ledger: Ledger, credit: CreditAdmin, tenant_id: str) -> int:
    """Tell Redis of all money in of a tenant that it has not applied yet, in order; how many there were.

    Raises StoreError or LedgerAway.  May run in several processes at once.
    """
    raise NotImplementedError
