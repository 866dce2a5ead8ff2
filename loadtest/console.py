"""What a person sees of a run: a progress line while it plays, a table of figures when it is over."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.report import COUNTS, DELAYS, KINDS, PERCENTILES
from loadtest.run import Run


def progress_on(console: Console) -> Progress:
    """A progress bar for :class:`Shown`."""
    return Progress(
        TextColumn("calls"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


class Shown:
    """Draws the state of a run on a progress bar; four times a second, by the run's own clock."""

    def __init__(self, progress: Progress, calls: int) -> None:
        self._progress = progress
        self._task = progress.add_task("calls", total=calls, state="")

    def __call__(self, run: Run) -> None:
        """Show where ``run`` is."""
        tally = run.tally
        failed = sum(tally.failed_by.values())
        state = f"live {run.live}  answered {tally.answered}  refused {sum(tally.refused_by.values())}  failed {failed}"
        self._progress.update(self._task, completed=tally.offered - run.live, state=state)


def print_figures(console: Console, figures: Mapping[str, Any]) -> None:
    """The figures as tables."""
    counts = Table("figure", "value", show_header=False, box=None)
    for key, text in COUNTS:
        counts.add_row(text, _plain(figures[key]))
    for key, text in KINDS:
        for kind, count in figures[key].items():
            counts.add_row(f"  {text} {kind}", _plain(count))
    console.print(counts)
    delays = Table("milliseconds", *PERCENTILES, box=None)
    for key, text in DELAYS:
        delays.add_row(text, *(_plain(figures[key][name]) for name in PERCENTILES))
    console.print(delays)
    if figures.get("audit") is not None:
        _print_audit(console, figures["audit"])
    for fault in figures["faults"]:
        console.print(f"[bold red]{fault}")


def _print_audit(console: Console, audit: Mapping[str, Any]) -> None:
    keys = ("tenant", "money_in", "booked", "in_outbox", "balance", "held", "difference")
    table = Table(*(key.replace("_", " ") for key in keys), box=None)
    for tenant in audit["tenants"]:
        table.add_row(*(str(tenant[key]) for key in keys))
    console.print(table)
    console.print("the audit holds" if audit["holds"] else "[bold red]the audit does not hold")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
