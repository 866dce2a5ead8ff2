"""Counts of durations in buckets that grow with the value, as in an HDR histogram, for values of either sign.

A value in whole microseconds is kept to ten significant bits (an error below 0.2 %), so that a run of any length
needs a few thousand buckets at most and every percentile can be read from them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

_BITS: Final = 10
"""Significant bits kept of a value: 2⁻⁹ is the largest relative error."""


def _bucket(value_us: int) -> int:
    size = abs(value_us)
    shift = max(0, size.bit_length() - _BITS)
    rounded = (size >> shift) << shift
    return rounded if value_us >= 0 else -rounded


class Histogram:
    """How often each duration was seen; durations go in as seconds and come out as milliseconds."""

    __slots__ = ("_counts", "_max_us", "_min_us", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._min_us = 0
        self._max_us = 0
        self.total = 0

    def add(self, seconds: float) -> None:
        """Count one duration, which may be negative (a cut that came early)."""
        value_us = round(seconds * 1_000_000)
        if not self.total or value_us < self._min_us:
            self._min_us = value_us
        if not self.total or value_us > self._max_us:
            self._max_us = value_us
        self.total += 1
        bucket = _bucket(value_us)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def merge(self, other: "Histogram") -> None:
        """Count everything that ``other`` has counted as well."""
        if not other.total:
            return
        self._min_us = min(self._min_us, other._min_us) if self.total else other._min_us
        self._max_us = max(self._max_us, other._max_us) if self.total else other._max_us
        self.total += other.total
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count

    def percentile_ms(self, share: float) -> float | None:
        """The smallest value that at least ``share`` (0 to 1) of all are not above; None where nothing was counted."""
        found = self.percentiles_ms([share])
        return found[0] if found else None

    def percentiles_ms(self, shares: Sequence[float]) -> list[float]:
        """The percentiles of ascending ``shares`` in one pass; empty where nothing was counted."""
        if not self.total:
            return []
        steps = self._steps()
        value_us, seen = next(steps)
        found = []
        for share in shares:
            while seen < share * self.total:
                value_us, seen = next(steps)
            found.append(self._within(value_us) / 1000)
        return found

    def summary(self) -> dict[str, float | int | None]:
        """``count``, ``min``, ``p50``, ``p90``, ``p99`` and ``max`` in milliseconds; None where nothing was counted."""
        if not self.total:
            return {"count": 0, "min": None, "p50": None, "p90": None, "p99": None, "max": None}
        p50, p90, p99 = self.percentiles_ms([0.5, 0.9, 0.99])
        return {
            "count": self.total,
            "min": self._min_us / 1000,
            "p50": p50,
            "p90": p90,
            "p99": p99,
            "max": self._max_us / 1000,
        }

    def _steps(self) -> Iterator[tuple[int, int]]:
        """Buckets in ascending order, each with how many values lie in it or below."""
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            yield bucket, seen

    def _within(self, bucket_us: int) -> int:
        return min(self._max_us, max(self._min_us, bucket_us))
