"""Starts a settler for each line on standard input and says its process id: forked, so that it works after 30 ms.

Arguments: the URLs of ledger and Redis, the number of partitions, and ``hasty`` for one that hardly rests, so that a
kill nearly always finds it between two steps.
"""

import asyncio
import os
import signal
import sys

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.settlement import Settler, settler
from gateway.telemetry.logs import configure

HASTY_S = 0.003


async def settle(ledger_url: str, url: str, partitions: str) -> None:
    credit = CreditAdmin(url, partitions=int(partitions), timeout_s=2.0)
    async with Ledger(ledger_url) as ledger:
        await Settler(ledger, credit).run(asyncio.Event())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no waiting for
    configure("info", "json", "settler")
    ledger_url, url, partitions, pace = sys.argv[1:]
    if pace == "hasty":
        settler.BOOK_S = settler.WATCH_S = HASTY_S
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(settle(ledger_url, url, partitions))
        print(pid, flush=True)


main()
