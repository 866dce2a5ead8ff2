"""Forwarded calls: a PBX answers a call with 3xx and another number, and whoever forwards pays for the way there.

Such a call is two calls.  The one that was to be answered goes on, at its own price.  The way to the new number is a
call of the PBX like any other: the gate says its INVITE to itself in the PBX's name (Flow of LOOP), with the number
that forwards in Diversion (RFC 5806), and hears it as it would have heard it from the PBX.  So it is decided, reserved,
renewed, cut, settled and recorded as every call, and where one of the two ends the other hears a BYE.

Only those that the gate knows may forward so: PBXs (access trunks).  A carrier's 3xx to another number is relayed; to
follow it would charge the caller another price than the one it was let in at.
"""

from typing import Final

from gateway.call.intake import dialled_of, numbers_of
from gateway.call.targets import LOOPED, preference
from gateway.sip.address import parse_name_addr
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.message import Request, Response
from gateway.sip.uri import escape_user, parse_uri
from policy.verdict import Route

DIVERSIONS_MAX: Final = 5
"""How often one call may be forwarded on; people do it twice, and PBXs that forward to each other for ever."""

Headers = list[tuple[str, str]]


def forwarded(response: Response, route: Route, invite: Request) -> list[Route]:
    """The ways back into this gate that a 3xx of a PBX names, best first; none if ``invite`` was forwarded too often.

    A Contact that names the number called itself is a redirect (targets.redirected), not a forwarding.  What comes back
    by such a way is not followed again: the call that it led to has done so.
    """
    if len(numbers_of(invite, "Diversion")) >= DIVERSIONS_MAX:
        return []
    found: list[tuple[float, str]] = []
    for value in response.values("Contact"):
        try:
            contact = parse_name_addr(value)
            number = dialled_of(parse_uri(contact.uri))
        except (BadMessage, BadUri):
            continue
        if number and number.lstrip("+") != route.number.lstrip("+"):
            found.append((preference(contact.params.get("q", "")), number))
    found.sort(key=lambda row: -row[0])
    return [Route(route.trunk, LOOPED, number) for _, number in found]


def diverted(headers: Headers, number: str, host: str) -> Headers:
    """The headers of a forwarded call's INVITE: ``number`` forwards, before whoever did so earlier (RFC 5806 9)."""
    return [("Diversion", f"<sip:{escape_user(number)}@{host}>;reason=unknown"), *headers]
