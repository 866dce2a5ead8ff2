"""One gate of a simulation: the parts of a worker, put together as gateway.worker.worker does, on simulated networks.

Endpoint, call machine, turn, clock, keeper, store and its tie are the real ones.  What is left out is what has no part
in a call: the directory (a fixed verdict for each number), metrics, sockets.
"""

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
from gateway.worker.turn import Turn
from policy.verdict import Verdict
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Address, Cable, Network

PARTITIONS = 2
UNIX_START_S = 1_700_000_000.0


class Facts:
    """Counts nothing, but is told everything: the metrics of a gate nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object) -> None:
        pass


class SimGate:
    """A gate at ``address`` with a way of its own to Redis; ``verdict`` decides each INVITE.

    :meth:`kill` is kill -9, :meth:`start` a new process.  ``proven`` are the calls that died with a process after their
    first renewal: the sweep must charge them for some talk.
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
        self.alive = self.stalled = False

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
            partitions=PARTITIONS, lease_grace_s=self.settings.lease_grace_s,
            observer=StoreObserver(alert=lambda code, text: self.alerts.append((code, text))),
        )  # fmt: skip
        self.turn = Turn(
            self.endpoint, self.b2bua, monotonic=loop.time, submit=self.store.submit, flush=self.store.flush,
            note=FactCounter(Facts()), arm=self.clock.arm,  # type: ignore[arg-type]
        )  # fmt: skip
        deadlines.on_fault, self.b2bua.on_fault = self._fault, self._fault
        self.turn.send = lambda flow, data: self._network.send(self.address, flow, data)
        self.alive, self.stalled = True, False
        self._unheard: list[tuple[bytes, Flow]] = []
        self._network.holders[self.address] = self._hear
        self.starting = loop.create_task(self.store.start())
        loop.call_soon(self.clock.start)

    def kill(self) -> None:
        """The process is gone: it says nothing more and hears nothing more."""
        self.alive = False
        self.proven |= {call_id for call_id, live in self.store._keeper.live.items() if live.tick > 0 and live.proven_s}
        self._network.holders.pop(self.address, None)
        self.clock.stop()
        self.turn.send = lambda flow, data: None
        tie = self.store._tie
        tie._on_check = lambda now: None
        for task in (self.starting, tie._task):
            if task is not None:
                task.cancel()
        if tie._timer is not None:
            tie._timer.cancel()
        if tie.link is not None:
            tie.up = False
            tie.link.lost = True

    def stall(self, seconds: float) -> None:
        """Hear and do nothing for so long; then all at once."""
        self.stalled = True
        self.clock.stop()
        self._loop.call_later(seconds, self._go_on, self.clock)

    def _go_on(self, clock: Clock) -> None:
        if not self.alive or clock is not self.clock:
            return  # it was killed meanwhile
        self.stalled = False
        clock.start()
        unheard, self._unheard = self._unheard, []
        for data, flow in unheard:
            self._hear(data, flow)

    def _hear(self, data: bytes, flow: Flow) -> None:
        if self.stalled:
            self._unheard.append((data, flow))
            return
        self.turn.hear(data, flow)
        self.turn.end_turn()

    def _fault(self, fault: Exception, now: float) -> None:
        raise fault

    def _token(self) -> str:
        return f"{self._dice.getrandbits(64):016x}"
