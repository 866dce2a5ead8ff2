"""Rates: decks loaded, listed and asked; and a call explained without placing it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.admin import pricing
from gateway.admin.documents import Document
from gateway.cli.common import AsJson, ConfigFile, TenantOption, actor, command, load, moment, not_empty, wait
from gateway.cli.output import Failure, console, print_facts, print_json, print_table
from gateway.cli.stores import announce_directory, open_desk, open_ledger
from gateway.ledger import Change, DeckVersion
from gateway.moments import iso_utc

app = typer.Typer(help="Rate decks.", no_args_is_help=True)

DECK_COLUMNS = ("name", "version", "currency", "rows", "effective_from", "loaded", "in_use")
DEFAULT_SECONDS = 60


class Kind(StrEnum):
    """What a PBX or bridge may say a call is (CONTRACT 6)."""

    USER = "user"
    CONFERENCE = "conference"
    FORWARD = "forward"
    TRANSFER = "transfer"
    ADD = "add"
    AUTO_ATTENDANT = "auto_attendant"
    CALL_QUEUE = "call_queue"


@app.command("load")
@command
def load_deck(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="CSV with a header row; may end in .gz.")],
    deck: Annotated[str, typer.Option("--deck", metavar="NAME", help="The deck it becomes.")],
    effective_from: Annotated[
        str | None, typer.Option("--effective-from", metavar="T", help="In use from then on; default now.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", help="Where file and deck have none yet.", callback=not_empty)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Load a rate deck; a bad row refuses the whole file and the deck in use stays."""
    settings = load(config)
    begins_ms = None if effective_from is None else moment(effective_from)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from error

    async def work() -> list[Change]:
        async with open_ledger(settings) as ledger:
            known = next((version.currency for version in await ledger.decks() if version.name == deck), None)
            changes = await ledger.load_deck(
                deck, data, currency=currency or known or None, effective_from_ms=begins_ms, actor=actor()
            )
            if changes:
                await announce_directory(settings, ledger)
            return changes

    changes = wait(work())
    if as_json:
        print_json({"deck": deck, "changed": bool(changes)})
    else:
        typer.echo(changes[0] if changes else f"deck {deck} is the same as the one in use")


@app.command("list")
@command
def list_decks(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every version of every deck."""
    settings = load(config)

    async def work() -> list[DeckVersion]:
        async with open_ledger(settings) as ledger:
            return await ledger.decks()

    rows = [_deck_document(version) for version in wait(work())]
    print_json(rows) if as_json else print_table(rows, DECK_COLUMNS, "no decks")


def _deck_document(version: DeckVersion) -> Document:
    return {
        "name": version.name,
        "version": version.version,
        "currency": version.currency,
        "rows": version.rows,
        "effective_from": iso_utc(version.effective_from_ms),
        "loaded": iso_utc(version.loaded_ms),
        "sha256": version.sha256,
        "in_use": version.in_use,
    }


@app.command("quote")
@command
def quote(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The number called, such as +442079460000.")],
    tenant: TenantOption,
    user: Annotated[str, typer.Option("--user", help="The user who calls.")] = "",
    seconds: Annotated[int, typer.Option("--seconds", min=0, help="Talk to be priced.")] = DEFAULT_SECONDS,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what a call to a number costs a tenant."""
    settings = load(config)

    async def work() -> Document:
        async with open_ledger(settings) as ledger:
            return await pricing.quote(ledger, number, tenant, user, seconds)

    found = wait(work())
    if as_json:
        print_json(found)
    else:
        rate = {f"rate {name}": value for name, value in found["rate"].items() if name != "changes"}
        print_facts({**found, **rate})
        _print_changes(found["rate"])


def _print_changes(rate: dict[str, Any]) -> None:
    """When the price changes within the call."""
    for change in rate["changes"]:
        typer.echo(f"from second {change['from_s']} of talk: {change['per_minute']} a minute")


@command
def explain(
    tenant: TenantOption,
    caller: Annotated[str, typer.Option("--from", help="The calling number.")],
    called: Annotated[str, typer.Option("--to", help="What is dialled.")],
    user: Annotated[str, typer.Option("--user", help="Who pays: the organiser, forwarder or transferrer.")] = "",
    kind: Annotated[Kind | None, typer.Option("--kind", help="What the call is.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide a call without placing it: allowed or not, by which rules, who pays, and for how long."""
    settings = load(config)
    question = pricing.Question(tenant, caller, called, user, kind.value if kind else "")

    async def work() -> Document:
        async with open_desk(settings) as desk:
            return await pricing.explain(desk, question)

    found = wait(work())
    if as_json:
        print_json(found)
    else:
        _print_explanation(found)


def _print_explanation(found: dict[str, Any]) -> None:
    verdict = "allowed" if found["allowed"] else f"refused {found['sip_status']} {found['reason']}: {found['text']}"
    console().print(f"[bold]{verdict}[/bold]")
    print_facts({name: found[name] for name in ("kind", "number", "destination", "currency", "max_seconds")})
    for share in found["pays"]:
        payer = " ".join(word for word in (share["payer"], share["pool"]) if word)
        typer.echo(f"pays: {payer} {share['amount']} for {share['seconds']} s")
    if found["rate"]:
        _print_changes(found["rate"])
    print_table(
        found["rules"],
        ("name", "passed", "outcome"),
        "no rule was tried",
    )
