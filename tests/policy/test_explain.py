"""Explained decisions: the same verdict as without, each rule that was tried, and what the money reaches for."""

from dataclasses import replace
from typing import Any

from policy.decide import decide
from policy.directory import Directory, TenantLimits
from policy.explain import Question, document, explain, usable_minutes
from policy.plan import NumberPlan
from policy.unassigned import UnassignedRule
from policy.verdict import CallRequest, Pool, Rule
from rating.deck import Deck, RateRow
from rating.tariff import Tariff

from .licensed import FR, US, ZW, service, user, world

AT_MS = 1_767_600_000_000
ALICE = "+14255550100"


def question(called: str, caller: str = ALICE, tenant_id: str = "contoso", **more: str) -> Question:
    return Question(tenant_id, caller, called, AT_MS, **more)


def test_an_explained_verdict_is_the_verdict_with_its_rules(directory: Directory, plan: NumberPlan) -> None:
    for dialled in ("+442079461234", "+979123456789", "911", "+44", "+442079460000"):
        request = CallRequest("pbx", dialled, ALICE, AT_MS)
        plain, told = decide(directory, plan, request), decide(directory, plan, request, explain=True)
        assert plain.rules == ()
        assert told.rules
        assert replace(told, rules=()) == plain
    inbound = CallRequest("carrier", "+18005550199", "+33123456789", AT_MS)
    assert [rule.name for rule in decide(directory, plan, inbound, explain=True).rules] == [
        "owner", "barred_toll_free", "rate", "rate_limit", "delivery",
    ]  # fmt: skip


def test_every_rule_tried_is_named_in_order(directory: Directory, plan: NumberPlan) -> None:
    rules = explain(directory, plan, question("+442079461234")).rules
    assert [(rule.name, rule.outcome) for rule in rules] == [
        ("emergency", "no emergency number"),
        ("payer", "tenant contoso, user alice"),
        ("kind", "user_out"),
        ("number", "+442079461234: GB fixed"),
        ("blocked_user", "not blocked"),
        ("on_net", "outside number"),
        ("blocked_prefix", "not blocked"),
        ("high_risk", "no high-risk range"),
        ("night", "not closed now"),
        ("dial_out_policy", "DialoutCPCandPSTNInternational"),
        ("number_class", "ordinary number"),
        ("pools", "no minutes"),
        ("licence", "licensing none: credits by MCOPSTNPP"),
        ("rate", "0.020000 a minute by prefix 44"),
        ("rate_limit", "within the limits"),
        ("route", "carrier found"),
    ]
    assert all(rule.passed for rule in rules)


def test_the_rule_that_refuses_is_the_last(directory: Directory, plan: NumberPlan) -> None:
    rules = explain(directory, plan, question("+979123456789")).rules
    assert rules[-1] == Rule("blocked_prefix", "the tenant blocks this destination", False)
    assert all(rule.passed for rule in rules[:-1])


def test_the_document_of_an_affordable_call(directory: Directory, plan: NumberPlan) -> None:
    page = document(explain(directory, plan, question("+442079461234")), 50_000, 14_400)
    assert page["allowed"] is True
    assert (page["reason"], page["sip_status"], page["kind"]) == (None, 200, "user_out")
    assert (page["destination"], page["rate"]["per_minute"], page["max_seconds"]) == ("to 44", "0.020000", 120)
    assert page["pays"] == [{"payer": "credits", "pool": None, "seconds": 120, "amount": "0.040000"}]
    assert page["rules"][0] == {"name": "emergency", "passed": True, "outcome": "no emergency number"}
    assert page["rules"][-1] == {"name": "credit", "passed": True, "outcome": "0.050000 available: 120 s"}


def test_the_document_of_a_call_beyond_the_money(directory: Directory, plan: NumberPlan) -> None:
    page = document(explain(directory, plan, question("+442079461234")), 19_999, 14_400)
    assert (page["allowed"], page["reason"], page["sip_status"]) == (False, "NO_CREDIT", 402)
    assert (page["pays"], page["rate"]["per_minute"], page["max_seconds"]) == ([], "0.020000", 0)


def test_the_document_of_a_refusal(directory: Directory, plan: NumberPlan) -> None:
    page = document(explain(directory, plan, question("+44")), 50_000, 14_400)
    assert (page["allowed"], page["reason"], page["sip_status"]) == (False, "INCOMPLETE_NUMBER", 484)
    assert (page["pays"], page["rate"], page["max_seconds"]) == ([], None, 0)
    assert page["text"] == "the number has too few digits"


def test_the_document_of_a_call_nobody_pays(directory: Directory, plan: NumberPlan) -> None:
    page = document(explain(directory, plan, question("911")), 0, 14_400)
    assert (page["allowed"], page["destination"], page["pays"], page["max_seconds"]) == (True, "emergency", [], None)
    page = document(explain(directory, plan, question("+442079460000")), 0, 14_400)
    assert (page["allowed"], page["kind"], page["pays"], page["max_seconds"]) == (True, "on_net", [], 14_400)


def test_the_longest_call_is_never_exceeded(directory: Directory, plan: NumberPlan) -> None:
    tenant = replace(directory.tenants["contoso"], limits=TenantLimits(max_call_s=90))
    short = replace(directory, tenants={"contoso": tenant})
    page = document(explain(short, plan, question("+442079461234")), 10_000_000, 14_400)
    assert page["max_seconds"] == 90
    assert page["pays"] == [{"payer": "credits", "pool": None, "seconds": 90, "amount": "0.040000"}]


def test_on_behalf_of_a_user_and_by_kind(directory: Directory, plan: NumberPlan) -> None:
    verdict = explain(directory, plan, question("+33123456789", caller="", user_id="bob", kind="conference"))
    assert (verdict.kind, verdict.user_id) == ("conf_out", "bob")


def test_a_call_from_outside_to_the_tenants_number_is_inbound(directory: Directory, plan: NumberPlan) -> None:
    verdict = explain(directory, plan, question("+18005550199", caller="+33123456789"))
    assert (verdict.kind, verdict.tenant_id) == ("conf_in", "contoso")
    assert explain(directory, plan, question("+18005550199")).kind == "conf_in"
    assert explain(directory, plan, question(ALICE, caller="+33123456789")).kind == "user_in"
    assert explain(directory, plan, question(ALICE, caller="+442079460000")).kind == "on_net"
    assert explain(directory, plan, question(ALICE, caller="", user_id="bob")).kind == "on_net"


def test_a_tenant_without_a_trunk_of_its_own_and_one_that_is_not_there(directory: Directory, plan: NumberPlan) -> None:
    carol = explain(directory, plan, question("+33123456789", caller="+442079460001", tenant_id="fabrikam"))
    assert (carol.kind, carol.user_id) == ("user_out", "carol")
    gone = document(explain(directory, plan, question("+33123456789", tenant_id="nobody")), 0, 14_400)
    assert (gone["allowed"], gone["reason"]) == (False, "UNKNOWN_CALLER")


# minutes and money


def asked(called: str, who: str = "u", kind: str = "") -> Question:
    return Question("contoso", "", called, AT_MS, who, kind)


def by_credits(seconds: int, amount: str) -> dict[str, object]:
    return {"payer": "credits", "pool": None, "seconds": seconds, "amount": amount}


def by_minutes(pool: str, seconds: int) -> dict[str, object]:
    return {"payer": "pool", "pool": pool, "seconds": seconds, "amount": "0.000000"}


def test_minutes_pay_first_and_then_money(plan: NumberPlan) -> None:
    verdict = explain(world([user("u", "US", "MCOMEETADD", "MCOPSTNPP")]), plan, asked(FR, kind="conference"))
    page = document(verdict, 40_000, 14_400, {"MCOMEETADD/ZoneA": 3})
    assert page["pays"] == [by_minutes("MCOMEETADD/ZoneA", 180), by_credits(120, "0.036000")]
    assert (page["allowed"], page["max_seconds"], page["rate"]["per_minute"]) == (True, 300, "0.018000")
    assert [(rule["name"], rule["outcome"]) for rule in page["rules"][-2:]] == [
        ("minutes", "MCOMEETADD/ZoneA: 3 of 60 min left"),
        ("credit", "0.040000 available: 120 s"),
    ]
    full = document(verdict, 0, 14_400)
    assert (full["pays"], full["max_seconds"]) == ([by_minutes("MCOMEETADD/ZoneA", 3_600)], 3_600)


def test_a_call_that_minutes_alone_pay_for_ends_with_them(plan: NumberPlan) -> None:
    verdict = explain(world([user("u", "US", "MCOPSTN5")]), plan, asked(US))
    page = document(verdict, 10_000_000, 14_400, {"MCOPSTN5/US": 2})
    assert (page["pays"], page["max_seconds"], page["rate"]) == ([by_minutes("MCOPSTN5/US", 120)], 120, None)
    empty = document(verdict, 10_000_000, 14_400, {"MCOPSTN5/US": 0})
    assert (empty["allowed"], empty["reason"], empty["pays"]) == (False, "NO_MINUTES", [])
    assert empty["rules"][-1] == {"name": "minutes", "outcome": "MCOPSTN5/US: 0 of 120 min left", "passed": False}


def test_either_maximum_ends_both_pools(plan: NumberPlan) -> None:
    verdict = explain(world([user("u", "US", "MCOPSTN2", "MCOPSTNPP")]), plan, asked(US))
    page = document(verdict, 13_000, 14_400, {"MCOPSTN2/US": 2_900, "MCOPSTN2/US/international": 0})
    assert page["pays"] == [by_credits(60, "0.013000")]
    pool = Pool("a", "A", "US", 10, (("b", 5),))
    assert usable_minutes(pool, {}) == 10
    assert usable_minutes(pool, {"a": 4, "b": 1}) == 4
    assert usable_minutes(pool, {"b": 0}) == 0
    assert usable_minutes(pool, {"a": -1}) == 0


def test_several_pools_pay_one_after_the_other_up_to_the_longest_call(plan: NumberPlan) -> None:
    verdict = explain(world([user("u", "US", "MCOPSTN5", "MCOPSTN6")]), plan, asked(US))
    page = document(verdict, 0, 14_400)
    assert page["pays"] == [by_minutes("MCOPSTN5/US", 7_200), by_minutes("MCOPSTN6/US", 7_200)]
    assert document(verdict, 0, 600)["pays"] == [by_minutes("MCOPSTN5/US", 600)]


def test_money_after_minutes_pays_the_connect_fee_and_has_no_free_seconds(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN5", "MCOPSTNPP")])
    row = RateRow("1", "US", "", "", "", Tariff(60_000, 100_000, 60, 60, free_s=30))
    priced = replace(directory, decks={"standard": Deck("standard", "USD", [row])})
    verdict = explain(priced, plan, asked(US))
    assert document(verdict, 160_000, 14_400, {"MCOPSTN5/US": 1})["pays"] == [
        by_minutes("MCOPSTN5/US", 60),
        by_credits(60, "0.160000"),
    ]
    assert document(verdict, 160_000, 14_400, {"MCOPSTN5/US": 0})["pays"] == [by_credits(90, "0.160000")]


def test_nobody_pays_for_a_conference_with_its_own_licence(plan: NumberPlan) -> None:
    page = document(
        explain(world([user("u", "US", "MCOMEETADD_DIALOUT_US")]), plan, asked(US, kind="conference")), 0, 9
    )
    assert (page["allowed"], page["pays"], page["max_seconds"], page["rate"]) == (True, [], 9, None)
    outcomes = {rule["name"]: rule["outcome"] for rule in page["rules"]}
    assert outcomes["pools"] == "nobody pays, by MCOMEETADD_DIALOUT_US"
    assert outcomes["licence"] == "none needed"


def test_the_rules_say_who_may_pay(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN1"), user("g", "GB", "MCOPSTNPP")])
    outcomes = {rule.name: rule.outcome for rule in explain(directory, plan, asked(US)).rules}
    assert outcomes["pools"] == "MCOPSTN1/US (3000 min a month)"
    assert outcomes["licence"] == "licensing per-user: minutes alone"
    outcomes = {rule.name: rule.outcome for rule in explain(directory, plan, asked("+448441234567", "g")).rules}
    assert outcomes["number_class"] == "credits alone pay"
    assert outcomes["pools"] == "premium or shared-cost number: no minutes"
    refused = explain(directory, plan, asked(ZW)).rules[-1]
    assert refused == Rule("licence", "the user has no licence for this call", False)


def test_a_call_to_an_unassigned_number_is_inbound(plan: NumberPlan) -> None:
    directory = world(unassigned=(UnassignedRule(r"^\+1425555", "pbx"),))
    verdict = explain(directory, plan, Question("contoso", "+33123456789", "+14255550150", AT_MS))
    assert verdict.kind == "unassigned_in"
    assert verdict.rules[0].outcome == "+14255550150 belongs to tenant contoso, taken by pbx"


def test_a_service_number_of_another_tenant_is_called_as_any_other(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTNPP")])
    other = replace(service("+14255550198", "toll", "conference"), tenant_id="fabrikam")
    verdict = explain(replace(directory, service_numbers={other.number: other}), plan, asked("+14255550198"))
    assert verdict.kind == "user_out"


def test_a_verdict_names_the_rules_that_were_tried_without_being_asked(directory: Directory, plan: NumberPlan) -> None:
    for dialled in ("+442079461234", "+979123456789", "911", "+44", "+442079460000"):
        request = CallRequest("pbx", dialled, ALICE, AT_MS)
        told = decide(directory, plan, request, explain=True)
        assert decide(directory, plan, request).tried == told.tried == tuple(rule.name for rule in told.rules)
    assert decide(directory, plan, CallRequest("pbx", "+979123456789", ALICE, AT_MS)).tried[-1] == "blocked_prefix"
    assert decide(directory, plan, CallRequest("who", "911", ALICE, AT_MS)).tried == ()


def limited(directory: Directory, plan: NumberPlan, counted: dict[str, int]) -> dict[str, Any]:
    """A call at 0.020 a minute, of a tenant with 5 calls and 0.050 a day."""
    limits = TenantLimits(max_calls=5, spend_per_day_micros=50_000)
    tenants = {**directory.tenants, "contoso": replace(directory.tenants["contoso"], limits=limits)}
    verdict = explain(replace(directory, tenants=tenants), plan, question("+442079461234"))
    return document(verdict, 10**6, 14_400, counted=counted)


def test_limits_are_explained_as_the_store_would_count_them(directory: Directory, plan: NumberPlan) -> None:
    page = limited(directory, plan, {"tenant": 4, "tenant/day": 10_000})
    assert (page["allowed"], page["max_seconds"], page["limit"]) == (True, 120, None)
    told = {"name": "limit", "outcome": "tenant/day: 0.040000 of 0.050000 left", "passed": True}
    assert told in page["rules"]
    spent = limited(directory, plan, {"tenant/day": 50_000})
    assert (spent["reason"], spent["sip_status"], spent["limit"]) == ("LIMIT_SPEND", 403, "tenant/day")
    full = limited(directory, plan, {"tenant": 5})
    assert (full["reason"], full["limit"], full["max_seconds"]) == ("LIMIT_CALLS", "tenant", 0)
