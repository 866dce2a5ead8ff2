"""Lots, payments and recharges; recharge settings and billing region become columns of their own.

Money that is there already becomes lots: what is left of a balance is what came in last, since the oldest is used
first.  Each lot lasts twelve months from its own funding.

Revision ID: 0006
"""

import json
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LEFT = sa.text("remaining_micros > 0")


def upgrade() -> None:
    """Make the tables, then what they say of the money that is there."""
    _make_lots()
    _make_payments()
    op.add_column("tenants", sa.Column("recharge", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("tenants", sa.Column("billing_region", sa.Text(), nullable=False, server_default=""))
    _move_columns()
    op.execute(
        sa.text(
            "INSERT INTO accounts (tenant_id, name, balance_micros, seq, money_in_seq, head) "
            "SELECT id, 'forfeited', 0, 0, 0, :head FROM tenants"
        ).bindparams(sa.bindparam("head", bytes(32), type_=sa.LargeBinary()))
    )
    _fill_lots()


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")


def _make_lots() -> None:
    op.create_table(
        "lots",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("purchased_ms", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("remaining_micros", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("warned", sa.Boolean(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_lots_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "seq", name=op.f("pk_lots")),
    )
    op.create_index("ix_lots_open", "lots", ["tenant_id"], sqlite_where=_LEFT, postgresql_where=_LEFT)
    op.create_index("ix_lots_due", "lots", ["expires_ms"], sqlite_where=_LEFT, postgresql_where=_LEFT)


def _make_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("payment_method", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.Column("settled_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_payments_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_tenant_id_asked_ms"), "payments", ["tenant_id", "asked_ms"], unique=False)
    op.create_index(op.f("ix_payments_due_ms"), "payments", ["due_ms"], unique=False)
    op.create_table(
        "recharges",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment_key", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_recharges_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_recharges")),
    )


def _move_columns() -> None:
    """Out of the JSON of ``more``, which the settler may not read, since it holds addresses with passwords."""
    names = ("id", "more", "recharge", "billing_region")
    tenants = sa.table("tenants", *(sa.column(name, sa.Text) for name in names))
    connection = op.get_bind()
    for row in connection.execute(sa.select(tenants.c.id, tenants.c.more)).all():
        more = json.loads(row.more)
        moved = {"recharge": _text(more.pop("recharge", {})), "billing_region": more.pop("billing_region", "")}
        connection.execute(sa.update(tenants).where(tenants.c.id == row.id).values(more=_text(more), **moved))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _fill_lots() -> None:
    connection = op.get_bind()
    rows = connection.exec_driver_sql(
        "SELECT f.tenant_id, f.seq, f.at_ms, f.amount_micros, a.balance_micros FROM fundings f "
        "JOIN accounts a ON a.tenant_id = f.tenant_id AND a.name = 'credit' "
        "WHERE f.amount_micros > 0 ORDER BY f.tenant_id, f.seq DESC"
    ).all()
    made = [lot for _, some in groupby(rows, lambda row: row[0]) for lot in _lots_of(list(some))]
    table = sa.table(
        "lots",
        *(sa.column(name) for name in ("tenant_id", "seq", "purchased_ms", "amount_micros", "remaining_micros")),
        *(sa.column(name) for name in ("expires_ms", "source", "warned", "parts")),
    )
    if made:
        op.bulk_insert(table, made)


def _lots_of(fundings: list[Any]) -> list[dict[str, Any]]:
    """One tenant's lots; ``fundings`` come newest first."""
    left, found = max(0, fundings[0][4]), []
    for tenant_id, seq, at_ms, amount, _balance in fundings:
        remaining = min(left, amount)
        left -= remaining
        found.append(
            {
                "tenant_id": tenant_id,
                "seq": seq,
                "purchased_ms": at_ms,
                "amount_micros": amount,
                "remaining_micros": remaining,
                "expires_ms": _year_later(at_ms),
                "source": "manual",
                "warned": False,
                "parts": 0,
            }
        )
    return found


def _year_later(at_ms: int) -> int:
    whole_s, rest_ms = divmod(at_ms, 1000)
    bought = datetime.fromtimestamp(whole_s, UTC)
    day = 28 if (bought.month, bought.day) == (2, 29) else bought.day
    return int(bought.replace(year=bought.year + 1, day=day).timestamp()) * 1000 + rest_ms
