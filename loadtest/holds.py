"""How long answered calls talk: ``5``, ``fixed:5``, ``exponential:30`` (mean), ``lognormal:30,0.8`` (median, sigma)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

MAX_HOLD_S: Final = 86_400.0
"""No call of a test talks longer than a day: long tails of a distribution are cut here, so that a run has an end."""

_FORMS: Final = "SECONDS, fixed:SECONDS, exponential:MEAN or lognormal:MEDIAN,SIGMA"


class HoldError(ValueError):
    """A hold time that cannot be read; the message says which forms there are."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A distribution of talk in seconds; ``typical_s`` is its mean or median, for setting an end to a run."""

    text: str
    typical_s: float
    sample: Callable[[Random], float]

    def draw_s(self, dice: Random) -> float:
        """Talk of the next call in seconds, never above :data:`MAX_HOLD_S`."""
        return min(MAX_HOLD_S, self.sample(dice))


def parse_hold(text: str) -> Hold:
    """Read a hold time; raises :class:`HoldError` where the form is unknown or a number does not fit."""
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        kind, rest = "fixed", kind
    numbers = [_number(text, part) for part in rest.split(",")]
    match kind, numbers:
        case "fixed", [seconds]:
            return Hold(text, seconds, lambda dice: seconds)
        case "exponential", [mean] if mean > 0:
            return Hold(text, mean, lambda dice: dice.expovariate(1 / mean))
        case "lognormal", [median, sigma] if median > 0:
            return Hold(text, median, lambda dice: dice.lognormvariate(math.log(median), sigma))
    raise HoldError(f"hold {text!r}: expected {_FORMS}")


def _number(text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        raise HoldError(f"hold {text!r}: {part!r} is not a number; expected {_FORMS}") from None
    if not 0 <= number <= MAX_HOLD_S:
        raise HoldError(f"hold {text!r}: {part} is outside 0 to {MAX_HOLD_S:.0f} seconds")
    return number
