"""The tables of the ledger, as they are after the newest migration.

Double entry without a way to be unbalanced: a posting is one row that moves ``amount_micros`` into (or, negative, out
of) the tenant's credit account and the same amount out of (into) the account it names.  ``accounts`` carries the
balance of every account, moved in the same transaction, so the accounts of one tenant always add up to zero; the
view ``posting_lines`` shows the two lines of each posting for whoever wants to add them up in SQL.

Sequence, running balance and hash chain of a tenant are assigned under the lock of its credit account's row, never by
a database sequence (those commit out of order, MONEY 4).  All amounts are BIGINT micro-units, all moments BIGINT Unix
milliseconds.  Postings, fundings, call records and the audit log can only be added to, and an account only moves to
where its last posting ends: triggers of the database see to it (migrations v0003_append_only and v0004_audit).
Documents that nobody searches (limits, dial plans, call records) are JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CREDIT = "credit"
"""The account that is the tenant's balance; every other account of the tenant stands on the other side."""

REVENUE = "revenue"
"""The account that charges go to."""

# A counted row id: SQLite counts only INTEGER PRIMARY KEY by itself.
_RowId = BigInteger().with_variant(Integer, "sqlite")

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

decks = Table(
    "decks",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_gz", LargeBinary, nullable=False),
    Column("loaded_ms", BigInteger, nullable=False),
    Column("effective_from_ms", BigInteger, nullable=False),
    Column("announced", Boolean, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("credit_limit_micros", BigInteger, nullable=False),
    Column("rate_deck", Text, nullable=False),
    Column("licensing", Text, nullable=False),
    Column("dial_out_policy", Text, nullable=False),
    Column("failure_policy", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("minimum_funding_micros", BigInteger),
    Column("limits", Text, nullable=False),
    Column("dial_plan", Text, nullable=False),
    Column("purchased", Text, nullable=False, server_default="[]"),
    Column("unassigned", Text, nullable=False, server_default="[]"),
    Column("more", Text, nullable=False),
    Column("notify_below_micros", BigInteger),
    Column("recharge", Text, nullable=False, server_default="{}"),
    Column("billing_region", Text, nullable=False, server_default=""),
    Column("conference_overage", Text, nullable=False, server_default="credits"),
)

users = Table(
    "users",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("id", Text, nullable=False),
    Column("number", Text),
    Column("name", Text, nullable=False),
    Column("usage_location", Text, nullable=False),
    Column("licences", Text, nullable=False),
    Column("dial_out_policy", Text, nullable=False),
    Column("blocked", Boolean, nullable=False),
    Column("barred_toll_free", Boolean, nullable=False),
    Column("spend_limit_per_month_micros", BigInteger),
    Column("limits", Text, nullable=False),
    Column("dial_plan", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("number"),
)

service_numbers = Table(
    "service_numbers",
    metadata,
    Column("number", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("serves", Text, nullable=False),
    Column("deliver_to", Text, nullable=False),
    Column("licences", Text, nullable=False),
    Column("organiser", Text, nullable=False, server_default=""),
)

accounts = Table(
    "accounts",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("balance_micros", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("money_in_seq", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)

postings = Table(
    "postings",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("balance_micros", BigInteger, nullable=False),
    Column("reference", Text, nullable=False),
    Column("charge_id", Text, nullable=False),
    Column("record_sha256", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
    sqlite_with_rowid=False,
)

fundings = Table(
    "fundings",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("reference", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant_id", "reference"),
    Index(None, "tenant_id", "seq"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("charge_id", Text, nullable=False, unique=True),
    Column("tenant_id", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("trunk", Text, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("talk_ms", BigInteger, nullable=False),
    Column("charge_micros", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index(None, "tenant_id", "start_ms", "id"),
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("origin", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("why", Text, nullable=False),
    UniqueConstraint("origin"),
)

rebuilds = Table(
    "rebuilds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

outbox_marks = Table(
    "outbox_marks",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("entry_id", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "kind", "name", "label"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index(None, "tenant_id", "id"),
)

notices = Table(
    "notices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("event", Text, nullable=False),
    Column("crossing", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("figures", Text, nullable=False),
    Column("due_ms", BigInteger, index=True),
    UniqueConstraint("tenant_id", "event", "crossing"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("notice_id", ForeignKey("notices.id"), nullable=False),
    Column("target", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    PrimaryKeyConstraint("notice_id", "target"),
)

lots = Table(
    "lots",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("purchased_ms", BigInteger, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("remaining_micros", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("warned", Boolean, nullable=False),
    Column("parts", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
)

# Spent lots stay for ever and nobody looks for them: only those with something left are in these two.
_LEFT = text("remaining_micros > 0")
Index("ix_lots_open", lots.c.tenant_id, sqlite_where=_LEFT, postgresql_where=_LEFT)
Index("ix_lots_due", lots.c.expires_ms, sqlite_where=_LEFT, postgresql_where=_LEFT)

payments = Table(
    "payments",
    metadata,
    Column("key", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("payment_method", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_ms", BigInteger),
    Column("settled_ms", BigInteger),
    Index(None, "tenant_id", "asked_ms"),
    Index(None, "due_ms"),
)

recharges = Table(
    "recharges",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("state", Text, nullable=False),
    Column("payment_key", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_ms", BigInteger, nullable=False),
)
