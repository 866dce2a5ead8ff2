"""What licences open: totals of pools, which pools are shared, and where bought licences count."""

import pickle
import random

from policy.directory import Directory
from policy.facts import Facts
from policy.funds import Purchased
from policy.plan import NumberPlan
from policy.verdict import Pool

from .licensed import CA, FR, GB, PR, US, ZW, allowed, out, paid, refused, service, user, world


def pools(directory: Directory) -> dict[str, int]:
    return {pool.name: pool.total_minutes for pool in directory.pools_of("contoso")}


def test_example_1_one_conference_pool_wherever_the_organisers_are(plan: NumberPlan) -> None:
    places = [("US", 10), ("GB", 100), ("ZW", 5)]
    people = [user(f"{place}{n}", place, "MCOMEETADD", "MCOPSTNPP") for place, count in places for n in range(count)]
    directory = world(people)
    assert directory.pools_of("contoso") == (Pool("MCOMEETADD/ZoneA", "MCOMEETADD", "", 6_900),)
    for who in ("US0", "GB99", "ZW4"):
        (pool,) = allowed(out(directory, plan, who, FR, "conference")).pools
        assert (pool.name, pool.total_minutes) == ("MCOMEETADD/ZoneA", 6_900)


def test_example_3_a_destination_outside_zone_a_leaves_the_pool_alone(plan: NumberPlan) -> None:
    directory = world([user("u", "ZW", "MCOMEETADD", "MCOPSTNPP")])
    assert paid(out(directory, plan, "u", ZW, "conference")) == ((), 480_000)


def test_example_4_a_plan_is_pooled_by_country_and_ends_with_it_where_no_credits_are_licensed(plan: NumberPlan) -> None:
    people = [user(f"u{n}", "GB", "MCOPSTN5", "MCOPSTNPP") for n in range(99)]
    directory = world([*people, user("bare", "GB", "MCOPSTN5"), user("american", "US", "MCOPSTN5")])
    assert pools(directory) == {"MCOPSTN5/GB": 12_000, "MCOPSTN5/US": 120}
    assert paid(out(directory, plan, "u1", GB)) == (("MCOPSTN5/GB",), 20_000)
    assert paid(out(directory, plan, "bare", GB)) == (("MCOPSTN5/GB",), None)


def test_example_5_either_maximum_ends_the_international_plan(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN2", "MCOPSTNPP")])
    (home,) = allowed(out(directory, plan, "u", US)).pools
    (abroad,) = allowed(out(directory, plan, "u", FR)).pools
    assert home == Pool("MCOPSTN2/US", "MCOPSTN2", "US", 3_000, (("MCOPSTN2/US/international", 600),))
    assert abroad == Pool("MCOPSTN2/US/international", "MCOPSTN2", "US", 600, (("MCOPSTN2/US", 3_000),))
    assert paid(out(directory, plan, "u", US))[1] == 13_000  # what the next domestic minute costs as overage


def test_example_14_canada_is_domestic_for_minutes(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN1"), user("c", "CA", "MCOPSTN1")])
    assert paid(out(directory, plan, "u", CA)) == (("MCOPSTN1/US",), None)
    assert paid(out(directory, plan, "c", US)) == (("MCOPSTN1/CA",), None)
    assert paid(out(directory, plan, "c", PR)) == (("MCOPSTN1/CA",), None)


def test_dflt_f_puerto_rico_shares_the_pool_of_the_states(plan: NumberPlan) -> None:
    directory = world([user("p", "PR", "MCOPSTN1"), user("u", "US", "MCOPSTN1")])
    assert pools(directory) == {"MCOPSTN1/US": 6_000}
    assert paid(out(directory, plan, "p", US)) == (("MCOPSTN1/US",), None)


def test_minutes_depend_on_the_usage_country_not_on_the_tenants(plan: NumberPlan) -> None:
    directory = world([user("u", "DE", "MCOPSTN2"), user("h", "", "MCOPSTN1")], country="GB")
    assert pools(directory) == {"MCOPSTN1/GB": 1_200, "MCOPSTN2/DE": 1_200, "MCOPSTN2/DE/international": 600}
    assert paid(out(directory, plan, "h", GB)) == (("MCOPSTN1/GB",), None)


def test_plans_without_minutes_make_no_pool() -> None:
    licences = ("MCOPSTN9", "PAYG-1", "MCOPSTNPP", "MCOEV", "MCOMEETACPEA", "MCOMEETADD_CN_GLOBAL", "X")
    assert pools(world([user("u", "US", *licences)])) == {}
    assert pools(world([user("u", "MX", "MCOPSTN5", "MCOPSTN6")])) == {}


def test_minutes_that_are_not_pooled_are_each_users_own(plan: NumberPlan) -> None:
    directory = world([user("u", "GB", "MCOPSTN8"), user("v", "GB", "MCOPSTN8", "MCOPSTN1")])
    assert pools(directory) == {"MCOPSTN1/GB": 1_200, "MCOPSTN8/GB/u": 120, "MCOPSTN8/GB/v": 120}
    assert paid(out(directory, plan, "u", GB)) == (("MCOPSTN8/GB/u",), None)
    assert paid(out(directory, plan, "v", GB)) == (("MCOPSTN8/GB/v", "MCOPSTN1/GB"), None)


def test_several_plans_pay_in_the_order_in_which_they_were_assigned(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN6", "MCOPSTN5", "MCOPSTN6")])
    (first, second) = allowed(out(directory, plan, "u", US)).pools
    assert (first.name, second.name) == ("MCOPSTN6/US", "MCOPSTN5/US")
    assert allowed(out(directory, plan, "u", US)).capability == "MCOPSTN6"


def test_contra_purchased_licences_size_the_pools(plan: NumberPlan) -> None:
    people = [user(f"u{n}", "US", "MCOPSTN1", "MCOMEETADD") for n in range(3)]
    bought = (Purchased("MCOMEETADD", "US", 10), Purchased("MCOMEETADD", "GB", 5))
    assert pools(world(people, purchased=bought)) == {"MCOMEETADD/ZoneA": 900, "MCOPSTN1/US": 9_000}
    puerto_rico = (Purchased("MCOPSTN1", "PR", 2), Purchased("MCOPSTN1", "US", 2))
    assert pools(world(people, purchased=puerto_rico))["MCOPSTN1/US"] == 12_000


def test_a_licence_that_is_named_is_counted_in_the_countries_that_are_named(plan: NumberPlan) -> None:
    people = [user("u", "US", "MCOPSTN1"), user("g", "GB", "MCOPSTN1")]
    directory = world(people, purchased=(Purchased("MCOPSTN1", "US", 1),))
    assert pools(directory) == {"MCOPSTN1/US": 3_000}
    assert refused(out(directory, plan, "g", GB)) == ("NO_LICENCE", 403)
    assert pools(world(people, purchased=(Purchased("MCOPSTN1", "US", 0),))) == {}


def test_the_complimentary_period_goes_on_where_credits_cannot_be_had(plan: NumberPlan) -> None:
    people = [user(place, place, "MCOMEETADD") for place in ("RU", "KR", "TW", "US")]
    directory = world(people)
    assert pools(directory) == {"MCOMEETADD/ZoneA": 60, "MCOMEETADD/ZoneA/RU-KR-TW": 2_700}
    assert paid(out(directory, plan, "TW", FR, "conference")) == (("MCOMEETADD/ZoneA/RU-KR-TW",), None)
    assert paid(out(directory, plan, "US", FR, "conference")) == (("MCOMEETADD/ZoneA",), None)
    assert refused(out(directory, plan, "TW", ZW, "conference")) == ("NO_LICENCE", 403)


def test_resource_accounts_count_as_users_do(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN5")], [service("+14255550197", "toll", "call_queue", "MCOPSTN5")])
    assert pools(directory) == {"MCOPSTN5/US": 240}
    own = world((), [service("+14255550197", "toll", "call_queue", "MCOPSTN8")])
    assert pools(own) == {"MCOPSTN8/US/+14255550197": 120}
    assert paid(out(own, plan, "", US, "", "+14255550197")) == (("MCOPSTN8/US/+14255550197",), 13_000)


def test_tenants_do_not_share() -> None:
    directory = world([user("u", "US", "MCOPSTN1")])
    assert directory.pools_of("fabrikam") == ()


def test_totals_are_the_sum_of_what_each_licence_gives() -> None:
    """Whatever is assigned to whom: a pool's total is the plan's minutes times the users who have the licence."""
    dice = random.Random(7)
    minutes = {"MCOPSTN1": (3_000, 1_200), "MCOPSTN5": (120, 120), "MCOPSTN6": (240, 240)}
    people = [
        user(f"u{n}", dice.choice(("US", "GB", "FR", "PR")), *dice.sample(sorted(minutes), dice.randint(0, 3)))
        for n in range(500)
    ]
    expected: dict[str, int] = {}
    for each in people:
        area = "US" if each.usage_location == "PR" else each.usage_location
        for licence in each.licences:
            name = f"{licence}/{area}"
            expected[name] = expected.get(name, 0) + minutes[licence][area != "US"]
    assert pools(world(people)) == expected


def test_a_directory_without_facts_has_no_pools(plan: NumberPlan) -> None:
    people = [user("u", "US", "MCOPSTN1", "MCOPSTNPP")]
    directory = world(people)
    bare = Directory(1, directory.trunks, directory.tenants, directory.users, decks=directory.decks)
    assert bare.facts == Facts()
    assert paid(out(bare, plan, "u", US)) == ((), 13_000)


def test_a_directory_survives_being_stored(plan: NumberPlan) -> None:
    directory = world([user("u", "US", "MCOPSTN8", "MCOMEETADD")])
    again = pickle.loads(pickle.dumps(directory))
    assert again.pools_of("contoso") == directory.pools_of("contoso")
    assert paid(out(again, plan, "u", US)) == (("MCOPSTN8/US/u",), None)
