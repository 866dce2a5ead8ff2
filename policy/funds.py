"""What licences open: minute pools with their totals, and the balance, worked out once for each directory.

A pool belongs to a tenant, a licence and a usage country (DOMAIN 1).  Its month's total is the licence's minutes times
the licences bought, or assigned where nobody said how many were bought.  Users of one tenant with the same licences in
the same country are served by the same pools, so there are as many sets of funds as there are such groups, few beside
the users, and a decision finds its own by one look into a dict.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from policy.facts import CallingPlan, ConferenceLicence, Facts
from policy.verdict import Pool

CREDIT_CAPABILITY: Final = "MCOPSTNPP"
"""The Communications Credits licence: what a call paid from the balance is reported under (DOMAIN 1)."""

CREDIT_LICENCES: Final = frozenset({CREDIT_CAPABILITY, "MCOPSTNC"})
"""Either name of the Communications Credits licence (DOMAIN 2): access to the balance for the user who has it."""

SAME_POOL: Final = {"PR": "US"}
"""The fifty states and Puerto Rico share one pool (DOMAIN 3, country rules; 8 f); Canada has its own."""

ZONE_A_POOL: Final = "ZoneA"
"""The place of a conference pool in its name: its minutes are the tenant's, wherever the organiser is."""

INTERNATIONAL: Final = "international"


Holder = tuple[str, tuple[str, ...], str]
"""Who has which licences, and where they are used: tenant, licences, usage location (empty: the tenant's country).

Users that do not differ in it are one holder.  It is a plain tuple because one is made for each user and call.
"""


@dataclass(frozen=True, slots=True)
class Purchased:
    """Licences that were bought (CONTRACT 4): how many of one for use in one country."""

    sku: str
    usage_country: str
    count: int


class Place(NamedTuple):
    """What is to be known of a tenant: its country, for users without a location, and what it bought."""

    country: str
    purchased: tuple[Purchased, ...]


@dataclass(frozen=True, slots=True)
class Funds:
    """What one holder's calls may be paid from, in order.

    ``free_to`` are regions that conferences reach at nobody's cost, by the licence ``free_by``.  ``credit`` and
    ``conference_credit`` are the licences that open the balance, empty where none does.  ``plan`` is the first calling
    plan, ``conferencing`` the first licence of audio conferencing, ``per_minute`` the one whose inbound calls are
    charged too.  ``personal``: some pool is of one user alone and its name ends in ``/``, where the user's id goes.
    """

    domestic: tuple[Pool, ...] = ()
    international: tuple[Pool, ...] = ()
    conference: tuple[Pool, ...] = ()
    free_to: tuple[str, ...] = ()
    free_by: str = ""
    credit: str = ""
    conference_credit: str = ""
    plan: str = ""
    conferencing: str = ""
    per_minute: str = ""
    personal: bool = False


NO_FUNDS: Final = Funds()

Counts = Mapping[tuple[str, str], Mapping[str, int]]
"""Licences by tenant and licence, then by the country they are used in."""


def index_funds(
    holders: Iterable[Holder] | Mapping[Holder, int], places: Mapping[str, Place], facts: Facts
) -> dict[Holder, Funds]:
    """The funds of every holder; ``holders`` names each as often as there are users (and resource accounts) of it, or
    says how many there are."""
    assigned = Counter(holders)
    counts = _counts(assigned, places)
    return {holder: _funds(holder, _country(holder, places), counts, facts) for holder in assigned}


def personal(pools: tuple[Pool, ...], user_id: str) -> tuple[Pool, ...]:
    """The pools as one user has them: minutes that are not shared carry the user's id in their name."""
    return tuple([_own(pool, user_id) if pool.name.endswith("/") else pool for pool in pools])


def _own(pool: Pool, user_id: str) -> Pool:
    return Pool(pool.name + user_id, pool.capability, pool.usage_country, pool.total_minutes, pool.ends_with)


def pools_by_name(funds: Iterable[Funds]) -> dict[str, Pool]:
    """Every pool of these holders by name; the name of one that is a user's alone ends in ``/``."""
    return {pool.name: pool for each in funds for pool in all_pools(each)}


def all_pools(funds: Funds) -> tuple[Pool, ...]:
    """Every pool of a holder."""
    return (*funds.domestic, *funds.international, *funds.conference)


def _counts(assigned: Mapping[Holder, int], places: Mapping[str, Place]) -> Counts:
    """How many licences size the pools: those bought where a tenant says so of a licence, else those assigned."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    bought = {(tenant_id, each.sku) for tenant_id, place in places.items() for each in place.purchased}
    for holder, users in assigned.items():
        tenant_id, licences, _ = holder
        for licence in set(licences):
            if (tenant_id, licence) not in bought:
                _add(counts, tenant_id, licence, _country(holder, places), users)
    for tenant_id, place in places.items():
        for each in place.purchased:
            _add(counts, tenant_id, each.sku, each.usage_country, each.count)
    return counts


def _add(counts: dict[tuple[str, str], dict[str, int]], tenant_id: str, licence: str, country: str, more: int) -> None:
    by_country = counts.setdefault((tenant_id, licence), {})
    area = SAME_POOL.get(country, country)
    by_country[area] = by_country.get(area, 0) + more


def _country(holder: Holder, places: Mapping[str, Place]) -> str:
    """The pool's country: where the licence is used, not where the tenant is billed (DOMAIN 1)."""
    tenant_id, _, usage_location = holder
    place = places.get(tenant_id)
    country = usage_location or (place.country if place is not None else "")
    return SAME_POOL.get(country, country)


def _funds(holder: Holder, country: str, counts: Counts, facts: Facts) -> Funds:
    tenant_id, assigned, _ = holder
    licences = tuple(dict.fromkeys(assigned))
    plans = [plan for each in licences if (plan := facts.plan(each, country)) is not None]
    conferences = [row for each in licences if (row := facts.conference(each, country)) is not None]
    pairs = [_plan_pools(plan, country, counts.get((tenant_id, plan.capability), {})) for plan in plans]
    free = next((row for row in conferences if row.payer == "nobody"), None)
    per_minute = next((row.capability for row in conferences if row.payer == "credits"), "")
    included = next((row.capability for row in conferences if row.payer == "pool"), "")
    credit = "" if CREDIT_LICENCES.isdisjoint(licences) else CREDIT_CAPABILITY
    return Funds(
        domestic=tuple(domestic for domestic, _ in pairs if domestic.total_minutes),
        international=tuple(abroad for _, abroad in pairs if abroad.total_minutes),
        conference=tuple(_conference_pools(conferences, tenant_id, counts, facts)),
        free_to=free.destinations if free is not None else (),
        free_by=free.capability if free is not None else "",
        credit=credit,
        conference_credit=credit or per_minute,
        plan=plans[0].capability if plans else "",
        conferencing=included or per_minute,
        per_minute="" if included else per_minute,
        personal=any(plan.shared_by == "user" for plan in plans),
    )


def _plan_pools(plan: CallingPlan, country: str, licences: Mapping[str, int]) -> tuple[Pool, Pool]:
    """A plan's minutes at home and abroad; where it has both, either maximum ends both (DOMAIN 3, OR rule)."""
    place = f"{plan.capability}/{country}"
    name, count = (f"{place}/", 1) if plan.shared_by == "user" else (place, licences.get(country, 0))
    abroad_name = f"{place}/{INTERNATIONAL}"
    minutes, abroad_minutes = plan.domestic_minutes * count, plan.international_minutes * count
    both = plan.domestic_minutes > 0 and plan.international_minutes > 0
    return (
        Pool(name, plan.capability, country, minutes, ((abroad_name, abroad_minutes),) if both else ()),
        Pool(abroad_name, plan.capability, country, abroad_minutes, ((name, minutes),) if both else ()),
    )


def _conference_pools(
    rows: Iterable[ConferenceLicence], tenant_id: str, counts: Counts, facts: Facts
) -> Iterable[Pool]:
    """The tenant's minutes for conferences: those of all its licences that the same row of the facts covers."""
    for row in rows:
        by_country = counts.get((tenant_id, row.capability), {})
        licences = sum(n for country, n in by_country.items() if facts.conference(row.capability, country) is row)
        if row.payer == "pool" and licences:
            where = "" if row.countries[0] == "*" else "/" + "-".join(row.countries)
            yield Pool(f"{row.capability}/{ZONE_A_POOL}{where}", row.capability, "", row.minutes * licences)
