"""Limits as both files write them: of a tenant, a user, a number class (provisioning) and a trunk (settings).

What is left out is unlimited.  Amounts are micro-units; those of a trunk are in the currency of each tenant that calls
from it.  How they are counted: policy/limits.py.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from gateway.config.values import MicrosNotNegative, Prefix, Table, Whole
from policy.directory import RANGE_DIGITS, CountedLimits

RANGE_NUMBERS_MAX: Final = 10_000
"""The store remembers so many numbers of a range for an hour, some 1 MB; who calls more does not look for fraud so."""


class CountedLimitsEntry(Table):
    """Limits that are counted with the money; what is left out is unlimited."""

    max_calls: Whole | None = Field(default=None, ge=0, description="live calls")
    calls_per_second: Whole | None = Field(default=None, ge=1, description="new calls a second")
    spend_per_hour_micros: MicrosNotNegative | None = Field(
        default=None, alias="spend_per_hour", description="money an hour"
    )
    spend_per_day_micros: MicrosNotNegative | None = Field(
        default=None, alias="spend_per_day", description="money a day"
    )
    spend_per_month_micros: MicrosNotNegative | None = Field(
        default=None, alias="spend_per_month", description="money a calendar month"
    )

    def counted(self) -> CountedLimits:
        """The same as policy's value."""
        return CountedLimits(**self.model_dump(by_alias=False, include=set(CountedLimits.__dataclass_fields__)))


class LimitsEntry(CountedLimitsEntry):
    """Limits of a user; what is left out is unlimited."""

    max_rate_micros_per_min: MicrosNotNegative | None = Field(
        default=None, alias="max_rate_per_minute", description="dearest rate a minute that may be called"
    )
    max_connect_micros: MicrosNotNegative | None = Field(
        default=None, alias="max_connect", description="dearest connect fee that may be called"
    )
    max_call_s: Whole | None = Field(default=None, ge=1, description="longest call in seconds")
    blocked_prefixes: tuple[Prefix, ...] = Field(
        default=(), max_length=1000, description="numbers that may not be called"
    )


def parse_minute(value: object) -> int:
    """``22:00`` as a minute of the day."""
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a time of day such as "22:00"')
    return int(match[1]) * 60 + int(match[2])


TimeOfDay = Annotated[int, PlainValidator(parse_minute)]


class NightEntry(Table):
    """What holds at night besides, for calls that begin in it."""

    begins: TimeOfDay = Field(description='when the night begins, such as "22:00", in the tenant\'s time zone')
    ends: TimeOfDay = Field(description='when it is over, such as "06:00"; another time than it begins')
    spend_per_hour_micros: MicrosNotNegative | None = Field(
        default=None, alias="spend_per_hour", description="money an hour, for calls that begin at night"
    )
    blocked_prefixes: tuple[Prefix, ...] = Field(
        default=(), max_length=1000, description="numbers that may not be called at night"
    )


class TenantLimitsEntry(LimitsEntry):
    """Limits of a tenant; what is left out is unlimited."""

    open_high_risk: tuple[Prefix, ...] = Field(
        default=(),
        max_length=1000,
        description="which of the high-risk ranges (+870, +878, +881, +882, +883, +888, +979) may be called",
    )
    numbers_per_range_per_hour: Whole | None = Field(
        default=None,
        ge=1,
        le=RANGE_NUMBERS_MAX,
        description="different numbers with the same first digits that may be called within an hour; one more closes "
        "the range until the day is over or it is released",
    )
    range_digits: Whole = Field(
        default=RANGE_DIGITS, ge=1, le=15, description="how many first digits, country code included, make a range"
    )
    night: NightEntry | None = Field(default=None, description="what holds at night besides")


class ClassLimitsEntry(CountedLimitsEntry):
    """Limits of a tenant's calls to numbers of one class."""

    number_class: Literal[
        "fixed",
        "mobile",
        "fixed_or_mobile",
        "toll_free",
        "premium",
        "shared_cost",
        "voip",
        "personal",
        "pager",
        "uan",
        "voicemail",
        "unknown",
    ] = Field(
        description="class of the number called, as `explain` names it; where fixed and mobile numbers look alike "
        "(+1) it is fixed_or_mobile"
    )
