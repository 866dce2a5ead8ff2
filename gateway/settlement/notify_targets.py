"""Who is told of an event, and by which way: each target once, however often a tenant has named it.

A tenant's ``notify`` holds URLs: ``http://`` and ``https://`` are webhooks that the product itself sends and signs, all
other schemes are Apprise's.  Its administrators get mail by the gate's own mail gateway.  A ``mailto://USER@HOST`` that
says no more than an address is one: it goes by the mail gateway too, where there is one.

Addresses hold passwords and tokens, often in their path.  So a target is shown by its label alone, and known again by a
digest of its address.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from gateway.ledger.notices import Contacts
from gateway.redaction import HIDDEN
from gateway.settlement.notify_events import Event

Way = Literal["webhook", "apprise", "mail"]

_ADDRESS: Final = re.compile(r"mailtos?://([^@/?#:\s]+@[^@/?#:\s]+)/?", re.I)
"""A mail URL that is an address and nothing else: no password, port or query."""

_PLACE: Final = "{to}"
"""Where a mail gateway's URL wants the address; without it, it is added as ``to=``, as Apprise's mail takes it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One way to one receiver.  ``url`` is a secret; an empty one cannot be reached, ``label`` may be shown."""

    way: Way
    url: str = field(repr=False)
    label: str

    @property
    def key(self) -> str:
        """The digest that a delivery remembers the target by."""
        known = self.url if self.way != "mail" else self.label  # the same person, whatever gateway carries the mail
        return sha256(known.encode()).hexdigest()[:32]


def targets(event: Event, tenant: Contacts, mail: str) -> list[Target]:
    """Everybody who is to be told, each once; ``mail`` is the Apprise URL of the mail gateway, empty: there is none."""
    found = [*_notify(tenant.notify, mail), *(_mail(address, mail) for address in _addresses(event, tenant))]
    if event.webhooks_only:
        found = [target for target in found if target.way == "webhook"]
    return list({target.key: target for target in found}.values())


def _notify(urls: Sequence[str], mail: str) -> Iterator[Target]:
    for url in urls:
        scheme = url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            yield Target("webhook", url, f"{scheme}://{_host(url)}/{HIDDEN}")
        elif (plain := _ADDRESS.fullmatch(url)) and mail:
            yield _mail(plain[1], mail)
        else:
            yield Target("apprise", url, f"{scheme}://{HIDDEN}")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or HIDDEN
    except ValueError:
        return HIDDEN


def _addresses(event: Event, tenant: Contacts) -> Iterable[str]:
    return (address for address, roles in tenant.admins if roles & set(event.roles))


def _mail(address: str, mail: str) -> Target:
    """Mail to an address; the same address in other letters is the same person."""
    address = address.lower()
    if not mail:
        url = ""
    elif _PLACE in mail:
        url = mail.replace(_PLACE, quote(address, safe=""))
    else:
        url = f"{mail}{'&' if '?' in mail else '?'}to={quote(address, safe='')}"
    return Target("mail", url, f"mail to {address}")


def has_webhook(tenant: Contacts) -> bool:
    """Whether a program of the tenant's own is told."""
    return any(target.way == "webhook" for target in _notify(tenant.notify, ""))
