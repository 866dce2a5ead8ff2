"""When a price holds: dates, days, hours, time zones and the two days a year when the clock on the wall jumps."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from rating.validity import DAY_S, EVERY_DAY, Validity, check_days, read_clock, read_days, read_moment

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def test_a_row_holds_from_its_first_moment_up_to_but_not_at_its_last() -> None:
    validity = Validity(from_unix_ms=1_000, to_unix_ms=2_000)
    assert [validity.covers(at) for at in (999, 1_000, 1_999, 2_000)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-01-05T07:59:59", False),
        ("2026-01-05T08:00:00", True),
        ("2026-01-09T17:59:59", True),
        ("2026-01-09T18:00:00", False),
        ("2026-01-10T12:00:00", False),
    ],
)
def test_a_band_on_weekdays(at: str, holds: bool) -> None:
    validity = Validity(days=read_days("mon-fri"), from_s=8 * 3600, to_s=18 * 3600)
    assert validity.covers(ms(at)) is holds


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-01-09T21:59:59", False),
        ("2026-01-09T22:00:00", True),
        ("2026-01-10T05:59:59", True),
        ("2026-01-10T06:00:00", False),
        ("2026-01-10T23:00:00", False),
        ("2026-01-09T03:00:00", False),
    ],
)
def test_a_band_over_midnight_belongs_to_the_day_on_which_it_begins(at: str, holds: bool) -> None:
    validity = Validity(days=read_days("fri"), from_s=22 * 3600, to_s=6 * 3600)
    assert validity.covers(ms(at)) is holds


def test_a_band_over_midnight_on_sunday_runs_into_monday() -> None:
    validity = Validity(days=read_days("7"), from_s=22 * 3600, to_s=6 * 3600)
    assert validity.covers(ms("2026-01-12T01:00:00"))
    assert not validity.covers(ms("2026-01-11T01:00:00"))


def test_hours_are_those_of_the_zone() -> None:
    validity = Validity(from_s=8 * 3600, to_s=18 * 3600, zone=BERLIN)
    assert validity.covers(ms("2026-01-05T07:00:00"))
    assert not validity.covers(ms("2026-01-05T17:00:00"))
    assert validity.covers(ms("2026-07-06T06:00:00"))
    assert not validity.covers(ms("2026-07-06T16:00:00"))


def test_on_the_day_summer_time_begins_an_hour_is_left_out() -> None:
    validity = Validity(from_s=2 * 3600 + 1800, to_s=3 * 3600 + 1800, zone=BERLIN)
    seconds = [at for at in range(0, 4 * 3600, 60) if validity.covers(ms("2026-03-29T00:00:00") + at * 1000)]
    assert seconds == list(range(3600, 3600 + 1800, 60))


def test_on_the_day_summer_time_ends_an_hour_comes_twice() -> None:
    validity = Validity(from_s=2 * 3600, to_s=3 * 3600, zone=BERLIN)
    seconds = [at for at in range(0, 4 * 3600, 60) if validity.covers(ms("2026-10-25T00:00:00") + at * 1000)]
    assert seconds == list(range(0, 2 * 3600, 60))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 30, 23, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+09:00", datetime(2026, 1, 31, 3, tzinfo=UTC)),
    ],
)
def test_moments_without_an_offset_are_wall_clock(text: str, moment: datetime) -> None:
    assert read_moment(text, BERLIN) == moment.timestamp() * 1000


@pytest.mark.parametrize("text", ["31.01.2026", "tomorrow", "2026-13-01", "2026-01-31T25:00:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date or time: write 2026-01-31"):
        read_moment(text, UTC)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("Mon-Fri", {0, 1, 2, 3, 4}),
        ("sat sun", {5, 6}),
        ("1,3,5-7", {0, 2, 4, 5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("mon-sun", set(range(7))),
        ("sun; wed", {6, 2}),
    ],
)
def test_days(text: str, days: set[int]) -> None:
    assert read_days(text) == sum(1 << day for day in days)


def test_all_days_are_every_day() -> None:
    assert read_days("1-7") == EVERY_DAY


@pytest.mark.parametrize(
    ("text", "day"), [("mon mon", "mon"), ("mon,1", "mon"), ("mon-fri wed", "wed"), ("sat-mon 7", "sun")]
)
def test_a_day_that_is_named_twice_is_found(text: str, day: str) -> None:
    read_days(text)
    with pytest.raises(ValueError, match=f"names {day} twice"):
        check_days(text)


@pytest.mark.parametrize("text", ["", "monday", "0", "8", "mon-", "-fri", "mon--fri", "mo"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a day of the week"):
        read_days(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00", 0), ("08:30", 30_600), ("23:59:59", 86_399), ("24:00", DAY_S), ("24:00:00", DAY_S)]
)
def test_clock(text: str, seconds: int) -> None:
    assert read_clock(text) == seconds


@pytest.mark.parametrize("text", ["8:30", "24:01", "25:00", "12:60", "12", "noon", "12:00:60", "٠٨:٠٠"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time of day"):
        read_clock(text)
