"""A call decided and priced without placing it: ``callgate explain`` and ``callgate rates quote``.

The decision is policy's own (policy.explain), over the same directory that workers hold; what the credit store would
say is added from the tenant's account as it is now.  Limits on live calls are counted in the store alone and are not
looked at here.
"""

import time
from dataclasses import dataclass

from gateway.admin.desk import Desk, NotFound
from gateway.admin.documents import Document
from gateway.config.facts import number_plan
from gateway.credit.views import Counters
from gateway.ledger import Ledger, UnknownTenant
from policy import explain as explained
from policy.dialling import bare, to_e164
from policy.directory import Directory, Tenant
from policy.rates import changes_after, rate_at
from policy.terms import QUARTER_MS, hour_label, period_label
from policy.verdict import Pool
from rating.deck import Direction, RateRow
from rating.money import format_amount
from rating.schedule import resolve
from rating.tariff import MS_PER_S, Tariff, price_micros


@dataclass(frozen=True, slots=True)
class Question:
    """A call that might be placed: CONTRACT 2's options of ``explain``; ``kind`` as in X-Callgate-Kind."""

    tenant: str
    caller: str
    called: str
    user: str = ""
    kind: str = ""


async def explain(desk: Desk, question: Question) -> Document:
    """What the gate would do with a call, which rules it tried, who pays, and for how long.

    Raises UnknownTenant, LedgerAway, StoreError.
    """
    directory = await desk.ledger.directory(desk.settings.trunks)
    tenant = _tenant(directory, question.tenant)
    cached = await desk.credit.account(tenant.id)
    credit_micros = cached.available_micros + tenant.credit_limit_micros
    asked = explained.Question(
        question.tenant, question.caller, question.called, time.time_ns() // 1_000_000, question.user, question.kind
    )
    verdict = explained.explain(directory, number_plan(), asked)
    counters, hour = await desk.credit.counters(tenant.id), hour_label(tenant.time_zone, asked.at_unix_ms // QUARTER_MS)
    month = period_label("pool/month", hour)
    left = {pool.name: _minutes_left(pool, month, counters) for pool in directory.pools_of(tenant.id)}
    counted = {"tenant": cached.calls, **counters.live, **spent_now(counters, hour)}
    return explained.document(verdict, credit_micros, desk.settings.sip.max_call_s, left, counted, asked.at_unix_ms)


def spent_now(counters: Counters, hour: str) -> dict[str, int]:
    """Micro-units counted in this hour, day and month of the tenant's time zone, by ``SCOPE/PERIOD``."""
    return {scope: micros for (scope, label), micros in counters.spent.items() if label == period_label(scope, hour)}


def _minutes_left(pool: Pool, month: str, counters: Counters) -> int:
    key = (pool.name, month)
    return max(0, pool.total_minutes - counters.used.get(key, 0) - counters.held.get(key, 0))


def _tenant(directory: Directory, tenant_id: str) -> Tenant:
    try:
        return directory.tenants[tenant_id]
    except KeyError:
        raise UnknownTenant(tenant_id) from None


async def quote(ledger: Ledger, number: str, tenant_id: str, user_id: str, talk_s: int) -> Document:
    """What a call of ``talk_s`` seconds to ``number`` costs a tenant now, policy and balance not looked at.

    Raises UnknownTenant, LedgerAway; NotFound where there is no such user, number or price.
    """
    directory = await ledger.directory({})
    tenant = _tenant(directory, tenant_id)
    user = directory.users.get((tenant_id, user_id))
    if user_id and user is None:
        raise NotFound(f"tenant {tenant_id!r} has no user {user_id!r}")
    country = (user.usage_location if user else "") or tenant.country
    e164 = to_e164(number_plan(), bare(number), country, "e164")
    if not e164:
        raise NotFound(f"{number!r} is not a telephone number; write it as +14255550100")
    return quote_document(tenant, e164, *_price(directory, tenant, e164, talk_s), talk_s)


def _price(directory: Directory, tenant: Tenant, e164: str, talk_s: int) -> tuple[RateRow, Tariff]:
    """The row in effect now, and the tariff of a call of so many seconds that is answered now."""
    deck, now_ms = tenant.rate_deck, time.time_ns() // 1_000_000
    direction: Direction = "in" if e164 in directory.service_numbers else "out"
    row = rate_at(directory, deck, e164, direction, now_ms)
    if row is None:
        raise NotFound(f"deck {deck!r} of tenant {tenant.id!r} has no price for {e164}; see `rates list`")
    changes = changes_after(directory, deck, e164, direction, row, now_ms, now_ms + talk_s * MS_PER_S)
    return row, resolve(row.tariff, changes, now_ms, talk_s)


def quote_document(tenant: Tenant, e164: str, row: RateRow, tariff: Tariff, talk_s: int) -> Document:
    """A price, and what ``talk_s`` seconds cost by ``tariff``: the row's, with the changes within the talk."""
    return {
        "tenant": tenant.id,
        "number": e164,
        "deck": tenant.rate_deck,
        "prefix": row.prefix,
        "destination": row.destination,
        "currency": tenant.currency,
        "rate": explained.rate_document(tariff),
        "seconds": talk_s,
        "amount": format_amount(price_micros(tariff, talk_s)),
    }
