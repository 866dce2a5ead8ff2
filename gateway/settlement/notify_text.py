"""What a message says: plain words with the figures, in the tenant's language.

A message is a subject and sentences.  A sentence needs its figures; one whose figures the notice does not have is left
out, so that whoever writes a notice may know less or more.  English stands here, other languages in Babel's catalogues
(``locale/LANGUAGE/LC_MESSAGES/notices.po``), which are compiled when they are first needed: nothing is built, and a
translator edits one text file.  A sentence without a translation is said in English.

Amounts are written as the language writes its money, with two decimals, halves up as in reports (DOMAIN 4); programs
get the exact figures by webhook.
"""

import gettext
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Final

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal

from gateway.ledger.notices import Contacts, Notice
from policy.terms import zone_of

Figures = Mapping[str, str | int]


def N_(text: str) -> str:  # noqa: N802  the name that gettext's tools look for
    """Marks a text for translation; it is translated when the message is made."""
    return text


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one event."""

    subject: str
    sentences: tuple[str, ...]


WORDS: Final = {
    "recharge.succeeded": Words(
        N_("{tenant}: the account was recharged"),
        (
            N_("{amount} was added to the account of {tenant} by automatic recharge."),
            N_("The balance is now {balance}."),
            N_("Reference of the payment: {reference}."),
        ),
    ),
    "recharge.failed": Words(
        N_("{tenant}: the automatic recharge failed"),
        (
            N_("The automatic recharge of {amount} for {tenant} failed."),
            N_("What the payment provider said: {why}."),
            N_("The balance is {balance}; calls go on until it is used up."),
            N_("It is tried again on {next_try_at}."),
            N_("Check the means of payment, or add money by hand."),
        ),
    ),
    "recharge.due": Words(
        N_("{tenant}: please add money"),
        (
            N_("The balance of {tenant} is {balance}, below the {trigger} at which it is to be recharged."),
            N_("Please add {amount}."),
            N_("Give this reference with the payment: {reference}."),
        ),
    ),
    "balance.zero": Words(
        N_("{tenant}: the credit is used up"),
        (
            N_("The balance of {tenant} is {balance}, which is not enough for further calls."),
            N_("Calls that are paid from credit are refused, and live ones end, until money is added."),
            N_("Calls that included minutes pay for, incoming calls that cost nothing and emergency calls go on."),
        ),
    ),
    "balance.low": Words(
        N_("{tenant}: the balance is below {notify_below}"),
        (N_("The balance of {tenant} is {balance}, below the {notify_below} at which you wanted to be told."),),
    ),
    "pool.80": Words(
        N_("{tenant}: 80 % of the included minutes are used"),
        (
            N_("{used} of {total} minutes of the pool {pool} are used in {month}; {available} are left."),
            N_("When they are used up, calls are paid from credit where the user may use it, and refused otherwise."),
        ),
    ),
    "pool.100": Words(
        N_("{tenant}: the included minutes are used up"),
        (
            N_("All {total} minutes of the pool {pool} are used in {month}."),
            N_("Further calls are paid from credit where the user may use it, and refused otherwise."),
        ),
    ),
    "lot.expiring": Words(
        N_("{tenant}: credit is about to expire"),
        (
            N_("{amount} of the credit of {tenant} expires on {expires_at}."),
            N_("It was bought on {purchased_at}."),
            N_("What is not used until then is lost."),
        ),
    ),
    "lot.expired": Words(
        N_("{tenant}: credit has expired"),
        (
            N_("{amount} of the credit of {tenant} has expired and was taken from the balance."),
            N_("It was bought on {purchased_at}."),
            N_("The balance is now {balance}."),
        ),
    ),
    "user.blocked": Words(
        N_("{tenant}: user {user} is blocked"),
        (N_("The user {user} of {tenant} is blocked and can call nobody but emergency services."),),
    ),
    "limit.hit": Words(
        N_("{tenant}: a limit was reached"),
        (
            N_("On {day} a call of {tenant} was refused by a limit: {limit}."),
            N_("It limits {scope}."),
            N_("The call was made by {user}."),
            N_("You are told once a day of each limit, however many calls it refuses."),
        ),
    ),
    "call.low_credit": Words(
        N_("{tenant}: a call is about to end"),
        (N_("The call {call} of {tenant} ends at {paid_until_at} unless money is added."),),
    ),
    "test": Words(N_("{tenant}: test message"), (N_("This is a test: Callgate can reach you about {tenant}."),)),
}
"""By event."""

LIMITS: Final = {
    "LIMIT_CALLS": N_("the number of live calls"),
    "LIMIT_CALLS_PER_SECOND": N_("the number of new calls a second"),
    "LIMIT_SPEND": N_("the money that may be spent"),
    "LIMIT_VELOCITY": N_("the different numbers of one range that may be called within an hour"),
    "LIMIT_NIGHT": N_("numbers that are closed at night"),
    "LIMIT_REACHED": N_("the money that may be spent, while it was under way"),
}
"""Limits in words; one that is not here is named by its code."""

SCOPES: Final = {
    "tenant": N_("all calls"),
    "user": N_("calls of the user {name}"),
    "class": N_("calls to numbers of the class {name}"),
    "trunk": N_("calls that come in by the trunk {name}"),
    "night": N_("calls that begin at night"),
    "range": N_("calls to numbers that begin with {name}; they are closed until the end of the day or until released"),
}
"""Whose limit it is (policy.limits), in words; a scope that is not here is shown as it is."""

PERIODS: Final = {
    "hour": N_("{scope}, counted by the hour"),
    "day": N_("{scope}, counted by the day"),
    "month": N_("{scope}, counted by the calendar month"),
}

MONEY: Final = frozenset({"amount", "available", "balance", "held", "notify_below", "trigger"})
"""Figures that are amounts; of a pool, ``available`` counts minutes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as people read it."""

    subject: str
    body: str


def compose(notice: Notice, tenant: Contacts) -> Message:
    """What ``tenant`` is told of ``notice``."""
    language = Language.of(tenant.language)
    said = {"tenant": tenant.name} | {
        name: language.figure(notice, name, value, tenant) for name, value in notice.figures.items()
    }
    words = WORDS[notice.event]
    known = [text for text in (words.subject, *words.sentences) if fields(text) <= said.keys()]
    texts = [language.say(text).format_map(said) for text in known]
    subject = texts.pop(0) if words.subject in known else f"{tenant.name}: {notice.event}"
    return Message(subject, "\n".join(texts))


def fields(text: str) -> set[str]:
    """The figures that a text needs."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@dataclass(frozen=True, slots=True)
class Language:
    """How one language says it."""

    locale: Locale
    say: Callable[[str], str]

    @staticmethod
    @cache
    def of(name: str) -> "Language":
        """The language of a tenant's ``language``; English where there is no catalogue of it."""
        locale = Locale.parse(name, sep="-")
        folder = files("gateway.settlement").joinpath("locale", name.replace("-", "_"))
        catalogue = folder.joinpath("LC_MESSAGES", "notices.po")
        if not catalogue.is_file():
            return Language(Locale("en"), str)
        compiled = io.BytesIO()
        write_mo(compiled, read_po(io.BytesIO(catalogue.read_bytes()), locale=locale))
        compiled.seek(0)
        return Language(locale, gettext.GNUTranslations(compiled).gettext)

    def figure(self, notice: Notice, name: str, value: str | int, tenant: Contacts) -> str:
        """A figure as people write it; one that is not what its name says is shown as it is."""
        try:
            return self._figure(notice, name, value, tenant)
        except (ValueError, ArithmeticError):
            return str(value)

    def _figure(self, notice: Notice, name: str, value: str | int, tenant: Contacts) -> str:
        if name == "limit":
            return self.say(LIMITS.get(str(value), str(value)))
        if name == "scope":
            return self._scope(str(value))
        if isinstance(value, int):
            return str(format_decimal(value, locale=self.locale))
        if name in MONEY:
            cents = Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP)
            return str(format_currency(cents, str(notice.figures.get("currency", tenant.currency)), locale=self.locale))
        if name.endswith("_at"):
            moment = datetime.fromisoformat(value).astimezone(zone_of(tenant.time_zone))
            return str(format_datetime(moment, "medium", locale=self.locale))
        if name == "day":
            return str(format_date(date.fromisoformat(value), "long", locale=self.locale))
        if name == "month":
            return str(format_skeleton("yMMMM", date.fromisoformat(f"{value}-01"), locale=self.locale))
        return value

    def _scope(self, scope: str) -> str:
        """``user/alice/day`` in words."""
        rest, _, period = scope.rpartition("/")
        kind, _, name = (rest if period in PERIODS else scope).partition("/")
        said = self.say(SCOPES[kind]).format(name=name) if kind in SCOPES else scope
        return self.say(PERIODS[period]).format(scope=said) if period in PERIODS and kind in SCOPES else said
