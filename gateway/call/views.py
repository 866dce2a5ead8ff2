"""What ``callgate calls`` shows of a live call, taken at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallView:
    """One live call (CONTRACT 2).  Moments are Unix milliseconds, 0 where not reached; ``seconds`` is talk so far.

    ``charged_micros`` is the price up to now, which lies inside ``held_micros`` (MONEY 1).  ``paid_until_ms`` is 0
    where nobody pays.
    """

    id: str
    tenant: str
    user: str
    trunk: str
    caller: str
    number: str
    kind: str
    state: str
    answered_ms: int
    seconds: int
    charged_micros: int
    held_micros: int
    paid_until_ms: int
    node: str
