"""Which occasions to tell of are made by what is booked and provisioned; each is written with its cause.

The balance is told of when it *crosses*: to zero or below, or below the tenant's ``notify_below``.  What makes an
occasion a new one is the money that came before it: the crossing is the sequence number of the last money in that had
raised the balance above the mark.  So nothing has to be remembered and nothing re-armed: however often the balance is
seen at zero, it is the same occasion until money lifts it again (MONEY 9).

A call that was refused or cut for want of credit counts as zero too, whatever is left: it is not enough for a call.
Its record may be booked after money that came later, so the money is looked for that was there when it happened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.ledger.bulk import ByKeys
from gateway.ledger.chain import Line
from gateway.ledger.entries import Change
from gateway.ledger.notices import Notice, add
from gateway.ledger.tables import fundings, postings, tenants
from policy.reasons import REASONS, is_limit
from policy.terms import day_of
from rating.money import format_amount

NO_CREDIT: Final = "NO_CREDIT"
HEARD_MS: Final = 1_000
"""Money in counts for refusals from so long after its booking: until then Redis may not have heard of it."""


LATEST_MS: Final = 4_102_444_800_000
"""The year 2100: what a record says beyond it is no moment, and no date could be made of it."""

_TOLD: Final = frozenset(code for code in REASONS if code == NO_CREDIT or is_limit(code))


@dataclass(frozen=True, slots=True)
class Stopped:
    """A call that was refused or cut for want of credit or by a limit; ``at_ms`` is when, ``reason`` its code.

    ``scope`` says whose limit it was (policy.limits), of money with its period; empty where an older gate wrote it.
    """

    tenant_id: str
    reason: str
    user_id: str
    at_ms: int
    scope: str = ""


def stopped(tenant_id: str, record: Mapping[str, Any]) -> Stopped | None:
    """What a call record says of money and limits; None for nearly every call.  Raises as a broken record does."""
    reason = record.get("reason")
    if reason not in _TOLD:
        return None
    at_ms = int(record.get("ended_ms") or record["invited_ms"])
    user_id, scope = str(record.get("user_id", "")), str(record.get("limit", ""))
    return Stopped(tenant_id, reason, user_id, min(max(at_ms, 0), LATEST_MS), scope)


_TERMS = ByKeys(
    select(tenants.c.id, tenants.c.mode, tenants.c.currency, tenants.c.time_zone, tenants.c.notify_below_micros),
    tenants.c.id,
)


async def add_booked(
    connection: AsyncConnection, lines: Sequence[Line], halts: Sequence[Stopped], balances: Mapping[str, int]
) -> None:
    """Add the notices of a batch inside its transaction, its lines being written.

    ``balances`` are the tenants' balances after the batch, in micro-units.
    """
    taken = [line for line in lines if line.amount_micros < 0]
    concerned = {line.tenant_id for line in taken} | {each.tenant_id for each in halts if each.tenant_id in balances}
    if not concerned:
        return
    terms = {row.id: row for row in await _TERMS.execute(connection, sorted(concerned))}
    found = {
        (mark.tenant_id, mark.event, mark.until_ms): mark
        for mark in (*_fallen(taken, terms), *_refused(halts, terms, balances))
    }
    those = [await _crossed(connection, mark) for mark in found.values()]
    those += _limits(halts, terms)
    if those:
        await add(connection, those)


@dataclass(frozen=True, slots=True)
class _Mark:
    """The balance is below a mark, above which a balance of ``least_micros`` lifts it; seen at ``at_ms``.

    Money counts that was booked until ``until_ms``; 0: all there is.
    """

    tenant_id: str
    event: str
    least_micros: int
    at_ms: int
    until_ms: int
    figures: Mapping[str, str | int]


def _fallen(taken: Iterable[Line], terms: Mapping[str, Any]) -> Iterator[_Mark]:
    """The marks that lines have crossed downwards; a postpaid account is below zero all the time."""
    for line in taken:
        term = terms[line.tenant_id]
        before, after = line.balance_micros - line.amount_micros, line.balance_micros
        figures = {"balance": format_amount(after), "currency": term.currency}
        if after <= 0 < before and term.mode != "postpaid":
            yield _Mark(line.tenant_id, "balance.zero", 1, line.at_ms, 0, figures)
        below = term.notify_below_micros
        if below is not None and after < below <= before:
            figures = figures | {"notify_below": format_amount(below)}
            yield _Mark(line.tenant_id, "balance.low", below, line.at_ms, 0, figures)


def _refused(halts: Iterable[Stopped], terms: Mapping[str, Any], balances: Mapping[str, int]) -> Iterator[_Mark]:
    """The first refusal or cut for want of credit of each tenant; of a batch the last one, which has seen most."""
    last: dict[str, Stopped] = {}
    for each in halts:
        if each.reason == NO_CREDIT and each.tenant_id in terms:
            last[each.tenant_id] = max(each, last.get(each.tenant_id, each), key=lambda known: known.at_ms)
    for each in last.values():
        term = terms[each.tenant_id]
        figures = {"balance": format_amount(balances[each.tenant_id]), "currency": term.currency}
        # any money in gives a postpaid tenant something to spend, above zero or not
        least = -(2**53) if term.mode == "postpaid" else 1
        yield _Mark(each.tenant_id, "balance.zero", least, each.at_ms, each.at_ms - HEARD_MS, figures)


async def _crossed(connection: AsyncConnection, mark: _Mark) -> Notice:
    """The occasion: named by the last money in that had lifted the balance above the mark, "0" where none has."""
    lifted = (
        select(fundings.c.seq)
        .join(postings, (postings.c.tenant_id == fundings.c.tenant_id) & (postings.c.seq == fundings.c.seq))
        .where(fundings.c.tenant_id == mark.tenant_id, fundings.c.amount_micros > 0)
        .where(postings.c.balance_micros >= mark.least_micros)
        .order_by(fundings.c.seq.desc())
        .limit(1)
    )
    if mark.until_ms:
        lifted = lifted.where(fundings.c.at_ms <= mark.until_ms)
    seq = await connection.scalar(lifted)
    return Notice(mark.tenant_id, mark.event, str(seq or 0), mark.at_ms, mark.figures)


def _limits(halts: Iterable[Stopped], terms: Mapping[str, Any]) -> Iterator[Notice]:
    """Each limit of each scope once a day of the tenant's zone."""
    for each in halts:
        if is_limit(each.reason) and each.tenant_id in terms:
            day = day_of(terms[each.tenant_id].time_zone, each.at_ms)
            more = {"user": each.user_id, "scope": each.scope}
            figures = {"limit": each.reason, "day": day} | {name: value for name, value in more.items() if value}
            crossing = " ".join(filter(None, (each.reason, each.scope, day)))
            yield Notice(each.tenant_id, "limit.hit", crossing, each.at_ms, figures)


async def add_provisioned(connection: AsyncConnection, changes: Iterable[Change], version: int, now_ms: int) -> None:
    """Add the notices of a provisioning inside its transaction: users that were not blocked before and are now.

    ``version`` is the directory's after it: who is unblocked and blocked again is told of again.
    """
    await add(
        connection,
        [
            Notice(change.tenant_id, "user.blocked", f"{change.name} {version}", now_ms, {"user": change.name})
            for change in changes
            if change.what == "user" and change.after and change.after.get("blocked") and change.action != "removed"
        ],
    )
