"""Prices that change while a call rings or talks: from moments in time to seconds of one call's talk.

What is known at the INVITE is a row of *changes*: from a moment on another tariff holds for the number.  Which tariff a
call begins with is open until it is answered.  Until then money is reserved by a *ceiling*, which is as dear as any
tariff that may turn out to hold: whenever the answer comes, what is held pays for the first increment at least.  At the
answer the changes are *resolved* into one tariff whose steps are seconds of talk, and that prices the call to its end.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rating.tariff import MS_PER_S, Step, Tariff


class Change(NamedTuple):
    """From ``at_unix_ms`` (Unix milliseconds) on a number costs ``tariff``, which has no steps of its own."""

    at_unix_ms: int
    tariff: Tariff


def ceiling(tariff: Tariff, changes: Sequence[Change], latest_answer_ms: int, tick_s: int) -> Tariff:
    """A tariff by which the first tick, of ``tick_s`` seconds, may be reserved before it is known when talk begins.

    ``tariff`` holds at the INVITE, ``changes`` (in their order) follow; the answer comes by ``latest_answer_ms``.  It
    is ``tariff`` itself where no change can matter to that tick.  Its first increment costs at least as much as that of
    the tariff of any answer: it has the largest connect fee, minimum, rate and increments and the fewest free seconds
    of all that may hold by the end of the longest free talk or of the tick, whichever is later.
    """
    free_s = max([tariff.free_s, *(each.tariff.free_s for each in changes if each.at_unix_ms <= latest_answer_ms)])
    until_ms = latest_answer_ms + max(tick_s, free_s) * MS_PER_S
    known = [tariff, *(each.tariff for each in changes if each.at_unix_ms <= until_ms)]
    if len(known) == 1:
        return tariff
    return Tariff(
        max(each.rate_micros_per_min for each in known),
        max(each.connect_micros for each in known),
        max(each.first_incr_s for each in known),
        max(each.next_incr_s for each in known),
        min(each.free_s for each in known),
        max(each.minimum_micros for each in known),
    )


def resolve(tariff: Tariff, changes: Sequence[Change], answered_unix_ms: int, longest_s: int) -> Tariff:
    """The tariff of a call that is answered at that moment, with a step for each change of the rate within the call.

    What holds at the answer gives connect fee, minimum, free seconds and first increment; a change within a second
    counts from the next whole second of talk.  Changes after ``longest_s`` seconds, which the call does not reach,
    are left out.
    """
    begun = [each for each in changes if each.at_unix_ms <= answered_unix_ms]
    if begun:
        tariff = begun[-1].tariff
    rate, steps = (tariff.rate_micros_per_min, tariff.next_incr_s), []
    for at_unix_ms, following in changes[len(begun) :]:
        from_s = -((answered_unix_ms - at_unix_ms) // MS_PER_S)
        now = following.rate_micros_per_min, following.next_incr_s
        if from_s < longest_s and now != rate:
            steps.append(Step(from_s, *now))
            rate = now
    return replace(tariff, steps=tuple(steps)) if steps else tariff
