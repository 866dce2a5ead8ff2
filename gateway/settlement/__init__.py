"""Settlement: charges from Redis' outbox into the ledger, money from the ledger to Redis, and whether it all adds up.

Loud room; :class:`Settler` is its process, the functions are for the command line and the API.
"""

from gateway.settlement.export import ExportFormat, export_usage
from gateway.settlement.funding import FundingOutcome, apply_money_in, fund
from gateway.settlement.reconcile import Drift, reconcile
from gateway.settlement.settler import Settler, SettlerObserver

__all__ = [
    "Drift",
    "ExportFormat",
    "FundingOutcome",
    "Settler",
    "SettlerObserver",
    "apply_money_in",
    "export_usage",
    "fund",
    "reconcile",
]
