"""A call decided and priced without placing it: ``callgate explain`` and ``callgate rates quote``.

The decision is policy's own, over the same directory that workers hold; what the credit store would say is added from
the tenant's account as it is now.  Limits on live calls are counted in the store alone and are not looked at here.
"""

import time
from dataclasses import dataclass, replace
from typing import Final, Literal

from gateway.admin.desk import Desk, NotFound
from gateway.admin.documents import Document
from gateway.config.facts import number_plan
from gateway.ledger import Ledger, UnknownTenant
from policy.decide import decide
from policy.dialling import bare, to_e164
from policy.directory import Directory, Tenant, Trunk
from policy.plan import NumberPlan
from policy.reasons import REASONS, Reason
from policy.verdict import Allow, CallRequest, Rule, Verdict
from rating.deck import RateRow
from rating.money import format_amount
from rating.tariff import Tariff, max_talk_s, price_micros

NO_CREDIT: Final = REASONS["NO_CREDIT"]


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
    verdict = judge(directory, number_plan(), question, time.time_ns() // 1_000_000)
    return explain_document(verdict, credit_micros, desk.settings.sip.max_call_s)


def judge(directory: Directory, plan: NumberPlan, question: Question, at_unix_ms: int) -> Verdict:
    """Policy's verdict on a question, with its rules, as if the call arrived where the tenant's calls arrive."""
    trunk = _arrival(directory, question)
    asked = replace(directory, trunks={**directory.trunks, trunk.name: trunk})
    request = CallRequest(trunk.name, question.called, question.caller, at_unix_ms, question.user, question.kind)
    return decide(asked, plan, request, explain=True)


def explain_document(verdict: Verdict, credit_micros: int, cap_s: int) -> Document:
    """A verdict and what ``credit_micros`` buys under it, as CONTRACT 2 shows it."""
    if not isinstance(verdict, Allow):
        return _answer(verdict, verdict.reason, None, 0, verdict.rules)
    cap_s = min(cap_s, verdict.max_call_s or cap_s)
    if verdict.tariff is None:
        return _answer(verdict, None, None, None if verdict.emergency else cap_s, verdict.rules)
    longest_s = max_talk_s(verdict.tariff, credit_micros, cap_s)
    credit = Rule("credit", f"{format_amount(credit_micros)} available: {longest_s} s", longest_s > 0)
    return _answer(verdict, None if longest_s else NO_CREDIT, verdict.tariff, longest_s, (*verdict.rules, credit))


def _answer(
    verdict: Verdict, reason: Reason | None, tariff: Tariff | None, longest_s: int | None, rules: tuple[Rule, ...]
) -> Document:
    pays = []
    if tariff and longest_s:
        amount = format_amount(price_micros(tariff, longest_s))
        pays.append({"payer": "credits", "pool": None, "seconds": longest_s, "amount": amount})
    return {
        "allowed": reason is None,
        "reason": reason.code if reason else None,
        "sip_status": reason.sip_status if reason else 200,
        "text": reason.text if reason else None,
        "kind": verdict.kind,
        "number": verdict.number,
        "destination": verdict.destination,
        "currency": verdict.currency,
        "pays": pays,
        "rate": _rate(tariff),
        "max_seconds": longest_s,
        "rules": [{"name": rule.name, "outcome": rule.outcome, "passed": rule.passed} for rule in rules],
    }


def _rate(tariff: Tariff | None) -> Document | None:
    if tariff is None:
        return None
    return {
        "per_minute": format_amount(tariff.rate_micros_per_min),
        "connect": format_amount(tariff.connect_micros),
        "minimum": format_amount(tariff.minimum_micros),
        "first_incr_s": tariff.first_incr_s,
        "next_incr_s": tariff.next_incr_s,
        "free_s": tariff.free_s,
    }


def _arrival(directory: Directory, question: Question) -> Trunk:
    """The trunk such a call arrives by: a carrier's for a service number of the tenant, else the tenant's own.

    Where the settings have none, one is made up for the question, and where the caller's number says who pays, the
    question says it instead.
    """
    service = directory.service_numbers.get(question.called)
    inbound = service is not None and service.tenant_id == question.tenant
    role: Literal["access", "carrier"] = "carrier" if inbound else "access"
    known = [trunk for trunk in directory.trunks.values() if trunk.role == role]
    own = [trunk for trunk in known if inbound or trunk.tenant == question.tenant]
    found = next(iter(own or known), Trunk(name="explain", role=role))
    return found if inbound else replace(found, tenant=question.tenant, tenant_from="")


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
    return quote_document(tenant, e164, _price(directory, tenant, e164), talk_s)


def _price(directory: Directory, tenant: Tenant, e164: str) -> RateRow:
    deck = directory.decks.get(tenant.rate_deck)
    inbound = e164 in directory.service_numbers
    row = deck.lookup(e164[1:], "in" if inbound else "out", time.time_ns() // 1_000_000) if deck else None
    if row is None:
        raise NotFound(f"deck {tenant.rate_deck!r} of tenant {tenant.id!r} has no price for {e164}; see `rates list`")
    return row


def quote_document(tenant: Tenant, e164: str, row: RateRow, talk_s: int) -> Document:
    """A price, and what ``talk_s`` seconds cost."""
    return {
        "tenant": tenant.id,
        "number": e164,
        "deck": tenant.rate_deck,
        "prefix": row.prefix,
        "destination": row.destination,
        "currency": tenant.currency,
        "rate": _rate(row.tariff),
        "seconds": talk_s,
        "amount": format_amount(price_micros(row.tariff, talk_s)),
    }
