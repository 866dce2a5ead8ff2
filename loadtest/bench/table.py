"""The benchmark's figures as one table for people: a row a figure, a column a subject."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, Any]
"""The document of one subject: parts by name."""


def print_table(console: Console, subjects: Mapping[str, Figures], about: Mapping[str, Any]) -> None:
    """Print what was measured, the machine above it and what is wrong below it."""
    machine = (
        f"{about['cores']} cores, load average {about['load_average']} before, Python {about['python']}, "
        "SIPp and everything else on the same cores"
    )
    console.print(f"[bold]{about['date']}[/] · {machine} · {about['command']}")
    names = list(subjects)
    table = Table("", *names, box=None, pad_edge=False)
    rows: dict[str, dict[str, str]] = {}
    for name, figures in subjects.items():
        for row, value in _rows(figures):
            rows.setdefault(row, {})[name] = value
    for row, values in rows.items():
        table.add_row(row, *(values.get(name, "–") for name in names))
    console.print(table)
    for name, figures in subjects.items():
        for fault in figures["faults"]:
            console.print(f"[bold red]{name}: {fault}")


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    for load in figures.get("rate", ()):
        for role, spent in load["us_per_call"].items():
            yield f"{role}, µs a call at {load['cps']} calls/s", f"{spent:.0f}"
        yield f"failed / retransmitted of {load['calls']}", f"{load['failed']} / {load['retransmissions']}"
        yield f"processors idle at {load['cps']} calls/s", f"{load['idle_share']:.0%}"
    if "delay" in figures:
        yield from _delay(figures["delay"])
    for flood in figures.get("flood", ()):
        yield from _flood(flood)
    if "cut" in figures:
        yield from _cut(figures["cut"])
    if "memory" in figures:
        memory = figures["memory"]
        yield f"memory a live call, kB ({memory['calls']} calls)", f"{memory['bytes_per_call'] / 1000:.1f}"
    if "capacity" in figures:
        yield "highest calls/s, 0 failed, 0 retransmitted", str(figures["capacity"]["cps"])


def _delay(delay: Figures) -> Iterator[tuple[str, str]]:
    added = delay["added_ms"]
    yield f"set-up delay added at {delay['cps']} calls/s, p50 / p99 ms", _pair(added, "p50", "p99")


def _flood(flood: Figures) -> Iterator[tuple[str, str]]:
    kind = flood["kind"]
    beside = "without a flood" if kind == "none" else f"beside {flood['flood']['per_second']:.0f} {kind}/s"
    yield f"set-up delay {beside}, p50 / p99 ms", _pair(flood["added_ms"], "p50", "p99")
    yield f"… failed / retransmitted {beside}", f"{flood['failed']} / {flood['retransmissions']}"


def _cut(cut: Figures) -> Iterator[tuple[str, str]]:
    error = cut["error_ms"]
    yield f"cut error, {cut['calls']} calls dry in 1 s, min / p50 ms", _pair(error, "min", "p50")
    yield "cut error, p99 / max ms", _pair(error, "p99", "max")
    yield "cut on both legs", f"{cut['both_legs']} of {cut['answered']}"


def _pair(summary: Figures, *keys: str) -> str:
    return " / ".join("–" if summary[key] is None else f"{summary[key]:.2f}" for key in keys)
