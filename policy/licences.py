"""Who pays for a call to the outside: nobody, pools of minutes in their order, the balance (DOMAIN 3, rows 1 to 9).

Minutes come with licences, and so does the balance where a tenant's licensing is per user: a call that minutes pay for
needs no credit licence, it then ends with the minutes.  What the licences of the payer open stands in policy.funds;
here the call is known, so the right part of it is taken.
"""

from typing import Final

from policy.case import Case, is_domestic
from policy.funds import CREDIT_CAPABILITY, personal
from policy.reasons import REASONS, Reason
from policy.verdict import Pool

WORLD: Final = "001"
"""The region of numbers that are no country's: satellites, international networks."""


def pools(case: Case) -> None:
    """Included minutes pay first: of a conference those for Zone A, else those of the calling plan, home or abroad."""
    if case.premium:
        return
    found = _conference_pools(case) if case.kind == "conf_out" else _plan_pools(case)
    case.pools = personal(found, case.user.id or case.caller) if found and case.funds.personal else found


def _conference_pools(case: Case) -> tuple[Pool, ...]:
    funds, region = case.funds, case.number_class.region
    if region in funds.free_to:  # row 9: neither minutes nor money
        case.free, case.capability = True, funds.free_by
        return ()
    if region not in case.directory.facts.zone_a:
        return ()
    included = funds.conferencing and not funds.per_minute
    if included and case.tenant.conference_overage == "calling_plan":  # also where no licence has brought a minute
        return funds.conference + _plan_pools(case)
    return funds.conference


def _plan_pools(case: Case) -> tuple[Pool, ...]:
    """Minutes at home or abroad; the 196 destinations of a plan are not published, so every country is one of them."""
    region = case.number_class.region
    if is_domestic(case.location, region):
        return case.funds.domestic
    return case.funds.international if region != WORLD else ()


def licence(case: Case) -> Reason | None:
    """Where licences are per user, spending the balance takes one; without it only minutes pay, if there are any."""
    if case.free:
        return None
    case.credit = _credit(case)
    return None if case.credit or case.pools else REASONS["NO_LICENCE"]


def _credit(case: Case) -> str:
    """The licence by which the balance pays; empty where it may not."""
    if case.kind == "conf_out":
        opened = case.funds.conference_credit
    elif case.kind == "ucap_out":  # row 16: a voice application spends the tenant's credits without a licence
        return CREDIT_CAPABILITY
    else:
        opened = case.funds.credit
    return opened or (CREDIT_CAPABILITY if case.tenant.licensing == "none" else "")


def told_pools(case: Case) -> str:
    """What may pay first, as ``explain`` says it."""
    if case.free:
        return f"nobody pays, by {case.capability}"
    if case.premium:
        return "premium or shared-cost number: no minutes"
    return ", then ".join(f"{pool.name} ({pool.total_minutes} min a month)" for pool in case.pools) or "no minutes"


def told_licence(case: Case) -> str:
    """Whether the balance may pay, as ``explain`` says it."""
    if case.free:
        return "none needed"
    if not case.credit:
        return f"licensing {case.tenant.licensing}: minutes alone"
    return f"licensing {case.tenant.licensing}: credits by {case.credit}"
