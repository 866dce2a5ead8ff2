"""The tables of licensing: what is shipped, and what is refused."""

import csv
from importlib import resources

import pytest

from gateway.config.facts import policy_facts
from policy.facts import CallingPlan, Facts, PremiumRule, load_facts

FACTS = policy_facts()


PLANS = "capability,name,usage_countries,domestic_minutes,international_minutes,shared_by\n"


def loaded(**changed: str) -> Facts:
    """Facts of the smallest tables, some of them replaced."""
    tables = {
        "plans": PLANS + "P,Plan,*,1,0,tenant",
        "conferences": "capability,name,usage_countries,payer,destinations,minutes\nC,Conf,*,pool,zone_a,60",
        "zone_a": "region\nUS",
        "dial_out": "policy,conference,user\nX,any,none",
        "premium": "usage_country,numbers\nFR,every",
        "high_risk": "range,why\n+881,satellite phones",
    } | changed
    return load_facts(**{name: text.splitlines() for name, text in tables.items()})


@pytest.mark.parametrize(
    ("licence", "country", "minutes"),
    [
        ("MCOPSTN1", "US", (3_000, 0)),
        ("MCOPSTN1", "CA", (3_000, 0)),
        ("MCOPSTN1", "PR", (3_000, 0)),
        ("MCOPSTN1", "GB", (1_200, 0)),
        ("MCOPSTN2", "US", (3_000, 600)),
        ("MCOPSTN2", "DE", (1_200, 600)),
        ("MCOPSTN5", "FR", (120, 0)),
        ("MCOPSTN6", "FR", (240, 0)),
        ("MCOPSTN8", "FR", (120, 0)),
        ("PAYG-1", "GB", (0, 0)),
        ("PAYG-2", "DE", (0, 0)),
    ],
)
def test_minutes_of_the_plans(licence: str, country: str, minutes: tuple[int, int]) -> None:
    plan = FACTS.plan(licence, country)
    assert plan is not None
    assert (plan.domestic_minutes, plan.international_minutes) == minutes
    assert plan.shared_by == ("user" if licence == "MCOPSTN8" else "tenant")


@pytest.mark.parametrize(
    ("licence", "country"),
    [("MCOPSTN5", "MX"), ("MCOPSTN6", "MX"), ("PAYG-1", "DE"), ("PAYG-2", "US"), ("MCOPSTNPP", "US"), ("X", "US")],
)
def test_what_is_no_plan_or_none_there(licence: str, country: str) -> None:
    assert FACTS.plan(licence, country) is None


def test_high_risk_ranges_are_the_codes_of_no_country_but_for_two_that_cost_little() -> None:
    text = (resources.files("policy") / "data" / "countries.csv").read_text("ascii")
    codes = {row["calling_code"] for row in csv.DictReader(text.splitlines()) if row["region"] == "001"}
    assert {f"+{code}" for code in codes} - {"+800", "+808"} == set(FACTS.high_risk)


def test_zone_a() -> None:
    assert len(FACTS.zone_a) == 44
    assert {"US", "PR", "CA", "FR", "TW", "RU", "KR"} <= FACTS.zone_a
    assert FACTS.zone_a.isdisjoint({"ZW", "CK", "001"})


def test_premium_rules() -> None:
    assert len(FACTS.premium) == 33
    assert FACTS.premium["FR"] == FACTS.premium["AT"] == PremiumRule(True, ())
    assert FACTS.premium["GB"].prefixes == ("+44843", "+44844", "+44845", "+44870", "+44871", "+44872")
    assert sum(rule == PremiumRule(False, ()) for rule in FACTS.premium.values()) == 30


def test_conference_minutes() -> None:
    sixty, complimentary = FACTS.conference("MCOMEETADD", "ZW"), FACTS.conference("MCOMEETADD", "TW")
    assert sixty is not None
    assert complimentary is not None
    assert (sixty.minutes, complimentary.minutes) == (60, 900)


def test_the_first_row_that_covers_a_country_holds() -> None:
    facts = loaded(plans=PLANS + "P,A,US,1,0,tenant\nP,B,* -GB,2,0,user")
    assert facts.plan("P", "US") == CallingPlan("P", "A", ("US",), 1, 0, "tenant")
    assert facts.plan("P", "FR") == CallingPlan("P", "B", ("*", "-GB"), 2, 0, "user")
    assert facts.plan("P", "GB") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"plans": PLANS + "P,A,*,1,0,all"},
        {"plans": PLANS + "P,A,*,x,0,user"},
        {"plans": PLANS + "P,A,,1,0,user"},
        {"plans": "capability,name\nP,A"},
        {"conferences": "capability,name,usage_countries,payer,destinations,minutes\nC,A,*,somebody,*,1"},
        {"dial_out": "policy,conference,user\nX,any,everywhere"},
        {"premium": "country\nFR"},
    ],
)
def test_a_table_that_is_not_what_is_read_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises((ValueError, KeyError)):
        loaded(**changed)
