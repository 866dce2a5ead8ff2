"""The audit log of administrative acts, which can only be added to, as the books (v0003_append_only).

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its triggers."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_tenant_id_id"), "audit", ["tenant_id", "id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _refuse_in_postgresql()
    else:
        _refuse_in_sqlite()


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")


def _refuse_in_sqlite() -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"
    there = "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)"  # REPLACE deletes without asking DELETE's triggers
    op.execute(f"CREATE TRIGGER audit_append_only_insert BEFORE INSERT ON audit {there} {refuse}")
    op.execute(f"CREATE TRIGGER audit_append_only_update BEFORE UPDATE ON audit {refuse}")
    op.execute(f"CREATE TRIGGER audit_append_only_delete BEFORE DELETE ON audit {refuse}")


def _refuse_in_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION callgate_append_only()"
    )
    op.execute("ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only")
