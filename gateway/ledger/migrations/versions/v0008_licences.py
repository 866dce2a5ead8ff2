"""What sizes the minute pools and who takes calls to unassigned numbers, in columns that every reader of the directory
may read: they stood among what only provisioning reads.  A conference number may be one organiser's.

Revision ID: 0008
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TENANTS = sa.table("tenants", sa.column("id"), sa.column("purchased"), sa.column("unassigned"), sa.column("more"))


def upgrade() -> None:
    """Add the columns, and move what tenants have said already."""
    op.add_column("tenants", sa.Column("purchased", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("tenants", sa.Column("unassigned", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("service_numbers", sa.Column("organiser", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    for id_, more in connection.execute(sa.select(_TENANTS.c.id, _TENANTS.c.more)).all():
        moved = _moved(json.loads(more))
        if moved is not None:
            connection.execute(sa.update(_TENANTS).where(_TENANTS.c.id == id_).values(moved))


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")


def _moved(more: dict[str, Any]) -> dict[str, str] | None:
    """The three columns of a tenant that has something to move; None where there is nothing."""
    if not more.keys() & {"purchased", "unassigned"}:
        return None
    purchased = [[each["sku"], each["usage_country"], each["count"]] for each in more.pop("purchased", ())]
    unassigned = [[each["pattern"], each["target"]] for each in more.pop("unassigned", ())]
    return {"purchased": _json(purchased), "unassigned": _json(unassigned), "more": _json(more)}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
