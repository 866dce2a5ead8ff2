"""Apply a provisioning document (CONTRACT 4): declarative, idempotent, all or nothing.

The document says all there is to say about the tenants and decks it names: a user or number of such a tenant that is
not in it is removed.  Tenants and decks that it does not name stay as they are, so that one file a customer works, and
so that a short file never closes an account with money in it.  Nothing changes where the ledger already says the same;
where anything changed, the directory's version rises in the same transaction.
"""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config.limits import ClassLimitsEntry, LimitsEntry
from gateway.config.provisioning import (
    DialRuleEntry,
    Provisioning,
    RateDeckEntry,
    TenantEntry,
    UserEntry,
)
from gateway.config.values import is_currency
from gateway.ledger import audit, crossings, decks, journal, recharging
from gateway.ledger.engine import LONG_ANSWER_S, Database
from gateway.ledger.entries import Change, DeckVersion
from gateway.ledger.errors import ProvisioningRefused
from gateway.ledger.faults import first_line
from gateway.ledger.schema import lock_directory, raise_directory_version
from gateway.ledger.tables import postings, service_numbers, tenants, users
from policy.recharge import Happening
from rating.deck import Deck

Row = dict[str, Any]

IN_CHUNK = 10_000
"""Values in one IN list: below SQLite's 32,766 and PostgreSQL's 32,767 parameters."""


class _DryRun(Exception):  # noqa: N818 - not an error: it rolls the transaction back
    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes


@dataclass(frozen=True, slots=True)
class _NewDeck:
    file: decks.DeckFile
    packed: bytes
    deck: Deck


async def provision(
    database: Database, document: Provisioning, now_ms: int, dry_run: bool, actor: str = ""
) -> list[Change]:
    """Make the ledger say what ``document`` says; returns what changed (or would, with ``dry_run``).

    Raises ProvisioningRefused (then nothing of it was applied) or LedgerAway.
    """
    async with database.read() as connection:
        in_use = await _decks_in_use(connection, now_ms)
    new_decks = [new for entry in document.rate_deck if (new := await _new_deck(entry, in_use.get(entry.name)))]

    async def work(connection: AsyncConnection) -> list[Change]:
        await lock_directory(connection)
        now_in_use = await _decks_in_use(connection, now_ms)  # somebody may have loaded one meanwhile
        still_new = [new for new in new_decks if not _is_in_use(new.file, now_in_use.get(new.file.name))]
        changes = await _apply(connection, document, still_new, now_in_use, now_ms)
        if dry_run:
            raise _DryRun(changes)
        if changes:
            version = await raise_directory_version(connection)
            await audit.write(connection, audit.acts_of(changes, actor, now_ms))
            await crossings.add_provisioned(connection, changes, version, now_ms)
        return changes

    try:
        return await database.transact(work, limit_s=LONG_ANSWER_S)
    except _DryRun as done:
        return done.changes
    except DBAPIError as error:
        raise ProvisioningRefused(
            f"the ledger refuses a row: {first_line(error.orig)}", "somebody changed it meanwhile: try again"
        ) from error


async def load_deck(
    database: Database, file: decks.DeckFile, now_ms: int, effective_from_ms: int | None, actor: str = ""
) -> list[Change]:
    """Add a version of one deck, in use from ``effective_from_ms`` (None: now).  Raises as :func:`provision`."""
    packed, deck = await asyncio.to_thread(_read, file)
    begins_ms = now_ms if effective_from_ms is None else effective_from_ms

    async def work(connection: AsyncConnection) -> list[Change]:
        await lock_directory(connection)
        known = await decks.list_versions(connection, now_ms)
        if any(_same(each, file, begins_ms, now_ms) for each in known):
            return []
        await _check_deck_currency(connection, file.name, deck.currency)
        await decks.insert_version(connection, file, packed, deck, now_ms, begins_ms)
        await raise_directory_version(connection)  # also for one to come: calls may go on beyond its moment
        in_use = next((each for each in known if each.name == file.name and each.in_use), None)
        change = _deck_change(file, deck, in_use, begins_ms, is_new=all(each.name != file.name for each in known))
        await audit.write(connection, audit.acts_of([change], actor, now_ms))
        return [change]

    return await database.transact(work, limit_s=LONG_ANSWER_S)


def _deck_change(
    file: decks.DeckFile, deck: Deck, in_use: DeckVersion | None, begins_ms: int, *, is_new: bool
) -> Change:
    return Change(
        "added" if is_new else "changed",
        "rate deck",
        file.name,
        before={"version": in_use.version, "rows": in_use.rows, "sha256": in_use.sha256} if in_use else None,
        after={"rows": len(deck), "sha256": file.digest, "effective_from_ms": begins_ms},
    )


async def _decks_in_use(connection: AsyncConnection, now_ms: int) -> dict[str, DeckVersion]:
    return {each.name: each for each in await decks.list_versions(connection, now_ms) if each.in_use}


def _is_in_use(file: decks.DeckFile, in_use: DeckVersion | None) -> bool:
    return in_use is not None and in_use.sha256 == file.digest


def _same(known: DeckVersion, file: decks.DeckFile, begins_ms: int, now_ms: int) -> bool:
    if (known.name, known.sha256) != (file.name, file.digest):
        return False
    return known.effective_from_ms == begins_ms if begins_ms > now_ms else known.in_use


async def _new_deck(entry: RateDeckEntry, in_use: DeckVersion | None) -> _NewDeck | None:
    """The deck of an entry, read and checked off the event loop; None where the ledger has it already."""
    try:
        data = await asyncio.to_thread(entry.file.read_bytes)
    except OSError as error:
        raise ProvisioningRefused(
            f"the file of rate deck {entry.name!r} cannot be read ({error})", "name a file that this user may read"
        ) from error
    file = decks.DeckFile(entry.name, decks.unpack(entry.name, data), entry.currency, str(entry.file))
    if _is_in_use(file, in_use):
        return None
    packed, deck = await asyncio.to_thread(_read, file)
    return _NewDeck(file, packed, deck)


def _read(file: decks.DeckFile) -> tuple[bytes, Deck]:
    deck = decks.read_deck(file)
    if not is_currency(deck.currency):  # of a new file alone: what was loaded before goes on
        what = f"rate deck {file.name!r} is in {deck.currency[:40]!r}, which is no currency of ISO 4217"
        raise ProvisioningRefused(what, 'write three capital letters such as "USD"')
    return gzip.compress(file.content, mtime=0), deck


async def _apply(
    connection: AsyncConnection,
    document: Provisioning,
    new_decks: Sequence[_NewDeck],
    in_use: dict[str, DeckVersion],
    now_ms: int,
) -> list[Change]:
    changes = []
    currencies = {name: version.currency for name, version in in_use.items()}
    for new in new_decks:
        await decks.insert_version(connection, new.file, new.packed, new.deck, now_ms, now_ms)
        await _check_deck_currency(connection, new.file.name, new.deck.currency, {t.id for t in document.tenant})
        currencies[new.file.name] = new.deck.currency
        known = in_use.get(new.file.name)
        changes.append(_deck_change(new.file, new.deck, known, now_ms, is_new=known is None))
    for tenant in document.tenant:
        _check_tenant_deck(tenant, currencies)
        changes += await _apply_tenant(connection, tenant, now_ms)
    await _check_numbers(connection, document)
    changes += await _apply_numbers(connection, document)
    return changes


async def _check_deck_currency(
    connection: AsyncConnection, name: str, currency: str, elsewhere: Iterable[str] = ()
) -> None:
    """Tenants that use the deck keep their currency; those in ``elsewhere`` are checked with their own document."""
    rows = await connection.execute(select(tenants.c.id, tenants.c.currency).where(tenants.c.rate_deck == name))
    skipped = set(elsewhere)
    for row in rows:
        if currency and row.id not in skipped and row.currency != currency:
            raise ProvisioningRefused(
                f"rate deck {name!r} is in {currency}, but its tenant {row.id!r} is in {row.currency}",
                "keep the deck's currency, or give that tenant another deck",
            )


def _check_tenant_deck(tenant: TenantEntry, currencies: dict[str, str]) -> None:
    if tenant.rate_deck not in currencies:
        raise ProvisioningRefused(
            f"tenant {tenant.id!r} uses rate deck {tenant.rate_deck!r}, which is not there",
            "add a [[rate_deck]] of that name, or load it with `callgate rates load`",
        )
    currency = currencies[tenant.rate_deck]
    if currency and currency != tenant.currency:
        raise ProvisioningRefused(
            f"tenant {tenant.id!r} is in {tenant.currency}, but its rate deck {tenant.rate_deck!r} is in {currency}",
            "give the tenant a deck in its own currency",
        )


async def _apply_tenant(connection: AsyncConnection, entry: TenantEntry, now_ms: int) -> list[Change]:
    row = _tenant_row(entry)
    known = (await connection.execute(select(tenants).where(tenants.c.id == entry.id))).mappings().first()
    if known is None:
        await connection.execute(insert(tenants).values(row))
        await journal.open_accounts(connection, entry.id)
        return [Change("added", "tenant", entry.id, after=row)]
    fields = _differences(dict(known), row)
    if not fields:
        return []
    if "currency" in fields and await _has_postings(connection, entry.id):
        raise ProvisioningRefused(
            f"tenant {entry.id!r} has money in {known['currency']}: its currency cannot become {entry.currency}",
            "make a new tenant for the other currency",
        )
    await connection.execute(update(tenants).where(tenants.c.id == entry.id).values(row))
    if "recharge" in fields:
        await journal.lock_tails(connection, [entry.id])
        await recharging.reset(connection, entry.id, Happening.CHANGED, now_ms)
    before, after = _parts(dict(known), row, fields)
    return [Change("changed", "tenant", entry.id, fields=fields, before=before, after=after)]


async def _has_postings(connection: AsyncConnection, tenant_id: str) -> bool:
    found = await connection.scalar(select(postings.c.seq).where(postings.c.tenant_id == tenant_id).limit(1))
    return found is not None


async def _check_numbers(connection: AsyncConnection, document: Provisioning) -> None:
    """A number has one owner in the whole ledger; within the document that has been checked already."""
    own = {tenant.id for tenant in document.tenant}
    numbers = [user.number for tenant in document.tenant for user in tenant.user if user.number]
    numbers += [each.number for tenant in document.tenant for each in tenant.service_number]
    for table in (users, service_numbers):
        for start in range(0, len(numbers), IN_CHUNK):
            chunk = numbers[start : start + IN_CHUNK]
            rows = await connection.execute(select(table.c.number, table.c.tenant_id).where(table.c.number.in_(chunk)))
            for row in rows:
                if row.tenant_id not in own:
                    raise ProvisioningRefused(
                        f"number {row.number} belongs to tenant {row.tenant_id!r}", "take it from that tenant first"
                    )


async def _apply_numbers(connection: AsyncConnection, document: Provisioning) -> list[Change]:
    """Users and service numbers of every tenant named: first what goes, then what comes, so that numbers may move."""
    own = [tenant.id for tenant in document.tenant]
    user_rows = {(t.id, user.id): _user_row(t, user) for t in document.tenant for user in t.user}
    number_rows = {
        (tenant.id, each.number): {
            "number": each.number,
            "tenant_id": tenant.id,
            "kind": each.kind,
            "serves": each.serves,
            "deliver_to": each.deliver_to,
            "licences": json.dumps(each.licences),
            "organiser": each.organiser or "",
        }
        for tenant in document.tenant
        for each in tenant.service_number
    }
    changes = await _apply_rows(connection, users, "user", own, lambda row: (row["tenant_id"], row["id"]), user_rows)
    return changes + await _apply_rows(
        connection, service_numbers, "service number", own, lambda row: (row["tenant_id"], row["number"]), number_rows
    )


async def _apply_rows(
    connection: AsyncConnection,
    table: Table,
    what: Any,
    tenant_ids: Sequence[str],
    key_of: Callable[[Row], tuple[str, str]],
    wanted: dict[tuple[str, str], Row],
) -> list[Change]:
    known: dict[tuple[str, str], Row] = {}
    for start in range(0, len(tenant_ids), IN_CHUNK):
        chunk = tenant_ids[start : start + IN_CHUNK]
        rows = await connection.execute(select(table).where(table.c.tenant_id.in_(chunk)))
        for row in map(dict, rows.mappings()):
            known[key_of(row)] = row
    differing = {key: _differences(known[key], row) for key, row in wanted.items() if key in known}
    changed = {key: fields for key, fields in differing.items() if fields}
    gone = [key for key in known if key not in wanted]
    name = table.c.number if table is service_numbers else table.c.id
    for tenant_id, own_name in [*gone, *changed]:
        await connection.execute(delete(table).where(table.c.tenant_id == tenant_id, name == own_name))
    fresh = [row for key, row in wanted.items() if key not in known or key in changed]
    if fresh:
        await connection.execute(insert(table), fresh)
    return (
        [Change("removed", what, key[1], key[0], before=known[key]) for key in gone]
        + [
            Change("changed", what, key[1], key[0], fields, *_parts(known[key], wanted[key], fields))
            for key, fields in changed.items()
        ]
        + [Change("added", what, key[1], key[0], after=wanted[key]) for key in wanted if key not in known]
    )


def _differences(known: Row, wanted: Row) -> tuple[str, ...]:
    return tuple(name for name, value in wanted.items() if known[name] != value)


def _parts(known: Row, wanted: Row, fields: Sequence[str]) -> tuple[Row, Row]:
    """What differs, before and after."""
    return {name: known[name] for name in fields}, {name: wanted[name] for name in fields}


_TENANT_MORE = {"notify", "language", "admin"}


def _tenant_row(entry: TenantEntry) -> Row:
    """The tenant's columns; what only later rooms read stands in ``more`` as one JSON document."""
    return {
        "id": entry.id,
        "name": entry.name,
        "country": entry.country,
        "currency": entry.currency,
        "mode": entry.mode,
        "credit_limit_micros": entry.credit_limit_micros,
        "rate_deck": entry.rate_deck,
        "licensing": entry.licensing,
        "dial_out_policy": entry.dial_out_policy,
        "failure_policy": entry.failure_policy or "",
        "time_zone": entry.time_zone,
        "minimum_funding_micros": entry.minimum_funding_micros,
        "limits": _limits_text(entry.limits, entry.class_limits),
        "dial_plan": _dial_plan_text(entry.dial_plan, entry.external_prefix),
        "purchased": _json([[each.sku, each.usage_country, each.count] for each in entry.purchased]),
        "unassigned": _json([[each.pattern, each.target] for each in entry.unassigned]),
        "more": _json(entry.model_dump(mode="json", by_alias=False, include=_TENANT_MORE, exclude_defaults=True)),
        "notify_below_micros": entry.notify_below_micros,
        "recharge": _json(entry.recharge.model_dump(mode="json", by_alias=False, exclude_defaults=True)),
        "billing_region": entry.billing_region,
        "conference_overage": entry.conference_overage,
    }


def _user_row(tenant: TenantEntry, entry: UserEntry) -> Row:
    return {
        "tenant_id": tenant.id,
        "id": entry.id,
        "number": entry.number,
        "name": entry.name,
        "usage_location": entry.usage_location or "",
        "licences": json.dumps(entry.licences),
        "dial_out_policy": entry.dial_out_policy or "",
        "blocked": entry.blocked,
        "barred_toll_free": entry.barred_toll_free,
        "spend_limit_per_month_micros": entry.spend_limit_per_month_micros,
        "limits": _limits_text(entry.limits),
        "dial_plan": _user_dial_plan_text(tenant, entry),
    }


def _limits_text(limits: LimitsEntry, classes: Sequence[ClassLimitsEntry] = ()) -> str:
    if not (limits.model_fields_set or classes):
        return "{}"
    known = limits.model_dump(by_alias=False, exclude_defaults=True)
    found = [each.model_dump(by_alias=False, exclude_defaults=True) for each in classes]
    return _json(known | ({"classes": [[each.pop("number_class"), each] for each in found]} if found else {}))


def _dial_plan_text(rules: Sequence[DialRuleEntry], external_prefix: str | None) -> str:
    """The rules, behind the external access prefix where there is one (policy.directory.DialRule)."""
    found: list[list[str | bool]] = [[external_prefix, "", True]] if external_prefix else []
    return _json(found + [[rule.pattern, rule.translation] for rule in rules])


def _user_dial_plan_text(tenant: TenantEntry, user: UserEntry) -> str:
    """A user's own plan or prefix with what the tenant says of the other; empty where it has neither."""
    if not (user.dial_plan or user.external_prefix):
        return "[]"
    return _dial_plan_text(user.dial_plan or tenant.dial_plan, user.external_prefix or tenant.external_prefix)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
