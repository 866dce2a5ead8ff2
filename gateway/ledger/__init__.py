"""The ledger: the truth about money (MONEY), and the directory of tenants, users, numbers and decks.

Loud room over SQLAlchemy and Alembic, on SQLite and PostgreSQL alike.  Its one door is :class:`Ledger`.
"""

from gateway.ledger.audit import Act
from gateway.ledger.counters import PoolUse, is_over
from gateway.ledger.engine import SQLITE_FILE, ledger_url
from gateway.ledger.entries import (
    FUNDING_KINDS,
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
    EpochPassed,
    LedgerAway,
    LedgerError,
    LedgerRefused,
    NotEnoughAvailable,
    PartitionsFixed,
    ProvisioningRefused,
    RebuildHeld,
    ReferenceConflict,
    UnknownTenant,
)
from gateway.ledger.funding import check_reason
from gateway.ledger.heads import HeadFiles, HeadsError, kept_hashes
from gateway.ledger.ledger import Ledger

__all__ = [
    "FUNDING_KINDS",
    "SQLITE_FILE",
    "Act",
    "AmountRefused",
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
    "Ledger",
    "LedgerAccount",
    "LedgerAway",
    "LedgerError",
    "LedgerRefused",
    "MoneyIn",
    "NotEnoughAvailable",
    "PartitionsFixed",
    "PoolUse",
    "Posting",
    "ProvisioningRefused",
    "RebuildHeld",
    "ReferenceConflict",
    "Source",
    "Totals",
    "UnknownTenant",
    "WithdrawalEntry",
    "check_reason",
    "is_over",
    "kept_hashes",
    "ledger_url",
]
