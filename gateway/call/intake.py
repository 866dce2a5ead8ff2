"""From an initial INVITE to the question policy is asked: who calls, what was dialled, what the PBX said beside it.

Numbers are taken as they stand, without their escapes, visual separators and the parameters that may hang on them;
what they mean is policy's affair.  The X-Callgate headers of CONTRACT 6 count from access trunks only.
"""

from typing import Final

from gateway.sip.address import NameAddr, parse_name_addr
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.message import Request
from gateway.sip.uri import TelUri, Uri, UrnUri, parse_uri
from policy.verdict import CallRequest

PRIVATE_VALUE_MAX: Final = 256
"""Characters of an X-Callgate header that are looked at: user ids are mail addresses (254 at most), and what is
longer would only travel through records."""


def call_request(
    request: Request,
    trunk_name: str,
    is_access: bool,
    at_unix_ms: int,
    registered_user: str = "",
    is_trusted: bool = True,
) -> CallRequest:
    """What policy is asked about ``request``, which arrived from ``trunk_name`` at ``at_unix_ms``.

    A carrier that the gate has registered with calls the Contact it was told, and names the number in To: so
    ``registered_user``, the user part of that Contact, dialled means To (RFC 3261 16.5).  Of a trunk that is not
    ``is_trusted`` P-Asserted-Identity says nothing.

    Raises BadUri where the Request-URI cannot be read; the endpoint has refused such a request before.
    """
    dialled = dialled_of(parse_uri(request.uri))
    if registered_user and dialled == registered_user:
        dialled = _number_in(request.to) or dialled
    return CallRequest(
        trunk=trunk_name,
        dialled=dialled,
        caller=caller_of(request) if is_trusted else _number_in(request.from_),
        at_unix_ms=at_unix_ms,
        x_user=_private(request, "X-Callgate-User") if is_access else "",
        x_kind=_private(request, "X-Callgate-Kind").lower() if is_access else "",
        x_conference=_private(request, "X-Callgate-Conference") if is_access else "",
    )


def dialled_of(uri: Uri) -> str:
    """The number a URI names, or a whole ``urn:service:…``.

    A user part may carry the parameters of a telephone number (RFC 3261 19.1.6); a local tel number is completed by
    its phone-context where that is the beginning of a global one (RFC 3966 5.1.5).
    """
    if isinstance(uri, UrnUri):
        return str(uri)
    if isinstance(uri, TelUri):
        prefix = uri.params.get("phone-context", "")
        return prefix + uri.number if prefix.startswith("+") and not uri.number.startswith("+") else uri.number
    number, _, _ = uri.user.partition(";")
    return number


def caller_of(request: Request) -> str:
    """The caller's number: the first of P-Asserted-Identity (RFC 3325 9.1) that can be read, else From's."""
    for value in request.values("P-Asserted-Identity"):
        number = _number_of(value)
        if number:
            return number
    return _number_in(request.from_)


def _number_of(value: str) -> str:
    try:
        return _number_in(parse_name_addr(value))
    except BadMessage:
        return ""


def _number_in(address: NameAddr) -> str:
    try:
        return dialled_of(parse_uri(address.uri))
    except BadUri:  # an address the gate need not understand; the caller is simply not known by it
        return ""


def _private(request: Request, name: str) -> str:
    return (request.get(name) or "").strip()[:PRIVATE_VALUE_MAX]
