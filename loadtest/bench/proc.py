"""What the kernel knows of a process: its time on a processor and its share of memory (Linux ``/proc``)."""

import contextlib
from collections.abc import Iterable
from pathlib import Path


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds on a processor of all threads of ``pids`` so far, to the nanosecond (``schedstat``, first field).

    A process or thread that has ended counts nothing: measure while they live.
    """
    total_ns = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of ``pids`` in bytes, shared pages divided among those that share them (``smaps_rollup``, Pss)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def command_line(pid: int) -> list[str]:
    """The words a process was started with; empty where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    return []


def idle_s() -> tuple[float, float]:
    """Idle and all processor seconds of the machine so far, in ticks of the kernel: for the share left over."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (fields[3] + fields[4]) / 100, sum(fields) / 100
