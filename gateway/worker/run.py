"""A worker process from its plan to its exit status.

It is ready once it knows its tenants: from the ledger, or from the directory that was kept for such a start.  Until
then it hears SIP all the same, lets emergency calls pass and refuses the others with 503.  Where the ledger is away,
who waits for the gate is told that it hears calls (SIP.md 4); that not all is well ``/readyz`` says.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable

from gateway.telemetry import logs
from gateway.worker.ending import Ending
from gateway.worker.plan import GIVEN_UP, START_ANEW, Plan
from gateway.worker.worker import Worker


async def run_worker(plan: Plan, ending: Ending, say_ready: Callable[[], None]) -> int:
    """Carry calls until asked to end, or until another process holds this worker's name."""
    settings = plan.settings
    logs.configure(settings.telemetry.log_level, settings.telemetry.log_format, f"worker-{plan.slot}")
    worker = Worker(plan, ending)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, worker.write_ladders)
    await worker.start()
    over = (worker.fenced, ending.drain)
    await _first(worker.knows_tenants, worker.ledger_missed, *over)
    if not worker.knows_tenants.is_set() and not _any(over):
        say_ready()
        await _first(worker.knows_tenants, *over)
    if not _any(over):
        plan.ready_file.write_text(f"{os.getpid()}\n", encoding="ascii")
        say_ready()
    await _first(*over)
    with contextlib.suppress(FileNotFoundError):
        plan.ready_file.unlink()
    if worker.has_heir:
        await worker.stop()
        return START_ANEW
    if worker.fenced.is_set():
        logs.get_logger("worker").error(
            "name taken",
            node=settings.node.name,
            slot=plan.slot,
            do="another live gate uses this node.name with this Redis; give each gate a name of its own",
        )
        await worker.stop()
        return GIVEN_UP
    if not ending.now.is_set():
        await worker.drain()
    await worker.stop()
    return 0


def _any(events: Iterable[asyncio.Event]) -> bool:
    return any(event.is_set() for event in events)


async def _first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
