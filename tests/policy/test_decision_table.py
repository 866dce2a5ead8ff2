"""DOMAIN 3 by its rows: which calls go, and who pays for them in which order."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from policy import outbound
from policy.decide import decide
from policy.directory import Directory
from policy.funds import Purchased
from policy.plan import NumberPlan
from policy.unassigned import UnassignedRule
from policy.verdict import CallRequest, Verdict

from .licensed import (
    AT_MS,
    CA,
    CK,
    FR,
    GB,
    GB_PREMIUM,
    GB_SHARED,
    PR,
    SATELLITE,
    STRANGER,
    US,
    US_PREMIUM,
    ZW,
    allowed,
    incoming,
    out,
    paid,
    refused,
    service,
    user,
    world,
)  # fmt: skip

CC = "MCOPSTNPP"
BRIDGE, TOLL_FREE_BRIDGE, ATTENDANT, TOLL_FREE_QUEUE = "+14255550198", "+18005550199", "+14255550197", "+18005550196"
Call = Callable[..., Verdict]


@pytest.fixture
def directory() -> Directory:
    """People by what they have: ``dom``, ``intl``, ``payg`` with credits, ``dom0`` and ``intl0`` without, and so on."""
    people = [
        user("dom", "US", "MCOPSTN1", CC, number="+14255550100"),
        user("dom0", "US", "MCOPSTN1"),
        user("intl", "US", "MCOPSTN2", CC),
        user("intl0", "US", "MCOPSTN2"),
        user("payg", "US", "PAYG-1", CC),
        user("payg0", "US", "PAYG-1"),
        user("none", "US"),
        user("org", "US", "MCOMEETADD", CC),
        user("org0", "US", "MCOMEETADD"),
        user("zimbabwe", "ZW", "MCOMEETADD", CC),
        user("unlimited", "US", "MCOMEETADD", "MCOMEETADD_DIALOUT_US"),
        user("minute", "US", "MCOMEETACPEA"),
        user("british", "GB", "MCOPSTN1", CC),
        user("french", "FR", "MCOPSTN2", CC),
        user("barred", "US", "MCOMEETADD", barred_toll_free=True),
    ]
    numbers = [
        service(BRIDGE, "toll", "conference", "MCOMEETADD"),
        service(TOLL_FREE_BRIDGE, "toll_free", "conference", "MCOMEETADD"),
        service(ATTENDANT, "toll", "auto_attendant", "MCOPSTN5"),
        service(TOLL_FREE_QUEUE, "toll_free", "call_queue"),
    ]
    return world(people, numbers)


@pytest.fixture
def calls(directory: Directory, plan: NumberPlan) -> Call:
    return partial(out, directory, plan)


def test_row_1_user_out_domestic_is_paid_by_the_plan_then_by_credits(calls: Call) -> None:
    verdict = allowed(calls("dom", US))
    assert (verdict.kind, verdict.payer, verdict.capability) == ("user_out", "pool", "MCOPSTN1")
    assert (paid(verdict), verdict.credit) == ((("MCOPSTN1/US",), 13_000), CC)
    assert (paid(calls("dom0", US)), allowed(calls("dom0", US)).credit) == ((("MCOPSTN1/US",), None), "")
    assert refused(calls("none", US)) == ("NO_LICENCE", 403)


def test_row_2_user_out_international_with_a_domestic_plan_is_paid_by_credits(calls: Call) -> None:
    verdict = allowed(calls("dom", GB))
    assert (verdict.payer, verdict.capability, verdict.domestic) == ("credits", CC, False)
    assert paid(verdict) == ((), 20_000)
    assert refused(calls("dom0", GB)) == ("NO_LICENCE", 403)


def test_row_3_user_out_international_with_its_plan_is_paid_by_its_pool_then_by_credits(calls: Call) -> None:
    assert paid(calls("intl", FR)) == (("MCOPSTN2/US/international",), 18_000)
    assert paid(calls("intl0", FR)) == (("MCOPSTN2/US/international",), None)
    assert paid(calls("intl", US)) == (("MCOPSTN2/US",), 13_000)


def test_row_4_user_out_to_a_destination_outside_the_plan_is_paid_by_credits(calls: Call) -> None:
    """The 196 destinations are not published: every country is one of them, the world's own codes are not."""
    assert paid(calls("intl", SATELLITE)) == ((), 9_000_000)
    assert refused(calls("intl0", SATELLITE)) == ("NO_LICENCE", 403)
    assert paid(calls("intl", CK))[0] == ("MCOPSTN2/US/international",)


def test_row_5_pay_as_you_go_is_always_paid_by_credits(calls: Call) -> None:
    assert paid(calls("payg", US)) == ((), 13_000)
    assert paid(calls("payg", GB)) == ((), 20_000)
    assert refused(calls("payg0", US)) == ("NO_LICENCE", 403)


def test_row_6_conference_dial_out_to_zone_a_is_paid_by_the_tenants_pool_then_by_credits(calls: Call) -> None:
    verdict = allowed(calls("org", FR, "conference"))
    assert (verdict.kind, verdict.payer, verdict.capability) == ("conf_out", "pool", "MCOMEETADD")
    assert paid(verdict) == (("MCOMEETADD/ZoneA",), 18_000)
    assert paid(calls("org0", FR, "conference")) == (("MCOMEETADD/ZoneA",), None)
    assert paid(calls("zimbabwe", FR, "conference")) == (("MCOMEETADD/ZoneA",), 18_000)


def test_row_7_conference_dial_out_elsewhere_is_paid_by_credits_on_all_calls(calls: Call) -> None:
    assert paid(calls("zimbabwe", ZW, "conference")) == ((), 480_000)
    assert paid(calls("org", ZW, "conference")) == ((), 480_000)
    assert refused(calls("org0", ZW, "conference")) == ("NO_LICENCE", 403)


def test_row_8_call_me_at_is_a_conference_dial_out_to_landlines_and_mobiles_alike(calls: Call) -> None:
    for number in (GB, "+447400123456"):
        assert paid(calls("org", number, "conference")) == (("MCOMEETADD/ZoneA",), 20_000)
    assert paid(calls("org", ZW, "conference")) == ((), 480_000)


def test_row_9_conference_dial_out_to_us_and_canada_with_its_licence_is_paid_by_nobody(calls: Call) -> None:
    for number in (US, CA):
        verdict = allowed(calls("unlimited", number, "conference"))
        assert (verdict.payer, verdict.capability) == ("none", "MCOMEETADD_DIALOUT_US")
        assert paid(verdict) == ((), None)
    assert paid(calls("unlimited", FR, "conference")) == (("MCOMEETADD/ZoneA",), None)
    assert paid(calls("unlimited", PR, "conference")) == (("MCOMEETADD/ZoneA",), None)
    assert refused(calls("unlimited", US)) == ("NO_LICENCE", 403)


def test_row_9_needs_no_rate(directory: Directory, plan: NumberPlan) -> None:
    unpriced = replace(directory, decks={})
    assert allowed(out(unpriced, plan, "unlimited", US, "conference")).payer == "none"


@pytest.mark.parametrize(("number", "kind"), [(TOLL_FREE_BRIDGE, "conf_in"), (TOLL_FREE_QUEUE, "ucap_in")])
def test_row_10_inbound_toll_free_is_paid_by_the_tenants_credits(
    directory: Directory, plan: NumberPlan, number: str, kind: str
) -> None:
    verdict = allowed(incoming(directory, plan, number))
    assert (verdict.kind, verdict.payer, verdict.capability) == (kind, "credits", CC)
    assert paid(verdict) == ((), 40_000)


def test_row_10_an_organiser_barred_from_toll_free_is_joined_by_toll_alone(
    directory: Directory, plan: NumberPlan
) -> None:
    own = world(
        directory.users.values(),
        [
            service(TOLL_FREE_BRIDGE, "toll_free", "conference", organiser="barred"),
            service(BRIDGE, "toll", "conference", organiser="barred"),
        ],
    )
    assert refused(incoming(own, plan, TOLL_FREE_BRIDGE)) == ("BARRED_TOLL_FREE", 403)
    verdict = allowed(incoming(own, plan, BRIDGE))
    assert (verdict.user_id, verdict.payer) == ("barred", "none")
    shared = world(directory.users.values(), [service(TOLL_FREE_BRIDGE, "toll_free", "conference")])
    assert allowed(incoming(shared, plan, TOLL_FREE_BRIDGE)).user_id == ""


def test_row_11_inbound_toll_to_a_conference_is_included(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(incoming(directory, plan, BRIDGE))
    assert (verdict.kind, verdict.payer, verdict.capability) == ("conf_in", "none", "MCOMEETADD")


@pytest.mark.parametrize("licence", ["MCOMEETACPEA", "MCOMEETACPEA_GOV"])
def test_row_11_inbound_toll_to_a_pay_per_minute_conference_is_paid_by_credits(plan: NumberPlan, licence: str) -> None:
    people = [user("minute", "US", licence)]
    by_organiser = world(people, [service(BRIDGE, "toll", "conference", organiser="minute")])
    by_account = world(people, [service(BRIDGE, "toll", "conference", licence)])
    for directory in (by_organiser, by_account):
        verdict = allowed(incoming(directory, plan, BRIDGE))
        assert (verdict.kind, verdict.payer, verdict.capability) == ("conf_in", "credits", licence)
        assert paid(verdict) == ((), 13_000)


def test_contra_e_pay_per_minute_needs_no_credit_licence(calls: Call) -> None:
    for number, rate in ((US, 13_000), (ZW, 480_000)):
        verdict = allowed(calls("minute", number, "conference"))
        assert (paid(verdict), verdict.capability) == (((), rate), "MCOMEETACPEA")
    assert refused(calls("minute", US)) == ("NO_LICENCE", 403)


def test_row_12_inbound_to_users_and_toll_to_voice_applications_is_paid_by_nobody(
    directory: Directory, plan: NumberPlan
) -> None:
    verdict = allowed(incoming(directory, plan, "+14255550100"))
    assert (verdict.kind, verdict.payer, verdict.capability, verdict.user_id) == ("user_in", "none", "MCOPSTN1", "dom")
    verdict = allowed(incoming(directory, plan, ATTENDANT))
    assert (verdict.kind, verdict.payer, verdict.capability) == ("ucap_in", "none", "MCOEV")


def test_row_13_inbound_to_unassigned_numbers_is_paid_by_credits(plan: NumberPlan) -> None:
    number = "+14255550150"
    directory = world(unassigned=(UnassignedRule(r"^\+142555501\d\d$", "pbx"),))
    verdict = allowed(incoming(directory, plan, number))
    assert (verdict.kind, verdict.payer, verdict.capability) == ("unassigned_in", "credits", CC)
    assert (paid(verdict), verdict.number, verdict.routes[0].trunk) == (((), 13_000), number, "pbx")
    for kind in ("toll", "toll_free"):
        serving = world(services=[service(number, kind, "unassigned")])
        assert paid(incoming(serving, plan, number)) == ((), 13_000)
    assert refused(incoming(world(), plan, number)) == ("UNKNOWN_NUMBER", 404)


@pytest.mark.parametrize(
    ("who", "number", "result"),
    [
        ("british", GB_SHARED, 120_000),
        ("british", GB_PREMIUM, ("NUMBER_CLASS", 403)),
        ("dom", US_PREMIUM, ("NUMBER_CLASS", 403)),
        ("dom", GB_SHARED, ("NUMBER_CLASS", 403)),
        ("french", "+33899123456", 18_000),
        ("zimbabwe", GB_SHARED, ("NUMBER_CLASS", 403)),
    ],
)
def test_row_14_premium_numbers_are_paid_by_credits_where_the_usage_country_allows(
    calls: Call, who: str, number: str, result: object
) -> None:
    verdict = calls(who, number)
    assert (refused(verdict) if isinstance(result, tuple) else paid(verdict)) == (
        result if isinstance(result, tuple) else ((), result)
    )


@pytest.mark.parametrize(
    ("kind", "type_"), [("forward", "user_out_forwarding"), ("transfer", "user_out_transfer"), ("add", "user_out_conf")]
)
def test_row_15_forwarded_and_transferred_legs_are_paid_as_the_users_own_calls(
    calls: Call, kind: str, type_: str
) -> None:
    verdict = allowed(calls("dom", US, kind, STRANGER))
    assert (verdict.kind, verdict.user_id, paid(verdict)) == (type_, "dom", (("MCOPSTN1/US",), 13_000))
    assert paid(calls("dom", GB, kind, STRANGER)) == ((), 20_000)
    assert refused(calls("dom0", GB, kind, STRANGER)) == ("NO_LICENCE", 403)


def test_row_16_voice_application_transfers_are_paid_by_the_resource_accounts_plan_else_by_credits(
    directory: Directory, plan: NumberPlan
) -> None:
    verdict = allowed(out(directory, plan, "", US, "auto_attendant", ATTENDANT))
    assert (verdict.kind, paid(verdict)) == ("ucap_out", (("MCOPSTN5/US",), 13_000))
    assert paid(out(directory, plan, "", FR, "auto_attendant", ATTENDANT)) == ((), 18_000)
    assert paid(out(directory, plan, "", US, "call_queue", TOLL_FREE_QUEUE)) == ((), 13_000)
    assert paid(out(directory, plan, "dom0", US, "call_queue")) == (("MCOPSTN1/US",), 13_000)
    by_a_colleague = allowed(out(directory, plan, "", US, "call_queue", "+14255550100"))
    assert paid(by_a_colleague) == ((), 13_000)  # whoever called the queue does not lend it his minutes


def test_row_17_emergency_calls_are_paid_by_nobody_and_nothing_stops_them(calls: Call) -> None:
    for who in ("none", "dom", "barred"):
        verdict = allowed(calls(who, "911"))
        assert (verdict.emergency, verdict.payer, verdict.pools, verdict.tariff) == (True, "none", (), None)


def test_row_18_on_net_calls_are_free(calls: Call) -> None:
    verdict = allowed(calls("none", "+14255550100"))
    assert (verdict.kind, verdict.payer, verdict.pools, verdict.capability) == ("on_net", "none", (), "")


def test_row_19_calls_to_toll_free_numbers_are_rated_by_the_deck_and_may_use_minutes(calls: Call) -> None:
    assert paid(calls("dom", "+18772345678")) == (("MCOPSTN1/US",), 13_000)
    assert paid(calls("org", "+18772345678", "conference")) == (("MCOMEETADD/ZoneA",), 13_000)
    assert paid(calls("intl", "+80012345678")) == ((), 50_000)  # nobody's country: no minutes


# the columns of the table that are about licences


def test_the_credit_licence_alone_opens_the_balance(plan: NumberPlan) -> None:
    for name in (CC, "MCOPSTNC"):
        verdict = out(world([user("u", "US", name)]), plan, "u", GB)
        assert (paid(verdict), allowed(verdict).capability) == (((), 20_000), CC)


def test_without_licensing_any_caller_may_spend_and_minutes_pay_first(plan: NumberPlan) -> None:
    open_to_all = world([user("u", "US", "MCOPSTN1"), user("v")], licensing="none")
    assert paid(out(open_to_all, plan, "u", US)) == (("MCOPSTN1/US",), 13_000)
    assert paid(out(open_to_all, plan, "v", US)) == ((), 13_000)
    assert paid(out(open_to_all, plan, "v", FR, "conference")) == ((), 18_000)


def test_a_call_that_minutes_alone_pay_for_needs_no_rate(directory: Directory, plan: NumberPlan) -> None:
    unpriced = replace(directory, decks={})
    assert paid(out(unpriced, plan, "dom0", US)) == (("MCOPSTN1/US",), None)
    assert refused(out(unpriced, plan, "dom", US)) == ("NO_RATE", 404)  # credits might have to pay: fail closed


def test_a_conference_number_with_an_organiser_dials_out_in_his_name(directory: Directory, plan: NumberPlan) -> None:
    own = world(directory.users.values(), [service(BRIDGE, "toll", "conference", organiser="org")])
    verdict = allowed(decide(own, plan, CallRequest("pbx", FR, BRIDGE, AT_MS)))
    assert (verdict.kind, verdict.user_id, paid(verdict)) == ("conf_out", "org", (("MCOMEETADD/ZoneA",), 18_000))
    named = allowed(decide(own, plan, CallRequest("pbx", FR, BRIDGE, AT_MS, x_user="org0")))
    assert (named.user_id, paid(named)) == ("org0", (("MCOMEETADD/ZoneA",), None))


def test_a_shared_conference_number_dials_out_by_its_resource_accounts_licences(
    directory: Directory, plan: NumberPlan
) -> None:
    verdict = allowed(decide(directory, plan, CallRequest("pbx", FR, BRIDGE, AT_MS)))
    assert (verdict.kind, verdict.user_id, paid(verdict)) == ("conf_out", "", (("MCOMEETADD/ZoneA",), None))
    assert refused(decide(directory, plan, CallRequest("pbx", ZW, BRIDGE, AT_MS))) == ("NO_LICENCE", 403)


# choices where the documents are silent or disagree (DFLT, CONTRA)


def test_dflt_the_checks_are_tried_in_the_tables_order() -> None:
    names = [rule.name for rule in outbound.RULES]
    order = ["emergency", "number", "blocked_user", "dial_out_policy", "number_class", "pools", "licence", "route"]
    assert [name for name in names if name in order] == order


def test_dflt_a_blocked_user_is_told_so_before_any_policy(plan: NumberPlan) -> None:
    held = user("u", "US", blocked=True, dial_out_policy="DialoutCPCandPSTNDisabled")
    assert refused(out(world([held]), plan, "u", US_PREMIUM)) == ("BLOCKED_USER", 403)
    closed = user("u", "US", dial_out_policy="DialoutCPCandPSTNDisabled")
    assert refused(out(world([closed]), plan, "u", US_PREMIUM)) == ("DIAL_OUT_POLICY", 403)
    assert refused(out(world([user("u", "US")]), plan, "u", US_PREMIUM)) == ("NUMBER_CLASS", 403)
    assert refused(out(world([user("u", "US")]), plan, "u", US)) == ("NO_LICENCE", 403)


def test_dflt_d_beyond_the_conference_pool_the_organisers_calling_plan_does_not_pay(plan: NumberPlan) -> None:
    """The documents say credits; one user reports that a calling plan was used (8 d)."""
    directory = world([user("u", "US", "MCOMEETADD", "MCOPSTN1", CC)])
    assert paid(out(directory, plan, "u", US, "conference")) == (("MCOMEETADD/ZoneA",), 13_000)
    assert paid(out(directory, plan, "u", ZW, "conference")) == ((), 480_000)


def test_dflt_d_the_flag_lets_the_organisers_calling_plan_pay_before_credits(plan: NumberPlan) -> None:
    people = [
        user("u", "US", "MCOMEETADD", "MCOPSTN2", CC),
        user("v", "GB", "MCOMEETADD", "MCOPSTN8"),
        user("w", "US", CC),
    ]
    directory = world(people, conference_overage="calling_plan")
    assert paid(out(directory, plan, "u", US, "conference")) == (("MCOMEETADD/ZoneA", "MCOPSTN2/US"), 13_000)
    abroad = ("MCOMEETADD/ZoneA", "MCOPSTN2/US/international")
    assert paid(out(directory, plan, "u", FR, "conference")) == (abroad, 18_000)
    assert paid(out(directory, plan, "u", ZW, "conference")) == ((), 480_000), "beyond Zone A credits pay for all calls"
    assert paid(out(directory, plan, "v", GB, "conference")) == (("MCOMEETADD/ZoneA", "MCOPSTN8/GB/v"), None)
    assert paid(out(directory, plan, "w", US, "conference")) == ((), 13_000)


def test_dflt_d_no_minutes_bought_at_all_are_used_up_minutes(plan: NumberPlan) -> None:
    """As many licences count as were bought: with none the plan pays from the first minute."""
    people, none = [user("u", "US", "MCOMEETADD", "MCOPSTN1", CC)], (Purchased("MCOMEETADD", "US", 0),)
    directory = world(people, conference_overage="calling_plan", purchased=none)
    assert paid(out(directory, plan, "u", US, "conference")) == (("MCOPSTN1/US",), 13_000)


def test_dflt_g_pay_as_you_go_is_sold_in_the_united_states(directory: Directory) -> None:
    """A page counts five plans and names four (8 g)."""
    plan = directory.facts.plan("PAYG-1", "US")
    assert plan is not None
    assert (plan.domestic_minutes, plan.international_minutes) == (0, 0)


def test_dflt_j_a_mobile_is_no_class_of_its_own_for_minutes(calls: Call) -> None:
    for number in (FR, "+33612345678"):
        assert paid(calls("intl", number)) == (("MCOPSTN2/US/international",), 18_000)


def test_dflt_toll_free_calls_are_paid_by_the_tenant_whatever_licences_there_are(plan: NumberPlan) -> None:
    directory = world((), [service(TOLL_FREE_BRIDGE, "toll_free", "conference")])
    assert paid(incoming(directory, plan, TOLL_FREE_BRIDGE)) == ((), 40_000)
