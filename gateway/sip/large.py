"""Requests that are too large for a datagram (RFC 3261 18.1.1): sent over TCP, and as a datagram where that fails.

A datagram beyond the path's MTU travels in fragments, and one that is lost loses the request; many firewalls let no
fragment through at all.  So a request of more than 1300 octets goes over TCP to a peer that is to be tried by it.  If
the peer refuses, or says nothing for a second, the same request with the same branch goes to it as a datagram: a peer
that had it by TCP as well takes that for a repetition, since branch and sent-by tell transactions apart (17.2.3).  What
is large then goes to that peer as datagrams for some minutes.
"""

from typing import Final

from gateway.sip.events import Flow
from gateway.sip.identity import Identity

DATAGRAM_SIZE: Final = 1300
"""Octets of the largest request that goes as a datagram where the path's MTU is not known (18.1.1)."""

TRY_S: Final = 1.0
"""How long the peer has to answer anything over TCP; at most, see :attr:`LargeRequests.try_s`."""

REST_S: Final = 300.0
"""How long a peer that did not answer over TCP is sent datagrams at once.  A firewall that lets no TCP through would
cost each large call TRY_S and a connection that is being opened; a peer that only restarted is asked again soon."""

RESTING_MAX: Final = 1024
"""Peers that are remembered so: as many as there are targets; beyond it all are asked again."""

Peer = tuple[str, int]


class LargeRequests:
    """Which peers may be asked by TCP: ``peers`` are addresses and ports of UDP, replaced by who knows the trunks.

    ``try_s`` is how long each has to answer: a part of what a call waits for a target, so that the datagram has a turn.
    """

    __slots__ = ("_identity", "_resting", "peers", "try_s")

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._resting: dict[Peer, float] = {}
        self.peers: frozenset[Peer] = frozenset()
        self.try_s = TRY_S

    def note_failure(self, target: Flow, now: float) -> None:
        """A peer did not answer over TCP: it is not asked by it for REST_S."""
        if len(self._resting) >= RESTING_MAX:
            self._resting.clear()
        self._resting[target.host, target.port] = now + REST_S

    def _rests(self, peer: Peer, now: float) -> bool:
        until_s = self._resting.get(peer)
        if until_s is None or now < until_s:
            return until_s is not None
        del self._resting[peer]
        return False

    @staticmethod
    def via_of(data: bytes) -> str:
        """The Via that a request of ours begins with below its first line."""
        return data.split(b"\r\n", 2)[1].removeprefix(b"Via: ").decode()

    def over_tcp(self, data: bytes, via: str, target: Flow, now: float) -> tuple[bytes, str, Flow] | None:
        """Request, Via and flow for TCP instead of ``target``; None where the peer is not to be asked by it.

        ``via`` is the Via of the request.
        """
        peer = (target.host, target.port)
        if peer not in self.peers or self._rests(peer, now):
            return None
        own = self._identity.towards(target.host)
        udp, tcp = own.via("udp", ""), own.via("tcp", "")
        if not via.startswith(udp):
            return None
        line = f"\r\nVia: {udp}".encode()
        changed = data.replace(line, f"\r\nVia: {tcp}".encode(), 1)
        return changed, tcp + via[len(udp) :], Flow("tcp", target.host, target.port)
