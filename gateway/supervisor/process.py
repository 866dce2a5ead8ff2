"""The other side of :mod:`gateway.supervisor.child`: what a process of the gate does from its first line to its last.

``python -m gateway.supervisor.process`` reads its plan from standard input and becomes a worker, the settler or the
admin process.  SIGTERM asks it to end in order; the end of standard input means that the supervisor is gone.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.telemetry.logs import get_logger
from gateway.worker.ending import Ending
from gateway.worker.plan import READY, Plan, Role, read_plan

BACKGROUND_NICENESS: Final = 10
"""How far settler and admin process step back where processors are short: a posting can wait, a SIP message cannot."""

FAULT: Final = 70
"""The exit status of a process whose own code failed (EX_SOFTWARE of sysexits.h): it is started again."""

Work = Callable[[Plan, Ending, Callable[[], None]], Awaitable[int]]
"""Plan, ending and "say ready" in, exit status out."""


def main() -> int:
    """Be the process that the plan says; the exit status."""
    try:
        plan = read_plan(sys.stdin.buffer)
    except ValueError as error:
        sys.stderr.write(f"callgate: {error}\n")
        return 2
    if plan.role != "worker":
        os.nice(BACKGROUND_NICENESS)
    # Ctrl-C reaches the whole process group; only the supervisor acts on it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_be(plan))
    except Exception:  # Python's own traceback would be written as it is, with the secrets of an error's text
        get_logger(plan.role).exception("process ends by a fault")
        return FAULT


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (SIP.md, Speed), else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _be(plan: Plan) -> int:
    loop, ending = asyncio.get_running_loop(), Ending()
    loop.add_signal_handler(signal.SIGTERM, ending.asked)
    loop.add_reader(sys.stdin.fileno(), _watch_supervisor, loop, ending)
    return await _work(plan.role)(plan, ending, _say_ready)


def _work(role: Role) -> Work:
    """What a role does; imported only here, so that a worker does not carry the admin process' libraries."""
    if role == "worker":
        from gateway.worker.run import run_worker

        return run_worker
    from gateway.supervisor import roles

    return roles.run_settler if role == "settler" else roles.run_admin


def _watch_supervisor(loop: asyncio.AbstractEventLoop, ending: Ending) -> None:
    """Standard input is readable: it has ended, since nothing but the plan is ever written to it."""
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin.fileno())
        ending.orphaned()


def _say_ready() -> None:
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
