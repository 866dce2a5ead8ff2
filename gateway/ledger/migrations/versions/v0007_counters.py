"""Minutes used of pools, and money counted against spending limits, by tenant and period.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty: calls that were booked before used no pool and met no limit."""
    op.create_table(
        "counters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_counters_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "name", "label", name=op.f("pk_counters")),
    )


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")
