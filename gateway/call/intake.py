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

HISTORY_MAX: Final = 32
"""Entries of History-Info that are looked at; a call that was forwarded twice has some six."""

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
    ``is_trusted`` P-Asserted-Identity says nothing, nor does who forwarded.

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
        forwarder=forwarder_of(request) if is_access and is_trusted else "",
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


def forwarder_of(request: Request) -> str:
    """The number that forwarded the call last: the first of Diversion (RFC 5806 9), else of History-Info the entry that
    the target was mapped from (``mp``, RFC 7044 9.1), or the last one that says why it was left; empty: nobody."""
    diverted = request.get("Diversion")
    if diverted is not None:
        numbers = numbers_of(request, "Diversion")
        return numbers[0] if numbers else ""
    return _history(request) if request.get("History-Info") is not None else ""


def numbers_of(request: Request, name: str) -> list[str]:
    """The numbers that a header names, in its order; values that name none are left out."""
    return [number for number in map(_number_of, request.values(name)) if number]


def _history(request: Request) -> str:
    entries: dict[str, str] = {}
    mapped = left = ""
    for value in request.values("History-Info")[:HISTORY_MAX]:
        try:
            entry = parse_name_addr(value)
        except BadMessage:
            continue
        uri, _, inside = entry.uri.partition("?")
        number = _number_of(f"<{uri}>")
        entries[entry.params.get("index", "")] = number
        mapped = entries.get(entry.params.get("mp", ""), "") or mapped
        left = number if inside.lower().startswith("reason=") or "&reason=" in inside.lower() else left
    return mapped or left


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
