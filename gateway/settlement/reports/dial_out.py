"""Conference dial-out by organiser: the source's dial-out usage report (DOMAIN 6).

All dial-out of a conference counts for its organiser, whoever dialled (DOMAIN 1).
"""

from collections.abc import AsyncIterable
from typing import Final

from gateway.call.record import CallRecord
from gateway.settlement.reports.spend import Tally
from gateway.settlement.reports.table import Report, ReportColumn

DIAL_OUT: Final = "conf_out"

COLUMNS: Final = (
    ReportColumn("Organizer"),
    ReportColumn("Username"),
    ReportColumn("Minutes", "whole"),
    ReportColumn("Credit Spent", "money"),
    ReportColumn("Currency"),
    ReportColumn("Calls", "whole"),
    ReportColumn("Pool Minutes", "whole"),
)
"""The five of the source, then ours."""


async def dial_out_report(records: AsyncIterable[CallRecord], currency: str) -> Report:
    """One row for each organiser, the dearest first; one without a username for calls that named none."""
    sums: dict[str, Tally] = {}
    names: dict[str, str] = {}
    async for record in records:
        if record.kind == DIAL_OUT:
            sums.setdefault(record.user_id, Tally()).add(record)
            names[record.user_id] = record.user_name or names.get(record.user_id, "")
    found = sorted(sums.items(), key=lambda each: (-each[1].charge_micros, -each[1].minutes, each[0]))
    rows = [
        (names[user], user, each.minutes, each.charge_micros, currency, each.calls, each.pool_minutes)
        for user, each in found
    ]
    return Report("Dial-out", COLUMNS, rows)
