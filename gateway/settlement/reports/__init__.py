"""Reports about one tenant, made from call records, directory and audit log; each is a :class:`Report` of rows."""

from gateway.settlement.reports.advice import MOST_MONTHS, FundingAdvice, Prices, advise_tenant
from gateway.settlement.reports.blocked import blocked_report
from gateway.settlement.reports.dial_out import dial_out_report
from gateway.settlement.reports.pools import minute_pools, pools_report
from gateway.settlement.reports.spend import SpendBy, spend_report
from gateway.settlement.reports.table import Report, ReportColumn

__all__ = [
    "MOST_MONTHS",
    "FundingAdvice",
    "Prices",
    "Report",
    "ReportColumn",
    "SpendBy",
    "advise_tenant",
    "blocked_report",
    "dial_out_report",
    "minute_pools",
    "pools_report",
    "spend_report",
]
