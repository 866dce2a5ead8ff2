"""The printed rights on a real PostgreSQL: each user does its work with them, and nobody rewrites what was booked."""

import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway.ledger import CallEntry, Ledger, LedgerAway, WithdrawalEntry
from gateway.ledger.audit import Act
from gateway.ledger.entries import Source
from gateway.ledger.notices import Delivery
from gateway.ledger.roles import (
    APPEND_ONLY,
    APPLICATION,
    BOOKING,
    FUNCTIONS,
    KEEPING,
    NOT_MADE,
    OWNER,
    PROVISIONED,
    PROVISIONING,
    postgres_roles,
)
from gateway.ledger.tables import metadata
from gateway.ledger.verify import GROWING, TRIGGERS

from ..cluster import Cluster
from ..roles import Guarded

pytestmark = pytest.mark.peer("postgres")

REFUSED = ("must be owner", "must be superuser", "permission denied")
DENIED = {
    "a trigger gone": "DROP TRIGGER postings_append_only ON postings",
    "a trigger off": "ALTER TABLE accounts DISABLE TRIGGER accounts_follow_postings",
    "all triggers off": "SET session_replication_role = replica",
    "another function": "CREATE OR REPLACE FUNCTION callgate_append_only() RETURNS trigger LANGUAGE sql AS ''",
    "a function gone": "DROP FUNCTION callgate_append_only CASCADE",
    "a table": "CREATE TABLE t (n int)",
    "a temporary table": "CREATE TEMPORARY TABLE postings (n int)",
    "a schema": "CREATE SCHEMA s",
    "another schema": "DROP SCHEMA public CASCADE",
    "another database": "DROP DATABASE postgres",
    "a deck in use": "UPDATE decks SET file_gz = ''",
    "a tenant gone": "DELETE FROM tenants",
    "an account's name": "UPDATE accounts SET name = 'x'",
    "a mark gone": "DELETE FROM outbox_marks",
    "another leader's lock": "DELETE FROM rebuilds",
    "the schema's version": "UPDATE alembic_version SET version_num = ''",
    "passwords of users": "SELECT rolpassword FROM pg_authid",
    "files of the server": "SELECT pg_read_file('/etc/passwd')",
    "programs of the server": "COPY (SELECT 1) TO PROGRAM 'id'",
    "a role": "CREATE ROLE mallory",
    "the owner": f"SET ROLE {OWNER}",
}
"""What neither user may."""

DENIED_TO_BOOKING = {
    "the terms of a tenant": "UPDATE tenants SET credit_limit_micros = 5",
    "a tenant": "INSERT INTO tenants (id) VALUES ('mallory')",
    "a user": "DELETE FROM users",
    "a number": "DELETE FROM service_numbers",
    "a price": "INSERT INTO decks (name) VALUES ('cheap')",
    "an account": "INSERT INTO accounts (tenant_id) VALUES ('contoso')",
}

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def guarded(postgres: Cluster) -> Iterator[Guarded]:
    made = Guarded(postgres, f"guarded_{next(_numbers)}")
    yield made
    made.close()


@pytest.fixture
async def application(guarded: Guarded, document: Callable[..., Any]) -> AsyncIterator[Ledger]:
    """Signed in as the command line is, with a tenant whose addresses hold a token."""
    async with Ledger(guarded.url(APPLICATION)) as ledger:
        await ledger.migrate()  # nothing is left to do
        user = {"id": "a@contoso.com", "number": "+14255550100"}
        mail = ["slack://hunter2/hunter2/hunter2"]
        await ledger.provision(document({"id": "contoso", "user": [user], "notify": mail}), actor="cli:ann")
        yield ledger


@pytest.fixture
async def booking(guarded: Guarded) -> AsyncIterator[Ledger]:
    """Signed in as ``serve`` may be."""
    async with Ledger(guarded.url(BOOKING)) as ledger:
        await ledger.migrate()
        yield ledger


async def test_the_application_does_its_work(application: Ledger, document: Callable[..., Any], call: Any) -> None:
    number = {"number": "+18005550199", "kind": "toll_free", "serves": "conference", "deliver_to": "pbx"}
    await application.provision(document({"id": "contoso", "service_number": [number]}), actor="cli:ann")
    await application.provision(document({"id": "contoso", "mode": "postpaid", "credit_limit": "5"}), actor="cli:ann")
    deck = b"prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,9,0,1,1\n"
    assert await application.load_deck("standard", deck, currency="USD", actor="cli:ann")
    reference = f"r{next(_numbers)}"
    await application.fund("contoso", 5_000_000, reference)
    assert (await application.book([WithdrawalEntry(f"{reference}-out", "contoso", 1_000)])).booked == 1
    number_now = await application.begin_rebuild("me", 0)
    await application.end_rebuild("me", number_now)
    assert (await application.verify_chain("contoso")).intact
    assert {act.act async for act in application.acts("contoso")} >= {"tenant.changed", "service_number.removed"}


@pytest.mark.usefixtures("application")
async def test_booking_does_its_work(booking: Ledger, call: Callable[..., CallEntry]) -> None:
    await booking.try_write()
    assert await booking.partitions(8) == 8
    assert (await booking.directory({})).tenants["contoso"].id == "contoso"
    assert [tenant.id for tenant in await booking.tenants()] == ["contoso"]
    assert await booking.users("contoso")
    assert await booking.service_numbers("contoso") == []
    epoch = await booking.begin_rebuild("me", 0)
    await booking.renew_rebuild("me", epoch)
    await booking.end_rebuild("me", epoch)
    await booking.adopt_epoch(epoch)
    for mark in ("5-0", "6-0"):
        entries = [call(charge_id=f"{mark}-{epoch}"), call("nobody", origin=mark)]
        booked = await booking.book(entries, Source(epoch, {1: mark}))
        assert (booked.booked, len(booked.set_aside)) == (1, 1)
    assert (await booking.outbox_marks())[1] == "6-0"
    out = WithdrawalEntry(f"out-{epoch}", "contoso", 1_000, actor="http:admin-token")
    assert (await booking.book([out])).booked == 1
    assert (await booking.book([call(charge=0, reason="LIMIT_SPEND", charge_id=f"halt-{epoch}")])).booked == 1
    for told in await booking.claim_notices(10**15, 10**15, 10):
        for state in ("waiting", "sent"):
            await booking.keep_delivery(told.notice.id, Delivery("t", "label", state, 1, 5))
        await booking.look_again({told.notice.id: None})
    assert (await booking.latest_notices("contoso", 1))[0].due_ms is None
    assert (await booking.contacts(["contoso"]))["contoso"].notify
    await booking.announce_due_decks()
    await booking.note(Act("http:admin-token", "call.hangup", "contoso", "c1", {"held": "1"}))
    await booking.note_settings("gate-1", {"tick_s": epoch})
    assert [act async for act in booking.acts()]
    assert [posting async for posting in booking.postings("contoso")]
    assert [record async for record in booking.usage("contoso", refused=True)]
    assert (await booking.totals())[0].accounts_micros == 0
    assert await booking.heads()
    assert await booking.missing_triggers() == []
    assert (await booking.verify_chain("contoso")).intact


async def test_booking_provisions_nothing(booking: Ledger, application: Ledger, document: Any) -> None:
    changed = document({"id": "contoso", "mode": "postpaid", "credit_limit": "1000"})
    with pytest.raises(LedgerAway, match=r"permission denied.*export postgres-roles") as refused:
        await booking.provision(changed, actor="x")
    assert "hunter2" not in str(refused.value)
    assert (await application.tenant("contoso")).credit_limit_micros == 0


@pytest.mark.parametrize("user", [APPLICATION, BOOKING])
@pytest.mark.parametrize("table", [table.name for table in APPEND_ONLY])
@pytest.mark.parametrize("act", ["UPDATE {} SET tenant_id = 'x'", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"])
def test_nothing_booked_is_rewritten(guarded: Guarded, user: str, table: str, act: str) -> None:
    assert any(why in guarded.refusal(user, act.format(table)) for why in REFUSED)


@pytest.mark.parametrize("user", [APPLICATION, BOOKING])
@pytest.mark.parametrize("what", DENIED)
def test_what_nobody_need_do_is_refused(guarded: Guarded, user: str, what: str) -> None:
    said = guarded.refusal(user, DENIED[what])
    assert any(why in said for why in REFUSED), said


@pytest.mark.parametrize("what", DENIED_TO_BOOKING)
def test_who_keeps_the_books_sets_no_terms(guarded: Guarded, what: str) -> None:
    assert "permission denied" in guarded.refusal(BOOKING, DENIED_TO_BOOKING[what])


def test_rights_are_taken_from_who_made_the_tables_before(postgres: Cluster) -> None:
    """A ledger that one user has made and kept so far: it owns all, down to the database."""
    guarded = Guarded(postgres, f"guarded_{next(_numbers)}")
    try:
        for table in [*(table.name for table in metadata.tables.values()), "alembic_version"]:
            postgres.sql(f"ALTER TABLE {table} OWNER TO {BOOKING}", guarded.name)
        for function in FUNCTIONS:
            postgres.sql(f"ALTER FUNCTION {function} OWNER TO {BOOKING}", guarded.name)
        postgres.sql(f"ALTER SCHEMA public OWNER TO {BOOKING}", guarded.name)
        postgres.sql(f"ALTER DATABASE {guarded.name} OWNER TO {BOOKING}", guarded.name)
        assert guarded.refusal(BOOKING, "ALTER TABLE postings DISABLE TRIGGER postings_append_only") == ""
        guarded.allow()
        for what in ("a trigger off", "a function gone", "another schema", "a temporary table", "a schema"):
            assert any(why in guarded.refusal(BOOKING, DENIED[what]) for why in REFUSED), what
        assert guarded.refusal(BOOKING, "SELECT id FROM tenants") == ""
    finally:
        guarded.close()


async def test_only_the_owner_makes_tables(postgres: Cluster) -> None:
    """After an update, and where the file was carried out before there were tables."""
    name = f"guarded_{next(_numbers)}"
    postgres.create(name)
    try:
        postgres.sql(postgres_roles(), name)
        for user in (APPLICATION, BOOKING):
            async with Ledger(postgres.url(name, user=user).replace("postgresql:", "postgresql+asyncpg:")) as ledger:
                with pytest.raises(LedgerAway, match="permission denied"):
                    await ledger.migrate()
    finally:
        postgres.drop(name)


def test_every_table_is_decided_about() -> None:
    given = {right.table for right in (*KEEPING, *PROVISIONING)}
    assert not given & set(APPEND_ONLY)
    assert given | set(APPEND_ONLY) == set(metadata.tables.values())
    assert set(GROWING) <= {table.name for table in APPEND_ONLY}
    assert set(PROVISIONED) | set(NOT_MADE) <= given
    for right in (*KEEPING, *PROVISIONING):
        assert set(right.columns) <= set(right.table.c.keys())


def test_the_functions_are_those_of_the_triggers(guarded: Guarded) -> None:
    found = guarded.cluster.sql(
        "SELECT tgname || ' ' || proname FROM pg_trigger JOIN pg_proc ON tgfoid = pg_proc.oid WHERE NOT tgisinternal",
        guarded.name,
    )
    triggers, functions = zip(*(line.split(" ") for line in found.splitlines()), strict=True)
    assert set(triggers) == TRIGGERS["postgresql"]
    assert set(functions) == set(FUNCTIONS)
    assert re.match(r"-- Roles of a Callgate ledger", postgres_roles())
