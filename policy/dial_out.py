"""Dial-out policies: how far conferences and users may call (DOMAIN 3; the twelve rows of dial_out_policies.csv).

A policy is the user's, else the tenant's.  Its country is that of whoever pays: of a conference the organiser's, of a
user's call the user's own, wherever the tenant is.  A policy that says *domestic* is stricter than minutes are: the
United States and Canada share domestic minutes, yet it closes each of them to the other.
"""

from policy.case import Case
from policy.facts import ANYWHERE
from policy.funds import SAME_POOL
from policy.reasons import REASONS, Reason


def dial_out_policy(case: Case) -> Reason | None:
    """The dial-out policy of the user, else of the tenant, must let conferences or users call there (DOMAIN 3)."""
    name = policy_name(case)
    if name == ANYWHERE:
        return None
    policy = case.directory.facts.dial_out.get(name)
    if policy is None:  # one of another release: nothing is known to be open
        return REASONS["DIAL_OUT_POLICY"]
    reach = policy.conference if case.kind == "conf_out" else policy.user
    return None if _reaches(case, reach) else REASONS["DIAL_OUT_POLICY"]


def policy_name(case: Case) -> str:
    """Which policy holds for the call."""
    return case.user.dial_out_policy or case.tenant.dial_out_policy


def _reaches(case: Case, reach: str) -> bool:
    region, home = case.number_class.region, case.location
    if reach == "domestic":  # the states and Puerto Rico are one area, Canada is another country
        return SAME_POOL.get(region, region) == SAME_POOL.get(home, home)
    if reach == "zone_a":
        return region in case.directory.facts.zone_a
    return reach != "none"
