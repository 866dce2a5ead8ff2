"""What a call costs: one tariff, whole milliseconds of talk in, whole micro-units out.

The rule is MONEY 2: nothing is billed up to ``free_s``; beyond it, talk is rounded up to the first increment and
then by the next ones; the charge is the connect fee plus the rate over the billed seconds, rounded up once on the
whole call, and never below the minimum.  Every increment ends at a *boundary* ``free_s + first_incr_s +
k × next_incr_s``; a tick of reserved talk starts and ends at boundaries, so that the price of ticks adds up to the
price of the call whatever the ticks were.
"""

from dataclasses import dataclass

SECONDS_PER_MINUTE = 60


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
