"""What tenants were told of, from the command line: who was told, who waits, and whether a tenant can be told at all.

``notices`` is a command by itself; ``notices test`` and ``notices key`` are for setting targets up.  What sends is
imported where it is needed: its HTTP client and languages would make every command start later.
"""

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.admin.documents import Document, notice_document
from gateway.cli.common import AnyTenant, AsJson, ConfigFile, TenantOption, command, load, wait
from gateway.cli.output import FAILED, Failure, note, print_json, print_table
from gateway.cli.stores import data_folder, open_ledger
from gateway.config.kept_secret import KeptSecretError
from gateway.config.settings import FILE_VARIABLE, Settings
from gateway.ledger.notices import Notice

if TYPE_CHECKING:
    from gateway.settlement.notify import Post

COLUMNS: Final = ("at", "tenant", "event", "target", "state", "tries", "due", "why")
TRIED_COLUMNS: Final = ("target", "state", "why")

app = typer.Typer()


@app.callback(invoke_without_command=True)
def notices(
    context: typer.Context,
    tenant: AnyTenant = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000, help="How many, newest first.")] = 50,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what tenants were told of, newest first: who was told, who waits for another try, who was given up."""
    if context.invoked_subcommand is None:
        show(tenant, last, config, as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"give options behind `{context.invoked_subcommand}`")
    elif config:
        os.environ[FILE_VARIABLE] = config


@command
def show(tenant: str | None, last: int, config: str | None, as_json: bool) -> None:
    """What ``notices`` does by itself."""
    settings = load(config)

    async def work() -> list[Document]:
        async with open_ledger(settings) as ledger:
            if tenant is not None:
                await ledger.tenant(tenant)
            return [notice_document(told) for told in await ledger.latest_notices(tenant, last)]

    found = wait(work())
    if as_json:
        print_json(found)
    else:
        print_table((row for told in found for row in _rows(told)), COLUMNS, "nobody was told of anything yet")


def _rows(told: Document) -> Iterator[dict[str, Any]]:
    """One row for each target; one without where nobody was to be told, or nobody has been yet."""
    about = {name: told[name] for name in ("at", "tenant", "event")}
    nobody = {"target": None, "state": "nobody to tell", "tries": None, "due": None, "why": None}
    if told["due"]:
        nobody |= {"state": "waiting", "due": told["due"]}
    for each in told["deliveries"] or [nobody]:
        yield about | {name: each[name] for name in COLUMNS[3:]}


@app.command("test")
@command
def send_test(tenant: TenantOption, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Send a test message to everybody a tenant names, now and once.

    Exit status 1 where one could not be reached.
    """
    settings = load(config)
    found = wait(_tried(settings, _post(settings), tenant))
    if as_json:
        print_json(found)
    else:
        print_table(found, TRIED_COLUMNS, "the tenant names nobody: give it notify targets or admins with roles")
    failed = sum(each["state"] == "failed" for each in found)
    if failed:
        note(f"{failed} of {len(found)} could not be reached; mend what stands beside each, then try again")
    return FAILED if failed else 0


async def _tried(settings: Settings, post: "Post", tenant_id: str) -> list[Document]:
    from gateway.settlement.notify import Senders
    from gateway.settlement.notify_events import TEST
    from gateway.settlement.notify_targets import targets
    from gateway.settlement.notify_webhook import NotTaken

    async with open_ledger(settings) as ledger:
        await ledger.tenant(tenant_id)
        tenant = (await ledger.contacts([tenant_id]))[tenant_id]
    now_ms = time.time_ns() // 1_000_000
    notice = Notice(tenant_id, TEST.name, str(now_ms), now_ms, {})
    senders, found = Senders(post), []
    try:
        for target in targets(TEST, tenant, post.mail):
            tried = {"target": target.label, "state": "sent", "why": None}
            try:
                await senders.send(notice, tenant, target)
            except NotTaken as error:
                tried |= {"state": "failed", "why": str(error)}
            found.append(tried)
    finally:
        await senders.close()
    return found


@app.command()
@command
def key(tenant: TenantOption, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the key that signs a tenant's webhooks: a secret, for that tenant alone."""
    from gateway.settlement.notify_webhook import tenant_key

    settings = load(config)

    async def work() -> None:
        async with open_ledger(settings) as ledger:
            await ledger.tenant(tenant)

    wait(work())
    found = tenant_key(_post(settings).secret, tenant)
    if as_json:
        print_json({"tenant": tenant, "key": found})
    else:
        note("keep it secret: who has it can sign messages to this tenant")
        typer.echo(found)


def _post(settings: Settings) -> "Post":
    from gateway.settlement.notify import read_post

    data_folder(settings)
    try:
        return read_post(settings)
    except KeptSecretError as error:
        raise Failure(str(error)) from error
