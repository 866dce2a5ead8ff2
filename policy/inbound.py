"""Calls that arrive from a carrier: to a service number or a user's number of some tenant, or to nobody.

Nobody here pays for a call that its caller's carrier brings (DOMAIN 3, rows 11 and 12), with three exceptions that the
tenant pays from its credits, at the price of the deck's rows for the number called: toll-free calls (row 10), calls to
numbers that nobody has and a rule takes (row 13), and calls to the conferences of an organiser who pays per minute
(row 11).  No licence of a user is needed for any of them.
"""

from typing import Final

from policy.case import NOBODY, Case, CaseRule, allow, check_rate_limit, find_funds, find_rate
from policy.dialling import bare, to_e164
from policy.directory import ServiceNumber, User
from policy.funds import CREDIT_CAPABILITY
from policy.limits import NO_USER
from policy.reasons import REASONS, Reason
from policy.routing import tenant_routes, trunk_routes
from policy.verdict import Allow, Route
from rating.money import format_amount

KIND_BY_SERVICE: Final = {
    "conference": "conf_in",
    "auto_attendant": "ucap_in",
    "call_queue": "ucap_in",
    "unassigned": "unassigned_in",
}
"""Call types of the usage report (DOMAIN 6) by what the number serves."""


VOICE_APPLICATION: Final = "MCOEV"
"""What calls to auto attendants and call queues are reported under (DOMAIN 3, row 12)."""


def identify(case: Case) -> None:
    """Put both numbers into E.164; a carrier trunk of one tenant may send that tenant's national numbers."""
    region = case.directory.tenants.get(case.trunk.tenant, NOBODY).country
    caller = bare(case.request.caller)
    case.caller = to_e164(case.plan, caller, region, case.trunk.numbers) or case.request.caller
    case.number = to_e164(case.plan, bare(case.request.dialled), region, case.trunk.numbers)


def owner(case: Case) -> Reason | None:
    """The number must be somebody's here, or a tenant must have a rule for it."""
    service = case.directory.service_numbers.get(case.number)
    user = case.directory.users_by_number.get(case.number)
    if service is not None:
        _to_service(case, service)
    elif user is not None:
        _to_user(case, user)
    else:
        _to_nobody(case)
    if not case.tenant.id:
        return REASONS["UNKNOWN_NUMBER"]
    case.number_class = case.plan.classify(case.number[1:]) or case.number_class
    return None


def _to_service(case: Case, service: ServiceNumber) -> None:
    """A conference number may be one organiser's; what any number's resource account has serves where it is not."""
    directory = case.directory
    case.service, case.kind = service, KIND_BY_SERVICE[service.serves]
    case.tenant = directory.tenants.get(service.tenant_id, NOBODY)
    if case.kind == "conf_in" and service.organiser:
        case.user = directory.users.get((service.tenant_id, service.organiser), NO_USER)
    if case.user.id:
        find_funds(case, case.user.licences, case.user.usage_location)
    else:
        find_funds(case, service.licences, "")
    if case.kind == "ucap_in":
        case.capability = VOICE_APPLICATION
    elif case.kind == "conf_in":
        case.capability = case.funds.conferencing


def _to_user(case: Case, user: User) -> None:
    case.kind, case.user = "user_in", user
    case.tenant = case.directory.tenants.get(user.tenant_id, NOBODY)
    find_funds(case, user.licences, user.usage_location)
    case.capability = case.funds.plan


def _to_nobody(case: Case) -> None:
    """A rule for unassigned numbers; a carrier of one tenant brings calls to that tenant's numbers alone."""
    found = case.directory.unassigned.find(case.number, case.trunk.tenant) if case.number else None
    if found is not None:
        case.kind, case.target = "unassigned_in", found.target
        case.tenant = case.directory.tenants.get(found.tenant_id, NOBODY)


def barred_toll_free(case: Case) -> Reason | None:
    """Conferences of an organiser barred from toll-free numbers are joined by toll numbers alone (DOMAIN 3)."""
    if case.kind != "conf_in" or not case.user.barred_toll_free or not _is_toll_free(case):
        return None
    return REASONS["BARRED_TOLL_FREE"]


def rate(case: Case) -> Reason | None:
    """What the tenant pays for must have a price for the number called; any other call costs it nothing."""
    case.credit = _credit(case)
    return find_rate(case, "in") if case.credit else None


def _credit(case: Case) -> str:
    """The licence by which the tenant's balance pays; empty where it need not."""
    if case.kind == "conf_in" and case.funds.per_minute:
        return case.funds.per_minute
    return CREDIT_CAPABILITY if case.kind == "unassigned_in" or _is_toll_free(case) else ""


def _is_toll_free(case: Case) -> bool:
    return case.service is not None and case.service.kind == "toll_free"


def delivery(case: Case) -> Reason | Allow:
    """There must be a trunk where the number is answered; then the call may go."""
    routes = _routes(case)
    return allow(case, routes) if routes else REASONS["NO_ROUTE"]


def _routes(case: Case) -> tuple[Route, ...]:
    directory, tenant_id = case.directory, case.tenant.id
    if case.target:
        user = directory.users.get((tenant_id, case.target))
        service = directory.service_numbers.get(case.target)
        if user is not None:
            return tenant_routes(directory, tenant_id, user.number) if user.number else ()
        if service is not None and service.tenant_id == tenant_id:
            return trunk_routes(directory, service.deliver_to, service.number)
        return trunk_routes(directory, case.target, case.number)
    if case.service is not None:
        return trunk_routes(directory, case.service.deliver_to, case.number)
    return tenant_routes(directory, tenant_id, case.number)


def _told_owner(case: Case) -> str:
    taken = f", taken by {case.target}" if case.target else ""
    return f"{case.number} belongs to tenant {case.tenant.id}{taken}"


def _told_rate(case: Case) -> str:
    if case.row is None:
        return "the caller's carrier pays"
    return f"the tenant pays {format_amount(case.row.tariff.rate_micros_per_min)} a minute by prefix {case.row.prefix}"


RULES: Final = (
    CaseRule("owner", owner, _told_owner),
    CaseRule("barred_toll_free", barred_toll_free, lambda case: "not barred"),
    CaseRule("rate", rate, _told_rate),
    CaseRule("rate_limit", check_rate_limit, lambda case: "within the limits"),
    CaseRule("delivery", delivery, lambda case: "trunk found"),
)
"""In the order in which they are tried; the last one concludes."""
