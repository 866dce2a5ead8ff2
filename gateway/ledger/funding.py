"""Money into a tenant's account (and, for adjustments that Redis has agreed to, out of it), once by its reference.

A reference is unique for its tenant: repeated with the same amount and kind it books once and says so, with another it
is refused (MONEY 9).  Money out is never booked here: Redis gives it up first and it arrives through the outbox
(MONEY 4), so what this file does for it is only the check before.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import audit, journal, lots, recharging
from gateway.ledger.booking import MAX_TEXT, funding_act, funding_row
from gateway.ledger.chain import Tail, funding_digest
from gateway.ledger.engine import Database
from gateway.ledger.entries import FUNDING_KINDS, Booked
from gateway.ledger.errors import (
    AmountRefused,
    BelowMinimum,
    LedgerRefused,
    ReferenceConflict,
    RegionMismatch,
    UnknownTenant,
)
from gateway.ledger.tables import fundings, postings, tenants
from policy.recharge import Happening
from rating.money import MAX_MICROS, format_amount

OURS: Final = ("expiry:", "recharge-")
"""How the references of expiries and recharges begin: one that a person had used would stop them."""


@dataclass(frozen=True, slots=True)
class Why:
    """Who books money, and why; both enter the hash chain."""

    actor: str = ""
    reason: str = ""


async def fund(
    database: Database, tenant_id: str, amount_micros: int, reference: str, kind: str, why: Why, now_ms: int
) -> Booked:
    """Book money in.  Raises UnknownTenant, ReferenceConflict, AmountRefused, RegionMismatch or LedgerAway."""
    check_request(amount_micros, reference, kind)
    check_reason(why.reason)
    if amount_micros < 0:
        raise AmountRefused("money out is not booked directly", "withdraw it from Redis first")

    async def work(connection: AsyncConnection) -> Booked:
        tail = (await journal.lock_tails(connection, [tenant_id])).get(tenant_id)
        if tail is None:
            raise UnknownTenant(tenant_id)
        known = await _known(connection, tenant_id, amount_micros, reference, kind)
        if known:
            return known
        if kind == "manual":
            await _check_fundable(connection, tenant_id, amount_micros)
            await recharging.reset(connection, tenant_id, Happening.FUNDED, now_ms)
        return await book(connection, tail, amount_micros, reference, kind, why, now_ms)

    return await database.transact(work)


async def find(database: Database, tenant_id: str, amount_micros: int, reference: str, kind: str) -> Booked | None:
    """The funding of this reference if it is booked.  Raises as :func:`fund`, for negative adjustments too."""
    check_request(amount_micros, reference, kind)
    async with database.read() as connection:
        if await connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant_id)) is None:
            raise UnknownTenant(tenant_id)
        return await _known(connection, tenant_id, amount_micros, reference, kind)


def check_reason(reason: str) -> None:
    """A reason is what people type.  Raises AmountRefused."""
    if len(reason) > MAX_TEXT or not reason.isprintable():
        raise AmountRefused("the reason is too long or not printable", f"give at most {MAX_TEXT} characters")


def check_request(amount_micros: int, reference: str, kind: str) -> None:
    """What can be said about a funding without looking anything up.  Raises AmountRefused."""
    if kind not in FUNDING_KINDS:
        raise AmountRefused(f"{kind!r} is not a kind of funding", f"use one of {', '.join(FUNDING_KINDS)}")
    if not reference or len(reference) > MAX_TEXT or not reference.isprintable():
        raise AmountRefused("the reference is empty, too long or not printable", f"give 1 to {MAX_TEXT} characters")
    if reference != reference.strip():
        raise AmountRefused("the reference begins or ends with a blank", "leave it away: one reference is one booking")
    if reference.startswith(OURS):
        raise AmountRefused(f"references that begin with {', '.join(OURS)} are the gate's own", "choose another one")
    if amount_micros == 0:
        raise AmountRefused("an amount of zero moves nothing", "give an amount")
    if amount_micros < 0 and kind != "adjustment":
        raise AmountRefused(f"a {kind} funding cannot be negative", "use --kind adjustment to take money out")
    if abs(amount_micros) > MAX_MICROS:
        raise AmountRefused("the amount is too large", f"stay within {format_amount(MAX_MICROS)}")


async def _known(
    connection: AsyncConnection, tenant_id: str, amount_micros: int, reference: str, kind: str
) -> Booked | None:
    found = await connection.execute(
        select(fundings.c.seq, fundings.c.kind, fundings.c.amount_micros, postings.c.balance_micros)
        .join(postings, (postings.c.tenant_id == fundings.c.tenant_id) & (postings.c.seq == fundings.c.seq))
        .where(fundings.c.tenant_id == tenant_id, fundings.c.reference == reference)
    )
    row = found.first()
    if row is None:
        return None
    if (row.amount_micros, row.kind) != (amount_micros, kind):
        raise ReferenceConflict(
            tenant_id,
            reference,
            f"{row.kind} {format_amount(row.amount_micros)}",
            f"{kind} {format_amount(amount_micros)}",
        )
    return Booked(tenant_id, row.seq, amount_micros, row.balance_micros, reference, kind, repeated=True)


async def _check_fundable(connection: AsyncConnection, tenant_id: str, amount_micros: int) -> None:
    refusal = refusal_of(await read_terms(connection, tenant_id), amount_micros)
    if refusal is not None:
        raise refusal


_TERMS = select(
    *(tenants.c[name] for name in ("id", "country", "currency", "mode", "minimum_funding_micros")),
    *(tenants.c[name] for name in ("billing_region", "recharge")),
)


async def read_terms(connection: AsyncConnection, tenant_id: str) -> Any:
    """What says how a tenant may be funded: the row of one that is there."""
    return (await connection.execute(_TERMS.where(tenants.c.id == tenant_id))).one()


def refusal_of(tenant: Any, amount_micros: int) -> LedgerRefused | None:
    """Why a customer may not pay in so much, or at all; None where it may.  ``tenant`` is its row.

    Refunds and adjustments are not asked: they correct, and are of any amount (CONTRACT 4).
    """
    minimum = tenant.minimum_funding_micros
    if minimum is not None and amount_micros < minimum:
        return BelowMinimum(
            f"{BelowMinimum.code}: {format_amount(amount_micros)} is less than the tenant's minimum_funding",
            f"fund at least {format_amount(minimum)}",
        )
    region = tenant.billing_region
    if region and region.upper() != tenant.country:
        return RegionMismatch(
            f"{RegionMismatch.code}: tenant {tenant.id!r} is in {tenant.country}, its billing address in {region}",
            "provision the same country and billing_region",
        )
    return None


async def book(
    connection: AsyncConnection, tail: Tail, amount_micros: int, reference: str, kind: str, why: Why, now_ms: int
) -> Booked:
    """Book money in of a tenant whose account is locked, and make its lot.  Raises AmountRefused."""
    if tail.balance_micros + amount_micros > MAX_MICROS:
        raise AmountRefused("the balance would become too large", f"keep it within {format_amount(MAX_MICROS)}")
    digest = funding_digest(why.actor, why.reason)
    line = tail.append(now_ms, kind, journal.OTHER_SIDE[kind], amount_micros, reference=reference, record_sha256=digest)
    await journal.write_lines(connection, [tail], [line])
    await connection.execute(insert(fundings).values(funding_row(line, why.actor, why.reason)))
    await lots.add(connection, line, "auto" if kind == "recharge" else "manual")
    await audit.write(connection, [funding_act(line, why.actor, why.reason)])
    return Booked(tail.tenant_id, line.seq, amount_micros, line.balance_micros, reference, kind, repeated=False)
