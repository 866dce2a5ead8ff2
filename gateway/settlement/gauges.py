"""What the settler shows of money: gauges for each tenant, the outbox and drift; changes are logged once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.credit.views import AccountView, OutboxState
from gateway.ledger import LedgerAccount
from gateway.settlement.reconcile import Drift
from gateway.telemetry import metrics
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import Meter

TOLD_AFTER: Final = 10
"""Looks, some 0.4 s apart: a Redis that lost its last writes is told them again by its workers within that time."""

log = get_logger("settlement")


class Gauges:
    """The settler's part of the metrics of CONTRACT 8."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._drifted: Counter[str] = Counter()
        self._up: dict[str, bool] = {}
        self._swept = meter.counter(metrics.LEASES_EXPIRED)
        meter.gauge(metrics.LEDGER_DRIFT).set(0)
        for gauge in (metrics.REDIS_UP, metrics.LEDGER_UP):
            meter.gauge(gauge).set(0)

    def redis_up(self, up: bool) -> None:
        """Whether Redis answered."""
        self._change("Redis", metrics.REDIS_UP, up)

    def ledger_up(self, up: bool) -> None:
        """Whether the ledger answered."""
        self._change("ledger", metrics.LEDGER_UP, up)

    def _change(self, store: str, gauge: metrics.Metric, up: bool) -> None:
        self._meter.gauge(gauge).set(int(up))
        if self._up.get(store) != up:
            self._up[store] = up
            log.info(f"{store} is {'up' if up else 'away'}")

    def outbox(self, pending: int, lag_s: float) -> None:
        """Entries that wait for the ledger, and how old the oldest is."""
        self._meter.gauge(metrics.OUTBOX_PENDING).set(pending)
        self._meter.gauge(metrics.OUTBOX_LAG).set(lag_s)

    def outbox_state(self, state: OutboxState, now_ms: int) -> None:
        """The same, counted by Redis."""
        oldest_ms = now_ms if state.oldest_unix_ms is None else state.oldest_unix_ms
        self.outbox(state.pending, max(0, now_ms - oldest_ms) / 1000)

    def tenants(self, accounts: Sequence[LedgerAccount], views: Sequence[AccountView]) -> None:
        """Balance, held and exhausted of every tenant."""
        meter = self._meter
        meter.set_tenants(metrics.BALANCE, [(view.tenant_id, view.balance_micros) for view in views])
        meter.set_tenants(metrics.HELD, [(view.tenant_id, view.held_micros) for view in views])
        meter.set_tenants(
            metrics.EXHAUSTED,
            [
                (view.tenant_id, int(account.mode == "prepaid" and view.balance_micros <= 0))
                for account, view in zip(accounts, views, strict=True)
            ],
        )

    def drift(self, drifts: Iterable[Drift]) -> None:
        """The whole drift; a tenant that drifts for TOLD_AFTER looks is told of once."""
        drifting = [drift for drift in drifts if drift.drift_micros]
        self._meter.gauge(metrics.LEDGER_DRIFT).set(sum(abs(drift.drift_micros) for drift in drifting))
        for drift in drifting:
            if self._drifted[drift.tenant_id] + 1 == TOLD_AFTER:
                log.error(
                    "ledger and Redis differ",
                    tenant=drift.tenant_id,
                    drift_micros=drift.drift_micros,
                    do="look at `callgate reconcile`, and at the ledger's table set_aside",
                )
        self._drifted = Counter({drift.tenant_id: self._drifted[drift.tenant_id] + 1 for drift in drifting})

    def swept(self, calls: int) -> None:
        """Leases that were closed."""
        self._swept.inc(by=calls)
