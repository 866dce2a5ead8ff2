"""What a call costs: one tariff, whole milliseconds of talk in, whole micro-units out.

The rule is MONEY 2: nothing is billed up to ``free_s``; beyond it, talk is rounded up to the first increment and
then by the next ones; the charge is the connect fee plus the rate over the billed seconds, rounded up once on the
whole call, and never below the minimum.  Every increment ends at a *boundary* ``free_s + first_incr_s +
k × next_incr_s``; a tick of reserved talk starts and ends at boundaries, so that the price of ticks adds up to the
price of the call whatever the ticks were.
"""

from dataclasses import dataclass
from typing import Final

SECONDS_PER_MINUTE: Final = 60
MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Tariff:
    """The price of one destination in micro-units of a tenant's currency.

    ``rate_micros_per_min``, ``connect_micros``, ``minimum_micros`` and ``free_s`` are ≥ 0; ``first_incr_s`` and
    ``next_incr_s`` are ≥ 1.  Raises ValueError where one is not.
    """

    rate_micros_per_min: int
    connect_micros: int = 0
    first_incr_s: int = 60
    next_incr_s: int = 60
    free_s: int = 0
    minimum_micros: int = 0

    def __post_init__(self) -> None:
        for name in ("rate_micros_per_min", "connect_micros", "free_s", "minimum_micros"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it cannot be negative")
        for name in ("first_incr_s", "next_incr_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: an increment is at least one second")


def billed_s(tariff: Tariff, talk_ms: int) -> int:
    """Seconds billed for ``talk_ms`` of talk: 0 within the free seconds, else whole increments (MONEY 2)."""
    beyond_ms = talk_ms - tariff.free_s * MS_PER_S
    if beyond_ms <= 0:
        return 0
    return _whole_increments(tariff, -(-beyond_ms // MS_PER_S))


def charge_micros(tariff: Tariff, talk_ms: int) -> int:
    """The charge of an answered call of ``talk_ms``; it never falls as talk grows."""
    return _price_of_billed(tariff, billed_s(tariff, talk_ms))


def price_micros(tariff: Tariff, talk_s: int) -> int:
    """The charge of an answered call of ``talk_s`` whole seconds."""
    beyond_s = talk_s - tariff.free_s
    return _price_of_billed(tariff, _whole_increments(tariff, beyond_s) if beyond_s > 0 else 0)


def boundary_after(tariff: Tariff, talk_s: int) -> int:
    """The end of the first increment that ends strictly after ``talk_s``, in seconds since the answer.

    Free seconds have no end of their own: they belong to the first increment, which ends at
    ``free_s + first_incr_s``.
    """
    return tariff.free_s + _whole_increments(tariff, max(1, talk_s - tariff.free_s + 1))


def tick_end_s(tariff: Tariff, start_s: int, tick_s: int) -> int:
    """Where a tick of ``tick_s`` (≥ 1) from ``start_s`` ends: rounded up to the end of an increment (MONEY 2)."""
    return boundary_after(tariff, start_s + tick_s - 1)


def tick_micros(tariff: Tariff, start_s: int, end_s: int) -> int:
    """The price of the tick from ``start_s`` to ``end_s``: the charge up to its end less the charge up to its start.

    The first tick, from 0, carries the connect fee or the minimum, so that the prices of a call's ticks add up to
    its charge.
    """
    return price_micros(tariff, end_s) - _paid_before(tariff, start_s)


def affordable_end_s(tariff: Tariff, start_s: int, end_s: int, available_micros: int) -> int | None:
    """The end of the longest tick of whole increments from ``start_s``, at most to ``end_s``, that can be paid.

    ``end_s`` is the end of an increment, as :func:`tick_end_s` gives it.  None where not even one increment can be
    paid; money is all that is looked at, whether an account may spend at all is the credit store's to say.
    """
    if tick_micros(tariff, start_s, end_s) <= available_micros:
        return end_s
    least_s = boundary_after(tariff, start_s)
    budget_micros = available_micros + _paid_before(tariff, start_s)
    if price_micros(tariff, least_s) > budget_micros:
        return None
    return min(end_s, _last_boundary_within(tariff, budget_micros))


def max_talk_s(tariff: Tariff, available_micros: int, cap_s: int) -> int:
    """The longest talk, at most ``cap_s`` seconds, that ``available_micros`` pays for from its start; 0: none.

    Increments are paid whole, also the last one where ``cap_s`` cuts it short.  Credit must be above zero even where
    the first increment is free (MONEY 2).
    """
    if available_micros <= 0 or cap_s < 1:
        return 0
    end_s = affordable_end_s(tariff, 0, tick_end_s(tariff, 0, cap_s), available_micros)
    return 0 if end_s is None else min(end_s, cap_s)


def _whole_increments(tariff: Tariff, beyond_s: int) -> int:
    """``beyond_s`` (≥ 1) seconds past the free ones, rounded up to the first increment and then by the next ones."""
    after_first_s = beyond_s - tariff.first_incr_s
    if after_first_s <= 0:
        return tariff.first_incr_s
    return tariff.first_incr_s - (-after_first_s // tariff.next_incr_s) * tariff.next_incr_s


def _price_of_billed(tariff: Tariff, seconds: int) -> int:
    """max(minimum, connect + ⌈rate × billed ÷ 60⌉): rounded up once on the whole call, never per tick (MONEY 2)."""
    rated_micros = -(-tariff.rate_micros_per_min * seconds // SECONDS_PER_MINUTE)
    return max(tariff.minimum_micros, tariff.connect_micros + rated_micros)


def _paid_before(tariff: Tariff, start_s: int) -> int:
    return price_micros(tariff, start_s) if start_s > 0 else 0


def _last_boundary_within(tariff: Tariff, budget_micros: int) -> int:
    """The last increment end whose price is within the budget, which pays for the first one and not for all.

    ⌈rate × billed ÷ 60⌉ ≤ b is the same as billed ≤ b × 60 ÷ rate.  The rate is above 0: a free increment more
    would never have been beyond the budget.
    """
    rated_micros = budget_micros - tariff.connect_micros
    seconds = rated_micros * SECONDS_PER_MINUTE // tariff.rate_micros_per_min
    increments = (seconds - tariff.first_incr_s) // tariff.next_incr_s
    return tariff.free_s + tariff.first_incr_s + increments * tariff.next_incr_s
