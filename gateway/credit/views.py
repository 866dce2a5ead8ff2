"""What can be seen of the credit store from outside the hot path: accounts, live calls, the outbox, swept leases.

Amounts are micro-units of the tenant's currency, moments Unix milliseconds of Redis' clock unless said otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from policy.drawn import Minutes, Spent
from rating.tariff import Tariff


@dataclass(frozen=True, slots=True)
class AccountView:
    """One tenant's money in Redis (MONEY 1).

    ``applied_seq`` is the ledger sequence number of the last money-in that was applied; ``calls`` counts live calls;
    ``exists`` is False where Redis knows no balance of this tenant (all amounts are 0 then).
    """

    tenant_id: str
    balance_micros: int
    held_micros: int
    applied_seq: int
    calls: int
    exists: bool

    @property
    def available_micros(self) -> int:
        """Balance minus everything held."""
        return self.balance_micros - self.held_micros


@dataclass(frozen=True, slots=True)
class Counters:
    """What a tenant's pools and limits have given (gateway/credit/scripts/lib/drawn.lua names the fields).

    ``used`` and ``held`` are minutes by pool and month, ``spent`` micro-units by ``SCOPE/PERIOD`` and label, reserved
    and spent together, ``live`` calls by scope, ``closed`` when a range was closed, Unix ms, by range and day.
    """

    used: Mapping[tuple[str, str], int] = field(default_factory=dict)
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    spent: Mapping[tuple[str, str], int] = field(default_factory=dict)
    live: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """Outcome of a money-in: ``applied`` is False where its sequence number had been applied before."""

    applied: bool
    balance_micros: int
    held_micros: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Outcome of a money-out: ``taken_micros`` was within what was asked for and what was available, perhaps 0.

    ``epoch`` is the one it was taken in: the ledger books it only while that lasts (MONEY 6).
    """

    taken_micros: int
    balance_micros: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Released:
    """A spending limit that was released: what was taken off its counter now, and in this period altogether."""

    micros: int
    total_micros: int


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that is neither settled nor released; ``usage`` is its record as far as it was known at the INVITE.

    ``answered_ms`` is the gate's Unix clock, 0 before the answer.  ``paid_s`` is None where nobody pays.
    ``lease_ms`` is the end of the lease by Redis' clock.
    """

    call_id: str
    tenant_id: str
    owner: str
    generation: int
    answered_ms: int
    tick: int
    paid_s: int | None
    proven_s: int
    held_micros: int
    lease_ms: int
    tariff: Tariff | None
    usage: bytes
    adoption: bytes
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call as a rebuild finds it in Redis: what it holds in micro-units, what it has drawn beside (policy.drawn)."""

    partition: int
    call_id: str
    tenant_id: str
    held_micros: int
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class SaidCharge:
    """A charge that a worker made before a rebuild and has said again: the ledger may have it (MONEY 6)."""

    partition: int
    call_id: str
    tenant_id: str
    charge_micros: int


@dataclass(frozen=True, slots=True)
class BookedCall:
    """A call whose charge the ledger has: over, or (``swept``) charged by a sweep up to ``talk_s`` and not beyond."""

    partition: int
    call_id: str
    tenant_id: str
    swept: bool = False
    charge_micros: int = 0
    talk_s: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a rebuild sets an account to; ``seq`` is the ledger's last sequence number, which the balance is as of."""

    tenant_id: str
    balance_micros: int
    held_micros: int
    calls: int
    seq: int


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One line of a partition's outbox: a charge (or a free or withdrawn one) on its way to the ledger.

    ``charge_id`` is unique for ever: the call id, the id of the withdrawal, or ``CALL:late`` for what was proven after
    the call was swept (MONEY 5). ``charge_micros`` is what left the balance. ``record`` is the call record as JSON
    (gateway.call.record), of a withdrawal whatever was given to it, of a ``broken`` entry, which cannot be read, all
    its fields as they are. ``owner`` names the worker ``node/slot`` that keeps the charge until it is told that it is
    booked; empty where none does.  ``minutes`` were used of pools, and ``spent`` counts against spending limits.
    """

    partition: int
    entry_id: str
    kind: Literal["settle", "release", "sweep", "withdraw", "broken"]
    charge_id: str
    tenant_id: str
    charge_micros: int
    record: bytes
    owner: str
    minutes: tuple[Minutes, ...] = ()
    spent: tuple[Spent, ...] = ()

    @property
    def at_unix_ms(self) -> int:
        """When it was written, by Redis' clock."""
        return int(self.entry_id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How far the ledger is behind: entries waiting, and when the oldest was written (None: nothing waits)."""

    pending: int
    oldest_unix_ms: int | None


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """One refused call, or a counted row of many (the record's ``count``); these may be dropped under load."""

    partition: int
    entry_id: str
    tenant_id: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Swept:
    """A lease that ran out: the call was closed and charged up to its last proven moment (MONEY 5).

    ``alert`` is not empty where the call could not be closed: the invariant that would have broken.
    """

    call_id: str
    tenant_id: str
    charge_micros: int
    alert: str = ""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A claimed worker slot; ``alive`` while its claim is fresh by Redis' clock."""

    node: str
    slot: int
    epoch: int
    alive: bool

    @property
    def name(self) -> str:
        """``node/slot``, as it stands in calls and in the names of order streams."""
        return f"{self.node}/{self.slot}"
