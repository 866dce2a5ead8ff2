"""Measures what a deck of 336,736 prefixes costs: ``python tests/rating/measure.py [FILE.csv[.gz]]``.

Prints seconds to load, megabytes kept and microseconds per look-up; without a file, of the made-up deck of the tests.
It is no test: a time depends on the machine.
"""

import gzip
import random
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rating.deck import Deck, load_deck

LOOKUPS = 50_000
AT_MS = 1_767_600_000_000


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def lookup_us(deck: Deck, numbers: list[str]) -> float:
    best_s = float("inf")
    for _ in range(5):
        start_s = time.perf_counter()
        for number in numbers:
            deck.lookup(number, "out", AT_MS)
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s / len(numbers) * 1e6


def measure(name: str, lines: Iterable[str], prefixes: list[str]) -> None:
    before_mb, start_s = resident_mb(), time.perf_counter()
    deck = load_deck(name, lines, "USD")
    load_s, kept_mb = time.perf_counter() - start_s, resident_mb() - before_mb
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    dice = random.Random(1)
    numbers = [f"{dice.choice(prefixes)}{dice.randrange(10**6):06d}" for _ in range(LOOKUPS)]
    found_us = lookup_us(deck, numbers)
    print(
        f"{name}: {len(deck):,} rows, loaded in {load_s:.2f} s, {kept_mb:.0f} MB kept, process peak {peak_mb:.0f} MB,"
    )
    print(f"  {found_us:.2f} us a look-up")


def main() -> None:
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            prefixes = [line.partition(",")[0] for line in file][1:]
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            measure(path.name, file, prefixes)
        return
    from conftest import big_deck_lines

    measure("made-up deck", big_deck_lines(), [line.partition(",")[0] for line in big_deck_lines()][1:])


if __name__ == "__main__":
    main()
