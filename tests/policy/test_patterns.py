"""Patterns of dial plans: what is let in, what is refused, and that nothing let in runs for long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.patterns import MAX_DIALLED, MAX_WAYS, PatternError, check_pattern, read_pattern, ways


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (r"^(\d{4})$", 1),
        (r"^([2-9]\d\d[2-9]\d{6})$", 1),
        (r"^\+?0*(\d+)$", 2 * 33 * 32),
        (r"^(?:00|011)(\d{7,12})$", 2 * 6),
        (r"^9?(1|44|49)(\d{2,})$", 2 * 3 * 31),
        (r"(?:12)+", 32),
        (r"(?:1|2){0,3}", 1 + 2 + 4 + 8),
        (r"^\*31\#(\d{3})$", 1),
        ("", 1),
        ("[^1-3]|x", 2),
    ],
)
def test_ways_are_counted(pattern: str, most: int) -> None:
    assert ways(read_pattern(pattern)) == most
    check_pattern(pattern)
    re.compile(pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"(\d+)+$", r"(\d*)*", r"(?:\d|\d\d)+$", r"\d*\d*\d*\d*", r"(?:(?:1|2){5}){9}", r"\d?" * 13, r"(a|b|c|d){8}"],
)
def test_too_many_ways_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="could match in too many ways"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(\d", r"a '\)' is missing"),
        (r"\d)", r"a '\)' without its"),
        (r"[12", r"a ']' is missing"),
        (r"[\w]", "a class holds plain characters"),
        (r"[[:digit:]]", "a class holds plain characters"),
        (r"[0-9--4]", "a class holds plain characters"),
        (r"(?=1)", "no look-around"),
        (r"(?P<name>1)", "no look-around, names or flags"),
        (r"(?i)1", "no look-around, names or flags"),
        (r"(1)\1", "is not let in"),
        (r"\w", "is not let in"),
        ("1\\", "is not let in"),
        (r"*1", "nothing before"),
        (r"1**", "a count after a count"),
        (r"1+?", "a count after a count"),
        (r"1{,3}", "write counts as"),
        (r"1{3,2}", "first count is above the second"),
        (r"1{33}", "write counts as"),
        (r"1{3", "write counts as"),
        ("1" * 201, "at most 200"),
        ("(" * 17 + "1" + ")" * 17, "groups more than 16 deep"),
    ],
)
def test_what_is_not_let_in_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        check_pattern(pattern)


pieces = st.recursive(
    st.sampled_from([r"\d", "1", ".", "[2-9]", r"\+", "[^0]"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}", "{2,}"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
    ),
    max_leaves=6,
)


@given(pieces, st.text("0123", max_size=MAX_DIALLED))
def test_what_is_let_in_is_a_pattern_to_python_too_and_ends(pattern: str, dialled: str) -> None:
    """Every draw that passes the check is run: one that never ended would hang here."""
    try:
        check_pattern(pattern)
    except PatternError:
        assert ways(read_pattern(pattern)) > MAX_WAYS or len(pattern) > 200
        return
    re.compile(pattern, re.ASCII).search(dialled)
