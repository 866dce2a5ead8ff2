"""The directory: everything policy knows about tenants, users, numbers, trunks and decks, as one immutable snapshot.

A worker holds one snapshot and swaps it whole when the version changes (DESIGN, one call's walk, step 2), so that a
decision never sees half of a change and never asks a database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rating.deck import Deck


@dataclass(frozen=True, slots=True)
class Trunk:
    """A peer that sends or takes calls (CONTRACT 3).  ``prefixes`` with ``+``; empty: every number."""

    name: str
    role: Literal["access", "carrier"]
    tenant: str = ""
    tenant_from: Literal["", "caller"] = ""
    targets: tuple[str, ...] = ()
    numbers: Literal["e164", "national"] = "e164"
    prefixes: tuple[str, ...] = ()
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Limits of a tenant or user (CONTRACT 4); None: unlimited."""

    max_calls: int | None = None
    calls_per_second: int | None = None
    spend_per_hour_micros: int | None = None
    spend_per_day_micros: int | None = None
    spend_per_month_micros: int | None = None
    max_rate_micros_per_min: int | None = None
    max_connect_micros: int | None = None
    max_call_s: int | None = None
    blocked_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DialRule:
    """One row of a dial plan: a regular expression on what was dialled and its translation (``$1`` for groups)."""

    pattern: str
    translation: str


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
    limits: TenantLimits = TenantLimits()
    dial_plan: tuple[DialRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceNumber:
    """A number of a conference bridge, auto attendant or call queue; calls to it go to trunk ``deliver_to``."""

    number: str
    tenant_id: str
    kind: Literal["toll_free", "toll"]
    serves: Literal["conference", "auto_attendant", "call_queue", "unassigned"]
    deliver_to: str
    licences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation with one prepaid balance (CONTRACT 4)."""

    id: str
    name: str = ""
    country: str = "US"
    currency: str = "USD"
    mode: Literal["prepaid", "postpaid"] = "prepaid"
    credit_limit_micros: int = 0
    rate_deck: str = ""
    licensing: Literal["per-user", "none"] = "none"
    dial_out_policy: str = "DialoutCPCandPSTNInternational"
    failure_policy: Literal["", "terminate", "continue", "retry"] = ""
    time_zone: str = "UTC"
    limits: TenantLimits = TenantLimits()
    dial_plan: tuple[DialRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """One version of everything; numbers are keyed by E.164 with ``+``, users by tenant and id.

    ``trunks`` stand in file order, the order in which carriers are tried.  ``failure_policy`` is the gate's own, for
    tenants that name none.  ``carriers`` and ``deliveries`` are made from the trunks: carriers that have targets, and
    for each tenant the access trunks with targets where calls to its users' numbers go; under the empty name those
    that any tenant may call from.
    """

    version: int = 0
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    users: Mapping[tuple[str, str], User] = field(default_factory=dict)
    users_by_number: Mapping[str, User] = field(default_factory=dict)
    service_numbers: Mapping[str, ServiceNumber] = field(default_factory=dict)
    decks: Mapping[str, Deck] = field(default_factory=dict)
    failure_policy: Literal["terminate", "continue", "retry"] = "terminate"
    carriers: tuple[Trunk, ...] = field(init=False, repr=False, compare=False)
    deliveries: Mapping[str, tuple[Trunk, ...]] = field(init=False, repr=False, compare=False)

    def failure_policy_of(self, tenant_id: str) -> Literal["terminate", "continue", "retry"]:
        """What is done with a tenant's calls while the credit store is away (RFC 8506 5.7): its own policy wins."""
        tenant = self.tenants.get(tenant_id)
        return (tenant.failure_policy if tenant is not None else "") or self.failure_policy

    def __post_init__(self) -> None:
        reachable = [trunk for trunk in self.trunks.values() if trunk.targets]
        deliveries: dict[str, tuple[Trunk, ...]] = {}
        for trunk in reachable:
            if trunk.role == "access":
                deliveries[trunk.tenant] = (*deliveries.get(trunk.tenant, ()), trunk)
        object.__setattr__(self, "carriers", tuple(trunk for trunk in reachable if trunk.role == "carrier"))
        object.__setattr__(self, "deliveries", deliveries)
