"""A call decided without placing it: the request it would be, and what ``explain`` prints of it (CONTRACT 2).

The decision is the gate's own, with each rule that was tried.  What the credit store would say is added from figures
that the caller of this room brings: the money there is, and the minutes that are left in each pool.  Minutes pay
first, in the order of the pools; where they end, money pays as for a call of its own, without free seconds (MONEY 2).
A month that ends in mid-call is not looked at: its new minutes would only make the talk longer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from policy.decide import decide
from policy.dial_plan import translate
from policy.dialling import bare, to_e164
from policy.directory import Directory, Tenant, Trunk
from policy.drawn import money_tariff
from policy.plan import NumberPlan
from policy.reasons import REASONS, Reason
from policy.verdict import Allow, CallRequest, LiveLimit, Pool, Rule, Verdict
from rating.money import format_amount
from rating.schedule import Change, resolve
from rating.tariff import SECONDS_PER_MINUTE, Tariff, max_talk_s, price_micros

TRUNK: Final = "explain"
"""The trunk of a call that is only explained, where the settings have none that it could come by."""

Document = dict[str, Any]
"""Strings, numbers, lists and None, ready to be printed as JSON."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who would call whom, when, on behalf of which user and how (CONTRACT 6, X-Callgate-Kind)."""

    tenant_id: str
    caller: str
    called: str
    at_unix_ms: int
    user_id: str = ""
    kind: str = ""


def explain(directory: Directory, plan: NumberPlan, question: Question) -> Verdict:
    """Decide the call, with every rule that was tried, as if it arrived where the tenant's calls arrive."""
    trunk = _arrival(directory, plan, question)
    request = CallRequest(
        trunk=trunk.name,
        dialled=question.called,
        caller=question.caller,
        at_unix_ms=question.at_unix_ms,
        x_user=question.user_id if trunk.role == "access" else "",
        x_kind=question.kind if trunk.role == "access" else "",
    )
    return decide(replace(directory, trunks={**directory.trunks, trunk.name: trunk}), plan, request, explain=True)


def _arrival(directory: Directory, plan: NumberPlan, question: Question) -> Trunk:
    """The trunk such a call arrives by: a carrier's where it comes from outside, else the tenant's own.

    Where the settings have none, one is made up for the question, and where the caller's number says who pays, the
    question says it instead.
    """
    inbound = _is_inbound(directory, plan, question)
    role: Literal["access", "carrier"] = "carrier" if inbound else "access"
    known = [trunk for trunk in directory.trunks.values() if trunk.role == role]
    own = [trunk for trunk in known if trunk.tenant == question.tenant_id or (inbound and not trunk.tenant)]
    found = next(iter(own or known), Trunk(TRUNK, role))
    return found if inbound else replace(found, tenant=question.tenant_id, tenant_from="")


def _is_inbound(directory: Directory, plan: NumberPlan, question: Question) -> bool:
    """Whether the number is one of the tenant's that strangers call: a service number, or another from outside."""
    tenant = directory.tenants.get(question.tenant_id, Tenant(id=question.tenant_id))
    called, caller = _e164(plan, tenant, question.called, is_called=True), _e164(plan, tenant, question.caller)
    service = directory.service_numbers.get(called)
    if service is not None:
        return service.tenant_id == tenant.id
    if question.user_id or question.kind or _is_own(directory, tenant, caller):
        return False
    return _is_own(directory, tenant, called) or directory.unassigned.find(called, tenant.id) is not None


def _e164(plan: NumberPlan, tenant: Tenant, number: str, *, is_called: bool = False) -> str:
    return to_e164(plan, translate(tenant.dial_plan, bare(number), is_called=is_called), tenant.country, "e164")


def _is_own(directory: Directory, tenant: Tenant, number: str) -> bool:
    owner = directory.users_by_number.get(number) or directory.service_numbers.get(number)
    return owner is not None and owner.tenant_id == tenant.id


@dataclass(slots=True)
class _Reach:
    """How far minutes and money reach: what each pays, in order, and what is to be told of it."""

    seconds: int
    pays: list[Document]
    rules: list[Rule]
    limit: str = ""
    """The spending limit, as ``SCOPE/PERIOD``, that leaves less than is available."""


def document(
    verdict: Verdict,
    available_micros: int,
    cap_s: int,
    minutes_left: Mapping[str, int] | None = None,
    counted: Mapping[str, int] | None = None,
    at_unix_ms: int = 0,
) -> Document:
    """The document of CONTRACT 2; ``available_micros`` as MONEY 1 has it, ``cap_s`` the longest call there can be.

    ``minutes_left`` are the minutes that this month still has in each pool, by its name; a pool that is not named is
    full.  ``counted`` are micro-units counted against limits in this hour, day or month, by ``SCOPE/PERIOD``, and live
    calls by scope (policy.limits).  A call that policy allows but that nothing can pay for, or that a limit stops, is
    shown as the refusal it would meet.  ``at_unix_ms`` is the moment of the question: the price is that of a call that
    is answered then, with the changes it would meet.
    """
    if not isinstance(verdict, Allow):
        return _page(verdict, verdict.reason, None, 0, [], verdict.rules)
    longest_s = cap_s if verdict.max_call_s is None else min(cap_s, verdict.max_call_s)
    tariff = tariff_if_answered(verdict.tariff, verdict.changes, at_unix_ms, longest_s)
    full = _full(verdict, counted or {})
    rules = (*verdict.rules, *(Rule("limit", f"{scope}: all calls that it allows are live", False) for scope in full))
    if full:
        return _page(verdict, REASONS["LIMIT_CALLS"], tariff, 0, [], rules, full[0])
    if verdict.tariff is None and not verdict.pools:
        return _page(verdict, None, None, None if verdict.emergency else longest_s, [], rules)
    reach = _reach(verdict, tariff, available_micros, longest_s, minutes_left or {}, counted or {})
    want = "LIMIT_SPEND" if reach.limit else "NO_MINUTES" if verdict.tariff is None else "NO_CREDIT"
    refusal = None if reach.seconds else REASONS[want]
    scope = "" if reach.seconds else reach.limit
    return _page(verdict, refusal, tariff, reach.seconds, reach.pays, (*rules, *reach.rules), scope)


def _full(verdict: Allow, counted: Mapping[str, int]) -> list[str]:
    """The scopes whose live calls are as many as may be."""
    limits = verdict.limits
    most = [] if limits.max_calls is None else [LiveLimit("tenant", limits.max_calls)]
    return [limit.scope for limit in (*most, *limits.live) if counted.get(limit.scope, 0) >= limit.most_calls]


def _reach(
    verdict: Allow,
    priced: Tariff | None,
    available_micros: int,
    longest_s: int,
    minutes_left: Mapping[str, int],
    counted: Mapping[str, int],
) -> _Reach:
    reach = _Reach(0, [], [])
    for pool in verdict.pools:
        left = usable_minutes(pool, minutes_left)
        seconds = min(left * SECONDS_PER_MINUTE, longest_s - reach.seconds)
        reach.rules.append(Rule("minutes", f"{pool.name}: {left} of {pool.total_minutes} min left", left > 0))
        _pay(reach, "pool", pool.name, seconds, 0)
    # after minutes, money pays as for a call of its own, but without free seconds (MONEY 2)
    tariff = money_tariff(priced, f"pool {reach.seconds} - -") if reach.seconds else priced
    if tariff is not None:
        budget_micros = _room(reach, verdict, available_micros, counted)
        seconds = max_talk_s(tariff, budget_micros, longest_s - reach.seconds)
        told = f"{format_amount(available_micros)} available: {seconds} s"
        reach.rules.append(Rule("credit", told, reach.seconds + seconds > 0))
        _pay(reach, "credits", None, seconds, price_micros(tariff, seconds) if seconds else 0)
    return reach


def _room(reach: _Reach, verdict: Allow, available_micros: int, counted: Mapping[str, int]) -> int:
    """The money that is available and that every spending limit leaves."""
    room = available_micros
    for limit in verdict.limits.spend:
        scope = f"{limit.scope}/{limit.period}"
        left = limit.most_micros - counted.get(scope, 0)
        told = f"{scope}: {format_amount(max(0, left))} of {format_amount(limit.most_micros)} left"
        reach.rules.append(Rule("limit", told, left > 0))
        if left < room:
            room, reach.limit = left, scope
    return max(0, room) if reach.limit else room


def _pay(reach: _Reach, payer: str, pool: str | None, seconds: int, micros: int) -> None:
    if seconds > 0:
        reach.seconds += seconds
        reach.pays.append({"payer": payer, "pool": pool, "seconds": seconds, "amount": format_amount(micros)})


def usable_minutes(pool: Pool, minutes_left: Mapping[str, int]) -> int:
    """Minutes that a pool can still give: none where one that it ends with is used up (DOMAIN 3, OR rule)."""
    if any(minutes_left.get(name, total) <= 0 for name, total in pool.ends_with):
        return 0
    return max(0, minutes_left.get(pool.name, pool.total_minutes))


def _page(
    verdict: Verdict,
    reason: Reason | None,
    tariff: Tariff | None,
    max_seconds: int | None,
    pays: list[Document],
    rules: tuple[Rule, ...],
    limit: str = "",
) -> Document:
    return {
        "allowed": reason is None,
        "reason": reason.code if reason else None,
        "sip_status": reason.sip_status if reason else 200,
        "text": reason.text if reason else None,
        "limit": limit or None,
        "kind": verdict.kind,
        "number": verdict.number,
        "destination": verdict.destination,
        "currency": verdict.currency,
        "pays": pays,
        "rate": rate_document(tariff) if tariff is not None else None,
        "max_seconds": max_seconds,
        "rules": [{"name": rule.name, "outcome": rule.outcome, "passed": rule.passed} for rule in rules],
    }


def rate_document(tariff: Tariff) -> Document:
    """A price in decimal strings and whole seconds; ``changes`` are its steps, in seconds of talk."""
    return {
        "per_minute": format_amount(tariff.rate_micros_per_min),
        "connect": format_amount(tariff.connect_micros),
        "minimum": format_amount(tariff.minimum_micros),
        "first_incr_s": tariff.first_incr_s,
        "next_incr_s": tariff.next_incr_s,
        "free_s": tariff.free_s,
        "changes": [
            {"from_s": from_s, "per_minute": format_amount(rate), "next_incr_s": next_incr_s}
            for from_s, rate, next_incr_s in tariff.steps
        ],
    }


def tariff_if_answered(
    tariff: Tariff | None, changes: Sequence[Change], at_unix_ms: int, longest_s: int
) -> Tariff | None:
    """The tariff of a call of at most ``longest_s`` seconds that is answered at a moment."""
    return None if tariff is None else resolve(tariff, changes, at_unix_ms, longest_s)
