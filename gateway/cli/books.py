"""The ledger from the command line: show a tenant's postings, and check that they are what was booked.

``ledger`` is a command by itself, and ``ledger verify`` another one with options of its own.
"""

import os
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from gateway.admin.documents import posting_document
from gateway.cli.common import AnyTenant, AsJson, ConfigFile, command, load, not_empty, wait
from gateway.cli.output import FAILED, note, print_json, print_json_stream, print_table
from gateway.cli.stores import data_folder, open_ledger
from gateway.config.settings import FILE_VARIABLE, Settings
from gateway.ledger import ChainVerdict, HeadFiles, HeadsError, Ledger, LotFault, kept_hashes
from rating.money import format_amount

POSTING_COLUMNS: Final = ("id", "at", "kind", "amount", "balance", "reference", "call_id")
VERDICT_COLUMNS: Final = ("tenant", "intact", "lines", "proved_line", "missing_records", "broken_line", "why")

TENANTS_AT_ONCE: Final = 1_000
"""Tenants of one walk through the files of heads: three months of a thousand tenants are some 25 MB of memory."""

app = typer.Typer()


@app.callback(invoke_without_command=True)
def ledger(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="The tenant's id; required.", callback=not_empty)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a tenant's postings with running balance, oldest first."""
    if context.invoked_subcommand is None:
        if tenant is None:
            raise typer.BadParameter("give the tenant's id", param_hint="--tenant")
        show(tenant, config, as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"give options behind `{context.invoked_subcommand}`")
    elif config:
        os.environ[FILE_VARIABLE] = config


@command
def show(tenant: str, config: str | None, as_json: bool) -> None:
    """What ``ledger`` does by itself."""
    settings = load(config)

    async def work() -> None:
        async with open_ledger(settings) as books:
            postings = (posting_document(posting) async for posting in books.postings(tenant))
            if as_json:
                await print_json_stream(postings)
            else:
                print_table([posting async for posting in postings], POSTING_COLUMNS, "nothing was booked yet")

    wait(work())


@app.command()
@command
def verify(tenant: AnyTenant = None, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Check that the ledger is what was booked: its hash chains, the heads of them kept daily, and its lots.

    Exit status 1 where it is not; the first line that is wrong is named.
    """
    settings = load(config)
    found = wait(_verified(settings, tenant))
    if as_json:
        print_json(found)
    else:
        print_table(found["tenants"], VERDICT_COLUMNS, "there are no tenants")
        typer.echo(f"heads were kept on {found['heads']['days']} days, last on {found['heads']['newest'] or 'none'}")
    if problems := found["problems"]:
        more = f" (and {len(problems) - 1} more, see --json)" if problems[1:] else ""
        note(f"the ledger is not as it was booked: {problems[0]}{more}; compare it with a backup")
    return 0 if found["intact"] else FAILED


async def _verified(settings: Settings, tenant: str | None) -> dict[str, Any]:
    """The document of ``ledger verify``.  Raises UnknownTenant, LedgerAway."""
    files = HeadFiles(data_folder(settings))
    async with open_ledger(settings) as books:
        missing = await books.missing_triggers()
        problems = [f"the ledger's tables are not protected: its trigger {name} is gone" for name in missing]
        problems += _files_fault(files)
        verdicts = await _verdicts(books, files, tenant, trusted=not problems[len(missing) :])
        lots = await books.lot_faults(None if tenant is None else [tenant])
    problems += [f"{each.tenant_id}: line {each.broken_seq}: {each.why}" for each in verdicts if not each.intact]
    problems += [_lots_fault(each) for each in lots]
    days = files.days()
    return {
        "intact": not problems,
        "problems": problems,
        "heads": {"days": len(days), "newest": days[-1] if days else ""},
        "tenants": [_verdict_document(each) for each in verdicts],
    }


def _lots_fault(fault: LotFault) -> str:
    """Lots may be wrong without a wrong line: they stand beside the books."""
    left, balance = format_amount(fault.lots_micros), format_amount(fault.balance_micros)
    return f"{fault.tenant_id}: its lots add up to {left}, and its balance is {balance}"


def _files_fault(files: HeadFiles) -> list[str]:
    """What is wrong with the files themselves; only the first such thing is known."""
    try:
        for _ in files.read_all(()):
            pass
    except (OSError, HeadsError) as error:
        return [str(error)]
    return []


async def _verdicts(books: Ledger, files: HeadFiles, tenant: str | None, *, trusted: bool) -> list[ChainVerdict]:
    """Each tenant that the ledger or a trusted file of heads knows, or the one asked for."""
    if tenant is not None:
        return await _group(books, files, [tenant], trusted)
    known = {account.tenant_id for account in await books.accounts()}
    if trusted and (days := files.days()):
        known |= {head.tenant_id for head in files.read(days[-1]).heads}
    wanted = sorted(known)
    groups = [wanted[start : start + TENANTS_AT_ONCE] for start in range(0, len(wanted), TENANTS_AT_ONCE)]
    return [verdict for group in groups for verdict in await _group(books, files, group, trusted)]


async def _group(books: Ledger, files: HeadFiles, tenants: Sequence[str], trusted: bool) -> list[ChainVerdict]:
    kept = kept_hashes(files.read_all(set(tenants))) if trusted else {}
    return [await books.verify_chain(tenant, kept.get(tenant)) for tenant in tenants]


def _verdict_document(verdict: ChainVerdict) -> dict[str, Any]:
    return {
        "tenant": verdict.tenant_id,
        "intact": verdict.intact,
        "lines": verdict.length,
        "head": verdict.head.hex(),
        "proved_line": verdict.proved_seq,
        "missing_records": verdict.missing_records,
        "broken_line": verdict.broken_seq,
        "why": verdict.why,
    }
