"""Funding advice: from a month or two of usage, the recharge trigger and amount that a tenant should set.

The source recommends amounts by "a month or two of usage" and gives no more, so the rule is ours, and each step of it
is told with its figures.  The trigger must last until the next money comes: a payment that is declined is tried again
after 1, 6 and 24 hours (DOMAIN 7), so money may be some thirty hours late, which is two days; each of them is taken to
be as dear as all but the dearest of twenty.  The amount lasts a month, so that a tenant is charged about as often as it
is billed.  Both are whole units, and at least 50 of them, as the source's form has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rating.money import MAX_MICROS, MICROS_PER_UNIT, format_cents

LEAST_UNITS: Final = 50
"""Least trigger and least funding, in whole units of the currency (DOMAIN 2, RechargePolicy)."""

LATE_DAYS: Final = 2
"""How long money may take after the trigger: 1 + 6 + 24 hours of tries, in whole days."""

MONTH_DAYS: Final = 30

LOT_DAYS: Final = 365
"""Credit expires twelve months after it was bought (DOMAIN 4)."""

FEW_DAYS: Final = 7
"""Fewer days than this say little about a month."""

MIDDLE_PERCENT: Final = 50
DEAR_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reasoning: what was looked at, and what it gave."""

    name: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set, in micro-units, and why.

    ``funding_micros`` is the one-time funding that pays for the time looked at once more; ``recharge_every_days`` how
    long ``amount_micros`` lasts at the mean of the days, rounded down; None where nothing was spent.
    """

    trigger_micros: int
    amount_micros: int
    funding_micros: int
    mean_day_micros: int
    middle_day_micros: int
    dear_day_micros: int
    dearest_day_micros: int
    days: int
    recharge_every_days: int | None
    steps: tuple[Step, ...]


def advise(days_micros: Sequence[int], minimum_funding_micros: int | None = None) -> Advice:
    """Advice from what each day cost (≥ 0), days without calls included; none at all gives the least amounts.

    ``minimum_funding_micros`` is the tenant's own least funding.  Raises ValueError for a day below 0.
    """
    if any(day < 0 for day in days_micros):
        raise ValueError("a day cannot cost less than nothing")
    days = sorted(days_micros)
    mean = -(-sum(days) // len(days)) if days else 0
    middle, dear = percentile(days, MIDDLE_PERCENT), percentile(days, DEAR_PERCENT)
    burn = LATE_DAYS * dear
    month = -(-MONTH_DAYS * sum(days) // len(days)) if days else 0
    least = max(LEAST_UNITS * MICROS_PER_UNIT, minimum_funding_micros or 0)
    trigger = whole_units(max(burn, LEAST_UNITS * MICROS_PER_UNIT))
    amount = whole_units(max(month, burn, least))
    funding = whole_units(max(sum(days), least))
    lasts = amount // mean if mean else None
    steps = (
        Step("days", _told_days(len(days))),
        Step("day", f"mean {_units(mean)}, middle {_units(middle)}, dear (95 of 100) {_units(dear)}"),
        Step("trigger", f"{LATE_DAYS} dear days until a late payment comes: {_units(burn)}; {_rounded(trigger)}"),
        Step("amount", f"{MONTH_DAYS} mean days: {_units(month)}; least funding {_units(least)}; {_rounded(amount)}"),
        Step("lasts", _told_lasting(lasts)),
    )
    return Advice(trigger, amount, funding, mean, middle, dear, days[-1] if days else 0, len(days), lasts, steps)


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest of ``ordered`` values that ``percent`` (1 to 100) of them do not exceed; 0 of none."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0


def whole_units(micros: int) -> int:
    """Rounded up to whole units of the currency, at most what an account can hold."""
    return min(-(-micros // MICROS_PER_UNIT), MAX_MICROS // MICROS_PER_UNIT) * MICROS_PER_UNIT


def _units(micros: int) -> str:
    return format_cents(micros)


def _rounded(micros: int) -> str:
    return f"in whole units, at least {LEAST_UNITS}: {micros // MICROS_PER_UNIT}"


def _told_days(days: int) -> str:
    if days >= FEW_DAYS:
        return f"{days} days of usage"
    return f"{days} days of usage: ask again when there is a week of them or more"


def _told_lasting(days: int | None) -> str:
    if days is None:
        return "nothing was spent: the least amounts will do"
    if days > LOT_DAYS:
        return f"{days} days, but credit expires after twelve months: part of it would be forfeited"
    return f"{days} days at the mean"
