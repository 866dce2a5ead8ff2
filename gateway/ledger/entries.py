"""The values that go into the ledger and come out of it.

Amounts are micro-units of the tenant's one currency, moments Unix milliseconds.  In: an :class:`Entry` is what one
message of the outbox wants booked.  Out: plain frozen rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from policy.drawn import Minutes, Spent

FundingKind = Literal["manual", "adjustment", "refund", "recharge", "expiry"]
FUNDING_KINDS: tuple[FundingKind, ...] = ("manual", "adjustment", "refund")
"""What a person may book; recharges come from payments, expiries from lots."""

WITHDRAWAL_KINDS: tuple[FundingKind, ...] = ("adjustment", "expiry")
"""What Redis gives up first."""


@dataclass(frozen=True, slots=True)
class CallEntry:
    """A call is over: book its charge (≥ 0; 0 books no posting) and keep its record.

    ``charge_id`` is unique for ever: the call id, or ``CALL:late`` (MONEY 5).  ``record`` is the call record as JSON
    (gateway.call.record).  ``origin`` says where the entry came from (partition and stream id), for an alert.
    ``minutes`` were used of pools, ``spent`` counts against spending limits.
    """

    charge_id: str
    tenant_id: str
    charge_micros: int
    record: bytes
    origin: str = ""
    minutes: tuple[Minutes, ...] = ()
    spent: tuple[Spent, ...] = ()


@dataclass(frozen=True, slots=True)
class WithdrawalEntry:
    """Money that Redis has already given up (MONEY 4): book ``amount_micros`` > 0 out of the tenant's account.

    ``kind`` is one of WITHDRAWAL_KINDS; ``reference`` is unique for the tenant.  ``actor`` and ``reason`` say who did
    it and why.  ``lot`` is the lot that an expiry forfeits, 0 of anything else.
    """

    reference: str
    tenant_id: str
    amount_micros: int
    kind: FundingKind = "adjustment"
    actor: str = ""
    origin: str = ""
    reason: str = ""
    lot: int = 0


@dataclass(frozen=True, slots=True)
class BrokenEntry:
    """An outbox message nobody could read: kept as it came, so that a person can look at it."""

    origin: str
    payload: bytes
    why: str
    tenant_id: str = ""


Entry = CallEntry | WithdrawalEntry | BrokenEntry


@dataclass(frozen=True, slots=True)
class BookedBatch:
    """What became of a batch; every entry given is in exactly one of the three, so all may be acknowledged.

    ``booked`` and ``repeated`` (it was there already) count entries; ``set_aside`` holds the poison with its reason.
    """

    booked: int
    repeated: int
    set_aside: tuple[BrokenEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Booked:
    """A funding in the ledger.  ``repeated``: this reference had been booked before, nothing moved now."""

    tenant_id: str
    seq: int
    amount_micros: int
    balance_micros: int
    reference: str
    kind: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Posting:
    """One ledger line of a tenant: ``balance_micros`` is the running balance after it, ``seq`` counts from 1.

    ``account`` is the account on the other side, which moved by the same amount the other way.
    """

    seq: int
    at_ms: int
    kind: str
    amount_micros: int
    balance_micros: int
    account: str
    reference: str
    call_id: str

    @property
    def id(self) -> str:
        """The line's name within its tenant."""
        return str(self.seq)


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """A tenant's account as the ledger has it: ``seq`` of its last posting, ``money_in_seq`` of its last money in."""

    tenant_id: str
    balance_micros: int
    seq: int
    money_in_seq: int
    currency: str
    mode: str
    credit_limit_micros: int


@dataclass(frozen=True, slots=True)
class MoneyIn:
    """A funding that Redis has to be told of, once, by its sequence number (MONEY 4)."""

    tenant_id: str
    seq: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class BookedCharge:
    """What the ledger charged for a call, and the talk that was for, in milliseconds."""

    charge_micros: int
    talk_ms: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a batch of entries was read: ``epoch`` of Redis, and of each partition the last outbox entry seen."""

    epoch: int
    marks: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain at some moment: number and hash of its last line."""

    tenant_id: str
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What checking a tenant's hash chain found.  ``broken_seq`` is the first line that is wrong, ``why`` says how.

    ``proved_seq`` is the last line that a head kept outside the database proves; 0 where none was kept.
    ``missing_records`` counts charges whose call record is gone, which breaks no chain.
    """

    tenant_id: str
    length: int
    head: bytes
    broken_seq: int | None = None
    why: str = ""
    proved_seq: int = 0
    missing_records: int = 0

    @property
    def intact(self) -> bool:
        """True where every line is as it was booked."""
        return self.broken_seq is None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the ledger's tables say of one tenant in one snapshot; the audit compares them (MONEY 1).

    ``postings_micros`` is the sum of all postings, ``charged_micros`` that of the charges among them (≥ 0),
    ``records_micros`` the sum over the call records, ``accounts_micros`` the sum over all the tenant's accounts (0).
    """

    tenant_id: str
    balance_micros: int
    postings_micros: int
    charged_micros: int
    records_micros: int
    accounts_micros: int


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that provisioning added, changed or removed.  ``fields`` names what differs of a changed one.

    ``before`` and ``after`` are for the audit log: how the rows stood, of a changed one only what differs.
    """

    action: Literal["added", "changed", "removed"]
    what: Literal["tenant", "user", "service number", "rate deck", "unassigned", "admin"]
    name: str
    tenant_id: str = ""
    fields: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    after: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        owner = f" of {self.tenant_id}" if self.tenant_id and self.tenant_id != self.name else ""
        fields = f": {', '.join(self.fields)}" if self.fields else ""
        return f"{self.action} {self.what} {self.name}{owner}{fields}"


@dataclass(frozen=True, slots=True)
class DeckVersion:
    """One version of a rate deck in the ledger; ``in_use`` is true for the one that prices calls now."""

    name: str
    version: int
    currency: str
    rows: int
    sha256: str
    loaded_ms: int
    effective_from_ms: int
    in_use: bool
