"""When calls are meant to arrive: an open loop, decided before the first INVITE and never slowed by the answers.

A closed loop waits for the system it measures and so leaves out the worst moments (coordinated omission).  Here each
call has an *intended* arrival; every delay is measured from it, however late the INVITE really left.  A limit of calls
under way closes the loop again, by the tester's own choice: see README.md on ``--concurrent``.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

Arrivals = Callable[[float, Random], Iterator[float]]
"""Takes calls per second and the dice; yields intended arrivals in seconds after the start, without an end."""


def constant(calls_per_s: float, dice: Random) -> Iterator[float]:
    """One call every 1/``calls_per_s`` seconds, the first at once; the dice are not thrown."""
    del dice
    number = 0
    while True:
        yield number / calls_per_s
        number += 1


def poisson(calls_per_s: float, dice: Random) -> Iterator[float]:
    """Independent arrivals: exponential gaps with a mean of 1/``calls_per_s`` seconds, as callers make them."""
    at_s = 0.0
    while True:
        at_s += dice.expovariate(calls_per_s)
        yield at_s


ARRIVALS: Final[dict[str, Arrivals]] = {"poisson": poisson, "constant": constant}
"""The kinds of arrivals by their name on the command line."""
