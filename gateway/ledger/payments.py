"""Payment requests of auto-recharge: written down with their key before anybody is asked, settled once.

A payment has one key for its life; it is what the payment service knows it by and the reference of its posting.  So a
crash between any two steps is mended by asking again with the same key: the service answers what it answered, and
the ledger books what it has not.  Every change is made under the lock of the tenant's account, in the transaction that
moves the account's recharge by its table (policy.recharge), books the money and adds the notice.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger import funding, journal, notices, recharging
from gateway.ledger.chain import Tail
from gateway.ledger.engine import Database
from gateway.ledger.entries import Booked
from gateway.ledger.errors import LedgerRefused, UnknownPayment, UnknownTenant
from gateway.ledger.notices import Notice
from gateway.ledger.recharging import Kept
from gateway.ledger.tables import payments, recharges, tenants
from gateway.moments import iso_utc
from policy.recharge import DAY_MS, Happening, RechargeLimits, RechargeRule, State, due, move
from rating.money import format_amount

ACTOR: Final = "recharge"
"""Who books a recharge, for hash chain and audit log."""

DUE_EACH: Final = 100
"""Payments asked about in one turn."""

WHY_CHARS_MAX: Final = 200
"""Of what a payment service says of a decline, so much is kept and told."""

PaymentState = Literal["pending", "paid", "declined"]


@dataclass(frozen=True, slots=True)
class Payment:
    """One request for money of a tenant, ``amount_micros`` in ``currency``.

    ``key`` is fixed before anybody is asked.  ``customer`` and ``payment_method`` are as they were then: a service
    refuses a key that comes again with another request.  ``provider_id`` is the service's own name of the payment,
    empty until it is known; ``why`` what it said last.  ``due_ms`` is when it is asked next, None where never.
    """

    key: str
    tenant_id: str
    amount_micros: int
    currency: str
    provider: str
    customer: str
    payment_method: str
    state: PaymentState
    provider_id: str
    why: str
    asked_ms: int
    tries: int
    due_ms: int | None
    settled_ms: int | None


@dataclass(frozen=True, slots=True)
class Recharging:
    """A prepaid tenant that recharges itself, and how its recharge stands."""

    tenant_id: str
    rule: RechargeRule
    kept: Kept


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a payment.  ``booked`` is its posting; ``changed``: only now, not by an earlier answer."""

    payment: Payment
    changed: bool
    booked: Booked | None = None


async def read_rechargers(database: Database, tenant_id: str | None = None) -> list[Recharging]:
    """Prepaid tenants whose recharge is set up (or this one), by id.  Raises LedgerAway."""
    wanted = (
        select(tenants.c.id, tenants.c.recharge, recharges)
        .outerjoin(recharges, recharges.c.tenant_id == tenants.c.id)
        .where(tenants.c.recharge != "{}", tenants.c.mode == "prepaid")
        .order_by(tenants.c.id)
    )
    if tenant_id is not None:
        wanted = wanted.where(tenants.c.id == tenant_id)
    async with database.read() as connection:
        rows = (await connection.execute(wanted)).all()
    return [Recharging(row.id, recharging.rule_of(row.recharge), recharging.kept_of(row)) for row in rows]


async def begin(
    database: Database,
    tenant_id: str,
    has_micros: int,
    seen_seq: int,
    provider: str,
    limits: RechargeLimits,
    now_ms: int,
) -> Payment | None:
    """Write down a payment request where the tenant is to be recharged now; None where it is not, or may not be.

    ``has_micros`` is policy.recharge.usable_micros as Redis had it after the money in of ledger line ``seen_seq``:
    where more has come in since, it says nothing.  A tenant that may not be funded gets a notice and rests.
    """

    async def work(connection: AsyncConnection) -> Payment | None:
        tail = (await journal.lock_tails(connection, [tenant_id])).get(tenant_id)
        if tail is None or tail.money_in_seq > seen_seq:
            return None
        tenant = await funding.read_terms(connection, tenant_id)
        rule, kept = recharging.rule_of(tenant.recharge), await recharging.read(connection, tenant_id)
        asked = await _asked(connection, tenant_id, now_ms)
        happening = due(kept.standing, rule, limits, has_micros, asked, now_ms)
        if happening is None or tenant.mode != "prepaid":
            return None
        refusal = funding.refusal_of(tenant, rule.amount_micros)
        if refusal is not None:
            await _fail(connection, tenant_id, kept, Happening.REFUSED, _failure(rule.amount_micros, refusal), now_ms)
            return None
        payment = _request(tenant, rule, provider, now_ms)
        await connection.execute(insert(payments).values(_row(payment)))
        step = move(kept.standing, happening, now_ms)
        assert step is not None, "due() names only happenings that lead on"
        await recharging.keep(connection, tenant_id, Kept(step[1], payment.key))
        return payment

    return await database.transact(work)


async def _asked(connection: AsyncConnection, tenant_id: str, now_ms: int) -> Sequence[int]:
    """When the payments of the last day were asked for."""
    recent = (payments.c.tenant_id == tenant_id, payments.c.asked_ms > now_ms - DAY_MS)
    return (await connection.scalars(select(payments.c.asked_ms).where(*recent))).all()


def _request(tenant: Any, rule: RechargeRule, provider: str, now_ms: int) -> Payment:
    return Payment(
        f"recharge-{uuid.uuid4()}", tenant.id, rule.amount_micros, tenant.currency, provider, rule.customer,
        rule.payment_method, "pending", "", "", now_ms, 0, now_ms, None,
    )  # fmt: skip


def _row(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in Payment.__dataclass_fields__}


async def ask_by_hand(database: Database, tenant_id: str, rule: RechargeRule, has_micros: int, now_ms: int) -> bool:
    """Note ``recharge.due``, once until money comes in: somebody is to fund by hand; whether it is new."""

    async def work(connection: AsyncConnection) -> bool:
        tail = (await journal.lock_tails(connection, [tenant_id])).get(tenant_id)
        if tail is None:
            return False
        figures = {
            "amount": format_amount(rule.amount_micros),
            "trigger": format_amount(rule.trigger_micros),
            "balance": format_amount(has_micros),
        }
        notice = Notice(tenant_id, "recharge.due", f"after:{tail.money_in_seq}", now_ms, figures)
        return await notices.add(connection, [notice]) > 0

    return await database.transact(work)


def _payments() -> Select[Any]:
    return select(*(payments.c[name] for name in Payment.__dataclass_fields__))


async def read_due(database: Database, now_ms: int) -> list[Payment]:
    """At most DUE_EACH pending payments that are to be asked about now, longest due first.  Raises LedgerAway."""
    wanted = _payments().where(payments.c.due_ms <= now_ms).order_by(payments.c.due_ms, payments.c.key)
    async with database.read() as connection:
        return [Payment(*row) for row in await connection.execute(wanted.limit(DUE_EACH))]


async def read_latest(database: Database, tenant_id: str, most: int) -> list[Payment]:
    """The latest payments of a tenant, newest first.  Raises LedgerAway."""
    wanted = _payments().where(payments.c.tenant_id == tenant_id)
    async with database.read() as connection:
        rows = await connection.execute(wanted.order_by(payments.c.asked_ms.desc(), payments.c.key).limit(most))
        return [Payment(*row) for row in rows]


async def read_one(database: Database, key: str) -> Payment:
    """One payment.  Raises UnknownPayment or LedgerAway."""
    async with database.read() as connection:
        return await _read(connection, key)


async def _read(connection: AsyncConnection, key: str) -> Payment:
    row = (await connection.execute(_payments().where(payments.c.key == key))).first()
    if row is None:
        raise UnknownPayment(key)
    return Payment(*row)


async def postpone(database: Database, payment: Payment, due_ms: int, provider_id: str, why: str) -> None:
    """Nobody knows yet: ask again at ``due_ms`` what became of it.  Raises LedgerAway."""
    values = {"due_ms": due_ms, "tries": payments.c.tries + 1, "why": why[:WHY_CHARS_MAX]}
    if provider_id:
        values["provider_id"] = provider_id
    mine = (payments.c.key == payment.key, payments.c.state == "pending")
    async with database.write() as connection:
        await connection.execute(update(payments).where(*mine).values(values))


async def settle(
    database: Database, key: str, state: Literal["paid", "declined"], provider_id: str, why: str, now_ms: int
) -> Settled:
    """Book what became of a payment, once; a decline after which it is paid all the same is mended.

    Raises UnknownPayment, AmountRefused where the balance would become too large, LedgerAway.
    """
    tenant_id = (await read_one(database, key)).tenant_id

    async def work(connection: AsyncConnection) -> Settled:
        tail = (await journal.lock_tails(connection, [tenant_id])).get(tenant_id)
        if tail is None:
            raise UnknownTenant(tenant_id)
        payment = await _read(connection, key)
        if payment.state == "paid" or payment.state == state:
            return Settled(payment, changed=False)
        values = {"state": state, "why": why[:WHY_CHARS_MAX], "due_ms": None, "settled_ms": now_ms}
        if provider_id:
            values["provider_id"] = provider_id
        await connection.execute(update(payments).where(payments.c.key == key).values(values))
        if state == "paid":
            booked = await _add(connection, tail, payment, now_ms)
            return Settled(await _read(connection, key), changed=True, booked=booked)
        kept = await recharging.read(connection, tenant_id)
        if kept.payment_key == key:
            failure = _failure(payment.amount_micros, why[:WHY_CHARS_MAX]) | {"reference": key}
            await _fail(connection, tenant_id, kept, Happening.DECLINED, failure, now_ms)
        return Settled(await _read(connection, key), changed=True)

    return await database.transact(work)


async def _add(connection: AsyncConnection, tail: Tail, payment: Payment, now_ms: int) -> Booked:
    why = funding.Why(ACTOR, payment.provider)
    booked = await funding.book(connection, tail, payment.amount_micros, payment.key, "recharge", why, now_ms)
    kept = await recharging.read(connection, tail.tenant_id)
    current = kept.payment_key == payment.key and kept.standing.state is State.PENDING
    step = move(kept.standing, Happening.PAID if current else Happening.PAID_LATE, now_ms)
    assert step is not None, "a payment that is made is added in every state"
    await recharging.keep(connection, tail.tenant_id, Kept(step[1], "" if current else kept.payment_key))
    figures = {
        "amount": format_amount(payment.amount_micros),
        "balance": format_amount(booked.balance_micros),
        "reference": payment.key,
    }
    await notices.add(connection, [Notice(tail.tenant_id, "recharge.succeeded", payment.key, now_ms, figures)])
    return booked


def _failure(amount_micros: int, why: str | LedgerRefused) -> dict[str, str]:
    return {"amount": format_amount(amount_micros), "why": str(why)}


async def _fail(
    connection: AsyncConnection, tenant_id: str, kept: Kept, happening: Happening, figures: dict[str, str], now_ms: int
) -> None:
    step = move(kept.standing, happening, now_ms)
    assert step is not None, "only what is pending is declined, and only what may ask is refused"
    await recharging.keep(connection, tenant_id, Kept(step[1]))
    figures |= {"next_try_at": iso_utc(step[1].retry_ms, "seconds")}
    crossing = figures.get("reference", f"refused:{now_ms}")
    await notices.add(connection, [Notice(tenant_id, "recharge.failed", crossing, now_ms, cast(Any, figures))])
