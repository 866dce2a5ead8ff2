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
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, cast

from sqlalchemy import Select, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.tables import deliveries, notices

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


async def read_due(connection: AsyncConnection, now_ms: int, most: int) -> list[Told]:
    """At most ``most`` notices that wait to be delivered, longest due first."""
    wanted = select(notices).where(notices.c.due_ms <= now_ms).order_by(notices.c.due_ms, notices.c.id).limit(most)
    return await _read(connection, wanted)


async def next_due_ms(connection: AsyncConnection) -> int | None:
    """When the next notice is due; None where none waits."""
    found = await connection.scalar(
        select(notices.c.due_ms).where(notices.c.due_ms.is_not(None)).order_by(notices.c.due_ms).limit(1)
    )
    return None if found is None else int(found)


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


async def keep(connection: AsyncConnection, notice_id: str, served: Sequence[Delivery], due_ms: int | None) -> None:
    """Write down how far these targets have been served and when the notice is looked at next (None: never)."""
    for each in served:
        values = {
            "label": each.label,
            "state": each.state,
            "tries": each.tries,
            "at_ms": each.at_ms,
            "due_ms": each.due_ms,
            "why": each.why,
        }
        mine = (deliveries.c.notice_id == notice_id, deliveries.c.target == each.target)
        changed = await connection.execute(update(deliveries).where(*mine).values(values))
        if changed.rowcount == 0:
            await connection.execute(insert(deliveries).values(notice_id=notice_id, target=each.target, **values))
    await connection.execute(update(notices).where(notices.c.id == notice_id).values(due_ms=due_ms))
