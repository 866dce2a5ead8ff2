"""The records of calls that are over, as a file: the usage report, or the archive of it with a file for each day."""

import sys
import time
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.common import (
    AsJson,
    ConfigFile,
    FromDay,
    OutputFile,
    TenantOption,
    ToDay,
    command,
    load,
    one_form,
    period,
    wait,
)
from gateway.cli.output import opened
from gateway.cli.stores import open_ledger
from gateway.config.settings import Settings
from gateway.settlement import ARCHIVE_DAYS, Asked, export_archive, export_usage, masking_of

DAY_MS: Final = 86_400_000


class Format(StrEnum):
    """Forms of the usage report."""

    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"
    ZIP = "zip"


@command
def usage(
    tenant: TenantOption,
    start: FromDay = None,
    end: ToDay = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="csv and json go to a terminal too; zip has a csv for each day.", show_default="csv"
        ),
    ] = None,
    output: OutputFile = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Also calls that were never answered (json: always).")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Export call records: the 20 columns of the usage report, then charge in micro-units, payer, reason and status.

    Example: callgate usage --tenant contoso --from 2026-02-01 --to 2026-02-28 --format xlsx -o february.xlsx

    A zip is one year at most and, without -o, a file Calls.Export.ID.zip in this folder, whose name is printed.
    """
    settings = load(config)
    form = one_form(form, Format.JSON, as_json) or Format.CSV
    if form is Format.XLSX and output is None and sys.stdout.isatty():
        raise typer.BadParameter("xlsx is not for a terminal: give -o FILE")
    first_ms, past_ms = period(start, end)
    if form is Format.ZIP:
        asked = _asked(tenant, first_ms, past_ms, refused)
        wait(_archive(settings, asked, output))
        return

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            masking = await masking_of(ledger, tenant)
            records = ledger.usage(tenant, first_ms, past_ms, refused=refused or form is Format.JSON)
            with opened(output) as out:
                await export_usage(records, out, form.value, masking)  # type: ignore[arg-type]

    wait(work())


def _asked(tenant: str, first_ms: int | None, past_ms: int | None, refused: bool) -> Asked:
    """What a zip is asked for: without bounds the year that ends now."""
    now_ms = time.time_ns() // 1_000_000
    past_ms = now_ms if past_ms is None else past_ms
    first_ms = past_ms - ARCHIVE_DAYS * DAY_MS if first_ms is None else first_ms
    if past_ms <= first_ms:
        raise typer.BadParameter("--from is in the future: no call can have ended since")
    if past_ms - first_ms > ARCHIVE_DAYS * DAY_MS:
        raise typer.BadParameter(f"a zip holds {ARCHIVE_DAYS} days at most: ask for each year by itself")
    return Asked(str(uuid.uuid4()), tenant, first_ms, past_ms, refused, now_ms)


async def _archive(settings: Settings, asked: Asked, output: Path | None) -> None:
    path = output or Path(asked.name)
    async with open_ledger(settings) as ledger:
        masking = await masking_of(ledger, asked.tenant_id)
        records = ledger.usage(asked.tenant_id, asked.from_ms, asked.to_ms, refused=asked.refused)
        with opened(path) as out:
            await export_archive(records, out, asked, masking)
    if output is None:
        typer.echo(path)
