"""What a call may draw on, as text; and the hours, days and months in which it counts."""

from datetime import UTC, datetime

import pytest

from policy.terms import day_of, has_pools, hour_of, live_scopes, period_label, spend_scopes, terms_of, write_terms
from policy.verdict import Allow, Limits, LiveLimit, Pool, SpendLimit

DOMESTIC = Pool("MCOPSTN2/US", "MCOPSTN2", "US", 3_000, (("MCOPSTN2/US/international", 600),))


def allow(**options: object) -> Allow:
    return Allow("t", "USD", "user_out", "+1", "+1", "+1", (), **options)  # type: ignore[arg-type]


def unix_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_the_balance_alone_needs_no_text() -> None:
    assert terms_of(allow(limits=Limits(3, 10), time_zone="Europe/Paris")) == ""


def test_an_emergency_call_has_no_terms() -> None:
    assert terms_of(allow(pools=(DOMESTIC,), emergency=True)) == ""


def test_every_term_has_a_line() -> None:
    limits = Limits(spend=(SpendLimit("tenant", "day", 5),), live=(LiveLimit("user/a", 2),))
    text = terms_of(allow(pools=(DOMESTIC,), limits=limits, credit_limit_micros=9, time_zone="America/New_York"))
    assert text == (
        "zone America/New_York\ncredit 9\npool MCOPSTN2/US 3000 MCOPSTN2/US/international 600\n"
        "spend tenant/day 5\nlive user/a 2"
    )
    assert (has_pools(text), spend_scopes(text), live_scopes(text)) == (True, ["tenant/day"], ["user/a"])


@pytest.mark.parametrize(
    ("zone", "moment", "hour"),
    [
        ("UTC", "2026-11-30T23:59:59.999", "2026-11-30T23"),
        ("Europe/Paris", "2026-11-30T23:59:59.999", "2026-12-01T00"),
        ("Asia/Kathmandu", "2026-11-30T18:14", "2026-11-30T23"),
        ("Asia/Kathmandu", "2026-11-30T18:15", "2026-12-01T00"),
        ("America/New_York", "2026-11-01T05:30", "2026-11-01T01"),  # summer time ends: the hour comes twice
        ("America/New_York", "2026-11-01T06:30", "2026-11-01T01"),
        ("Nowhere/Such", "2026-11-30T12:00", "2026-11-30T12"),
    ],
)
def test_hours_are_the_tenants(zone: str, moment: str, hour: str) -> None:
    assert hour_of(write_terms((), (), (), 1, zone), unix_ms(moment)) == hour


def test_without_terms_no_hour() -> None:
    assert hour_of("", 1) == ""


@pytest.mark.parametrize(
    ("scope", "label"),
    [("tenant/hour", "2026-11-30T14"), ("user/a/day", "2026-11-30"), ("class/mobile/month", "2026-11")],
)
def test_a_counter_is_labelled_with_its_period(scope: str, label: str) -> None:
    assert period_label(scope, "2026-11-30T14") == label


def test_a_day_is_that_of_the_zone_and_of_utc_where_the_zone_is_unknown() -> None:
    late = unix_ms("2026-12-01T22:30")
    assert day_of("Asia/Taipei", late) == "2026-12-02"
    assert day_of("Atlantis/Capital", late) == "2026-12-01"
