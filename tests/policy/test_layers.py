"""A mapping with changes on top is, by any sequence of them, the dict that they make; and the ones before stay."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from policy.layers import Layered, base_of, with_changes

CHANGES = st.dictionaries(st.integers(0, 9), st.none() | st.text(max_size=2), max_size=6)


@given(st.dictionaries(st.integers(0, 9), st.text(max_size=2)), st.lists(CHANGES, max_size=6))
def test_it_is_what_a_dict_would_be(first: dict[int, str], rounds: list[dict[int, str | None]]) -> None:
    wanted, before = [dict(first)], [first]
    now: Mapping[int, str] = first
    for changes in rounds:
        now = with_changes(now, changes)
        before.append(now)  # type: ignore[arg-type]
        plain = wanted[-1] | changes  # type: ignore[operator]
        wanted.append({key: value for key, value in plain.items() if value is not None})
    for layered, plain in zip(before, wanted, strict=True):
        assert layered == plain
        assert plain == layered
        assert len(layered) == len(plain)
        assert list(layered) == list(layered.keys())
        assert base_of(layered) is first
        for key in range(11):
            assert (layered.get(key), layered.get(key, "other")) == (plain.get(key), plain.get(key, "other"))
            assert (key in layered) == (key in plain)
            assert [layered[key] for _ in "x" if key in layered] == [plain[key] for _ in "x" if key in plain]


def test_nothing_changed_is_the_same_thing() -> None:
    things = {1: "a"}
    assert with_changes(things, {}) is things
    assert base_of(Layered(things, {2: "b"})) is things
