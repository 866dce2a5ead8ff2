"""Is the gate usable?  What ``/readyz`` says: Redis, ledger and SIP, each asked now, each named where it is not.

A ledger that answers may still be one that cannot be written (a full disk, a file system gone read-only).  That is
tried as well, but not for each poll: at most once in TRIAL_EVERY_S, whoever asks, and a poll that comes in between is
told what the last trial found.  A trial may find room where a large batch of charges finds none; so the settler, which
has to book them, is believed too where it runs beside this process.
"""

import asyncio
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from gateway.admin.desk import Desk
from gateway.credit.admin import StoreError
from gateway.ledger import Ledger, LedgerError
from gateway.telemetry.metrics import LEDGER_UP
from gateway.telemetry.snapshots import fold

ASK_S: Final = 1.0
"""Away is noticed within a second (MONEY 7)."""
TRIAL_EVERY_S: Final = 5.0
"""How late a ledger that cannot be written is noticed, and one that can be again; a trial takes a third of a
millisecond of the settler's turn to write."""
TRIAL_S: Final = 6.0
"""How long a trial may take: a second more than a writer waits for another's transaction before it says so."""
RUN_FOLDER: Final = "run"
"""Where the supervisor and its workers leave their run files, in the data folder (gateway.supervisor.folder)."""


class Readiness:
    """Answers ``/readyz`` for one desk, and remembers what the last trial of the ledger found."""

    def __init__(self, desk: Desk, metrics_dir: Path) -> None:
        self._desk = desk
        self._metrics_dir = metrics_dir
        self._trial = WriteTrial(desk.ledger)

    async def unusable(self) -> dict[str, str]:
        """What is not usable and why, by name (``redis``, ``ledger``, ``sip``); empty where all is well."""
        desk = self._desk
        redis, ledger, sip = await asyncio.gather(_asked(desk.credit.ping(), StoreError), self._ledger(), _sip(desk))
        if not redis and not ledger and await asyncio.to_thread(self._settler_is_stuck):
            ledger = "the settler cannot book what waits in the outbox; its log says why"
        return {name: why for name, why in (("redis", redis), ("ledger", ledger), ("sip", sip)) if why}

    async def _ledger(self) -> str:
        return await _asked(self._desk.ledger.ping(), LedgerError) or await self._trial.why_not()

    def _settler_is_stuck(self) -> bool:
        """What the settler says of itself; False where none writes into this folder, as with a role by itself."""
        return fold(self._metrics_dir).gauges.get(LEDGER_UP.name, {}).get((), 1) == 0


class WriteTrial:
    """Whether a ledger can be written, tried at most once in TRIAL_EVERY_S."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._why = ""
        self._due_s = 0.0
        self._trying: asyncio.Task[None] | None = None

    async def why_not(self) -> str:
        """Why the last trial could not write; empty where it could.  A trial under way is waited for, up to ASK_S."""
        if self._trying is None and time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + TRIAL_EVERY_S
            self._trying = asyncio.create_task(self._try())
        if self._trying is not None:
            await asyncio.wait([self._trying], timeout=ASK_S)
        return self._why

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(TRIAL_S):
                await self._ledger.try_write()
            self._why = ""
        except LedgerError as error:
            self._why = f"it can be read but not written: {error}"
        except TimeoutError:
            self._why = f"it can be read, but a write did not end within {TRIAL_S:g} s; look at its disk"
        finally:
            self._trying = None


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
    why = "does not accept calls, or has not read its directory yet"
    return f"worker {', '.join(map(str, missing))} {why}" if missing else ""


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
