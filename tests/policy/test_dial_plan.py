"""Dial plans: the sample rules, their order, and rules that cannot be used."""

import pytest

from policy.dial_plan import MAX_RULES, DialPlanError, check_dial_plan, check_rule, translate
from policy.directory import DialRule

SAMPLES = {
    "4digitExtension": (r"^(\d{4})$", "+1425555$1", "0100", "+14255550100"),
    "5digitExtension": (r"^5(\d{4})$", "+1425555$1", "50100", "+14255550100"),
    "7digitcallingRedmond": (r"^(\d{7})$", "+1425$1", "5550100", "+14255550100"),
    "RedmondOperator": (r"^0$", "+14255550100", "0", "+14255550100"),
    "RedmondSitePrefix": (r"^6222(\d{4})$", "+1425555$1", "62220100", "+14255550100"),
    "5digitRange": (r"^([3-7]\d{4})$", "+142555$1", "54567", "+14255554567"),
    "PrefixAdded": (r"^([2-9]\d\d[2-9]\d{6})$", "1$1", "4255554567", "14255554567"),
    "NoTranslation": (r"^(\d{5})$", "$1", "34567", "34567"),
}
"""Sample normalisation rules of MicrosoftDocs/OfficeDocs-SkypeForBusiness (CC BY 4.0), what are dial plans."""


@pytest.mark.parametrize(("pattern", "translation", "dialled", "result"), SAMPLES.values(), ids=SAMPLES)
def test_sample_rules(pattern: str, translation: str, dialled: str, result: str) -> None:
    rule = DialRule(pattern, translation)
    check_rule(rule)
    assert translate((rule,), dialled) == result


def test_the_first_rule_that_matches_wins() -> None:
    rules = (DialRule(r"^1(\d{3})$", "+4420$1"), DialRule(r"^(\d{4})$", "+1425555$1"))
    assert translate(rules, "1234") == "+4420234"
    assert translate(rules, "2234") == "+14255552234"
    assert translate(rules, "22345") == "22345"


def test_a_number_with_plus_is_left_alone() -> None:
    assert translate((DialRule(r"^\+1(\d+)$", "+44$1"),), "+14255550100") == "+14255550100"


def test_a_result_without_plus_is_tried_again() -> None:
    rules = (DialRule(r"^9(\d+)$", "$1"), DialRule(r"^(\d{4})$", "+1425555$1"))
    assert translate(rules, "90100") == "+14255550100"


def test_rules_that_feed_each_other_end() -> None:
    rules = (DialRule(r"^1(\d*)$", "2$1"), DialRule(r"^2(\d*)$", "1$1"))
    assert translate(rules, "1") in {"1", "2"}
    longer = (DialRule(r"^(\d+)$", "$1$1"),)
    assert len(translate(longer, "12345678901234567890")) <= 32


def test_dollar_zero_braces_and_unmatched_groups() -> None:
    assert translate((DialRule(r"^(\d)(\d)?$", "+4$1${2}0"),), "7") == "+470"
    assert translate((DialRule(r"^12$", "+$0"),), "12") == "+12"


@pytest.mark.parametrize(
    ("pattern", "translation", "reason"),
    [
        (r"(\d+)+", "+$1", "pattern: .* could match in too many ways"),
        (r"[9-0]", "+1", "pattern: bad character range"),
        (r"(\d)", "+$2", r"names \$2: the pattern has 1 groups"),
        (r"(\d)", r"+\1", r"write digits, \+ \* # and \$1 to \$9"),
        (r"(\d)", "sip:$1", "write digits"),
        (r"(\d)", "1" * 65, "write digits"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(pattern: str, translation: str, reason: str) -> None:
    with pytest.raises(DialPlanError, match=reason):
        check_rule(DialRule(pattern, translation))


def test_a_plan_names_the_rule_that_is_wrong() -> None:
    good = DialRule(r"^(\d{4})$", "+1425555$1")
    check_dial_plan([good] * MAX_RULES)
    with pytest.raises(DialPlanError, match="more than 25 rules"):
        check_dial_plan([good] * (MAX_RULES + 1))
    with pytest.raises(DialPlanError, match="rule 2: pattern"):
        check_dial_plan([good, DialRule(r"\w", "")])


@pytest.mark.parametrize("pattern", ["(", r"[9-0]", r"(\d+)+$"])
def test_a_rule_that_cannot_be_used_stops_nothing(pattern: str) -> None:
    rules = (DialRule(pattern, "+1"), DialRule(r"^(\d{4})$", "+1425555$1"))
    assert translate(rules, "0100") == "+14255550100"


def test_an_external_access_prefix_goes_once_and_of_called_numbers_alone() -> None:
    rules = (DialRule("*9", "", external=True), DialRule(r"^(\d{4})$", "+1425555$1"))
    assert translate(rules, "*90100", is_called=True) == "+14255550100"
    assert translate(rules, "*9*90100", is_called=True) == "*90100"
    assert translate(rules, "0100", is_called=True) == "+14255550100"
    assert translate(rules, "*9", is_called=True) == "*9"
    assert translate(rules, "*90100") == "*90100"
