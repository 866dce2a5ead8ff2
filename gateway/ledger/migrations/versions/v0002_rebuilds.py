"""What the ledger remembers of the Redis above it: its epoch, who rebuilds it, and what it had in its outboxes last.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the one row of ``rebuilds`` (no epoch was ever opened) and the empty table of outbox marks."""
    rebuilds = op.create_table(
        "rebuilds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebuilds")),
    )
    op.bulk_insert(rebuilds, [{"id": 1, "epoch": 0, "holder": "", "until_ms": 0}])
    op.create_table(
        "outbox_marks",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_outbox_marks")),
    )


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")
