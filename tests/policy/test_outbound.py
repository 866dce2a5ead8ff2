"""Calls from access trunks: who pays, what refuses, where they go, and emergency calls, which nothing stops."""

from dataclasses import replace
from typing import Any

import pytest

from policy.decide import decide
from policy.directory import NO_LIMITS, CountedLimits, DialRule, Directory, Night, Tenant, TenantLimits, Trunk, User
from policy.plan import NumberPlan
from policy.verdict import Allow, CallRequest, Deny, Limits, Route, SpendLimit, Velocity, Verdict
from rating.deck import Deck, RateRow
from rating.tariff import Tariff
from rating.validity import Validity

AT_MS = 1_767_600_000_000
ALICE, CAROL, DAVE = "+14255550100", "+442079460001", "+442079460002"


def ask(dialled: str, caller: str = ALICE, trunk: str = "pbx", **fields: Any) -> CallRequest:
    return CallRequest(trunk, dialled, caller, fields.pop("at_unix_ms", AT_MS), **fields)


def refused(verdict: Verdict) -> tuple[str, int]:
    assert isinstance(verdict, Deny), verdict
    return verdict.reason.code, verdict.reason.sip_status


def allowed(verdict: Verdict) -> Allow:
    assert isinstance(verdict, Allow), verdict
    return verdict


def with_tenant(directory: Directory, tenant_id: str, **changes: Any) -> Directory:
    tenant = replace(directory.tenants[tenant_id], **changes)
    return replace(directory, tenants={**directory.tenants, tenant_id: tenant})


def with_user(directory: Directory, user: User) -> Directory:
    return replace(
        directory,
        users={**directory.users, (user.tenant_id, user.id): user},
        users_by_number={**directory.users_by_number, user.number: user},
    )


def with_trunks(directory: Directory, *trunks: Trunk) -> Directory:
    return replace(directory, trunks={trunk.name: trunk for trunk in trunks})


def test_a_call_abroad_is_paid_by_the_tenant_and_goes_to_every_carrier_that_takes_it(
    directory: Directory, plan: NumberPlan
) -> None:
    verdict = allowed(decide(directory, plan, ask("+442079461234")))
    assert (verdict.tenant_id, verdict.currency, verdict.kind, verdict.payer) == (
        "contoso",
        "USD",
        "user_out",
        "credits",
    )
    assert (verdict.user_id, verdict.user_name, verdict.user_location) == ("alice", "Alice", "US")
    assert (verdict.caller, verdict.dialled, verdict.number) == (ALICE, "+442079461234", "+442079461234")
    assert verdict.tariff == Tariff(20_000)
    assert (verdict.destination, verdict.number_class, verdict.domestic) == ("to 44", "fixed", False)
    assert (verdict.number_type, verdict.capability, verdict.trunk) == ("subscriber", "MCOPSTNPP", "pbx")
    assert verdict.routes == (
        Route("uk-carrier", "sip:127.0.0.4:5060", "+442079461234"),
        Route("carrier", "sip:127.0.0.3:5060", "+442079461234"),
        Route("carrier", "sip:127.0.0.3:5061", "+442079461234"),
    )
    assert verdict.limits == Limits()
    assert verdict.rules == ()


def test_carriers_are_narrowed_by_their_prefixes(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789")))
    assert {route.trunk for route in verdict.routes} == {"carrier"}


@pytest.mark.parametrize("dialled", ["14255551234", "011442079461234", "0114420-7946-1234", "+14255551234;x=y"])
def test_numbers_are_brought_to_e164(directory: Directory, plan: NumberPlan, dialled: str) -> None:
    assert allowed(decide(directory, plan, ask(dialled))).number in {"+14255551234", "+442079461234"}


def test_domestic_is_seen_from_the_users_location(directory: Directory, plan: NumberPlan) -> None:
    assert allowed(decide(directory, plan, ask("+14165551234"))).domestic  # Canada, from the US
    bob = allowed(decide(directory, plan, ask("+442079461234", caller="+442079460000")))
    assert (bob.user_id, bob.user_location, bob.domestic) == ("bob", "GB", True)


def test_a_caller_that_is_no_user_may_spend_where_licensing_is_none(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+442079461234", caller="anonymous")))
    assert (verdict.user_id, verdict.caller, verdict.user_location) == ("", "anonymous", "US")


def test_another_tenants_user_is_nobody_on_this_trunk(directory: Directory, plan: NumberPlan) -> None:
    assert allowed(decide(directory, plan, ask("+442079461234", caller=CAROL))).user_id == ""


def test_the_owner_of_the_callers_number_pays_where_the_trunk_says_so(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789", caller=CAROL, trunk="shared")))
    assert (verdict.tenant_id, verdict.user_id, verdict.currency) == ("fabrikam", "carol", "GBP")
    assert allowed(decide(directory, plan, ask("+33123456789", caller=CAROL[1:], trunk="shared"))).user_id == "carol"
    assert refused(decide(directory, plan, ask("+33123456789", caller="+4930123456", trunk="shared"))) == (
        "UNKNOWN_CALLER",
        403,
    )


def test_a_trunk_of_a_tenant_that_is_not_provisioned(directory: Directory, plan: NumberPlan) -> None:
    lost = with_trunks(directory, Trunk("pbx", "access", tenant="nobody"))
    assert refused(decide(lost, plan, ask("+33123456789"))) == ("UNKNOWN_CALLER", 403)


def test_a_trunk_nobody_knows(directory: Directory, plan: NumberPlan) -> None:
    verdict = decide(directory, plan, ask("+33123456789", trunk="who"))
    assert refused(verdict) == ("UNKNOWN_SOURCE", 403)
    assert verdict.trunk == ""


def test_the_user_named_by_the_pbx_pays(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789", caller="+4930123456", x_user="bob")))
    assert (verdict.user_id, verdict.user_location) == ("bob", "GB")
    assert refused(decide(directory, plan, ask("+33123456789", x_user="mallory"))) == ("UNKNOWN_CALLER", 403)


@pytest.mark.parametrize(
    ("x_kind", "kind"),
    [
        ("", "user_out"),
        ("user", "user_out"),
        ("conference", "conf_out"),
        ("forward", "user_out_forwarding"),
        ("transfer", "user_out_transfer"),
        ("add", "user_out_conf"),
        ("auto_attendant", "ucap_out"),
        ("call_queue", "ucap_out"),
    ],
)
def test_kinds_of_calls(directory: Directory, plan: NumberPlan, x_kind: str, kind: str) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789", x_kind=x_kind, x_conference="42")))
    assert (verdict.kind, verdict.conference) == (kind, "42")


@pytest.mark.parametrize("x_kind", ["nonsense", "conf", "user_out", "user,conference"])
def test_a_kind_that_is_not_known_is_not_guessed_at(directory: Directory, plan: NumberPlan, x_kind: str) -> None:
    assert refused(decide(directory, plan, ask("+33123456789", x_kind=x_kind))) == ("UNKNOWN_KIND", 403)
    assert refused(decide(directory, plan, ask(ALICE, x_kind=x_kind))) == ("UNKNOWN_KIND", 403)
    assert allowed(decide(directory, plan, ask("911", x_kind=x_kind))).emergency


def test_a_conference_number_as_caller_means_conference(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789", caller="+14255550198", x_user="alice")))
    assert (verdict.kind, verdict.user_id) == ("conf_out", "alice")


@pytest.mark.parametrize(
    ("changed", "kind", "user"),
    [
        ({}, "user_out_forwarding", "alice"),
        ({"forwarder": ALICE[1:]}, "user_out_forwarding", "alice"),
        ({"x_user": "bob"}, "user_out_forwarding", "bob"),
        ({"x_kind": "transfer"}, "user_out_transfer", "alice"),
        ({"forwarder": "+14255550198"}, "conf_out", ""),
        ({"forwarder": CAROL}, "user_out", ""),
        ({"forwarder": "+4930123457"}, "user_out", ""),
        ({"forwarder": "nobody"}, "user_out", ""),
    ],
)
def test_who_forwards_a_call_pays_for_it(
    directory: Directory, plan: NumberPlan, changed: dict[str, str], kind: str, user: str
) -> None:
    """DOMAIN 3, row 15; a number that is not the tenant's pays for nothing."""
    given: dict[str, Any] = {"caller": "+4930123456", "forwarder": ALICE, **changed}
    request = ask("+33123456789", **given)
    verdict = allowed(decide(directory, plan, request))
    assert (verdict.kind, verdict.user_id, verdict.tenant_id) == (kind, user, "contoso")


def test_a_trunk_of_many_tenants_may_forward_calls_of_strangers(directory: Directory, plan: NumberPlan) -> None:
    request = ask("+33123456789", caller="+4930123456", forwarder=CAROL, trunk="shared")
    verdict = allowed(decide(directory, plan, request))
    assert (verdict.kind, verdict.user_id, verdict.tenant_id) == ("user_out_forwarding", "carol", "fabrikam")


@pytest.mark.parametrize(
    ("dialled", "reason"),
    [
        ("+1425555010", ("INCOMPLETE_NUMBER", 484)),
        ("+44", ("INCOMPLETE_NUMBER", 484)),
        ("+999123456789", ("INVALID_NUMBER", 404)),
        ("+1911", ("INVALID_NUMBER", 404)),
        ("+14255550100123", ("INVALID_NUMBER", 404)),
        ("0100", ("INVALID_NUMBER", 404)),
        ("alice", ("INVALID_NUMBER", 404)),
        ("", ("INVALID_NUMBER", 404)),
        ("urn:service:counseling", ("INVALID_NUMBER", 404)),
        ("+4930123456", ("NO_RATE", 404)),
    ],
)
def test_numbers_that_cannot_be_called(
    directory: Directory, plan: NumberPlan, dialled: str, reason: tuple[str, int]
) -> None:
    assert refused(decide(directory, plan, ask(dialled))) == reason


def test_the_dial_plan_of_the_tenant_and_of_the_user(directory: Directory, plan: NumberPlan) -> None:
    planned = with_tenant(directory, "contoso", dial_plan=(DialRule(r"^(\d{4})$", "+4420794$1"),))
    assert refused(decide(planned, plan, ask("1234"))) == ("INCOMPLETE_NUMBER", 484)
    planned = with_tenant(directory, "contoso", dial_plan=(DialRule(r"^(\d{4})$", "+44207946$1"),))
    assert allowed(decide(planned, plan, ask("1234"))).number == "+442079461234"
    assert allowed(decide(planned, plan, ask("+33123456789", caller="0000"))).user_id == "bob"
    alice = replace(directory.users[("contoso", "alice")], dial_plan=(DialRule(r"^(\d{4})$", "+3312345$1"),))
    assert allowed(decide(with_user(planned, alice), plan, ask("6789"))).number == "+33123456789"
    operator = replace(alice, dial_plan=(DialRule(r"^0$", "+33123456789"),))  # instead of the tenant's plan
    assert refused(decide(with_user(planned, operator), plan, ask("1234"))) == ("INCOMPLETE_NUMBER", 484)


def test_a_national_trunk(directory: Directory, plan: NumberPlan) -> None:
    trunks = [trunk for trunk in directory.trunks.values() if trunk.name != "pbx"]
    national = with_trunks(directory, Trunk("pbx", "access", tenant="contoso", numbers="national"), *trunks)
    assert allowed(decide(national, plan, ask("4255551234", caller="4255550100"))).number == "+14255551234"
    assert allowed(decide(national, plan, ask("4255551234", caller="4255550100"))).user_id == "alice"


def test_blocked_users_and_destinations(directory: Directory, plan: NumberPlan) -> None:
    alice = replace(directory.users[("contoso", "alice")], blocked=True)
    assert refused(decide(with_user(directory, alice), plan, ask("+33123456789"))) == ("BLOCKED_USER", 403)
    assert refused(decide(directory, plan, ask("+979123456789"))) == ("BLOCKED_PREFIX", 403)
    alice = replace(directory.users[("contoso", "alice")], limits=TenantLimits(blocked_prefixes=("+33",)))
    assert refused(decide(with_user(directory, alice), plan, ask("+33123456789"))) == ("BLOCKED_PREFIX", 403)


def test_per_user_licensing(directory: Directory, plan: NumberPlan) -> None:
    assert allowed(decide(directory, plan, ask("+33123456789", caller=CAROL, trunk="shared"))).user_id == "carol"
    verdict = decide(directory, plan, ask("+33123456789", caller=DAVE, trunk="shared"))
    assert refused(verdict) == ("NO_LICENCE", 403)
    assert (verdict.tenant_id, verdict.user_id, verdict.number) == ("fabrikam", "dave", "+33123456789")
    renamed = with_user(directory, replace(directory.users[("fabrikam", "dave")], licences=("MCOPSTNC",)))
    assert allowed(decide(renamed, plan, ask("+33123456789", caller=DAVE, trunk="shared"))).user_id == "dave"


def test_a_voice_application_needs_no_licence(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask("+33123456789", caller="+448085550197", trunk="shared")))
    assert (verdict.tenant_id, verdict.kind) == ("fabrikam", "ucap_out")


def test_a_tenant_whose_deck_is_not_there(directory: Directory, plan: NumberPlan) -> None:
    assert refused(decide(replace(directory, decks={}), plan, ask("+33123456789"))) == ("NO_RATE", 404)


def test_the_price_is_the_one_in_effect_at_the_invite(directory: Directory, plan: NumberPlan) -> None:
    rows = [
        RateRow("33", "France", "", "", "", Tariff(10)),
        RateRow("33", "France", "", "", "", Tariff(20), Validity(from_unix_ms=AT_MS)),
    ]
    changing = replace(directory, decks={"standard": Deck("standard", "USD", rows)})
    before = allowed(decide(changing, plan, ask("+33123456789", at_unix_ms=AT_MS - 1)))
    after = allowed(decide(changing, plan, ask("+33123456789")))
    assert (before.tariff, after.tariff) == (Tariff(10), Tariff(20))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (TenantLimits(max_rate_micros_per_min=119_999), "RATE_TOO_HIGH"),
        (TenantLimits(max_connect_micros=99_999), "RATE_TOO_HIGH"),
        (TenantLimits(max_rate_micros_per_min=120_000, max_connect_micros=100_000), ""),
    ],
)
def test_the_dearest_rate_allowed(directory: Directory, plan: NumberPlan, limits: TenantLimits, reason: str) -> None:
    bob = replace(directory.users[("contoso", "bob")], limits=limits)
    for limited in (with_tenant(directory, "contoso", limits=limits), with_user(directory, bob)):
        verdict = decide(limited, plan, ask("+448441234567", caller="+442079460000"))
        if reason:
            assert refused(verdict) == (reason, 403)
        else:
            assert allowed(verdict).number_class == "shared_cost"


def test_limits_are_passed_on_to_the_reserve_script(directory: Directory, plan: NumberPlan) -> None:
    limits = TenantLimits(max_calls=50, calls_per_second=10, max_call_s=3600)
    limited = with_tenant(directory, "contoso", limits=limits, failure_policy="retry")
    verdict = allowed(decide(limited, plan, ask("+33123456789")))
    assert verdict.limits == Limits(50, 10)
    assert (verdict.max_call_s, verdict.failure_policy) == (3600, "retry")
    alice = replace(directory.users[("contoso", "alice")], limits=TenantLimits(max_call_s=60))
    assert allowed(decide(with_user(limited, alice), plan, ask("+33123456789"))).max_call_s == 60


@pytest.mark.parametrize("number", ["+870771234567", "+881612345678", "+883510012345", "+979123456789"])
def test_high_risk_ranges_are_closed_unless_the_tenant_opens_them(
    directory: Directory, plan: NumberPlan, number: str
) -> None:
    closed = with_tenant(directory, "contoso", limits=NO_LIMITS)
    assert refused(decide(closed, plan, ask(number))) == ("HIGH_RISK", 403)
    other = with_tenant(directory, "contoso", limits=TenantLimits(open_high_risk=(number[:4] + "0", "+882")))
    opened = with_tenant(directory, "contoso", limits=TenantLimits(open_high_risk=("+882", number[:5])))
    codes = [
        verdict.reason.code
        for verdict in (decide(world, plan, ask(number)) for world in (other, opened))
        if isinstance(verdict, Deny)
    ]
    assert codes == ["HIGH_RISK", "NUMBER_CLASS" if number.startswith("+979") else "NO_RATE"]


def test_how_many_numbers_of_a_range_may_be_called(directory: Directory, plan: NumberPlan) -> None:
    limits = TenantLimits(numbers_per_range_per_hour=20, range_digits=4)
    world = with_tenant(directory, "contoso", limits=limits, time_zone="Asia/Taipei")
    late = AT_MS // 86_400_000 * 86_400_000 + 16 * 3_600_000  # midnight in Taipei
    days = [
        velocity.day
        for at_ms in (late - 1, late)
        if (velocity := allowed(decide(world, plan, ask("+33123456789", at_unix_ms=at_ms))).limits.velocity)
    ]
    found = allowed(decide(world, plan, ask("+33123456789", at_unix_ms=late))).limits.velocity
    assert found == Velocity("+3312", "+33123456789", 20, days[1])
    assert days[0] < days[1]
    for mine in (ask("+442079460000"), ask("911"), ask("+18005550199", trunk="carrier")):
        assert allowed(decide(world, plan, mine)).limits.velocity is None


@pytest.mark.parametrize(
    ("begins", "ends", "hour", "night"),
    [(22, 6, 21, False), (22, 6, 22, True), (22, 6, 3, True), (22, 6, 6, False), (1, 5, 1, True), (1, 5, 23, False)],
)
def test_the_night_closes_numbers_and_limits_money(
    directory: Directory, plan: NumberPlan, begins: int, ends: int, hour: int, night: bool
) -> None:
    rule = Night(begins * 60, ends * 60, 5_000_000, ("+44",))
    world = with_tenant(directory, "contoso", limits=TenantLimits(night=rule), time_zone="Asia/Kathmandu")
    midnight = AT_MS // 86_400_000 * 86_400_000 + (18 * 60 + 15) * 60_000  # in Kathmandu
    at = {"at_unix_ms": midnight + hour * 3_600_000}
    closed = decide(world, plan, ask("+442079461234", **at))
    found = allowed(decide(world, plan, ask("+33123456789", **at))).limits.spend
    assert found == ((SpendLimit("night", "hour", 5_000_000),) if night else ())
    assert (refused(closed) == ("LIMIT_NIGHT", 403)) if night else allowed(closed)
    assert allowed(decide(world, plan, ask("+442079460000", **at))).limits == Limits(), "a colleague may be called"


def test_limits_of_a_class_and_a_trunk_are_for_calls_to_the_outside(directory: Directory, plan: NumberPlan) -> None:
    every = tuple((name, CountedLimits(max_calls=2)) for name in ("fixed", "fixed_or_mobile", "mobile", "toll_free"))
    limited = with_tenant(directory, "contoso", limits=TenantLimits(classes=every))
    pbx = replace(limited.trunks["pbx"], limits=CountedLimits(spend_per_hour_micros=5))
    limited = replace(limited, trunks={**limited.trunks, "pbx": pbx})
    abroad, at_home, inside = [
        allowed(decide(limited, plan, ask(number))).limits
        for number in ("+33123456789", "+14255550111", "+442079460000")
    ]
    assert [limit.scope for limit in abroad.live] == ["class/fixed"]
    assert [limit.scope for limit in at_home.live] == ["class/fixed_or_mobile"]
    assert inside.live == (), "a colleague is no destination"
    assert abroad.spend == inside.spend == (SpendLimit("trunk/pbx", "hour", 5),)
    assert allowed(decide(limited, plan, ask("+18005550199", trunk="carrier"))).limits == Limits()


def test_the_gates_failure_policy_serves_tenants_without_one(directory: Directory, plan: NumberPlan) -> None:
    assert allowed(decide(directory, plan, ask("+33123456789"))).failure_policy == "terminate"
    patient = replace(directory, failure_policy="continue")
    assert allowed(decide(patient, plan, ask("+33123456789"))).failure_policy == "continue"
    assert patient.failure_policy_of("contoso") == patient.failure_policy_of("nobody") == "continue"
    assert with_tenant(patient, "contoso", failure_policy="retry").failure_policy_of("contoso") == "retry"


def test_no_carrier_takes_the_number(directory: Directory, plan: NumberPlan) -> None:
    trunks = [trunk for trunk in directory.trunks.values() if trunk.name != "carrier"]
    assert refused(decide(with_trunks(directory, *trunks), plan, ask("+33123456789"))) == ("NO_ROUTE", 404)


def test_a_call_to_a_colleague_is_free_and_goes_to_the_tenants_own_trunk(
    directory: Directory, plan: NumberPlan
) -> None:
    verdict = allowed(decide(directory, plan, ask("+442079460000")))
    assert (verdict.kind, verdict.payer, verdict.tariff) == ("on_net", "none", None)
    assert verdict.routes == (Route("pbx", "sip:127.0.0.2:5060", "+442079460000"),)
    dave = allowed(decide(directory, plan, ask(CAROL, caller=DAVE, trunk="shared")))
    assert (dave.kind, dave.routes) == ("on_net", (Route("shared", "sip:127.0.0.9:5060", CAROL),))
    bridge = allowed(decide(directory, plan, ask("+18005550199")))
    assert (bridge.kind, bridge.payer) == ("on_net", "none")


def test_a_call_to_another_tenants_user_leaves_by_a_carrier(directory: Directory, plan: NumberPlan) -> None:
    verdict = allowed(decide(directory, plan, ask(CAROL)))
    assert (verdict.kind, verdict.payer, verdict.routes[0].trunk) == ("user_out", "credits", "uk-carrier")


def test_a_colleague_without_a_trunk_to_be_reached_at(directory: Directory, plan: NumberPlan) -> None:
    unreachable = with_trunks(directory, Trunk("pbx", "access", tenant="contoso"), directory.trunks["carrier"])
    assert refused(decide(unreachable, plan, ask("+442079460000"))) == ("NO_ROUTE", 404)


def test_a_number_of_the_tenant_need_not_be_in_the_plan(directory: Directory, plan: NumberPlan) -> None:
    extension = User("lobby", "contoso", "+1911")
    assert allowed(decide(with_user(directory, extension), plan, ask("+1911"))).kind == "on_net"


# emergency calls


def emergency_route(dialled: str) -> tuple[Route, ...]:
    return (Route("rescue", "sip:127.0.0.5:5060", dialled),)


@pytest.mark.parametrize(
    ("dialled", "caller", "trunk"),
    [
        ("911", ALICE, "pbx"),
        ("112", ALICE, "pbx"),
        ("9-1-1", ALICE, "pbx"),
        ("999", "+442079460000", "pbx"),
        ("999", CAROL, "shared"),
        ("911", "anonymous", "pbx"),
        ("999", "+4930123456", "shared"),
        ("911", "", "shared"),
    ],
)
def test_emergency_calls_pass_with_their_digits_unchanged(
    directory: Directory, plan: NumberPlan, dialled: str, caller: str, trunk: str
) -> None:
    verdict = allowed(decide(directory, plan, ask(dialled, caller, trunk)))
    digits = dialled.replace("-", "")
    assert verdict.emergency
    assert (verdict.payer, verdict.tariff, verdict.limits, verdict.max_call_s) == ("none", None, Limits(), None)
    assert (verdict.number, verdict.destination, verdict.routes) == (digits, "emergency", emergency_route(digits))


@pytest.mark.parametrize("dialled", ["urn:service:sos", "URN:SERVICE:SOS.FIRE"])
def test_emergency_services_by_name(directory: Directory, plan: NumberPlan, dialled: str) -> None:
    verdict = allowed(decide(directory, plan, ask(dialled)))
    assert verdict.emergency
    assert verdict.routes == emergency_route(dialled)


def test_the_emergency_numbers_are_those_of_the_users_location(directory: Directory, plan: NumberPlan) -> None:
    assert refused(decide(directory, plan, ask("999"))) == ("INVALID_NUMBER", 404)
    british = decide(directory, plan, ask("911", caller="+442079460000"))
    assert refused(british) == ("INCOMPLETE_NUMBER", 484)  # +91 1…, the beginning of an Indian number


def test_no_rule_stops_an_emergency_call(directory: Directory, plan: NumberPlan) -> None:
    limits = TenantLimits(max_calls=0, calls_per_second=0, blocked_prefixes=("+", "9", "1"), max_call_s=1)
    strict = with_tenant(directory, "contoso", limits=limits, licensing="per-user", rate_deck="none")
    alice = replace(strict.users[("contoso", "alice")], blocked=True)
    verdict = allowed(decide(with_user(strict, alice), plan, ask("911", x_user="nobody", x_kind="conference")))
    assert verdict.emergency
    assert (verdict.limits, verdict.max_call_s) == (Limits(), None)


def test_an_emergency_number_behind_an_external_prefix(directory: Directory, plan: NumberPlan) -> None:
    planned = with_tenant(directory, "contoso", dial_plan=(DialRule(r"^9(\d+)$", "$1"), DialRule(r"^(\d{3})$", "1$1")))
    assert allowed(decide(planned, plan, ask("911"))).number == "911"
    plain = with_tenant(directory, "contoso", dial_plan=(DialRule(r"^9(\d{3})$", "$1"),))
    verdict = allowed(decide(plain, plan, ask("9911")))
    assert (verdict.emergency, verdict.number) == (True, "911")


def test_an_external_access_prefix_is_for_numbers_that_are_called(directory: Directory, plan: NumberPlan) -> None:
    national = replace(directory.trunks["pbx"], numbers="national")
    directory = replace(directory, trunks={**directory.trunks, "pbx": national})
    nine = (DialRule("9", "", external=True), DialRule(r"^(\d{4})$", "+1425555$1"))
    planned = with_tenant(directory, "contoso", dial_plan=nine)
    for dialled, number in (
        ("911", "911"), ("9911", "911"), ("901133123456789", "+33123456789"), ("99254161234", "+19254161234"),
    ):  # fmt: skip
        assert allowed(decide(planned, plan, ask(dialled))).number == number
    assert decide(planned, plan, ask("+33123456789", caller="9254161234")).caller == "+19254161234"


def test_an_empty_directory_still_carries_emergency_calls(plan: NumberPlan) -> None:
    for trunk in (Trunk("pbx", "access", tenant="contoso"), Trunk("pbx", "access", tenant_from="caller")):
        bare = Directory(trunks={"pbx": trunk, "out": Trunk("out", "carrier", targets=("sip:127.0.0.3:5060",))})
        for dialled in ("112", "911", "urn:service:sos"):
            verdict = allowed(decide(bare, plan, ask(dialled)))
            assert verdict.routes == (Route("out", "sip:127.0.0.3:5060", dialled),)
            assert (verdict.tenant_id, verdict.emergency) == ("", True)
        assert refused(decide(bare, plan, ask("+33123456789"))) == ("UNKNOWN_CALLER", 403)


def test_without_a_marked_carrier_the_first_one_takes_emergency_calls(directory: Directory, plan: NumberPlan) -> None:
    trunks = [trunk for trunk in directory.trunks.values() if trunk.name != "rescue"]
    verdict = allowed(decide(with_trunks(directory, *trunks), plan, ask("911")))
    assert {route.trunk for route in verdict.routes} == {"uk-carrier"}


def test_a_gate_without_any_carrier_cannot_reach_anybody(directory: Directory, plan: NumberPlan) -> None:
    alone = with_trunks(directory, directory.trunks["pbx"])
    assert refused(decide(alone, plan, ask("911"))) == ("NO_ROUTE", 404)


def test_a_tenant_in_another_country(directory: Directory, plan: NumberPlan) -> None:
    abroad = replace(directory, tenants={"contoso": Tenant("contoso", country="DE")}, users_by_number={})
    assert allowed(decide(abroad, plan, ask("110"))).emergency
    assert refused(decide(abroad, plan, ask("911"))) == ("INCOMPLETE_NUMBER", 484)
