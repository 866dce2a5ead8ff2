"""The directory after a change, made of the one before: only what the audit log says was touched is read.

Provisioning writes an act for each tenant, user and number that it adds, changes or takes away, in the transaction that
raises the directory's version and under its lock; so of these acts the ids rise as the commits do, and whoever knows a
directory and the last act in it knows what to read.  A worker with a hundred thousand users follows a change of one
with a few milliseconds' work, where reading them all would keep the interpreter from its calls for a second.

Whatever does not fit (many changes at once, a count that differs) is no error: the directory is read whole then.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.facts import policy_facts
from gateway.ledger.directory_rows import (
    TENANT_COLUMNS,
    USER_COLUMNS,
    licences_of,
    service_number_of,
    tenant_of,
    user_of,
)
from gateway.ledger.tables import audit, service_numbers, tenants, users
from policy.directory import Directory, Tenant, User
from policy.funds import Funds, Holder, Place, index_funds
from policy.layers import Layered, with_changes

UNKNOWN: Final = -1
"""No act is known yet; 0 is before the first."""

MOST: Final = 2_000
"""More users, numbers and tenants at once are not followed one by one: reading all is no slower by much, and seldom."""

_ACTS: Final = tuple(
    f"{what}.{action}" for what in ("tenant", "user", "service_number") for action in ("added", "changed", "removed")
)
"""What provisioning writes down (gateway.ledger.audit.acts_of)."""

NO_LICENCES: Final = "[]"
"""What the tables hold for a user without licences (gateway.ledger.provisioning)."""

Key = tuple[str, str]
"""A user: tenant and id."""

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Touched:
    """What was added, changed or taken away up to and with ``act``, an id of the audit log.

    ``concerned`` are all tenants that any of it belongs to.
    """

    act: int
    tenants: frozenset[str]
    users: frozenset[Key]
    numbers: frozenset[str]
    concerned: frozenset[str]


async def last_act(connection: AsyncConnection) -> int:
    """The last act that changed tenants, users or numbers; 0 where there was none."""
    wanted = select(audit.c.id).where(audit.c.act.in_(_ACTS)).order_by(audit.c.id.desc()).limit(1)
    return int(await connection.scalar(wanted) or 0)


async def touched_since(connection: AsyncConnection, act: int) -> Touched | None:
    """What was touched after that act; None where it is more than MOST."""
    columns = (audit.c.id, audit.c.act, audit.c.tenant_id, audit.c.subject)
    wanted = select(*columns).where(audit.c.id > act, audit.c.act.in_(_ACTS)).order_by(audit.c.id).limit(MOST + 1)
    rows = (await connection.execute(wanted)).all()
    if len(rows) > MOST:
        return None
    kinds = [(row.act.partition(".")[0], row.tenant_id, row.subject) for row in rows]
    return Touched(
        rows[-1].id if rows else act,
        frozenset(tenant for kind, tenant, _ in kinds if kind == "tenant"),
        frozenset((tenant, name) for kind, tenant, name in kinds if kind == "user"),
        frozenset(name for kind, _, name in kinds if kind == "service_number"),
        frozenset(tenant for _, tenant, _ in kinds),
    )


async def follow(connection: AsyncConnection, before: Directory, touched: Touched) -> Directory | None:
    """``before`` with what was touched as it is now; version, trunks and decks are left to be filled in.

    None where the tables then have another number of rows (something was changed past the log), or too many changes
    lie on top of a directory that was read whole.
    """
    known, numbers = dict(before.tenants), dict(before.service_numbers)
    rows = await connection.execute(select(*TENANT_COLUMNS).where(tenants.c.id.in_(touched.tenants)))
    _put(known, touched.tenants, {row["id"]: tenant_of(row) for row in rows.mappings()})
    rows = await connection.execute(select(service_numbers).where(service_numbers.c.number.in_(touched.numbers)))
    _put(numbers, touched.numbers, {row["number"]: service_number_of(row) for row in rows.mappings()})
    now = await _users(connection, touched.users)
    people = with_changes(before.users, {key: now.get(key) for key in touched.users})
    by_number = with_changes(before.users_by_number, _numbers(before, touched.users, now))
    if await _sizes(connection) != (len(known), len(people), len(numbers)) or _is_piled_up(people):
        return None
    return Directory(
        tenants=known,
        users=people,
        users_by_number=by_number,
        service_numbers=numbers,
        facts=policy_facts(),
        known_funds=await _funds(connection, before, known, touched.concerned),
    )


def _numbers(before: Directory, touched: Iterable[Key], now: Mapping[Key, User]) -> dict[str, User | None]:
    """Whose the numbers are that users had who were touched, or have now."""
    had = (before.users[key].number for key in touched if key in before.users)
    return {number: None for number in had if number} | {user.number: user for user in now.values() if user.number}


def _is_piled_up(people: Mapping[Key, User]) -> bool:
    """Whether so many changes lie on top of each other that it is time for a directory without them."""
    return isinstance(people, Layered) and len(people.changes) > MOST


def _put(things: dict[_K, _V], touched: Iterable[_K], now: Mapping[_K, _V]) -> None:
    """Of the things that were touched, those that are there now, and not the others."""
    for key in touched:
        if key in now:
            things[key] = now[key]
        else:
            things.pop(key, None)


async def _users(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, User]:
    """Those of these users that there are."""
    by_tenant: dict[str, list[str]] = {}
    for tenant_id, id_ in keys:
        by_tenant.setdefault(tenant_id, []).append(id_)
    found: dict[Key, User] = {}
    for tenant_id, ids in by_tenant.items():
        mine = select(*USER_COLUMNS).where(users.c.tenant_id == tenant_id, users.c.id.in_(ids))
        found |= {(tenant_id, user.id): user for user in map(user_of, await connection.execute(mine))}
    return found


async def _sizes(connection: AsyncConnection) -> tuple[int, int, int]:
    """How many tenants, users and service numbers there are."""
    counts = (select(func.count()).select_from(table).scalar_subquery() for table in (tenants, users, service_numbers))
    row = (await connection.execute(select(*counts))).one()
    return row[0], row[1], row[2]


async def _funds(
    connection: AsyncConnection, before: Directory, known: Mapping[str, Tenant], concerned: Iterable[str]
) -> dict[Holder, Funds]:
    """The funds of all holders: those of the tenants that nothing was changed of are as they were."""
    funds = {holder: each for holder, each in before.funds.items() if holder[0] not in concerned}
    for tenant_id in concerned:
        place = Place(known[tenant_id].country, known[tenant_id].purchased)
        funds |= index_funds(await holders_of(connection, tenant_id), {tenant_id: place}, policy_facts())
    return funds


async def holders_of(connection: AsyncConnection, tenant_id: str) -> Counter[Holder]:
    """How many users and resource accounts of a tenant have which licences where (policy.funds).

    Counted by the database: of a hundred thousand users some ten rows are read.
    """
    mine = (users.c.tenant_id == tenant_id, users.c.licences != NO_LICENCES)
    ours = (service_numbers.c.tenant_id == tenant_id, service_numbers.c.licences != NO_LICENCES)
    people = select(users.c.licences, users.c.usage_location, func.count()).where(*mine)
    accounts = select(service_numbers.c.licences, literal(""), func.count()).where(*ours)
    found: Counter[Holder] = Counter()
    for query in (
        people.group_by(users.c.licences, users.c.usage_location),
        accounts.group_by(service_numbers.c.licences),
    ):
        for licences, location, count in await connection.execute(query):
            found[tenant_id, licences_of(licences), location] += count
    return found
