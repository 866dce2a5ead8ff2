"""Who the endpoint is: what stands in its Via and Contact, and how it knows its own hops again.

Via does not cross a B2BUA's legs, so a request that comes back shows the gate's own hop under those of the proxies
behind it.  The hop of an INVITE carries a mark of the number called, as a parameter of its own; a hop of ours with the
mark of the number that is asked for now says that this very number went out from here already (RFC 3261 16.3, 16.6
item 8, where a proxy hides the same in its branch).
"""

from typing import Final
from zlib import crc32

from gateway.sip.address import Via, parse_via
from gateway.sip.errors import BadMessage
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request

MARK: Final = "called"
"""The name of the Via parameter (a via-extension, 25.1)."""


class Identity:
    """Who this endpoint is in Via and Contact: ``host`` (bare) and a port for each transport it can be reached on.

    ``product`` is what Server and User-Agent say; left out where empty.  ``other`` is who it is towards peers of the
    other address family: an IPv6 peer cannot answer to a Via that names an IPv4 address.
    """

    __slots__ = ("_contacts", "_is_six", "_vias", "host", "other", "place", "ports", "product")

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ports: dict[str, int] | None = None,
        product: str = "",
        other: "Identity | None" = None,
    ) -> None:
        self._is_six = ":" in host
        self.other = other
        """Who it is towards the other family; None: the same."""
        self.host = f"[{host}]" if ":" in host else host
        self.ports = {"udp": port, "tcp": port, "tls": port} | (ports or {})
        self.product = product
        self.place = " ".join((self.host, *(f"{transport}:{at}" for transport, at in sorted(self.ports.items()))))
        """All of where it can be reached, as one text: an endpoint of another place is not reached at this one."""
        if other is not None:
            self.place += f" {other.place}"
        self._vias = {
            # rport: the peer shall answer to where the request came from (RFC 3581 3).
            transport: f"SIP/2.0/{transport.upper()} {self.host}:{at};rport;branch="
            for transport, at in self.ports.items()
        }
        self._contacts = {transport: self._contact(transport, "") for transport in (*self.ports, LOOP)}
        self._vias[LOOP] = f"SIP/2.0/{LOOP.upper()} {self.host}:{port};rport;branch="

    def towards(self, host: str) -> "Identity":
        """Who this endpoint is for a peer at this address."""
        other = self.other
        return self if other is None or (":" in host) == self._is_six else other

    def via(self, transport: str, branch: str) -> str:
        """A Via value with that branch."""
        return self._vias[transport] + branch

    def sent_by(self, flow: Flow) -> str:
        """What stands as sent-by in the Via of requests to a peer on ``flow`` (20.42)."""
        own = self.towards(flow.host)
        return f"{own.host}:{own.ports.get(flow.transport, own.ports['udp'])}"

    def contact(self, transport: str = "udp", user: str = "") -> str:
        """A Contact value, with its ``<>``; ``user`` must be escaped."""
        return self._contact(transport, user) if user else self._contacts[transport]

    def _contact(self, transport: str, user: str) -> str:
        at = f"{user}@" if user else ""
        tail = "" if transport == "udp" else f";transport={transport}"
        return f"<sip:{at}{self.host}:{self.ports.get(transport, self.ports['udp'])}{tail}>"

    def is_mine(self, via: Via) -> bool:
        """True where ``via`` is a hop of this endpoint."""
        if via.host.lower() == self.host.lower() and self.ports.get(via.transport.lower()) == via.reply_port:
            return True
        return self.other is not None and self.other.is_mine(via)

    def passes(self, request: Request) -> int:
        """How often a request for the same number went out from this endpoint before it came here."""
        if request.via_count < 2:
            return 0
        mark = mark_of(request.uri)
        return sum(self._is_pass(hop, mark) for hop in request.values("Via"))

    def _is_pass(self, hop: str, mark: str) -> bool:
        try:
            via = parse_via(hop)
        except BadMessage:
            return False
        return self.is_mine(via) and mark in via.raw_params


def mark_of(uri: str) -> str:
    """The parameter that marks the user part of a Request-URI, which proxies keep while they change the host."""
    user = uri.partition("@")[0].partition(":")[2]
    return f";{MARK}={crc32(user.encode()):08x}"
