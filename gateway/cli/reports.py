"""Reports about one tenant, and what it should be funded with.

Each report is a command below ``report``: a table for people, with ``--json`` one document, with ``--format`` a file.
"""

import re
import sys
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.admin.reports import advice_document
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
from gateway.cli.output import console, opened, print_json, print_table
from gateway.cli.stores import open_ledger
from gateway.config.settings import Settings
from gateway.ledger import Ledger
from gateway.settlement.reports import (
    MOST_MONTHS,
    Report,
    SpendBy,
    advise_tenant,
    blocked_report,
    dial_out_report,
    minute_pools,
    spend_report,
)

app = typer.Typer(help="Reports about one tenant.", no_args_is_help=True)

MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")

STEP_COLUMNS: Final = ("step", "outcome")
PRICE_COLUMNS: Final = ("destination", "calls", "minutes", "charge", "per_minute")
DESTINATIONS_SHOWN: Final = 20
"""For people; a document has all of them."""


class Form(StrEnum):
    """Forms of a report as a file."""

    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"


class By(StrEnum):
    """What spending is told apart by."""

    USER = "user"
    KIND = "kind"
    DESTINATION = "destination"
    DAY = "day"


FileForm = Annotated[Form | None, typer.Option("--format", help="Without it, a table for people.")]


@app.command()
@command
def spend(
    tenant: TenantOption,
    by: Annotated[By, typer.Option("--by", help="What it is told apart by.")] = By.USER,
    start: FromDay = None,
    end: ToDay = None,
    form: FileForm = None,
    output: OutputFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what a tenant's calls cost, by user, kind, destination or day; each started minute counts."""
    split: SpendBy = by.value
    between = period(start, end)

    async def make(ledger: Ledger) -> Report:
        known = await ledger.tenant(tenant)
        return await spend_report(ledger.usage(tenant, *between), split, known.currency)

    _show(load(config), make, form, output, as_json)


@app.command("dial-out")
@command
def dial_out(
    tenant: TenantOption,
    start: FromDay = None,
    end: ToDay = None,
    form: FileForm = None,
    output: OutputFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what conferences dialled out, by organizer: minutes and the credit they took."""
    between = period(start, end)

    async def make(ledger: Ledger) -> Report:
        known = await ledger.tenant(tenant)
        return await dial_out_report(ledger.usage(tenant, *between), known.currency)

    _show(load(config), make, form, output, as_json)


@app.command()
@command
def pools(
    tenant: TenantOption,
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="In the tenant's time zone; default now.")
    ] = None,
    form: FileForm = None,
    output: OutputFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how many included minutes a tenant has in a month, by pool, and how many are used."""
    if month is not None and not MONTH.fullmatch(month):
        raise typer.BadParameter("expected a month such as 2026-11", param_hint="--month")
    _show(load(config), lambda ledger: minute_pools(ledger, tenant, month or "", _now_ms()), form, output, as_json)


@app.command()
@command
def blocked(
    tenant: TenantOption,
    start: FromDay = None,
    end: ToDay = None,
    form: FileForm = None,
    output: OutputFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which users were blocked and unblocked, when and by whom, as the audit log has it."""
    between = period(start, end)

    async def make(ledger: Ledger) -> Report:
        await ledger.tenant(tenant)
        return await blocked_report(ledger.blockings(tenant), await ledger.users(tenant), *between)

    _show(load(config), make, form, output, as_json)


@command
def advise(
    tenant: TenantOption,
    months: Annotated[
        int, typer.Option("--months", min=1, max=MOST_MONTHS, help="How much usage is looked at, of 30 days each.")
    ] = 1,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which recharge trigger and amount a tenant should set, why, and what its minutes have cost."""
    settings = load(config)

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            found = advice_document(await advise_tenant(ledger, tenant, months, _now_ms()))
        if as_json:
            print_json(found)
            return
        said = {name: found[name].removesuffix("0000") for name in ("trigger", "amount", "one_time_funding")}
        console().print(
            f"set trigger {said['trigger']} and amount {said['amount']} {found['currency']}; "
            f"to fund once instead: {said['one_time_funding']}"
        )
        print_table(found["reasoning"], STEP_COLUMNS, "")
        print_table(found["destinations"][:DESTINATIONS_SHOWN], PRICE_COLUMNS, "no minute cost anything")

    wait(work())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _show(
    settings: Settings,
    make: Callable[[Ledger], Awaitable[Report]],
    form: Form | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make a report and print it, or write it where ``--format`` asks for a file."""
    form = one_form(form, Form.JSON, as_json)
    if output is not None and form is None:
        raise typer.BadParameter("a file needs --format csv, json or xlsx")
    if form is Form.XLSX and output is None and sys.stdout.isatty():
        raise typer.BadParameter("xlsx is not for a terminal: give -o FILE")

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            report = await make(ledger)
        if form is None:
            print_table(report.shown(), [column.name for column in report.columns], "nothing to report")
        elif as_json and output is None:
            print_json(report.document())
        else:
            with opened(output) as out:
                report.write(out, form.value)

    wait(work())
