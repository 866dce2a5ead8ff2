"""The settler and the admin process: their rooms' own loops, with a process' metrics and logs around them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from gateway.config.kept_secret import KeptSecretError
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin
from gateway.ledger import HeadFiles, Ledger, LedgerAway, PartitionsFixed
from gateway.settlement.payments import provider_of
from gateway.settlement.recharge import Recharger
from gateway.settlement.settler import Settler
from gateway.telemetry import logs
from gateway.telemetry.metrics import Meter
from gateway.telemetry.snapshots import WRITE_INTERVAL_S, SnapshotFile
from gateway.worker.ending import Ending
from gateway.worker.plan import GIVEN_UP, Plan
from policy.recharge import RechargeLimits

if TYPE_CHECKING:
    from gateway.settlement.notify import Notifier


async def run_settler(plan: Plan, ending: Ending, say_ready: Callable[[], None]) -> int:
    """Book charges and bring money to Redis until asked to end."""
    _configure(plan, "settler")
    async with _metered(plan) as meter, Ledger(plan.ledger_url) as ledger:
        try:
            partitions = await _begin(ledger, plan.settings)
        except PartitionsFixed as error:
            logs.get_logger("settler").error("partitions changed", error=str(error))
            return GIVEN_UP
        credit = CreditAdmin(plan.redis_url, partitions=partitions)
        heads, notifier = HeadFiles(plan.settings.data_dir), _notifier(ledger, plan.settings, meter)
        payments = plan.settings.payments
        limits = RechargeLimits(payments.recharges_per_hour, payments.recharges_per_day)
        provider = provider_of(payments)
        recharger = Recharger(ledger, credit, provider, limits, meter)
        keep_days = plan.settings.notifications.keep_days
        try:
            settler = Settler(ledger, credit, meter, heads, notifier, recharger, keep_days)
            working = asyncio.create_task(settler.run(ending.drain))
            say_ready()
            await working
        finally:
            if provider is not None:
                await provider.close()
            await credit.close()
            if notifier:
                await notifier.close()
    return 0


def _notifier(ledger: Ledger, settings: Settings, meter: Meter) -> "Notifier | None":
    """Who tells tenants; None, and told why, where messages could not be signed."""
    from gateway.settlement.notify import Notifier, read_post

    try:
        return Notifier(ledger, read_post(settings), meter)
    except KeptSecretError as error:
        logs.get_logger("settler").error("nobody is told of anything", why=str(error))
        return None


async def _begin(ledger: Ledger, settings: Settings) -> int:
    """How many parts the accounts are spread over: fixed in the ledger at the first start (MONEY 3).

    Settings that touch money go into the audit log, where they changed; a ledger that is away hears of them at the next
    start.  Raises PartitionsFixed where the settings want another number of parts; takes theirs where the ledger cannot
    be asked.
    """
    try:
        await ledger.migrate()
        partitions = await ledger.partitions(settings.redis.partitions)
        chosen = settings.credit.model_dump(mode="json", by_alias=True) | {"partitions": partitions}
        chosen |= {"payments": settings.payments.model_dump(mode="json", exclude={"secret"})}
        await ledger.note_settings(settings.node.name, chosen)
    except LedgerAway as error:
        logs.get_logger("settler").warning("settings not in the audit log", why=str(error))
        return settings.redis.partitions
    return partitions


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
