"""``reconcile --repair``: the rebuild, because a person asks for it (CONTRACT 2).

It is the same rebuild, carried out by whoever asks and not by the settler: the lock in the ledger lets only one lead,
and a settler beside it notices that the epoch has moved and settles in again, as it does after another one's rebuild.
So it works with a gate running, with none, and with a settler that hangs.
"""

import asyncio
import time
from typing import Final

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger, RebuildHeld
from gateway.settlement.accounts import settle_in
from gateway.settlement.rebuild import Rebuilt, rebuild

WAIT_S: Final = 10.0
"""How long another leader is waited for: a rebuild takes five seconds at most, a dead leader's lock three."""

WAIT_POLL_S: Final = 0.2


async def repair(ledger: Ledger, credit: CreditAdmin) -> Rebuilt:
    """Rebuild Redis from the ledger and live calls, and apply money in that was booked meanwhile.

    Raises RebuildHeld where another process goes on rebuilding for WAIT_S, LedgerAway or StoreError.
    """
    await ledger.migrate()
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            done = await rebuild(ledger, credit, "asked for by reconcile --repair")
            break
        except RebuildHeld:
            if time.monotonic() >= until_s:
                raise
            await asyncio.sleep(WAIT_POLL_S)
    await settle_in(ledger, credit)
    return done
