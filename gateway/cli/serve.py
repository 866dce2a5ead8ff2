"""``serve`` runs the gate until it is told to end; ``check`` says beforehand what it would meet."""

import asyncio
import socket
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from gateway.admin.token import admin_token
from gateway.cli.common import AsJson, ConfigFile, command, load, wait
from gateway.cli.output import FAILED, Failure, note, print_json
from gateway.cli.stores import data_folder, open_credit, open_ledger
from gateway.config import settings as config_files
from gateway.config.problems import ConfigError, Problem
from gateway.config.settings import Settings
from gateway.credit.admin import StoreError
from gateway.credit.embedded import EmbeddedError
from gateway.ledger import Ledger, LedgerError
from gateway.redaction import redact
from gateway.sip.uri import SipUri, parse_uri
from gateway.transport.locate import locate
from gateway.transport.resolver import Resolver
from gateway.transport.tls import Contexts, TlsError

RESOLVE_S = 5.0
"""How long a name of a trunk may take to resolve before it is a problem."""


class Role(StrEnum):
    """Which processes run here."""

    ALL = "all"
    WORKER = "worker"
    SETTLER = "settler"
    ADMIN = "admin"


@command
def serve(
    role: Annotated[Role, typer.Option("--role", help="One role by itself, as containers have it.")] = Role.ALL,
    cut_on_drain: Annotated[
        bool, typer.Option("--cut-on-drain", help="Hang up what is live when the drain ends, but emergency calls.")
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Run the gate in the foreground until SIGTERM or SIGINT; prints `callgate ready` once calls can come."""
    from gateway import supervisor  # the processes' rooms are imported only here

    settings = load(config)
    if role in (Role.ALL, Role.ADMIN):
        data_folder(settings)
        admin_token(settings)  # whoever reads "callgate ready" finds it made
    return supervisor.serve(settings, role=role.value, cut_on_drain=cut_on_drain)


@command
def check(config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Validate the settings, reach Redis and ledger, resolve the trunks' names, and read the certificates.

    What is not taken literally is said beside it and is no problem.
    """
    file = str(config_files.find_file(config) or "")
    try:
        settings = load(config)
        problems = wait(_reach(settings, file))
        notices = settings.notices
    except ConfigError as error:
        problems, notices = list(error.problems), []
    if as_json:
        told = [{"file": p.file, "key": p.key, "value": p.value, "expected": p.expected} for p in problems]
        print_json({"file": file or None, "ok": not problems, "problems": told, "notices": notices})
    else:
        typer.echo(f"settings: {file or 'the defaults, there is no file'}")
        for notice in notices:
            note(notice)
        for problem in problems:
            typer.echo(problem)
        typer.echo("all is well" if not problems else f"{len(problems)} problems")
    if problems:
        note("the configuration has problems; mend each key that is named")
    return FAILED if problems else 0


async def _reach(settings: Settings, file: str) -> list[Problem]:
    problems: list[Problem] = []
    try:
        async with open_ledger(settings) as ledger:
            problems += await _reach_redis(settings, ledger, file)
    except (LedgerError, Failure) as error:
        problems.append(Problem(file, "ledger.url", f'"{redact(settings.ledger.url)}"', str(error)))
    resolver = Resolver(settings.sip.nameservers)
    for key, target, uri in _names(settings):
        if why := await _unresolved(uri, resolver):
            problems.append(Problem(file, key, f'"{target}"', why))
    return problems + _certificates(settings, file)


def _certificates(settings: Settings, file: str) -> list[Problem]:
    try:
        Contexts(settings.sip.tls)
    except TlsError as error:
        return [Problem(file, "sip.tls", "", str(error))]
    return []


async def _reach_redis(settings: Settings, ledger: Ledger, file: str) -> list[Problem]:
    try:
        async with open_credit(settings, ledger) as credit:
            await credit.ping()
    except (StoreError, EmbeddedError) as error:
        return [Problem(file, "redis.url", f'"{redact(settings.redis.url)}"', str(error))]
    return []


def _names(settings: Settings) -> Iterator[tuple[str, str, SipUri]]:
    """Every target of every trunk: its key, and the URI as it is written and read."""
    for place, trunk in enumerate(settings.trunk):
        for index, target in enumerate(trunk.targets):
            uri = parse_uri(target.uri)
            if isinstance(uri, SipUri):
                yield f"trunk[{place}].targets[{index}]", target.uri, uri


async def _unresolved(uri: SipUri, resolver: Resolver) -> str:
    """Why nothing leads to a target; empty where something does: DNS as calls ask it, else the machine's own ways."""
    loop, host = asyncio.get_running_loop(), uri.params.get("maddr") or uri.host
    try:
        async with asyncio.timeout(RESOLVE_S):
            if (await locate(uri, resolver.ask, families=("A", "AAAA"))).ways:
                return ""
            await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except TimeoutError:
        return f"the name {host} was not resolved within {RESOLVE_S:g} s"
    except OSError as error:
        return f"the name {host} has no address ({error.strerror}); mend the name or the resolver"
    return ""
