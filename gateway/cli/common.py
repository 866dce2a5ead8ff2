"""What every command has: its options for settings and JSON, and one way to end.

A command returns nothing, or an exit status.  Errors that a person can do something about become one line on standard
error and status 1; a fault of the program says so in one line too, and shows where with CALLGATE_DEBUG set.
"""

import asyncio
import os
import pwd
import sys
import traceback
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec, TypeVar

import typer

from gateway.admin.desk import NotDone, NotFound
from gateway.admin.token import TokenError
from gateway.cli.output import Failure, fail
from gateway.config import settings as config
from gateway.config.problems import ConfigError
from gateway.credit.address import AddressError
from gateway.credit.admin import StoreError
from gateway.credit.embedded import EmbeddedError
from gateway.ledger import HeadsError, LedgerError
from gateway.redaction import redact
from gateway.telemetry import logs
from rating.money import MoneyError, parse_amount

_Form = TypeVar("_Form")

DEBUG_VARIABLE: Final = "CALLGATE_DEBUG"
INTERRUPTED: Final = 130
"""What shells say of a command that Ctrl-C ended."""

EXPECTED: Final = (
    Failure,
    NotDone,
    NotFound,
    TokenError,
    ConfigError,
    AddressError,
    StoreError,
    EmbeddedError,
    LedgerError,
    HeadsError,
    OSError,
)
"""What can go wrong without the program being at fault; each says what and what to do."""


def not_empty(text: str | None) -> str | None:
    """An option given as nothing is mostly a shell's variable that was never set: it must not mean everything."""
    if text == "":
        raise typer.BadParameter("is empty: give a value, or leave the option away")
    return text


ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings; default $CALLGATE_CONFIG, then ./callgate.toml.",
        callback=not_empty,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

TenantOption = Annotated[str, typer.Option("--tenant", help="The tenant's id.")]
AnyTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.", callback=not_empty)]

FromDay = Annotated[str | None, typer.Option("--from", metavar="D", help="First date or time, UTC.")]
ToDay = Annotated[str | None, typer.Option("--to", metavar="D", help="Last date (whole), or a time.")]
OutputFile = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")]

P = ParamSpec("P")
T = TypeVar("T")


def command(function: Callable[P, int | None]) -> Callable[P, None]:
    """Turn how ``function`` ends into an exit status and at most one line on standard error."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = function(*args, **kwargs) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
            status = 1
        except EXPECTED as error:
            status = fail(error)
        except KeyboardInterrupt:
            status = INTERRUPTED
        except typer.Exit:
            raise
        except Exception as error:
            status = _fault(error)
        raise typer.Exit(status)

    return run


def _fault(error: Exception) -> int:
    """The program is at fault.  A usage error is no fault: it goes on to where those are shown."""
    if hasattr(error, "exit_code"):
        raise error
    if os.environ.get(DEBUG_VARIABLE):
        typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    return fail(f"fault: {type(error).__name__}: {error}; {DEBUG_VARIABLE}=1 shows where, please report it")


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's asynchronous part to its end."""
    return asyncio.run(work)


def load(path: str | None) -> config.Settings:
    """The settings a command works with; what rooms log below an error is not for a command's reader.

    Raises ConfigError.
    """
    logs.configure("error", "console", "callgate")
    return config.load(path)


def actor() -> str:
    """Who runs the command, for the audit log: the user of the process, whatever $USER and $LOGNAME say."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container may have a user id without a name
        return f"cli:{os.getuid()}"


def amount(text: str) -> int:
    """An amount given as an argument, in micro-units; wrong use where it is none."""
    try:
        return parse_amount(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error)) from error


def one_form(form: _Form | None, json_form: _Form, as_json: bool) -> _Form | None:
    """What ``--format`` and ``--json`` ask for together; wrong use where they ask for two things."""
    if as_json and form not in (None, json_form):
        raise typer.BadParameter(f"--json and --format {form} ask for two things: give one of them")
    return json_form if as_json else form


def moment(text: str, *, end: bool = False) -> int:
    """A date or a time in ISO 8601 as Unix milliseconds; UTC where no zone is given.

    A date alone is its first moment, with ``end`` the first moment after it.  Wrong use where it is neither.
    """
    try:
        if len(text) == len("2026-02-03"):
            day = date.fromisoformat(text) + timedelta(days=int(end))
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r}: expected a date or time such as 2026-02-03 or 2026-02-03T04:05Z") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)


def period(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """What ``--from`` and ``--to`` name, from and past in Unix milliseconds; wrong use where nothing lies between."""
    from_ms = None if start is None else moment(start)
    past_ms = None if end is None else moment(end, end=True)
    if from_ms is not None and past_ms is not None and from_ms >= past_ms:
        raise typer.BadParameter(f"--from {start} is not before --to {end}: nothing lies between them")
    return from_ms, past_ms
