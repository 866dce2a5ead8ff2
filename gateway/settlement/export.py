"""The usage report as a file: the 20 columns of the source's export, then ours, streamed row by row."""

from collections.abc import AsyncIterable
from typing import BinaryIO, Literal

from gateway.call.record import CallRecord

ExportFormat = Literal["csv", "json", "xlsx"]


async def export_usage(records: AsyncIterable[CallRecord], out: BinaryIO, form: ExportFormat) -> int:
    """Write ``records`` (``Ledger.usage``) to ``out``; how many rows.  Memory stays flat however many there are."""
    raise NotImplementedError
