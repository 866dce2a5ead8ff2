"""Is Redis whole?  What tells that it lost its memory, or part of it, or is one from the past (MONEY 6).

The ledger remembers the highest epoch ever begun and the last outbox entry that was booked of each partition; Redis
must know both.  An emptied Redis knows neither; a replica, a backup or a cut-back file knows older ones.  Accounts that
are missing are evidence too, where money was ever taken from them.  What none of it shows is at most what the workers
say again by themselves, within the seconds that an append-only file may lack.

Looked for when a settler begins, when another run of Redis answers, when the newest epoch is not the one that was
opened, and when any request finds an epoch it did not expect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import epoch_number, is_open
from gateway.ledger import Ledger, LedgerAccount

NAMED: Final = 3
"""Tenants or partitions that a reason names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why Redis is to be rebuilt.  ``first``: no Redis was ever opened under this ledger, so nothing can be lost."""

    why: str
    first: bool = False


async def find_doubt(ledger: Ledger, credit: CreditAdmin) -> Doubt | None:
    """What speaks against this Redis; None where it is whole and open.  Raises LedgerAway or StoreError."""
    number, epochs = await ledger.redis_epoch(), await credit.epochs()
    if number == 0:
        number = await _adopt(ledger, credit, epochs)
        if number == 0 and not any(epochs):
            return Doubt("this Redis is new", first=True)
    why = _doubt_epochs(number, epochs)
    if not why and await credit.newest_epoch() != number:
        why = f"it does not know that epoch {number} is the newest"
    if not why:
        lost = await credit.lost_marks(await ledger.outbox_marks())
        why = f"it lacks writes of {_some([f'partition {each}' for each in lost])}" if lost else ""
    if not why:
        missing = await missing_accounts(ledger, credit, await ledger.accounts())
        why = f"it has no account of {_some(missing)}, who paid before" if missing else ""
    return Doubt(why) if why else None


def _doubt_epochs(number: int, epochs: Sequence[str]) -> str:
    """What the epochs tell, ``number`` being the highest that the ledger knows of."""
    if not any(epochs):
        return "it is empty"
    missing = sum(not each for each in epochs)
    if missing:
        return f"{missing} of {len(epochs)} partitions have no epoch: it lost part of its memory"
    older = sum(epoch_number(each) < number for each in epochs)
    if older:
        return f"{older} of {len(epochs)} partitions are in an epoch before {number}: it is one from the past"
    if any(epoch_number(each) > number for each in epochs):
        return f"it is in an epoch after {number}, which the ledger does not know of"
    shut = sum(not is_open(each) for each in epochs)
    return f"a rebuild was broken off: {shut} of {len(epochs)} partitions are not open" if shut else ""


async def _adopt(ledger: Ledger, credit: CreditAdmin, epochs: Sequence[str]) -> int:
    """Take over a Redis that was opened before the ledger remembered epochs; its number, or 0."""
    numbers = {epoch_number(each) for each in epochs}
    if len(numbers) != 1 or not all(map(is_open, epochs)):
        return 0
    (number,) = numbers
    await ledger.adopt_epoch(number)
    await credit.announce_epoch(number)
    return number


async def missing_accounts(ledger: Ledger, credit: CreditAdmin, accounts: Sequence[LedgerAccount]) -> list[str]:
    """Tenants whose account was lost: Redis has none, and they have paid, or have calls or charges there.

    A tenant that is new has none either, and is given one without more ado.
    """
    moved = [account.tenant_id for account in accounts if account.seq]
    absent = [view.tenant_id for view in await credit.accounts(moved) if not view.exists]
    if not absent:
        return []
    paid = await ledger.tenants_charged(absent)
    _, entries = await credit.snapshot(absent)
    paid |= {entry.tenant_id for entry in entries}
    for tenant_id in absent:
        if tenant_id not in paid and await credit.live_calls(tenant_id):
            paid.add(tenant_id)
    return [tenant_id for tenant_id in absent if tenant_id in paid]


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
