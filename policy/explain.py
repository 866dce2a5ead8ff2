"""A call decided without placing it: what ``explain`` prints (CONTRACT 2), and the request it decides.

The document is made of a verdict that was reached with ``explain=True`` and of the money there is; it holds strings,
numbers, lists and None only, ready to be printed as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from policy.decide import decide
from policy.dial_plan import translate
from policy.dialling import bare, to_e164
from policy.directory import Directory, Tenant, Trunk
from policy.plan import NumberPlan
from policy.reasons import REASONS
from policy.verdict import Allow, CallRequest, Verdict
from rating.money import format_amount
from rating.tariff import max_talk_s, price_micros

TRUNK: Final = "explain"
"""The trunk of a call that is only explained: an access trunk of the tenant, so that no other trunk is needed."""


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
    """Decide the call, with every rule that was tried.

    It is an inbound call where the tenant owns the number called and not the caller's, else an outbound one.
    """
    tenant = directory.tenants.get(question.tenant_id, Tenant(id=question.tenant_id))
    inbound = _is_own(directory, plan, tenant, question.called) and not _is_own(
        directory, plan, tenant, question.caller
    )
    role: Trunk = Trunk(TRUNK, "carrier" if inbound else "access", tenant=question.tenant_id)
    request = CallRequest(
        trunk=TRUNK,
        dialled=question.called,
        caller=question.caller,
        at_unix_ms=question.at_unix_ms,
        x_user="" if inbound else question.user_id,
        x_kind="" if inbound else question.kind,
    )
    return decide(replace(directory, trunks={**directory.trunks, TRUNK: role}), plan, request, explain=True)


def _is_own(directory: Directory, plan: NumberPlan, tenant: Tenant, number: str) -> bool:
    found = to_e164(plan, translate(tenant.dial_plan, bare(number)), tenant.country, "e164")
    owner = directory.service_numbers.get(found) or directory.users_by_number.get(found)
    return owner is not None and owner.tenant_id == tenant.id


def document(verdict: Verdict, available_micros: int, cap_s: int) -> Mapping[str, object]:
    """The document of CONTRACT 2; ``available_micros`` as MONEY 1 has it, ``cap_s`` the longest call there can be.

    A call that policy allows but that the balance cannot pay for is shown as the refusal it would meet.
    """
    if not isinstance(verdict, Allow):
        return _page(verdict, verdict.reason.code, verdict.reason.sip_status)
    seconds = min(cap_s, verdict.max_call_s) if verdict.max_call_s is not None else cap_s
    if verdict.tariff is None:
        return _page(verdict, None, 200, max_seconds=seconds)
    rate = format_amount(verdict.tariff.rate_micros_per_min)
    seconds = max_talk_s(verdict.tariff, available_micros, seconds)
    if seconds == 0:
        refusal = REASONS["NO_CREDIT"]
        return _page(verdict, refusal.code, refusal.sip_status, rate=rate)
    amount = format_amount(price_micros(verdict.tariff, seconds))
    pays: list[dict[str, object]] = [{"payer": verdict.payer, "pool": None, "seconds": seconds, "amount": amount}]
    return _page(verdict, None, 200, pays=pays, rate=rate, max_seconds=seconds)


def _page(
    verdict: Verdict,
    reason: str | None,
    sip_status: int,
    pays: list[dict[str, object]] | None = None,
    rate: str | None = None,
    max_seconds: int = 0,
) -> Mapping[str, object]:
    return {
        "allowed": reason is None,
        "reason": reason,
        "sip_status": sip_status,
        "kind": verdict.kind,
        "number": verdict.number,
        "destination": verdict.destination,
        "pays": pays or [],
        "rate": rate,
        "max_seconds": max_seconds,
        "rules": [{"rule": rule.name, "passed": rule.passed, "outcome": rule.outcome} for rule in verdict.rules],
    }
