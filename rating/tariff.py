"""What a call costs: one tariff, whole milliseconds of talk in, whole micro-units out.

The rule is MONEY 2: nothing is billed up to ``free_s``; beyond it, talk is rounded up to the first increment and
then by the next ones; the charge is the connect fee plus the rate over the billed seconds, rounded up once on the
whole call, and never below the minimum.  Every increment ends at a *boundary* ``free_s + first_incr_s +
k × next_incr_s``; a tick of reserved talk starts and ends at boundaries, so that the price of ticks adds up to the
price of the call whatever the ticks were.

A rate may change inside a call: then the tariff has *steps*, each a second of talk from which another rate and another
increment hold.  An increment costs the rate in effect when it begins and is never split, so a step that falls into one
counts from that one's end; connect fee, minimum, free seconds and first increment stay those of the answer.  A tick
never reaches over a step.  Talk is counted from the answer; a price of a moment in time is ``rating.schedule``.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

SECONDS_PER_MINUTE: Final = 60
MS_PER_S: Final = 1000


class Step(NamedTuple):
    """From ``from_s`` seconds of talk on (≥ 0) a minute costs ``rate_micros_per_min`` and increments last
    ``next_incr_s``."""

    from_s: int
    rate_micros_per_min: int
    next_incr_s: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """The price of one destination in micro-units of a tenant's currency.

    ``rate_micros_per_min``, ``connect_micros``, ``minimum_micros`` and ``free_s`` are ≥ 0; ``first_incr_s`` and
    ``next_incr_s`` are ≥ 1.  ``steps`` are in the order of their seconds; of several at one second the last counts.
    Raises ValueError where that is not so.
    """

    rate_micros_per_min: int
    connect_micros: int = 0
    first_incr_s: int = 60
    next_incr_s: int = 60
    free_s: int = 0
    minimum_micros: int = 0
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for name in ("rate_micros_per_min", "connect_micros", "free_s", "minimum_micros"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it cannot be negative")
        for name in ("first_incr_s", "next_incr_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: an increment is at least one second")
        if self.steps:
            _check_steps(self.steps)


def _check_steps(steps: tuple[Step, ...]) -> None:
    before_s = 0
    for step in steps:
        if step.from_s < before_s or step.rate_micros_per_min < 0 or step.next_incr_s < 1:
            raise ValueError(f"{step} is no step: seconds never fall, a rate is 0 or more, an increment 1 or more")
        before_s = step.from_s


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
    """Where a tick of ``tick_s`` (≥ 1) from ``start_s`` ends: rounded up to the end of an increment, and never beyond
    the one at whose end the rate changes (MONEY 2)."""
    end_s = boundary_after(tariff, start_s + tick_s - 1)
    if tariff.steps:
        start_billed_s = max(0, start_s - tariff.free_s)
        for piece in pieces(tariff):
            if piece.begin_s > start_billed_s:
                return min(end_s, tariff.free_s + piece.begin_s)
    return end_s


def tick_micros(tariff: Tariff, start_s: int, end_s: int) -> int:
    """The price of the tick from ``start_s`` to ``end_s``: the charge up to its end less the charge up to its start.

    The first tick, from 0, carries the connect fee or the minimum, so that the prices of a call's ticks add up to
    its charge.
    """
    return price_micros(tariff, end_s) - _paid_before(tariff, start_s)


def affordable_end_s(tariff: Tariff, start_s: int, end_s: int, available_micros: int) -> int | None:
    """The end of the longest tick of whole increments from ``start_s``, at most to ``end_s``, that can be paid.

    ``end_s`` is the end of an increment, as :func:`tick_end_s` gives it; steps may lie before it.  None where not even
    one increment can be paid; money is all that is looked at, whether an account may spend at all is the credit store's
    to say.
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
    end_s = affordable_end_s(tariff, 0, boundary_after(tariff, cap_s - 1), available_micros)
    return 0 if end_s is None else min(end_s, cap_s)


class Piece(NamedTuple):
    """Billed seconds from ``begin_s`` on, up to the next piece, at one rate; ``next_incr_s`` as of a tariff."""

    begin_s: int
    rate_micros_per_min: int
    next_incr_s: int


def pieces(tariff: Tariff) -> list[Piece]:
    """What holds from which billed second on: each step from the end of the increment it falls into.

    The first piece begins at 0; every other one begins at the end of an increment of the piece before it.
    """
    found = [Piece(0, tariff.rate_micros_per_min, tariff.next_incr_s)]
    for from_s, rate, next_incr_s in tariff.steps:
        beyond_s = from_s - tariff.free_s
        begin_s = _round_up(tariff.first_incr_s, found[-1], beyond_s) if beyond_s > 0 else 0
        if begin_s == found[-1].begin_s:
            found.pop()
        found.append(Piece(begin_s, rate, next_incr_s))
    return found


def _round_up(first_incr_s: int, piece: Piece, beyond_s: int) -> int:
    """The end of the increment of ``piece``, or of the first one, that so many seconds past the free ones reach."""
    begin_s = max(first_incr_s, piece.begin_s)
    rest_s = beyond_s - begin_s
    return begin_s if rest_s <= 0 else begin_s - (-rest_s // piece.next_incr_s) * piece.next_incr_s


def _whole_increments(tariff: Tariff, beyond_s: int) -> int:
    """``beyond_s`` (≥ 1) seconds past the free ones, rounded up to the first increment and then by the next ones."""
    if tariff.steps:
        piece = next(piece for piece in reversed(pieces(tariff)) if piece.begin_s < beyond_s)
        return _round_up(tariff.first_incr_s, piece, beyond_s)
    after_first_s = beyond_s - tariff.first_incr_s
    if after_first_s <= 0:
        return tariff.first_incr_s
    return tariff.first_incr_s - (-after_first_s // tariff.next_incr_s) * tariff.next_incr_s


def _price_of_billed(tariff: Tariff, seconds: int) -> int:
    """max(minimum, connect + ⌈Σ rate × billed ÷ 60⌉): rounded up once on the whole call, never per tick (MONEY 2)."""
    sixtieths = _rated_sixtieths(tariff, seconds) if tariff.steps else tariff.rate_micros_per_min * seconds
    return max(tariff.minimum_micros, tariff.connect_micros - (-sixtieths // SECONDS_PER_MINUTE))


def _rated_sixtieths(tariff: Tariff, seconds: int) -> int:
    """Σ rate × billed over the pieces, in sixtieths of a micro-unit."""
    total, end_s = 0, seconds
    for piece in reversed(pieces(tariff)):
        if piece.begin_s < end_s:
            total += piece.rate_micros_per_min * (end_s - piece.begin_s)
            end_s = piece.begin_s
    return total


def _paid_before(tariff: Tariff, start_s: int) -> int:
    return price_micros(tariff, start_s) if start_s > 0 else 0


def _last_boundary_within(tariff: Tariff, budget_micros: int) -> int:
    """The last increment end whose price is within the budget, which pays for the first one and not for all.

    ⌈rate × billed ÷ 60⌉ ≤ b is the same as rate × billed ≤ 60 b.  The piece in which that ends has a rate above 0: a
    free increment more would never have been beyond the budget.
    """
    left = (budget_micros - tariff.connect_micros) * SECONDS_PER_MINUTE
    known = pieces(tariff)
    for piece, following in pairwise(known):
        cost = piece.rate_micros_per_min * (following.begin_s - piece.begin_s)
        if cost > left:
            return tariff.free_s + _round_down(tariff.first_incr_s, piece, left)
        left -= cost
    return tariff.free_s + _round_down(tariff.first_incr_s, known[-1], left)


def _round_down(first_incr_s: int, piece: Piece, left_sixtieths: int) -> int:
    """The end of the last increment of ``piece`` that so much pays for, in billed seconds."""
    begin_s = max(first_incr_s, piece.begin_s)
    beyond_s = piece.begin_s + left_sixtieths // piece.rate_micros_per_min - begin_s
    return begin_s + beyond_s // piece.next_incr_s * piece.next_incr_s
