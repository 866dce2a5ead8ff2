"""What a request demands of the endpoint, and whether it can be had: its method, its extensions, and what it must have.

A method that nobody here serves is refused as the RFC of that method wants it: SUBSCRIBE and PUBLISH with 489, since
no event package is known (RFC 6665 4.2.1, RFC 3903 6), NOTIFY with 481, since nobody subscribed (RFC 6665 4.1.3), REFER
with 603 where nobody is transferred (RFC 3515 2.4.2), all else that has an RFC with 405, and what has none with 501.

An extension that the two ends agree on through a B2BUA may be required of it, although it is none of its own: it
crosses, and the far end refuses it where it does not know it either.
"""

from typing import Final

from gateway.sip.address import parse_name_addr
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.message import METHODS, Request
from gateway.sip.reasons import SIP_REASONS, SipReason
from gateway.sip.uri import SipUri, parse_uri

ALLOWED: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "UPDATE", "INFO")
"""Methods that reach the transaction user unless it says otherwise."""

SUPPORTED: Final = ("100rel", "timer")
"""Option tags that a request may require unless the transaction user says otherwise (RFC 3262, RFC 4028)."""

CARRIED: Final = frozenset({"precondition", "histinfo"})
"""Option tags that may be required as well, and are between the two ends (RFC 3312, RFC 7044)."""

DIALOG_METHODS: Final = frozenset(("INVITE", "UPDATE"))
"""Methods whose Contact becomes a remote target."""

_UNSERVED: Final = {
    "SUBSCRIBE": SIP_REASONS["BAD_EVENT"],
    "PUBLISH": SIP_REASONS["BAD_EVENT"],
    "NOTIFY": SIP_REASONS["NO_SUBSCRIPTION"],
    "REFER": SIP_REASONS["NO_TRANSFER"],
}


def unserved(method: str) -> SipReason:
    """Why a request of a method is refused that nobody here serves."""
    return _UNSERVED.get(method) or SIP_REASONS["METHOD_NOT_ALLOWED" if method in METHODS else "UNKNOWN_METHOD"]


def fault_of(request: Request) -> BadMessage | None:
    """What makes a well-formed request one that cannot be taken, with the status that fits; None: nothing."""
    try:
        uri = parse_uri(request.uri)
    except BadUri as bad:
        return BadMessage(str(bad), bad.status)
    if type(uri) is SipUri and uri.headers:
        return BadMessage("a Request-URI may not carry headers")  # 19.1.1
    try:
        if request.method in DIALOG_METHODS:
            _check_target(request)
        elif request.method == "REGISTER":
            for value in request.values("Contact"):
                if value != "*":
                    parse_name_addr(value)
    except BadMessage as bad:
        return bad
    except BadUri as bad_uri:
        return BadMessage(str(bad_uri))
    return None


def _check_target(request: Request) -> None:
    """A request that makes or moves a dialog says where the other side is, once (8.1.1.8), and over which hops."""
    first = request._first
    if "Record-Route" in first:
        for route in request.values("Record-Route"):
            parse_name_addr(route)
    text = first.get("Contact")
    if text is None:
        # Without the magic cookie this is an RFC 2543 caller, who may leave Contact out.
        if request.method == "INVITE" and request.top_via.is_cookie:
            raise BadMessage("an INVITE needs a Contact")
        return
    if ("," in text or request._lines is not None) and len(request.values("Contact")) != 1:
        raise BadMessage(f"{request.method} has one Contact, not several")
    contact = request.contact
    if contact is None or type(parse_uri(contact.uri)) is not SipUri:
        raise BadMessage(f"Contact {text[:80]!r} is not a SIP address")
