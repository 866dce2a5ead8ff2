"""Seeds played in CI: thousands of calls through whole gates while everything breaks, and nothing is ever lost.

``CALLGATE_SEEDS`` sets how many (default 2,000); ``python -m tests.simulation --count N`` plays more, and
``python -m tests.simulation SEED`` plays one again.
"""

import multiprocessing
import os

import pytest

from tests.simulation.__main__ import attempt
from tests.simulation.rebuilding import RealSettler
from tests.simulation.story import story_of
from tests.simulation.world import BrokenError, World, play

SEEDS = int(os.environ.get("CALLGATE_SEEDS", "2000"))


def test_nothing_breaks_whatever_the_seed() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        broke = [broken for _, broken, _, _ in pool.imap_unordered(attempt, range(SEEDS), 16) if broken]
    assert not broke, f"{len(broke)} of {SEEDS} seeds broke something; the first:\n{broke[0]}"


@pytest.mark.parametrize("seed", [100086, 101872])
def test_seeds_that_once_broke_something(seed: int) -> None:
    """Both: a charge was let go while Redis was away, and Redis came back without it."""
    play(seed)


def test_a_seed_is_always_the_same_story() -> None:
    one, two = play(7), play(7)
    assert str(one.story) == str(two.story)
    assert one.settler.ledger == two.settler.ledger
    assert one.network.sent == two.network.sent
    assert one.loop.time() == two.loop.time()


def test_stories_hold_what_they_promise() -> None:
    """All kinds of ends and faults come up, so that seeds that pass mean something."""
    worlds = [play(seed) for seed in range(150)]
    statuses = {end.status for world in worlds for end in world.pbx.ends.values()}
    assert {200, 402, 403, 404, 480, 486, 487, 500, 503} <= statuses
    kinds = {charge.kind for world in worlds for charge in world.settler.ledger.booked.values()}
    assert kinds == {"settle", "release", "sweep", "late"}
    faults = {what for world in worlds for _, what, _ in world.story.faults}
    assert {"cut", "down", "hang", "slow", "forget", "flush scripts", "partition", "kill", "settler away"} <= faults
    assert {"stall", "replace", "gone"} <= faults
    assert any(end.gate for world in worlds for side in (world.pbx, world.carrier) for end in side.ends.values())
    adopted = {call_id for world in worlds for gate in world.gates for call_id in gate.proven}
    endings = {
        charge.kind for world in worlds for call_id, charge in world.settler.ledger.booked.items() if call_id in adopted
    }
    rebuilt = [world for world in worlds if isinstance(world.settler, RealSettler)]
    lost = [world for world in rebuilt if not {"past", "forget"} & {what for _, what, _ in world.story.faults}]
    assert lost
    assert all(world.settler.epoch > 1 for world in lost), "what is from the past may lack nothing"
    assert any(world.settler.deaths for world in rebuilt)
    assert "settle" in endings, "none of the calls whose process died was ended by the next one"


def test_a_story_that_breaks_says_how_to_play_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: World) -> None:
        raise BrokenError("something")

    monkeypatch.setattr(World, "check_end", broken)
    with pytest.raises(BrokenError, match=r"something\nseed 3: .*\nagain: python -m tests\.simulation 3"):
        play(3)
    assert story_of(3).seed == 3
