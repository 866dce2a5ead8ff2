"""Where the recharge of each account stands (policy.recharge has the table), moved inside other transactions.

The row of a tenant is changed under the lock of its account.  A tenant without a row is idle and never failed.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.tables import recharges
from policy.recharge import Happening, RechargeRule, Standing, State, move

_NEVER: Final = Standing()


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger has of an account's recharge: ``payment_key`` is of the pending payment, else empty."""

    standing: Standing = _NEVER
    payment_key: str = ""


def rule_of(text: str) -> RechargeRule:
    """The tenant's ``recharge`` as provisioning has written it."""
    return RechargeRule(**json.loads(text))


def kept_of(row: Any) -> Kept:
    """The row of ``recharges``; of a tenant without one all its values are None."""
    if row.state is None:
        return Kept()
    return Kept(Standing(State(row.state), row.failures, row.retry_ms), row.payment_key)


async def read(connection: AsyncConnection, tenant_id: str) -> Kept:
    """How the recharge of an account stands."""
    row = (await connection.execute(select(recharges).where(recharges.c.tenant_id == tenant_id))).first()
    return Kept() if row is None else kept_of(row)


async def keep(connection: AsyncConnection, tenant_id: str, kept: Kept) -> None:
    """Write it down, inside a transaction that holds the lock of the account."""
    values = {
        "state": kept.standing.state.value,
        "payment_key": kept.payment_key,
        "failures": kept.standing.failures,
        "retry_ms": kept.standing.retry_ms,
    }
    changed = await connection.execute(update(recharges).where(recharges.c.tenant_id == tenant_id).values(values))
    if changed.rowcount == 0:
        await connection.execute(insert(recharges).values(tenant_id=tenant_id, **values))


async def reset(connection: AsyncConnection, tenant_id: str, happening: Happening, now_ms: int) -> None:
    """Money by hand came in, or the settings changed: an account that rests may ask again."""
    kept = await read(connection, tenant_id)
    step = move(kept.standing, happening, now_ms)
    if step is not None:
        await keep(connection, tenant_id, Kept(step[1], kept.payment_key))
