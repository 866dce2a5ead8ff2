"""Premium and shared-cost numbers: who may call them depends on the usage country (DOMAIN 3, row 14).

Where a country's row names prefixes, they are looked at before the number's class: the metadata takes the United
Kingdom's 0843 to 0872 for premium numbers, and some of them may be called.  A country without a row lets none be
called.  Such calls are never paid from pools.
"""

from typing import Final

from policy.case import Case
from policy.reasons import REASONS, Reason

CLASSES: Final = frozenset({"premium", "shared_cost"})


def number_class(case: Case) -> Reason | None:
    """Premium and shared-cost numbers may be called where the usage country lets them; only credits pay (row 14)."""
    rule = case.directory.facts.premium.get(case.location)
    if rule is not None and rule.prefixes and case.number.startswith(rule.prefixes):
        case.premium = True
        return None
    case.premium = case.number_class.name in CLASSES
    if not case.premium or (rule is not None and rule.every):
        return None
    return REASONS["NUMBER_CLASS"]
