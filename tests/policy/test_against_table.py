"""Random users, licences, policies and destinations, judged by the decision table written down a second time.

The table here is made of the documents' sentences and knows nothing of the code under test: a call that it refuses is
never let in, and a call that it lets in is paid from the same pools, in the same order, at the same rate.
"""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.plan import NumberPlan
from policy.verdict import Deny

from .licensed import (
    CA,
    CK,
    FR,
    GB,
    GB_PREMIUM,
    GB_SHARED,
    PR,
    RATES,
    SATELLITE,
    US,
    US_PREMIUM,
    ZW,
    out,
    paid,
    refused,
    user,
    world,
)  # fmt: skip

PLANS = ("MCOPSTN1", "MCOPSTN2", "MCOPSTN5", "MCOPSTN8", "PAYG-1")
OTHERS = ("MCOMEETADD", "MCOMEETADD_DIALOUT_US", "MCOMEETACPEA", "MCOPSTNPP", "MCOPSTNC")
PLACES = ("US", "CA", "PR", "GB", "FR", "ZW", "TW", "MX")
ZONE_A = {"US", "CA", "PR", "GB", "FR"}
NORTH_AMERICA = {"US", "CA", "PR"}
NUMBERS = {
    US: ("US", 13_000), CA: ("CA", 13_000), PR: ("PR", 13_000), GB: ("GB", 20_000), FR: ("FR", 18_000),
    ZW: ("ZW", 480_000), CK: ("CK", 1_200_000), SATELLITE: ("", RATES["881"]),
    US_PREMIUM: ("US", 13_000), GB_SHARED: ("GB", 120_000), GB_PREMIUM: ("GB", 20_000),
}  # fmt: skip
POLICIES = {
    "DialoutCPCandPSTNInternational": ("any", "international"),
    "DialoutCPCDomesticPSTNInternational": ("domestic", "international"),
    "DialoutCPCZoneAPSTNDomestic": ("zone_a", "domestic"),
    "DialoutCPCDisabledPSTNDomestic": ("none", "domestic"),
    "DialoutCPCInternationalPSTNDisabled": ("any", "none"),
}


@dataclass(frozen=True)
class Call:
    licences: tuple[str, ...]
    place: str
    number: str
    kind: str
    policy: str
    licensing: str


calls = st.builds(
    Call,
    st.lists(st.sampled_from(PLANS + OTHERS), unique=True).map(tuple),
    st.sampled_from(PLACES),
    st.sampled_from(sorted(NUMBERS)),
    st.sampled_from(("", "conference", "forward", "transfer")),
    st.sampled_from(sorted(POLICIES)),
    st.sampled_from(("per-user", "none")),
)


def reaches(call: Call, region: str) -> bool:
    conference, own = POLICIES[call.policy]
    states = {"US", "PR"}
    home = region == call.place or {region, call.place} <= states
    reach = conference if call.kind == "conference" else own
    return {"any": True, "international": True, "none": False, "zone_a": region in ZONE_A, "domestic": home}[reach]


def is_closed(call: Call) -> bool:
    """Row 14."""
    if call.number in (US_PREMIUM, GB_PREMIUM):
        return call.place != "FR"
    return call.number == GB_SHARED and call.place not in ("FR", "GB")


def pools(call: Call, region: str) -> tuple[str, ...]:
    if call.number in (US_PREMIUM, GB_SHARED, GB_PREMIUM):
        return ()
    if call.kind == "conference":
        shared = "MCOMEETADD/ZoneA/RU-KR-TW" if call.place == "TW" else "MCOMEETADD/ZoneA"
        return (shared,) if region in ZONE_A and "MCOMEETADD" in call.licences else ()
    area = "US" if call.place == "PR" else call.place
    if region == call.place or {region, call.place} <= NORTH_AMERICA:
        minutes = {each: f"{each}/{area}" for each in ("MCOPSTN1", "MCOPSTN2")}
        minutes |= {} if call.place == "MX" else {"MCOPSTN5": f"MCOPSTN5/{area}"}
        minutes |= {"MCOPSTN8": f"MCOPSTN8/{area}/u"}
        return tuple(minutes[each] for each in call.licences if each in minutes)
    return (f"MCOPSTN2/{area}/international",) if "MCOPSTN2" in call.licences and region else ()


def may_spend(call: Call) -> bool:
    if call.licensing == "none" or {"MCOPSTNPP", "MCOPSTNC"} & set(call.licences):
        return True
    return call.kind == "conference" and "MCOMEETACPEA" in call.licences


def judged(call: Call) -> object:
    """What the table says: a reason to refuse for, or the pools and then the rate (None: not from credits)."""
    region, rate = NUMBERS[call.number]
    if not reaches(call, region):
        return "DIAL_OUT_POLICY"
    if is_closed(call):
        return "NUMBER_CLASS"
    premium = call.number in (US_PREMIUM, GB_SHARED, GB_PREMIUM)
    conference = call.kind == "conference" and not premium
    if conference and region in ("US", "CA") and "MCOMEETADD_DIALOUT_US" in call.licences:
        return (), None
    first = pools(call, region)
    if not first and not may_spend(call):
        return "NO_LICENCE"
    return first, rate if may_spend(call) else None


@settings(max_examples=1_500, deadline=None)
@given(calls)
def test_every_call_is_judged_as_the_table_says(plan: NumberPlan, call: Call) -> None:
    who = user("u", call.place, *call.licences, dial_out_policy=call.policy)
    verdict = out(world([who], licensing=call.licensing), plan, "u", call.number, call.kind)
    found = refused(verdict)[0] if isinstance(verdict, Deny) else paid(verdict)
    assert found == judged(call)


@settings(max_examples=200, deadline=None)
@given(calls)
def test_emergency_calls_pass_whatever_the_table_says_of_others(plan: NumberPlan, call: Call) -> None:
    who = user("u", call.place, *call.licences, dial_out_policy=call.policy, blocked=True)
    directory = world([who], licensing=call.licensing)
    number = next(number for number in ("911", "112", "999", "119") if plan.is_emergency(number, call.place))
    assert paid(out(directory, plan, "u", number, call.kind)) == ((), None)
