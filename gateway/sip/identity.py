"""Who the endpoint is: what stands in its Via and Contact, and how it knows its own hops again.

Via does not cross a B2BUA's legs, so a request that comes back shows the gate's own hop under those of the proxies
behind it.  The branch of an INVITE carries a mark of the number called; a hop of ours with the mark of the number that
is asked for now says that this very number went out from here already (RFC 3261 16.3, 16.6 item 8).
"""

from typing import Final
from zlib import crc32

from gateway.sip.address import MAGIC_COOKIE, Via, parse_via
from gateway.sip.errors import BadMessage
from gateway.sip.message import Request

MARK_SIZE: Final = 8
"""Hex digits of a mark."""


class Identity:
    """Who this endpoint is in Via and Contact: ``host`` (bare) and a port for each transport it can be reached on.

    ``product`` is what Server and User-Agent say; left out where empty.
    """

    __slots__ = ("_vias", "host", "ports", "product")

    def __init__(self, host: str, port: int, *, ports: dict[str, int] | None = None, product: str = "") -> None:
        self.host = f"[{host}]" if ":" in host else host
        self.ports = {"udp": port, "tcp": port, "tls": port} | (ports or {})
        self.product = product
        self._vias = {
            # rport: the peer shall answer to where the request came from (RFC 3581 3).
            transport: f"SIP/2.0/{transport.upper()} {self.host}:{at};rport;branch={MAGIC_COOKIE}"
            for transport, at in self.ports.items()
        }

    def via(self, transport: str, token: str) -> str:
        """A Via value whose branch is the magic cookie and ``token``."""
        return self._vias[transport] + token

    def contact(self, transport: str = "udp", user: str = "") -> str:
        """A Contact value, with its ``<>``; ``user`` must be escaped."""
        at = f"{user}@" if user else ""
        tail = "" if transport == "udp" else f";transport={transport}"
        return f"<sip:{at}{self.host}:{self.ports[transport]}{tail}>"

    def is_mine(self, via: Via) -> bool:
        """True where ``via`` is a hop of this endpoint."""
        return via.host.lower() == self.host.lower() and self.ports.get(via.transport.lower()) == via.reply_port

    def passes(self, request: Request) -> int:
        """How often a request for the same number went out from this endpoint before it came here."""
        if request.via_count < 2:
            return 0
        ending = "-" + mark_of(request.uri)
        return sum(self._is_pass(hop, ending) for hop in request.values("Via"))

    def _is_pass(self, hop: str, ending: str) -> bool:
        try:
            via = parse_via(hop)
        except BadMessage:
            return False
        return via.branch.endswith(ending) and self.is_mine(via)


def mark_of(uri: str) -> str:
    """A short mark of the user part of a Request-URI, which proxies keep while they change the host."""
    user = uri.partition("@")[0].partition(":")[2]
    return f"{crc32(user.encode()):0{MARK_SIZE}x}"
