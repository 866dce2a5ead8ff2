"""The audit log from the command line: who changed what, when, and how it stood before."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from gateway.admin.documents import Document, act_document
from gateway.cli.common import AnyTenant, AsJson, ConfigFile, command, load, period, wait
from gateway.cli.output import print_json_stream, print_table
from gateway.cli.stores import open_ledger

ACT_COLUMNS = ("at", "actor", "act", "tenant", "subject", "before", "after")


@command
def audit(
    tenant: AnyTenant = None,
    start: Annotated[str | None, typer.Option("--from", metavar="T", help="First date or time, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="T", help="Last date (whole), or a time.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show administrative acts, oldest first: money booked, tenants and decks changed, calls hung up, settings that
    touch money; each with who did it and what it changed.
    """
    settings = load(config)
    first_ms, past_ms = period(start, end)

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            found = (act_document(act) async for act in ledger.acts(tenant, first_ms, past_ms))
            if as_json:
                await print_json_stream(found)
            else:
                await _print(found)

    wait(work())


async def _print(found: AsyncIterator[Document]) -> None:
    rows = [{**act, **{side: _short(act[side]) for side in ("before", "after")}} async for act in found]
    print_table(rows, ACT_COLUMNS, "nothing was done yet")


def _short(facts: object) -> str:
    return "" if facts is None else json.dumps(facts, ensure_ascii=False)
