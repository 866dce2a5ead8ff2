"""The twelve dial-out policies: what each lets conferences and users reach, in whose country."""

from typing import get_args

import pytest

from gateway.config.facts import policy_facts
from gateway.config.provisioning import DIAL_OUT_POLICIES
from policy.facts import ANYWHERE, DialOutPolicy
from policy.plan import NumberPlan

from .licensed import CA, FR, GB, PR, US, ZW, allowed, out, refused, service, user, world

FACTS = policy_facts()
REFUSED = ("DIAL_OUT_POLICY", 403)
NUMBERS = {"US": US, "CA": CA, "PR": PR, "GB": GB, "FR": FR, "ZW": ZW}
WITHIN = {
    "any": {"US", "CA", "PR", "GB", "FR", "ZW"},
    "international": {"US", "CA", "PR", "GB", "FR", "ZW"},
    "domestic": {"US", "PR"},
    "zone_a": {"US", "CA", "PR", "GB", "FR"},
    "none": set(),
}
"""What an American reaches."""


def test_the_policies_of_the_facts_are_those_that_can_be_provisioned() -> None:
    assert tuple(FACTS.dial_out) == DIAL_OUT_POLICIES
    assert FACTS.dial_out[ANYWHERE] == DialOutPolicy(ANYWHERE, "any", "international")
    reaches = {(each.conference, each.user) for each in FACTS.dial_out.values()}
    assert len(reaches) == 12  # every pair of four and three


@pytest.mark.parametrize("name", DIAL_OUT_POLICIES)
@pytest.mark.parametrize("place", ["user", "tenant"])
@pytest.mark.parametrize("kind", ["", "conference"])
def test_each_policy_of_a_user_or_of_the_tenant(plan: NumberPlan, name: str, place: str, kind: str) -> None:
    own = {"dial_out_policy": name} if place == "user" else {}
    tenant = {} if place == "user" else {"dial_out_policy": name}
    directory = world([user("u", "US", "MCOPSTNPP", **own)], **tenant)
    policy = FACTS.dial_out[name]
    within = WITHIN[policy.conference if kind else policy.user]
    for region, number in NUMBERS.items():
        verdict = out(directory, plan, "u", number, kind)
        if region in within:
            assert allowed(verdict)
        else:
            assert refused(verdict) == REFUSED


def test_the_users_policy_goes_before_the_tenants(plan: NumberPlan) -> None:
    directory = world(
        [user("free", "US", "MCOPSTNPP", dial_out_policy=ANYWHERE), user("held", "US", "MCOPSTNPP")],
        dial_out_policy="DialoutCPCandPSTNDisabled",
    )
    assert allowed(out(directory, plan, "free", GB))
    assert refused(out(directory, plan, "held", US)) == REFUSED


def test_example_9_a_conference_is_closed_where_the_same_users_call_is_not(plan: NumberPlan) -> None:
    organiser = user("u", "US", "MCOMEETADD", "MCOPSTNPP", dial_out_policy="DialoutCPCDomesticPSTNInternational")
    directory = world([organiser])
    assert refused(out(directory, plan, "u", GB, "conference")) == REFUSED
    assert allowed(out(directory, plan, "u", GB)).kind == "user_out"


@pytest.mark.parametrize("dialled", ["911", "112"])
def test_example_10_emergency_numbers_pass_every_policy(plan: NumberPlan, dialled: str) -> None:
    directory = world([user("u", "US", dial_out_policy="DialoutCPCandPSTNDisabled")])
    verdict = allowed(out(directory, plan, "u", dialled))
    assert (verdict.emergency, verdict.payer, verdict.tariff, verdict.pools) == (True, "none", None, ())


def test_example_14_a_domestic_policy_closes_canada_although_its_minutes_are_domestic(plan: NumberPlan) -> None:
    policy = {"dial_out_policy": "DialoutCPCInternationalPSTNDomestic"}
    directory = world([user("u", "US", "MCOPSTN1"), user("held", "US", "MCOPSTN1", **policy)])
    assert [pool.name for pool in allowed(out(directory, plan, "u", CA)).pools] == ["MCOPSTN1/US"]
    assert refused(out(directory, plan, "held", CA)) == REFUSED
    assert allowed(out(directory, plan, "held", US)).payer == "pool"


def test_the_country_of_a_policy_is_the_payers(plan: NumberPlan) -> None:
    people = [user("g", "GB", "MCOPSTNPP"), user("h", "", "MCOPSTNPP")]
    directory = world(people, dial_out_policy="DialoutCPCandPSTNDomestic", country="FR")
    for kind in ("", "conference"):
        assert allowed(out(directory, plan, "g", GB, kind))
        assert refused(out(directory, plan, "g", FR, kind)) == REFUSED
        assert allowed(out(directory, plan, "h", FR, kind))


def test_colleagues_are_within_reach_of_every_policy(plan: NumberPlan) -> None:
    people = [user("u", dial_out_policy="DialoutCPCandPSTNDisabled"), user("v", number="+14255550100")]
    assert allowed(out(world(people), plan, "u", "+14255550100")).kind == "on_net"


@pytest.mark.parametrize("kind", ["forward", "transfer", "auto_attendant"])
def test_other_legs_go_by_the_policy_for_users(plan: NumberPlan, kind: str) -> None:
    directory = world([user("u", "US", "MCOPSTNPP", dial_out_policy="DialoutCPCDisabledPSTNDomestic")])
    assert allowed(out(directory, plan, "u", US, kind))
    assert refused(out(directory, plan, "u", GB, kind)) == REFUSED


def test_a_voice_applications_transfer_goes_by_the_tenants_policy(plan: NumberPlan) -> None:
    numbers = [service("+14255550197", "toll", "call_queue")]
    closed = world((), numbers, dial_out_policy="DialoutCPCandPSTNDisabled")
    assert refused(out(closed, plan, "", US, "", "+14255550197")) == REFUSED
    assert allowed(out(world((), numbers), plan, "", US, "", "+14255550197")).kind == "ucap_out"


def test_a_policy_nobody_knows_lets_nothing_pass(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTNPP", dial_out_policy="DialoutOfAnotherRelease")])
    assert refused(out(directory, plan, "u", US)) == REFUSED


def test_every_reach_is_tried() -> None:
    hints = DialOutPolicy.__annotations__
    assert {*get_args(hints["conference"]), *get_args(hints["user"])} == set(WITHIN)
