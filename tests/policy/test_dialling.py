"""From dialled digits to E.164: as phonenumbers reads national numbers, and the order of CONTRACT 3."""

import re

import phonenumbers
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy.dialling import Numbers, bare, is_emergency_service, to_e164
from policy.plan import NumberPlan

E164 = phonenumbers.PhoneNumberFormat.E164


@st.composite
def valid_numbers(draw: st.DrawFn) -> tuple[str, phonenumbers.PhoneNumber]:
    """A region and a valid number with its calling code: an example whose last digits are drawn anew."""
    region = draw(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
    kind = draw(st.sampled_from([0, 1, 3, 4, 5, 6, 7, 9]))
    example = phonenumbers.example_number_for_type(region, kind)
    assume(example is not None)
    national = phonenumbers.national_significant_number(example)
    drawn = draw(st.integers(1, 4))
    last = draw(st.text("0123456789", min_size=drawn, max_size=drawn))
    try:
        number = phonenumbers.parse(f"+{example.country_code}{national[:-drawn]}{last}", None)
    except phonenumbers.NumberParseException:
        assume(False)
    assume(phonenumbers.is_valid_number(number))
    return region, number


@settings(max_examples=600, deadline=None)
@given(valid_numbers())
def test_national_numbers_are_read_as_phonenumbers_reads_them(
    installed_plan: NumberPlan, drawn: tuple[str, phonenumbers.PhoneNumber]
) -> None:
    region, number = drawn
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    for dialled in (re.sub(r"\D", "", written), phonenumbers.national_significant_number(number)):
        expected = phonenumbers.format_number(phonenumbers.parse(dialled, region), E164)
        assert to_e164(installed_plan, dialled, region, "national") == expected


@settings(max_examples=300, deadline=None)
@given(valid_numbers(), st.sampled_from([("GB", "00"), ("US", "011"), ("JP", "010"), ("AU", "0011"), ("FI", "00")]))
def test_the_international_prefix_of_the_tenants_country(
    installed_plan: NumberPlan, drawn: tuple[str, phonenumbers.PhoneNumber], home: tuple[str, str]
) -> None:
    written = phonenumbers.format_number(drawn[1], E164)
    assume(len(written) <= 16)
    region, prefix = home
    numbers: Numbers
    for numbers in ("e164", "national"):
        assert to_e164(installed_plan, prefix + written[1:], region, numbers) == written
        assert to_e164(installed_plan, written, region, numbers) == written
    assert to_e164(installed_plan, written[1:], region, "e164") == written


@pytest.mark.parametrize(
    ("dialled", "region", "numbers", "expected"),
    [
        ("14255550100", "US", "e164", "+14255550100"),
        ("4255550100", "US", "national", "+14255550100"),
        ("14255550100", "US", "national", "+14255550100"),
        ("02079460000", "GB", "national", "+442079460000"),
        ("442079460000", "GB", "national", "+442079460000"),
        ("0612345678", "IT", "national", "+390612345678"),
        ("002079460000", "GB", "national", "+2079460000"),
        ("994501234567", "FI", "e164", "+994501234567"),
        ("9904420794600", "FI", "e164", "+4420794600"),
        ("0044 (20) 7946-0000", "GB", "e164", "+442079460000"),
        ("000442079460000", "GB", "e164", "+000442079460000"),
        ("0100", "US", "e164", "+0100"),
        ("14255550100", "", "national", "+14255550100"),
        ("+", "US", "e164", ""),
        ("", "US", "e164", ""),
        ("alice", "US", "e164", ""),
        ("*31#0100", "US", "e164", ""),
        ("+1425+5550100", "US", "e164", ""),
        ("٠١٢", "US", "e164", ""),
        ("+1234567890123456", "US", "e164", ""),
    ],
)
def test_forms_of_dialling(plan: NumberPlan, dialled: str, region: str, numbers: Numbers, expected: str) -> None:
    assert to_e164(plan, bare(dialled), region, numbers) == expected


@pytest.mark.parametrize(
    ("user_part", "expected"),
    [
        ("+1-425-555.0100", "+14255550100"),
        ("(425) 555 0100", "4255550100"),
        ("0100;phone-context=example.com", "0100"),
        ("1" * 33, ""),
        ("1" * 32, "1" * 32),
    ],
)
def test_separators_and_parameters_mean_nothing(user_part: str, expected: str) -> None:
    assert bare(user_part) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("urn:service:sos", True),
        ("URN:Service:SOS.fire", True),
        ("urn:service:sos.police.municipal", True),
        ("urn:service:sosx", False),
        ("urn:service:counseling", False),
        ("sos", False),
    ],
)
def test_emergency_services_by_name(uri: str, expected: bool) -> None:
    assert is_emergency_service(uri) is expected
