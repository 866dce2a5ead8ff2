"""A tenant's pools and limits as a plain model: what MONEY 2 and 3 say of who pays for a tick, without Redis.

The same text that the scripts read and write goes in and out, so that whoever has this model beside the real store can
compare them word for word.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from policy.drawn import held_counters, minutes_used, money_s, money_tariff, read_parts
from policy.terms import has_pools, live_scopes, period_label
from policy.verdict import Velocity
from rating.tariff import Tariff, affordable_end_s, price_micros


@dataclass
class Tick:
    """A tick that is granted: talk up to ``end_s``, by a pool's ``source`` (``POOL MONTH``) or, empty, by money."""

    end_s: int
    cost: int
    source: str = ""
    trimmed: bool = False


@dataclass
class Tenant:
    """Balance, what is held, and the counters by their fields in the store."""

    balance: int = 0
    held: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    called: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    closed: set[str] = field(default_factory=set)
    """``RANGE DAY`` of closed ranges; ``called`` are the numbers of each range within the hour."""

    def tick(
        self, tariff: Tariff | None, terms: str, hour: str, drawn: str, start_s: int, end_s: int, call_held: int
    ) -> Tick | str:
        """Who pays, or why nobody does: the words of the refusal, of a limit whose it is behind the code."""
        wanted = -(-(end_s - start_s) // 60)
        for pool in _rows(terms, "pool"):
            sources = [f"{name} {hour[:7]}" for name in pool[::2]]
            left = [int(total) - self.minutes(source) for source, total in zip(sources, pool[1::2], strict=True)]
            if all(each >= 1 for each in left):
                return Tick(start_s + 60 * min(wanted, left[0]), 0, sources[0])
        if tariff is None:
            return "NO_MINUTES"
        credit = sum(int(row[0]) for row in _rows(terms, "credit"))
        available = self.balance + credit - self.held
        left = [(int(most) - self.counters[f"spent {bucket}"], bucket) for bucket, most in _limits(terms, hour)]
        room, bucket = min(left, key=lambda each: each[0], default=(None, ""))
        if not (self.balance > 0 or (credit and available > 0)):
            return "NO_CREDIT"
        tariff = money_tariff(tariff, drawn)
        assert tariff is not None
        before = start_s - (money_s(drawn, start_s) if drawn else start_s)
        budget = available if room is None else min(available, room)
        paid = price_micros(tariff, start_s - before) if start_s > before else 0
        end = affordable_end_s(tariff, start_s - before, end_s - before, budget + call_held - paid)
        if end is None:
            return f"LIMIT_SPEND {bucket.split(' ')[0]}" if room is not None and room < available else "NO_CREDIT"
        return Tick(before + end, max(0, price_micros(tariff, end) - call_held), "", before + end < end_s)

    def minutes(self, source: str) -> int:
        """Used and held of a pool in a month."""
        return self.counters[f"used {source}"] + self.counters[f"held {source}"]

    def live_limit(self, terms: str) -> str:
        """The scope of the first limit of live calls that is reached."""
        reached = (scope for scope, most in _rows(terms, "live") if self.counters[f"live {scope}"] >= int(most))
        return next(reached, "")

    def closes(self, velocity: Velocity | None) -> str:
        """The scope of the range that is closed or closes by this number; empty: neither."""
        if velocity is None:
            return ""
        prefix, number, most, day = velocity
        known = self.called[prefix]
        if f"{prefix} {day}" not in self.closed:
            if number in known or len(known) < most:
                return ""
            self.closed.add(f"{prefix} {day}")
            known.clear()
        return f"range/{prefix}"

    def hold(self, drawn: str, sign: int = 1) -> None:
        """A live call holds what it has drawn, or not any more."""
        for name, much in held_counters(drawn).items():
            self.counters[name] += sign * much

    def end(self, drawn: str, talk_ms: int, charge: int, before_ms: int = 0, before_charge: int = 0) -> None:
        """What a call used stays counted, beyond what was counted of it before."""
        had = {each[:2]: each.minutes for each in minutes_used(drawn, before_ms)}
        for pool, month, minutes in minutes_used(drawn, talk_ms):
            self.counters[f"used {pool} {month}"] += max(0, minutes - had.get((pool, month), 0))
        for name, now, then in zip(*_shares(drawn, charge), _shares(drawn, before_charge)[1], strict=True):
            self.counters[name] += max(0, now - then)


def draw(drawn: str, terms: str, hour: str, tick: Tick) -> str:
    """What a call has drawn after a tick."""
    parts = [[part.end_s, f"{part.pool} {part.month}".strip()] for part in read_parts(drawn)]
    if has_pools(terms):
        if parts and parts[-1][1] == tick.source:
            parts[-1][0] = tick.end_s
        else:
            parts.append([tick.end_s, tick.source])
    spent = dict(reversed(line.split(" ", 2)[1:]) for line in drawn.split("\n") if line.startswith("spent "))
    for bucket, _ in _limits(terms, hour) if tick.cost else ():
        spent[bucket] = str(int(spent.get(bucket, 0)) + tick.cost)
    lines = [f"pool {end} {source}" if source else f"money {end}" for end, source in parts]
    lines += [f"spent {micros} {bucket}" for bucket, micros in spent.items()]
    return "\n".join([*lines, *(f"live {scope}" for scope in live_scopes(terms))])


def price(tariff: Tariff | None, drawn: str, talk_s: int) -> int:
    """What so much talk costs: the talk that money paid, as one call."""
    known, parts, start = money_tariff(tariff, drawn), read_parts(drawn), 0
    if not parts:
        return price_micros(known, talk_s) if known is not None else 0
    total = begun = 0
    for part in parts:
        if not part.pool and (talk_s > start or part is parts[0]):
            begun, total = 1, total + max(0, min(part.end_s, talk_s) - start)
        start = part.end_s
    return price_micros(known, total) if begun and known is not None else 0


def _rows(terms: str, word: str) -> list[list[str]]:
    return [line.split(" ")[1:] for line in terms.split("\n") if line.startswith(f"{word} ")]


def _limits(terms: str, hour: str) -> list[tuple[str, str]]:
    return [(f"{scope} {period_label(scope, hour)}", most) for scope, most in _rows(terms, "spend")]


def _shares(drawn: str, charge: int) -> tuple[list[str], list[int]]:
    """How much of a charge counts in each bucket: a scope's earliest first, what is too much in its last."""
    rows = [line.split(" ") for line in drawn.split("\n") if line.startswith("spent ")]
    left = {row[2]: charge for row in rows}
    shares = []
    for place, (_, micros, scope, _) in enumerate(rows):
        is_last = all(row[2] != scope for row in rows[place + 1 :])
        shares.append(left[scope] if is_last else min(int(micros), left[scope]))
        left[scope] -= shares[-1]
    return [f"spent {scope} {label}" for _, _, scope, label in rows], shares
