"""The settler of those stories in which Redis loses its memory: the real one, over a ledger that is a few dictionaries.

Jobs, settling in, doubt, rebuild, judging late charges, sweep and drift watch are gateway.settlement's own.  It may
die at any moment, also in the middle of a rebuild, and another one follows.
"""

import asyncio
from collections.abc import Callable
from unittest.mock import patch

from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Booked as BookedOrder
from gateway.credit.orders import Funded, Order
from gateway.credit.views import Swept
from gateway.settlement.settler import Settler
from gateway.telemetry import metrics
from gateway.telemetry.metrics import Meter
from tests.simulation.books import Books, SimLedger
from tests.simulation.commands import SimClient, SimCommands
from tests.simulation.gate import PARTITIONS
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Cable

FOLLOWS_S = 3.5
"""When another settler begins after one died: its lock has run out by then (gateway.ledger.rebuilding)."""

ORDER_S = 0.02
"""An order's way through its stream to the worker."""


class RealSettler:
    """The same face as :class:`tests.simulation.settler.SimSettler`, with the real settler behind it."""

    def __init__(
        self,
        loop: VirtualLoop,
        cable: Cable,
        tenants: list[str],
        tell_booked: Callable[[list[str]], None],
        tell_funded: Callable[[str], None],
    ) -> None:
        self._loop, self._cable = loop, cable
        self._tell_booked, self._tell_funded = tell_booked, tell_funded
        self.keys = Keyspace(PARTITIONS)
        self.ledger = SimLedger().open(tenants)
        self.books = Books(self.ledger, loop.time)
        self.meter = Meter()
        self.swept = self.deaths = 0
        self._task: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Start; the real settler makes an empty Redis ready by itself."""
        self._loop.call_soon(self._start)

    def fund(self, tenant: str, micros: int) -> None:
        """Money comes in; Redis is told at the settler's next look."""
        self.ledger.fund(tenant, micros)

    @property
    def away(self) -> bool:
        """The ledger cannot be reached."""
        return self.books.away

    @away.setter
    def away(self, away: bool) -> None:
        self.books.away = away

    @property
    def reaches_redis(self) -> bool:
        """Whether its own way to Redis is up."""
        return self._cable.up

    @reaches_redis.setter
    def reaches_redis(self, reaches: bool) -> None:
        self._cable.up = reaches

    @property
    def epoch(self) -> int:
        """The epoch that was begun last: above 1 Redis was rebuilt."""
        return self.books.epoch

    @property
    def drift_micros(self) -> float:
        """What the settler's own watch says at the end."""
        return self.meter.gauge(metrics.LEDGER_DRIFT).values[()]

    def die(self) -> None:
        """kill -9, and another one in a few seconds."""
        self.stop()
        self.deaths += 1
        self._loop.call_later(FOLLOWS_S, self._start)

    def stop(self) -> None:
        """The process is gone, wherever it was."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _start(self) -> None:
        with patch("gateway.credit.admin.Client", self._client):
            credit = _Counting("", self, partitions=PARTITIONS)
        settler = Settler(self.books, credit, self.meter)  # type: ignore[arg-type]
        self._task = self._loop.create_task(settler.run(asyncio.Event()))

    def _client(self, _url: str, partitions: int, timeout_s: float) -> SimClient:
        return SimClient(SimCommands(self._cable, self._deliver), partitions, timeout_s)

    def _deliver(self, _worker: str, order: Order) -> None:
        match order:
            case BookedOrder(call_ids):
                self._loop.call_later(ORDER_S, self._tell_booked, list(call_ids))
            case Funded(tenant):
                self._loop.call_later(ORDER_S, self._tell_funded, tenant)


class _Counting(CreditAdmin):
    """Counts what it sweeps."""

    def __init__(self, url: str, settler: RealSettler, *, partitions: int) -> None:
        super().__init__(url, partitions=partitions)
        self._settler = settler

    async def sweep(self, limit: int = 1000) -> list[Swept]:
        swept = await super().sweep(limit)
        assert not any(each.alert for each in swept), swept
        self._settler.swept += len(swept)
        return swept
