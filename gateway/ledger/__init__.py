"""The ledger: the truth about money (MONEY), and the directory of tenants, users, numbers and decks.

Loud room over SQLAlchemy and Alembic; SQLite now, written so that PostgreSQL takes the same queries.  Its one door is
:class:`Ledger`.
"""

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
from gateway.ledger.ledger import Ledger

__all__ = [
    "FUNDING_KINDS",
    "SQLITE_FILE",
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
    "Ledger",
    "LedgerAccount",
    "LedgerAway",
    "LedgerError",
    "LedgerRefused",
    "MoneyIn",
    "NotEnoughAvailable",
    "PartitionsFixed",
    "Posting",
    "ProvisioningRefused",
    "RebuildHeld",
    "ReferenceConflict",
    "Source",
    "Totals",
    "UnknownTenant",
    "WithdrawalEntry",
    "ledger_url",
]
