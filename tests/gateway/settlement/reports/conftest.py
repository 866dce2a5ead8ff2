"""Call records in a real ledger for reports to read."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.call.record import CallRecord
from gateway.ledger import CallEntry, Ledger

START_MS = 1_770_000_000_000
"""2026-02-02T02:40:00Z."""

Book = Callable[..., Awaitable[None]]


@pytest.fixture
def book(ledger: Ledger) -> Book:
    """Books one answered call of contoso's; anything of its record may be given."""

    async def work(call_id: str, **more: Any) -> None:
        known: dict[str, Any] = {"tenant_id": "contoso", "kind": "user_out", "user_id": "alice@contoso.com"}
        known |= {"user_name": "Alice", "invited_ms": START_MS, "answered_ms": START_MS, "talk_ms": 60_000}
        known |= {"destination": "France", "charge_micros": 18_000, "reason": "COMPLETED", "sip_status": 200}
        record = CallRecord(call_id, **known | more)
        entry = CallEntry(call_id, record.tenant_id, record.charge_micros, record.encode())
        assert (await ledger.book([entry])).booked == 1

    return work
