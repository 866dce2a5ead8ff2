"""Calls that arrive from a carrier: to a service number or a user's number of some tenant, or to nobody.

A toll-free call to a service number is paid by the tenant that owns the number (DOMAIN 3, row 10), at the price of
the deck's rows for the number called; for all others the caller's carrier pays, and nobody here (rows 11 and 12).
"""

from typing import Final

from policy.case import NOBODY, Case, CaseRule, allow, check_rate_limit, find_rate
from policy.dialling import bare, to_e164
from policy.reasons import REASONS, Reason
from policy.routing import tenant_routes, trunk_routes
from policy.verdict import Allow

KIND_BY_SERVICE: Final = {
    "conference": "conf_in",
    "auto_attendant": "ucap_in",
    "call_queue": "ucap_in",
    "unassigned": "unassigned_in",
}
"""Call types of the usage report (DOMAIN 6) by what the number serves."""


def identify(case: Case) -> None:
    """Put both numbers into E.164; a carrier trunk of one tenant may send that tenant's national numbers."""
    region = case.directory.tenants.get(case.trunk.tenant, NOBODY).country
    caller = bare(case.request.caller)
    case.caller = to_e164(case.plan, caller, region, case.trunk.numbers) or case.request.caller
    case.number = to_e164(case.plan, bare(case.request.dialled), region, case.trunk.numbers)


def owner(case: Case) -> Reason | None:
    """The number must be somebody's here."""
    directory = case.directory
    case.service = directory.service_numbers.get(case.number)
    user = directory.users_by_number.get(case.number)
    if case.service is not None:
        case.kind = KIND_BY_SERVICE[case.service.serves]
        case.tenant = directory.tenants.get(case.service.tenant_id, NOBODY)
    elif user is not None:
        case.kind = "user_in"
        case.user = user
        case.tenant = directory.tenants.get(user.tenant_id, NOBODY)
    if not case.tenant.id:
        return REASONS["UNKNOWN_NUMBER"]
    case.number_class = case.plan.classify(case.number[1:]) or case.number_class
    return None


def rate(case: Case) -> Reason | None:
    """A toll-free call must have a price for the number called; any other costs its owner nothing."""
    if case.service is None or case.service.kind != "toll_free":
        return None
    return find_rate(case, "in")


def delivery(case: Case) -> Reason | Allow:
    """There must be a trunk where the number is answered; then the call may go."""
    if case.service is not None:
        routes = trunk_routes(case.directory, case.service.deliver_to, case.number)
    else:
        routes = tenant_routes(case.directory, case.tenant.id, case.number)
    return allow(case, routes) if routes else REASONS["NO_ROUTE"]


RULES: Final = (
    CaseRule("owner", owner, lambda case: f"{case.number} belongs to tenant {case.tenant.id}"),
    CaseRule("rate", rate, lambda case: "the caller's carrier pays" if case.row is None else "the tenant pays"),
    CaseRule("rate_limit", check_rate_limit, lambda case: "within the limits"),
    CaseRule("delivery", delivery, lambda case: "trunk found"),
)
"""In the order in which they are tried; the last one concludes."""
