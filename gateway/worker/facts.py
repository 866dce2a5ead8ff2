"""What the quiet rooms tell of calls and messages, counted: the one place where their facts become metrics."""

from collections.abc import Callable
from typing import Any, Final

from gateway.call.facts import Cut, Fact, Finished, Moved, Placed, Ticked
from gateway.sip.layer import Counts
from gateway.telemetry.logs import get_logger
from gateway.telemetry.worker import WorkerMetrics

STAYS_LOGGED_MAX: Final = 1000
"""Peers that did not follow which one process names in its log; the metric counts them all."""

log = get_logger("worker")


class FactCounter:
    """Counts facts into the worker's metrics."""

    __slots__ = ("_counted", "_metrics", "_stays_logged")

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._stays_logged = 0
        self._counted: dict[type, Callable[[Any], None]] = {
            Placed: lambda fact: metrics.setup.observe(fact.setup_s),
            Ticked: lambda fact: metrics.tick(fact.result),
            Cut: lambda fact: metrics.cut_error.observe(fact.error_s),
            Moved: self._move,
            Finished: lambda fact: metrics.ended(fact.outcome, fact.reason, fact.kind),
        }

    def __call__(self, fact: Fact) -> None:
        """Count one fact."""
        self._counted[type(fact)](fact)

    def _move(self, fact: Moved) -> None:
        self._metrics.moved(fact.result)
        if fact.result != "moved" and self._stays_logged < STAYS_LOGGED_MAX:
            self._stays_logged += 1
            log.warning(
                "a peer does not follow to this gate: its BYE will not be heard",
                call_id=fact.call_id, side=fact.side, why=fact.result, status=fact.status,
            )  # fmt: skip


class TrafficCounter:
    """Counts what the endpoint's counters have risen by since the last time."""

    __slots__ = ("_messages", "_metrics", "_parse_errors", "_repeated")

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._messages: dict[tuple[str, str, int], int] = {}
        self._parse_errors = 0
        self._repeated = 0

    def count(self, counts: Counts) -> None:
        """Count the rise; called twice a second."""
        before = self._messages
        self._metrics.messages({key: now - before.get(key, 0) for key, now in counts.messages.items()})
        self._metrics.retransmissions(counts.repeated_out - self._repeated)
        self._metrics.parse_errors(counts.parse_errors - self._parse_errors)
        self._messages = dict(counts.messages)
        self._repeated, self._parse_errors = counts.repeated_out, counts.parse_errors
