"""Moments as people and programs read them: Unix milliseconds as ISO 8601 in UTC, written in one way everywhere."""

from datetime import UTC, datetime
from typing import Literal


def iso_utc(unix_ms: int, timespec: Literal["milliseconds", "seconds"] = "milliseconds") -> str:
    """``2026-02-03T04:05:06.789Z``; with ``seconds`` what is below a second is cut off."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
