"""What a worker counts: one method per fact of a call, bound to its series once, so that the hot path only adds.

Times are seconds.  Whatever label a peer could choose is folded into a known set first: an unknown method counts as
OTHER, a status only inside 100 to 699.
"""

from collections.abc import Mapping
from typing import Final

from gateway.telemetry import metrics
from gateway.telemetry.metrics import Distribution, Meter

METHODS: Final = frozenset(
    {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "REFER"}
    | {"NOTIFY", "SUBSCRIBE", "MESSAGE", "PUBLISH"}
)
STATUS_MIN: Final = 100
STATUS_MAX: Final = 699


class WorkerMetrics:
    """Counts into ``meter``; ``setup``, ``decision`` and ``cut_error`` are distributions to observe seconds on."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.setup = meter.histogram(metrics.SETUP_DELAY).of()
        self.decision = meter.histogram(metrics.DECISION).of()
        self.cut_error = meter.histogram(metrics.CUT_ERROR).of()
        self._redis = meter.histogram(metrics.REDIS)
        self._redis_by_op: dict[str, Distribution] = {}
        self._calls = meter.counter(metrics.CALLS)
        self._ticks = meter.counter(metrics.TICK)
        self._moved = meter.counter(metrics.MOVED)
        self._messages = meter.counter(metrics.SIP_MESSAGES)
        self._retransmissions = meter.counter(metrics.SIP_RETRANSMISSIONS)
        self._parse_errors = meter.counter(metrics.SIP_PARSE_ERRORS)
        self._dropped = meter.counter(metrics.DROPPED)
        self._bans = meter.gauge(metrics.BANS)
        self._credentials = meter.counter(metrics.CREDENTIALS)
        self._registered = meter.gauge(metrics.REGISTERED)
        self._active = meter.gauge(metrics.CALLS_ACTIVE)
        self._redis_up = meter.gauge(metrics.REDIS_UP)
        self._target_up = meter.gauge(metrics.TARGET_UP)
        self._pings = meter.counter(metrics.TARGET_PINGS)

    def ended(self, outcome: str, reason: str, kind: str, count: int = 1) -> None:
        """A call ended or was refused: ``reason`` is a code of policy.reasons, ``kind`` a call type."""
        self._calls.inc((outcome, reason, kind), count)

    def moved(self, result: str) -> None:
        """A peer of another gate's call was asked to follow: ``moved``, ``refused``, ``impossible``."""
        self._moved.inc((result,))

    def credentials(self, result: str) -> None:
        """A peer had to show credentials: ``right``, ``none``, ``stale``, ``wrong``."""
        self._credentials.inc((result,))

    def registered(self, trunk: str, there: bool) -> None:
        """Whether this gate is registered with a carrier."""
        self._registered.set(int(there), (trunk,))

    def tick(self, result: str) -> None:
        """A tick was answered: ``granted``, ``trimmed``, ``refused``, ``away``."""
        self._ticks.inc((result,))

    def dropped(self, counts: Mapping[str, int], bans: int) -> None:
        """Messages dropped unread since the start, by cause, and sources that are banned now."""
        self._dropped.values.update({(cause,): count for cause, count in counts.items()})
        self._bans.set(bans)

    def redis(self, op: str, seconds: float) -> None:
        """A round trip to Redis; fits StoreObserver.timed."""
        found = self._redis_by_op.get(op)
        if found is None:
            found = self._redis_by_op[op] = self._redis.of((op,))
        found.observe(seconds)

    def redis_up(self, up: bool) -> None:
        """Whether the store answers; fits StoreObserver.up."""
        self._redis_up.set(int(up))

    def ping(self, result: str) -> None:
        """A ping of a target came back, or did not: ``answered``, ``refused``, ``lost``."""
        self._pings.inc((result,))

    def targets(self, up: Mapping[tuple[str, str], bool]) -> None:
        """Which addresses are up, by trunk and address; what is left out is pinged no more."""
        self._target_up.replace({key: int(value) for key, value in up.items()})

    def active(self, calls: Mapping[tuple[str, str], int]) -> None:
        """Live calls by trunk and state; what is left out is gone."""
        self._active.replace({(trunk, state): count for (trunk, state), count in calls.items()})

    def exposure(self, micros: Mapping[str, int]) -> None:
        """What tenants talk uncharged while the credit store is away, in micro-units by tenant."""
        self._meter.set_tenants(metrics.EXPOSURE, micros.items())

    def messages(self, counts: Mapping[tuple[str, str, int], int]) -> None:
        """SIP messages since the last time, by direction (``in``, ``out``), method, and status (0: a request)."""
        for (direction, method, status), count in counts.items():
            known = method if method in METHODS else "OTHER"
            shown = str(status) if STATUS_MIN <= status <= STATUS_MAX else ""
            self._messages.inc((direction, known, shown), count)

    def retransmissions(self, count: int) -> None:
        """SIP messages that timers sent again since the last time."""
        self._retransmissions.inc((), count)

    def parse_errors(self, count: int) -> None:
        """Datagrams and frames since the last time that were no SIP message."""
        self._parse_errors.inc((), count)
