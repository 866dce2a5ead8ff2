"""The ledger: the truth about money (MONEY), and the directory of tenants, users, numbers and decks.

Loud room over SQLAlchemy and Alembic, on SQLite and PostgreSQL alike.  Its one door is :class:`Ledger`.
"""

from gateway.ledger.audit import Act
from gateway.ledger.counters import PoolUse, is_over
from gateway.ledger.engine import SQLITE_FILE, ledger_url
from gateway.ledger.entries import (
    FUNDING_KINDS,
    WITHDRAWAL_KINDS,
    Booked,
    BookedBatch,
    BookedCharge,
    BrokenEntry,
    CallEntry,
    ChainVerdict,
    Change,
    DeckVersion,
    Entry,
    FundingKind,
    Head,
    LedgerAccount,
    MoneyIn,
    Posting,
    Source,
    Totals,
    WithdrawalEntry,
)
from gateway.ledger.errors import (
    AmountRefused,
    BelowMinimum,
    EpochPassed,
    LedgerAway,
    LedgerBehind,
    LedgerError,
    LedgerRefused,
    NotEnoughAvailable,
    PartitionsFixed,
    ProvisioningRefused,
    RebuildHeld,
    ReferenceConflict,
    RegionMismatch,
    UnknownPayment,
    UnknownTenant,
)
from gateway.ledger.funding import check_reason
from gateway.ledger.heads import HeadFiles, HeadsError, kept_hashes
from gateway.ledger.ledger import Ledger
from gateway.ledger.lots import LotFault, LotView
from gateway.ledger.payments import Payment, PaymentState, Recharging, Settled
from gateway.ledger.recharging import Kept

__all__ = [
    "FUNDING_KINDS",
    "SQLITE_FILE",
    "WITHDRAWAL_KINDS",
    "Act",
    "AmountRefused",
    "BelowMinimum",
    "Booked",
    "BookedBatch",
    "BookedCharge",
    "BrokenEntry",
    "CallEntry",
    "ChainVerdict",
    "Change",
    "DeckVersion",
    "Entry",
    "EpochPassed",
    "FundingKind",
    "Head",
    "HeadFiles",
    "HeadsError",
    "Kept",
    "Ledger",
    "LedgerAccount",
    "LedgerAway",
    "LedgerBehind",
    "LedgerError",
    "LedgerRefused",
    "LotFault",
    "LotView",
    "MoneyIn",
    "NotEnoughAvailable",
    "PartitionsFixed",
    "Payment",
    "PaymentState",
    "PoolUse",
    "Posting",
    "ProvisioningRefused",
    "RebuildHeld",
    "Recharging",
    "ReferenceConflict",
    "RegionMismatch",
    "Settled",
    "Source",
    "Totals",
    "UnknownPayment",
    "UnknownTenant",
    "WithdrawalEntry",
    "check_reason",
    "is_over",
    "kept_hashes",
    "ledger_url",
]
