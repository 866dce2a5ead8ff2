"""Calls: the live ones, ending one, and the records of those that are over."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from gateway.cli.common import AnyTenant, AsJson, ConfigFile, TenantOption, actor, command, load, moment, wait
from gateway.cli.output import print_json, print_table
from gateway.cli.stores import open_desk, open_ledger
from gateway.settlement import export_usage

CALL_COLUMNS = ("id", "tenant", "from", "to", "kind", "state", "seconds", "charged", "held", "paid_until", "node")


class Format(StrEnum):
    """Forms of the usage report."""

    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"


@command
def calls(tenant: AnyTenant = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show live calls with what each has cost and holds."""
    settings = load(config)

    async def work() -> list[dict[str, Any]]:
        async with open_desk(settings) as desk:
            return await desk.calls(tenant)

    found = wait(work())
    print_json(found) if as_json else print_table(found, CALL_COLUMNS, "no calls")


@command
def hangup(
    call: Annotated[str, typer.Argument(metavar="CALL_ID", help="As `callgate calls` shows it.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """End a live call; it is charged for what was used."""
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings, ledger_needed=False) as desk:  # a call must not go on for want of a line
            return await desk.hang_up(call, actor())

    done = wait(work())
    print_json(done) if as_json else typer.echo(f"call {call} of {done['tenant']} has ended")


@command
def usage(
    tenant: TenantOption,
    start: Annotated[str | None, typer.Option("--from", metavar="D", help="First date or time, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="D", help="Last date (whole), or a time.")] = None,
    form: Annotated[Format, typer.Option("--format", help="csv and json go to a terminal too.")] = Format.CSV,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Also calls that were never answered (json: always).")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Export call records: the 20 columns of the usage report, then charge in micro-units, payer, reason and status.

    Example: callgate usage --tenant contoso --from 2026-02-01 --to 2026-02-28 --format xlsx -o february.xlsx
    """
    settings = load(config)
    form = Format.JSON if as_json else form
    if form is Format.XLSX and output is None and sys.stdout.isatty():
        raise typer.BadParameter("xlsx is not for a terminal: give -o FILE")
    first_ms = moment(start) if start else None
    past_ms = moment(end, end=True) if end else None

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            records = ledger.usage(tenant, first_ms, past_ms, refused=refused or form is Format.JSON)
            with _opened(output) as out:
                await export_usage(records, out, form.value)

    wait(work())


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    following = path.with_name(f".{path.name}.part")
    try:
        with following.open("wb") as out:
            yield out
        following.replace(path)
    finally:
        following.unlink(missing_ok=True)
