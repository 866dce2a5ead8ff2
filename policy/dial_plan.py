"""Dial plans: what people dial, translated by ordered rules; the first rule whose pattern is found wins.

Patterns and translations are written as in .NET (CONTRACT 4), whose ``$1`` is Python's ``\\g<1>``.  Rules are checked
when they are provisioned (policy.patterns), and once more before they are first run: a rule that got past that in some
other way is passed over, because it must stop no call, least of all an emergency call.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from policy.directory import DialRule
from policy.patterns import MAX_DIALLED, PatternError, check_pattern

MAX_RULES: Final = 25
"""Rules of one plan (DOMAIN 2, DialPlan)."""

MAX_ROUNDS: Final = 3
"""How often a result without + goes through the rules again (DOMAIN 8, end): two rules could feed each other."""

MAX_TRANSLATION: Final = 64
"""Characters of a translation: twice what may be dialled."""

RULES_KEPT: Final = 10_000
"""Compiled rules kept: four hundred full plans."""

_GROUP: Final = re.compile(r"\$(?:(\d)|\{(\d)\})")
_TRANSLATION: Final = re.compile(r"(?:[0-9+*#]|\$[0-9]|\$\{[0-9]\})*")


class DialPlanError(ValueError):
    """A rule that cannot be used: what is wrong with it and what to write instead."""


def check_dial_plan(rules: Iterable[DialRule]) -> None:
    """Raise DialPlanError where a plan has too many rules or one that cannot be used."""
    for number, rule in enumerate(rules, start=1):
        if number > MAX_RULES:
            raise DialPlanError(f"more than {MAX_RULES} rules: a plan has at most that many")
        try:
            check_rule(rule)
        except DialPlanError as error:
            raise DialPlanError(f"rule {number}: {error}") from error


def check_rule(rule: DialRule) -> None:
    """Raise DialPlanError where pattern and translation of a rule do not go together or could take too long."""
    try:
        check_pattern(rule.pattern)
        groups = re.compile(rule.pattern, re.ASCII).groups
    except (PatternError, re.error) as error:
        raise DialPlanError(f"pattern: {error}") from error
    if len(rule.translation) > MAX_TRANSLATION or _TRANSLATION.fullmatch(rule.translation) is None:
        raise DialPlanError(f"translation {rule.translation[:80]!r}: write digits, + * # and $1 to $9 for groups")
    for match in _GROUP.finditer(rule.translation):
        if int(match[1] or match[2]) > groups:
            raise DialPlanError(f"translation {rule.translation!r} names {match[0]}: the pattern has {groups} groups")


def translate(rules: tuple[DialRule, ...], dialled: str, *, is_called: bool = False) -> str:
    """What was dialled, after the plan; unchanged where no rule applies or it is E.164 with + already.

    A result without + is tried again, so that rules can build on each other.  Of a number that is called
    (``is_called``), and of no caller's, the external access prefix is taken away first; alone it is no prefix.
    """
    if rules and rules[0].external:
        if is_called and dialled != rules[0].pattern:
            dialled = dialled.removeprefix(rules[0].pattern)
        rules = rules[1:]
    for _ in range(MAX_ROUNDS):
        if dialled.startswith("+"):
            break
        result = _first_match(rules, dialled)
        if result is None or result == dialled:
            break
        dialled = result[:MAX_DIALLED]
    return dialled


def _first_match(rules: tuple[DialRule, ...], dialled: str) -> str | None:
    for rule in rules:
        usable = _compiled(rule)
        if usable is None:
            continue
        result, found = usable[0].subn(usable[1], dialled, count=1)
        if found:
            return result
    return None


@lru_cache(RULES_KEPT)
def _compiled(rule: DialRule) -> tuple[re.Pattern[str], str] | None:
    """The rule as Python runs it, ``$1`` as ``\\g<1>``; None for one that cannot be used."""
    try:
        check_rule(rule)
    except DialPlanError:
        return None
    return re.compile(rule.pattern, re.ASCII), _GROUP.sub(r"\\g<\1\2>", rule.translation)
