"""Webhooks: what a tenant's own program is sent, and how it knows that it came from the gate and is new.

The body is one JSON object: ``id`` (the same whenever the message is repeated), ``event``, ``tenant``, ``at`` (ISO 8601
UTC), the figures beside them, and ``text`` for people.  It is signed with the tenant's key
(gateway.settlement.signing).  A receiver computes the signature over the bytes it got, compares in constant time,
refuses what is older than five minutes, and does nothing for an ``id`` that it has seen: so nothing can be forged,
changed, or sent again by others.  Any status 2xx says that the message was taken; the answer's body is not read.

Each tenant has a key of its own, an HMAC of its id by the gate's one secret: who checks messages with a key could sign
with it too, and so must not hold another tenant's.
"""

import hashlib
import hmac
import json
from typing import Final

import httpx

from gateway.config.version import VERSION
from gateway.ledger.notices import Notice
from gateway.redaction import redact
from gateway.settlement.files import iso_time
from gateway.settlement.signing import SIGNATURE, signature_of

EVENT: Final = "Callgate-Event"

_KEY_LABEL: Final = b"callgate webhook key of tenant "

OWN: Final = frozenset({"id", "event", "tenant", "at", "text"})
"""Names that no figure may have."""


class NotTaken(Exception):  # noqa: N818  the receiver's fault, or the network's
    """A message did not arrive; the text says why, without secrets."""


def tenant_key(secret: str, tenant_id: str) -> str:
    """The key that signs a tenant's webhooks, derived from the gate's ``secret``."""
    return "whsec_" + hmac.new(secret.encode(), _KEY_LABEL + tenant_id.encode(), hashlib.sha256).hexdigest()


def webhook_body(notice: Notice, text: str) -> bytes:
    """What is sent."""
    figures = {name: value for name, value in notice.figures.items() if name not in OWN}
    known = {"id": notice.id, "event": notice.event, "tenant": notice.tenant_id, "at": iso_time(notice.at_ms)}
    return json.dumps({**known, **figures, "text": text}, ensure_ascii=False).encode()


async def send_webhook(client: httpx.AsyncClient, url: str, key: str, notice: Notice, text: str, at_s: int) -> None:
    """Send a message once.  Raises NotTaken."""
    body = webhook_body(notice, text)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"callgate/{VERSION}",
        EVENT: notice.event,
        SIGNATURE: signature_of(key, body, at_s),
    }
    try:
        async with client.stream("POST", url, content=body, headers=headers) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NotTaken(_why(error, url)) from None  # the cause may show the URL
    if not 200 <= status < 300:
        raise NotTaken(f"it answered {status}")


def _why(error: Exception, url: str) -> str:
    said = redact(str(error).replace(url, "its URL"))
    name = type(error).__name__
    return f"{name}: {said}" if said else name
