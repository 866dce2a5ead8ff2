"""Signed messages between the gate and other people's servers: HMAC-SHA256 over moment and body, in one header.

``Callgate-Signature: t=1767225600,v1=HEX``: ``t`` is the sender's Unix time in seconds, ``HEX`` the HMAC-SHA256 of
``t``, a dot and the body as it is sent, keyed with the shared secret: that of ``[payments]`` with a payment server,
the tenant's key with its webhooks.  A message older than TOLERANCE_S is refused, so one that was overheard cannot be
used later; within that time it says what it said before, and that is booked once.
"""

import hashlib
import hmac
import re
from typing import Final

SIGNATURE: Final = "Callgate-Signature"

TOLERANCE_S: Final = 300
"""How far two clocks, and the way between them, may be apart."""

_FORM: Final = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


class BadSignature(Exception):  # noqa: N818  says what is wrong with the message of somebody else
    """A message that nobody with the secret has sent just now; the text says why."""


def signature_of(secret: str, body: bytes, at_s: int) -> str:
    """The header's value for ``body`` sent at ``at_s`` (Unix seconds)."""
    return f"t={at_s},v1={_digest(secret, body, at_s)}"


def check_signature(secret: str, body: bytes, value: str, now_s: float) -> None:
    """Raise BadSignature unless ``value`` signs ``body`` and is of now."""
    found = _FORM.fullmatch(value.strip())
    if found is None:
        raise BadSignature(f"expected the header {SIGNATURE}: t=UNIX-SECONDS,v1=HEX")
    at_s = int(found[1])
    if not hmac.compare_digest(_digest(secret, body, at_s), found[2]):
        raise BadSignature("the signature is not of this body with the secret of [payments]")
    if abs(now_s - at_s) > TOLERANCE_S:
        raise BadSignature(f"it was signed more than {TOLERANCE_S} s from now: look at both clocks, or sign it anew")


def _digest(secret: str, body: bytes, at_s: int) -> str:
    return hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
