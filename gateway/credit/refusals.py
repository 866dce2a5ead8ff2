"""Rows of refused calls: each trunk writes at most so many a second, the rest becomes one counted row (MONEY 4).

A flood of refused calls must not become a flood of writes; what is lost is who exactly was refused, never money.
"""

from dataclasses import replace

from gateway.call.commands import Refused
from gateway.call.record import decode_record


class RefusedRows:
    """Counts the refused calls of one second, by trunk; trunks are those of the configuration."""

    __slots__ = ("_counts", "_last", "_per_s")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._counts: dict[str, int] = {}
        self._last: dict[str, Refused] = {}

    def admit(self, command: Refused, writable: bool) -> bool:
        """May this one have a row of its own?  Otherwise it is counted, and :meth:`sum_up` gives the row."""
        count = self._counts.get(command.trunk, 0)
        if writable and count < self._per_s:
            self._counts[command.trunk] = count + 1
            return True
        self._counts[command.trunk] = max(count, self._per_s) + 1
        self._last[command.trunk] = command
        return False

    def sum_up(self) -> list[Refused]:
        """End the second: one row for each trunk that had more, with how many it stands for."""
        rows = [self._counted(command) for command in self._last.values()]
        self._counts.clear()
        self._last.clear()
        return rows

    def _counted(self, command: Refused) -> Refused:
        record = decode_record(command.record)
        record.count = self._counts[command.trunk] - self._per_s
        return replace(command, record=record.encode())
