"""What the supervisor tells a process it starts, and how: one pickled plan on its standard input.

The plan and not the settings file is read, so that a worker restarted after a crash runs with the settings that the
gate was started with, whatever the file says by then.  Standard input stays open: its end means that the supervisor
is gone, and the process ends too, since nobody would restart it or free its ports.  On standard output the process
writes one line, ``ready``, when it does its work.
"""

import pickle
import socket
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

from gateway.config.settings import Settings
from gateway.transport.handoff import LiveSlots
from gateway.transport.transport import Sockets

RUN_FOLDER: Final = "run"
"""The folder in the data folder for what only matters while the gate runs."""

READY: Final = "ready"
"""The line a process writes when it does its work."""

GIVEN_UP: Final = 3
"""Exit status of a process that must not be started again: another gate holds its name (SIP.md 1)."""

START_ANEW: Final = 4
"""Exit status of a worker whose calls others have taken over: its next start may have the slot again (SIP.md 5)."""

PLAN_BYTES_MAX: Final = 16 * 1024 * 1024
"""The settings of a thousand trunks with a thousand entries each, pickled."""

_LENGTH: Final = struct.Struct("!I")

Role = Literal["worker", "settler", "admin"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one process needs to know; sockets are the numbers of inherited descriptors.

    ``instance`` is the installation's own text (credit.store.Owner); ``live`` the page of live slots.  A worker with
    ``cut_on_drain`` hangs its calls up at a drain's end instead of leaving them to the next process.
    """

    role: Role
    settings: Settings
    redis_url: str = field(repr=False)
    ledger_url: str = field(repr=False)
    instance: str
    cut_on_drain: bool = False
    slot: int = 0
    own_udp: tuple[int, ...] = ()
    own_tcp: tuple[int, ...] = ()
    own_tls: tuple[int, ...] = ()
    shared_udp: tuple[int, ...] = ()
    shared_tcp: tuple[int, ...] = ()
    shared_tls: tuple[int, ...] = ()
    live: int | None = None
    inbox: int | None = None
    outboxes: dict[int, int] = field(default_factory=dict)
    admin: int | None = None

    @property
    def metrics_dir(self) -> Path:
        """Where each process writes what it counted."""
        return self.settings.data_dir / RUN_FOLDER / "metrics"

    @property
    def ready_file(self) -> Path:
        """Where a worker that accepts calls leaves its process id, for ``/readyz``."""
        return ready_file(self.settings.data_dir, self.slot)

    @property
    def ladder_file(self) -> Path:
        """Where a worker leaves the ladders of its latest calls when it gets SIGUSR1."""
        return self.settings.data_dir / RUN_FOLDER / f"ladder-{self.slot}.json"

    def of(self, role: Role, *, admin: int | None = None) -> "Plan":
        """The same plan for another role; ``admin`` is the descriptor of the admin listener."""
        return replace(self, role=role, admin=admin)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor the process inherits."""
        named = [fd for fd in (self.live, self.inbox, self.admin) if fd is not None]
        own, shared = (
            (*self.own_udp, *self.own_tcp, *self.own_tls),
            (*self.shared_udp, *self.shared_tcp, *self.shared_tls),
        )
        return (*own, *shared, *named, *self.outboxes.values())

    def sockets(self) -> Sockets:
        """The inherited sockets of a worker, opened in this process."""
        return Sockets(
            slot=self.slot,
            own_udp=_opened(self.own_udp),
            own_tcp=_opened(self.own_tcp),
            own_tls=_opened(self.own_tls),
            shared_udp=_opened(self.shared_udp),
            shared_tcp=_opened(self.shared_tcp),
            shared_tls=_opened(self.shared_tls),
            live=None if self.live is None else LiveSlots(self.live, self.settings.sip.workers),
            inbox=None if self.inbox is None else socket.socket(fileno=self.inbox),
            outboxes={slot: socket.socket(fileno=fd) for slot, fd in self.outboxes.items()},
        )


def _opened(descriptors: tuple[int, ...]) -> list[socket.socket]:
    return [socket.socket(fileno=fd) for fd in descriptors]


def ready_file(data_dir: Path, slot: int) -> Path:
    """Where the worker of a slot leaves its process id while it accepts calls."""
    return data_dir / RUN_FOLDER / f"ready-{slot}"


def encode_plan(plan: Plan) -> bytes:
    """The plan as it goes into a process's standard input."""
    pickled = pickle.dumps(plan)
    return _LENGTH.pack(len(pickled)) + pickled


def read_plan(stream: BinaryIO) -> Plan:
    """Read the plan; raises ValueError where the stream ends early or holds something else."""
    head = stream.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    if not 0 < length <= PLAN_BYTES_MAX:
        raise ValueError("no plan on standard input: this program is started by `callgate serve`, not by hand")
    pickled = stream.read(length)
    if len(pickled) != length:
        raise ValueError("the plan on standard input ends early: the supervisor is gone")
    plan = pickle.loads(pickled)  # noqa: S301  written by our own supervisor into our own pipe
    if not isinstance(plan, Plan):
        raise ValueError("what came on standard input is no plan")
    return plan
