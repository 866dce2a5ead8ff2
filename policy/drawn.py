"""What a call has drawn by now: which talk was paid from which pool, and what it holds of each spending limit.

Talk is a row of parts, each paid by the minutes of one pool in one month or by money (MONEY 2, "Pools and money in one
call").  Minutes are drawn whole from where the part begins; the parts that money pays are priced together, as one call
of their own.  The credit store writes the row with each grant, in Lua (gateway/credit/scripts/lib/drawn.lua); what is
here reads it, for the charge and the record, and goes on with it while the store is away.

| line | meaning |
|---|---|
| ``pool END NAME MONTH`` | talk up to END seconds after the answer is paid by that pool's minutes |
| ``money END`` | talk up to END seconds is paid by money; without any part all talk is |
| ``spent MICROS SCOPE/PERIOD LABEL`` | so much of what is held counts against that limit in that hour, day or month |
| ``live SCOPE`` | the call counts against that limit of live calls |
"""

import re
from dataclasses import replace
from typing import Final, NamedTuple

from policy.terms import live_scopes, period_label, spend_scopes
from rating.tariff import MS_PER_S, SECONDS_PER_MINUTE, Tariff

MINUTE_MS: Final = SECONDS_PER_MINUTE * MS_PER_S


_FIRST_MONEY: Final = re.compile(r"\Amoney \d+", re.ASCII)


class Part(NamedTuple):
    """Talk up to ``end_s`` seconds after the answer; ``pool`` and ``month`` are empty where money pays."""

    end_s: int
    pool: str = ""
    month: str = ""


class Minutes(NamedTuple):
    """Minutes used of one pool in one month."""

    pool: str
    month: str
    minutes: int


class Spent(NamedTuple):
    """Money counted against a spending limit ``SCOPE/PERIOD`` in the hour, day or month of ``label``."""

    scope: str
    label: str
    micros: int


def read_parts(drawn: str) -> list[Part]:
    """The parts in their order; empty: money pays all."""
    parts = []
    for line in drawn.split("\n"):
        word, *rest = line.split(" ")
        if word == "pool":
            parts.append(Part(int(rest[0]), rest[1], rest[2]))
        elif word == "money":
            parts.append(Part(int(rest[0])))
    return parts


def has_minutes(drawn: str) -> bool:
    """Whether any talk is paid by a pool."""
    return drawn.startswith("pool ") or "\npool " in drawn


def money_tariff(tariff: Tariff | None, drawn: str) -> Tariff | None:
    """The tariff of what money pays, in seconds of the talk that it pays; ``tariff`` is in seconds of the call's.

    Where a pool paid first it has no free seconds (MONEY 2); its steps come sooner by what pools paid before them.
    """
    if tariff is None or not has_minutes(drawn):
        return tariff
    free_s = 0 if drawn.startswith("pool ") else tariff.free_s
    if not tariff.steps:
        return tariff if free_s == tariff.free_s else replace(tariff, free_s=free_s)
    parts = read_parts(drawn)
    steps = tuple([step._replace(from_s=_money_before(parts, step.from_s)) for step in tariff.steps])
    return replace(tariff, free_s=free_s, steps=steps)


def _money_before(parts: list[Part], talk_s: int) -> int:
    """Seconds of the first ``talk_s`` that money pays; beyond the parts drawn by now it will be money."""
    total, start = 0, 0
    for part in parts:
        if not part.pool:
            total += max(0, min(part.end_s, talk_s) - start)
        start = part.end_s
    return total + max(0, talk_s - start)


def end_money(drawn: str, paid_s: int) -> str:
    """What a call has drawn whose first tick, which money paid, turns out to end at ``paid_s`` (rating.schedule)."""
    return _FIRST_MONEY.sub(f"money {paid_s}", drawn, count=1)


def money_ms(drawn: str, talk_ms: int) -> int | None:
    """How much of the first ``talk_ms`` of talk money pays; None where it pays nothing at all, not even a connect fee.

    The parts of money follow each other without a gap; talk beyond the last part is its payer's.
    """
    if not has_minutes(drawn):
        return talk_ms
    parts, total, start, begun = read_parts(drawn), 0, 0, False
    for place, part in enumerate(parts):
        end = part.end_s * MS_PER_S if place < len(parts) - 1 else max(part.end_s * MS_PER_S, talk_ms)
        if not part.pool and (talk_ms > start or place == 0):
            begun = True
            total += max(0, min(end, talk_ms) - start)
        start = end
    return total if begun else None


def money_s(drawn: str, paid_s: int) -> int:
    """Whole seconds of the first ``paid_s`` that money pays."""
    return (money_ms(drawn, paid_s * MS_PER_S) or 0) // MS_PER_S


def minutes_used(drawn: str, talk_ms: int) -> list[Minutes]:
    """Minutes that were begun within ``talk_ms`` of talk, by pool and month, in the order in which they were drawn."""
    used: dict[tuple[str, str], int] = {}
    start = 0
    for part in read_parts(drawn):
        end = part.end_s * MS_PER_S
        if part.pool and talk_ms > start:
            begun = -(-(min(end, talk_ms) - start) // MINUTE_MS)
            used[part.pool, part.month] = used.get((part.pool, part.month), 0) + begun
        start = end
    return [Minutes(*key, minutes) for key, minutes in used.items()]


def held_counters(drawn: str) -> dict[str, int]:
    """What a live call adds to its tenant's counters, by their fields in the store (scripts/lib/drawn.lua)."""
    held: dict[str, int] = {}
    start = 0
    for part in read_parts(drawn):
        if part.pool:
            field = f"held {part.pool} {part.month}"
            held[field] = held.get(field, 0) + (part.end_s - start) // SECONDS_PER_MINUTE
        start = part.end_s
    for line in drawn.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "spent":
            micros, _, bucket = rest.partition(" ")
            held[f"spent {bucket}"] = held.get(f"spent {bucket}", 0) + int(micros)
        elif word == "live":
            held[line] = held.get(line, 0) + 1
    return held


def read_minutes(text: str) -> tuple[Minutes, ...]:
    """Minutes of pools as an outbox entry has them.  Raises ValueError for anything else."""
    rows = [line.split(" ") for line in text.split("\n") if line]
    return tuple(Minutes(pool, month, int(minutes)) for minutes, pool, month in rows)


def read_spent(text: str) -> tuple[Spent, ...]:
    """Money by spending limit as an outbox entry has it.  Raises ValueError for anything else."""
    rows = [line.split(" ") for line in text.split("\n") if line]
    return tuple(Spent(scope, label, int(micros)) for micros, scope, label in rows)


def begin_with_money(terms: str, hour: str, cost_micros: int) -> str:
    """What a call has drawn whose first tick money pays without the store."""
    lines = [f"live {scope}" for scope in live_scopes(terms)]
    return _spend("\n".join(lines), terms, hour, cost_micros)


def draw_money(drawn: str, terms: str, hour: str, end_s: int, cost_micros: int) -> str:
    """What a call has drawn after a tick up to ``end_s`` that money pays without the store."""
    lines = drawn.split("\n") if drawn else []
    if has_minutes(drawn):
        last = max(place for place, line in enumerate(lines) if line.startswith(("pool ", "money ")))
        lines[last : last + 1] = [f"money {end_s}"] if lines[last][0] == "m" else [lines[last], f"money {end_s}"]
    return _spend("\n".join(lines), terms, hour, cost_micros)


def _spend(drawn: str, terms: str, hour: str, cost_micros: int) -> str:
    """Count the cost against each spending limit, each in its hour, day or month."""
    lines = drawn.split("\n") if drawn else []
    for scope in spend_scopes(terms) if cost_micros else ():
        tail = f" {scope} {period_label(scope, hour)}"
        place = next((n for n, line in enumerate(lines) if line.startswith("spent ") and line.endswith(tail)), None)
        if place is None:
            lines.append(f"spent {cost_micros}{tail}")
        else:
            lines[place] = f"spent {int(lines[place].split(' ')[1]) + cost_micros}{tail}"
    return "\n".join(lines)
