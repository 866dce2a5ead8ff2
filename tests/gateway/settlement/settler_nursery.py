"""Starts a settler for each line on standard input and says its process id: forked, so that it works after 30 ms.

Arguments: the data folder, the URL of Redis, the number of partitions.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.settlement import Settler, settler
from gateway.telemetry.logs import configure

settler.BOOK_S = settler.WATCH_S = 0.003
"""Hardly any rest, so that a kill nearly always finds it between two steps."""


async def settle(folder: str, url: str, partitions: str) -> None:
    credit = CreditAdmin(url, partitions=int(partitions), timeout_s=2.0)
    async with Ledger.open("embedded", Path(folder)) as ledger:
        await Settler(ledger, credit).run(asyncio.Event())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no waiting for
    configure("info", "json", "settler")
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(settle(*sys.argv[1:]))
        print(pid, flush=True)


main()
