"""Postings, fundings and call records can only be added to, in the database itself; fundings keep their reason.

The triggers hold against a mistake and against whoever has the ledger's password but not the right to change its
tables.  Who may drop them can still change rows: that is what the hash chain and the heads kept outside are for
(gateway.ledger.verify).  On SQLite, REPLACE deletes without asking the triggers of DELETE, so there an insert over a
row that is there is refused as well.  A later migration that makes one of these tables anew on SQLite (batch mode)
has to make its triggers anew too.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEYS = {
    "postings": "tenant_id = NEW.tenant_id AND seq = NEW.seq",
    "fundings": "tenant_id = NEW.tenant_id AND reference = NEW.reference",
    "calls": "charge_id = NEW.charge_id OR id = NEW.id",
    "accounts": "tenant_id = NEW.tenant_id AND name = NEW.name",
}
"""What tells a row of each table that only grows; of accounts no row may go."""

_ELSEWHERE = """
NEW.tenant_id <> OLD.tenant_id OR NEW.name <> OLD.name OR (OLD.name = 'credit' AND (
    NEW.seq <= OLD.seq OR NEW.money_in_seq < OLD.money_in_seq OR NOT EXISTS (
        SELECT 1 FROM postings
        WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq AND hash = NEW.head AND balance_micros = NEW.balance_micros
    )
))
"""
"""A change of an account that its postings do not explain: it would end elsewhere than its chain, or go back."""


def upgrade() -> None:
    """Add the column, then the triggers."""
    op.add_column("fundings", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    if op.get_bind().dialect.name == "postgresql":
        _refuse_in_postgresql()
    else:
        _refuse_in_sqlite()


def downgrade() -> None:
    """Refuse: a ledger is restored from its backup, never taken back a version with money in it."""
    raise NotImplementedError("restore the ledger from a backup instead")


def _refuse_in_sqlite() -> None:
    for table, same in _KEYS.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only, book a correction instead'); END"
        op.execute(f"CREATE TRIGGER {table}_append_only_delete BEFORE DELETE ON {table} {refuse}")
        there = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  names of our own
        op.execute(f"CREATE TRIGGER {table}_append_only_insert BEFORE INSERT ON {table} {there} {refuse}")
        if table != "accounts":
            op.execute(f"CREATE TRIGGER {table}_append_only_update BEFORE UPDATE ON {table} {refuse}")
    refuse = "BEGIN SELECT RAISE(ABORT, 'an account ends where its last posting ends'); END"
    op.execute(f"CREATE TRIGGER accounts_follow_postings BEFORE UPDATE ON accounts WHEN {_ELSEWHERE} {refuse}")


def _refuse_in_postgresql() -> None:
    _make_function("callgate_append_only", "TG_TABLE_NAME || ' is append-only, book a correction instead'")
    _make_function("callgate_follow_postings", "'an account ends where its last posting ends'", f"IF {_ELSEWHERE} THEN")
    for table in _KEYS:
        events = "DELETE OR TRUNCATE" if table == "accounts" else "UPDATE OR DELETE OR TRUNCATE"
        _make_trigger(table, f"{table}_append_only", events, "STATEMENT", "callgate_append_only")
    _make_trigger("accounts", "accounts_follow_postings", "UPDATE", "ROW", "callgate_follow_postings")


def _make_function(name: str, said: str, condition: str = "") -> None:
    raising = f"RAISE EXCEPTION USING MESSAGE = {said}, ERRCODE = 'integrity_constraint_violation';"
    ending = "END IF; RETURN NEW;" if condition else ""
    body = f"BEGIN {condition} {raising} {ending} END"
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ {body} $body$")


def _make_trigger(table: str, name: str, events: str, each: str, function: str) -> None:
    """ALWAYS: also for connections that replicate, which pass ordinary triggers by."""
    op.execute(f"CREATE TRIGGER {name} BEFORE {events} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()")
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
