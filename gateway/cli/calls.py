"""Live calls: which there are, and ending one."""

from typing import Annotated, Any

import typer

from gateway.cli.common import AnyTenant, AsJson, ConfigFile, actor, command, load, wait
from gateway.cli.output import print_json, print_table
from gateway.cli.stores import open_desk

CALL_COLUMNS = ("id", "tenant", "from", "to", "kind", "state", "seconds", "charged", "held", "paid_until", "node")


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
