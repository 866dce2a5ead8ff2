"""From what arrives by SIP to E.164: the tenant's dial plan, its country's international prefix, the trunk's way.

That order is CONTRACT 3's; the dial plan is policy.dial_plan's, the rest is here.  Digits without + then mean what
the trunk says: E.164 without its +, or a national number of the tenant's country, read as phonenumbers reads one (its
national prefix dropped where the number is complete without it).  A trunk of E.164 numbers may meet a tenant whose
international prefix begins other countries' codes (Finland's 99): then the reading that is a number wins.
"""

import re
from typing import Final, Literal

from policy.patterns import MAX_DIALLED
from policy.plan import Country, NumberPlan, compiled

MAX_DIGITS: Final = 15
"""Digits of the longest E.164 number (ITU-T E.164 6.2.1)."""

_SEPARATORS: Final = str.maketrans("", "", "-.() ")
"""Visual separators, which mean nothing (RFC 3966 3), and blanks."""

_SOS: Final = re.compile(r"urn:service:sos(\..*)?", re.IGNORECASE)

Numbers = Literal["e164", "national"]
"""What digits without + are: E.164 without its +, or a national number of the tenant's country."""


def bare(user_part: str) -> str:
    """What was dialled, without parameters and visual separators; empty where it is too long to be anything."""
    dialled = user_part.partition(";")[0]
    if not dialled.removeprefix("+").isdigit():  # most are, and to look costs a quarter of translating
        dialled = dialled.translate(_SEPARATORS)
    return dialled if len(dialled) <= MAX_DIALLED else ""


def is_emergency_service(dialled: str) -> bool:
    """Whether a Request-URI asks for the emergency services by name (RFC 5031 4.2)."""
    return _SOS.fullmatch(dialled) is not None


def to_e164(plan: NumberPlan, dialled: str, region: str, numbers: Numbers) -> str:
    """E.164 with + of what the dial plan made of a number; ``region`` is the tenant's country, empty if none is known.

    Empty where it cannot be a telephone number: other characters than digits, too many of them, or none.
    """
    digits = dialled.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        return ""
    if not dialled.startswith("+"):
        digits = _without_plus(plan, digits, plan.country(region), numbers)
    return "+" + digits if len(digits) <= MAX_DIGITS else ""


def _without_plus(plan: NumberPlan, digits: str, country: Country | None, numbers: Numbers) -> str:
    if country is None:
        return digits
    local = _from_national(digits, country) if numbers == "national" else digits
    abroad = _after_international_prefix(digits, country)
    if not abroad or (plan.valid_class(abroad) is None and plan.valid_class(local) is not None):
        return local
    return abroad


def _after_international_prefix(digits: str, country: Country) -> str:
    """What follows the prefix for calls abroad; empty where there is none, or a 0 follows: no country code has one."""
    if not country.international_prefix:
        return ""
    match = compiled(country.international_prefix).match(digits)
    rest = digits[match.end() :] if match else ""
    return "" if rest.startswith("0") else rest


def _from_national(digits: str, country: Country) -> str:
    """The E.164 digits of a number dialled inside its country, with or without calling code and national prefix."""
    code = country.calling_code
    if digits.startswith(code) and not country.is_viable(digits):
        inside = _without_national_prefix(digits[len(code) :], country)
        if country.is_viable(inside):
            return code + inside
    return code + _without_national_prefix(digits, country)


def _without_national_prefix(digits: str, country: Country) -> str:
    """The number as it follows the calling code: a national prefix is dropped, or rewritten where a country needs it.

    It stays where the number has its country's shape with it and would lose that without.
    """
    if not country.national_prefix:
        return digits
    match = compiled(country.national_prefix).match(digits)
    if match is None:
        return digits
    groups = match.re.groups
    if country.transform_rule and groups and match[groups] is not None:
        inside = match.expand(country.transform_rule) + digits[match.end() :]
    else:
        inside = digits[match.end() :]
    return digits if country.is_viable(digits) and not country.is_viable(inside) else inside
