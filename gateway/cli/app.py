"""All commands of ``callgate``, put together."""

import os
from typing import Annotated

import typer

from gateway.cli import (
    audit,
    books,
    calls,
    demo,
    export,
    money,
    notices,
    provision,
    rates,
    reports,
    serve,
    trace,
    usage,
)
from gateway.cli.common import ConfigFile
from gateway.config.settings import FILE_VARIABLE
from gateway.config.version import VERSION

app = typer.Typer(
    help="Callgate: a SIP gateway that enforces prepaid credit in real time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"callgate {VERSION}")
        raise typer.Exit


@app.callback()
def callgate(
    config: ConfigFile = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options that may stand before the command as well."""
    if config:
        os.environ[FILE_VARIABLE] = config


app.command()(serve.serve)
app.command()(demo.demo)
app.command()(serve.check)
app.command()(provision.provision)
app.command(context_settings={"ignore_unknown_options": True})(money.fund)  # an amount may start with a minus
app.command()(money.balance)
app.command()(money.lots)
app.command()(money.recharge)
app.command()(money.limits)
app.add_typer(rates.app, name="rates")
app.command()(rates.explain)
app.command()(calls.calls)
app.command()(calls.hangup)
app.command()(usage.usage)
app.add_typer(reports.app, name="report")
app.command()(reports.advise)
app.command()(trace.trace)
app.add_typer(books.app, name="ledger")
app.command()(money.reconcile)
app.command()(audit.audit)
app.add_typer(notices.app, name="notices")
app.command()(export.export)
