"""Build the directory snapshot that workers decide by from the ledger's tables.

Reading a large deck takes seconds, so decks are read on a thread, and a deck whose version has not changed since the
last snapshot is taken over as it was.  So are users: what the last snapshot had of them stays the same object, and goes
on to be used when that snapshot is dropped, or a hundred thousand of them would be thrown away at one stroke while the
worker that drops it carries calls.  For the same reason rows come in portions: a worker reads on a thread, and nothing
may hold the interpreter for milliseconds.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final, Literal

from sqlalchemy import func, literal, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.facts import policy_facts
from gateway.ledger import decks
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.schema import directory_version
from gateway.ledger.tables import service_numbers, tenants, users
from policy.directory import (
    NO_LIMITS,
    CountedLimits,
    DialRule,
    Directory,
    Night,
    ServiceNumber,
    Tenant,
    TenantLimits,
    Trunk,
    User,
)
from policy.funds import Holder, Purchased
from policy.unassigned import UnassignedRule
from rating.deck import Deck

TEXTS_KEPT = 10_000
"""JSON texts whose values are remembered: nearly all users share a few sets of licences and limits."""

ROWS_AT_ONCE = 1_000
"""Users fetched at once: about a millisecond's work."""

NOTHING: Final = "{}"
NO_LICENCES: Final = "[]"
"""What the tables hold for a user without limits, and without licences (gateway.ledger.provisioning)."""

People = dict[tuple[str, str], User]

Packed = tuple[bytes, str]
"""A gzipped deck file and the currency it was loaded with (empty: its own column says)."""


class DirectoryReader:
    """Reads directories; remembers the decks of the last one by their digest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decks: dict[tuple[str, str], Deck] = {}
        self._people: People = {}

    async def read(
        self, trunks: Mapping[str, Trunk], now_ms: int, failure_policy: Literal["terminate", "continue", "retry"]
    ) -> Directory:
        """One version of everything, all from one snapshot of the ledger.  Raises LedgerAway."""
        async with self._database.read(snapshot=True, limit_s=LONG_ANSWER_S) as connection:
            version = await directory_version(connection)
            tenant_rows = (await connection.execute(select(*_TENANT_COLUMNS).order_by(tenants.c.id))).mappings().all()
            people = await self._read_people(connection)
            number_rows = (await connection.execute(select(service_numbers))).mappings().all()
            files = await self._missing_files(connection, now_ms)
        for (name, digest), packed in files.items():
            if packed is not None:
                self._decks[name, digest] = await asyncio.to_thread(_read_packed, name, packed)
        self._decks = {key: self._decks[key] for key in files}
        self._people = people
        return Directory(
            version=version,
            trunks=dict(trunks),
            tenants={row["id"]: _tenant(row) for row in tenant_rows},
            users=people,
            users_by_number={user.number: user for user in people.values() if user.number},
            service_numbers={row["number"]: _service_number(row) for row in number_rows},
            decks={name: deck for (name, _), deck in self._decks.items()},
            failure_policy=failure_policy,
            facts=policy_facts(),
        )

    async def _read_people(self, connection: AsyncConnection) -> People:
        """The users now: the last ones with what has changed, or, where some are gone, made anew of the same ones."""
        people = {key: user for key, user in self._people.items()}  # noqa: C416  dict() would do it at one stroke
        count = 0
        async for user in _stream_users(connection):
            count += 1
            key = user.tenant_id, user.id
            if people.get(key) != user:
                people[key] = user
        if count == len(people):
            return people
        return {(user.tenant_id, user.id): self._same(user) async for user in _stream_users(connection)}

    def _same(self, user: User) -> User:
        known = self._people.get((user.tenant_id, user.id))
        return known if known is not None and known == user else user

    async def _missing_files(self, connection: AsyncConnection, now_ms: int) -> dict[tuple[str, str], Packed | None]:
        """Every deck in use by name and digest, with its file where it has not been read yet."""
        found: dict[tuple[str, str], Packed | None] = {}
        for version in await decks.list_versions(connection, now_ms):
            if version.in_use:
                key = (version.name, version.sha256)
                known = key in self._decks
                found[key] = None if known else (await decks.read_file(connection, version), version.currency)
        return found


async def read_tenants(database: Database, tenant_id: str | None = None) -> list[Tenant]:
    """One tenant (empty where there is none) or all, by id, without reading a deck.  Raises LedgerAway."""
    query = select(*_TENANT_COLUMNS).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    async with database.read() as connection:
        return [_tenant(row) for row in (await connection.execute(query)).mappings()]


async def read_users(database: Database, tenant_id: str, *, limited: bool = False) -> list[User]:
    """A tenant's users by id; with ``limited`` those that have limits of their own.  Raises LedgerAway."""
    query = select(*_USER_COLUMNS).where(users.c.tenant_id == tenant_id).order_by(users.c.id)
    if limited:
        query = query.where((users.c.limits != NOTHING) | users.c.spend_limit_per_month_micros.is_not(None))
    async with database.read() as connection:
        return [_user(row) for row in await connection.execute(query)]


async def count_holders(database: Database, tenant_id: str) -> Counter[Holder]:
    """How many users and resource accounts have which licences where (policy.funds).  Raises LedgerAway.

    Counted by the database: of a hundred thousand users some ten rows are read.
    """
    people = select(users.c.licences, users.c.usage_location, func.count()).where(
        users.c.tenant_id == tenant_id, users.c.licences != NO_LICENCES
    )
    accounts = select(service_numbers.c.licences, literal(""), func.count()).where(
        service_numbers.c.tenant_id == tenant_id, service_numbers.c.licences != NO_LICENCES
    )
    found: Counter[Holder] = Counter()
    async with database.read() as connection:
        grouped = people.group_by(users.c.licences, users.c.usage_location)
        for query in (grouped, accounts.group_by(service_numbers.c.licences)):
            for licences, location, count in await connection.execute(query):
                found[tenant_id, _licences(licences), location] += count
    return found


async def read_holder_ids(database: Database, holder: Holder) -> list[str]:
    """Ids of the users with these licences there, and numbers of the resource accounts.  Raises LedgerAway."""
    tenant_id, licences, location = holder
    text = json.dumps(licences)
    mine = (users.c.tenant_id == tenant_id, users.c.licences == text, users.c.usage_location == location)
    people = select(users.c.id).where(*mine).order_by(users.c.id)
    ours = (service_numbers.c.tenant_id == tenant_id, service_numbers.c.licences == text)
    accounts = select(service_numbers.c.number).where(*ours).order_by(service_numbers.c.number)
    async with database.read() as connection:
        found = list(await connection.scalars(people))
        return found if location else found + list(await connection.scalars(accounts))


async def read_service_numbers(database: Database, tenant_id: str) -> list[ServiceNumber]:
    """A tenant's service numbers.  Raises LedgerAway."""
    async with database.read() as connection:
        mine = service_numbers.c.tenant_id == tenant_id
        query = select(service_numbers).where(mine).order_by(service_numbers.c.number)
        return [_service_number(row) for row in (await connection.execute(query)).mappings()]


def _read_packed(name: str, packed: Packed) -> Deck:
    content, currency = packed
    return decks.read_deck(decks.DeckFile(name, decks.unpack(name, content), currency or None))


@lru_cache(TEXTS_KEPT)
def _limits(text: str) -> TenantLimits:
    values = json.loads(text)
    for name in ("blocked_prefixes", "open_high_risk"):
        if name in values:
            values[name] = tuple(values[name])
    if "night" in values:
        night = values["night"]
        values["night"] = Night(**night | {"blocked_prefixes": tuple(night.get("blocked_prefixes", ()))})
    if "classes" in values:
        values["classes"] = tuple((name, CountedLimits(**each)) for name, each in values["classes"])
    return TenantLimits(**values) if values else NO_LIMITS


@lru_cache(TEXTS_KEPT)
def _dial_plan(text: str) -> tuple[DialRule, ...]:
    return tuple(DialRule(pattern, translation) for pattern, translation in json.loads(text))


@lru_cache(TEXTS_KEPT)
def _licences(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_TENANT_COLUMNS = tuple(tenants.c[field.name] for field in fields(Tenant))
"""Only what policy needs: whom to tell, whose addresses hold secrets, is in no worker's memory or snapshot."""


def _tenant(row: RowMapping) -> Tenant:
    return Tenant(
        id=row["id"],
        name=row["name"],
        country=row["country"],
        currency=row["currency"],
        mode=row["mode"],
        credit_limit_micros=row["credit_limit_micros"],
        rate_deck=row["rate_deck"],
        licensing=row["licensing"],
        dial_out_policy=row["dial_out_policy"],
        failure_policy=row["failure_policy"],
        time_zone=row["time_zone"],
        limits=_limits(row["limits"]),
        dial_plan=_dial_plan(row["dial_plan"]),
        purchased=tuple(Purchased(sku, country, count) for sku, country, count in json.loads(row["purchased"])),
        unassigned=tuple(UnassignedRule(pattern, target) for pattern, target in json.loads(row["unassigned"])),
    )


_USER_COLUMNS = (
    users.c.id, users.c.tenant_id, users.c.number, users.c.name, users.c.usage_location, users.c.licences,
    users.c.dial_out_policy, users.c.blocked, users.c.barred_toll_free, users.c.spend_limit_per_month_micros,
    users.c.limits, users.c.dial_plan,
)  # fmt: skip
"""As the fields of User, so that a hundred thousand users are made without a look at a column's name."""


async def _stream_users(connection: AsyncConnection) -> AsyncIterator[User]:
    result = await connection.stream(select(*_USER_COLUMNS))
    async for rows in result.partitions(ROWS_AT_ONCE):
        for row in rows:
            yield _user(row)


def _user(row: Sequence[Any]) -> User:
    id_, tenant_id, number, name, location, licences, policy, blocked, barred, spend, limits, dial_plan = row
    return User(
        id_, tenant_id, number or "", name, location, _licences(licences), policy, blocked, barred, spend,
        _limits(limits), _dial_plan(dial_plan),
    )  # fmt: skip


def _service_number(row: RowMapping) -> ServiceNumber:
    return ServiceNumber(
        number=row["number"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        serves=row["serves"],
        deliver_to=row["deliver_to"],
        licences=_licences(row["licences"]),
        organiser=row["organiser"],
    )
