"""What a call may draw on beside the balance, as the credit store keeps it with the call: pools, limits, credit.

Pools of minutes pay before money does, spending limits count what is reserved and spent in an hour, day or month of the
tenant's time zone, live-call limits count calls, and a postpaid tenant may go below zero by its credit limit (MONEY 1,
2, 3).  All of it is decided once, at the INVITE, and written down as a short text, one line each, that stands with the
reservation: so the next owner of the call goes on by the same terms, and a renewal says no more than what hour it is.

| line | meaning |
|---|---|
| ``zone NAME`` | the time zone of hours, days and months; always the first line |
| ``credit MICROS`` | postpaid: so far below zero the balance may go |
| ``pool NAME TOTAL [NAME TOTAL …]`` | minutes of a month; the pool ends where one of the others does, too |
| ``spend SCOPE/PERIOD MICROS`` | most that may be reserved and spent in an hour, day or month |
| ``live SCOPE CALLS`` | most live calls |
| ``rate SCOPE CALLS`` | most calls that begin in a second |

A call without any of them has no text at all, and costs nothing more than before.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from policy.verdict import Allow, LiveLimit, Pool, RateLimit, SpendLimit

QUARTER_MS: Final = 900_000
"""A quarter of an hour: the finest step by which time zones differ from UTC, so a label holds for all of one."""

LABELS_KEPT: Final = 4_096
"""Labels kept: all of the world's 500 zones for two hours."""

TEXTS_KEPT: Final = 10_000
"""Texts of terms kept: one for each kind of call of each tenant, some 3 MB."""

POOL: Final = "pool "
_ZONE: Final = "zone "


def terms_of(verdict: Allow) -> str:
    """The text for a call that policy let in; empty where the balance alone pays, or nobody."""
    limits = verdict.limits
    limited = limits.spend or limits.live or limits.rate
    if verdict.emergency or not (verdict.pools or limited or verdict.credit_limit_micros):
        return ""
    return write_terms(
        verdict.pools, limits.spend, limits.live, verdict.credit_limit_micros, verdict.time_zone, limits.rate
    )


@lru_cache(TEXTS_KEPT)
def write_terms(
    pools: tuple[Pool, ...],
    spend: tuple[SpendLimit, ...],
    live: tuple[LiveLimit, ...],
    credit_micros: int,
    zone: str,
    rate: tuple[RateLimit, ...] = (),
) -> str:
    """The text of the module's table."""
    lines = [f"{_ZONE}{zone}"]
    if credit_micros:
        lines.append(f"credit {credit_micros}")
    lines += (f"{POOL}{' '.join(_minutes(pool))}" for pool in pools)
    lines += (f"spend {limit.scope}/{limit.period} {limit.most_micros}" for limit in spend)
    lines += (f"live {limit.scope} {limit.most_calls}" for limit in live)
    lines += (f"rate {limit.scope} {limit.per_second}" for limit in rate)
    return "\n".join(lines)


def _minutes(pool: Pool) -> Iterable[str]:
    for name, total in ((pool.name, pool.total_minutes), *pool.ends_with):
        yield f"{name} {total}"


def has_pools(terms: str) -> bool:
    """Whether minutes of a pool may pay."""
    return f"\n{POOL}" in terms


def spend_scopes(terms: str) -> list[str]:
    """``SCOPE/PERIOD`` of each spending limit."""
    return _named(terms, "spend ")


def live_scopes(terms: str) -> list[str]:
    """The scope of each limit of live calls."""
    return _named(terms, "live ")


def _named(terms: str, word: str) -> list[str]:
    return [line.split(" ")[1] for line in terms.split("\n") if line.startswith(word)]


def hour_of(terms: str, unix_ms: int) -> str:
    """The hour of a moment in the time zone of ``terms``, ``2026-11-30T14``; its first 10 and 7 characters are the day
    and the month.  Empty where there are no terms."""
    if not terms:
        return ""
    return hour_label(terms[len(_ZONE) :].partition("\n")[0], unix_ms // QUARTER_MS)


@lru_cache(LABELS_KEPT)
def hour_label(zone: str, quarter: int) -> str:
    """The hour in ``zone`` of a quarter of an hour since 1970."""
    moment = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, zone_of(zone))
    return moment.strftime("%Y-%m-%dT%H")


def day_of(zone: str, unix_ms: int) -> str:
    """The day of a moment in a time zone, ``2026-11-30``."""
    return hour_label(zone, unix_ms // QUARTER_MS)[: _DIGITS["day"]]


def minute_of(zone: str, unix_ms: int) -> int:
    """The minute of the day, 0 to 1439, of a moment in a time zone."""
    quarter, rest_ms = divmod(unix_ms, QUARTER_MS)
    return _first_minute(zone, quarter) + rest_ms // MINUTE_MS


MINUTE_MS: Final = 60_000


@lru_cache(LABELS_KEPT)
def _first_minute(zone: str, quarter: int) -> int:
    moment = datetime.fromtimestamp(quarter * QUARTER_MS // 1000, zone_of(zone))
    return moment.hour * 60 + moment.minute


def month_of(zone: str, unix_ms: int) -> str:
    """The month of a moment in a time zone, ``2026-11``."""
    return hour_label(zone, unix_ms // QUARTER_MS)[: _DIGITS["month"]]


def period_label(scope: str, hour: str) -> str:
    """What a counter of ``SCOPE/PERIOD`` is labelled with in that hour: the hour, its day or its month."""
    return hour[: _DIGITS[scope.rpartition("/")[2]]]


_DIGITS: Final = {"hour": 13, "day": 10, "month": 7}


@lru_cache(1_024)
def zone_of(name: str) -> tzinfo:
    """A time zone; names are checked when they are provisioned, and one that this machine does not know is UTC."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return UTC
