"""When a deck's price for a number changes: days, hours, dates, zones, the days on which clocks jump, and prefixes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.deck import MAX_CHANGES, Deck, RateRow, load_deck
from rating.tariff import Tariff
from rating.validity import DAY_S, EVERY_DAY, Validity

HEAD = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,currency,"


def deck_of(columns: str, *rows: str) -> Deck:
    return load_deck("d", [f"{HEAD}{columns}\n", *(f"{row}\n" for row in rows)])


def banded(zone: str, from_time: str, to_time: str) -> Deck:
    """Rate 1 always, rate 2 in the band."""
    return deck_of(
        "from_time,to_time,time_zone", "4,x,1,0,1,1,USD,,,", f"49,x,2,0,1,1,USD,{from_time},{to_time},{zone}"
    )


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def told(deck: Deck, begin: str, end: str, digits: str = "491") -> list[tuple[str, int]]:
    return [
        (f"{datetime.fromtimestamp(at // 1000, UTC):%d %H:%M:%S}", row.tariff.rate_micros_per_min)
        for at, row in deck.changes(digits, "out", moment(begin), moment(end))
    ]


DAYS = [
    ("UTC", "08:00", "18:00", "2026-01-05", [("05 08:00:00", 2), ("05 18:00:00", 1)]),
    ("UTC", "22:00", "06:00", "2026-01-05", [("05 06:00:00", 1), ("05 22:00:00", 2)]),
    ("Europe/Berlin", "08:00", "18:00", "2026-01-05", [("05 07:00:00", 2), ("05 17:00:00", 1)]),
    ("Europe/Berlin", "08:00", "18:00", "2026-03-29", [("29 06:00:00", 2), ("29 16:00:00", 1)]),
    ("Europe/Berlin", "02:30", "03:30", "2026-03-29", [("29 01:00:00", 2), ("29 01:30:00", 1)]),
    ("Europe/Berlin", "02:00", "03:00", "2026-03-29", []),
    ("Europe/Berlin", "02:00", "03:00", "2026-10-25", [("25 00:00:00", 2), ("25 02:00:00", 1)]),
    ("Europe/Berlin", "02:30", "02:45", "2026-10-25",
     [("25 00:30:00", 2), ("25 00:45:00", 1), ("25 01:30:00", 2), ("25 01:45:00", 1)]),
    ("Europe/Berlin", "01:30", "02:30", "2026-10-25",
     [("24 23:30:00", 2), ("25 00:30:00", 1), ("25 01:00:00", 2), ("25 01:30:00", 1)]),
    ("America/New_York", "02:30", "04:00", "2026-03-08", [("08 07:00:00", 2), ("08 08:00:00", 1)]),
    ("America/New_York", "01:30", "01:40", "2026-11-01",
     [("01 05:30:00", 2), ("01 05:40:00", 1), ("01 06:30:00", 2), ("01 06:40:00", 1)]),
    ("Asia/Taipei", "08:00", "18:00", "2026-03-29", [("29 00:00:00", 2), ("29 10:00:00", 1)]),
    ("Asia/Kolkata", "08:00", "18:00", "2026-03-29", [("29 02:30:00", 2), ("29 12:30:00", 1)]),
    ("Asia/Kathmandu", "08:00", "18:00:01", "2026-03-29", [("29 02:15:00", 2), ("29 12:15:01", 1)]),
    ("Australia/Lord_Howe", "01:45", "02:15", "2026-04-05",
     [("04 14:45:00", 2), ("04 15:00:00", 1), ("04 15:15:00", 2), ("04 15:45:00", 1)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "begins", "ends", "day", "expected"), DAYS, ids=[f"{r[0]} {r[1]} {r[3]}" for r in DAYS]
)
def test_the_days_on_which_clocks_jump_and_others(
    zone: str, begins: str, ends: str, day: str, expected: list[tuple[str, int]]
) -> None:
    """The changes of one day of the zone's own; Lord Howe puts its clocks back by half an hour."""
    begin, end = (
        datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(zone)) for clock in ("00:00", "23:59")
    )
    span = (each.astimezone(UTC).replace(tzinfo=None).isoformat() for each in (begin, end))
    assert told(banded(zone, begins, ends), *span) == expected


def test_the_start_is_excluded_and_the_end_is_not() -> None:
    deck = banded("UTC", "08:00", "18:00")
    assert told(deck, "2026-01-05T08:00:00", "2026-01-05T17:59:59") == []
    assert told(deck, "2026-01-05T07:59:59", "2026-01-05T08:00:00") == [("05 08:00:00", 2)]


def test_days_change_at_midnight_of_the_zone() -> None:
    deck = deck_of(
        "days,time_zone", "49,week,1,0,1,1,USD,mon-fri,Asia/Taipei", "49,end,2,0,1,1,USD,sat sun,Asia/Taipei"
    )
    assert told(deck, "2026-01-09T12:00:00", "2026-01-12T12:00:00") == [("09 16:00:00", 2), ("11 16:00:00", 1)]


def test_effective_dates_and_the_prefixes_that_take_over() -> None:
    deck = deck_of(
        "effective_from,effective_to",
        "4,x,1,0,1,1,USD,,",
        "49,x,2,0,1,1,USD,2026-01-05T10:00:00.250Z,2026-01-05T12:00:00Z",
        "491,x,3,0,1,1,USD,2026-01-05T11:00:00Z,2026-01-05T11:30:00Z",
    )
    spans = "2026-01-05T09:00:00", "2026-01-05T13:00:00"
    expected = [("05 10:00:00", 2), ("05 11:00:00", 3), ("05 11:30:00", 2), ("05 12:00:00", 1)]
    assert told(deck, *spans) == expected
    assert told(deck, *spans, digits="492") == [expected[0], expected[3]]
    assert told(deck, *spans, digits="41") == []
    first, _ = next(deck.changes("491", "out", moment(spans[0]), moment(spans[1])))
    assert first == moment("2026-01-05T10:00:00") + 250


def test_a_hole_in_a_deck_changes_nothing() -> None:
    deck = deck_of("from_time,to_time", "49,x,2,0,1,1,USD,08:00,12:00", "49,x,3,0,1,1,USD,14:00,15:00")
    assert told(deck, "2026-01-05T11:00:00", "2026-01-05T23:00:00") == [("05 14:00:00", 3)]
    assert told(deck, "2026-01-05T14:30:00", "2026-01-06T09:00:00") == [("06 08:00:00", 2)]


def test_a_row_that_always_holds_hides_the_shorter_prefixes() -> None:
    deck = deck_of("from_time,to_time", "4,x,1,0,1,1,USD,08:00,18:00", "49,x,2,0,1,1,USD,,")
    assert told(deck, "2026-01-05T00:00:00", "2026-01-06T00:00:00") == []


def test_directions_change_by_their_own_rows() -> None:
    deck = deck_of("direction,from_time,to_time", "49,x,1,0,1,1,USD,,,", "49,x,2,0,1,1,USD,in,08:00,18:00")
    span = moment("2026-01-05T00:00:00"), moment("2026-01-06T00:00:00")
    assert list(deck.changes("491", "out", *span)) == []
    assert len(list(deck.changes("491", "in", *span))) == 2


def test_there_are_so_many_changes_and_no_more() -> None:
    deck = banded("UTC", "08:00", "08:01")
    found = list(deck.changes("491", "out", moment("2026-01-01T00:00:00"), moment("2026-03-01T00:00:00")))
    assert len(found) == MAX_CHANGES


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Taipei", "Asia/Kolkata", "Australia/Lord_Howe")
STARTS = ("2026-03-28T12", "2026-10-24T12", "2026-03-07T20", "2026-10-31T20", "2026-10-03T06", "2026-04-04T06")
quarters = st.integers(0, 95).map(lambda quarter: quarter * 900)
rows_of_a_zone = st.sampled_from(ZONES).flatmap(
    lambda zone: st.lists(
        st.tuples(
            st.sampled_from(("4", "49", "491")),
            st.one_of(
                st.none(),
                st.builds(
                    Validity,
                    days=st.one_of(st.just(EVERY_DAY), st.integers(1, EVERY_DAY)),
                    from_s=quarters,
                    to_s=st.one_of(st.just(DAY_S), quarters),
                    zone=st.just(ZoneInfo(zone)),
                ),
            ),
        ),
        max_size=6,
    )
)


@settings(max_examples=60, deadline=None)
@given(rows_of_a_zone, st.sampled_from(STARTS), st.integers(0, 1_800), st.integers(1, 30 * 60))
def test_changes_are_those_that_a_look_at_every_quarter_finds(
    drafts: list[tuple[str, Validity | None]], start: str, second: int, minutes: int
) -> None:
    known: dict[tuple[str, Validity | None], RateRow] = {}
    for prefix, validity in drafts:
        if validity is None or validity.from_s != validity.to_s:
            known[prefix, validity] = RateRow(prefix, "x", "", "", "", Tariff(len(known)), validity)
    deck = Deck("d", "USD", known.values())
    begin_ms = moment(f"{start}:00:00") + second * 1000
    end_ms = begin_ms + minutes * 60_000
    expected, last = [], deck.lookup("491", "out", begin_ms)
    for at_ms in range(begin_ms // 900_000 * 900_000 + 900_000, end_ms + 1, 900_000):
        row = deck.lookup("491", "out", at_ms)
        if row is not None and row is not last:
            expected.append((at_ms, row))
            last = row
    assert list(deck.changes("491", "out", begin_ms, end_ms)) == expected[:MAX_CHANGES]
