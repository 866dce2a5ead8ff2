"""What the call machine tells of its calls, counted: the one place where its facts become metrics."""

from gateway.call.facts import Cut, Fact, Finished, Placed, Ticked
from gateway.telemetry.worker import WorkerMetrics


class FactCounter:
    """Counts facts into the worker's metrics."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def __call__(self, fact: Fact) -> None:
        """Count one fact."""
        metrics = self._metrics
        match fact:
            case Placed(setup_s):
                metrics.setup.observe(setup_s)
            case Ticked(result):
                metrics.tick(result)
            case Cut(error_s):
                metrics.cut_error.observe(error_s)
            case Finished(outcome, reason, kind):
                metrics.ended(outcome, reason, kind)
