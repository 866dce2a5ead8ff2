"""What a tenant's calls cost, by user, kind, destination or day: one pass over its call records.

Memory holds one line for each user, destination or day, not the records.  Days are UTC's, as in the usage report.
"""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from gateway.call.record import CallRecord
from gateway.settlement.export import LATE
from gateway.settlement.files import DAY_MS
from gateway.settlement.reports.table import Report, ReportColumn, started_minutes

SpendBy = Literal["user", "kind", "destination", "day"]

Key = tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """Sums over some calls: how many, each started minute of their talk, and what they cost."""

    calls: int = 0
    minutes: int = 0
    pool_minutes: int = 0
    charge_micros: int = 0

    def add(self, record: CallRecord) -> None:
        """One more record; talk that was booked later is part of a call that is counted already."""
        self.calls += not record.call_id.endswith(LATE)
        self.minutes += started_minutes(record.talk_ms)
        self.pool_minutes += record.pool_minutes
        self.charge_micros += record.charge_micros


def utc_day(unix_ms: int) -> str:
    """The UTC date of a moment."""
    return datetime.fromtimestamp(unix_ms // DAY_MS * (DAY_MS // 1000), UTC).strftime("%Y-%m-%d")


def start_ms(record: CallRecord) -> int:
    """When a call starts, as the usage report has it: at its answer, else at its INVITE."""
    return record.answered_ms or record.invited_ms


_KEYS: Final[dict[SpendBy, Callable[[CallRecord], Key]]] = {
    "user": lambda record: (record.user_id, record.user_name),
    "kind": lambda record: (record.kind,),
    "destination": lambda record: (record.destination,),
    "day": lambda record: (utc_day(start_ms(record)),),
}

_NAMES: Final[dict[SpendBy, Key]] = {
    "user": ("UPN", "User Display Name"),
    "kind": ("Call Type",),
    "destination": ("Destination Dialed",),
    "day": ("Date",),
}


async def tally(records: AsyncIterable[CallRecord], key: Callable[[CallRecord], Key]) -> dict[Key, Tally]:
    """The sums of records that share a key."""
    sums: dict[Key, Tally] = {}
    async for record in records:
        sums.setdefault(key(record), Tally()).add(record)
    return sums


async def spend_report(records: AsyncIterable[CallRecord], by: SpendBy, currency: str) -> Report:
    """Calls, minutes and charges; days in their order, all else by charge, the dearest first."""
    sums = await tally(records, _KEYS[by])
    if by == "day":
        found = sorted(sums.items())
    else:
        found = sorted(sums.items(), key=lambda each: (-each[1].charge_micros, -each[1].minutes, each[0]))
    columns = (
        *(ReportColumn(name) for name in _NAMES[by]),
        ReportColumn("Calls", "whole"),
        ReportColumn("Minutes", "whole"),
        ReportColumn("Pool Minutes", "whole"),
        ReportColumn("Charge", "money"),
        ReportColumn("Currency"),
    )
    rows = [(*key, each.calls, each.minutes, each.pool_minutes, each.charge_micros, currency) for key, each in found]
    return Report("Spend", columns, rows)
