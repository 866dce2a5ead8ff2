"""What happened in which second of a run: a bounded row of slices that grow wider when a run grows long."""

from dataclasses import dataclass, field
from typing import Final

from loadtest.histogram import Histogram

MAX_SLICES: Final = 600
"""Slices kept: more cannot be told apart in a plot, and a run of a day must not grow without end."""


@dataclass(slots=True)
class Slice:
    """The figures of one stretch of time; ``live`` is the highest number of live calls seen in it."""

    offered: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    cut: int = 0
    live: int = 0
    setup: Histogram = field(default_factory=Histogram)
    cut_error: Histogram = field(default_factory=Histogram)

    def merge(self, other: "Slice") -> None:
        """Take in the figures of the stretch that follows."""
        self.offered += other.offered
        self.answered += other.answered
        self.refused += other.refused
        self.failed += other.failed
        self.cut += other.cut
        self.live = max(self.live, other.live)
        self.setup.merge(other.setup)
        self.cut_error.merge(other.cut_error)


class Series:
    """Slices of ``width_s`` seconds from the start of the run; neighbours are merged when there are too many."""

    __slots__ = ("slices", "start_s", "width_s")

    def __init__(self, start_s: float, width_s: float = 1.0) -> None:
        self.start_s = start_s
        self.width_s = width_s
        self.slices: list[Slice] = []

    def at(self, moment_s: float) -> Slice:
        """The slice of a moment on the clock of ``start_s``; a moment before the start is in the first slice."""
        place = max(0, int((moment_s - self.start_s) / self.width_s))
        while place >= MAX_SLICES:
            self._widen()
            place = max(0, int((moment_s - self.start_s) / self.width_s))
        while place >= len(self.slices):
            self.slices.append(Slice())
        return self.slices[place]

    def _widen(self) -> None:
        for first, second in zip(self.slices[::2], self.slices[1::2], strict=False):
            first.merge(second)
        self.slices = self.slices[::2]
        self.width_s *= 2
