"""Explained decisions: the same verdict as without, each rule that was tried, and what the money reaches for."""

from dataclasses import replace

from policy.decide import decide
from policy.directory import Directory, TenantLimits
from policy.explain import Question, document, explain
from policy.plan import NumberPlan
from policy.verdict import CallRequest, Rule

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
        ("number", "+442079461234: GB fixed"),
        ("blocked_user", "not blocked"),
        ("on_net", "outside number"),
        ("blocked_prefix", "not blocked"),
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
