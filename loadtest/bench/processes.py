"""Processes that the benchmark starts, and the promise that each of them ends, by its own pid, whatever happens."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MAX_CHILDREN: Final = 64
"""Processes alive at once: a gate, its stores and a pair of SIPps are below ten."""

STOP_S: Final = 10.0
"""How long a process has to end after it was asked to."""


class StartError(Exception):
    """A process did not come up; the message says which and shows the end of what it wrote."""


class Children:
    """Starts processes and ends them all, the last one first, when the block is left."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(list(self._started)):
            self.stop(child)

    def start(
        self,
        command: Sequence[str | Path],
        output: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` with all it writes in ``output``; raises :class:`StartError` where it cannot be run."""
        if len(self._started) >= MAX_CHILDREN:
            raise StartError(f"{MAX_CHILDREN} processes are running already")
        words = [str(word) for word in command]
        try:
            with output.open("ab") as log:
                child = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=cwd, env=env
                )
        except OSError as error:
            raise StartError(f"{words[0]}: {error.strerror}") from error
        self._started.append(child)
        return child

    def stop(self, child: subprocess.Popen[bytes], number: int = signal.SIGTERM, wait_s: float = STOP_S) -> int:
        """Ask ``child`` to end, then end it and what it leaves behind; returns its exit status."""
        family = descendants(child.pid)
        if child.poll() is None:
            child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(wait_s)
        if child.poll() is None:
            child.kill()
            child.wait(STOP_S)
        for pid in family:
            _kill_orphan(pid, child.pid)
        if child in self._started:
            self._started.remove(child)
        return child.returncode


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, parents first; a process that ends meanwhile is left out."""
    found: list[int] = []
    todo = [pid]
    while todo:
        for task in _tasks(todo.pop()):
            with contextlib.suppress(OSError):
                children = [int(word) for word in (task / "children").read_text().split()]
                found += children
                todo += children
    return found


def _tasks(pid: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from Path(f"/proc/{pid}/task").iterdir()


def _kill_orphan(pid: int, parent: int) -> None:
    """End a process that outlived the one that started it: it has another parent now, and wait until it is gone."""
    ppid, state = _family_state(pid)
    if state in "ZX" or ppid == parent:
        return
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    give_up_s = time.monotonic() + STOP_S
    while _family_state(pid)[1] not in "ZX" and time.monotonic() < give_up_s:
        time.sleep(0.005)


def _family_state(pid: int) -> tuple[int, str]:
    """Parent and state letter of a process; X where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[1]), fields[0]
    return 0, "X"


def wait_until(true: Callable[[], bool], within_s: float, what: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Ask ``true`` until it is; raises :class:`StartError` when ``child`` ended or the time is over."""
    give_up_s = time.monotonic() + within_s
    while not true():
        if child.poll() is not None:
            raise StartError(f"{what} ended with status {child.returncode}: {tail(log)}")
        if time.monotonic() > give_up_s:
            raise StartError(f"{what} was not ready within {within_s:.0f} s: {tail(log)}")
        time.sleep(0.02)


def tail(log: Path, size: int = 2_000) -> str:
    """The end of what a process wrote."""
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace")[-size:].strip()
    return ""


def free_port(host: str = "127.0.0.1", kind: int = socket.SOCK_DGRAM) -> int:
    """A port nobody has at this moment, for UDP or TCP."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def free_sip_port(host: str = "127.0.0.1") -> int:
    """A port nobody has at this moment, neither for UDP nor for TCP."""
    return free_sip_ports(1, host)


def free_sip_ports(count: int, host: str = "127.0.0.1") -> int:
    """The first of ``count`` neighbouring ports nobody has at this moment, neither for UDP nor for TCP."""
    for _ in range(100):
        first = free_port(host)
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as probes:
            for port in range(first, first + count):
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    probes.enter_context(socket.socket(socket.AF_INET, kind)).bind((host, port))
            return first
    raise StartError(f"no {count} free ports side by side on {host}")
