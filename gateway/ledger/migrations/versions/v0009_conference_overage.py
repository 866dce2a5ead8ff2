"""What pays for a conference's dial-out once its minutes are used up: credits, or first the organiser's calling plan.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; for tenants that have said nothing it stays as it was, credits."""
    op.add_column("tenants", sa.Column("conference_overage", sa.Text(), nullable=False, server_default="credits"))


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")
