"""The audit log: every administrative act with who did it, when, to what, and how things stood before and after.

An act is written in the transaction that carries it out, so that neither stands without the other; one that is carried
out elsewhere is written before.  Rows are added and never changed, which triggers of the database see to.  What an act
did not touch is left out of ``before`` and ``after``.  Secrets are taken out on the way in: a log is read by more
people than settings are, and kept for longer.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.engine import Database
from gateway.ledger.entries import Change
from gateway.ledger.tables import audit
from gateway.redaction import HIDDEN, SECRET_NAME, redact

READ_ROWS: Final = 500
"""Rows read at a time: a log of years does not have to fit the memory."""

ADDRESSES: Final = "notify"
"""Holds Apprise URLs, whose tokens may stand anywhere in them: only the scheme is kept."""

SETTINGS_ACT: Final = "settings.changed"
SETTINGS_ACTOR: Final = "settings"
"""Who edits a file nobody knows; what is written down is that a node was started with it."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    """One administrative act at ``at_ms`` (Unix milliseconds; 0 until it is written down).

    ``actor`` is ``cli:USER`` or ``http:admin-token``; ``tenant_id`` is empty where none is meant.  ``subject`` names
    what was acted on within ``act``'s kind: a tenant, a number, a reference, a call, a deck, a node.
    """

    actor: str
    act: str
    tenant_id: str
    subject: str
    before: Facts | None = None
    after: Facts | None = None
    at_ms: int = 0


async def write(connection: AsyncConnection, acts: Iterable[Act]) -> None:
    """Add acts inside the caller's transaction."""
    rows = [
        {
            "at_ms": act.at_ms,
            "actor": act.actor,
            "act": act.act,
            "tenant_id": act.tenant_id,
            "subject": act.subject,
            "before": _text(act.before),
            "after": _text(act.after),
        }
        for act in acts
    ]
    if rows:
        await connection.execute(insert(audit), rows)


async def read(
    database: Database,
    tenant_id: str | None,
    from_ms: int | None,
    to_ms: int | None,
    only: ColumnElement[bool] | None = None,
) -> AsyncIterator[Act]:
    """Acts in [from, to) concerning one tenant or anybody (None), oldest first, as a stream.  Raises LedgerAway.

    ``only`` narrows them further.
    """
    wanted = select(audit).order_by(audit.c.id).limit(READ_ROWS)
    if only is not None:
        wanted = wanted.where(only)
    if tenant_id is not None:
        wanted = wanted.where(audit.c.tenant_id == tenant_id)
    if from_ms is not None:
        wanted = wanted.where(audit.c.at_ms >= from_ms)
    if to_ms is not None:
        wanted = wanted.where(audit.c.at_ms < to_ms)
    last = 0
    while True:
        async with database.read() as connection:
            rows = (await connection.execute(wanted.where(audit.c.id > last))).all()
        for row in rows:
            yield _act(row)
        if len(rows) < READ_ROWS:
            return
        last = rows[-1].id


async def note_settings(database: Database, node: str, settings: Facts, now_ms: int) -> None:
    """Write down the settings that touch money where they are not what this node was started with last."""
    mine = (audit.c.tenant_id == "", audit.c.act == SETTINGS_ACT, audit.c.subject == node)
    last = select(audit.c.after).where(*mine)
    async with database.write() as connection:
        found = await connection.scalar(last.order_by(audit.c.id.desc()).limit(1))
        known = _facts(found or "")
        if known != _facts(_text(settings)):
            await write(connection, [Act(SETTINGS_ACTOR, SETTINGS_ACT, "", node, known, settings, now_ms)])


def acts_of(changes: Iterable[Change], actor: str, now_ms: int) -> list[Act]:
    """What provisioning did, as acts: ``tenant.added``, ``service_number.removed``, ``rate_deck.changed``, …."""
    return [
        Act(
            actor,
            f"{change.what.replace(' ', '_')}.{change.action}",
            change.name if change.what == "tenant" else change.tenant_id,
            change.name,
            change.before,
            change.after,
            now_ms,
        )
        for change in changes
    ]


def _act(row: Any) -> Act:
    return Act(row.actor, row.act, row.tenant_id, row.subject, _facts(row.before), _facts(row.after), row.at_ms)


def _facts(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def _text(facts: Facts | None) -> str:
    return "" if facts is None else json.dumps(_clean("", dict(facts)), sort_keys=True, ensure_ascii=False)


def _clean(name: str, value: Any) -> Any:
    """A value without secrets; JSON text inside it (the tables keep documents so) becomes what it says."""
    if name and SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, dict):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(name, inner) for inner in value]
    if not isinstance(value, str):
        return value
    if name == ADDRESSES:
        return f"{value.partition(':')[0]}://{HIDDEN}"
    if value[:1] in ("{", "["):
        try:
            return _clean(name, json.loads(value))
        except ValueError:
            pass
    return redact(value)
