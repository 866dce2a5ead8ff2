"""A worker put together: sockets, endpoint, call machine, store, directory and clock, driven as one turn after another.

What happens for each message is in :mod:`gateway.worker.turn`.  Here is what happens rarely: the start, which waits
for no store; twice a second the metrics; orders from other processes; and the drain (SIP.md 5).
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Final

from gateway.call.b2bua import B2bua
from gateway.call.commands import Result
from gateway.call.settings import CallSettings
from gateway.config.facts import number_plan
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.exposure import Ceilings
from gateway.credit.gone import say_for_gone
from gateway.credit.orders import Booked, DirectoryChanged, Funded, HangUp, Order
from gateway.credit.store import CreditStore, Owner, OwnerTakenError, StoreObserver
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.layer import Timers
from gateway.telemetry.ladder import Ladder, LadderTap
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import Meter
from gateway.telemetry.snapshots import WRITE_INTERVAL_S, SnapshotFile
from gateway.telemetry.worker import WorkerMetrics
from gateway.transport.admission import Gate, Sources
from gateway.transport.clock import Clock
from gateway.transport.strangers import StrangerLimits, Strangers
from gateway.transport.tls import Contexts
from gateway.transport.transport import Sockets, Transport
from gateway.worker.decide import Decider
from gateway.worker.directory import NEVER_READ, DirectoryWatch
from gateway.worker.ending import Ending
from gateway.worker.facts import FactCounter, TrafficCounter
from gateway.worker.garbage import Garbage
from gateway.worker.guarded import guarded_of
from gateway.worker.low_credit import LowCredit
from gateway.worker.orders import follow_orders
from gateway.worker.peers import (
    Peers,
    allowed_methods,
    announcing_of,
    credentials_of,
    forwarders_of,
    referrers_of,
    sources_of,
    terms_of,
)
from gateway.worker.plan import Plan
from gateway.worker.reach import Reach
from gateway.worker.takeover import Takeover
from gateway.worker.tokens import Tokens, own_call_ids
from gateway.worker.turn import Turn
from policy.directory import Directory

STORES_WAIT_S: Final = 3.0
"""How long a start waits for the first directory from the ledger; then it goes on with the one that was kept."""

OPEN_WAIT_S: Final = 10.0
"""How long it waits for the settler to make a Redis ready that answers and is new or was lost: until then ordinary
calls would be refused, and a settler that starts on a busy machine has tables to make first.  Then emergency calls at
least have to pass.  Without the ledger nobody makes it ready, and it is not waited for."""

STORE_POLL_S: Final = 0.05
"""How often a start looks whether Redis is ready."""

CUT_WAIT_S: Final = 2.0
"""How long the answers to BYEs and CANCELs are waited for at the end: a peer that is up answers in milliseconds."""

VERSION_POLL_S: Final = 0.5
"""How often the published version of the directory is asked for."""

EMPTY_POLL_S: Final = 0.1
"""How often a drain looks whether any call is left that it waits for."""

PRODUCT: Final = "callgate"
"""What Server and User-Agent say; no version, which would only help who looks for an old one."""

SWITCH_INTERVAL_S: Final = 0.0005
"""The directory is read by a thread that holds the interpreter for up to this long at a time; Python's 5 ms would
show in the setup delay."""

log = get_logger("worker")


class Worker:
    """One worker process' work, made on its loop; :meth:`start`, then :meth:`serve` until it is asked to end."""

    def __init__(self, plan: Plan, ending: Ending) -> None:
        settings = plan.settings
        self._plan = plan
        self._settings = settings
        self._ending = ending
        self._meter = Meter(tenant_labels=settings.telemetry.tenant_labels)
        self._metrics = WorkerMetrics(self._meter)
        self._garbage = Garbage()
        self._traffic = TrafficCounter(self._metrics)
        self._snapshot = SnapshotFile(plan.metrics_dir, self._meter)
        deadlines = Deadlines()
        self._clock = Clock(deadlines, self._after_deadlines)
        sources = Sources({trunk.name: sources_of(trunk) for trunk in settings.trunk})
        self._strangers = Strangers(sources.knows, _stranger_limits(settings), self._clock.monotonic)
        self._decider = Decider(
            sources,
            Gate(settings.sip.max_calls, settings.sip.max_calls_per_second, settings.sip.workers),
            number_plan(),
            self._clock.unix_ms,
            self._metrics.decision.observe,
            within_s=_within_s(_call_settings(settings)),
        )
        sockets, tokens = plan.sockets(), Tokens()
        identity, allowed = _identity(settings, sockets), allowed_methods(settings)
        self._endpoint = Endpoint(identity, deadlines, tokens, _timers(settings), allowed=allowed)
        self._b2bua = B2bua(
            self._endpoint,
            deadlines,
            self._decider,
            _call_settings(settings),
            self._clock.unix_ms,
            tokens,
            own_call_ids(tokens, plan.slot, settings.sip.workers),
        )
        self._store = self._make_store(plan)
        self._turn = Turn(
            self._endpoint,
            self._b2bua,
            monotonic=self._clock.monotonic,
            submit=self._store.submit,
            note=FactCounter(self._metrics),
            arm=self._clock.arm,
            soon=asyncio.get_running_loop().call_soon,
        )
        deadlines.on_fault, self._b2bua.on_fault = self._turn.deadline_failed, self._turn.call_failed
        self._turn.hear_result = self._make_low_credit().hear
        self._ladder = self._tap_calls()
        self._admin = CreditAdmin(plan.redis_url, partitions=settings.redis.partitions)
        self._peers = self._make_peers(sources)
        self._transport = self._make_transport(sockets, sources)
        self._reach = Reach(settings, sockets, self._endpoint, tokens, self._transport, self._metrics, self._do)
        self._turn.send = self._transport.send
        self._turn.may_speak = lambda now: False  # there are no sockets yet
        self._takeover = Takeover(self._store, self._b2bua, self._clock.monotonic, self._turn.end)
        self._directory = DirectoryWatch(
            plan.ledger_url,
            settings.trunks,
            settings.data_dir,
            self._use_directory,
            keep=plan.slot == 0,
            failure_policy=settings.credit.failure_policy,
        )
        self._tell_decider()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self.knows_tenants = asyncio.Event()  # there is a directory to decide by, read now or kept from before
        self.ledger_missed = self._directory.missed
        self.fenced = asyncio.Event()
        """Set when another process holds this worker's name: it must end."""

    def _make_low_credit(self) -> LowCredit:
        return LowCredit(lambda name: self._b2bua.view(name, self._clock.monotonic()), self._store.submit)

    def _tell_decider(self) -> None:
        """Whom the decider asks, and whom it tells."""
        self._decider.targets = self._reach.targets
        self._decider.expect = self._strangers.expect
        self._decider.ordinary_calls = self._b2bua.ordinary_calls
        self._decider.outbox_full = lambda: self._store.full

    def _make_transport(self, sockets: Sockets, sources: Sources) -> Transport:
        sip = self._settings.sip
        drops = self._turn.is_unheard is not None and not self._peers.may_come_from_anywhere
        may_connect = sources.knows if drops else _anyone
        contexts = Contexts(sip.tls) if sip.tls is not None else None
        return Transport(
            sockets, self._turn, may_connect, contexts, knows=self._strangers.knows, strangers=self._strangers
        )

    def _make_peers(self, sources: Sources) -> Peers:
        """Who shows credentials, who registers; with ``unknown_source = "drop"`` what others say is not answered."""
        settings, end = self._settings, self._turn.end
        peers = Peers(
            settings,
            self._b2bua,
            self._decider,
            self._admin,
            self._clock,
            self._metrics,
            end,
            self._plan.slot,
            self._strangers,
        )
        if settings.sip.unknown_source == "drop":
            self._turn.is_unheard = peers.is_stranger(sources)
        return peers

    def _make_store(self, plan: Plan) -> CreditStore:
        observer = StoreObserver(timed=self._metrics.redis, up=self._store_up, sure=self._sure, alert=_alert)
        return self._open_store(Owner(self._settings.node.name, plan.slot, plan.instance), self._resolve, observer)

    def _open_store(self, owner: Owner, on_result: Callable[[Result], None], observer: StoreObserver) -> CreditStore:
        credit = self._settings.credit
        return CreditStore(
            self._plan.redis_url,
            owner,
            on_result,
            partitions=self._settings.redis.partitions,
            lease_grace_s=credit.lease_grace_s,
            takeover_after_s=credit.takeover_after_s,
            outbox_max=credit.outbox_max,
            data_dir=self._settings.data_dir,
            policy_of=self._failure_policy,
            ceilings=_ceilings(self._settings),
            observer=observer,
        )

    def _failure_policy(self, tenant_id: str) -> str:
        return self._decider.directory.failure_policy_of(tenant_id)

    @property
    def has_heir(self) -> bool:
        """Fenced because other slots have taken this one's calls over: it may start anew (SIP.md 5)."""
        return self._store.has_heir

    async def _succeed_gone(self) -> None:
        """Say the charges of slots and node names that the settings do not have any more, then take their calls over.

        In this order: a call that is over must not be found live by whoever takes it over.
        """
        node, workers = self._settings.node.name, self._settings.sip.workers

        def make(owner: Owner) -> CreditStore:
            return self._open_store(owner, lambda result: None, StoreObserver(alert=_alert))

        running = [f"{node}/{slot}" for slot in range(workers)]
        await say_for_gone(self._settings.data_dir, running, self._plan.instance, make)
        self._takeover.running = running

    def _tap_calls(self) -> Ladder | None:
        """Keep the messages of the latest calls where the settings want it; each call has two legs."""
        calls = self._settings.telemetry.ladder_calls
        if not calls:
            return None
        ladder = Ladder(2 * calls)
        self._turn.tap = LadderTap(ladder, self._clock.unix_ms)
        return ladder

    # the start

    async def start(self) -> None:
        """Hear SIP; a store or ledger that answers is waited for a moment, so that the first call is not refused.

        Calls that the last worker of this slot left are adopted before anything is heard (gateway.worker.takeover).
        Sets ``fenced`` where another live gate holds this node's name.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._garbage.begin()
        self._directory.start()
        beside = [self._beside(self._reach.find())]
        try:
            await self._store.start()
        except OwnerTakenError:
            self.fenced.set()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORES_WAIT_S):
                await self._directory.read.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_WAIT_S if self._directory.read.is_set() else 0):
                while self._store.up and not self._store.open:  # noqa: ASYNC110  once, at the start
                    await asyncio.sleep(STORE_POLL_S)
        self._peers.find_registrar = self._reach.targets.registrar
        beside.append(self._beside(self._peers.start()))
        adopted = await self._takeover.at_start()
        if adopted and not len(self._b2bua):
            await asyncio.gather(*beside)  # live calls, or a Redis that cannot say whether there are any, wait for none
        await self._transport.open()
        self._turn.may_speak = self._store.is_sure  # not while the slot may be another's (SIP.md 1)
        self.ledger_missed.clear()  # a ledger that was only slower than this start is no reason to go on without it
        self._clock.start()
        self._reach.watch()
        self._do(self._peers.begin)  # and what adopted calls have to say
        name = f"{self._settings.node.name}/{self._plan.slot}"
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(follow_orders(self._admin, name, self._perform, self._stopping)))
        self._tasks.append(loop.create_task(self._watch_version()))
        if self._plan.slot == 0:
            self._tasks.append(loop.create_task(self._succeed_gone()))
        self._tasks.append(loop.create_task(self._take_over(adopted)))
        self._tasks += [loop.create_task(each) for each in self._peers.tasks(self._stopping)]
        self._tick()
        self._garbage.settle_down()
        log.info("accepting calls", tenants=len(self._decider.directory.tenants), redis_up=self._store.up)

    def _beside(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do what a start does not stand still for: slow name servers must not delay the end of a paid minute."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    async def _take_over(self, adopted: bool) -> None:
        """The rest of this slot's own calls, then those of slots that are gone for good, as long as this one works."""
        if not adopted:
            await self._takeover.later()
        await self._takeover.of_others(self._stopping)

    # what happens rarely

    def _tick(self) -> None:
        """Twice a second: metrics, and whether this process may still own calls."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WRITE_INTERVAL_S, self._tick)
        if not len(self._b2bua):
            self._garbage.take_rest(self._clock.monotonic())
        self._traffic.count(self._endpoint.counts)
        self._strangers.tend()
        self._metrics.dropped(self._strangers.dropped | {"queue": self._transport.lost_datagrams}, self._strangers.bans)
        self._metrics.active(self._b2bua.census())
        self._metrics.exposure(self._store.exposure)
        # a rename may wait for the disk, and no call shall wait with it
        loop.run_in_executor(None, self._put_metrics, self._snapshot.document())
        if self._store.fenced:
            self.fenced.set()

    def _put_metrics(self, document: str) -> None:
        try:
            self._snapshot.put(document)
        except OSError as error:
            log.error("metrics not written", error=str(error))

    async def _watch_version(self) -> None:
        """Have the directory read when a newer version is published (SIP.md 2); twice a second."""
        while not self._stopping.is_set():
            with contextlib.suppress(StoreError):
                if await self._admin.directory_version() > self._decider.directory.version:
                    self._directory.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), VERSION_POLL_S)

    def write_ladders(self) -> None:
        """Leave the ladders of the latest calls in the data folder, for ``callgate trace``."""
        if self._ladder is None:
            return
        try:
            self._ladder.write(self._plan.ladder_file)
        except OSError as error:
            log.error("ladders not written", error=str(error))

    def _perform(self, order: Order) -> None:
        """Carry out one order of another process; each is harmless when repeated."""
        now = self._clock.monotonic()
        match order:
            case HangUp(call_id):
                self._b2bua.hang_up(call_id, now)
            case Funded(tenant_id):
                self._b2bua.funded(tenant_id, now)
            case Booked(call_ids):
                self._store.booked(call_ids)
            case DirectoryChanged():
                self._directory.look()
        self._turn.end(now)

    def _use_directory(self, directory: Directory) -> None:
        self._decider.directory = directory
        if directory.version != NEVER_READ:
            self.knows_tenants.set()
        self._garbage.keep()

    def _resolve(self, result: Result) -> None:
        self._turn.resolve(result)

    def _sure(self) -> None:
        log.warning("stood still for seconds; the slot is still ours")
        self._do(lambda now: None)

    def _after_deadlines(self, now: float) -> None:
        self._turn.end(now)

    def _store_up(self, up: bool) -> None:
        self._metrics.redis_up(up)
        if up:
            log.info("redis up")
        elif not self._stopping.is_set():
            log.error("redis away", doing="calls go on or end as the failure_policy of each tenant says")

    # the end

    async def drain(self) -> None:
        """Refuse new calls and wait for the live ones, at most drain_s; then end what is unanswered (SIP.md 5).

        Emergency calls are neither (CONTRACT 6): one that still rings is waited for until it is answered or over,
        which ring_timeout_s bounds.  What rings beyond that came when drain_s was over; with a stream of such calls a
        process that waited for the last of them would never end.
        """
        b2bua, sip = self._b2bua, self._settings.sip
        self._do(b2bua.drain)
        log.info("draining", calls=len(b2bua), at_most_s=sip.drain_s)
        await self._until_none(b2bua.__len__, sip.drain_s)
        self._do(b2bua.end_unanswered)
        if self._plan.cut_on_drain:
            self._do(b2bua.cut_ordinary)
            await self._until_none(b2bua.ordinary_calls, CUT_WAIT_S)
        if ringing := b2bua.unanswered_emergencies():
            log.warning("draining", emergency_calls_that_ring=ringing, at_most_s=sip.ring_timeout_s)
            await self._until_none(b2bua.unanswered_emergencies, sip.ring_timeout_s)
            self._do(b2bua.end_emergencies)

    def _do(self, act: Callable[[float], None]) -> None:
        now = self._clock.monotonic()
        act(now)
        self._turn.end(now)

    async def _until_none(self, left: Callable[[], int], within_s: float) -> None:
        """Wait until none of these calls is left, the time is over, or the end is wanted at once."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        while left() and loop.time() < until_s and not self._ending.now.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.now.wait(), EMPTY_POLL_S)

    async def stop(self) -> None:
        """Close everything; answered calls stay in Redis for the next process."""
        log.info("ending", calls_left=len(self._b2bua))
        if self._timer is not None:
            self._timer.cancel()
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reach.stop()
        self._clock.stop()
        # nobody is heard any more: a call that ended later would leave its charge nowhere
        self._turn.send = lambda flow, data: None
        await self._transport.close()
        await self._store.stop()
        await self._peers.close()
        await self._directory.stop()
        await self._admin.close()
        self._snapshot.remove()


def _anyone(host: str) -> bool:
    """May connect: an unknown source is answered with 403, not left standing at the door."""
    return True


def _alert(code: str, text: str) -> None:
    log.error("credit store alert", code=code, text=text)


def _identity(settings: Settings, sockets: Sockets) -> Identity:
    """What stands in Via and Contact, for each address family: the first own address of it, or what the settings say
    that peers see, and the ports.  An advertised address is that of its own family, a name is that of both."""
    families: dict[bool, dict[str, tuple[str, int]]] = {}
    for transport, socks in (("udp", sockets.own_udp), ("tcp", sockets.own_tcp), ("tls", sockets.own_tls)):
        for sock in socks:
            host, port = sock.getsockname()[:2]
            families.setdefault(":" in host, {}).setdefault(transport, (host, port))
    found: Identity | None = None
    for bound in reversed(families.values()):
        host, port = next(iter(bound.values()))
        ports = {transport: name[1] for transport, name in bound.items()}
        shown = _shown(host, settings.sip.advertise)
        found = Identity(shown, port, ports=ports, product=PRODUCT, other=found)
    assert found is not None, "the settings want at least one address"
    return found


def _shown(host: str, advertised: str) -> str:
    """The host that peers of this address' family are told."""
    try:
        other_family = (ip_address(advertised).version == 6) != (":" in host)
    except ValueError:  # a name, or nothing
        other_family = False
    return host if not advertised or (other_family and not ip_address(host).is_unspecified) else advertised


def _stranger_limits(settings: Settings) -> StrangerLimits:
    """The rates of all strangers are the gate's; each worker applies its part."""
    strangers = settings.sip.strangers
    workers = settings.sip.workers
    return StrangerLimits(
        strangers.messages_per_second,
        strangers.all_messages_per_second / workers,
        strangers.all_calls_per_second / workers,
        strangers.offences,
        strangers.ban_s,
    )


def _timers(settings: Settings) -> Timers:
    return Timers(t1=settings.sip.t1_s, t2=settings.sip.t2_s, t4=settings.sip.t4_s)


def _ceilings(settings: Settings) -> Ceilings:
    credit = settings.credit
    shares = credit.gates * settings.sip.workers
    return Ceilings(credit.failure_ceiling_micros, credit.failure_ceiling_total_micros, shares)


def _within_s(settings: CallSettings) -> int:
    """How long after its INVITE a call may still be paid for: the reservation's lease, then the longest call."""
    return int(settings.ring_timeout_s) + settings.lease_grace_s + settings.max_call_s


def _call_settings(settings: Settings) -> CallSettings:
    sip, credit = settings.sip, settings.credit
    return CallSettings(
        node=settings.node.name,
        tick_s=credit.tick_s,
        renew_lead_s=settings.renew_lead_s,
        max_call_s=sip.max_call_s,
        ring_timeout_s=float(sip.ring_timeout_s),
        target_timeout_s=float(sip.target_timeout_s),
        failover_s=float(sip.failover_s),
        session_expires_s=sip.session_expires_s,
        options_every_s=sip.options_every_s,
        lease_grace_s=credit.lease_grace_s,
        follow_redirects=sip.follow_redirects,
        forwarders=forwarders_of(settings),
        referrers=referrers_of(settings),
        announcing=announcing_of(settings),
        credentials=credentials_of(settings.trunk),
        guarded=guarded_of(settings.trunk),
        realm=sip.realm,
        terms=terms_of(settings.trunk),
    )
