"""What tenants are told of: notices, how far each has been delivered to whom, and the balance below which to tell.

Revision ID: 0005
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; ``notify_below`` becomes a column of its own, since every booked batch asks for it."""
    op.create_table(
        "notices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("crossing", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_notices_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("tenant_id", "event", "crossing", name=op.f("uq_notices_tenant_id_event_crossing")),
    )
    op.create_index(op.f("ix_notices_due_ms"), "notices", ["due_ms"], unique=False)
    op.create_index(op.f("ix_notices_at_ms"), "notices", ["at_ms"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_deliveries_notice_id_notices")),
        sa.PrimaryKeyConstraint("notice_id", "target", name=op.f("pk_deliveries")),
    )
    op.add_column("tenants", sa.Column("notify_below_micros", sa.BigInteger(), nullable=True))
    _move_notify_below()


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")


def _move_notify_below() -> None:
    """Out of the JSON of ``more``, where tenants of earlier versions have it."""
    tenants = sa.table(
        "tenants", sa.column("id", sa.Text), sa.column("more", sa.Text), sa.column("notify_below_micros", sa.BigInteger)
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(tenants.c.id, tenants.c.more)).all():
        more = json.loads(row.more)
        if "notify_below_micros" in more:
            below = more.pop("notify_below_micros")
            text = json.dumps(more, separators=(",", ":"), sort_keys=True)
            connection.execute(
                sa.update(tenants).where(tenants.c.id == row.id).values(more=text, notify_below_micros=below)
            )
