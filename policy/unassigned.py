"""Numbers of a tenant that nobody has: ordered rules say who takes the calls to them (DOMAIN 3, row 13).

A rule is found by a pattern, as in a dial plan, and the first that is found wins.  Any stranger can call any number,
so what a call costs must not grow with the rules of all tenants: rules are kept under the digits that a number must
begin with for them, and only those of the called number's own beginnings are run.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from policy.patterns import MAX_DIALLED, PatternError, check_pattern

PATTERNS_KEPT: Final = 10_000
"""Compiled patterns kept: ten tenants with as many rules as there may be."""

_LEAD: Final = re.compile(r"\^\\\+([0-9]+)")
_QUANTIFIERS: Final = frozenset("?*{")


class UnassignedRule(NamedTuple):
    """One rule of a tenant: a pattern on the number called, E.164 with +, and who takes the call.

    ``target`` is the id of a user, a service number or the name of a trunk.
    """

    pattern: str
    target: str


class Found(NamedTuple):
    """The rule that holds for a number, and whose it is."""

    tenant_id: str
    target: str


class _Kept(NamedTuple):
    place: int
    tenant_id: str
    rule: UnassignedRule


class UnassignedRules:
    """The rules of all tenants; immutable."""

    __slots__ = ("_by_lead",)

    def __init__(self, rules: Mapping[str, Iterable[UnassignedRule]]) -> None:
        """Take the rules of each tenant by its id; tenants are asked in the order in which they stand here."""
        self._by_lead: dict[str, list[_Kept]] = {}
        place = 0
        for tenant_id, own in rules.items():
            for rule in own:
                self._by_lead.setdefault(lead(rule.pattern), []).append(_Kept(place, tenant_id, rule))
                place += 1

    def find(self, number: str, tenant_id: str = "") -> Found | None:
        """The first rule found in a number (E.164 with +), of one tenant where its id is given; None: there is none."""
        if not self._by_lead:
            return None
        digits = number[1:MAX_DIALLED]
        asked = [kept for length in range(len(digits) + 1) for kept in self._by_lead.get(digits[:length], ())]
        for kept in sorted(asked):
            pattern = None if tenant_id and kept.tenant_id != tenant_id else _compiled(kept.rule.pattern)
            if pattern is not None and pattern.search(number):
                return Found(kept.tenant_id, kept.rule.target)
        return None


def lead(pattern: str) -> str:
    r"""The digits that a number must begin with for a pattern: ``1425`` of ``^\+1425\d+$``; empty where any may do."""
    match = _LEAD.match(pattern)
    if match is None or "|" in pattern:
        return ""
    digits = match[1]
    return digits[:-1] if pattern[match.end() : match.end() + 1] in _QUANTIFIERS else digits


@lru_cache(PATTERNS_KEPT)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern as Python runs it; None for one that cannot be used: it stops nothing (as in policy.dial_plan)."""
    try:
        check_pattern(pattern)
        return re.compile(pattern, re.ASCII)
    except (PatternError, re.error):
        return None
