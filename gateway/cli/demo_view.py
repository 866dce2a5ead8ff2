"""What the demo shows: a live table on a terminal, a line every two seconds elsewhere."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.cli.output import console
from rating.money import format_amount

LINE_EVERY_S: Final = 2.0
CALLS_SHOWN: Final = 10
BAR_WIDTH: Final = 40
PANEL_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """The demo at one moment; ``completed``, ``cut``, ``refused`` and ``other`` count calls that are over."""

    at_s: float
    calls: list[dict[str, Any]]
    balance_micros: int
    held_micros: int
    unsynced_micros: int
    completed: int
    cut: int
    refused: int
    other: int


class View:
    """Shows samples as they come; a context manager, since a live table must give the terminal back."""

    def __init__(self, *, quiet: bool, seconds: float, money_micros: int) -> None:
        self._seconds = seconds
        self._money_micros = money_micros
        self._quiet = quiet
        self._shown_s = -LINE_EVERY_S
        out = console()
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal and not quiet else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, sample: Sample) -> None:
        """Show one sample."""
        if self._live:
            self._live.update(self._picture(sample), refresh=True)
        elif not self._quiet and sample.at_s - self._shown_s >= LINE_EVERY_S:
            self._shown_s = sample.at_s
            typer.echo(_line(sample))

    def _picture(self, sample: Sample) -> RenderableType:
        share = max(0, sample.balance_micros) / self._money_micros
        bar = Table.grid()
        bar.add_row(ProgressBar(total=1.0, completed=share, width=BAR_WIDTH))
        facts = Text.assemble(
            (f"{sample.at_s:5.1f} s of {self._seconds:g}", "bold"),
            f"   live {len(sample.calls)}   completed {sample.completed}   ",
            (f"cut {sample.cut}", "red" if sample.cut else ""),
            f"   refused with 402: {sample.refused}",
        )
        money = Text(f"balance {format_amount(sample.balance_micros)} USD, held {format_amount(sample.held_micros)}")
        return Panel(Group(facts, money, bar, _calls_table(sample.calls)), title="callgate demo", width=PANEL_WIDTH)


def _calls_table(calls: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = ("from", "to", "state", "seconds", "charged", "held", "paid until")
    for name in columns:
        table.add_column(name)
    for call in calls[:CALLS_SHOWN]:
        table.add_row(*(_cell(call[name.replace(" ", "_")]) for name in columns))
    return table


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _line(sample: Sample) -> str:
    return (
        f"{sample.at_s:5.1f} s  live {len(sample.calls):3}  balance {format_amount(sample.balance_micros)}  "
        f"held {format_amount(sample.held_micros)}  completed {sample.completed}  cut {sample.cut}  "
        f"refused {sample.refused}"
    )


def print_outcome(outcome: dict[str, Any]) -> None:
    """The books at the end."""
    typer.echo(
        f"{outcome['completed']} calls completed, {outcome['cut']} cut on both legs at zero, "
        f"{outcome['refused']} refused with 402, {outcome['other']} ended otherwise"
    )
    typer.echo(
        f"funded {outcome['funded']} = balance {outcome['balance']} + charged {outcome['charged']} "
        f"({outcome['charges']} charges in the ledger), drift {outcome['drift_micros']} micros"
    )
    typer.echo("the books balance" if outcome["balanced"] else "THE BOOKS DO NOT BALANCE")
