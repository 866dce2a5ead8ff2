"""Provisioning: tenants, users, numbers and decks as one declarative TOML file (CONTRACT 4), read and checked whole.

The file says what shall be; gateway.ledger works out what changes, so applying it twice changes nothing the second
time.  Every key of CONTRACT 4 is accepted and validated here, and what one file can contradict itself in is refused
here: names and numbers given twice, a deck in another currency than its tenant.  What needs more than the file (a deck
loaded earlier, a trunk of the settings) is checked by whoever holds it.  Amounts are micro-units.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from gateway.config.facts import number_plan, policy_facts
from gateway.config.known import parse_notify
from gateway.config.limits import ClassLimitsEntry, LimitsEntry, TenantLimitsEntry
from gateway.config.problems import WrongValue, read_toml
from gateway.config.salvage import Conflict, read_checked, readable, told
from gateway.config.values import (
    E164,
    UNSEEN,
    AbsolutePath,
    BillingCountry,
    Country,
    Currency,
    Flag,
    Identity,
    Licence,
    MicrosNotNegative,
    Name,
    Pattern,
    Table,
    Text,
    TimeZone,
    Whole,
)
from policy.directory import NOT_COUNTED
from rating.money import format_cents

DIAL_RULES_MAX: Final = 25
"""DOMAIN: at most 25 rules in a stored dial plan."""
LICENCES_MAX: Final = 100_000_000
"""Licences of one kind: far above any organisation; their minutes still are exact numbers in Redis' scripts."""
DIAL_OUT_POLICIES: Final = (
    "DialoutCPCandPSTNInternational",
    "DialoutCPCInternationalPSTNDomestic",
    "DialoutCPCInternationalPSTNDisabled",
    "DialoutCPCDomesticPSTNInternational",
    "DialoutCPCandPSTNDomestic",
    "DialoutCPCDomesticPSTNDisabled",
    "DialoutCPCZoneAPSTNInternational",
    "DialoutCPCZoneAPSTNDomestic",
    "DialoutCPCZoneAPSTNDisabled",
    "DialoutCPCDisabledPSTNInternational",
    "DialoutCPCDisabledPSTNDomestic",
    "DialoutCPCandPSTNDisabled",
)
"""The twelve fixed instances (MicrosoftDocs/OfficeDocs-SkypeForBusiness, outbound-calling-restriction-policies)."""
ROLES: Final = (
    "Billing",
    "Skype for Business",
    "Global",
    "User Account",
    "Helpdesk",
    "Service Support",
    "Device",
    "Application",
    "License",
    "Cloud Device",
    "Authentication",
    "Privileged Authentication",
    "Teams Communications",
    "Teams Communications Support Engineer",
    "Teams Communications Support Specialist",
    "Teams Service",
)
"""The sixteen administrator roles that are told of recharges and of zero ("What are Communications Credits?")."""

_ROLE_OF: Final = {role.lower(): role for role in ROLES} | {"company": "Global"}


def parse_role(value: object) -> str:
    """One of ROLES; ``Billing Administrator`` and ``billing_admin`` mean ``Billing``."""
    words = re.sub(r"[\s_-]+", " ", value).strip().lower() if isinstance(value, str) else ""
    role = _ROLE_OF.get(words) or _ROLE_OF.get(re.sub(r" admin(istrator)?$", "", words))
    if not role:
        raise ValueError(f"expected an administrator role: {', '.join(ROLES)}")
    return role


def parse_dial_out_policy(value: object) -> str:
    """One of DIAL_OUT_POLICIES."""
    if value not in DIAL_OUT_POLICIES:
        raise ValueError(f"expected a dial-out policy: {', '.join(DIAL_OUT_POLICIES)}")
    return str(value)


def parse_external_prefix(value: object) -> str:
    """One to four of ``0-9 * #`` (DOMAIN 2, DialPlan)."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9*#]{1,4}", value):
        raise ValueError('expected one to four digits, * or #, in quotes, such as "9"')
    return value


def parse_email(value: object) -> str:
    """An e-mail address, loosely: who is told must be reachable, the mail server judges the rest."""
    if not isinstance(value, str) or not re.fullmatch(rf"[^@\s{UNSEEN}]+@[^@\s{UNSEEN}]+", value):
        raise ValueError('expected an e-mail address such as "admin@example.org"')
    return value


Role = Annotated[str, PlainValidator(parse_role)]
DialOutPolicy = Annotated[str, PlainValidator(parse_dial_out_policy)]
Notify = Annotated[str, PlainValidator(parse_notify)]
Email = Annotated[str, PlainValidator(parse_email)]
ExternalPrefix = Annotated[str, PlainValidator(parse_external_prefix)]


class RateDeckEntry(Table):
    """A deck and the file of its rows."""

    name: Name = Field(description="name of the deck")
    currency: Currency | None = Field(
        default=None, description="currency of its prices; left out: the file's own column"
    )
    file: AbsolutePath = Field(description="CSV file, may end in .gz; relative to this file")


class RechargeEntry(Table):
    """Automatic recharge: strictly below ``trigger``, ``amount`` is asked for."""

    enabled: Flag = Field(default=False, description="whether the account recharges itself")
    trigger_micros: MicrosNotNegative = Field(
        default=0, alias="trigger", description="balance below which it recharges"
    )
    amount_micros: MicrosNotNegative = Field(default=0, alias="amount", description="money added by one recharge")
    customer: Text = Field(default="", description="what the payment service calls the payer")
    payment_method: Text = Field(default="", description="what it calls the payer's card, charged without asking")


class DialRuleEntry(Table):
    """One rule of a dial plan; the first that matches wins."""

    pattern: Pattern = Field(description="regular expression on what was dialled")
    translation: Text = Field(min_length=1, max_length=64, description="what it means; $1 is the first group")


class PurchasedEntry(Table):
    """Licences bought, which size the minute pools."""

    sku: Licence = Field(description="licence")
    usage_country: Country = Field(description="country it is used in")
    count: Whole = Field(ge=0, le=LICENCES_MAX, description="how many were bought")


class UserEntry(Table):
    """A person or resource account."""

    id: Identity = Field(description="sign-in name, unique within the tenant")
    name: Text = Field(default="", description="display name")
    number: E164 | None = Field(default=None, description="its number")
    usage_location: Country | None = Field(default=None, description="country on its licence; left out: the tenant's")
    licences: tuple[Licence, ...] = Field(default=(), max_length=32, description="licences assigned to it")
    spend_limit_per_month_micros: MicrosNotNegative | None = Field(
        default=None, alias="spend_limit_per_month", description="money its calls may cost a calendar month"
    )
    dial_out_policy: DialOutPolicy | None = Field(default=None, description="left out: the tenant's")
    blocked: Flag = Field(default=False, description="may not call at all")
    barred_toll_free: Flag = Field(
        default=False,
        description="toll-free numbers whose organiser it is take no calls; of shared numbers the bridge must do it",
    )
    dial_plan: tuple[DialRuleEntry, ...] = Field(
        default=(), max_length=DIAL_RULES_MAX, description="instead of the tenant's"
    )
    external_prefix: ExternalPrefix | None = Field(default=None, description="left out: the tenant's")
    limits: LimitsEntry = Field(default=LimitsEntry(), description="limits of this user")


class ServiceNumberEntry(Table):
    """A number of a conference bridge, auto attendant or call queue."""

    number: E164 = Field(description="the number")
    kind: Literal["toll_free", "toll"] = Field(description="toll_free: its tenant pays for calls to it")
    serves: Literal["conference", "auto_attendant", "call_queue", "unassigned"] = Field(description="what answers")
    deliver_to: Name = Field(description="trunk that calls to it go to")
    licences: tuple[Licence, ...] = Field(default=(), max_length=32, description="licences of its resource account")
    organiser: Identity | None = Field(
        default=None,
        description="user whose conferences alone it serves, for serves = conference; left out: many share it",
    )


class AdminEntry(Table):
    """An administrator who is told of events."""

    email: Email = Field(description="address")
    roles: tuple[Role, ...] = Field(default=(), max_length=32, description="administrator roles")


class UnassignedEntry(Table):
    """A rule for calls to numbers of the tenant that nobody has."""

    pattern: Pattern = Field(description="regular expression on the called number")
    target: Text = Field(min_length=1, description="user, service number or trunk that takes the call")


class TenantEntry(Table):
    """An organisation with one prepaid or postpaid balance."""

    id: Identity = Field(description="the tenant's id")
    name: Text = Field(default="", description="name for people")
    country: Country = Field(default="US", description="country, for numbers, emergency calls and reports")
    currency: Currency = Field(default="USD", description="currency of its balance")
    rate_deck: Name = Field(description="deck its calls are priced by")
    mode: Literal["prepaid", "postpaid"] = Field(default="prepaid", description="postpaid may spend up to credit_limit")
    credit_limit_micros: MicrosNotNegative = Field(
        default=0, alias="credit_limit", description="only with postpaid, and required then"
    )
    licensing: Literal["per-user", "none"] = Field(
        default="none", description="none: any caller on its trunks may spend"
    )
    dial_out_policy: DialOutPolicy = Field(default=DIAL_OUT_POLICIES[0], description="default for its users")
    failure_policy: Literal["terminate", "continue", "retry"] | None = Field(
        default=None, description="calls while Redis is away; left out: the gate's"
    )
    minimum_funding_micros: MicrosNotNegative | None = Field(
        default=None, alias="minimum_funding", description="least amount of one funding; left out: none"
    )
    limits: TenantLimitsEntry = Field(default=TenantLimitsEntry(), description="limits of the tenant")
    class_limits: tuple[ClassLimitsEntry, ...] = Field(
        default=(), max_length=32, description="limits of its calls to numbers of one class"
    )
    recharge: RechargeEntry = Field(default=RechargeEntry(), description="automatic recharge")
    notify: tuple[Notify, ...] = Field(default=(), max_length=64, repr=False, description="Apprise URLs and webhooks")
    language: Literal["en", "zh-TW"] = Field(default="en", description="language of messages to it")
    notify_below_micros: MicrosNotNegative | None = Field(
        default=None, alias="notify_below", description="tell when the balance falls below; left out: never"
    )
    dial_plan: tuple[DialRuleEntry, ...] = Field(
        default=(), max_length=DIAL_RULES_MAX, description="rules for dialled digits"
    )
    external_prefix: ExternalPrefix | None = Field(
        default=None,
        description='what its phones dial before a number outside, such as "9": taken away before the dial plan',
    )
    time_zone: TimeZone = Field(default="UTC", description="zone of its days and months")
    billing_region: BillingCountry = Field(
        default="", description="country of its billing address; another one than its own refuses funding"
    )
    purchased: tuple[PurchasedEntry, ...] = Field(default=(), max_length=1000, description="left out: what is assigned")
    conference_overage: Literal["credits", "calling_plan"] = Field(
        default="credits",
        description="what pays for conferences' dial-out to Zone A beyond its minutes: credits, or first the calling "
        "plan of the organiser",
    )
    user: tuple[UserEntry, ...] = Field(default=(), description="its users")
    service_number: tuple[ServiceNumberEntry, ...] = Field(default=(), description="its service numbers")
    admin: tuple[AdminEntry, ...] = Field(default=(), max_length=1000, description="its administrators")
    unassigned: tuple[UnassignedEntry, ...] = Field(
        default=(), max_length=1000, description="rules for unassigned numbers"
    )


class Provisioning(Table):
    """All of a provisioning file."""

    rate_deck: tuple[RateDeckEntry, ...] = ()
    tenant: tuple[TenantEntry, ...] = ()


def load(path: str | Path) -> Provisioning:
    """The provisioning file at ``path``.  Raises ConfigError with every wrong key."""
    file = Path(path)
    return parse(read_toml(file), str(path), file.absolute().parent)


def parse(document: dict[str, object], file: str, base: Path) -> Provisioning:
    """A parsed TOML document as provisioning; ``file`` is named in problems, deck files start at ``base``."""
    return read_checked(Provisioning, document, file, base, _conflicts)


def _conflicts(provisioning: Provisioning) -> Iterator[Conflict]:
    """Entries that are right by themselves and wrong together."""
    return told(
        _deck_conflicts(provisioning),
        _number_conflicts(provisioning),
        _short_numbers(provisioning),
        _tenants(provisioning),
    )


def _deck_conflicts(provisioning: Provisioning) -> Iterator[Conflict]:
    decks = provisioning.rate_deck
    for index, file in readable(decks, lambda deck: deck.file):
        if not file.is_file():
            yield f"rate_deck[{index}].file", f'"{file}"', "expected a file that is there"
    yield from _twice("rate_deck[{}].name", readable(decks, lambda deck: deck.name))


def _twice(key: str, names: Iterable[tuple[int, str]]) -> Iterator[Conflict]:
    seen: set[str] = set()
    for index, name in names:
        if name in seen:
            yield key.format(index), f'"{name}"', "expected each once"
        seen.add(name)


def _number_conflicts(provisioning: Provisioning) -> Iterator[Conflict]:
    owners: dict[str, str] = {}
    for key, number in numbers(provisioning):
        if number in owners:
            yield f"{key}.number", f'"{number}"', f"already the number of {owners[number]}"
        else:
            owners[number] = key


def _short_numbers(provisioning: Provisioning) -> Iterator[Conflict]:
    """Numbers that their country's plan knows as the beginning of longer ones: nobody can have them."""
    plan = number_plan()
    for key, number in numbers(provisioning):
        digits = number.removeprefix("+")
        if plan.valid_class(digits) is None and plan.is_beginning(digits):
            yield f"{key}.number", f'"{number}"', "expected a whole number: those of this range have more digits"


def numbers(provisioning: Provisioning) -> Iterator[tuple[str, str]]:
    """Every number of users and service numbers, with the key of who has it."""
    for place, users in readable(provisioning.tenant, lambda tenant: tenant.user):
        for index, number in readable(users, lambda user: user.number):
            if number:
                yield f"tenant[{place}].user[{index}]", number
    for place, services in readable(provisioning.tenant, lambda tenant: tenant.service_number):
        for index, number in readable(services, lambda service: service.number):
            yield f"tenant[{place}].service_number[{index}]", number


def _tenants(provisioning: Provisioning) -> Iterator[Conflict]:
    tenants, currencies = provisioning.tenant, _currencies(provisioning)
    yield from told(
        _twice("tenant[{}].id", readable(tenants, lambda tenant: tenant.id)),
        *(_tenant_conflicts(f"tenant[{place}]", tenant, currencies) for place, tenant in enumerate(tenants)),
    )


def _currencies(provisioning: Provisioning) -> dict[str, str]:
    """The currencies of decks that name one."""
    with suppress(WrongValue):
        named = readable(provisioning.rate_deck, lambda deck: (deck.name, deck.currency))
        return {name: currency for _, (name, currency) in named if currency}
    return {}


def _tenant_conflicts(key: str, tenant: TenantEntry, currencies: dict[str, str]) -> Iterator[Conflict]:
    return told(
        _user_ids(key, tenant),
        _purchased(key, tenant),
        _organisers(key, tenant),
        _classes(key, tenant),
        _empty_classes(key, tenant),
        _night(key, tenant),
        _high_risk(key, tenant),
        _range(key, tenant),
        _monthly_twice(key, tenant),
        _credit_limit(key, tenant),
        _deck_currency(key, tenant, currencies),
        _recharge(key, tenant),
        _recharge_prepaid(key, tenant),
        _recharge_minimum(key, tenant),
        _dial_plan(key, tenant),
        _user_dial_plans(key, tenant),
    )


def _user_ids(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    yield from _twice(key + ".user[{}].id", readable(tenant.user, lambda user: user.id))


def _purchased(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    """Two counts of the same licences would leave open how many there are."""
    bought = readable(tenant.purchased, lambda entry: f"{entry.sku} in {entry.usage_country}")
    yield from _twice(key + ".purchased[{}].sku", bought)


def _organisers(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    """An organiser is a user of the same tenant, and only conferences have one."""
    users = {user_id for _, user_id in readable(tenant.user, lambda user: user.id)}
    named = readable(tenant.service_number, lambda service: (service.organiser, service.serves))
    for index, (organiser, serves) in named:
        if organiser and organiser not in users:
            yield f"{key}.service_number[{index}].organiser", f'"{organiser}"', "expected a user of this tenant"
        elif organiser and serves != "conference":
            yield f"{key}.service_number[{index}].organiser", f'"{organiser}"', 'only with serves = "conference"'


def _classes(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    yield from _twice(
        key + ".class_limits[{}].number_class", readable(tenant.class_limits, lambda each: each.number_class)
    )


def _empty_classes(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    for index, counted in readable(tenant.class_limits, lambda each: each.counted()):
        if counted == NOT_COUNTED:
            yield f"{key}.class_limits[{index}]", "", "expected a limit, such as max_calls or spend_per_day"


def _high_risk(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    """An entry that opens nothing, or more ranges than one, is a slip."""
    ranges = policy_facts().high_risk
    opened = readable(tenant.limits.open_high_risk, lambda prefix: (prefix, prefix.startswith(ranges)))
    for index, (prefix, is_inside) in opened:
        if not is_inside:
            expected = f"expected a high-risk range or a prefix in one: {', '.join(ranges)}"
            yield f"{key}.limits.open_high_risk[{index}]", f'"{prefix}"', expected


def _range(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    limits = tenant.limits
    if "range_digits" in limits.model_fields_set and limits.numbers_per_range_per_hour is None:
        yield f"{key}.limits.range_digits", str(limits.range_digits), "only with numbers_per_range_per_hour"


def _monthly_twice(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    """Two names for one limit: which of two values would hold?"""
    for place, user in enumerate(tenant.user):
        with suppress(WrongValue):
            if user.spend_limit_per_month_micros is not None and user.limits.spend_per_month_micros is not None:
                yield f"{key}.user[{place}].limits.spend_per_month", "", "the same as spend_limit_per_month: give one"


def _night(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    night = tenant.limits.night
    if night is not None and night.begins == night.ends:
        yield f"{key}.limits.night.ends", "", "expected another time than the one at which the night begins"


def _credit_limit(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    limit_micros = tenant.credit_limit_micros
    if tenant.mode == "prepaid" and limit_micros:
        yield f"{key}.credit_limit", "", 'only with mode = "postpaid"'
    if tenant.mode == "postpaid" and "credit_limit_micros" not in tenant.model_fields_set:
        yield f"{key}.credit_limit", "", 'is required with mode = "postpaid", such as "500.00"'


def _deck_currency(key: str, tenant: TenantEntry, currencies: dict[str, str]) -> Iterator[Conflict]:
    currency = currencies.get(tenant.rate_deck, tenant.currency)
    if currency != tenant.currency:
        yield f"{key}.rate_deck", f'"{tenant.rate_deck}"', f"expected a deck in {tenant.currency}, not {currency}"


def _recharge(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    if tenant.recharge.enabled and not tenant.recharge.amount_micros:
        yield f"{key}.recharge.amount", "", "expected an amount above 0 where recharge is enabled"


def _recharge_prepaid(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    if tenant.recharge.enabled and tenant.mode == "postpaid":
        yield f"{key}.recharge.enabled", "true", 'only with mode = "prepaid": who pays afterwards never runs out'


def _recharge_minimum(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    minimum = tenant.minimum_funding_micros
    if tenant.recharge.enabled and minimum is not None and 0 < tenant.recharge.amount_micros < minimum:
        given, least = format_cents(tenant.recharge.amount_micros), format_cents(minimum)
        yield f"{key}.recharge.amount", f'"{given}"', f"expected at least minimum_funding, {least}"


def _user_dial_plans(key: str, tenant: TenantEntry) -> Iterator[Conflict]:
    yield from told(*(_dial_plan(f"{key}.user[{place}]", user) for place, user in enumerate(tenant.user)))


def _dial_plan(key: str, owner: TenantEntry | UserEntry) -> Iterator[Conflict]:
    for index, (pattern, translation) in readable(owner.dial_plan, lambda rule: (rule.pattern, rule.translation)):
        groups = [int(group) for group in re.findall(r"\$(\d)", translation)]
        if max(groups, default=0) > re.compile(pattern).groups:
            yield f"{key}.dial_plan[{index}].translation", f'"{translation}"', "names a group the pattern lacks"
