"""Which headers cross from one leg to the other: one table, and the few functions that apply it.

A header that the table does not name crosses unread, so that what the two sides have to say to each other (Subject,
P-Asserted-Identity, Privacy, History-Info, Geolocation, a vendor's X-Something) gets through a gate that never heard
of it.  What belongs to one dialog, one transaction or one hop never crosses: the other leg has its own.  Option tags
and methods cross only as far as the gate can carry them.
"""

from enum import Enum
from typing import Final

from gateway.sip.demands import ALLOWED, CARRIED
from gateway.sip.kept import kept
from gateway.sip.message import Message

Headers = list[tuple[str, str]]


class Crossing(Enum):
    """What becomes of a header between the legs."""

    NEVER = "never"
    """It belongs to one leg; the other leg has its own, made by the endpoint, or none."""
    OPTIONS = "options"
    """Of its option tags those cross that are agreed between the two ends and not with the gate."""
    METHODS = "methods"
    """Of its methods those cross that the gate carries."""


CROSSING: Final[dict[str, Crossing]] = {
    # routing and identity of a message: each leg's own (RFC 3261 8.1.1)
    "Via": Crossing.NEVER,
    "Route": Crossing.NEVER,
    "Record-Route": Crossing.NEVER,
    "Path": Crossing.NEVER,
    "Service-Route": Crossing.NEVER,
    "Max-Forwards": Crossing.NEVER,  # written anew, one less (RFC 7332)
    "From": Crossing.NEVER,  # its address crosses, its tag does not
    "To": Crossing.NEVER,
    "Call-ID": Crossing.NEVER,
    "CSeq": Crossing.NEVER,
    "Contact": Crossing.NEVER,  # crosses in a relayed 3xx only
    "Timestamp": Crossing.NEVER,  # measures one hop (RFC 3261 8.2.6.1)
    "Max-Breadth": Crossing.NEVER,
    "Content-Length": Crossing.NEVER,  # counted anew; all else about the body crosses with it
    # who the next neighbour is: the endpoint adds its own
    "User-Agent": Crossing.NEVER,
    "Server": Crossing.NEVER,
    # names of dialogs that do not exist on the other leg
    "Replaces": Crossing.NEVER,
    "Join": Crossing.NEVER,
    "Target-Dialog": Crossing.NEVER,
    "In-Reply-To": Crossing.NEVER,
    # RSeq crosses as it is: each early dialog of the called side is one of its own for the caller (RFC 3262 3)
    "RAck": Crossing.NEVER,  # names the CSeq of the other leg's INVITE: the leg writes it
    "Session-Expires": Crossing.NEVER,
    "Min-SE": Crossing.NEVER,
    # credentials and challenges are between neighbours
    "Authorization": Crossing.NEVER,
    "Proxy-Authorization": Crossing.NEVER,
    "WWW-Authenticate": Crossing.NEVER,
    "Proxy-Authenticate": Crossing.NEVER,
    "Authentication-Info": Crossing.NEVER,
    "Proxy-Authentication-Info": Crossing.NEVER,
    "Proxy-Require": Crossing.NEVER,
    "Security-Client": Crossing.NEVER,
    "Security-Server": Crossing.NEVER,
    "Security-Verify": Crossing.NEVER,
    # a far side's overload is not the gate's (SIP.md 4)
    "Retry-After": Crossing.NEVER,
    # what the gate can carry
    "Supported": Crossing.NEVER,  # written by the leg, which adds what the gate itself can do
    "Require": Crossing.OPTIONS,
    "Unsupported": Crossing.OPTIONS,
    "Allow": Crossing.METHODS,
}
"""Headers that do not simply cross, by canonical name."""

PRIVATE_PREFIX: Final = "x-callgate-"
"""The gate's own headers (CONTRACT 6): they never leave it."""

END_TO_END_OPTIONS: Final = CARRIED | {"100rel"}
"""Option tags that two ends agree on through the gate.  ``timer`` is agreed with the gate itself, on each leg."""

CARRIED_METHODS: Final = ALLOWED
"""What the gate carries inside a dialog; the rest of a side's Allow would promise what does not get through."""

_LISTS_CACHED: Final = 512
"""Different Supported and Allow values remembered: each make of phone has a handful."""


def supported(message: Message, timer: bool) -> Headers:
    """The Supported header a leg writes: the other side's tags that cross, and ``timer`` where the gate offers it."""
    values = message.all("Supported")
    tags = _options(", ".join(values)) if values else ""
    if timer:
        tags = f"{tags}, timer" if tags else "timer"
    return [("Supported", tags)] if tags else []


@kept(_LISTS_CACHED)
def _options(value: str) -> str:
    return ", ".join(tag for tag in _listed(value) if tag.lower() in END_TO_END_OPTIONS)


@kept(_LISTS_CACHED)
def _methods(value: str) -> str:
    return ", ".join(method for method in _listed(value) if method in CARRIED_METHODS)


def _listed(value: str) -> list[str]:
    return [item for item in (part.strip() for part in value.split(",")) if item]


NEVER: Final = frozenset(name for name, rule in CROSSING.items() if rule is Crossing.NEVER)
"""Names of headers that stay on their leg."""

_BY_RULE: Final = {Crossing.OPTIONS: _options, Crossing.METHODS: _methods}
FILTERS: Final = {name: _BY_RULE[rule] for name, rule in CROSSING.items() if rule in _BY_RULE}
"""What is kept of the values of headers that cross in part; all others cross as gateway.call.borders lets them."""
