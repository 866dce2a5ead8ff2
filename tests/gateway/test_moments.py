"""Moments in ISO 8601, exact to the millisecond."""

from gateway.moments import iso_utc


def test_a_moment_is_written_in_utc() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(1_770_091_506_789) == "2026-02-03T04:05:06.789Z"
    assert iso_utc(1_770_091_506_999, "seconds") == "2026-02-03T04:05:06Z"
    assert iso_utc(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"
