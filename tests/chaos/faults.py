"""What may happen to the processes of a real gate: killed, stopped, restarted, cut off.

Each fault is done to a process that the run itself has started, found by its role, and is undone by itself after a
while.  Redis is reached through a proxy of the run's own, which is how a partition is made: it forgets all connections
and takes none for a while.
"""

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.gate import Gate
from loadtest.bench.processes import descendants
from tests.gateway.cluster import Cluster

STOPPED_S = (0.2, 3.0)
"""How long a process stands still: beyond a second Redis counts as away (MONEY 7)."""

CUT_OFF_S = (0.5, 5.0)
REDIS_GONE_S = (0.2, 3.0)
LEDGER_GONE_S = (0.2, 8.0)
"""Longer than Redis: nobody waits for the ledger but the outbox."""


DATABASE = "callgate"


class Proxy:
    """Passes bytes between a Unix socket of its own and Redis'; ``cut`` ends all connections and refuses new ones."""

    def __init__(self, listens: Path, redis: Path) -> None:
        self._listens, self._redis = listens, redis
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = True
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._ready.wait(5)

    def cut(self, yes: bool) -> None:
        """Cut everything off, or let it through again."""
        self._loop.call_soon_threadsafe(self._set, yes)

    def stop(self) -> None:
        """End the proxy's thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _set(self, cut: bool) -> None:
        self._open = not cut
        if cut:
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_unix_server(self._serve, self._listens))
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._open:
                return
            there, back = await asyncio.open_unix_connection(self._redis)
            self._writers |= {writer, back}
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Fate:
    """Does one fault after another to a gate; ``said`` tells of each.  ``ledger``: its PostgreSQL; None: SQLite."""

    gate: Gate
    proxy: Proxy
    ledger: Cluster | None
    dice: random.Random
    said: Callable[[str], None]

    def strike(self) -> float:
        """Do one thing, undone by a timer where it needs to be; how long it lasts."""
        name, act = self.dice.choice(list(self._acts().items()))
        lasts_s = act()
        self.said(f"{name} for {lasts_s:.1f} s" if lasts_s else name)
        return lasts_s

    def _acts(self) -> dict[str, Callable[[], float]]:
        ledger = {
            "kill -9 of PostgreSQL": self._restart_ledger,
            "PostgreSQL stopped": self._stop_ledger,
            "connections to PostgreSQL ended": self._cut_ledger,
        }
        return (ledger if self.ledger is not None else {}) | {
            "kill -9 of the worker": lambda: self._kill("worker"),
            "kill -9 of the settler": lambda: self._kill("settler"),
            "kill -9 of the admin process": lambda: self._kill("admin"),
            "worker stopped": lambda: self._stand_still("worker"),
            "settler stopped": lambda: self._stand_still("settler"),
            "Redis stopped": lambda: self._stand_still("redis"),
            "kill -9 of Redis": self._restart_redis,
            "Redis cut off": self._cut_off,
        }

    def _pids(self, role: str) -> list[int]:
        return self.gate.pids()[role]

    def _kill(self, role: str) -> float:
        for pid in self._pids(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return 0.0

    def _stand_still(self, role: str) -> float:
        lasts_s = self.dice.uniform(*STOPPED_S)
        for pid in self._pids(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                _later(lasts_s, lambda pid=pid: _go_on(pid))
        return lasts_s

    def _restart_redis(self) -> float:
        lasts_s = self.dice.uniform(*REDIS_GONE_S)
        self.gate.stop_redis()
        _later(lasts_s, self.gate.start_redis)
        return lasts_s

    def _restart_ledger(self) -> float:
        assert self.ledger is not None
        lasts_s = self.dice.uniform(*LEDGER_GONE_S)
        self.ledger.stop()
        _later(lasts_s, self.ledger.start)
        return lasts_s

    def _stop_ledger(self) -> float:
        """Every process of the server stands still: who asks hears nothing."""
        assert self.ledger is not None
        lasts_s = self.dice.uniform(*LEDGER_GONE_S)
        for pid in (self.ledger.pid, *descendants(self.ledger.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                _later(lasts_s, lambda pid=pid: _go_on(pid))
        return lasts_s

    def _cut_ledger(self) -> float:
        assert self.ledger is not None
        self.ledger.cut(DATABASE)
        return 0.0

    def _cut_off(self) -> float:
        lasts_s = self.dice.uniform(*CUT_OFF_S)
        self.proxy.cut(True)
        _later(lasts_s, lambda: self.proxy.cut(False))
        return lasts_s


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _later(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
