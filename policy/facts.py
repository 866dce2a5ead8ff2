"""Facts as tables: what each licence includes, Zone A, dial-out policies, premium numbers, high-risk ranges.

They are the rows of policy/data (its SOURCES.md names where each comes from), read once by the gateway and carried by
the directory, so that minutes are worked out when the directory is made and a decision only looks them up.  A
directory without facts knows no plan, no zone and no policy but the one that closes nothing.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

ANYWHERE: Final = "DialoutCPCandPSTNInternational"
"""The dial-out policy that closes nothing: the default of every tenant (DOMAIN 2)."""

EVERY: Final = "*"
"""All usage countries, or all destinations, but those a row names after it with a minus."""


@dataclass(frozen=True, slots=True)
class CallingPlan:
    """Minutes a month that one licence of a calling plan includes in a usage country.

    ``shared_by`` ``tenant``: all licences of one plan and country make one pool; ``user``: each has its own minutes.
    """

    capability: str
    name: str
    countries: tuple[str, ...]
    domestic_minutes: int
    international_minutes: int
    shared_by: Literal["tenant", "user"]


@dataclass(frozen=True, slots=True)
class ConferenceLicence:
    """Who pays for an organiser's dial-out: a pool of ``minutes`` a licence, nobody, or credits without a licence.

    ``destinations`` are regions, ``zone_a``, or ``*`` for every one.
    """

    capability: str
    name: str
    countries: tuple[str, ...]
    payer: Literal["pool", "nobody", "credits"]
    destinations: tuple[str, ...]
    minutes: int


_Row = TypeVar("_Row", bound=CallingPlan | ConferenceLicence)


@dataclass(frozen=True, slots=True)
class DialOutPolicy:
    """How far conferences and users may dial out; emergency numbers and colleagues are always within reach."""

    name: str
    conference: Literal["any", "domestic", "zone_a", "none"]
    user: Literal["international", "domestic", "none"]


@dataclass(frozen=True, slots=True)
class PremiumRule:
    """Which premium and shared-cost numbers a usage country lets call: every one, or those that begin so."""

    every: bool
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All tables by what they are asked by."""

    plans: Mapping[str, tuple[CallingPlan, ...]] = field(default_factory=dict)
    conferences: Mapping[str, tuple[ConferenceLicence, ...]] = field(default_factory=dict)
    zone_a: frozenset[str] = frozenset()
    dial_out: Mapping[str, DialOutPolicy] = field(default_factory=dict)
    premium: Mapping[str, PremiumRule] = field(default_factory=dict)
    high_risk: tuple[str, ...] = ()
    """Prefixes with ``+`` that are closed to tenants that do not open them."""

    def plan(self, capability: str, country: str) -> CallingPlan | None:
        """The calling plan of a licence used in a country; None where it is none, or none there."""
        return next((row for row in self.plans.get(capability, ()) if _covers(row.countries, country)), None)

    def conference(self, capability: str, country: str) -> ConferenceLicence | None:
        """What a licence of audio conferencing used in a country gives; None where it is none."""
        return next((row for row in self.conferences.get(capability, ()) if _covers(row.countries, country)), None)


def load_facts(
    plans: Iterable[str],
    conferences: Iterable[str],
    zone_a: Iterable[str],
    dial_out: Iterable[str],
    premium: Iterable[str],
    high_risk: Iterable[str],
) -> Facts:
    """The facts from the text lines of policy/data's six tables, headers first.

    Raises ValueError or KeyError where a table is not what this release reads.
    """
    return Facts(
        _grouped(_plan(row) for row in csv.DictReader(plans)),
        _grouped(_conference(row) for row in csv.DictReader(conferences)),
        frozenset(row["region"] for row in csv.DictReader(zone_a)),
        {row["policy"]: _dial_out(row) for row in csv.DictReader(dial_out)},
        {row["usage_country"]: _premium(row["numbers"]) for row in csv.DictReader(premium)},
        tuple(row["range"] for row in csv.DictReader(high_risk)),
    )


def _covers(countries: tuple[str, ...], country: str) -> bool:
    return country in countries or (countries[0] == EVERY and f"-{country}" not in countries)


def _grouped(rows: Iterable[_Row]) -> dict[str, tuple[_Row, ...]]:
    """Rows of one licence together, in file order: the first that covers a country holds there."""
    found: dict[str, tuple[_Row, ...]] = {}
    for row in rows:
        found[row.capability] = (*found.get(row.capability, ()), row)
    return found


_SHARED_BY: Final[Mapping[str, Literal["tenant", "user"]]] = {"tenant": "tenant", "user": "user"}
_PAYER: Final[Mapping[str, Literal["pool", "nobody", "credits"]]] = {
    "pool": "pool",
    "nobody": "nobody",
    "credits": "credits",
}
_CONFERENCE: Final[Mapping[str, Literal["any", "domestic", "zone_a", "none"]]] = {
    "any": "any",
    "domestic": "domestic",
    "zone_a": "zone_a",
    "none": "none",
}
_USER: Final[Mapping[str, Literal["international", "domestic", "none"]]] = {
    "international": "international",
    "domestic": "domestic",
    "none": "none",
}


def _plan(row: dict[str, str]) -> CallingPlan:
    minutes = int(row["domestic_minutes"]), int(row["international_minutes"])
    where, shared_by = _words(row["usage_countries"]), _SHARED_BY[row["shared_by"]]
    return CallingPlan(row["capability"], row["name"], where, *minutes, shared_by)


def _conference(row: dict[str, str]) -> ConferenceLicence:
    where, reach = _words(row["usage_countries"]), _words(row["destinations"])
    return ConferenceLicence(row["capability"], row["name"], where, _PAYER[row["payer"]], reach, int(row["minutes"]))


def _dial_out(row: dict[str, str]) -> DialOutPolicy:
    return DialOutPolicy(row["policy"], _CONFERENCE[row["conference"]], _USER[row["user"]])


def _premium(numbers: str) -> PremiumRule:
    if numbers in {"every", "none"}:
        return PremiumRule(numbers == "every", ())
    return PremiumRule(False, _words(numbers))


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split())
    if not words:
        raise ValueError("an empty list: write * for all")
    return words
