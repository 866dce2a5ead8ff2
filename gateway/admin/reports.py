"""Funding advice as operators are shown it: the document of ``callgate advise --json``."""

from gateway.admin.documents import Document
from gateway.moments import iso_utc
from gateway.settlement.reports import FundingAdvice
from rating.money import format_amount


def advice_document(found: FundingAdvice) -> Document:
    """What a tenant should set, the steps that led there, and what its minutes have cost by destination."""
    advice = found.advice
    return {
        "tenant": found.tenant_id,
        "currency": found.currency,
        "from": iso_utc(found.from_ms),
        "to": iso_utc(found.to_ms),
        "days": advice.days,
        "trigger": format_amount(advice.trigger_micros),
        "amount": format_amount(advice.amount_micros),
        "one_time_funding": format_amount(advice.funding_micros),
        "recharge_every_days": advice.recharge_every_days,
        "daily": {
            "mean": format_amount(advice.mean_day_micros),
            "p50": format_amount(advice.middle_day_micros),
            "p95": format_amount(advice.dear_day_micros),
            "max": format_amount(advice.dearest_day_micros),
        },
        "reasoning": [{"step": step.name, "outcome": step.outcome} for step in advice.steps],
        "destinations": [
            {
                "destination": each.destination,
                "calls": each.calls,
                "minutes": each.minutes,
                "charge": format_amount(each.charge_micros),
                "per_minute": format_amount(each.minute_micros),
            }
            for each in found.destinations
        ],
    }
