"""What the two ends of a test call do: one row a behaviour, and mixes of them.

A behaviour is a plain value that both ends read; a new one is a new row, and where it needs a new deed, a new field.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens in one kind of call until it is answered.

    ``final_status`` is what the called side says after its ring time, 0: nothing; ``expected_status`` what the caller
    is to hear.  A caller that gives up does so when the ring time is over.
    """

    name: str
    final_status: int
    expected_status: int
    rings: bool = True
    caller_gives_up: bool = False


BEHAVIOURS: Final = {
    behaviour.name: behaviour
    for behaviour in (
        Behaviour("normal", 200, 200),
        Behaviour("busy", 486, 486, rings=False),
        Behaviour("no-answer", 480, 480),
        Behaviour("cancel", 0, 487, caller_gives_up=True),
    )
}
"""The behaviours by their name on the command line."""

Mix = Callable[[Random], Behaviour]
"""Draws the behaviour of the next call."""


class MixError(ValueError):
    """A mix that cannot be read; the message names the part."""


def parse_mix(text: str) -> Mix:
    """Read ``normal`` or ``normal=90,busy=5,cancel=5`` (weights); raises :class:`MixError`."""
    rows: list[Behaviour] = []
    weights: list[float] = []
    for part in text.split(","):
        name, _, weight = (piece.strip() for piece in part.partition("="))
        if name not in BEHAVIOURS:
            raise MixError(f"behaviour {name!r} is unknown; there are {', '.join(BEHAVIOURS)}")
        rows.append(BEHAVIOURS[name])
        weights.append(_weight(name, weight or "1"))
    if not sum(weights):
        raise MixError(f"behaviours {text!r}: at least one weight must be above 0")
    if len(rows) == 1:
        return lambda dice: rows[0]
    return lambda dice: dice.choices(rows, weights)[0]


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1_000_000:
        raise MixError(f"behaviour {name!r}: {text!r} is not a weight; expected a number from 0 to 1000000")
    return weight
