"""What a tenant of a story pays, and from what: tariffs that change in mid-story, pools, limits; and what is due."""

import random
from collections.abc import Iterable

from policy.drawn import money_ms, money_tariff
from policy.verdict import Limits, LiveLimit, Pool, SpendLimit
from rating.schedule import Change, resolve
from rating.tariff import Tariff, charge_micros
from tests.simulation.gate import UNIX_START_S
from tests.simulation.story import STORY_S

TARIFFS = (
    Tariff(60_000, 0, 1, 1),
    Tariff(60_000, 5_000, 6, 6),
    Tariff(100_001, 777, 3, 2, 0, 40_000),
    Tariff(12_345, 0, 7, 13, 2),
    Tariff(0, 0, 60, 60),
)

POOLS = ((), (), (Pool("PLAN/US", "PLAN", "US", 3),))
SPEND_LIMITS = ((), (), (SpendLimit("tenant", "day", 150_000),))
LIVE_LIMITS = ((), (), (LiveLimit("user/one", 2),))

CHANGES = (0, 0, 1, 3)
"""How often a tenant's price changes while its calls ring and talk."""


class Prices:
    """Prices, limits and pools by tenant; ``dice`` draws them, but for the changes, so that a story in which none of
    these concern a call is as it was without them."""

    def __init__(self, dice: random.Random, tenants: Iterable[str], seed: int) -> None:
        tenants = list(tenants)
        self.tariffs = {tenant: dice.choice(TARIFFS) for tenant in tenants}
        self.limits = {tenant: _limits(dice) for tenant in tenants}
        self.pools = {tenant: dice.choice(POOLS) for tenant in tenants}
        own = random.Random(seed)
        self.changes = {tenant: _changes(own) for tenant in tenants}

    def at(self, tenant: str, unix_ms: int) -> tuple[Tariff, tuple[Change, ...]]:
        """What a call costs that is invited at a moment, and what changes after it."""
        changes = self.changes[tenant]
        begun = [self.tariffs[tenant], *(each.tariff for each in changes if each.at_unix_ms <= unix_ms)]
        return begun[-1], changes[len(begun) - 1 :]

    def due(self, tenant: str, answered_ms: int, drawn: str, talk_ms: int) -> int:
        """What money pays of so much talk; ``drawn`` as policy.drawn has it."""
        tariff = resolve(self.tariffs[tenant], self.changes[tenant], answered_ms, 2**31)
        paid_ms, known = money_ms(drawn, talk_ms), money_tariff(tariff, drawn)
        return 0 if paid_ms is None or known is None else charge_micros(known, paid_ms)


def _limits(dice: random.Random) -> Limits:
    spend, live = dice.choice(SPEND_LIMITS), dice.choice(LIVE_LIMITS)
    return Limits(dice.choice((None, None, 2)), spend=spend, live=live)


def _changes(dice: random.Random) -> tuple[Change, ...]:
    """Moments of the story, which begins 1,000 s after the clocks' start."""
    moments = sorted(dice.uniform(1_000, 1_000 + STORY_S + 40) for _ in range(dice.choice(CHANGES)))
    return tuple(Change(int((UNIX_START_S + at_s) * 1000), dice.choice(TARIFFS)) for at_s in moments)
