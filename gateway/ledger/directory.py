"""Build the directory snapshot that workers decide by from the ledger's tables.

Reading a large deck takes seconds, so decks are read on a thread, and a deck whose version has not changed since the
last snapshot is taken over as it was.  Tenants, users and numbers are read whole once; after that only those that the
audit log names are (gateway.ledger.directory_changes).  Where everything has to be read again, what the last snapshot
had of users stays the same object, and goes on to be used when that snapshot is dropped, or a hundred thousand of them
would be thrown away at one stroke while the worker that drops it carries calls.  For the same reason rows come in
portions: a worker reads on a thread, and nothing may hold the interpreter for milliseconds.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.facts import policy_facts
from gateway.ledger import decks
from gateway.ledger.directory_changes import UNKNOWN, follow, holders_of, last_act, touched_since
from gateway.ledger.directory_rows import TENANT_COLUMNS, USER_COLUMNS, service_number_of, tenant_of, user_of
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.entries import DeckVersion
from gateway.ledger.schema import directory_version
from gateway.ledger.tables import service_numbers, tenants, users
from policy.directory import Coming, Directory, ServiceNumber, Tenant, Trunk, User
from policy.funds import Holder
from rating.deck import Deck

ROWS_AT_ONCE = 1_000
"""Users fetched at once: about a millisecond's work."""

NOTHING: Final = "{}"
"""What the tables hold for a user without limits (gateway.ledger.provisioning)."""

People = dict[tuple[str, str], User]

Packed = tuple[bytes, str]
"""A gzipped deck file and the currency it was loaded with (empty: its own column says)."""


class DirectoryReader:
    """Reads directories; remembers the last one, its decks by their digest, and the last act that it knows of."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decks: dict[tuple[str, str], Deck] = {}
        self._last = Directory()
        self._act = UNKNOWN

    async def read(
        self, trunks: Mapping[str, Trunk], now_ms: int, failure_policy: Literal["terminate", "continue", "retry"]
    ) -> Directory:
        """One version of everything, all from one snapshot of the ledger.  Raises LedgerAway."""
        async with self._database.read(snapshot=True, limit_s=LONG_ANSWER_S) as connection:
            version = await directory_version(connection)
            made, act = await self._follow(connection, version)
            if made is None:
                made, act = await self._read_whole(connection), await last_act(connection)
            versions = await decks.list_due(connection, now_ms)
            files = await self._missing_files(connection, versions)
        for (name, digest), packed in files.items():
            if packed is not None:
                self._decks[name, digest] = await asyncio.to_thread(_read_packed, name, packed)
        self._decks = {key: self._decks[key] for key in files}
        self._act = act
        self._last = Directory(
            version=version,
            trunks=dict(trunks),
            tenants=made.tenants,
            users=made.users,
            users_by_number=made.users_by_number,
            service_numbers=made.service_numbers,
            decks={version.name: self._decks[version.name, version.sha256] for version in versions if version.in_use},
            coming=self._coming(versions),
            failure_policy=failure_policy,
            facts=policy_facts(),
            known_funds=made.funds,
        )
        return self._last

    async def _follow(self, connection: AsyncConnection, version: int) -> tuple[Directory | None, int]:
        """The last directory with what was done since, and the last act; None where it has to be read whole."""
        if self._act == UNKNOWN or version < self._last.version:  # the first one, or a ledger from a backup
            return None, self._act
        touched = await touched_since(connection, self._act)
        if touched is None:
            return None, self._act
        return await follow(connection, self._last, touched), touched.act

    async def _read_whole(self, connection: AsyncConnection) -> Directory:
        """Tenants, users and service numbers, with their funds; users that have not changed are the last ones."""
        tenant_rows = (await connection.execute(select(*TENANT_COLUMNS).order_by(tenants.c.id))).mappings().all()
        people = await self._read_people(connection)
        number_rows = (await connection.execute(select(service_numbers))).mappings().all()
        return Directory(
            tenants={row["id"]: tenant_of(row) for row in tenant_rows},
            users=people,
            users_by_number={user.number: user for user in people.values() if user.number},
            service_numbers={row["number"]: service_number_of(row) for row in number_rows},
            facts=policy_facts(),
        )

    async def _read_people(self, connection: AsyncConnection) -> People:
        """The users now: the last ones with what has changed, or, where some are gone, made anew of the same ones."""
        people = {key: user for key, user in self._last.users.items()}  # noqa: C416  dict() would do it at one stroke
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
        known = self._last.users.get((user.tenant_id, user.id))
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
    query = select(*TENANT_COLUMNS).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    async with database.read() as connection:
        return [tenant_of(row) for row in (await connection.execute(query)).mappings()]


async def read_users(database: Database, tenant_id: str, *, limited: bool = False) -> list[User]:
    """A tenant's users by id; with ``limited`` those that have limits of their own.  Raises LedgerAway."""
    query = select(*USER_COLUMNS).where(users.c.tenant_id == tenant_id).order_by(users.c.id)
    if limited:
        query = query.where((users.c.limits != NOTHING) | users.c.spend_limit_per_month_micros.is_not(None))
    async with database.read() as connection:
        return [user_of(row) for row in await connection.execute(query)]


async def count_holders(database: Database, tenant_id: str) -> Counter[Holder]:
    """How many users and resource accounts have which licences where (policy.funds).  Raises LedgerAway."""
    async with database.read() as connection:
        return await holders_of(connection, tenant_id)


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
        return [service_number_of(row) for row in (await connection.execute(query)).mappings()]


def _read_packed(name: str, packed: Packed) -> Deck:
    content, currency = packed
    return decks.read_deck(decks.DeckFile(name, decks.unpack(name, content), currency or None), is_new=False)


async def _stream_users(connection: AsyncConnection) -> AsyncIterator[User]:
    result = await connection.stream(select(*USER_COLUMNS))
    async for rows in result.partitions(ROWS_AT_ONCE):
        for row in rows:
            yield user_of(row)
