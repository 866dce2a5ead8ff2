"""Money from the command line: book it, see what is left, and compare the books."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from gateway.cli.common import AnyTenant, AsJson, ConfigFile, actor, amount, command, load, not_empty, wait
from gateway.cli.output import FAILED, note, print_facts, print_json, print_table
from gateway.cli.stores import open_desk

CHANGED_COLUMNS = ("tenant", "lost", "balance_before", "balance", "held_before", "held", "calls_before", "calls")
DRIFT_COLUMNS = ("tenant", "ledger", "balance", "held", "in_outbox", "unapplied", "expected", "drift_micros")

LOT_COLUMNS = ("id", "purchased_at", "expires_at", "source", "kind", "amount", "remaining", "reference")
PAYMENT_COLUMNS = ("asked_at", "state", "amount", "provider", "tries", "why", "key")


POOL_COLUMNS = ("pool", "month", "used", "held", "total")
POOLS_SHOWN = 30
"""For people; some licences make a pool for each user."""

LIMIT_COLUMNS = ("scope", "limits", "most", "used", "until")
CLOSED_COLUMNS = ("scope", "closed_at", "until")


class Kind(StrEnum):
    """Kinds of funding."""

    MANUAL = "manual"
    ADJUSTMENT = "adjustment"
    REFUND = "refund"


Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]


@command
def fund(
    tenant: Tenant,
    amount_text: Annotated[str, typer.Argument(metavar="AMOUNT", help="Money, such as 50 or 12.50.")],
    reference: Annotated[str, typer.Option("--reference", help="Unique for the tenant: the same one books once.")],
    kind: Annotated[Kind, typer.Option("--kind", help="Only an adjustment may be negative.")] = Kind.MANUAL,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with who booked it, and never changed.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Book money for a tenant; a mistake is corrected by an adjustment the other way, never by a change.

    Example: callgate fund contoso 50 --reference invoice-2026-17
    """
    micros = amount(amount_text)
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings, redis_needed=False) as desk:
            return await desk.fund(tenant, micros, reference, kind.value, actor(), reason)

    done = wait(work())
    if not done["applied"]:
        note("Redis is away: the money stands in the ledger, and calls can use it as soon as Redis is back")
    if as_json:
        print_json(done)
    elif done["repeated"]:
        typer.echo(f"{reference} was booked before: {done['amount']} for {tenant}; nothing was booked now")
    else:
        typer.echo(f"booked {done['amount']} for {tenant}; its ledger balance is {done['ledger_balance']}")


@command
def balance(tenant: Tenant, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what a tenant has, what its live calls hold, and what is left, of money and of included minutes."""
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings) as desk:
            return await desk.balance(tenant)

    found = wait(work())
    if as_json:
        print_json(found)
        return
    print_facts(found)
    if found["pools"]:
        print_table(found["pools"][:POOLS_SHOWN], POOL_COLUMNS, "")
    if len(found["pools"]) > POOLS_SHOWN:
        typer.echo(f"and {len(found['pools']) - POOLS_SHOWN} more pools; --json has all of them")


@command
def lots(
    tenant: Tenant,
    spent: Annotated[bool, typer.Option("--spent", help="Also those of which nothing is left.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a tenant's lots of credit, oldest first: each lasts twelve months, and calls use the oldest first."""
    settings = load(config)

    async def work() -> list[dict[str, Any]]:
        async with open_desk(settings, redis_needed=False) as desk:
            return await desk.lots(tenant, spent=spent)

    found = wait(work())
    print_json(found) if as_json else print_table(found, LOT_COLUMNS, "there is no credit")


@command
def recharge(tenant: Tenant, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how a tenant's auto-recharge stands, and its latest payments."""
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings, redis_needed=False) as desk:
            return await desk.recharge(tenant)

    found = wait(work())
    if as_json:
        print_json(found)
        return
    print_facts({name: value for name, value in found.items() if name != "payments"})
    print_table(found["payments"], PAYMENT_COLUMNS, "no payment was asked for yet")


@command
def limits(
    tenant: Tenant,
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            metavar="SCOPE",
            help="A closed range (range/+88213) or a spending limit (tenant/day).",
            callback=not_empty,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with who released it.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a tenant's limits, what is used of them, and the ranges that are closed; --release opens one again.

    A spending limit is counted anew from then on: what was spent in this hour, day or month counts no more, what live
    calls hold still does.  Limits of live calls and of calls a second open by themselves.

    Example: callgate limits contoso --release user/alice@contoso.com/month --reason "her father is ill"
    """
    if reason and not release:
        raise typer.BadParameter("only what is released has a reason", param_hint="--reason")
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings) as desk:
            return await (desk.release(tenant, release, actor(), reason) if release else desk.limits(tenant))

    found = wait(work())
    if as_json:
        print_json(found)
        return
    print_table(found["limits"], LIMIT_COLUMNS, "there are no limits")
    if found["closed"]:
        print_table(found["closed"], CLOSED_COLUMNS, "")


@command
def reconcile(
    tenant: AnyTenant = None,
    repair: Annotated[bool, typer.Option("--repair", help="First rebuild Redis from ledger and live calls.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Compare ledger, Redis, outbox and call records; exit status 1 where they differ.

    With --repair the Redis of all tenants is rebuilt before; a gate may be running, and grants nothing for a second.
    """
    settings = load(config)

    async def work() -> dict[str, Any]:
        async with open_desk(settings) as desk:
            return await (desk.repair(actor(), tenant) if repair else desk.reconcile(tenant))

    found = wait(work())
    if as_json:
        print_json(found)
    else:
        if repair:
            _print_rebuilt(found["rebuilt"])
        print_table(found["tenants"], DRIFT_COLUMNS, "there are no tenants")
        typer.echo(f"drift {found['drift_micros']} micros")
    if not found["clean"]:
        note("the books do not add up; the table shows where")
    return 0 if found["clean"] else FAILED


def _print_rebuilt(done: dict[str, Any]) -> None:
    """What a rebuild did, and the accounts that it changed."""
    print_table(done["accounts"], CHANGED_COLUMNS, "no account was changed")
    typer.echo(
        f"rebuilt in {done['seconds']} s: {len(done['accounts'])} accounts changed, {done['booked']} charges booked, "
        f"{done['calls_kept']} live calls kept, {done['calls_over']} ended, epoch {done['epoch']}"
    )
    for worker in done["workers_unheard"]:
        note(f"worker {worker} did not answer in time; its calls are taken in when it does")
