"""``python -m tests.simulation SEED`` plays one seed; ``--from A --count N --jobs J`` many, with progress.

``--mistakes`` makes each mistake of ``mutations`` and tells, as the table of README has it, which seed noticed.
"""

import argparse
import multiprocessing
import sys
import time
import traceback

from tests.simulation.mutations import SCRIPTS, WORKER, notice
from tests.simulation.world import BrokenError, play


def attempt(seed: int) -> tuple[int, str, int, int]:
    """One seed: what broke ('' nothing), calls, datagrams."""
    try:
        world = play(seed)
    except BrokenError:
        return seed, traceback.format_exc(), 0, 0
    return seed, "", len(world.story.plans), world.network.sent


def tell_mistakes() -> int:
    """A table: the mistake, the seed that noticed, what broke."""
    for name in (*SCRIPTS, *WORKER):
        seed, said = notice(name)
        print(f"| {name} | {seed} | {said.splitlines()[0]} |", flush=True)
    return 0


def main() -> int:
    """Exit status 1 where a seed broke something."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--mistakes", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if asked.mistakes:
        return tell_mistakes()
    if asked.seed is not None:
        _, broken, _, _ = attempt(asked.seed)
        print(broken or "all held")
        return int(bool(broken))
    began_s, calls, sent, broke = time.perf_counter(), 0, 0, 0
    with multiprocessing.Pool(asked.jobs) as pool:
        seeds = range(asked.first, asked.first + asked.count)
        for done, (seed, broken, some, datagrams) in enumerate(pool.imap_unordered(attempt, seeds, 16), start=1):
            calls, sent = calls + some, sent + datagrams
            if broken:
                broke += 1
                print(f"--- seed {seed}\n{broken}", flush=True)
            if done % 1000 == 0:
                print(f"{done} seeds, {calls} calls, {broke} broke, {time.perf_counter() - began_s:.0f} s", flush=True)
    rate = calls / (time.perf_counter() - began_s)
    print(f"{asked.count} seeds, {calls} calls ({rate:.0f}/s), {sent} datagrams, {broke} broke something")
    return int(bool(broke))


if __name__ == "__main__":
    sys.exit(main())
