"""What fate has decided for a seed: who calls whom and what they do, how bad the network is, what breaks and when.

A story is told before it is played, by dice of its own, so that it can be read (``str(story)``) where it broke
something.  Which faults may meet follows from MONEY 6: the one loss it allows, Redis' last writes together with the
worker that made them, is in no story, so every micro-unit must be found.
"""

import random
from dataclasses import dataclass, field

from tests.simulation.network import Address, Weather
from tests.simulation.phones import Plan

GATES: tuple[Address, ...] = (("10.0.0.11", 5060), ("10.0.0.12", 5060))

STORY_S = 25.0
"""When the last call begins, at most."""


@dataclass
class Story:
    """What fate has decided for a seed."""

    seed: int
    gates: int = 1
    rebuilt: bool = False
    """Redis loses what only the settler can tell it again; the settler is the real one."""
    tenants: list[str] = field(default_factory=list)
    weather: Weather = field(default_factory=Weather)
    plans: list[Plan] = field(default_factory=list)
    fundings: list[tuple[float, str, int]] = field(default_factory=list)
    faults: list[tuple[float, str, float]] = field(default_factory=list)
    """Moment, what happens, and its length or strength."""

    def __str__(self) -> str:
        faults = ", ".join(f"{what} at {at_s:.2f} ({much:.2f})" for at_s, what, much in self.faults) or "nothing breaks"
        return f"seed {self.seed}: {self.gates} gates, {len(self.plans)} calls, {self.weather}, {faults}"


REBUILT_EVERY = 16
"""One story in so many is one in which Redis loses its memory, under the real settler."""

PAST_S = 15.0
"""How far back a Redis from the past may be, in seconds."""

MEMORY_FAULTS = ("wipe", "wipe and restart", "half", "past", "settler dies")
REDIS_FAULTS = ("cut", "down", "hang", "slow", "forget", "flush scripts", "partition")
GONE_SHARE = 0.3
"""Of the stories with two gates those in which one of them dies for good, and the other one takes over."""

GATE_FAULTS = ("kill", "kill", "settler away", "stall", "replace")


def story_of(seed: int) -> Story:
    """The story of a seed."""
    dice = random.Random(seed)
    story = Story(seed, gates=dice.choice((1, 1, 2)))
    story.tenants = [f"tenant{number}" for number in range(dice.randint(1, 3))]
    story.weather = dice.choice((Weather(), Weather(), Weather(0.05, 0.03, 0.005, 0.03), Weather(0.2, 0.1, 0.01, 0.1)))
    for number in range(dice.randint(2, 12)):
        story.plans.append(_plan(dice, number, story))
    for tenant in story.tenants:
        story.fundings.append((0.0, tenant, dice.choice((0, 5_000, 20_000, 60_000, 200_000, 10**9, 10**9))))
        for _ in range(dice.randint(0, 2)):
            story.fundings.append((dice.uniform(1, STORY_S + 30), tenant, dice.choice((1, 4_000, 30_000))))
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        story.faults.append((dice.uniform(2, STORY_S + 20), dice.choice(REDIS_FAULTS), dice.uniform(0.3, 12)))
    if not any(what == "forget" for _, what, _ in story.faults):
        # Redis' last writes and the worker that made them gone together is the one loss MONEY 6 documents
        for _ in range(dice.choice((0, 0, 1))):
            story.faults.append((dice.uniform(2, STORY_S + 20), dice.choice(GATE_FAULTS), dice.uniform(0.3, 8)))
    if story.gates == len(GATES) and dice.random() < GONE_SHARE:
        story.faults = [fault for fault in story.faults if fault[1] not in GATE_FAULTS]
        story.faults.append((dice.uniform(5, STORY_S + 20), "gone", 0.1))
    if seed % REBUILT_EVERY == REBUILT_EVERY - 1:
        _lose_memory(story)
    if story.gates == len(GATES) and {"forget", "partition"} <= {what for _, what, _ in story.faults}:
        # both gates may each have ended the same call, and Redis forget the one whose charge is booked: only the real
        # settler notices that Redis has lost writes, and tells it
        story.rebuilt = True
    return story


def _lose_memory(story: Story) -> None:
    """Faults of which the real settler has to make good what Redis has lost; no worker dies that knows of it."""
    dice = random.Random(-story.seed)
    story.rebuilt = True
    story.faults = [
        fault for fault in story.faults if fault[1] in ("cut", "slow", "flush scripts", "settler away", "stall")
    ]
    for _ in range(dice.choice((1, 1, 2, 3))):
        story.faults.append((dice.uniform(2, STORY_S + 20), dice.choice(MEMORY_FAULTS), dice.uniform(0.3, 6)))


def _plan(dice: random.Random, number: int, story: Story) -> Plan:
    def maybe(chance: float, least: float, most: float) -> float | None:
        return dice.uniform(least, most) if dice.random() < chance else None

    plan = Plan(
        number=f"+1425555{number:04d}",
        caller=dice.choice(story.tenants),
        gate=GATES[dice.randrange(story.gates)],
        at_s=1001 + dice.uniform(0, STORY_S),
        answer=dice.choice((200, 200, 200, 200, 200, 486, 503, 404, 0)),
        ring_s=dice.choice((0.0, 0.5, 2.0, 8.0, 25.0)),
        caller_talks_s=maybe(0.5, 0.0, 30.0),
        callee_talks_s=maybe(0.3, 0.0, 30.0),
        gives_up_s=maybe(0.2, 0.0, 10.0),
        acknowledges=dice.random() > 0.05,
    )
    if dice.random() < 0.1:
        plan.caller_vanishes_s = dice.uniform(0, 10)
    if dice.random() < 0.1:
        plan.callee_vanishes_s = dice.uniform(0, 10)
    return plan
