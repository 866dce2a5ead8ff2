"""Call records put into the ledger of a folder, as the settler books them."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.call.record import CallRecord
from gateway.ledger import CallEntry, Ledger, ledger_url

START_MS = 1_770_000_000_000
"""2026-02-02T02:40:00Z."""


def book(folder: Path, *records: CallRecord) -> None:
    """Put call records into the ledger, as the settler does."""

    async def work() -> None:
        async with Ledger(ledger_url("embedded", folder / "data")) as ledger:
            await ledger.book(
                [CallEntry(each.call_id, "contoso", each.charge_micros, each.encode()) for each in records]
            )

    asyncio.run(work())


def record(call_id: str, at_ms: int = START_MS, talk_ms: int = 61_000, **more: Any) -> CallRecord:
    known: dict[str, Any] = {
        "call_id": call_id,
        "tenant_id": "contoso",
        "kind": "user_out",
        "sip_call_id": f"sip-{call_id}",
        "caller": "+14255550100",
        "number": "+12125550123",
        "destination": "United States",
        "currency": "USD",
        "payer": "credits",
        "invited_ms": at_ms,
        "answered_ms": at_ms if talk_ms else 0,
        "ended_ms": at_ms + talk_ms,
        "talk_ms": talk_ms,
        "charge_micros": 610_000 if talk_ms else 0,
        "reason": "COMPLETED" if talk_ms else "NO_CREDIT",
        "sip_status": 200 if talk_ms else 402,
    }
    return CallRecord(**known | more)
