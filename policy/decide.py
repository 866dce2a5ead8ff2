"""May this call go, and who pays: the rules of its direction are tried in order until one concludes.

One call, one pass over one directory snapshot; nothing is asked of anybody else.  Money is not looked at here: a
verdict says who pays and at which price, and the credit store says whether there is enough of it.
"""

from dataclasses import replace
from typing import Final

from policy import inbound, outbound
from policy.case import Case, CaseRule, deny
from policy.directory import Directory
from policy.plan import NumberPlan
from policy.reasons import REASONS, Reason
from policy.verdict import Allow, CallRequest, Deny, Rule, Verdict

Tried = tuple[tuple[str, ...], ...]
"""The names of a direction's rules up to each of them, made once: a verdict that says what was tried costs nothing."""


def _tried(rules: tuple[CaseRule, ...]) -> Tried:
    return tuple(tuple(rule.name for rule in rules[: place + 1]) for place in range(len(rules)))


_DIRECTIONS: Final = {
    "access": (outbound.identify, outbound.RULES, _tried(outbound.RULES)),
    "carrier": (inbound.identify, inbound.RULES, _tried(inbound.RULES)),
}
"""What a trunk's calls are, by its role: who they are from is found out first, then the rules are tried."""


def decide(directory: Directory, plan: NumberPlan, request: CallRequest, explain: bool = False) -> Verdict:
    """Allow or Deny for one call; ``rules`` of the verdict are filled only when ``explain`` is asked for.

    ``tried`` always names the rules that were tried, in order: all passed but the last, which concluded.
    """
    trunk = directory.trunks.get(request.trunk)
    if trunk is None:
        return Deny(REASONS["UNKNOWN_SOURCE"], caller=request.caller, dialled=request.dialled)
    case = Case(directory, plan, request, trunk)
    identify, rules, tried = _DIRECTIONS[trunk.role]
    identify(case)
    return _explained(case, rules, tried) if explain else _decided(case, rules, tried)


def _decided(case: Case, rules: tuple[CaseRule, ...], tried: Tried) -> Verdict:
    for place, rule in enumerate(rules):
        outcome = rule.check(case)
        if outcome is not None:
            return _verdict(case, outcome, tried[place])
    raise AssertionError("the last rule concludes")


def _explained(case: Case, rules: tuple[CaseRule, ...], tried: Tried) -> Verdict:
    """The same, with each rule that was tried and what it said."""
    told: list[Rule] = []
    for place, rule in enumerate(rules):
        outcome = rule.check(case)
        refused = isinstance(outcome, Reason)
        told.append(Rule(rule.name, outcome.text if isinstance(outcome, Reason) else rule.tell(case), not refused))
        if outcome is not None:
            return replace(_verdict(case, outcome, tried[place]), rules=tuple(told))
    raise AssertionError("the last rule concludes")


def _verdict(case: Case, outcome: Reason | Allow, tried: tuple[str, ...]) -> Verdict:
    verdict = deny(case, outcome) if isinstance(outcome, Reason) else outcome
    verdict.tried = tried
    return verdict
