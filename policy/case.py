"""A call while it is being decided: what is asked, and what each rule has found out so far.

Rules are plain functions over a case, listed in the order in which they are tried (policy.outbound, policy.inbound).
Each returns the Reason to refuse for, the verdict itself where it needs no further rule, or None to go on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from policy.directory import Directory, ServiceNumber, Tenant, Trunk, User
from policy.funds import NO_FUNDS, Funds
from policy.limits import NO_USER, UNLIMITED, call_limits, least, watched
from policy.plan import NumberClass, NumberPlan
from policy.rates import changes_after, rate_at
from policy.reasons import REASONS, Reason
from policy.verdict import Allow, CallRequest, Deny, Limits, Pool, Route
from rating.row import Direction, RateRow
from rating.schedule import Change
from rating.tariff import MS_PER_S

NOBODY: Final = Tenant(id="", country="", currency="")
"""Stands for the tenant as long as none is known."""

UNKNOWN_CLASS: Final = NumberClass("", "unknown")


@dataclass(slots=True)
class Case:
    """One call: the request, the world it is judged in, and what is known by now.

    ``funds`` are what the payer's licences open.  Of them ``pools`` may pay for this call, then the balance where
    ``credit`` names the licence that opens it; ``capability`` is what a call is reported under that nobody pays for.
    ``premium`` numbers are never paid from pools, ``free`` calls by nobody.  ``target`` takes a call to a number that
    nobody has.
    """

    directory: Directory
    plan: NumberPlan
    request: CallRequest
    trunk: Trunk
    tenant: Tenant = NOBODY
    user: User = NO_USER
    service: ServiceNumber | None = None
    caller: str = ""
    dialled: str = ""
    number: str = ""
    number_class: NumberClass = UNKNOWN_CLASS
    kind: str = ""
    row: RateRow | None = None
    direction: Direction = "out"
    emergency: bool = False
    premium: bool = False
    funds: Funds = NO_FUNDS
    pools: tuple[Pool, ...] = ()
    credit: str = ""
    capability: str = ""
    target: str = ""
    free: bool = False

    @property
    def location(self) -> str:
        """The country the payer calls from: the user's usage location, else the tenant's country."""
        return self.user.usage_location or self.tenant.country


Check = Callable[[Case], Reason | Allow | None]


class CaseRule(NamedTuple):
    """A rule by its name, what it checks, and what it says of a case that it let pass or concluded."""

    name: str
    check: Check
    tell: Callable[[Case], str]


def find_rate(case: Case, direction: Direction) -> Reason | None:
    """Set the row of the tenant's deck that prices the number at the moment of the INVITE."""
    case.direction = direction
    case.row = rate_at(case.directory, case.tenant.rate_deck, case.number, direction, case.request.at_unix_ms)
    return REASONS["NO_RATE"] if case.row is None else None


def find_funds(case: Case, licences: tuple[str, ...], usage_location: str) -> None:
    """Set what the payer's licences open, as it was worked out when the directory was made."""
    if licences:
        case.funds = case.directory.funds.get((case.tenant.id, licences, usage_location), NO_FUNDS)


def check_rate_limit(case: Case) -> Reason | None:
    """Refuse a rate or connect fee above the tenant's or the user's limit (CONTRACT 4).

    The row in effect at the INVITE is looked at: a call that is let in is not ended by a dearer one that follows.
    """
    if case.row is None or not case.credit:
        return None
    tariff = case.row.tariff
    for limits in (case.tenant.limits, case.user.limits):
        most_rate, most_connect = limits.max_rate_micros_per_min, limits.max_connect_micros
        if most_rate is not None and tariff.rate_micros_per_min > most_rate:
            return REASONS["RATE_TOO_HIGH"]
        if most_connect is not None and tariff.connect_micros > most_connect:
            return REASONS["RATE_TOO_HIGH"]
    return None


def allow(case: Case, routes: tuple[Route, ...]) -> Allow:
    """Let the call go: its pools pay, then the balance where a licence opens it and a row prices it, else nobody."""
    row, tenant, user, pools = case.row, case.tenant, case.user, case.pools
    tariff = row.tariff if row is not None and case.credit else None
    return Allow(
        tenant_id=tenant.id,
        currency=tenant.currency,
        kind=case.kind,
        caller=case.caller,
        dialled=case.request.dialled,
        number=case.number,
        routes=routes,
        payer="pool" if pools else "none" if tariff is None else "credits",
        tariff=tariff,
        emergency=case.emergency,
        user_id=user.id,
        user_name=user.name,
        user_location=case.location,
        number_type="subscriber" if case.service is None else case.service.kind,
        domestic=is_domestic(case.location, case.number_class.region),
        destination=destination(case),
        conference=case.request.x_conference,
        capability=pools[0].capability if pools else case.capability if tariff is None else case.credit,
        limits=_limits(case),
        max_call_s=None if case.emergency else longest_call_s(case),
        failure_policy=case.directory.failure_policy_of(tenant.id),
        trunk=case.trunk.name,
        number_class=case.number_class.name,
        pools=pools,
        credit=case.credit if pools and tariff is not None else "",
        credit_limit_micros=tenant.credit_limit_micros if tenant.mode == "postpaid" else 0,
        time_zone=tenant.time_zone,
        changes=() if row is None or tariff is None else _changes(case, row),
    )


def _changes(case: Case, row: RateRow) -> tuple[Change, ...]:
    at_unix_ms = case.request.at_unix_ms
    until_ms = at_unix_ms + case.request.within_s * MS_PER_S
    return changes_after(case.directory, case.tenant.rate_deck, case.number, case.direction, row, at_unix_ms, until_ms)


def _limits(case: Case) -> Limits:
    """A user's, a class's and a trunk's are for calls to the outside; a call from there counts for the tenant alone."""
    if case.emergency:
        return UNLIMITED
    if case.trunk.role == "carrier":
        return call_limits(case.tenant)
    if case.kind == "on_net":
        return call_limits(case.tenant, case.user, case.trunk)
    limits = call_limits(case.tenant, case.user, case.trunk, case.number_class.name)
    return watched(limits, case.tenant, case.number, case.request.at_unix_ms)


def deny(case: Case, reason: Reason) -> Deny:
    """Refuse the call, with what is known of it for its record."""
    return Deny(
        reason,
        tenant_id=case.tenant.id,
        user_id=case.user.id,
        currency=case.tenant.currency,
        kind=case.kind,
        caller=case.caller,
        dialled=case.request.dialled,
        number=case.number,
        destination=destination(case),
        trunk=case.trunk.name,
    )


def destination(case: Case) -> str:
    """What the called place is called: by the rate deck, else the region of the number."""
    if case.emergency:
        return "emergency"
    return case.row.destination if case.row is not None and case.row.destination else case.number_class.region


def longest_call_s(case: Case) -> int | None:
    """The shorter of the tenant's and the user's longest call; None: neither limits it."""
    return least(case.tenant.limits.max_call_s, case.user.limits.max_call_s)


_HOME: Final = {"CA": "US", "PR": "US"}
"""The United States, Puerto Rico and Canada call each other at domestic terms (DOMAIN 3, country rules)."""


def is_domestic(one: str, other: str) -> bool:
    """Whether a call between two regions is domestic; an unknown region is taken for the caller's own."""
    return not other or _HOME.get(one, one) == _HOME.get(other, other)
