"""Auto-recharge as a literal table: in each state, what each happening leads to (DOMAIN 7).

An account asks for money when what it has falls strictly below its trigger, once at a time.  What was asked for is no
credit: nothing is granted on it before it is booked.  After a decline it rests, longer each time; money by hand or
other recharge settings end the rest.  No payment is ever forgotten: one that was taken for declined and is made after
all is added whatever the state.

The actions are what the ledger does in the transaction that moves the state: ``ask`` writes down a payment request
with its key before anybody is asked, ``add`` books the money, ``tell`` notes that it failed, ``reset`` forgets
failures.  The documentation's table is made from this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

COOL_DOWNS_MS: Final = (HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS)
"""Rest after the first decline, the second, and each further one in a row."""


class State(StrEnum):
    """Where the recharge of an account stands."""

    IDLE = "idle"
    """Nothing is asked for."""
    PENDING = "pending"
    """A payment was asked for, and nobody knows yet what becomes of it."""
    FAILED = "failed"
    """The last one was declined; the account rests before it asks again."""


class Happening(StrEnum):
    """What can happen to the recharge of an account."""

    BELOW = "what it has falls below the trigger"
    PAID = "the payment is made"
    DECLINED = "the payment is declined"
    REFUSED = "below the trigger, but it may not be funded"
    COOLED = "the rest is over and it is still below"
    FUNDED = "money by hand"
    CHANGED = "card or recharge settings changed"
    PAID_LATE = "an earlier payment is made after all"


Step = tuple[str, State]
"""The action, and the state that follows."""

TABLE: Final[dict[State, dict[Happening, Step]]] = {
    State.IDLE: {
        Happening.BELOW: ("ask", State.PENDING),
        Happening.REFUSED: ("tell", State.FAILED),
        Happening.PAID_LATE: ("add", State.IDLE),
    },
    State.PENDING: {
        Happening.PAID: ("add", State.IDLE),
        Happening.DECLINED: ("tell", State.FAILED),
        Happening.PAID_LATE: ("add", State.PENDING),
    },
    State.FAILED: {
        Happening.COOLED: ("ask", State.PENDING),
        Happening.REFUSED: ("tell", State.FAILED),
        Happening.FUNDED: ("reset", State.IDLE),
        Happening.CHANGED: ("reset", State.IDLE),
        Happening.PAID_LATE: ("add", State.IDLE),
    },
}
"""A happening without an entry changes nothing: money by hand while a payment is pending, a decline said twice."""


@dataclass(frozen=True, slots=True)
class RechargeRule:
    """A tenant's ``recharge``: strictly below ``trigger_micros``, ``amount_micros`` is asked for.

    ``customer`` and ``payment_method`` are what the payment service calls the payer and its card.
    """

    enabled: bool = False
    trigger_micros: int = 0
    amount_micros: int = 0
    customer: str = ""
    payment_method: str = ""


@dataclass(frozen=True, slots=True)
class RechargeLimits:
    """Most payments that are asked for in an hour and a day, declined ones included."""

    per_hour: int = 3
    per_day: int = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """State of one account: failures in a row, and until when it rests (Unix milliseconds)."""

    state: State = State.IDLE
    failures: int = 0
    retry_ms: int = 0


def usable_micros(balance_micros: int, held_answered_micros: int) -> int:
    """What the trigger looks at (MONEY 9): the balance less what answered calls hold, for that is as good as spent."""
    return balance_micros - held_answered_micros


def due(
    standing: Standing,
    rule: RechargeRule,
    limits: RechargeLimits,
    has_micros: int,
    asked_ms: Sequence[int],
    now_ms: int,
) -> Happening | None:
    """BELOW or COOLED where money is to be asked for now; None where it is not.

    ``has_micros`` is :func:`usable_micros`, ``asked_ms`` when the payments of the last day were asked for.
    """
    if not rule.enabled or has_micros >= rule.trigger_micros or not _within(limits, asked_ms, now_ms):
        return None
    if standing.state is State.IDLE:
        return Happening.BELOW
    return Happening.COOLED if standing.state is State.FAILED and now_ms >= standing.retry_ms else None


def _within(limits: RechargeLimits, asked_ms: Sequence[int], now_ms: int) -> bool:
    """Whether one more may be asked for."""
    hour = sum(1 for each in asked_ms if each > now_ms - HOUR_MS)
    day = sum(1 for each in asked_ms if each > now_ms - DAY_MS)
    return hour < limits.per_hour and day < limits.per_day


def move(standing: Standing, happening: Happening, now_ms: int) -> tuple[str, Standing] | None:
    """The action and what follows; None where the happening changes nothing."""
    step = TABLE[standing.state].get(happening)
    if step is None:
        return None
    action, following = step
    if action == "tell":
        rest_ms = COOL_DOWNS_MS[min(standing.failures, len(COOL_DOWNS_MS) - 1)]
        return action, Standing(following, standing.failures + 1, now_ms + rest_ms)
    kept = standing.failures if action == "ask" else 0
    return action, Standing(following, kept, 0)


def table_rows() -> list[tuple[str, str, str, str]]:
    """The table for the documentation: state, happening, action, following state."""
    return [
        (state.value, happening.value, action, following.value)
        for state, row in TABLE.items()
        for happening, (action, following) in row.items()
    ]
