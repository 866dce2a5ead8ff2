"""The directory: everything policy knows about tenants, users, numbers, trunks and decks, as one immutable snapshot.

A worker holds one snapshot and swaps it whole when the version changes (DESIGN, one call's walk, step 2), so that a
decision never sees half of a change and never asks a database.
"""

from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Final, Literal, NamedTuple

from policy.facts import ANYWHERE, Facts
from policy.funds import Funds, Holder, Place, Purchased, all_pools, index_funds, personal, pools_by_name
from policy.unassigned import UnassignedRule, UnassignedRules
from policy.verdict import Pool
from rating.deck import Deck


@dataclass(frozen=True, slots=True)
class CountedLimits:
    """Limits that the credit store counts with the money (MONEY 3); None: unlimited."""

    max_calls: int | None = None
    calls_per_second: int | None = None
    spend_per_hour_micros: int | None = None
    spend_per_day_micros: int | None = None
    spend_per_month_micros: int | None = None


RANGE_DIGITS: Final = 6
"""A range is so many digits where nothing else is said: one area or operator of most countries.
The rate deck's prefixes would not do: all of North America may be one, and they change with the deck."""

NOT_COUNTED: Final = CountedLimits()
"""Nothing is counted."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A peer that sends or takes calls (CONTRACT 3).  ``prefixes`` with ``+``; empty: every number.

    ``limits`` are those of an access trunk, counted for each tenant that calls from it by itself.
    """

    name: str
    role: Literal["access", "carrier"]
    tenant: str = ""
    tenant_from: Literal["", "caller"] = ""
    targets: tuple[str, ...] = ()
    numbers: Literal["e164", "national"] = "e164"
    prefixes: tuple[str, ...] = ()
    emergency: bool = False
    limits: CountedLimits = NOT_COUNTED


@dataclass(frozen=True, slots=True)
class Night:
    """What holds at night besides, for calls that begin in it: from minute ``begins`` of the day, in the tenant's time
    zone, to before minute ``ends``, which may be the next day's."""

    begins: int
    ends: int
    spend_per_hour_micros: int | None = None
    blocked_prefixes: tuple[str, ...] = ()

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is in the night."""
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


@dataclass(frozen=True, slots=True)
class TenantLimits(CountedLimits):
    """Limits of a tenant or user (CONTRACT 4); None: unlimited.

    A tenant's alone: ``classes``, its limits of calls to one number class each (policy.plan), and ``open_high_risk``,
    what it opens of the high-risk ranges; ``numbers_per_range_per_hour``, how many numbers with the same first
    ``range_digits`` digits it may call within an hour, and ``night``.
    """

    max_rate_micros_per_min: int | None = None
    max_connect_micros: int | None = None
    max_call_s: int | None = None
    blocked_prefixes: tuple[str, ...] = ()
    classes: tuple[tuple[str, CountedLimits], ...] = ()
    open_high_risk: tuple[str, ...] = ()
    numbers_per_range_per_hour: int | None = None
    range_digits: int = RANGE_DIGITS
    night: Night | None = None


NO_LIMITS: Final = TenantLimits()
"""Everything is unlimited."""


@dataclass(frozen=True, slots=True)
class DialRule:
    """One row of a dial plan: a regular expression on what was dialled and its translation (``$1`` for groups).

    The first of a plan may be the external access prefix instead (``external``): ``pattern`` is then what is dialled
    before a number outside, as it is, and is taken away once before the rules are looked at.
    """

    pattern: str
    translation: str
    external: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A person or resource account that calls; ``number`` is E.164 with ``+``."""

    id: str
    tenant_id: str
    number: str = ""
    name: str = ""
    usage_location: str = ""
    licences: tuple[str, ...] = ()
    dial_out_policy: str = ""
    blocked: bool = False
    barred_toll_free: bool = False
    spend_limit_per_month_micros: int | None = None
    limits: TenantLimits = NO_LIMITS
    dial_plan: tuple[DialRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceNumber:
    """A number of a conference bridge, auto attendant or call queue; calls to it go to trunk ``deliver_to``.

    ``licences`` are those of its resource account; ``organiser`` is the user whose conferences alone it serves, empty
    where many share it.
    """

    number: str
    tenant_id: str
    kind: Literal["toll_free", "toll"]
    serves: Literal["conference", "auto_attendant", "call_queue", "unassigned"]
    deliver_to: str
    licences: tuple[str, ...] = ()
    organiser: str = ""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation with one prepaid balance (CONTRACT 4).

    ``conference_overage``: what pays for dialling out of a conference to Zone A once the minutes for that are used up:
    credits, or first the calling plan of the organiser (DOMAIN 8 d).
    """

    id: str
    name: str = ""
    country: str = "US"
    currency: str = "USD"
    mode: Literal["prepaid", "postpaid"] = "prepaid"
    credit_limit_micros: int = 0
    rate_deck: str = ""
    licensing: Literal["per-user", "none"] = "none"
    dial_out_policy: str = ANYWHERE
    failure_policy: Literal["", "terminate", "continue", "retry"] = ""
    time_zone: str = "UTC"
    limits: TenantLimits = NO_LIMITS
    dial_plan: tuple[DialRule, ...] = ()
    purchased: tuple[Purchased, ...] = ()
    unassigned: tuple[UnassignedRule, ...] = ()
    conference_overage: Literal["credits", "calling_plan"] = "credits"


class Coming(NamedTuple):
    """A deck that takes the place of the one of its name at a moment to come."""

    from_unix_ms: int
    deck: Deck


@dataclass(frozen=True, slots=True)
class Directory:
    """One version of everything; numbers are keyed by E.164 with ``+``, users by tenant and id.

    ``coming`` are, by name, the versions of decks that will follow, the next one first.
    ``trunks`` stand in file order, the order in which carriers are tried.  ``failure_policy`` is the gate's own, for
    tenants that name none.  ``carriers`` and ``deliveries`` are made from the trunks: carriers that have targets, and
    for each tenant the access trunks with targets where calls to its users' numbers go; under the empty name those
    that any tenant may call from.  So are ``funds`` from the licences of users and service numbers, by ``facts``, and
    ``unassigned`` from the tenants' rules for numbers that nobody has.

    ``known_funds``: who makes a directory of the one before may know all funds already; then no user is looked at.
    """

    version: int = 0
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    users: Mapping[tuple[str, str], User] = field(default_factory=dict)
    users_by_number: Mapping[str, User] = field(default_factory=dict)
    service_numbers: Mapping[str, ServiceNumber] = field(default_factory=dict)
    decks: Mapping[str, Deck] = field(default_factory=dict)
    coming: Mapping[str, tuple[Coming, ...]] = field(default_factory=dict)
    failure_policy: Literal["terminate", "continue", "retry"] = "terminate"
    facts: Facts = field(default=Facts(), repr=False)
    carriers: tuple[Trunk, ...] = field(init=False, repr=False, compare=False)
    deliveries: Mapping[str, tuple[Trunk, ...]] = field(init=False, repr=False, compare=False)
    funds: Mapping[Holder, Funds] = field(init=False, repr=False, compare=False)
    unassigned: UnassignedRules = field(init=False, repr=False, compare=False)
    known_funds: InitVar[Mapping[Holder, Funds] | None] = None

    def failure_policy_of(self, tenant_id: str) -> Literal["terminate", "continue", "retry"]:
        """What is done with a tenant's calls while the credit store is away (RFC 8506 5.7): its own policy wins."""
        tenant = self.tenants.get(tenant_id)
        return (tenant.failure_policy if tenant is not None else "") or self.failure_policy

    def pools_of(self, tenant_id: str) -> tuple[Pool, ...]:
        """Every pool of minutes that a tenant has, by name, also those that are one user's alone."""
        own = {holder: funds for holder, funds in self.funds.items() if holder[0] == tenant_id}
        found = pools_by_name(funds for funds in own.values() if not funds.personal)
        alone = {holder: all_pools(funds) for holder, funds in own.items() if funds.personal}
        if alone:  # or a hundred thousand users would be looked at for nothing
            for holder, id_ in self._holders():
                found.update({pool.name: pool for pool in personal(alone.get(holder, ()), id_)})
        return tuple(found[name] for name in sorted(found))

    def _holders(self) -> Iterator[tuple[Holder, str]]:
        """Who has licences: users, and the resource accounts behind service numbers, each with its id."""
        for user in self.users.values():
            if user.licences:
                yield (user.tenant_id, user.licences, user.usage_location), user.id
        for service in self.service_numbers.values():
            if service.licences:
                yield (service.tenant_id, service.licences, ""), service.number

    def __post_init__(self, known_funds: Mapping[Holder, Funds] | None) -> None:
        places = {tenant.id: Place(tenant.country, tenant.purchased) for tenant in self.tenants.values()}
        if known_funds is None:
            known_funds = index_funds((holder for holder, _ in self._holders()), places, self.facts)
        object.__setattr__(self, "funds", known_funds)
        rules = {tenant.id: tenant.unassigned for tenant in self.tenants.values() if tenant.unassigned}
        object.__setattr__(self, "unassigned", UnassignedRules(rules))
        reachable = [trunk for trunk in self.trunks.values() if trunk.targets]
        deliveries: dict[str, tuple[Trunk, ...]] = {}
        for trunk in reachable:
            if trunk.role == "access":
                deliveries[trunk.tenant] = (*deliveries.get(trunk.tenant, ()), trunk)
        object.__setattr__(self, "carriers", tuple(trunk for trunk in reachable if trunk.role == "carrier"))
        object.__setattr__(self, "deliveries", deliveries)
