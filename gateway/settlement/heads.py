"""Once a day: are yesterday's heads still in the ledger, and keep today's (gateway.ledger.heads)."""

import asyncio
import time

from gateway.ledger import Head, HeadFiles, HeadsError, Ledger
from gateway.telemetry.logs import get_logger

log = get_logger("settlement")


async def keep_heads(ledger: Ledger, files: HeadFiles) -> bool:
    """Write the day's file where there is none yet; whether it did.  Raises LedgerAway.

    A ledger that has lost a line, and a file that cannot be read or written, are told of; the day's heads are kept
    all the same, since the older files still say what was.
    """
    now_ms = time.time_ns() // 1_000_000
    try:
        if not await asyncio.to_thread(files.is_due, now_ms):
            return False
        await _compare(ledger, files)
        await asyncio.to_thread(files.write, await ledger.heads(), now_ms)
    except (OSError, HeadsError) as error:
        log.error("heads of the ledger are not kept", why=str(error))
        return False
    return True


async def _compare(ledger: Ledger, files: HeadFiles) -> None:
    kept = await asyncio.to_thread(_newest, files)
    for head in await ledger.lost_heads(kept):
        do = "run `callgate ledger verify`"
        log.error("ledger was changed: a line is not there any more", tenant=head.tenant_id, line=head.seq, do=do)


def _newest(files: HeadFiles) -> tuple[Head, ...]:
    days = files.days()
    try:
        return files.read(days[-1]).heads if days else ()
    except HeadsError as error:
        log.error("heads of the ledger cannot be compared", why=str(error))
        return ()
