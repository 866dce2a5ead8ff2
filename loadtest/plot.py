"""Small plots as inline SVG: lines over time, and percentiles on the scale of an HDR histogram.

A plot is text made here and nothing else: no script, no font, no file besides the page it stands in.  Colours come
from the page's custom properties ``--series-0`` …, so that light and dark pages look right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 40
_TICKS: Final = 5

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot with its name in the legend; points run from left to right."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to the drawing."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.bottom) / (self.top - self.bottom) * (HEIGHT - _TOP - _BOTTOM)


def over_time(title: str, unit: str, lines: Sequence[Line]) -> str:
    """A plot with seconds on its x axis; empty where no line has a point."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    scale = _fit(points)
    ticks = [(value, _number(value)) for value in _steps(scale.left, scale.right)]
    return _plot(title, unit, "seconds since the start", lines, scale, ticks)


def by_percentile(title: str, unit: str, lines: Sequence[Line]) -> str:
    """Values over their share (0 to below 1), drawn on 1/(1 − share) so that the tail can be seen."""
    drawn = [Line(line.name, [(_nines(share), value) for share, value in line.points]) for line in lines]
    points = [point for line in drawn for point in line.points]
    if not points:
        return ""
    scale = _fit(points)
    marks = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
    ticks = [(_nines(share), text) for share, text in marks if _nines(share) <= scale.right]
    return _plot(title, unit, "percentile", drawn, scale, ticks)


def _nines(share: float) -> float:
    return -math.log10(max(1e-6, 1 - share))


def _fit(points: Sequence[Point]) -> _Scale:
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points))
    steps = _steps(bottom, top if top > bottom else bottom + 1)
    return _Scale(left, right if right > left else left + 1, min(bottom, steps[0]), max(steps[-1], top, bottom + 1e-9))


def _steps(low: float, high: float) -> list[float]:
    """Round numbers that cover ``low`` to ``high``."""
    width = (high - low) / _TICKS or 1.0
    size = 10 ** math.floor(math.log10(width))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= width)
    first = math.floor(low / step)
    return [number * step for number in range(first, math.ceil(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _plot(
    title: str, unit: str, across: str, lines: Sequence[Line], scale: _Scale, ticks: Sequence[tuple[float, str]]
) -> str:
    parts = [f"<figure><figcaption>{escape(title)} <small>({escape(unit)})</small></figcaption>"]
    parts.append(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">')
    for value in _steps(scale.bottom, scale.top):
        if scale.bottom <= value <= scale.top:
            y = scale.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value, text in ticks:
        if scale.left <= value <= scale.right:
            parts.append(f'<text x="{scale.x(value):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{escape(text)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(across)}</text>')
    for place, line in enumerate(lines):
        parts.append(_path(place, line, scale))
    parts.append("</svg>")
    if len(lines) > 1:
        parts.append(_legend(lines))
    parts.append("</figure>")
    return "".join(parts)


def _path(place: int, line: Line, scale: _Scale) -> str:
    if not line.points:
        return ""
    way = "L".join(f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in line.points)
    dot = "h.01" if len(line.points) == 1 else ""  # a path of one point draws nothing, of a hair's length a dot
    style = f"stroke:var(--series-{place})"
    return f'<path class="line" style="{style}" d="M{way}{dot}"><title>{escape(line.name)}</title></path>'


def _legend(lines: Sequence[Line]) -> str:
    names = "".join(
        f'<span><i style="background:var(--series-{place})"></i>{escape(line.name)}</span>'
        for place, line in enumerate(lines)
    )
    return f'<p class="legend">{names}</p>'
