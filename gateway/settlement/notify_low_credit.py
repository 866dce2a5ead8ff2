"""Calls whose money ends, from the stream of refused calls into notices for those tenants that have webhooks.

Only webhooks hear of it: it comes with every call that money ends, and a program can add money in time where a person
cannot.  For other tenants nothing is written down.
"""

import time
from collections.abc import Sequence
from typing import Final

from gateway.call.low_credit import LOW, LOW_CREDIT
from gateway.call.record import CallRecord, decode_record
from gateway.credit.views import RefusedEntry
from gateway.ledger import Ledger
from gateway.ledger.notices import Notice
from gateway.settlement.files import iso_time
from gateway.settlement.notify_targets import has_webhook

EVENT: Final = "call.low_credit"

_MARK: Final = f'"reason":"{LOW_CREDIT}"'.encode()
"""As the record is written; a text inside it has its quotes escaped, and so never looks like this."""


def is_low_credit(entry: RefusedEntry) -> bool:
    """Whether it is of a live call and not of a refused one."""
    return _MARK in entry.record


async def tell_low_credit(ledger: Ledger, entries: Sequence[RefusedEntry]) -> None:
    """Add their notices.  Raises LedgerAway."""
    records = [record for entry in entries if (record := _record(entry))]
    if not records:
        return
    tenants = await ledger.contacts({record.tenant_id for record in records})
    wanted = {name for name, tenant in tenants.items() if has_webhook(tenant)}
    now_ms = time.time_ns() // 1_000_000
    await ledger.add_notices([_notice(record, now_ms) for record in records if record.tenant_id in wanted])


def _record(entry: RefusedEntry) -> CallRecord | None:
    """None where it cannot be read: nothing is lost but the message."""
    try:
        return decode_record(entry.record)
    except ValueError:
        return None


def _notice(record: CallRecord, now_ms: int) -> Notice:
    """Known by the call: that its money ends is told once, however often it is said."""
    call_id = record.call_id.removesuffix(LOW)
    figures = {
        "call": call_id,
        "user": record.user_id,
        "from": record.caller,
        "to": record.number,
        "paid_until_at": iso_time(record.ended_ms),
    }
    return Notice(record.tenant_id, EVENT, call_id, now_ms, figures)
