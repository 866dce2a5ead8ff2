"""Every metric of the gate (CONTRACT 8), declared once: name, kind, help, labels, and how processes are folded.

A process counts into an :class:`Meter`: plain integers, no lock, no registry, nothing that waits.  Twice a second it
writes its values to a file (gateway.telemetry.snapshots); the admin process folds all files into one scrape.

Why not prometheus_client's own multiprocess mode: measured here, its counter costs 1.0 us and its histogram 2.2 us per
observation (an mmap write under a lock) against 0.1 and 0.2 us for these, a series once made cannot be removed from it
(a tenant that was deleted would keep its balance for ever), metrics without a sample show no HELP and TYPE, and the
folder must stand in the environment before the first import.  Exposition is prometheus_client's.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

Labels = tuple[str, ...]
"""Label values in the order of the metric's label names."""

Fold = Literal["sum", "min"]

SERIES_MAX: Final = 50_000
"""Series of one metric in one process; further ones are dropped: a runaway label must not take the gate along."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``name`` lacks the prefix and a counter's ``_total``.

    ``fold`` says how the gauges of several processes become one; ``buckets`` are a histogram's upper bounds,
    in seconds, without +Inf.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    fold: Fold = "sum"
    buckets: tuple[float, ...] = ()


PREFIX: Final = "callgate_"

_SETUP_S: Final = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DECISION_S: Final = (0.00001, 0.00002, 0.00003, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.02)
_CUT_S: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_REDIS_S: Final = (0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)

CALLS_ACTIVE: Final = Metric("calls_active", "gauge", "Live calls.", ("trunk", "state"))
CALLS: Final = Metric("calls", "counter", "Calls that ended or were refused.", ("outcome", "reason", "kind"))
SETUP_DELAY: Final = Metric(
    "setup_delay_seconds", "histogram", "INVITE in to INVITE out, in seconds.", buckets=_SETUP_S
)
DECISION: Final = Metric(
    "decision_seconds", "histogram", "Time to decide whether a call may go, in seconds.", buckets=_DECISION_S
)
CUT_ERROR: Final = Metric(
    "cut_error_seconds", "histogram", "BYE sent minus paid-until, once per cut call, in seconds.", buckets=_CUT_S
)
MOVED: Final = Metric(
    "dialogs_moved", "counter", "Peers of another gate's calls asked to follow to this one, by outcome.", ("result",)
)
TICK: Final = Metric("tick", "counter", "Ticks asked for, by what became of them.", ("result",))
HELD: Final = Metric("held_micros", "gauge", "Money reserved for live calls, in micro-units.", ("tenant",))
BALANCE: Final = Metric("balance_micros", "gauge", "Balance in Redis, in micro-units.", ("tenant",))
EXHAUSTED: Final = Metric("exhausted", "gauge", "1 where a prepaid balance is 0 or less.", ("tenant",))
EXPOSURE: Final = Metric(
    "uncharged_exposure_micros",
    "gauge",
    "Talk let through uncharged while Redis was away, in micro-units.",
    ("tenant",),
)
OUTBOX_LAG: Final = Metric("outbox_lag_seconds", "gauge", "Age of the oldest charge that is not booked, in seconds.")
OUTBOX_PENDING: Final = Metric("outbox_pending", "gauge", "Charges that wait to be booked.")
LEDGER_DRIFT: Final = Metric(
    "ledger_drift_micros", "gauge", "Difference of Redis and ledger that no waiting charge explains, in micro-units."
)
LEASES_EXPIRED: Final = Metric("leases_expired", "counter", "Reservations of dead owners that the sweep closed.")
REDIS_UP: Final = Metric("redis_up", "gauge", "1 where every process reaches Redis.", fold="min")
LEDGER_UP: Final = Metric("ledger_up", "gauge", "1 where every process that books reaches the ledger.", fold="min")
REDIS: Final = Metric("redis_seconds", "histogram", "Round trips to Redis, in seconds.", ("op",), buckets=_REDIS_S)
SIP_MESSAGES: Final = Metric("sip_messages", "counter", "SIP messages.", ("direction", "method", "status"))
SIP_RETRANSMISSIONS: Final = Metric("sip_retransmissions", "counter", "SIP messages sent again by a timer.")
SIP_PARSE_ERRORS: Final = Metric("sip_parse_errors", "counter", "Datagrams and frames that are no SIP message.")
DROPPED: Final = Metric(
    "dropped_messages",
    "counter",
    "SIP messages dropped unread: by the rules for sources that no trunk names, or because a queue was full.",
    ("cause",),
)
BANS: Final = Metric("banned_sources", "gauge", "Sources that no trunk names and that are banned now, by each worker.")
TARGET_UP: Final = Metric(
    "target_up", "gauge", "1 where every process finds this address of a trunk up.", ("trunk", "target"), fold="min"
)
TARGET_PINGS: Final = Metric("target_pings", "counter", "OPTIONS sent to targets, by what came back.", ("result",))
CREDENTIALS: Final = Metric(
    "credentials", "counter", "Requests of peers that have to show credentials, by what they showed.", ("result",)
)
REGISTERED: Final = Metric(
    "registered", "gauge", "1 where this gate is registered with the carrier that asks it to.", ("trunk",), fold="sum"
)
RECHARGE: Final = Metric("recharge", "counter", "Recharges asked for, by what became of them.", ("result",))
NOTICES: Final = Metric("notices", "counter", "Messages to tenants, by what became of each try.", ("result",))
BUILD_INFO: Final = Metric("build_info", "gauge", "Version of the gate; always 1.", ("version",), fold="min")

METRICS: Final = {
    metric.name: metric
    for metric in (
        CALLS_ACTIVE,
        CALLS,
        SETUP_DELAY,
        DECISION,
        CUT_ERROR,
        MOVED,
        TICK,
        HELD,
        BALANCE,
        EXHAUSTED,
        EXPOSURE,
        OUTBOX_LAG,
        OUTBOX_PENDING,
        LEDGER_DRIFT,
        LEASES_EXPIRED,
        REDIS_UP,
        LEDGER_UP,
        REDIS,
        SIP_MESSAGES,
        SIP_RETRANSMISSIONS,
        SIP_PARSE_ERRORS,
        DROPPED,
        BANS,
        TARGET_UP,
        TARGET_PINGS,
        CREDENTIALS,
        REGISTERED,
        RECHARGE,
        NOTICES,
        BUILD_INFO,
    )
}


class Counter:
    """Values that only rise, by label values."""

    __slots__ = ("values",)

    def __init__(self, metric: Metric) -> None:
        self.values: dict[Labels, float] = {} if metric.labels else {(): 0}

    def inc(self, labels: Labels = (), by: float = 1) -> None:
        """Add ``by`` to one series; a new series beyond SERIES_MAX is dropped."""
        values = self.values
        if labels in values:
            values[labels] += by
        elif len(values) < SERIES_MAX:
            values[labels] = by


class Gauge:
    """Values that hold until they are set again, by label values."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Labels, float] = {}

    def set(self, value: float, labels: Labels = ()) -> None:
        """Set one series; a new series beyond SERIES_MAX is dropped."""
        if labels in self.values or len(self.values) < SERIES_MAX:
            self.values[labels] = value

    def replace(self, values: Mapping[Labels, float]) -> None:
        """Set all series at once; those that are not among ``values`` vanish."""
        self.values = dict(list(values.items())[:SERIES_MAX])


class Distribution:
    """One series of a histogram: how many observations fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds


class Histogram:
    """Distributions by label values; keep what :meth:`of` gives and observe on it directly."""

    __slots__ = ("bounds", "values")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.buckets
        self.values: dict[Labels, Distribution] = {} if metric.labels else {(): Distribution(metric.buckets)}

    def of(self, labels: Labels = ()) -> Distribution:
        """The series with these label values, made at first sight; one that is dropped is beyond SERIES_MAX."""
        found = self.values.get(labels)
        if found is None:
            found = Distribution(self.bounds)
            if len(self.values) < SERIES_MAX:
                self.values[labels] = found
        return found


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Meter:
    """All that one process counts.  ``tenant_labels`` False: metrics with a tenant label show one sum without it."""

    def __init__(self, *, tenant_labels: bool = True) -> None:
        self.tenant_labels = tenant_labels
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}

    def counter(self, metric: Metric) -> Counter:
        """This process' counter of ``metric``; from now on the process has it, at 0."""
        return self.counters.setdefault(metric.name, Counter(metric))

    def gauge(self, metric: Metric) -> Gauge:
        """This process' gauge of ``metric``."""
        return self.gauges.setdefault(metric.name, Gauge())

    def histogram(self, metric: Metric) -> Histogram:
        """This process' histogram of ``metric``."""
        return self.histograms.setdefault(metric.name, Histogram(metric))

    def set_tenants(self, metric: Metric, micros: Iterable[tuple[str, int]]) -> None:
        """Set a gauge with a tenant label for all tenants at once; tenants left out vanish."""
        values = [((tenant,), value) for tenant, value in micros]
        if self.tenant_labels:
            self.gauge(metric).replace(dict(values))
        else:
            self.gauge(metric).replace({(): sum(value for _, value in values)})
