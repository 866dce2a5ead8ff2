"""Worlds to decide licences in: one tenant whose licences are per user, a carrier, and the sample rates of DOMAIN 8."""

from collections.abc import Iterable
from typing import Any

from gateway.config.facts import policy_facts
from policy.decide import decide
from policy.directory import Directory, ServiceNumber, Tenant, TenantLimits, Trunk, User
from policy.plan import NumberPlan
from policy.verdict import Allow, CallRequest, Deny, Verdict
from rating.deck import Deck, RateRow
from rating.tariff import Tariff

AT_MS = 1_767_600_000_000
STRANGER = "+61212345678"

US, CA, PR, GB, FR, ZW, CK = (
    "+12125550123", "+14165550123", "+17872345678", "+442079461234", "+33123456789", "+263771234567", "+68221234",
)  # fmt: skip
US_PREMIUM, GB_SHARED, GB_PREMIUM = "+19002345678", "+448441234567", "+449091234567"
SATELLITE = "+881612345678"

RATES = {"1": 13_000, "33": 18_000, "44": 20_000, "263": 480_000, "682": 1_200_000, "881": 9_000_000, "800": 50_000}
ROWS = [
    *(RateRow(prefix, f"to {prefix}", "", "", "", Tariff(rate)) for prefix, rate in RATES.items()),
    RateRow("44844", "GB shared cost", "", "", "", Tariff(120_000, 100_000)),
    RateRow("1800", "US toll-free inbound", "", "", "in", Tariff(40_000)),
]


def user(id_: str, location: str = "US", *licences: str, number: str = "", **fields: Any) -> User:
    return User(id_, "contoso", number, usage_location=location, licences=licences, **fields)


def world(users: Iterable[User] = (), services: Iterable[ServiceNumber] = (), **tenant: Any) -> Directory:
    """A directory of one tenant with an access trunk and a carrier that takes everything."""
    people, numbers = list(users), list(services)
    opened = TenantLimits(open_high_risk=("+881",))
    fields = {"rate_deck": "standard", "licensing": "per-user", "limits": opened} | tenant
    return Directory(
        1,
        trunks={
            "pbx": Trunk("pbx", "access", tenant="contoso", targets=("sip:127.0.0.2",)),
            "carrier": Trunk("carrier", "carrier", targets=("sip:127.0.0.3",)),
        },
        tenants={"contoso": Tenant("contoso", **fields)},
        users={(each.tenant_id, each.id): each for each in people},
        users_by_number={each.number: each for each in people if each.number},
        service_numbers={each.number: each for each in numbers},
        decks={"standard": Deck("standard", "USD", ROWS)},
        facts=policy_facts(),
    )


def service(number: str, kind: str, serves: str, *licences: str, organiser: str = "") -> ServiceNumber:
    return ServiceNumber(number, "contoso", kind, serves, "pbx", licences, organiser)  # type: ignore[arg-type]


def out(directory: Directory, plan: NumberPlan, who: str, dialled: str, kind: str = "", caller: str = "") -> Verdict:
    """A call that the PBX places in a user's name."""
    return decide(directory, plan, CallRequest("pbx", dialled, caller, AT_MS, x_user=who, x_kind=kind))


def incoming(directory: Directory, plan: NumberPlan, dialled: str) -> Verdict:
    """A call that a stranger places to one of the tenant's numbers."""
    return decide(directory, plan, CallRequest("carrier", dialled, STRANGER, AT_MS))


def allowed(verdict: Verdict) -> Allow:
    assert isinstance(verdict, Allow), verdict
    return verdict


def refused(verdict: Verdict) -> tuple[str, int]:
    assert isinstance(verdict, Deny), verdict
    return verdict.reason.code, verdict.reason.sip_status


def paid(verdict: Verdict) -> tuple[tuple[str, ...], int | None]:
    """The pools that pay first, and the rate a minute after them (None: the balance may not pay)."""
    found = allowed(verdict)
    return tuple(pool.name for pool in found.pools), found.tariff.rate_micros_per_min if found.tariff else None
