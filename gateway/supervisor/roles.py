"""The settler and the admin process: their rooms' own loops, with a process' metrics and logs around them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.settlement.settler import Settler, SettlerObserver
from gateway.telemetry import logs, metrics
from gateway.telemetry.metrics import Meter
from gateway.telemetry.snapshots import WRITE_INTERVAL_S, SnapshotFile
from gateway.worker.ending import Ending
from gateway.worker.plan import Plan


async def run_settler(plan: Plan, ending: Ending, say_ready: Callable[[], None]) -> int:
    """Book charges and bring money to Redis until asked to end."""
    _configure(plan, "settler")
    async with _metered(plan) as meter:
        ledger = Ledger(plan.ledger_url)
        credit = CreditAdmin(plan.redis_url, partitions=plan.settings.redis.partitions)
        try:
            working = asyncio.create_task(Settler(ledger, credit, _observer(meter)).run(ending.drain))
            say_ready()
            await working
        finally:
            await credit.close()
            await ledger.close()
    return 0


async def run_admin(plan: Plan, ending: Ending, say_ready: Callable[[], None]) -> int:
    """Answer HTTP until asked to end."""
    from gateway.admin.app import serve_admin

    _configure(plan, "admin")
    assert plan.admin is not None, "the supervisor binds the admin address for this role"
    say_ready()
    await serve_admin(
        plan.settings,
        redis_url=plan.redis_url,
        ledger_url=plan.ledger_url,
        sock=socket.socket(fileno=plan.admin),
        stop=ending.drain,
        metrics_dir=str(plan.metrics_dir),
    )
    return 0


def _configure(plan: Plan, process: str) -> None:
    logs.configure(plan.settings.telemetry.log_level, plan.settings.telemetry.log_format, process)


@contextlib.asynccontextmanager
async def _metered(plan: Plan) -> AsyncIterator[Meter]:
    """A meter whose values are written twice a second, and handed over at the end."""
    meter = Meter(tenant_labels=plan.settings.telemetry.tenant_labels)
    file = SnapshotFile(plan.metrics_dir, meter)
    writing = asyncio.create_task(_write(file))
    try:
        yield meter
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        with contextlib.suppress(OSError):
            file.remove()


async def _write(file: SnapshotFile) -> None:
    while True:
        try:
            file.write()
        except OSError as error:
            logs.get_logger("settler").error("metrics not written", error=str(error))
        await asyncio.sleep(WRITE_INTERVAL_S)


def _observer(meter: Meter) -> SettlerObserver:
    tenants: dict[str, tuple[int, int, bool]] = {}

    def outbox(pending: int, lag_s: float) -> None:
        meter.gauge(metrics.OUTBOX_PENDING).set(pending)
        meter.gauge(metrics.OUTBOX_LAG).set(lag_s)
        # outbox is told once a second, after the tenants: the moment to show them all
        meter.set_tenants(metrics.BALANCE, [(name, balance) for name, (balance, _, _) in tenants.items()])
        meter.set_tenants(metrics.HELD, [(name, held) for name, (_, held, _) in tenants.items()])
        meter.set_tenants(metrics.EXHAUSTED, [(name, int(empty)) for name, (_, _, empty) in tenants.items()])

    def tenant(name: str, balance_micros: int, held_micros: int, exhausted: bool) -> None:
        tenants[name] = (balance_micros, held_micros, exhausted)

    log = logs.get_logger("settler")
    return SettlerObserver(
        outbox=outbox,
        tenant=tenant,
        drift=meter.gauge(metrics.LEDGER_DRIFT).set,
        swept=lambda calls: meter.counter(metrics.LEASES_EXPIRED).inc((), calls),
        ledger_up=lambda up: meter.gauge(metrics.LEDGER_UP).set(int(up)),
        redis_up=lambda up: meter.gauge(metrics.REDIS_UP).set(int(up)),
        alert=lambda code, text: log.error("settler alert", code=code, text=text),
    )
