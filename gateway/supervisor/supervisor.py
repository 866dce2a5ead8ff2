"""``callgate serve``: the process over all others.  It binds the sockets, keeps the embedded Redis and every process
running, says when calls are accepted, and ends them in the right order.

Nothing here touches a SIP message or money.  Start: sockets first, since a taken port is the one thing that must be
said at once; then the stores, whose absence is printed but stops nothing (SIP.md 4); then the processes.  End: workers
drain while settler and admin go on, then the settler books what the last calls left, then the rest.  An embedded Redis
stays up where live calls wait in it for the next process (SIP.md 5).
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
from typing import Final

from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.embedded import EmbeddedError, EmbeddedRedis
from gateway.ledger import ledger_url
from gateway.supervisor.binding import Bound
from gateway.supervisor.child import Child
from gateway.supervisor.folder import Folder
from gateway.telemetry import snapshots
from gateway.telemetry.logs import get_logger
from gateway.worker.ending import Ending
from gateway.worker.plan import Plan, Role

REDIS_RETRY_S: Final = 2.0
"""Pause after an embedded Redis could not be started; a full disk or a missing binary does not mend in less."""

SETTLER_STOP_S: Final = 20.0
"""How long the settler may take to book what the last calls left."""

ADMIN_STOP_S: Final = 5.0
"""How long the admin process may take to answer the requests it has."""

READY_LINE: Final = "callgate ready"

log = get_logger("supervisor")


class Supervisor:
    """The processes of the given roles over the sockets that were bound for them."""

    def __init__(self, settings: Settings, roles: tuple[Role, ...], bound: Bound, folder: Folder, cut: bool) -> None:
        self._settings = settings
        self._bound = bound
        self._folder = folder
        self._said_ready = False
        self._embedded = EmbeddedRedis(settings.data_dir) if settings.redis_embedded else None
        redis_url = self._embedded.url if self._embedded is not None else settings.redis.url
        common = Plan(
            role="settler",
            settings=settings,
            redis_url=redis_url,
            ledger_url=ledger_url(settings.ledger.url, settings.data_dir),
            instance=folder.instance,
            cut_on_drain=cut,
        )
        self._redis_url = redis_url
        self._ending = Ending()
        self._over = False
        self._workers = self._make_workers(common) if "worker" in roles else []
        self._settler = self._make("settler", common.of("settler")) if "settler" in roles else None
        admin = common.of("admin", admin=bound.admin.fileno()) if bound.admin is not None else None
        self._admin = self._make("admin", admin) if admin is not None else None

    def _make_workers(self, common: Plan) -> list[Child]:
        slots = range(self._settings.sip.workers)
        return [self._make(f"worker {slot}", self._bound.give_to(slot, common.of("worker")), slot) for slot in slots]

    def _make(self, name: str, plan: Plan, slot: int | None = None) -> Child:
        def died(pid: int) -> None:
            snapshots.mark_dead(self._folder.metrics, pid)
            if slot is not None:
                self._folder.forget_ready(slot)

        return Child(name, plan, self._changed, died)

    @property
    def _children(self) -> list[Child]:
        return [*self._workers, *(child for child in (self._settler, self._admin) if child is not None)]

    def _tell_live(self) -> None:
        """Tell the workers which slots live: one that died once is back in a moment, and its calls wait for it."""
        if self._bound.live is not None:
            for slot, worker in enumerate(self._workers):
                self._bound.live.set(slot, worker.ready or worker.deaths <= 1)

    def _changed(self) -> None:
        """A process became ready or died: say ready once, end where it must not be started again."""
        self._tell_live()
        if any(child.given_up for child in self._children):
            self._over = True
            self._ending.orphaned()
        if not self._said_ready and all(child.ready for child in self._children):
            self._said_ready = True
            sys.stdout.write(READY_LINE + "\n")
            sys.stdout.flush()

    async def run(self) -> int:
        """Serve until SIGTERM, SIGINT or the loss of the node's name; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.asked)
        snapshots.clear(self._folder.metrics)
        keeping = [loop.create_task(child.keep()) for child in await self._prepared()]
        if self._embedded is not None:
            keeping.append(loop.create_task(self._keep_redis(self._embedded)))
        await self._ending.drain.wait()
        await self._end()
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        await self._stop_redis()
        return 1 if self._over else 0

    async def _prepared(self) -> list[Child]:
        """Try the embedded Redis once, so that workers find it; the processes to be started, in their order."""
        if self._embedded is not None:
            await self._start_redis(self._embedded)
        self._tell_live()
        return self._children

    # the embedded Redis

    async def _start_redis(self, embedded: EmbeddedRedis) -> bool:
        try:
            await embedded.ensure()
        except (EmbeddedError, OSError, subprocess.SubprocessError) as error:
            log.error("embedded redis does not run", error=str(error))
            return False
        return True

    async def _keep_redis(self, embedded: EmbeddedRedis) -> None:
        """See that the embedded Redis runs: start it again at once when it dies, then each REDIS_RETRY_S."""
        while True:
            if embedded.pid is not None:
                await embedded.wait_dead()
                log.error("embedded redis died", doing="started again")
            if not await self._start_redis(embedded):
                await asyncio.sleep(REDIS_RETRY_S)

    async def _stop_redis(self) -> None:
        """Stop the embedded Redis, unless calls live in it or another process uses it."""
        if self._embedded is None or not self._workers or self._settler is None:
            return
        admin = CreditAdmin(self._redis_url, partitions=self._settings.redis.partitions)
        try:
            if not await admin.live_calls():
                await self._embedded.stop()
        except (StoreError, EmbeddedError) as error:
            log.warning("embedded redis left as it is", error=str(error))
        finally:
            await admin.close()

    # the end

    async def _end(self) -> None:
        """Drain the workers while all else goes on, let the settler book what they left, then end the rest."""
        again = asyncio.create_task(self._hurry())
        within_s = self._settings.drain_longest_s
        await asyncio.gather(*(worker.stop(within_s) for worker in self._workers))
        again.cancel()
        if self._settler is not None:
            await self._settler.stop(SETTLER_STOP_S)
        if self._admin is not None:
            await self._admin.stop(ADMIN_STOP_S)
        with contextlib.suppress(asyncio.CancelledError):
            await again

    async def _hurry(self) -> None:
        """A second SIGTERM or SIGINT: workers end at once."""
        await self._ending.now.wait()
        for worker in self._workers:
            worker.hurry()
