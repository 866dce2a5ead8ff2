"""The number plan: equal to phonenumbers on random numbers, and its traps by name."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType as Type
from phonenumbers import phonenumberutil, shortnumberinfo

from policy.plan import NumberClass, NumberPlan

NAMES = {
    Type.FIXED_LINE: "fixed",
    Type.MOBILE: "mobile",
    Type.FIXED_LINE_OR_MOBILE: "fixed_or_mobile",
    Type.TOLL_FREE: "toll_free",
    Type.PREMIUM_RATE: "premium",
    Type.SHARED_COST: "shared_cost",
    Type.VOIP: "voip",
    Type.PERSONAL_NUMBER: "personal",
    Type.PAGER: "pager",
    Type.UAN: "uan",
    Type.VOICEMAIL: "voicemail",
}
EXAMPLES = sorted(
    {
        (example.country_code, phonenumbers.national_significant_number(example))
        for region in [*phonenumbers.SUPPORTED_REGIONS, *phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS]
        for kind in NAMES
        for example in [
            phonenumberutil.example_number_for_type(region, kind)
            if isinstance(region, str)
            else phonenumberutil.example_number_for_non_geo_entity(region)
        ]
        if example is not None
    }
)


@st.composite
def near_numbers(draw: st.DrawFn) -> tuple[int, str]:
    """An example number with some digits changed, dropped or added: valid, invalid and on the edge of either."""
    code, national = draw(st.sampled_from(EXAMPLES))
    kept = draw(st.integers(0, len(national)))
    rest = draw(st.text("0123456789", min_size=max(0, len(national) - kept - 1), max_size=len(national) - kept + 1))
    return code, (national[:kept] + rest)[:14] or "1"


def looked_up(code: int, national: str) -> NumberClass | None:
    """What phonenumbers says of a number; the United Kingdom's shared-cost ranges as policy has them."""
    zeros = len(national) - len(national.lstrip("0"))
    number = phonenumbers.PhoneNumber(
        code, int(national), italian_leading_zero=zeros > 0, number_of_leading_zeros=zeros
    )
    if phonenumbers.national_significant_number(number) != national or not phonenumbers.is_valid_number(number):
        return None
    region = phonenumbers.region_code_for_number(number)
    name = NAMES[phonenumbers.number_type(number)]
    if region == "GB" and national[:3] in {"843", "844", "845", "870", "871", "872"} and len(national) == 10:
        name = "shared_cost"
    return NumberClass(region, name)


@settings(max_examples=1_500, deadline=None)
@given(near_numbers())
def test_classes_and_validity_are_those_of_phonenumbers(installed_plan: NumberPlan, near: tuple[int, str]) -> None:
    code, national = near
    if set(national) != {"0"}:
        assert installed_plan.valid_class(f"{code}{national}") == looked_up(code, national)


@settings(max_examples=400, deadline=None)
@given(near_numbers())
def test_a_beginning_is_a_proper_prefix_of_a_valid_number(installed_plan: NumberPlan, near: tuple[int, str]) -> None:
    digits = f"{near[0]}{near[1]}"
    if installed_plan.valid_class(digits) is not None:
        assert all(installed_plan.is_beginning(digits[:length]) for length in range(1, len(digits)))
    elif not installed_plan.is_beginning(digits):
        assert not any(installed_plan.is_beginning(digits + digit) for digit in "0123456789")
        assert all(installed_plan.valid_class(digits + digit) is None for digit in "0123456789")


@pytest.mark.parametrize("code_and_national", EXAMPLES[::7], ids=str)
def test_the_shipped_plan_knows_example_numbers(plan: NumberPlan, code_and_national: tuple[int, str]) -> None:
    code, national = code_and_national
    assert plan.classify(f"{code}{national}") is not None


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("14255550100", NumberClass("US", "fixed_or_mobile")),
        ("18005550199", NumberClass("US", "toll_free")),
        ("19002345678", NumberClass("US", "premium")),
        ("442079460000", NumberClass("GB", "fixed")),
        ("447911123456", NumberClass("GG", "mobile")),
        ("448431234567", NumberClass("GB", "shared_cost")),
        ("448721234567", NumberClass("GB", "shared_cost")),
        ("448421234567", NumberClass("GB", "premium")),
        ("449012345678", NumberClass("GB", "premium")),
        ("390612345678", NumberClass("IT", "fixed")),
        ("80012345678", NumberClass("001", "toll_free")),
        ("80812345678", NumberClass("001", "shared_cost")),
        ("979123456789", NumberClass("001", "premium")),
        ("881612345678", NumberClass("001", "mobile")),
    ],
)
def test_classes(plan: NumberPlan, digits: str, expected: NumberClass) -> None:
    assert plan.classify(digits) == expected
    assert plan.valid_class(digits) == expected


@pytest.mark.parametrize(("digits", "region"), [("15551234567", "US"), ("447700900123", "GB"), ("882131234567", "001")])
def test_ranges_nobody_has_assigned_yet_are_numbers_of_unknown_class(
    plan: NumberPlan, digits: str, region: str
) -> None:
    assert plan.valid_class(digits) is None
    assert plan.classify(digits) == NumberClass(region, "unknown")


@pytest.mark.parametrize(
    "digits",
    ["999123456789", "1911", "10000000000", "11234567890", "14255550100123", "446000000000", "210", "0", "00"],
)
def test_what_is_no_number_and_no_beginning_of_one(plan: NumberPlan, digits: str) -> None:
    assert plan.classify(digits) is None
    assert not plan.is_beginning(digits)


@pytest.mark.parametrize("digits", ["1", "1425", "1425555010", "44", "44207946000", "4479", "39061"])
def test_beginnings(plan: NumberPlan, digits: str) -> None:
    assert plan.classify(digits) is None
    assert plan.is_beginning(digits)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_SHORT_REGIONS))
def test_emergency_numbers_are_those_of_phonenumbers(installed_plan: NumberPlan, region: str) -> None:
    metadata = phonenumbers.PhoneMetadata.short_metadata_for_region(region)
    if metadata.emergency is None or not metadata.emergency.national_number_pattern:
        return  # a region without emergency numbers of its own is taken for one that is not known
    for digits in (
        "000",
        "101",
        "102",
        "110",
        "112",
        "113",
        "119",
        "190",
        "911",
        "999",
        "1911",
        "9110",
        "15",
        "123456",
    ):
        assert installed_plan.is_emergency(digits, region) == shortnumberinfo.is_emergency_number(digits, region)


def test_where_the_region_is_unknown_any_emergency_number_counts(plan: NumberPlan) -> None:
    assert all(plan.is_emergency(digits, "") for digits in ("112", "911", "999", "000", "110", "119"))
    assert not plan.is_emergency("14255550100", "")
    assert not plan.is_emergency("", "")


def test_how_numbers_are_dialled_in_a_country(plan: NumberPlan) -> None:
    country = plan.country("GB")
    assert country is not None
    assert (country.calling_code, country.international_prefix) == ("44", "00")
    assert country.is_viable("2079460000")
    assert not country.is_viable("207946000")
    assert plan.country("XX") is None
