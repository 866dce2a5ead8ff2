"""Who may do what in a PostgreSQL ledger: an owner that makes the tables, and users that only keep them.

What is booked is never changed: who keeps the books may add to them and read them, and nothing else, so that a stolen
password of the gate rewrites no posting and takes no trigger away.  Each right beyond that is declared here once, with
the columns where not all are needed; ``callgate export postgres-roles`` prints all of it as SQL.

BOOKING is the user of ``serve``: calls, charges, the rebuild of Redis.  It cannot change who pays at which price, and
reads where they are told of it, since the settler tells them.  APPLICATION may provision as well; it is the user of the
command line, and of a gate that has one settings file for both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table

from gateway.ledger.tables import (
    accounts,
    audit,
    calls,
    counters,
    decks,
    deliveries,
    fundings,
    lots,
    metadata,
    notices,
    outbox_marks,
    payments,
    postings,
    rebuilds,
    recharges,
    service_numbers,
    set_aside,
    settings,
    tenants,
    users,
)

OWNER: Final = "callgate_owner"
APPLICATION: Final = "callgate"
BOOKING: Final = "callgate_booking"

APPEND_ONLY: Final = (postings, fundings, calls, set_aside, audit)
"""Tables whose rows nobody but the owner may change or take away."""

COUNTED: Final = (calls, set_aside, audit)
"""Tables whose rows the database counts by a sequence."""

NOT_MADE: Final = (rebuilds,)
"""Tables whose rows only a migration makes."""

PROVISIONED: Final = (tenants, users, service_numbers, decks, accounts)
"""Tables that only provisioning adds rows to."""

BESIDE: Final = ("alembic_version", "posting_lines")
"""What is there beside the tables, to be read: the schema's version, and a view."""

FUNCTIONS: Final = ("callgate_append_only", "callgate_follow_postings")
"""What the triggers call."""


@dataclass(frozen=True, slots=True)
class Right:
    """What may be done to a table beside reading it and adding rows; no ``columns``: to all of them."""

    table: Table
    what: str
    columns: tuple[str, ...] = ()


KEEPING: Final = (
    Right(settings, "UPDATE", ("value",)),  # the directory's version
    Right(decks, "UPDATE", ("announced",)),  # never a price that was in use
    Right(accounts, "UPDATE", ("balance_micros", "seq", "money_in_seq", "head")),  # its row lock asks for it too
    Right(rebuilds, "UPDATE", ("epoch", "holder", "until_ms")),
    Right(outbox_marks, "UPDATE", ("entry_id",)),
    Right(counters, "UPDATE", ("amount",)),
    Right(counters, "DELETE"),  # what was spent in periods that are over
    Right(lots, "UPDATE", ("remaining_micros", "warned", "parts")),  # what was bought, and when, stays as it was
    Right(payments, "UPDATE", ("state", "provider_id", "why", "tries", "due_ms", "settled_ms")),
    Right(recharges, "UPDATE", ("state", "payment_key", "failures", "retry_ms")),
    Right(notices, "UPDATE", ("due_ms",)),  # what was to be told stays as it was
    Right(notices, "DELETE"),  # after [notifications] keep_days
    Right(deliveries, "DELETE"),
    Right(deliveries, "UPDATE", ("label", "state", "tries", "at_ms", "due_ms", "why")),
)
"""Both users."""

PROVISIONING: Final = (
    Right(tenants, "UPDATE"),
    Right(users, "DELETE"),  # changed ones are taken out and put in again
    Right(service_numbers, "DELETE"),
)
"""APPLICATION alone."""

_HEAD: Final = f"""\
-- Roles of a Callgate ledger in PostgreSQL.  As a superuser, in the gate's database:
--   psql --dbname=callgate --file=roles.sql
-- 1. before the first start; 2. run any command of callgate once as the owner, which makes the tables, such as
-- `callgate check` with ledger.url = "postgresql://{OWNER}@HOST/callgate"; 3. this file again, for their rights;
-- 4. ledger.url = "postgresql://{APPLICATION}@HOST/callgate".  After an update: 2 and 3 again.
-- With a settings file of its own `callgate serve` may be {BOOKING}, which cannot provision.
-- Passwords are not set here: \\password {OWNER} and so on in psql.
DO $$
DECLARE each record;
BEGIN
  FOR each IN SELECT unnest(ARRAY['{OWNER}', '{APPLICATION}', '{BOOKING}']) AS name LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = each.name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', each.name);
    END IF;
  END LOOP;
  EXECUTE format('ALTER DATABASE %I OWNER TO {OWNER}', current_database());
  -- a temporary table would be found before the one that a trigger looks into
  EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC, {APPLICATION}, {BOOKING}', current_database());
END $$;
ALTER SCHEMA public OWNER TO {OWNER};
REVOKE ALL ON SCHEMA public FROM PUBLIC, {APPLICATION}, {BOOKING};
GRANT USAGE, CREATE ON SCHEMA public TO {OWNER};
GRANT USAGE ON SCHEMA public TO {APPLICATION}, {BOOKING};
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {APPLICATION}, {BOOKING};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, {APPLICATION}, {BOOKING};
"""  # noqa: S608  names of this file, nothing that comes from outside

_OWN: Final = f"""\
DO $$
DECLARE each record;
BEGIN
  -- tables that were made before there were roles
  FOR each IN SELECT unnest(ARRAY[%s]) AS name LOOP
    IF to_regclass('public.' || each.name) IS NOT NULL THEN
      EXECUTE format('ALTER TABLE public.%%I OWNER TO {OWNER}', each.name);
    END IF;
  END LOOP;
  FOR each IN SELECT unnest(ARRAY[%s]) AS name LOOP
    IF to_regproc('public.' || each.name) IS NOT NULL THEN
      EXECUTE format('ALTER FUNCTION public.%%I OWNER TO {OWNER}', each.name);
    END IF;
  END LOOP;
END $$;
"""

_GRANT: Final = """\
DO $$
DECLARE each record;
BEGIN
  FOR each IN SELECT * FROM (VALUES
%s
  ) AS rights (who, what, relation) LOOP
    IF to_regclass('public.' || each.relation) IS NOT NULL THEN
      EXECUTE format('GRANT %%s ON public.%%I TO %%I', each.what, each.relation, each.who);
    END IF;
  END LOOP;
END $$;
"""


def postgres_roles() -> str:
    """The SQL: may be run any number of times; rights that are not in it any more are taken back."""
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    granted = [
        (role, rights, relation)
        for role in (APPLICATION, BOOKING)
        for relation, rights in (
            *((table.name, _rights(role, table)) for table in tables),
            *((name, "SELECT") for name in BESIDE),
            *((f"{table.name}_id_seq", "USAGE") for table in COUNTED),
        )
    ]
    names = [*(table.name for table in tables), *BESIDE]
    rows = ",\n".join(f"    ({_listed(row)})" for row in granted)
    return _HEAD + _OWN % (_listed(names), _listed(FUNCTIONS)) + _GRANT % rows


def _rights(role: str, table: Table) -> str:
    """What a user may do to a table, as GRANT says it."""
    rights = ["SELECT"]
    if table not in NOT_MADE and not (role == BOOKING and table in PROVISIONED):
        rights.append("INSERT")
    more = KEEPING if role == BOOKING else (*KEEPING, *PROVISIONING)
    return ", ".join(rights + [_what(right.what, right.columns) for right in more if right.table is table])


def _what(right: str, columns: tuple[str, ...]) -> str:
    return f"{right} ({', '.join(columns)})" if columns else right


def _listed(words: Iterable[str]) -> str:
    """SQL texts; none of these names has a quote in it."""
    return ", ".join(f"'{word}'" for word in words)
