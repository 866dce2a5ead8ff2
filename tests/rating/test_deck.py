"""Look-ups: the longest prefix in effect, checked by hand and against a reference that looks at every row."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.deck import Deck, Direction, RateRow, load_deck
from rating.tariff import Tariff
from rating.validity import Validity

AT_MS = 1_767_600_000_000  # Monday 2026-01-05 08:00:00 UTC
DAY_MS = 86_400_000


def row(prefix: str, rate: int = 1, direction: str = "", validity: Validity | None = None) -> RateRow:
    return RateRow(prefix, f"to {prefix}", "", "", direction, Tariff(rate), validity)  # type: ignore[arg-type]


def rate(deck: Deck, digits: str, direction: Direction = "out", at_ms: int = AT_MS) -> int | None:
    found = deck.lookup(digits, direction, at_ms)
    return None if found is None else found.tariff.rate_micros_per_min


def test_the_longest_prefix_wins() -> None:
    deck = Deck("d", "USD", [row("1", 10), row("1425", 20), row("1425555", 30), row("44", 40)])
    assert rate(deck, "14255550100") == 30
    assert rate(deck, "14255") == 20
    assert rate(deck, "12065550100") == 10
    assert rate(deck, "442079460000") == 40
    assert rate(deck, "4930123456") is None
    assert rate(deck, "") is None


def test_a_one_digit_prefix_serves_every_number_below_it() -> None:
    deck = Deck("d", "USD", [row("7", 10), row("77", 20)])
    assert [rate(deck, digits) for digits in ("7", "70", "77", "7701", "79161234567")] == [10, 10, 20, 20, 10]


def test_an_empty_deck_has_no_rate() -> None:
    deck = Deck("d", "USD")
    assert len(deck) == 0
    assert rate(deck, "14255550100") is None


def test_directions_are_told_apart_and_a_row_without_one_serves_both() -> None:
    deck = Deck("d", "USD", [row("1800", 10, "in"), row("1", 20, "out"), row("18", 30)])
    assert rate(deck, "18005550199", "in") == 10
    assert rate(deck, "18005550199", "out") == 30
    assert rate(deck, "14255550100", "in") is None
    assert rate(deck, "14255550100", "out") == 20


def test_of_one_prefix_the_row_for_the_direction_goes_before_the_one_for_both() -> None:
    for rows in ([row("1800", 10), row("1800", 20, "in")], [row("1800", 20, "in"), row("1800", 10)]):
        deck = Deck("d", "USD", rows)
        assert rate(deck, "18005550199", "in") == 20
        assert rate(deck, "18005550199", "out") == 10


def test_a_row_not_in_effect_leaves_the_number_to_a_shorter_prefix() -> None:
    deck = Deck("d", "USD", [row("44", 10), row("4420", 20, "", Validity(from_unix_ms=AT_MS))])
    assert rate(deck, "442079460000", at_ms=AT_MS - 1) == 10
    assert rate(deck, "442079460000", at_ms=AT_MS) == 20


def test_a_row_for_the_direction_that_has_ended_leaves_the_number_to_the_one_for_both() -> None:
    deck = Deck("d", "USD", [row("44", 10), row("44", 20, "out", Validity(to_unix_ms=AT_MS))])
    assert rate(deck, "442079460000", at_ms=AT_MS - 1) == 20
    assert rate(deck, "442079460000", at_ms=AT_MS) == 10


def test_a_later_price_replaces_an_earlier_one() -> None:
    rows = [row("44", 10), row("44", 30, "", Validity(AT_MS + DAY_MS)), row("44", 20, "", Validity(AT_MS))]
    deck = Deck("d", "USD", rows)
    assert [rate(deck, "4420", at_ms=AT_MS + at) for at in (-1, 0, DAY_MS - 1, DAY_MS)] == [10, 20, 20, 30]


def test_hours_go_before_the_whole_day() -> None:
    peak = Validity(from_s=8 * 3600, to_s=18 * 3600)
    deck = Deck("d", "USD", [row("44", 10), row("44", 20, "", peak)])
    assert rate(deck, "4420", at_ms=AT_MS - 1000) == 10
    assert rate(deck, "4420", at_ms=AT_MS) == 20


def test_of_two_bands_that_overlap_the_one_that_stands_first_holds() -> None:
    morning, noon = Validity(from_s=8 * 3600, to_s=13 * 3600), Validity(from_s=12 * 3600, to_s=18 * 3600)
    deck = Deck("d", "USD", [row("44", 10, "", noon), row("44", 20, "", morning)])
    assert rate(deck, "4420", at_ms=AT_MS + 4 * 3_600_000) == 10


def test_two_rows_that_differ_only_in_price_are_refused() -> None:
    with pytest.raises(ValueError, match="prefix 44 has a row above"):
        Deck("d", "USD", [row("44", 10), row("44", 20)])


def naive(rows: list[RateRow], digits: str, direction: str, at_ms: int) -> RateRow | None:
    """The rule of the module's opening words, by looking at every row."""
    fitting = [
        (len(row.prefix), bool(row.direction), validity.from_unix_ms, validity.is_banded, -place, row)
        for place, row in enumerate(rows)
        if digits.startswith(row.prefix) and row.direction in {"", direction}
        for validity in [row.validity or Validity()]
        if validity.covers(at_ms)
    ]
    return max(fitting, key=lambda found: found[:-1])[-1] if fitting else None


some_digits = st.text("12", min_size=1, max_size=4)
validities = st.one_of(
    st.none(),
    st.builds(
        Validity,
        from_unix_ms=st.sampled_from([0, AT_MS - DAY_MS, AT_MS]),
        to_unix_ms=st.sampled_from([AT_MS + 3_600_000, AT_MS + DAY_MS]),
        days=st.sampled_from([0b1, 0b1111111, 0b1000000]),
        from_s=st.sampled_from([0, 8 * 3600, 22 * 3600]),
        to_s=st.sampled_from([9 * 3600, 86_400]),
    ),
)
rows_of_decks = st.lists(
    st.builds(row, some_digits, st.integers(1, 9), st.sampled_from(["", "out", "in"]), validities),
    max_size=25,
    unique_by=lambda row: (row.prefix, row.direction, row.validity),
)


@given(rows_of_decks, some_digits, st.sampled_from(["out", "in"]), st.integers(-30, 30))
def test_a_deck_finds_what_looking_at_every_row_finds(
    rows: list[RateRow], digits: str, direction: Direction, hours: int
) -> None:
    at_ms = AT_MS + hours * 3_600_000
    assert Deck("d", "USD", rows).lookup(digits, direction, at_ms) is naive(rows, digits, direction, at_ms)


def test_a_deck_of_336_736_prefixes_is_whole_and_shares_its_tariffs(big_deck: list[str]) -> None:
    deck = load_deck("big", big_deck)
    assert len(deck) == 336_736
    tariffs, names = set(), set()
    for line in big_deck[1::97]:
        prefix = line.partition(",")[0]
        found = deck.lookup(prefix + "00000", "out", AT_MS)
        assert found is not None
        assert found.prefix.startswith(prefix)
        tariffs.add(id(found.tariff))
        names.add(id(found.destination))
    other = deck.lookup("1000", "out", AT_MS)
    same = deck.lookup("1001", "out", AT_MS)
    assert other is not None
    assert same is not None
    assert other.tariff is same.tariff
    assert other._replace(prefix="1001") == same


def test_the_large_decks_beside_the_repository_load_as_they_are() -> None:
    """Runs more where ../shared is present; the made-up deck of the same size stands in for them elsewhere."""
    for path in sorted((Path(__file__).resolve().parents[3] / "shared" / "data").glob("synthetic_deck_*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            deck = load_deck(path.stem, lines)
        assert len(deck) in {58_012, 336_736}
        assert deck.currency == "USD"
        assert rate(deck, "12015550123") is not None


def test_its_rows_make_an_equal_deck() -> None:
    lines = [
        "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,direction,effective_from",
        "44,UK,1,0,60,60,,",
        "44,UK,2,0,60,60,in,",
        "44,UK,3,0,60,60,out,2026-01-01T00:00:00Z",
        "44,UK,4,0,60,60,,2026-02-01T00:00:00Z",
        "447,UK mobile,5,0,60,60,,",
        "1800,US toll-free,6,0,60,60,in,",
    ]
    deck = load_deck("d", lines, "USD")
    again = Deck("d", "USD", deck.rows())
    assert len(again) == len(deck) == 6
    for number in ("442079460000", "447400123456", "18005550199"):
        for direction in ("out", "in"):
            for at_ms in (0, 1_768_000_000_000, 1_790_000_000_000):
                assert again.lookup(number, direction, at_ms) == deck.lookup(number, direction, at_ms)
