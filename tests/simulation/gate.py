"""One gate of a simulation: the parts of a worker, put together as gateway.worker.worker does, on simulated networks.

Endpoint, call machine, turn, clock, keeper, store and its tie are the real ones.  What is left out is what has no part
in a call: the directory (a fixed verdict for each number), metrics, sockets.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from gateway.call.b2bua import B2bua
from gateway.call.settings import CallSettings
from gateway.credit.store import CreditStore, Owner, StoreObserver
from gateway.sip.deadlines import Deadlines
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import Flow
from gateway.sip.message import Request
from gateway.transport.clock import Clock
from gateway.worker.facts import FactCounter
from gateway.worker.takeover import Takeover
from gateway.worker.turn import Turn
from policy.verdict import Verdict
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Address, Cable, Network

PARTITIONS = 2
UNIX_START_S = 1_700_000_000.0

TAKEOVER_AFTER_S = 5.0
"""Another gate takes over that long after a claim ran out: before the leases do (lease_grace_s)."""

STORE_WAIT_S = 2.0
"""As long as a worker waits at its start for a Redis that is up to be open."""


class Facts:
    """Counts nothing, but is told everything: the metrics of a gate nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object) -> None:
        pass


class SimGate:
    """A gate at ``address`` with a way of its own to Redis; ``verdict`` decides each INVITE.

    :meth:`kill` is kill -9, :meth:`start` a new process, which adopts the calls of the one before.  ``proven`` are the
    calls that died with a process after their first renewal: whoever closes them must charge them for some talk.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        cable: Cable,
        dice: random.Random,
        node: str,
        address: Address,
        verdict: Callable[[Request, Flow, float], Verdict],
        settings: CallSettings,
    ) -> None:
        self._loop, self._network, self._dice, self._verdict = loop, network, dice, verdict
        self.node, self.address, self.settings, self.cable = node, address, settings, cable
        self.proven: set[str] = set()
        self.alerts: list[tuple[str, str]] = []
        self.alive = self.stalled = self.replaced = False
        self.faults = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """A new process: nothing of the old one is left but its name."""
        loop, deadlines = self._loop, Deadlines()
        self.clock = Clock(
            deadlines, lambda now: self.turn.end(now), monotonic=loop.time,
            wall_s=lambda: UNIX_START_S + loop.time(),
        )  # fmt: skip
        self.endpoint = Endpoint(Identity(*self.address), deadlines, self._token)
        self.b2bua = B2bua(
            self.endpoint, deadlines, self._verdict, self.settings, self.clock.unix_ms, self._token, self._token
        )
        self.store = CreditStore(
            "redis://10.0.0.9:6379", Owner(self.node, 0, self.node), lambda result: self.turn.resolve(result),
            partitions=PARTITIONS, lease_grace_s=self.settings.lease_grace_s, takeover_after_s=TAKEOVER_AFTER_S,
            observer=StoreObserver(alert=lambda code, text: self.alerts.append((code, text))),
        )  # fmt: skip
        self.turn = Turn(
            self.endpoint, self.b2bua, monotonic=loop.time, submit=self.store.submit,
            note=FactCounter(Facts()), arm=self.clock.arm, soon=loop.call_soon,  # type: ignore[arg-type]
        )  # fmt: skip
        deadlines.on_fault, self.b2bua.on_fault = self._fault, self._fault
        self.turn.send = self._send
        self._hears = False
        self.turn.may_speak = lambda now: self._hears and self.store.is_sure(now)
        self.alive, self.stalled = True, False
        self._network.leave(self.address)
        self._takeover = Takeover(self.store, self.b2bua, loop.time, self.turn.end)
        self._tasks = [loop.create_task(self._begin())]

    async def _begin(self) -> None:
        """As gateway.worker.worker.Worker.start: adopt before anything is heard, the rest when Redis is there."""
        loop, store = self._loop, self.store
        await store.start()
        until_s = loop.time() + STORE_WAIT_S
        while store.up and not store.open and loop.time() < until_s:
            await asyncio.sleep(0.05)
        adopted = await self._takeover.at_start()
        self._hears = True
        self._network.hold(self.address, self._hear)
        self.clock.start()
        self.turn.end(loop.time())
        if not adopted:
            self._tasks.append(loop.create_task(self._takeover.later()))
        self._tasks.append(loop.create_task(self._takeover.of_others(asyncio.Event())))

    def _send(self, flow: Flow, data: bytes) -> None:
        if self.replaced:
            raise AssertionError(f"{self.node} speaks although a newer process has its slot: {data[:60]!r}")
        self._network.send(self.address, flow, data)

    def kill(self) -> None:
        """The process is gone: it says nothing more and hears nothing more."""
        self.alive = False
        self.faults += self.turn.faults
        self.proven |= {call_id for call_id, live in self.store._keeper.live.items() if live.tick > 0 and live.proven_s}
        if not self.replaced:
            self._network.leave(self.address)
        self.clock.stop()
        self.turn.send = lambda flow, data: None
        tie = self.store._tie
        tie._on_check = lambda now: None
        for task in (*self._tasks, *(node.task for node in tie._nodes.values())):
            if task is not None:
                task.cancel()
        if tie._timer is not None:
            tie._timer.cancel()
        if tie.link is not None:
            tie.up = False
            tie.up_links = ()
            tie.link.lost = True

    @property
    def is_up(self) -> bool:
        """It hears and acts, and the slot is its own: only then every cut must come at its moment."""
        return self.alive and self._hears and not self.stalled and not self.replaced

    def stall(self, seconds: float) -> None:
        """The process is stopped for so long (SIGSTOP): its timers, its socket and Redis' answers wait."""
        if self._hears and not self.stalled:
            self.stalled = self.cable.unread = True
            self._network.leave(self.address)
            self.clock.stop()
            tie = self.store._tie
            if tie._timer is not None:
                tie._timer.cancel()
            self._loop.call_later(seconds, self._go_on, self.clock)

    def _go_on(self, clock: Clock) -> None:
        self.cable.read_on()
        if not self.alive or clock is not self.clock:
            return  # it was killed meanwhile
        self.stalled = False
        clock.start()
        if not self.replaced:
            self._network.hold(self.address, self._hear)
        self.turn.end_turn()
        self.store._tie._check()

    def _hear(self, data: bytes, flow: Flow) -> None:
        self.turn.hear(data, flow)
        self.turn.end_turn()

    def _fault(self, fault: Exception, now: float) -> None:
        raise fault

    def _token(self) -> str:
        return f"{self._dice.getrandbits(64):016x}"
