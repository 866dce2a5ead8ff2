"""What an operator is shown, as JSON documents: the same from the command line (``--json``) and from the HTTP API.

Amounts are decimal strings with six decimals in the tenant's currency, times ISO 8601 in UTC, numbers E.164 with ``+``
(CONTRACT 2).  Nothing here asks anybody anything: values of the stores go in, documents come out.
"""

from collections.abc import Sequence
from typing import Any

from gateway.call.record import CallRecord, decode_record
from gateway.credit.views import AccountView, Counters, LiveCall
from gateway.ledger import Act, Kept, LedgerAccount, LotView, Payment, Posting, Recharging
from gateway.ledger.notices import Told
from gateway.moments import iso_utc
from gateway.settlement import Drift, FundingOutcome, Rebuilt
from policy.directory import CountedLimits, Night, Tenant
from policy.drawn import money_ms, money_tariff
from policy.recharge import RechargeRule
from policy.verdict import Pool
from rating.money import format_amount
from rating.tariff import charge_micros

Document = dict[str, Any]


def amount_or_none(micros: int | None) -> str | None:
    """An amount as text; None stays None (unlimited)."""
    return None if micros is None else format_amount(micros)


def tenant_document(tenant: Tenant) -> Document:
    """A tenant as provisioned."""
    limits = tenant.limits
    return {
        "id": tenant.id,
        "name": tenant.name,
        "country": tenant.country,
        "currency": tenant.currency,
        "mode": tenant.mode,
        "credit_limit": format_amount(tenant.credit_limit_micros),
        "rate_deck": tenant.rate_deck,
        "licensing": tenant.licensing,
        "dial_out_policy": tenant.dial_out_policy,
        "failure_policy": tenant.failure_policy or None,
        "time_zone": tenant.time_zone,
        "limits": counted_document(limits)
        | {
            "max_rate_per_minute": amount_or_none(limits.max_rate_micros_per_min),
            "max_connect": amount_or_none(limits.max_connect_micros),
            "max_call_s": limits.max_call_s,
            "blocked_prefixes": list(limits.blocked_prefixes),
            "open_high_risk": list(limits.open_high_risk),
            "numbers_per_range_per_hour": limits.numbers_per_range_per_hour,
            "range_digits": limits.range_digits,
            "night": None if limits.night is None else night_document(limits.night),
        },
        "class_limits": [{"number_class": name} | counted_document(each) for name, each in limits.classes],
    }


def night_document(night: Night) -> Document:
    """What holds at night."""
    begins, ends = (f"{minute // 60:02}:{minute % 60:02}" for minute in (night.begins, night.ends))
    return {
        "begins": begins,
        "ends": ends,
        "spend_per_hour": amount_or_none(night.spend_per_hour_micros),
        "blocked_prefixes": list(night.blocked_prefixes),
    }


def counted_document(limits: CountedLimits) -> Document:
    """Limits that are counted; None is unlimited."""
    return {
        "max_calls": limits.max_calls,
        "calls_per_second": limits.calls_per_second,
        "spend_per_hour": amount_or_none(limits.spend_per_hour_micros),
        "spend_per_day": amount_or_none(limits.spend_per_day_micros),
        "spend_per_month": amount_or_none(limits.spend_per_month_micros),
    }


def balance_document(booked: LedgerAccount, cached: AccountView, pools: Sequence[Document] = ()) -> Document:
    """A tenant's money (MONEY 1): held is part of balance, unsynced is balance less ledger balance."""
    limit_micros = booked.credit_limit_micros if booked.mode == "postpaid" else 0
    return {
        "tenant": booked.tenant_id,
        "currency": booked.currency,
        "mode": booked.mode,
        "balance": format_amount(cached.balance_micros),
        "held": format_amount(cached.held_micros),
        "available": format_amount(cached.available_micros + limit_micros),
        "ledger_balance": format_amount(booked.balance_micros),
        "unsynced": format_amount(cached.balance_micros - booked.balance_micros),
        "pools": list(pools),
        "exhausted": booked.mode == "prepaid" and cached.balance_micros <= 0,
    }


def pool_document(pool: Pool, month: str, counters: Counters) -> Document:
    """A pool's minutes in one month (``2026-11``); it may also end with another one (``ends_with`` of the pool)."""
    used, held = (of.get((pool.name, month), 0) for of in (counters.used, counters.held))
    return {
        "pool": pool.name,
        "capability": pool.capability,
        "usage_country": pool.usage_country or None,
        "month": month,
        "total": pool.total_minutes,
        "used": used,
        "held": held,
        "available": max(0, pool.total_minutes - used - held),
    }


def funding_document(outcome: FundingOutcome) -> Document:
    """What a funding did: ``repeated`` where its reference was booked before, ``applied`` where calls can use it."""
    booked = outcome.booked
    return {
        "tenant": booked.tenant_id,
        "kind": booked.kind,
        "amount": format_amount(booked.amount_micros),
        "reference": booked.reference,
        "id": str(booked.seq),
        "ledger_balance": format_amount(booked.balance_micros),
        "repeated": booked.repeated,
        "applied": outcome.applied,
    }


def lot_document(lot: LotView) -> Document:
    """One purchase of credit and what is left of it."""
    return {
        "id": str(lot.seq),
        "purchased_at": iso_utc(lot.purchased_ms),
        "expires_at": iso_utc(lot.expires_ms),
        "source": lot.source,
        "kind": lot.kind,
        "amount": format_amount(lot.amount_micros),
        "remaining": format_amount(lot.remaining_micros),
        "reference": lot.reference,
    }


def payment_document(payment: Payment) -> Document:
    """One payment request; ``why`` is what the payment service said last."""
    return {
        "key": payment.key,
        "tenant": payment.tenant_id,
        "state": payment.state,
        "amount": format_amount(payment.amount_micros),
        "currency": payment.currency,
        "provider": payment.provider,
        "provider_id": payment.provider_id or None,
        "why": payment.why or None,
        "asked_at": iso_utc(payment.asked_ms),
        "tries": payment.tries,
        "settled_at": None if payment.settled_ms is None else iso_utc(payment.settled_ms),
    }


def recharge_document(tenant_id: str, recharging: Recharging | None, payments: list[Payment]) -> Document:
    """How a tenant's recharge stands; ``retry_at`` is the end of its rest after a decline."""
    rule, kept = (recharging.rule, recharging.kept) if recharging else (RechargeRule(), Kept())
    return {
        "tenant": tenant_id,
        "enabled": rule.enabled,
        "trigger": format_amount(rule.trigger_micros),
        "amount": format_amount(rule.amount_micros),
        "state": kept.standing.state.value,
        "failures": kept.standing.failures,
        "retry_at": iso_utc(kept.standing.retry_ms) if kept.standing.retry_ms else None,
        "payments": [payment_document(payment) for payment in payments],
    }


def posting_document(posting: Posting) -> Document:
    """One line of a tenant's ledger with its running balance."""
    return {
        "id": posting.id,
        "at": iso_utc(posting.at_ms),
        "kind": posting.kind,
        "amount": format_amount(posting.amount_micros),
        "balance": format_amount(posting.balance_micros),
        "reference": posting.reference,
        "call_id": posting.call_id or None,
    }


def act_document(act: Act) -> Document:
    """One administrative act."""
    return {
        "at": iso_utc(act.at_ms),
        "actor": act.actor,
        "act": act.act,
        "tenant": act.tenant_id or None,
        "subject": act.subject,
        "before": act.before,
        "after": act.after,
    }


def _charged(call: LiveCall, talk_ms: int) -> int:
    by_money_ms, tariff = money_ms(call.drawn, talk_ms), money_tariff(call.tariff, call.drawn)
    return charge_micros(tariff, by_money_ms) if tariff is not None and by_money_ms is not None else 0


def notice_document(told: Told) -> Document:
    """What a tenant was told of, and who was told; ``due`` is when it is tried next, null where nothing waits."""
    notice = told.notice
    return {
        "id": notice.id,
        "at": iso_utc(notice.at_ms),
        "tenant": notice.tenant_id,
        "event": notice.event,
        "figures": dict(notice.figures),
        "due": None if told.due_ms is None else iso_utc(told.due_ms),
        "deliveries": [
            {
                "target": each.label,
                "state": each.state,
                "tries": each.tries,
                "at": iso_utc(each.at_ms),
                "due": iso_utc(each.due_ms) if each.state == "waiting" else None,
                "why": each.why or None,
            }
            for each in told.deliveries
        ],
    }


def call_document(call: LiveCall, now_ms: int) -> Document:
    """One live call; ``charged`` is its price up to now, which lies inside ``held`` (MONEY 1)."""
    record = known_of(call)
    talk_ms = max(0, now_ms - call.answered_ms) if call.answered_ms else 0
    charged = _charged(call, talk_ms) if call.answered_ms else 0
    paid_ms = None if call.paid_s is None or not call.answered_ms else call.answered_ms + call.paid_s * 1000
    return {
        "id": call.call_id,
        "tenant": call.tenant_id,
        "user": record.user_id or None,
        "from": record.caller,
        "to": record.number or record.dialled,
        "kind": record.kind,
        "state": "answered" if call.answered_ms else "calling",
        "answered_at": iso_utc(call.answered_ms) if call.answered_ms else None,
        "seconds": talk_ms // 1000,
        "charged": format_amount(min(charged, call.held_micros)),
        "held": format_amount(call.held_micros),
        "paid_until": None if paid_ms is None else iso_utc(paid_ms),
        "node": call.owner.partition("/")[0],
    }


def known_of(call: LiveCall) -> CallRecord:
    """The record of a live call as far as it is known; bare where it cannot be read."""
    try:
        return decode_record(call.usage)
    except ValueError:
        return CallRecord(call_id=call.call_id, tenant_id=call.tenant_id, kind="")


def reconcile_document(drifts: list[Drift]) -> Document:
    """Whether the money adds up: ``drift_micros`` is the sum of what is missing or too much, 0 where all is well."""
    return {
        "drift_micros": sum(drift.total_micros for drift in drifts),
        "clean": all(drift.clean for drift in drifts),
        "tenants": [_drift_document(drift) for drift in drifts],
    }


def rebuilt_document(done: Rebuilt) -> Document:
    """What a rebuild of Redis did; ``accounts`` has those that it changed."""
    return {
        "epoch": done.number,
        "seconds": round(done.seconds, 3),
        "booked": done.booked,
        "calls_kept": done.kept,
        "calls_over": done.over,
        "charges_said": done.cleared,
        "workers_unheard": list(done.unheard),
        "accounts": [
            {
                "tenant": each.after.tenant_id,
                "lost": not each.before.exists,
                "balance_before": format_amount(each.before.balance_micros),
                "balance": format_amount(each.after.balance_micros),
                "held_before": format_amount(each.before.held_micros),
                "held": format_amount(each.after.held_micros),
                "calls_before": each.before.calls,
                "calls": each.after.calls,
            }
            for each in done.changed
        ],
    }


def _drift_document(drift: Drift) -> Document:
    return {
        "tenant": drift.tenant_id,
        "drift_micros": drift.drift_micros,
        "records_drift_micros": drift.records_drift_micros,
        "postings_drift_micros": drift.postings_drift_micros,
        "accounts_drift_micros": drift.accounts_drift_micros,
        "ledger": format_amount(drift.ledger_micros),
        "balance": format_amount(drift.redis_micros),
        "held": format_amount(drift.held_micros),
        "in_outbox": format_amount(drift.outbox_micros),
        "unapplied": format_amount(drift.unapplied_micros),
        "expected": format_amount(drift.expected_micros),
    }
