"""The usage report as a file: the 20 columns of the source's export, then ours, streamed row by row (DOMAIN 6).

Which columns there are, in which order, and what fills them is data: ``data/usage_columns.csv``.  Money has two
decimals, halves up, in Connection Fee and Charge and nowhere else; the exact charge stands in Charge Micros.
"""

import asyncio
import csv
import io
import re
import uuid
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from operator import attrgetter
from typing import Any, BinaryIO, Final

from gateway.call.record import CallRecord
from gateway.settlement.files import FORMS, ExportFormat, Value, open_rows
from gateway.settlement.masking import NO_MASKING, Masking

FREE_CALL: Final = "FREECALL"
"""The capability of a call that was given free because of a technical fault (DOMAIN 1)."""

OBJECT_IDS: Final = uuid.UUID("5bd4be79-6d32-5d58-a5c6-6a0ac2b9f6b2")
"""The name space of object ids: a tenant's user has the same one in every export and on every gate."""

IDS_KEPT: Final = 10_000
"""Object ids remembered: making one takes a hash, and a tenant's calls come from few users."""

LATE: Final = ":late"
"""Ends the charge id of talk that was proven after a sweep (MONEY 5)."""


@dataclass(frozen=True, slots=True)
class UsageColumn:
    """One column of the report; ``form`` says how a value is written, ``source`` where it comes from.

    ``width`` is the most characters its type takes (0: any number); longer texts are cut.
    """

    name: str
    description: str
    form: str
    source: str
    width: int


@cache
def usage_columns() -> tuple[UsageColumn, ...]:
    """The columns in their order."""
    text = files("gateway.settlement").joinpath("data/usage_columns.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return tuple(_column(row) for row in rows)


def _column(row: dict[str, str]) -> UsageColumn:
    width = re.fullmatch(r"nvarchar\((\d+)\)", row["sql_type"])
    return UsageColumn(row["name"], row["description"], row["form"], row["value"], int(width[1]) if width else 0)


def usage_row(record: CallRecord, masking: Masking = NO_MASKING) -> list[Value]:
    """What CSV and JSON show of one record, in the order of the columns."""
    values = usage_values(record, masking)
    return [FORMS[column.form].plain(value) for column, value in zip(usage_columns(), values, strict=True)]


def usage_values(record: CallRecord, masking: Masking = NO_MASKING) -> list[Any]:
    """The values of one record, in the order of the columns, before their forms are applied."""
    plan = _plan()
    values = list(plan.fields(record))
    for place, make in plan.made:
        values[place] = make(record, masking)
    for place, width in plan.widths:
        if len(values[place]) > width:
            values[place] = values[place][:width]
    return values


_Made = Callable[[CallRecord, Masking], Any]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a row is made, worked out once: all fields by one call, then what is made of several, then what is cut."""

    fields: Callable[[CallRecord], tuple[Any, ...]]
    made: tuple[tuple[int, _Made], ...]
    widths: tuple[tuple[int, int], ...]


@cache
def _plan() -> _Plan:
    columns = list(enumerate(usage_columns()))
    names = ["call_id" if column.source in _MADE else column.source for _, column in columns]
    made = tuple((place, _MADE[column.source]) for place, column in columns if column.source in _MADE)
    return _Plan(attrgetter(*names), made, tuple((place, column.width) for place, column in columns if column.width))


@lru_cache(IDS_KEPT)
def object_id(tenant_id: str, user_id: str) -> str:
    """A user's id as the GUID that the column takes: its own where it is one, else made of tenant and user id."""
    if not user_id:
        return ""
    try:
        return str(uuid.UUID(user_id))
    except ValueError:
        return str(uuid.uuid5(OBJECT_IDS, f"{tenant_id}/{user_id}"))


def _object_id(record: CallRecord, _masking: Masking) -> str:
    """Empty for bots: "null/empty for bot call types (ucap_in, ucap_out)"."""
    return "" if record.kind.startswith("ucap_") else object_id(record.tenant_id, record.user_id)


def _usage_id(record: CallRecord, _masking: Masking) -> str:
    """The call's own id, a GUID; talk that was booked later is a row with one of its own."""
    call_id = record.call_id.removesuffix(LATE)
    return call_id if call_id == record.call_id else str(uuid.uuid5(OBJECT_IDS, record.call_id))


def _scope(record: CallRecord, _masking: Masking) -> str:
    """Empty for a call that was refused before its number was judged: neither can be said of it."""
    if not (record.answered_ms or record.number_type):
        return ""
    return "domestic" if record.domestic else "international"


def _capability(record: CallRecord, _masking: Masking) -> str:
    """The licence used; FREECALL for talk that nobody could charge, because no gate was up while it was had."""
    free = record.uncharged_micros > 0 and not record.charge_micros
    return FREE_CALL if free else record.capability


_MADE: Final[dict[str, _Made]] = {
    # A call that nobody answered starts with its INVITE and takes no time.
    "start_ms": lambda record, _: record.answered_ms or record.invited_ms,
    "end_ms": lambda record, _: record.ended_ms or record.answered_ms or record.invited_ms,
    "talk_s": lambda record, _: record.talk_ms // 1000,
    "usage_id": _usage_id,
    "object_id": _object_id,
    "scope": _scope,
    "capability": _capability,
    "caller": lambda record, masking: masking.caller(record),
    "number": lambda record, masking: masking.number(record),
    "dialled": lambda record, masking: masking.dialled(record),
    # The fee is part of the charge; a call that cost nothing has none.
    "fee_micros": lambda record, _: record.connect_micros if record.charge_micros else 0,
}


async def export_usage(
    records: AsyncIterable[CallRecord], out: BinaryIO, form: ExportFormat, masking: Masking = NO_MASKING
) -> int:
    """Write ``records`` (``Ledger.usage``) to ``out``; how many rows.  Memory stays flat however many there are."""
    rows = open_rows(form, out, usage_columns(), "Usage")
    count = 0
    async for record in records:
        rows.add(usage_values(record, masking))
        count += 1
    await asyncio.to_thread(rows.close)
    return count
