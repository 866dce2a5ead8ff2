"""What tenants are told of: every event with when it happens, who is told, and when it may be told again (DOMAIN 5).

The names are those of CONTRACT 10.  Who has one of an event's roles among the tenant's administrators gets mail; the
tenant's ``notify`` targets get everything, but for events that are for programs only.  "The source" is what the product
is modelled on: it names the sixteen roles for recharges, for zero and for the pools of dial-out minutes; where it is
silent, the same are told.  The table of the documentation is made from this one.
"""

from dataclasses import dataclass
from typing import Final

from gateway.config.provisioning import ROLES


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of message.

    ``roles`` are the administrators who get mail.  ``webhooks_only``: nobody but webhooks of the product's own.
    ``by_source``: the source says so; else it is a choice of ours.
    """

    name: str
    when: str
    again: str
    roles: tuple[str, ...] = ROLES
    webhooks_only: bool = False
    by_source: bool = False


TEST: Final = Event("test", "`callgate notices test` is called", "each time")
"""Beside the table: nothing happens that it would tell of."""

EVENTS: Final = {
    event.name: event
    for event in (
        Event("recharge.succeeded", "an automatic recharge was paid and booked", "each recharge", by_source=True),
        Event("recharge.failed", "an automatic recharge was declined or may not be made", "each try", by_source=True),
        Event("recharge.due", "a recharge is due and the payment provider is `manual`", "money was added"),
        Event(
            "balance.zero",
            "the balance falls to zero or below, or the first call is refused or cut for want of credit",
            "money has lifted the balance above zero (postpaid: any money)",
            by_source=True,
        ),
        Event(
            "balance.low",
            "the balance falls below the tenant's `notify_below`",
            "money has lifted the balance to `notify_below` or above",
        ),
        Event("pool.80", "80 % of a pool of minutes are used", "the next calendar month", by_source=True),
        Event("pool.100", "all minutes of a pool are used", "the next calendar month", by_source=True),
        Event("lot.expiring", "credit that was bought expires in 30 days", "each purchase"),
        Event("lot.expired", "credit that was bought has expired", "each purchase"),
        Event("user.blocked", "provisioning blocks a user, or adds a blocked one", "the user was unblocked meanwhile"),
        Event("limit.hit", "the first call is refused by a limit", "the next day in the tenant's time zone"),
        Event(
            "call.low_credit",
            "a live call got the last talk that its tenant's money pays for",
            "each call",
            roles=(),
            webhooks_only=True,
        ),
    )
}
