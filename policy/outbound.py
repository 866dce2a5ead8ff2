"""Calls that arrive on an access trunk: who pays for them, and every rule that may refuse them, in order.

Emergency calls come first and pass everything (CONTRACT 6): they need no tenant that is known, no valid number, no
credit and no directory beyond a carrier trunk.  The order of the rest is that of DOMAIN 3.
"""

from typing import Final

from policy.case import NOBODY, Case, CaseRule, allow, check_rate_limit, find_funds, find_rate
from policy.dial_out import dial_out_policy, policy_name
from policy.dial_plan import translate
from policy.dialling import bare, is_emergency_service, to_e164
from policy.directory import DialRule, ServiceNumber, User
from policy.licences import licence, pools, told_licence, told_pools
from policy.limits import NO_USER, is_night
from policy.premium import number_class
from policy.reasons import REASONS, Reason
from policy.routing import carrier_routes, emergency_routes, tenant_routes, trunk_routes
from policy.verdict import Allow, Route
from rating.money import format_amount

KINDS: Final = {
    "user": "user_out",
    "conference": "conf_out",
    "forward": "user_out_forwarding",
    "transfer": "user_out_transfer",
    "add": "user_out_conf",
    "auto_attendant": "ucap_out",
    "call_queue": "ucap_out",
}
"""Call types of the usage report (DOMAIN 6) by X-Callgate-Kind (CONTRACT 6)."""

KIND_BY_SERVICE: Final = {"conference": "conf_out", "auto_attendant": "ucap_out", "call_queue": "ucap_out"}
"""What a caller number that is a service number means by itself."""


def identify(case: Case) -> None:
    """Find out who calls and who would pay: not a rule, nobody is refused here."""
    _find_tenant(case)
    number = _forwarder(case) if case.request.forwarder else ""
    plain = "user_out_forwarding" if number else "user_out"
    number = number or case.caller
    service = case.directory.service_numbers.get(number)
    own = service if service is not None and service.tenant_id == case.tenant.id else None
    case.user = _find_user(case, own, number)
    case.kind = KINDS.get(case.request.x_kind) or KIND_BY_SERVICE.get(own.serves if own is not None else "", plain)
    if case.user.id and (case.request.x_user or case.kind != "ucap_out"):
        find_funds(case, case.user.licences, case.user.usage_location)
    elif own is not None:  # a resource account's, which is no user's (row 16)
        find_funds(case, own.licences, "")


def _forwarder(case: Case) -> str:
    """The number that forwards, where it is the tenant's: it pays (DOMAIN 3, row 15); else it says nothing."""
    directory, tenant = case.directory, case.tenant
    translated = translate(tenant.dial_plan, bare(case.request.forwarder))
    number = to_e164(case.plan, translated, tenant.country, case.trunk.numbers)
    owner = directory.users_by_number.get(number) or directory.service_numbers.get(number)
    return number if owner is not None and owner.tenant_id == tenant.id else ""


def _find_user(case: Case, service: ServiceNumber | None, number: str) -> User:
    """The user whom the PBX names; else the owner of the number that forwards, or calls; of a conference number its
    organiser."""
    directory, tenant_id = case.directory, case.tenant.id
    if case.request.x_user:
        return directory.users.get((tenant_id, case.request.x_user), NO_USER)
    if service is not None:
        return directory.users.get((tenant_id, service.organiser), NO_USER) if service.organiser else NO_USER
    owner = directory.users_by_number.get(number, NO_USER)
    return owner if owner.tenant_id == tenant_id else NO_USER


def _find_tenant(case: Case) -> None:
    """The tenant the trunk belongs to; or, where the trunk leaves that to the caller, the owner of the number that
    forwards, else of the caller's."""
    directory, trunk = case.directory, case.trunk
    number = bare(case.request.caller)
    if trunk.tenant_from == "caller":
        case.caller = to_e164(case.plan, number, "", trunk.numbers)
        payer = case.caller
        if case.request.forwarder:
            payer = to_e164(case.plan, bare(case.request.forwarder), "", trunk.numbers) or payer
        owner = directory.users_by_number.get(payer) or directory.service_numbers.get(payer)
        case.tenant = directory.tenants.get(owner.tenant_id, NOBODY) if owner is not None else NOBODY
    else:
        case.tenant = directory.tenants.get(trunk.tenant, NOBODY)
        translated = translate(case.tenant.dial_plan, number)
        case.caller = to_e164(case.plan, translated, case.tenant.country, trunk.numbers)
    case.caller = case.caller or case.request.caller


def emergency(case: Case) -> Reason | Allow | None:
    """Let an emergency call go, with the digits as dialled (SIP.md 4); only a gate without any carrier cannot."""
    dialled = case.request.dialled
    case.dialled = bare(dialled)
    if is_emergency_service(dialled):
        return _emergency_call(case, dialled)
    if case.plan.is_emergency(case.dialled, case.location):
        return _emergency_call(case, case.dialled)
    case.dialled = translate(_dial_plan(case), case.dialled, is_called=True)
    if case.plan.is_emergency(case.dialled, case.location):
        return _emergency_call(case, case.dialled)
    return None


def _emergency_call(case: Case, dialled: str) -> Reason | Allow:
    case.emergency = True
    case.number = dialled
    routes = emergency_routes(case.directory, dialled)
    return allow(case, routes) if routes else REASONS["NO_ROUTE"]


def _dial_plan(case: Case) -> tuple[DialRule, ...]:
    return case.user.dial_plan or case.tenant.dial_plan


def payer(case: Case) -> Reason | None:
    """Somebody must answer for the call: a tenant, and the very user whom the PBX names."""
    unknown_user = bool(case.request.x_user) and not case.user.id
    return REASONS["UNKNOWN_CALLER"] if not case.tenant.id or unknown_user else None


def kind(case: Case) -> Reason | None:
    """What kind of call the PBX says it is decides who pays, so one that is not known (a slip) is not guessed at."""
    said = case.request.x_kind
    return REASONS["UNKNOWN_KIND"] if said and said not in KINDS else None


def number(case: Case) -> Reason | None:
    """What was dialled must be a telephone number; of a valid number's beginning the caller is told (SIP.md 4)."""
    case.number = to_e164(case.plan, case.dialled, case.tenant.country, case.trunk.numbers)
    known = case.plan.classify(case.number[1:])
    if known is not None:
        case.number_class = known
        return None
    if case.number in case.directory.users_by_number or case.number in case.directory.service_numbers:
        return None
    return REASONS["INCOMPLETE_NUMBER" if case.number and case.plan.is_beginning(case.number[1:]) else "INVALID_NUMBER"]


def blocked_user(case: Case) -> Reason | None:
    """A blocked user calls nobody."""
    return REASONS["BLOCKED_USER"] if case.user.blocked else None


def on_net(case: Case) -> Reason | Allow | None:
    """A call to a number of the same tenant never leaves it and costs nothing (DOMAIN 3, row 18)."""
    routes = _own_routes(case)
    if routes is None:
        return None
    case.kind = "on_net"
    return allow(case, routes) if routes else REASONS["NO_ROUTE"]


def _own_routes(case: Case) -> tuple[Route, ...] | None:
    directory, tenant_id = case.directory, case.tenant.id
    user = directory.users_by_number.get(case.number)
    if user is not None and user.tenant_id == tenant_id:
        return tenant_routes(directory, tenant_id, case.number)
    service = directory.service_numbers.get(case.number)
    if service is not None and service.tenant_id == tenant_id:
        return trunk_routes(directory, service.deliver_to, case.number)
    return None


def blocked_prefix(case: Case) -> Reason | None:
    """Destinations that the tenant or the user closed."""
    closed = (*case.tenant.limits.blocked_prefixes, *case.user.limits.blocked_prefixes)
    return REASONS["BLOCKED_PREFIX"] if closed and case.number.startswith(closed) else None


def high_risk(case: Case) -> Reason | None:
    """Satellites, international networks and the world's premium numbers are closed unless the tenant opens them."""
    if not case.number.startswith(case.directory.facts.high_risk):
        return None
    return None if case.number.startswith(case.tenant.limits.open_high_risk) else REASONS["HIGH_RISK"]


def night(case: Case) -> Reason | None:
    """Destinations that the tenant closed at night, in its own time zone."""
    rule = case.tenant.limits.night
    if rule is None or not case.number.startswith(rule.blocked_prefixes):
        return None
    return REASONS["LIMIT_NIGHT"] if is_night(case.tenant, case.request.at_unix_ms) else None


def rate(case: Case) -> Reason | None:
    """The tenant's deck must have a price for the number where the balance may have to pay."""
    return None if find_rate(case, "out") is None or not case.credit else REASONS["NO_RATE"]


def route(case: Case) -> Reason | Allow:
    """A carrier must take the number; then the call may go."""
    routes = carrier_routes(case.directory, case.number)
    return allow(case, routes) if routes else REASONS["NO_ROUTE"]


def _told_rate(case: Case) -> str:
    if case.row is None:
        return "none"
    return f"{format_amount(case.row.tariff.rate_micros_per_min)} a minute by prefix {case.row.prefix}"


def _told_risk(case: Case) -> str:
    return "opened by the tenant" if case.number.startswith(case.directory.facts.high_risk) else "no high-risk range"


RULES: Final = (
    CaseRule("emergency", emergency, lambda case: "emergency call" if case.emergency else "no emergency number"),
    CaseRule("payer", payer, lambda case: f"tenant {case.tenant.id}, user {case.user.id or 'none'}"),
    CaseRule("kind", kind, lambda case: case.kind),
    CaseRule("number", number, lambda case: f"{case.number}: {case.number_class.region} {case.number_class.name}"),
    CaseRule("blocked_user", blocked_user, lambda case: "not blocked"),
    CaseRule("on_net", on_net, lambda case: "own number, free" if case.kind == "on_net" else "outside number"),
    CaseRule("blocked_prefix", blocked_prefix, lambda case: "not blocked"),
    CaseRule("high_risk", high_risk, _told_risk),
    CaseRule("night", night, lambda case: "not closed now"),
    CaseRule("dial_out_policy", dial_out_policy, policy_name),
    CaseRule("number_class", number_class, lambda case: "credits alone pay" if case.premium else "ordinary number"),
    CaseRule("pools", pools, told_pools),
    CaseRule("licence", licence, told_licence),
    CaseRule("rate", rate, _told_rate),
    CaseRule("rate_limit", check_rate_limit, lambda case: "within the limits"),
    CaseRule("route", route, lambda case: "carrier found"),
)
"""In the order in which they are tried; the last one concludes."""
