"""What the quiet rooms tell of calls and messages, counted: the one place where their facts become metrics."""

from collections.abc import Callable
from typing import Any

from gateway.call.facts import Cut, Fact, Finished, Placed, Ticked
from gateway.sip.layer import Counts
from gateway.telemetry.worker import WorkerMetrics


class FactCounter:
    """Counts facts into the worker's metrics."""

    __slots__ = ("_counted",)

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._counted: dict[type, Callable[[Any], None]] = {
            Placed: lambda fact: metrics.setup.observe(fact.setup_s),
            Ticked: lambda fact: metrics.tick(fact.result),
            Cut: lambda fact: metrics.cut_error.observe(fact.error_s),
            Finished: lambda fact: metrics.ended(fact.outcome, fact.reason, fact.kind),
        }

    def __call__(self, fact: Fact) -> None:
        """Count one fact."""
        self._counted[type(fact)](fact)


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
