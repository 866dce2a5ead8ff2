"""Plots: every point lies inside the drawing, and nothing to draw draws nothing."""

import re

from hypothesis import given
from hypothesis import strategies as st

from loadtest.plot import HEIGHT, WIDTH, Line, by_percentile, over_time

VALUES = st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), min_size=1, max_size=50)


@given(VALUES)
def test_lines_stay_inside_the_drawing(points: list[tuple[float, float]]) -> None:
    drawing = over_time("t", "ms", [Line("one", sorted(points)), Line("none", [])])
    path = re.search(r' d="M([^"h]+)', drawing.split('class="line"')[1])
    assert path is not None
    for pair in path[1].split("L"):
        x, y = (float(number) for number in pair.split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_nothing_to_draw_draws_nothing() -> None:
    assert over_time("t", "ms", [Line("one", [])]) == ""
    assert by_percentile("t", "ms", []) == ""


def test_names_are_escaped_and_the_tail_is_marked() -> None:
    drawing = by_percentile("<t>", "ms", [Line("a&b", [(0.0, 1.0), (0.99, 2.0)]), Line("c", [(0.5, 1.0)])])
    assert "<t>" not in drawing
    assert "a&amp;b" in drawing
    assert "99 %" in drawing
    assert "99.9 %" not in drawing
