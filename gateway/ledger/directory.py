"""Build the directory snapshot that workers decide by from the ledger's tables.

Reading a large deck takes seconds, so decks are read on a thread, and a deck whose version has not changed since the
last snapshot is taken over as it was.  So are users: what the last snapshot had of them stays the same object, and goes
on to be used when that snapshot is dropped, or a hundred thousand of them would be thrown away at one stroke while the
worker that drops it carries calls.  For the same reason rows come in portions: a worker reads on a thread, and nothing
may hold the interpreter for milliseconds.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.facts import policy_facts
from gateway.ledger import decks
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.entries import DeckVersion
from gateway.ledger.schema import directory_version
from gateway.ledger.tables import service_numbers, tenants, users
from policy.directory import (
    NO_LIMITS,
    Coming,
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
from policy.funds import Purchased
from policy.unassigned import UnassignedRule
from rating.deck import Deck

TEXTS_KEPT = 10_000
"""JSON texts whose values are remembered: nearly all users share a few sets of licences and limits."""

ROWS_AT_ONCE = 1_000
"""Users fetched at once: about a millisecond's work."""

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
            versions = await decks.list_due(connection, now_ms)
            files = await self._missing_files(connection, versions)
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
            decks={version.name: self._decks[version.name, version.sha256] for version in versions if version.in_use},
            coming=self._coming(versions),
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

    async def _missing_files(
        self, connection: AsyncConnection, versions: Sequence[DeckVersion]
    ) -> dict[tuple[str, str], Packed | None]:
        """Every deck by name and digest, with its file where it has not been read yet."""
        found: dict[tuple[str, str], Packed | None] = {}
        for version in versions:
            key = (version.name, version.sha256)
            known = key in self._decks
            found[key] = None if known else (await decks.read_file(connection, version), version.currency)
        return found

    def _coming(self, versions: Sequence[DeckVersion]) -> dict[str, tuple[Coming, ...]]:
        """The version of each deck that follows the one in use."""
        return {
            version.name: (Coming(version.effective_from_ms, self._decks[version.name, version.sha256]),)
            for version in versions
            if not version.in_use
        }


async def read_tenants(database: Database, tenant_id: str | None = None) -> list[Tenant]:
    """One tenant (empty where there is none) or all, by id, without reading a deck.  Raises LedgerAway."""
    query = select(*_TENANT_COLUMNS).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    async with database.read() as connection:
        return [_tenant(row) for row in (await connection.execute(query)).mappings()]


async def read_users(database: Database, tenant_id: str) -> list[User]:
    """A tenant's users by id.  Raises LedgerAway."""
    async with database.read() as connection:
        query = select(*_USER_COLUMNS).where(users.c.tenant_id == tenant_id).order_by(users.c.id)
        return [_user(row) for row in await connection.execute(query)]


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
