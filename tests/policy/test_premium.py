"""Premium and shared-cost numbers by usage country, and who pays for them."""

import pytest

from gateway.config.facts import policy_facts
from policy.plan import NumberPlan
from rating.tariff import charge_micros

from .licensed import FR, GB, GB_PREMIUM, GB_SHARED, US, US_PREMIUM, allowed, out, paid, refused, user, world

FACTS = policy_facts()
REFUSED = ("NUMBER_CLASS", 403)
ALL_PLANS = ("MCOPSTN1", "MCOPSTN2", "MCOMEETADD", "MCOPSTNPP")


def test_example_11_british_shared_cost_is_paid_by_credits_and_premium_is_not_supported(plan: NumberPlan) -> None:
    directory = world([user("g", "GB", *ALL_PLANS), user("u", "US", *ALL_PLANS)])
    verdict = allowed(out(directory, plan, "g", GB_SHARED))
    assert (verdict.payer, verdict.pools, verdict.capability) == ("credits", (), "MCOPSTNPP")
    assert verdict.tariff is not None
    assert charge_micros(verdict.tariff, 190_000) == 580_000  # 3:10 is four minutes
    assert refused(out(directory, plan, "g", GB_PREMIUM)) == REFUSED
    assert refused(out(directory, plan, "u", US_PREMIUM)) == REFUSED


@pytest.mark.parametrize("prefix", ["844", "845", "870", "871", "872", "843"])
def test_the_british_prefixes_come_before_the_class(plan: NumberPlan, prefix: str) -> None:
    directory = world([user("g", "GB", *ALL_PLANS)])
    assert paid(out(directory, plan, "g", f"+44{prefix}1234567"))[0] == ()


@pytest.mark.parametrize("number", ["+448421234567", "+449091234567", "+449812345678", "+33899123456", US_PREMIUM])
def test_other_premium_numbers_are_closed_to_the_british(plan: NumberPlan, number: str) -> None:
    assert refused(out(world([user("g", "GB", *ALL_PLANS)]), plan, "g", number)) == REFUSED


@pytest.mark.parametrize("country", ["FR", "AT"])
@pytest.mark.parametrize("number", ["+33899123456", GB_SHARED, GB_PREMIUM, US_PREMIUM])
def test_france_and_austria_let_every_one_be_called(plan: NumberPlan, country: str, number: str) -> None:
    directory = world([user("f", country, *ALL_PLANS), user("bare", country, "MCOPSTN2")])
    assert allowed(out(directory, plan, "f", number)).payer == "credits"
    assert refused(out(directory, plan, "bare", number)) == ("NO_LICENCE", 403)


@pytest.mark.parametrize("country", [*sorted(set(FACTS.premium) - {"FR", "AT", "GB"}), "ZW"])
def test_the_thirty_others_and_countries_without_a_row_let_none_be_called(plan: NumberPlan, country: str) -> None:
    directory = world([user("u", country, *ALL_PLANS)], licensing="none")
    for number in (GB_SHARED, GB_PREMIUM, US_PREMIUM, "+33899123456"):
        assert refused(out(directory, plan, "u", number)) == REFUSED
    assert allowed(out(directory, plan, "u", FR))


def test_conferences_pay_for_premium_numbers_by_credits_too(plan: NumberPlan) -> None:
    directory = world([user("g", "GB", *ALL_PLANS), user("d", "GB", "MCOMEETADD"), user("u", "US", *ALL_PLANS)])
    assert paid(out(directory, plan, "g", GB_SHARED, "conference")) == ((), 120_000)
    assert refused(out(directory, plan, "d", GB_SHARED, "conference")) == ("NO_LICENCE", 403)
    assert refused(out(directory, plan, "u", GB_SHARED, "conference")) == REFUSED


def test_the_addition_for_the_us_and_canada_is_not_for_premium_numbers(plan: NumberPlan) -> None:
    directory = world([user("f", "FR", "MCOMEETADD_DIALOUT_US", "MCOPSTNPP")])
    assert allowed(out(directory, plan, "f", US, "conference")).payer == "none"
    assert allowed(out(directory, plan, "f", US_PREMIUM, "conference")).payer == "credits"


def test_ordinary_numbers_are_no_matter_of_class(plan: NumberPlan) -> None:
    assert allowed(out(world([user("u", "US", "MCOPSTNPP")]), plan, "u", GB))
