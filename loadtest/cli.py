"""``callgate-load``: the command line of the load tester (CONTRACT 9).

Exit status: 0 all that was asked for holds; 1 the audit or ``--fail-on`` failed, or the run could not be made (one
line on stderr says why); 2 wrong use.
"""

import ast
import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from loadtest.arrivals import ARRIVALS
from loadtest.audit import Audit, AuditError, HttpBooks, audit
from loadtest.behaviour import MixError, parse_mix
from loadtest.callers import MAX_EXTRA
from loadtest.console import Shown, print_figures, progress_on
from loadtest.fail_on import FailOnError, NotMeasuredError, check, holds, parse
from loadtest.figures import Increments, no_figures
from loadtest.holds import HoldError, parse_hold
from loadtest.line import LineError
from loadtest.numbers import DEFAULT_CALLER, NumbersError, Pairs, from_lines, made_up
from loadtest.report import page
from loadtest.run import MAX_CALLS, MAX_LIVE, Plan, Run
from loadtest.wire import Address, address_of

app = typer.Typer(help="Load with callers and callees of its own, and an audit of the money.", no_args_is_help=True)


class ArrivalKind(StrEnum):
    """When calls arrive."""

    POISSON = "poisson"
    CONSTANT = "constant"


class Hangup(StrEnum):
    """Who ends an answered call."""

    CALLER = "caller"
    CALLEE = "callee"
    GATEWAY = "gateway"


@app.callback()
def callgate_load() -> None:
    """Load with callers and callees of its own, and an audit of the money."""


@app.command()
def run(
    target: Annotated[str, typer.Option(help="The gate, as sip:HOST:PORT.")],
    cps: Annotated[float, typer.Option(min=0.001, max=100_000, help="Calls per second.")] = 10.0,
    calls: Annotated[int, typer.Option(min=1, max=MAX_CALLS, help="Calls in all.")] = 100,
    concurrent: Annotated[int, typer.Option(min=1, max=MAX_LIVE, help="Calls under way at most.")] = MAX_LIVE,
    hold: Annotated[
        str, typer.Option(help="Talk: SECONDS, fixed:S, exponential:MEAN, lognormal:MEDIAN,SIGMA.", show_default="1")
    ] = "",
    arrivals: Annotated[ArrivalKind, typer.Option(help="When calls arrive.")] = ArrivalKind.POISSON,
    numbers: Annotated[
        Path | None, typer.Option(help="Lines CALLED or CALLED,CALLER in turn; x is any digit. Default: one each.")
    ] = None,
    uas: Annotated[str, typer.Option(help="Where callees listen, HOST:PORT; 'none': others do.")] = "127.0.0.1:5090",
    source: Annotated[str, typer.Option(help="Where callers speak from, HOST:PORT.")] = "127.0.0.1:5061",
    caller: Annotated[str, typer.Option("--from", help="The calling number.")] = DEFAULT_CALLER,
    callers: Annotated[Path | None, typer.Option(help="Calling numbers, one a line, in turn.")] = None,
    hangup: Annotated[Hangup, typer.Option(help="Who ends answered calls.")] = Hangup.CALLER,
    behaviour: Annotated[
        str, typer.Option(help="normal, busy, no-answer, cancel; or weights: normal=90,busy=5.")
    ] = "normal",
    ring: Annotated[float, typer.Option(min=0, max=300, help="Seconds the called side rings.")] = 0.0,
    increments: Annotated[str, typer.Option(help="FIRST/NEXT in seconds, to measure cuts against.")] = "1/1",
    limit: Annotated[
        float | None, typer.Option(min=0.1, help="End the run this many seconds after the last arrival.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header line to add to each INVITE.")] = None,
    admin: Annotated[str, typer.Option(help="The gate's admin URL, for the audit.")] = "",
    token: Annotated[
        str, typer.Option(envvar="CALLGATE_TOKEN", help="Its bearer token, or env:NAME or file:PATH.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report to this file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Make the same calls again.")] = None,
    fail_on: Annotated[
        str, typer.Option(help="Exit 1 where this is true: 'failed > 0 or setup_delay_ms.p99 > 3'.")
    ] = "",
) -> None:
    """Place calls through the gate, answer them, and say how it did."""
    asked = {key: str(value) for key, value in locals().items() if key != "token" and value not in (None, "", [])}
    plan = _plan(
        target=_sip_address(target),
        source=_address("--source", source),
        uas=None if uas == "none" else _address("--uas", uas),
        cps=cps,
        calls=calls,
        concurrent=concurrent,
        arrivals=ARRIVALS[arrivals],
        pairs=lambda: _pairs(numbers, caller, callers),
        mix=lambda: parse_mix(behaviour),
        hold=lambda: None if hangup is Hangup.GATEWAY and not hold else parse_hold(hold or "1"),
        hangup=str(hangup),
        ring_s=ring,
        seed=SystemRandom().getrandbits(32) if seed is None else seed,
        increments=lambda: _increments(increments),
        limit_s=limit,
        extra_headers=_extra(header or []),
    )
    asked["seed"] = str(plan.seed)
    checks = _Checks(_wrong_use(lambda: _expression(fail_on)) if fail_on else None, admin, token)
    raise typer.Exit(_carry_out(plan, asked, checks, html, as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Checks:
    """What a run has to stand up to: the expression of ``--fail-on`` and the audit of ``--admin``."""

    fail_on: ast.expr | None
    admin: str
    token: str

    def faults(self, figures: dict[str, Any]) -> list[str]:
        """What does not hold; puts the audit into ``figures``."""
        faults: list[str] = []
        figures["audit"] = None
        if self.admin:
            audited = _audit(self.admin, self.token, faults)
            figures["audit"] = audited.document() if audited else None
        if self.fail_on is not None:
            faults += _failed(self.fail_on, figures)
        return faults


def _carry_out(plan: Plan, asked: dict[str, str], checks: _Checks, html: Path | None, *, as_json: bool) -> int:
    """Play, check and show; returns the exit status."""
    played, figures = _play(plan, quiet=as_json)
    figures["seed"] = plan.seed
    figures["faults"] = checks.faults(figures)
    if html is not None:
        tally = played.tally
        _write(html, page("callgate-load", figures, asked, tally.series, tally.setup, tally.cut_error))
    if as_json:
        typer.echo(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        print_figures(Console(), figures)
    return 1 if figures["faults"] else 0


def main() -> None:
    """Entry point of the console script."""
    app()


def _plan(**options: Any) -> Plan:
    """The plan; options given as functions are read here, so that one place turns their errors into wrong use."""

    def read() -> Plan:
        lazily = ("pairs", "mix", "hold", "increments")
        return Plan(**{key: value() if key in lazily else value for key, value in options.items()})

    plan: Plan = _wrong_use(read)
    return plan


def _wrong_use(read: Any) -> Any:
    try:
        return read()
    except (HoldError, MixError, NumbersError, FailOnError, OSError) as error:
        raise typer.BadParameter(str(error)) from error


def _expression(text: str) -> ast.expr:
    expression = parse(text)
    check(expression, no_figures())
    return expression


def _sip_address(text: str) -> Address:
    found = address_of(text) if text.startswith("sip:") else None
    if found is None or ";transport=" in text.lower().replace(";transport=udp", ""):
        raise typer.BadParameter(f"--target {text!r}: expected sip:HOST:PORT (UDP), such as sip:127.0.0.1:5060")
    return found


def _address(option: str, text: str) -> Address:
    found = address_of(f"sip:{text}") if ":" in text else None
    if found is None or not 0 <= found.port <= 65535:
        raise typer.BadParameter(f"{option} {text!r}: expected HOST:PORT, such as 127.0.0.1:5061")
    return found


def _increments(text: str) -> Increments:
    first, slash, following = text.partition("/")
    if not (slash and first.isdigit() and following.isdigit() and int(first) and int(following)):
        raise typer.BadParameter(f"--increments {text!r}: expected FIRST/NEXT in whole seconds, such as 60/1")
    return Increments(int(first), int(following))


def _extra(lines: list[str]) -> str:
    if any(":" not in line or "\r" in line or "\n" in line for line in lines) or sum(map(len, lines)) > MAX_EXTRA:
        raise typer.BadParameter(f"--header: expected 'Name: value' lines of {MAX_EXTRA} characters in all")
    return "".join(f"{line}\r\n" for line in lines)


def _pairs(numbers: Path | None, caller: str, callers: Path | None) -> Pairs:
    calling = [line.strip() for line in callers.read_text().splitlines() if line.strip()] if callers else [caller]
    if not calling:
        raise NumbersError("the callers file is empty: give one number a line")
    if numbers is None:
        return made_up(calling)
    with numbers.open(encoding="utf-8") as lines:
        return from_lines(lines, calling)


def _play(plan: Plan, *, quiet: bool) -> tuple[Run, dict[str, Any]]:
    console = Console(stderr=True, quiet=quiet)
    with progress_on(console) as progress:
        played = Run(plan, Shown(progress, plan.calls))
        try:
            with _runner() as runner:
                return played, runner.run(_until_interrupted(played))
        except LineError as error:
            _give_up(str(error))


async def _until_interrupted(played: Run) -> dict[str, Any]:
    """Play the run; an interrupt ends it early, with what is up hung up and the figures so far."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, played.stop)
    return await played.play()


def _runner() -> asyncio.Runner:
    with contextlib.suppress(ImportError):
        import uvloop

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def _audit(url: str, token: str, faults: list[str]) -> Audit | None:
    try:
        found = audit(HttpBooks(url, _secret(token)))
    except (AuditError, OSError, KeyError) as error:
        faults.append(f"no audit: {error}")
        return None
    faults.extend(f"audit: {fault}" for fault in found.faults)
    faults.extend(f"audit of {tenant.tenant}: {fault}" for tenant in found.tenants for fault in tenant.faults)
    return found


def _secret(text: str) -> str:
    if text.startswith("env:"):
        return os.environ[text.removeprefix("env:")]
    if text.startswith("file:"):
        return Path(text.removeprefix("file:")).read_text().strip()
    return text


def _failed(expression: ast.expr, figures: dict[str, Any]) -> list[str]:
    text = ast.unparse(expression)
    try:
        return [f"--fail-on: {text}"] if holds(expression, figures) else []
    except NotMeasuredError as error:
        return [f"--fail-on: {text}: {error}"]
    except FailOnError as error:
        raise typer.BadParameter(str(error)) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        _give_up(f"--html {path}: {error.strerror}")


def _give_up(why: str) -> NoReturn:
    sys.stderr.write(f"callgate-load: {why}\n")
    raise typer.Exit(1)
