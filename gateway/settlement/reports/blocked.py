"""Users who were blocked and unblocked: the source's blocked-users report (DOMAIN 6), read from the audit log.

A user is blocked by a provisioning file, so that is the reason given, and who applied it stands beside it.  What a
ledger did before it had an audit log is not known: a user who is blocked since then has a row without a time.
"""

import sys
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.ledger import Act
from gateway.settlement.reports.table import Report, ReportColumn
from policy.directory import User

COLUMNS: Final = (
    ReportColumn("User Display Name"),
    ReportColumn("Phone"),
    ReportColumn("Blocked Reason"),
    ReportColumn("Blocked Action"),
    ReportColumn("Blocked Time", "moment"),
    ReportColumn("UPN"),
    ReportColumn("Actor"),
)
"""The five of the source, then ours."""

BLOCKED: Final = "blocked"
UNBLOCKED: Final = "unblocked"
REMOVED: Final = "removed"
"""The user is gone; whoever comes under its name later is not blocked."""

REASON: Final = "set by provisioning"

_Row = tuple[Any, ...]


async def blocked_report(
    acts: AsyncIterable[Act], users: Sequence[User], from_ms: int | None = None, to_ms: int | None = None
) -> Report:
    """Each blocking and unblocking in [from, to), oldest first; a user blocked before the log began only without them.

    ``acts`` are all of ``Ledger.blockings``, ``users`` the tenant's now.
    """
    known = {user.id: user for user in users}
    every = [act async for act in acts]
    first_ms, past_ms = from_ms or 0, to_ms or sys.maxsize
    rows = [_row(act, known.get(act.subject)) for act in every if first_ms <= act.at_ms < past_ms]
    untold = _untold(users, {act.subject for act in every}) if from_ms is None and to_ms is None else ()
    return Report("Blocked users", COLUMNS, [*untold, *rows])


def _untold(users: Sequence[User], told: set[str]) -> Iterator[_Row]:
    for user in users:
        if user.blocked and user.id not in told:
            yield user.name, user.number, "", BLOCKED, 0, user.id, ""


def _row(act: Act, user: User | None) -> _Row:
    facts: Mapping[str, Any] = {**(act.before or {}), **(act.after or {})}
    name = user.name if user is not None else str(facts.get("name") or "")
    number = user.number if user is not None else str(facts.get("number") or "")
    action = REMOVED if act.after is None else BLOCKED if act.after.get(BLOCKED) else UNBLOCKED
    return name, number, REASON, action, act.at_ms, act.subject, act.actor
