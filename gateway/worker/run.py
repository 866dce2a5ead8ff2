"""A worker process from its plan to its exit status.

It is ready once it knows its tenants: from the ledger, or from the directory that was kept for such a start.  Until
then it hears SIP all the same, lets emergency calls pass and refuses the others with 503.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

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
    await _first(worker.knows_tenants, worker.fenced, ending.drain)
    if not worker.fenced.is_set() and not ending.drain.is_set():
        plan.ready_file.write_text(f"{os.getpid()}\n", encoding="ascii")
        say_ready()
    await _first(worker.fenced, ending.drain)
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


async def _first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
