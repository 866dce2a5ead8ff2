"""What reports ask of the ledger beside call records: who was blocked, and what a tenant's least funding is."""

from collections.abc import AsyncIterator

from sqlalchemy import or_, select

from gateway.ledger import audit as audit_log
from gateway.ledger.audit import Act
from gateway.ledger.engine import Database
from gateway.ledger.errors import UnknownTenant
from gateway.ledger.tables import audit, tenants

_IS_BLOCKED = '%"blocked": true%'
"""How the audit log writes the flag of a user who is blocked (:func:`gateway.ledger.audit.write`)."""

_USER_ACTS = ("user.added", "user.changed", "user.removed")


def read_blockings(database: Database, tenant_id: str) -> AsyncIterator[Act]:
    """Acts that blocked a user of the tenant, or ended that, oldest first.  Raises LedgerAway."""
    flipped = or_(audit.c.before.like(_IS_BLOCKED), audit.c.after.like(_IS_BLOCKED))
    return audit_log.read(database, tenant_id, None, None, audit.c.act.in_(_USER_ACTS) & flipped)


async def minimum_funding(database: Database, tenant_id: str) -> int | None:
    """A tenant's least funding in micro-units; None where it has none.  Raises UnknownTenant, LedgerAway."""
    query = select(tenants.c.id, tenants.c.minimum_funding_micros).where(tenants.c.id == tenant_id)
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        raise UnknownTenant(tenant_id)
    return None if row[1] is None else int(row[1])
