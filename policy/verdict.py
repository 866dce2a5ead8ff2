"""What policy is asked and what it says: a CallRequest in, Allow or Deny out.

These are the only types that cross from policy to the gateway for each call; all are plain values.  Nobody changes one
once it is made; the few that are made anew for each call are not frozen only because that triples the time it takes.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from policy.reasons import Reason
from rating.schedule import Change
from rating.tariff import Tariff

WITHIN_S: Final = 90_000
"""25 hours: where nobody says how long a call may ring and talk (by the default settings 4 hours and some minutes)."""


@dataclass(slots=True)
class CallRequest:
    """One initial INVITE as policy sees it: who sent it, who calls, what was dialled.

    ``dialled`` is the user part of the Request-URI, unescaped, or a whole ``urn:service:…``; ``caller`` the number
    of P-Asserted-Identity, else of From; the ``x_`` fields are the X-Callgate headers of CONTRACT 6, empty where
    absent or where the trunk is not an access trunk.  ``at_unix_ms`` is the moment of the INVITE; ``within_s`` seconds
    later the call is over, however long it rings and talks.  ``forwarder`` is the number that forwarded the call, as an
    access trunk tells it, empty where nobody did.
    """

    trunk: str
    dialled: str
    caller: str
    at_unix_ms: int
    x_user: str = ""
    x_kind: str = ""
    x_conference: str = ""
    within_s: int = WITHIN_S
    forwarder: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that was tried, in order, with its outcome: what ``explain`` prints."""

    name: str
    outcome: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits the reserve script checks with the money; None: unlimited."""

    max_calls: int | None = None
    calls_per_second: int | None = None
    spend: tuple["SpendLimit", ...] = ()
    live: tuple["LiveLimit", ...] = ()
    rate: tuple["RateLimit", ...] = ()
    velocity: "Velocity | None" = None


class Velocity(NamedTuple):
    """At most ``most_numbers`` different numbers that begin with ``range`` are called within an hour.

    One more closes the range until the end of ``day``, the day of the INVITE in the tenant's time zone.  ``range`` and
    ``number`` are E.164 with ``+``.
    """

    range: str
    number: str
    most_numbers: int
    day: str


class SpendLimit(NamedTuple):
    """At most ``most_micros`` reserved and spent in one hour, day or month of the tenant's time zone.

    It is counted for ``scope``: ``tenant``, ``user/ID``, ``trunk/NAME`` or ``class/NAME``, without spaces.
    """

    scope: str
    period: Literal["hour", "day", "month"]
    most_micros: int


class LiveLimit(NamedTuple):
    """At most ``most_calls`` live calls, counted for ``scope`` (as :class:`SpendLimit` has it)."""

    scope: str
    most_calls: int


class RateLimit(NamedTuple):
    """At most ``per_second`` calls begin in one second, counted for ``scope``."""

    scope: str
    per_second: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Included minutes that pay for a call before money does (DOMAIN 2, MinutePool).

    ``name`` says whose minutes they are within the tenant: ``MCOPSTN1/US``, ``MCOPSTN8/GB/alice@contoso.com`` where
    they are not shared; it has no spaces.  ``total_minutes`` are those of one calendar month in the tenant's time
    zone.  The pool also ends where one of ``ends_with`` does: names of other pools and their totals.
    """

    name: str
    capability: str
    usage_country: str
    total_minutes: int
    ends_with: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One next hop for a call: the trunk, its target as a SIP URI, the number for the Request-URI's user part.

    ``hop`` is the address that the target's name was found to lead to, as a SIP URI; empty: send to the target itself.
    ``proxy`` is the SIP URI of a proxy that calls go through on their way to the target; ``hop`` is then its address.
    """

    trunk: str
    target: str
    number: str
    hop: str = ""
    proxy: str = ""


@dataclass(slots=True)
class Allow:
    """The call may go: who pays, at which price, where it goes.

    ``pools`` pay first, in their order, then the balance at ``tariff``; without a tariff the balance pays nothing.
    ``kind`` is a call type of the usage report (``user_out``, ``conf_in`` …).
    ``number`` is E.164 with ``+`` (an emergency call: the digits as dialled).  ``routes`` are in order of preference.
    The tariff is the one in effect at the INVITE, ``changes`` are when another one comes into effect, and which, while
    the call may ring and talk (rating.schedule).  ``trunk`` is the trunk the call came in by.  ``number_type`` is
    what kind of number the payer's is (``subscriber``, ``toll_free``, ``toll``), ``number_class`` the class of the
    number called (policy.plan).  ``credit`` is the licence by which the balance pays where ``pools`` pay first (empty
    elsewhere, where it is ``capability``).  ``tried`` names the rules that were tried, in order; all of them passed.
    """

    tenant_id: str
    currency: str
    kind: str
    caller: str
    dialled: str
    number: str
    routes: tuple[Route, ...]
    payer: Literal["credits", "pool", "none"] = "credits"
    tariff: Tariff | None = None
    emergency: bool = False
    user_id: str = ""
    user_name: str = ""
    user_location: str = ""
    number_type: str = ""
    domestic: bool = True
    destination: str = ""
    conference: str = ""
    capability: str = ""
    limits: Limits = Limits()
    max_call_s: int | None = None
    failure_policy: Literal["terminate", "continue", "retry"] = "terminate"
    rules: tuple[Rule, ...] = ()
    trunk: str = ""
    number_class: str = ""
    pools: tuple[Pool, ...] = ()
    credit: str = ""
    credit_limit_micros: int = 0
    time_zone: str = "UTC"
    tried: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(slots=True)
class Deny:
    """The call may not go, and why; what is known of it stands beside for the record of the refused call.

    ``trunk`` is the trunk the call came in by, empty where no trunk names its source.  ``tried`` names the rules that
    were tried, in order; the last one refused.
    """

    reason: Reason
    tenant_id: str = ""
    user_id: str = ""
    currency: str = ""
    kind: str = ""
    caller: str = ""
    dialled: str = ""
    number: str = ""
    destination: str = ""
    rules: tuple[Rule, ...] = ()
    trunk: str = ""
    tried: tuple[str, ...] = ()


Verdict = Allow | Deny
