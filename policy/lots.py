"""Lots: each money in is a lot that lasts twelve months; what is spent is taken from the oldest (DOMAIN 2, 7).

The rule that everything here keeps: what is left of a tenant's lots adds up to its balance, or to nothing where the
balance is negative.  So a funding that meets a debt leaves a lot of what is above it, and a charge beyond the lots
takes nothing more from them.

A charge uses lots as they stood when its call ended, whenever it is booked: those bought by then and not expired,
oldest first.  Where they do not suffice, the call was paid by what it had reserved of a lot that expired meanwhile;
what is left after that is a debt, and lots bought later have paid it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

LIFE_YEARS: Final = 1
"""Unused money "will expire and be forfeited" after twelve months (MicrosoftDocs/OfficeDocs-SkypeForBusiness,
set-up-communications-credits)."""

WARN_MS: Final = 30 * 86_400_000
"""How long before it expires a tenant is told of a lot."""


@dataclass(slots=True)
class Lot:
    """One purchase of credit.  ``seq`` is the number of its line in the tenant's ledger; amounts in micro-units.

    ``purchased_ms`` and ``expires_ms`` are Unix milliseconds; ``remaining_micros`` ≥ 0 is what is left of it.
    """

    seq: int
    purchased_ms: int
    expires_ms: int
    remaining_micros: int


def expiry_of(purchased_ms: int) -> int:
    """The same moment twelve calendar months later in UTC; of 29 February the 28th.  Unix milliseconds."""
    whole_s, rest_ms = divmod(purchased_ms, 1000)
    bought = datetime.fromtimestamp(whole_s, UTC)
    day = 28 if (bought.month, bought.day) == (2, 29) else bought.day
    return int(bought.replace(year=bought.year + LIFE_YEARS, day=day).timestamp()) * 1000 + rest_ms


def worth_of(amount_micros: int, balance_micros: int) -> int:
    """What a new lot begins with: the amount less the debt that it paid.  ``balance_micros`` is the one after it."""
    return max(0, min(amount_micros, balance_micros))


def take(lots: Sequence[Lot], amount_micros: int, at_ms: int) -> list[Lot]:
    """Take what was spent at ``at_ms`` from ``lots`` (oldest first); those that changed.

    More than there is takes all of it: the rest is debt.
    """
    if lots and lots[0].remaining_micros >= amount_micros and lots[0].purchased_ms <= at_ms < lots[0].expires_ms:
        lots[0].remaining_micros -= amount_micros  # nearly every charge
        return [lots[0]]
    good = [lot for lot in lots if lot.purchased_ms <= at_ms < lot.expires_ms]
    expired = [lot for lot in lots if lot.expires_ms <= at_ms]
    later = [lot for lot in lots if at_ms < lot.purchased_ms]
    return _take(good + expired + later, amount_micros)


def forfeit(lots: Sequence[Lot], seq: int, amount_micros: int) -> tuple[list[Lot], int]:
    """Take what an expiry took from the lot ``seq``; those that changed, and what was taken beyond what it had.

    That happens where a charge used the lot after the expiry was asked for: the excess belongs to other lots, and is
    the tenant's.
    """
    mine = [lot for lot in lots if lot.seq == seq]
    excess = amount_micros - min(amount_micros, sum(lot.remaining_micros for lot in mine))
    return _take(mine, amount_micros - excess), excess


def _take(lots: Iterable[Lot], amount_micros: int) -> list[Lot]:
    changed = []
    for lot in lots:
        if not amount_micros:
            break
        if lot.remaining_micros:
            taken = min(amount_micros, lot.remaining_micros)
            lot.remaining_micros -= taken
            amount_micros -= taken
            changed.append(lot)
    return changed
