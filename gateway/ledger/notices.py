"""What a tenant is told of, from the moment it is true until everybody concerned has been told, or cannot be.

A notice is written in the transaction that makes its fact true, so that neither stands without the other.  There is
one for each tenant, event and crossing: ``crossing`` names the occasion (the funding after which the balance fell to
zero, a pool and its month), and whoever sees the same occasion again adds nothing.  Its id is made of the three, so it
is the same wherever it is asked for; receivers know a repeated message by it.

Who is told is looked up when the message is sent, not before: an address that was wrong can be mended meanwhile.
``deliveries`` keeps how far each target has been served, so that nobody is told twice because another could not be.  A
target stands there by a digest and a label: addresses hold passwords, and one place for them is enough.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, cast

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.bulk import ByKeys
from gateway.ledger.tables import deliveries, notices, tenants

DAY_MS: Final = 86_400_000

FORGET_EACH: Final = 500
"""Notices taken away at once: a transaction of some milliseconds."""

ADD_EACH: Final = 1_000
"""Notices of one statement: seven values each stay below SQLite's 32,766 parameters and asyncpg's 32,767."""

State = Literal["waiting", "sent", "failed"]
"""Of one target: it is tried again, it has been told, or it was given up."""


@dataclass(frozen=True, slots=True)
class Notice:
    """``event`` of a tenant at ``at_ms`` (Unix milliseconds): told once for each ``crossing``.

    ``event`` is a name of CONTRACT 10.  ``figures`` are what the message says beside it, amounts as decimal strings in
    the tenant's currency, moments as ISO 8601 UTC.
    """

    tenant_id: str
    event: str
    crossing: str
    at_ms: int
    figures: Mapping[str, str | int]

    @property
    def id(self) -> str:
        """The same for the same tenant, event and crossing."""
        return "n-" + sha256(f"{self.tenant_id}\0{self.event}\0{self.crossing}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one target of a notice has been served.

    ``target`` is the digest of its address, ``label`` what may be shown of it.  ``at_ms`` is when it was last tried,
    ``due_ms`` when it is tried again, ``why`` what went wrong, without secrets.
    """

    target: str
    label: str
    state: State
    tries: int
    at_ms: int
    due_ms: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice with its deliveries; ``due_ms`` is when it is looked at next, None where nothing waits."""

    notice: Notice
    due_ms: int | None
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Contacts:
    """What a tenant says of whom to tell, and how: ``admins`` are addresses with roles, ``notify`` holds secrets."""

    tenant_id: str
    name: str
    currency: str
    time_zone: str
    notify: tuple[str, ...] = field(default=(), repr=False)
    admins: tuple[tuple[str, frozenset[str]], ...] = ()
    language: str = "en"


async def add(connection: AsyncConnection, those: Sequence[Notice]) -> int:
    """Add notices inside the caller's transaction; how many were new.  Raises LedgerAway.

    Those known already, and repeated ones, are left out; what was told is not told again.
    """
    rows = list({notice.id: _row(notice) for notice in those}.values())
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = 0
    for start in range(0, len(rows), ADD_EACH):
        adding = make(notices).values(rows[start : start + ADD_EACH]).on_conflict_do_nothing()
        new += len((await connection.execute(adding.returning(notices.c.id))).all())
    return new


def _row(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "tenant_id": notice.tenant_id,
        "event": notice.event,
        "crossing": notice.crossing,
        "at_ms": notice.at_ms,
        "figures": json.dumps(dict(notice.figures), ensure_ascii=False),
        "due_ms": notice.at_ms,
    }


async def claim_due(connection: AsyncConnection, now_ms: int, until_ms: int, most: int) -> list[Told]:
    """Take at most ``most`` notices that wait to be delivered, longest due first; no other settler gets them meanwhile.

    Who claims and dies leaves them to whoever looks after ``until_ms``.
    """
    due = select(notices.c.id).where(notices.c.due_ms <= now_ms).order_by(notices.c.due_ms, notices.c.id).limit(most)
    claiming = update(notices).where(notices.c.id.in_(due), notices.c.due_ms <= now_ms).values(due_ms=until_ms)
    claimed = (await connection.execute(claiming.returning(notices.c.id))).scalars().all()
    wanted = select(notices).where(notices.c.id.in_(claimed)).order_by(notices.c.at_ms, notices.c.id)
    return await _read(connection, wanted) if claimed else []


async def any_due(connection: AsyncConnection, now_ms: int) -> bool:
    """Whether a notice waits to be delivered."""
    return await connection.scalar(select(notices.c.id).where(notices.c.due_ms <= now_ms).limit(1)) is not None


async def any_old(connection: AsyncConnection, before_ms: int) -> bool:
    """Whether :func:`forget` has something to do."""
    return await connection.scalar(_old(before_ms).limit(1)) is not None


async def forget(connection: AsyncConnection, before_ms: int) -> int:
    """Take away at most FORGET_EACH notices from before that moment, with their deliveries; how many.

    Those that still wait for somebody stay.
    """
    found = list(await connection.scalars(_old(before_ms).limit(FORGET_EACH)))
    await connection.execute(delete(deliveries).where(deliveries.c.notice_id.in_(found)))
    await connection.execute(delete(notices).where(notices.c.id.in_(found)))
    return len(found)


def _old(before_ms: int) -> Select[tuple[str]]:
    return select(notices.c.id).where(notices.c.at_ms < before_ms, notices.c.due_ms.is_(None)).order_by(notices.c.at_ms)


async def read_latest(connection: AsyncConnection, tenant_id: str | None, most: int) -> list[Told]:
    """The latest notices of a tenant or of all (None), newest first."""
    wanted = select(notices).order_by(notices.c.at_ms.desc(), notices.c.id).limit(most)
    if tenant_id is not None:
        wanted = wanted.where(notices.c.tenant_id == tenant_id)
    return await _read(connection, wanted)


async def _read(connection: AsyncConnection, wanted: Select[Any]) -> list[Told]:
    rows = (await connection.execute(wanted)).all()
    served = await _deliveries(connection, [row.id for row in rows])
    return [
        Told(
            Notice(row.tenant_id, row.event, row.crossing, row.at_ms, json.loads(row.figures)),
            row.due_ms,
            tuple(served.get(row.id, ())),
        )
        for row in rows
    ]


async def _deliveries(connection: AsyncConnection, ids: Collection[str]) -> dict[str, list[Delivery]]:
    wanted = select(deliveries).where(deliveries.c.notice_id.in_(ids)).order_by(deliveries.c.label, deliveries.c.target)
    served: dict[str, list[Delivery]] = {}
    for row in await connection.execute(wanted):
        each = Delivery(row.target, row.label, cast(State, row.state), row.tries, row.at_ms, row.due_ms, row.why)
        served.setdefault(row.notice_id, []).append(each)
    return served


async def keep(connection: AsyncConnection, notice_id: str, served: Delivery) -> None:
    """Write down how far a target has been served."""
    values = {
        "label": served.label,
        "state": served.state,
        "tries": served.tries,
        "at_ms": served.at_ms,
        "due_ms": served.due_ms,
        "why": served.why,
    }
    mine = (deliveries.c.notice_id == notice_id, deliveries.c.target == served.target)
    changed = await connection.execute(update(deliveries).where(*mine).values(values))
    if changed.rowcount == 0:
        await connection.execute(insert(deliveries).values(notice_id=notice_id, target=served.target, **values))


async def look_again(connection: AsyncConnection, due: Mapping[str, int | None]) -> None:
    """Say when each of these notices is looked at next; None: never, everybody has been told or given up."""
    for notice_id, due_ms in due.items():
        await connection.execute(update(notices).where(notices.c.id == notice_id).values(due_ms=due_ms))


_CONTACTS = ByKeys(
    select(tenants.c.id, tenants.c.name, tenants.c.currency, tenants.c.time_zone, tenants.c.more), tenants.c.id
)


async def read_contacts(connection: AsyncConnection, tenant_ids: Collection[str]) -> dict[str, Contacts]:
    """Whom to tell of what concerns these tenants."""
    return {row.id: _contacts(row) for row in await _CONTACTS.execute(connection, tenant_ids)}


def _contacts(row: Any) -> Contacts:
    more = json.loads(row.more)
    admins = tuple((admin["email"], frozenset(admin.get("roles", ()))) for admin in more.get("admin", ()))
    notify, language = tuple(more.get("notify", ())), more.get("language", "en")
    return Contacts(row.id, row.name or row.id, row.currency, row.time_zone, notify, admins, language)
