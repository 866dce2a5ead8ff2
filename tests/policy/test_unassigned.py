"""Rules for numbers that nobody has: found by pattern, in order, at no cost for rules of other numbers."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.decide import decide
from policy.directory import Tenant
from policy.plan import NumberPlan
from policy.unassigned import Found, UnassignedRule, UnassignedRules, lead
from policy.verdict import CallRequest, Route

from .licensed import AT_MS, STRANGER, allowed, incoming, refused, service, user, world

NUMBER = "+14255550150"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^\+1425555\d{4}$", "1425555"),
        (r"^\+14255550150$", "14255550150"),
        (r"^\+1425555?\d+$", "142555"),
        (r"^\+142555*$", "14255"),
        (r"^\+1425{2}", "142"),
        (r"^\+1425+", "1425"),
        (r"^\+1425|^\+44", ""),
        (r"^\+(1425|44)", ""),
        (r"425555", ""),
        (r"^1425", ""),
        (r"^\+[12]", ""),
    ],
)
def test_the_digits_that_a_number_must_begin_with(pattern: str, expected: str) -> None:
    assert lead(pattern) == expected


def test_the_first_rule_that_is_found_wins() -> None:
    rules = UnassignedRules(
        {
            "a": [UnassignedRule(r"0150$", "one"), UnassignedRule(r"^\+1425555015\d$", "two")],
            "b": [UnassignedRule(r"^\+14255550150$", "three")],
        }
    )
    assert rules.find(NUMBER) == Found("a", "one")
    assert rules.find("+14255550151") == Found("a", "two")
    assert rules.find(NUMBER, "b") == Found("b", "three")
    assert rules.find(NUMBER, "c") is None
    assert rules.find("+442079461234") is None
    assert UnassignedRules({}).find(NUMBER) is None


@pytest.mark.parametrize("pattern", [r"(\d+)+$", "(", "[9-0]"])
def test_a_pattern_that_cannot_be_used_stops_nothing(pattern: str) -> None:
    rules = UnassignedRules({"a": [UnassignedRule(pattern, "bad"), UnassignedRule(r"\d", "good")]})
    assert rules.find(NUMBER) == Found("a", "good")


@settings(deadline=None)
@given(st.lists(st.sampled_from([r"^\+1425", r"^\+14255?", "0$", r"^\+44", r"^\+1", r"5|6"]), max_size=8))
def test_keeping_rules_by_their_beginnings_changes_nothing(patterns: list[str]) -> None:
    rules = UnassignedRules({"a": [UnassignedRule(pattern, str(place)) for place, pattern in enumerate(patterns)]})
    for number in (NUMBER, "+1424", "+442079461230", "+33123456789"):
        first = next((str(place) for place, pattern in enumerate(patterns) if re.search(pattern, number)), None)
        found = rules.find(number)
        assert (found.target if found else None) == first


def test_where_the_call_goes(plan: NumberPlan) -> None:
    def routed(target: str) -> tuple[Route, ...]:
        directory = world(
            [user("lobby", number="+14255550100"), user("silent")],
            [service("+14255550198", "toll", "auto_attendant")],
            unassigned=(UnassignedRule(r"^\+1425555", target),),
        )
        verdict = incoming(directory, plan, NUMBER)
        return verdict.routes if not hasattr(verdict, "reason") else ()

    assert routed("lobby") == (Route("pbx", "sip:127.0.0.2", "+14255550100"),)
    assert routed("+14255550198") == (Route("pbx", "sip:127.0.0.2", "+14255550198"),)
    assert routed("pbx") == (Route("pbx", "sip:127.0.0.2", NUMBER),)
    for nowhere in ("silent", "gone"):
        assert routed(nowhere) == ()


def test_a_number_that_somebody_has_is_his(plan: NumberPlan) -> None:
    directory = world([user("lobby", number=NUMBER)], unassigned=(UnassignedRule(r"\d", "pbx"),))
    assert allowed(incoming(directory, plan, NUMBER)).kind == "user_in"


def test_without_a_price_it_is_refused(plan: NumberPlan) -> None:
    directory = world(unassigned=(UnassignedRule(r"\d", "pbx"),))
    assert refused(incoming(directory, plan, "+49301234567")) == ("NO_RATE", 404)


def test_a_carrier_of_one_tenant_brings_calls_to_that_tenants_numbers(plan: NumberPlan) -> None:
    directory = world(unassigned=(UnassignedRule(r"\d", "pbx"),))
    other = replace(
        directory,
        tenants={**directory.tenants, "fabrikam": Tenant("fabrikam")},
        trunks={**directory.trunks, "carrier": replace(directory.trunks["carrier"], tenant="fabrikam")},
    )
    assert refused(decide(other, plan, CallRequest("carrier", NUMBER, STRANGER, AT_MS))) == ("UNKNOWN_NUMBER", 404)


def test_rules_for_other_numbers_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"t{n}": [UnassignedRule(rf"^\+1{n:03d}{m:03d}\d+$", "pbx") for m in range(100)] for n in range(100)}
    rules = UnassignedRules(many)
    run: list[str] = []

    def counted(pattern: str) -> re.Pattern[str]:
        run.append(pattern)
        return re.compile(pattern)

    monkeypatch.setattr("policy.unassigned._compiled", counted)
    assert rules.find("+10420171234") == Found("t42", "pbx")
    assert run == [r"^\+1042017\d+$"]
