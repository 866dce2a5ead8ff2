"""One process of the gate, kept running: started with its plan, watched, and started again when it dies.

A process that dies is started again at once, and each time it dies soon after that a little later: a crash costs its
peers one retransmission, a process that cannot live costs the machine one attempt in ten seconds.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from gateway.telemetry.logs import get_logger
from gateway.worker.plan import GIVEN_UP, READY, Plan, encode_plan

BACKOFF_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Pauses before the first, second, … restart in a row; the last one repeats."""

SETTLED_S: Final = 30.0
"""A process that lived this long has not died in a row with the one before."""

COMMAND: Final = (sys.executable, "-m", "gateway.supervisor.process")
"""What a process is started with; its plan says what it becomes."""

KILL_AFTER_S: Final = 5.0
"""How long a process may take to end beyond what it was given, before it is killed."""

LOST: Final = 127
"""The exit status told of a process that could not even be started: what a shell says."""

log = get_logger("supervisor")


class Child:
    """One process; ``changed()`` is called when it became ready or died, ``died(pid)`` after each death."""

    def __init__(
        self,
        name: str,
        plan: Plan,
        changed: Callable[[], None],
        died: Callable[[int], None],
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self.name = name
        self.ready = False
        """It has said that it does its work."""
        self.given_up = False
        """It has said that it must not be started again."""
        self.deaths = 0
        """How often it died in a row."""
        self._command = command
        self._plan = plan
        self._changed = changed
        self._died = died
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def keep(self) -> None:
        """Run the process, again and again, until :meth:`stop`."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set() and not self.given_up:
            began_s = loop.time()
            status = await self._try_once()
            if self._stopping.is_set():
                return
            self.given_up = status == GIVEN_UP
            self.deaths = 1 if loop.time() - began_s > SETTLED_S else self.deaths + 1
            self._changed()
            if not self.given_up:
                await self._pause(BACKOFF_S[min(self.deaths, len(BACKOFF_S)) - 1], status)

    async def _pause(self, pause_s: float, status: int) -> None:
        log.error("process died", name=self.name, how=_how(status), restart_in_s=pause_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _try_once(self) -> int:
        """Run it once; a start that fails (no memory, no file descriptor) or output nobody can read is a death too."""
        try:
            status = await self._run_once()
        except (OSError, ValueError) as error:
            log.error("process lost", name=self.name, error=repr(error))
            status = await self._put_down()
        self.ready = False
        try:
            if self._process is not None:
                self._died(self._process.pid)
        except OSError as error:  # a full disk: what is kept about a dead process is the least of it
            log.error("traces of a process left", name=self.name, error=str(error))
        return status

    async def _put_down(self) -> int:
        """End what is left of a process that can no longer be followed."""
        self.signal(signal.SIGKILL)
        return await self._process.wait() if self._process is not None else LOST

    async def _run_once(self) -> int:
        """Start it and return its exit status when it has ended."""
        self._process = None
        process = await asyncio.create_subprocess_exec(
            *self._command,
            # for whoever reads `ps`: the plan says the same
            self._plan.role,
            str(self._plan.slot),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._plan.descriptors,
        )
        self._process = process
        assert process.stdin is not None, "opened with a pipe"
        assert process.stdout is not None, "opened with a pipe"
        process.stdin.write(encode_plan(self._plan))
        async for line in process.stdout:
            if line.decode(errors="replace").strip() == READY:
                self.ready = True
                self._changed()
            else:  # a library printed something: standard output belongs to the supervisor's own line
                sys.stderr.write(line.decode(errors="replace"))
        return await process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def stop(self, within_s: float) -> None:
        """Ask the process to end (SIGTERM), and end it when it takes longer than ``within_s``."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), within_s + KILL_AFTER_S)
        except TimeoutError:
            self._kill()
            await process.wait()

    def hurry(self) -> None:
        """Ask a process that is being stopped a second time, which means at once, and end it when it is not gone
        after KILL_AFTER_S, however long it was given before."""
        self.signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(KILL_AFTER_S, self._kill)

    def _kill(self) -> None:
        if self.pid is not None:
            log.error("process killed", name=self.name, why="it did not end in time")
            self.signal(signal.SIGKILL)


def _how(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
