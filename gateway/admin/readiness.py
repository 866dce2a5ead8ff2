"""Is the gate usable?  What ``/readyz`` says: Redis, ledger and SIP, each asked now, each named where it is not."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from gateway.admin.desk import Desk
from gateway.credit.admin import StoreError
from gateway.ledger import LedgerError

ASK_S: Final = 1.0
"""Away is noticed within a second (MONEY 7)."""
RUN_FOLDER: Final = "run"
"""Where the supervisor and its workers leave their run files, in the data folder (gateway.supervisor.folder)."""


async def unusable(desk: Desk) -> dict[str, str]:
    """What is not usable and why, by name (``redis``, ``ledger``, ``sip``); empty where all is well."""
    redis, ledger, sip = await asyncio.gather(
        _asked(desk.credit.ping(), StoreError), _asked(desk.ledger.ping(), LedgerError), _sip(desk)
    )
    return {name: why for name, why in (("redis", redis), ("ledger", ledger), ("sip", sip)) if why}


async def _asked(question: Awaitable[None], expected: type[Exception]) -> str:
    """Why the question has no good answer within ASK_S; empty where it has."""
    try:
        async with asyncio.timeout(ASK_S):
            await question
    except expected as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {ASK_S:g} s"
    return ""


async def _sip(desk: Desk) -> str:
    """Workers leave their process ids in the data folder; where none ever ran here, Redis knows who is alive."""
    run = desk.settings.data_dir / RUN_FOLDER
    wanted = range(desk.settings.sip.workers)
    if (run / "worker.lock").exists():
        missing = [slot for slot in wanted if not _alive(run / f"ready-{slot}")]
    else:
        alive = await _alive_elsewhere(desk)
        missing = [slot for slot in wanted if slot not in alive]
    return f"worker {', '.join(map(str, missing))} does not accept calls" if missing else ""


async def _alive_elsewhere(desk: Desk) -> set[int]:
    try:
        async with asyncio.timeout(ASK_S):
            workers = await desk.credit.workers()
    except (StoreError, TimeoutError):
        return set()
    return {worker.slot for worker in workers if worker.alive and worker.node == desk.settings.node.name}


def _alive(ready: Path) -> bool:
    try:
        os.kill(int(ready.read_text(encoding="ascii")), 0)
    except (OSError, ValueError):
        return False
    return True
