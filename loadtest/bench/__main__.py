"""``python -m loadtest.bench``: measure the gate, and Kamailio + cnxcc beside it where it is installed.

Exit status: 0 measured; 1 something did not start, a call failed to be charged or the audit does not hold.
"""

import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from loadtest.audit import AuditError
from loadtest.bench.kamailio import KamailioSubject, modules
from loadtest.bench.parts import Bench
from loadtest.bench.processes import Children, StartError
from loadtest.bench.subject import DRY_TALK_S, RICH, GateSubject, Places, Subject, places
from loadtest.bench.table import print_table

PARTS: Final = ("memory", "delay", "rate", "cut", "capacity", "flood")
DEFAULT_PARTS: Final = "memory,delay,rate,cut"
MAX_CALLS: Final = 200_000
"""Calls of one part: called numbers must not run out, and SIPp's traces must fit on the disk."""

console = Console(stderr=True)


def bench(
    parts: Annotated[str, typer.Option(help=f"Parts to measure, of {', '.join(PARTS)}.")] = DEFAULT_PARTS,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter runs: a minute instead of several.")
    ] = False,
    cps: Annotated[str, typer.Option(help="Rates of the processor part, calls a second.")] = "500",
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Length of each run.")] = 10.0,
    dry: Annotated[int, typer.Option(min=1, max=5_000, help="Calls that run dry within one second.")] = 500,
    live: Annotated[int, typer.Option(min=10, max=100_000, help="Live calls of the memory part.")] = 5_000,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure Kamailio + cnxcc too.")] = True,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Measure the gate.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep traces and logs in this folder.")] = None,
) -> None:
    """Measure what a fully charged call costs, on this machine, now."""
    wanted = [part.strip() for part in parts.split(",")]
    rates = [int(rate) for rate in cps.split(",") if rate.strip().isdigit()]
    if not set(wanted) <= set(PARTS) or not rates:
        raise typer.BadParameter(f"--parts takes {', '.join(PARTS)}; --cps whole numbers")
    if quick:
        seconds, dry, live, rates = min(seconds, 3.0), min(dry, 100), min(live, 1_000), rates[:1]
    if max(rates) * seconds > MAX_CALLS:
        raise typer.BadParameter(f"--cps × --seconds is above {MAX_CALLS} calls")
    if shutil.which("sipp") is None:
        raise typer.BadParameter("sipp is not on PATH (Debian: apt-get install sip-tester)")
    asked = _Asked(wanted, rates, seconds, dry, live)
    about = _about()
    subjects: dict[str, dict[str, Any]] = {}
    with _folder(keep) as folder:
        if gate:
            subjects[GateSubject.name] = _measured(asked, folder / "callgate", _gate_parts)
        if peer and modules():
            subjects[KamailioSubject.name] = _measured(asked, folder / "kamailio", _kamailio_parts)
    if as_json:
        typer.echo(json.dumps({**about, "subjects": subjects}, indent=2))
    else:
        print_table(Console(width=120), subjects, about)
    raise typer.Exit(1 if any(figures["faults"] for figures in subjects.values()) else 0)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options of a benchmark that its parts need."""

    parts: list[str]
    rates: list[int]
    seconds: float
    dry: int
    live: int


def _measured(
    asked: _Asked, folder: Path, measure: Callable[[_Asked, Children, Path, Places, dict[str, Any]], None]
) -> dict[str, Any]:
    """One subject's figures; what went wrong stands in ``faults``, and what was measured until then stays."""
    folder.mkdir(parents=True)
    figures: dict[str, Any] = {"faults": []}
    try:
        with Children() as children:
            measure(asked, children, folder, places(), figures)
    except (StartError, AuditError, OSError) as error:
        figures["faults"].append(str(error))
    return figures


def _gate_parts(asked: _Asked, children: Children, folder: Path, where: Places, figures: dict[str, Any]) -> None:
    console.print("callgate: provisioning")
    subject = GateSubject(children, folder, where, asked.dry if "cut" in asked.parts else 0)
    bench = Bench(children, folder)
    _all_parts(asked, bench, subject, figures)
    if not subject.wait_booked():
        figures["faults"].append("charges were still in the outbox half a minute after the last call")
    fault = subject.books_fault(bench.answered.get(subject.name, 0))
    if fault:
        figures["faults"].append(fault)


def _kamailio_parts(asked: _Asked, children: Children, folder: Path, where: Places, figures: dict[str, Any]) -> None:
    rich = KamailioSubject(children, folder, where, RICH)
    bench = Bench(children, folder)
    parts = [part for part in asked.parts if part not in ("cut", "flood")]
    _all_parts(replace(asked, parts=parts), bench, rich, figures)
    rich.stop()
    if "cut" in asked.parts:
        poor = KamailioSubject(children, folder, where, str(DRY_TALK_S))
        _all_parts(replace(asked, parts=["cut"]), bench, poor, figures)


def _all_parts(asked: _Asked, bench: Bench, subject: Subject, figures: dict[str, Any]) -> None:
    for part in asked.parts:
        console.print(f"{subject.name}: {part}")
        match part:
            case "memory":
                figures["memory"] = bench.memory(subject, asked.live, 250)
            case "delay":
                figures["delay"] = bench.delay(subject, 150, asked.seconds)
            case "rate":
                figures["rate"] = [bench.rate(subject, rate, asked.seconds) for rate in asked.rates]
            case "cut":
                figures["cut"] = bench.cut(subject, asked.dry)
            case "flood":
                assert isinstance(subject, GateSubject), "no other is flooded"
                figures["flood"] = bench.flood(subject, 100, 5_000, asked.seconds)
            case "capacity":
                figures["capacity"] = bench.capacity(subject, max(asked.rates), min(asked.seconds, 5.0))


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="callgate-bench-") as folder:
        yield Path(folder)


def _about() -> dict[str, Any]:
    """What a reader must know to judge the figures; asked before the first part."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": "python -m loadtest.bench " + " ".join(sys.argv[1:]),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _interrupted(number: int, frame: object) -> None:
    """SIGTERM ends the benchmark as Ctrl-C does, so that everything it started is ended too."""
    raise KeyboardInterrupt


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGTERM, _interrupted)
    typer.run(bench)


if __name__ == "__main__":
    main()
