"""Calls from carriers: toll-free calls are paid by the number's tenant, all others by nobody here."""

from dataclasses import replace
from typing import Any

import pytest

from policy.decide import decide
from policy.directory import Directory, ServiceNumber, TenantLimits, Trunk
from policy.plan import NumberPlan
from policy.verdict import Allow, CallRequest, Deny, Limits, Route, Verdict
from rating.tariff import Tariff

AT_MS = 1_767_600_000_000
CALLER = "+33123456789"


def ask(dialled: str, caller: str = CALLER, trunk: str = "carrier", **fields: Any) -> CallRequest:
    return CallRequest(trunk, dialled, caller, AT_MS, **fields)


def refused(verdict: Verdict) -> tuple[str, int]:
    assert isinstance(verdict, Deny), verdict
    return verdict.reason.code, verdict.reason.sip_status


def allowed(verdict: Verdict) -> Allow:
    assert isinstance(verdict, Allow), verdict
    return verdict


@pytest.mark.parametrize("dialled", ["+18005550199", "18005550199", "+1-800-555-0199"])
def test_toll_free_to_a_conference_is_paid_by_its_tenant(directory: Directory, plan: NumberPlan, dialled: str) -> None:
    verdict = allowed(decide(directory, plan, ask(dialled)))
    assert (verdict.tenant_id, verdict.kind, verdict.payer) == ("contoso", "conf_in", "credits")
    assert verdict.tariff == Tariff(40_000)
    assert (verdict.number, verdict.number_type, verdict.caller) == ("+18005550199", "toll_free", CALLER)
    assert (verdict.destination, verdict.number_class) == ("to 1800", "toll_free")
    assert verdict.routes == (Route("pbx", "sip:127.0.0.2:5060", "+18005550199"),)
    assert verdict.user_id == ""


def test_toll_free_to_a_call_queue(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+448085550197", trunk="uk-carrier")))
    assert (verdict.tenant_id, verdict.kind, verdict.tariff) == ("fabrikam", "ucap_in", Tariff(50_000))
    assert verdict.routes == (Route("shared", "sip:127.0.0.9:5060", "+448085550197"),)


@pytest.mark.parametrize(
    ("dialled", "kind", "tenant_id"),
    [("+14255550198", "conf_in", "contoso"), ("+442079460196", "ucap_in", "fabrikam")],
)
def test_toll_calls_to_service_numbers_cost_the_tenant_nothing(
    directory: Directory, plan: NumberPlan, dialled: str, kind: str, tenant_id: str
) -> None:
    verdict = allowed(decide(directory, plan, ask(dialled)))
    assert (verdict.kind, verdict.tenant_id, verdict.number_type) == (kind, tenant_id, "toll")
    assert (verdict.payer, verdict.tariff) == ("none", None)


def test_calls_to_a_user_cost_nothing_and_go_to_the_tenants_trunk(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+14255550100")))
    assert (verdict.kind, verdict.payer, verdict.user_id) == ("user_in", "none", "alice")
    assert verdict.routes == (Route("pbx", "sip:127.0.0.2:5060", "+14255550100"),)
    carol = allowed(decide(directory, plan, ask("+442079460001")))
    assert (carol.tenant_id, carol.routes[0].trunk) == ("fabrikam", "shared")


@pytest.mark.parametrize("dialled", ["+14255559999", "911", "112", "urn:service:sos", "alice", "", "+"])
def test_numbers_nobody_here_owns(directory: Directory, plan: NumberPlan, dialled: str) -> None:
    assert refused(decide(directory, plan, ask(dialled))) == ("UNKNOWN_NUMBER", 404)


def test_a_service_number_whose_tenant_is_gone(directory: Directory, plan: NumberPlan) -> None:
    lost = replace(directory, tenants={})
    assert refused(decide(lost, plan, ask("+18005550199"))) == ("UNKNOWN_NUMBER", 404)


def test_toll_free_without_a_price_is_refused(directory: Directory, plan: NumberPlan) -> None:
    number = ServiceNumber("+443000000000", "contoso", "toll_free", "conference", "pbx")
    services = {**directory.service_numbers, number.number: number}
    unpriced = replace(directory, service_numbers=services, decks={})
    assert refused(decide(unpriced, plan, ask(number.number))) == ("NO_RATE", 404)
    both_ways = replace(directory, service_numbers=services)
    assert allowed(decide(both_ways, plan, ask(number.number))).tariff == Tariff(20_000)


def test_the_tenants_limits_hold_for_inbound_calls(directory: Directory, plan: NumberPlan) -> None:
    def limited(limits: TenantLimits) -> Directory:
        tenant = replace(directory.tenants["contoso"], limits=limits)
        return replace(directory, tenants={**directory.tenants, "contoso": tenant})

    dear = limited(TenantLimits(max_rate_micros_per_min=39_999))
    assert refused(decide(dear, plan, ask("+18005550199"))) == ("RATE_TOO_HIGH", 403)
    assert allowed(decide(dear, plan, ask("+14255550100"))).payer == "none"
    few = limited(TenantLimits(max_calls=3))
    assert allowed(decide(few, plan, ask("+18005550199"))).limits == Limits(max_calls=3)


def test_where_the_number_is_answered_must_be_there(directory: Directory, plan: NumberPlan) -> None:
    gone = replace(directory, trunks={"carrier": directory.trunks["carrier"]})
    assert refused(decide(gone, plan, ask("+18005550199"))) == ("NO_ROUTE", 404)
    assert refused(decide(gone, plan, ask("+14255550100"))) == ("NO_ROUTE", 404)
    silent = replace(directory, trunks={**directory.trunks, "pbx": Trunk("pbx", "access", tenant="contoso")})
    assert refused(decide(silent, plan, ask("+18005550199"))) == ("NO_ROUTE", 404)


def test_a_carrier_of_one_tenant_may_send_national_numbers(directory: Directory, plan: NumberPlan) -> None:
    trunk = Trunk("carrier", "carrier", tenant="contoso", numbers="national")
    local = replace(directory, trunks={**directory.trunks, "carrier": trunk})
    verdict = allowed(decide(local, plan, ask("8005550199", caller="4255551234")))
    assert (verdict.number, verdict.caller) == ("+18005550199", "+14255551234")


def test_a_service_number_for_unassigned_numbers(directory: Directory, plan: NumberPlan) -> None:
    number = ServiceNumber("+18005550100", "contoso", "toll_free", "unassigned", "pbx")
    directory = replace(directory, service_numbers={number.number: number})
    assert allowed(decide(directory, plan, ask(number.number))).kind == "unassigned_in"
