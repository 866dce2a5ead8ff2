"""The ledger of a simulation: each tenant's postings in their order, in memory; and what a settler asks of a ledger.

The settler, the rebuild and the drift watch that run over it are the real ones; what the tables of a real ledger
promise (one sequence for money in and charges, an id booked once, nothing booked for an epoch that has passed) is kept
here in a few lines.  ``away``: it cannot be reached, as gateway.ledger says it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.call.record import decode_record
from gateway.ledger import (
    BookedBatch,
    BookedCharge,
    Entry,
    EpochPassed,
    LedgerAccount,
    LedgerAway,
    LotView,
    MoneyIn,
    RebuildHeld,
    Source,
)
from gateway.ledger.entries import CallEntry, WithdrawalEntry
from gateway.ledger.rebuilding import LOCK_MS
from policy.directory import Tenant
from policy.drawn import Minutes, Spent


@dataclass(frozen=True, slots=True)
class Booked:
    """One charge; ``talk_s`` is what a sweep charged for, ``answered_ms`` when that call was answered."""

    tenant: str
    micros: int
    record: bytes
    kind: str
    talk_s: int
    answered_ms: int = 0


@dataclass
class SimLedger:
    """Postings (money in above 0, charges at or below) of each tenant, and what was booked, by charge id."""

    postings: dict[str, list[int]] = field(default_factory=dict)
    money_in: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Of each tenant the sequence number and the amount of each funding."""
    booked: dict[str, Booked] = field(default_factory=dict)
    counters: dict[str, Counter[str]] = field(default_factory=dict)

    def open(self, tenants: Sequence[str]) -> "SimLedger":
        """Tenants who have paid nothing yet."""
        self.postings = {tenant: [] for tenant in tenants}
        self.money_in = {tenant: [] for tenant in tenants}
        return self

    def fund(self, tenant: str, micros: int) -> None:
        """Money comes in under the next number."""
        self.postings[tenant].append(micros)
        self.money_in[tenant].append((len(self.postings[tenant]), micros))

    def charge(self, charge_id: str, charge: Booked) -> bool:
        """Book a charge; False where it is booked already."""
        if charge_id in self.booked:
            return False
        self.booked[charge_id] = charge
        if charge.micros:
            self.postings[charge.tenant].append(-charge.micros)
        return True

    def count(self, tenant: str, minutes: Iterable[Minutes], spent: Iterable[Spent]) -> None:
        """What a charge that is booked used of pools and counts against limits, under the names in Redis."""
        counters = self.counters.setdefault(tenant, Counter())
        for pool, month, much in minutes:
            counters[f"used {pool} {month}"] += much
        for scope, label, micros in spent:
            counters[f"spent {scope} {label}"] += micros

    def balance(self, tenant: str) -> int:
        """Micro-units that the tenant has."""
        return sum(self.postings[tenant])

    def funded(self, tenant: str, applied: int) -> int:
        """What came in up to this number."""
        return sum(micros for seq, micros in self.money_in[tenant] if seq <= applied)


class Books:
    """What ``gateway.settlement`` asks of a ledger, over a :class:`SimLedger`; ``now_s`` is its clock."""

    def __init__(self, ledger: SimLedger, now_s: Callable[[], float]) -> None:
        self._ledger, self._now_s = ledger, now_s
        self.away = False
        self._epoch = 0
        self._holder, self._until_s = "", 0.0
        self._marks: dict[int, str] = {}

    def _reach(self) -> SimLedger:
        if self.away:
            raise LedgerAway("the ledger is away", "wait")
        return self._ledger

    async def migrate(self) -> None:
        self._reach()

    async def directory_version(self) -> int:
        self._reach()
        return 1

    async def announce_due_decks(self) -> int:
        self._reach()
        return 1

    @property
    def epoch(self) -> int:
        """The highest epoch ever begun."""
        return self._epoch

    # accounts and money

    async def account(self, tenant_id: str) -> LedgerAccount:
        return (await self.accounts([tenant_id]))[0]

    async def accounts(self, tenant_ids: Collection[str] | None = None) -> list[LedgerAccount]:
        ledger = self._reach()
        return [
            LedgerAccount(
                tenant, ledger.balance(tenant), len(ledger.postings[tenant]),
                max((seq for seq, _ in ledger.money_in[tenant]), default=0), "USD", "prepaid", 0,
            )
            for tenant in (ledger.postings if tenant_ids is None else tenant_ids)
        ]  # fmt: skip

    async def money_in_after(self, tenant_id: str, seq: int) -> list[MoneyIn]:
        return [
            MoneyIn(tenant_id, number, micros) for number, micros in self._reach().money_in[tenant_id] if number > seq
        ]

    async def recent_withdrawals(self, _window_ms: int) -> list[WithdrawalEntry]:
        self._reach()
        return []

    async def open_counters(self) -> dict[str, dict[str, int]]:
        return {tenant: dict(counters) for tenant, counters in self._reach().counters.items()}

    async def open_minutes(self) -> dict[str, dict[str, int]]:
        return await self.open_counters()

    async def tenants(self) -> list[Tenant]:
        """None whose pools are watched."""
        self._reach()
        return []

    async def warn_of_lots(self) -> None:
        self._reach()

    async def expired_lots(self, _late_ms: int, _after: LotView | None = None) -> list[LotView]:
        """No money of a story is a year old."""
        self._reach()
        return []

    async def forget_spent(self) -> None:
        self._reach()

    async def forget_notices(self, _keep_days: int) -> int:
        """No story lasts so long."""
        self._reach()
        return 0

    async def tenants_charged(self, tenant_ids: Collection[str]) -> set[str]:
        ledger = self._reach()
        return {tenant for tenant in tenant_ids if any(micros < 0 for micros in ledger.postings[tenant])}

    # charges

    async def book(self, entries: Sequence[Entry], source: Source | None = None) -> BookedBatch:
        ledger = self._reach()
        if source is not None and source.epoch != self._epoch:
            raise EpochPassed(f"Redis has left epoch {source.epoch}", "read its outbox again")
        booked = 0
        for entry in entries:
            assert isinstance(entry, CallEntry), entry
            charge = Booked(entry.tenant_id, entry.charge_micros, entry.record, "settle", 0)
            if ledger.charge(entry.charge_id, charge):
                booked += 1
                ledger.count(entry.tenant_id, entry.minutes, entry.spent)
        if source is not None:
            self._marks |= source.marks
        return BookedBatch(booked, len(entries) - booked)

    async def charges(self, charge_ids: Collection[str]) -> dict[str, BookedCharge]:
        booked = self._reach().booked
        return {
            charge_id: BookedCharge(booked[charge_id].micros, decode_record(booked[charge_id].record).talk_ms)
            for charge_id in charge_ids
            if charge_id in booked
        }

    async def booked_charges(self, charge_ids: Collection[str]) -> set[str]:
        return set(charge_ids) & self._reach().booked.keys()

    async def has_reference(self, _tenant_id: str, _reference: str) -> bool:
        return False

    async def outbox_marks(self) -> dict[int, str]:
        self._reach()
        return dict(self._marks)

    # the rebuild's lock

    async def redis_epoch(self) -> int:
        self._reach()
        return self._epoch

    async def adopt_epoch(self, number: int) -> None:
        self._reach()
        self._epoch = max(self._epoch, number)

    async def begin_rebuild(self, holder: str, at_least: int) -> int:
        self._reach()
        if self._holder not in {"", holder} and self._now_s() < self._until_s:
            raise RebuildHeld(f"Redis is being rebuilt by {self._holder}", "look again in a moment")
        self._holder, self._epoch = holder, max(self._epoch, at_least) + 1
        await self.renew_rebuild(holder, self._epoch)
        return self._epoch

    async def renew_rebuild(self, holder: str, number: int) -> None:
        self._reach()
        if (holder, number) != (self._holder, self._epoch):
            raise RebuildHeld("another rebuild has begun", "look again in a moment")
        self._until_s = self._now_s() + LOCK_MS / 1000

    async def end_rebuild(self, holder: str, number: int) -> None:
        await self.renew_rebuild(holder, number)
        self._holder = ""
