"""Settlement: charges from Redis' outbox into the ledger, money from the ledger to Redis, and whether it all adds up.

Loud room; :class:`Settler` is its process, the functions are for the command line and the API.
"""

from gateway.settlement.accounts import apply_money_in, settle_in
from gateway.settlement.archive import ARCHIVE_DAYS, Asked, export_archive
from gateway.settlement.export import export_usage, usage_columns, usage_row
from gateway.settlement.files import EXPORT_FORMATS, ExportFormat, iso_time
from gateway.settlement.funding import FundingOutcome, fund
from gateway.settlement.masking import Masking, masking_of
from gateway.settlement.rebuild import Rebuilt, rebuild
from gateway.settlement.recharge import Recharger, settle_payment
from gateway.settlement.reconcile import Drift, compare, reconcile
from gateway.settlement.repair import repair
from gateway.settlement.settler import Settler

__all__ = [
    "ARCHIVE_DAYS",
    "EXPORT_FORMATS",
    "Asked",
    "Drift",
    "ExportFormat",
    "FundingOutcome",
    "Masking",
    "Rebuilt",
    "Recharger",
    "Settler",
    "apply_money_in",
    "compare",
    "export_archive",
    "export_usage",
    "fund",
    "iso_time",
    "masking_of",
    "rebuild",
    "reconcile",
    "repair",
    "settle_in",
    "settle_payment",
    "usage_columns",
    "usage_row",
]
