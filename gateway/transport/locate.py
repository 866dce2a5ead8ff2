"""Finding a SIP server (RFC 3263): from a URI to the ways that lead to it, best first.

The transport is the one that the URI names; for an address or a host with a port UDP, of sips TLS; else what NAPTR
records prefer; else whichever SRV records there are (4.1).  SRV records then name hosts and ports (4.2), unless the
URI has a port; and where there are no SRV records the host's own addresses and the transport's port are used.
What comes out still holds every choice: which of equals is tried first is drawn for each call (:func:`in_order`,
RFC 2782), so that a cached answer spreads calls as its weights say.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple, TypeVar

from gateway.sip.uri import SIP_PORT, SIPS_PORT, SipUri
from gateway.transport.records import TTL_MAX_S, Answer, Kind, Naptr, Record, Srv

SERVICES: Final = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"""NAPTR services (RFC 3263 4.1) and the transport each is."""

LABELS: Final = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"""What stands before the domain in the name of an SRV record (RFC 3263 4.1)."""

WAYS_MAX: Final = 32
"""SRV records of one target that are followed; each is a look-up or two, and no call can try so many."""

Ask = Callable[[str, Kind], Awaitable[Answer]]


class Hop(NamedTuple):
    """Where to send: ``host`` is a bare address."""

    transport: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


class Way(NamedTuple):
    """One way to a server: of several the lowest ``rank`` first, those of one rank by chance of their ``weight``."""

    hops: tuple[Hop, ...]
    rank: tuple[int, int] = (0, 0)
    weight: int = 1


class Located(NamedTuple):
    """What leads to a URI, and for how many seconds that holds.  ``failed``: a name server did not answer."""

    ways: tuple[Way, ...]
    ttl_s: float
    failed: bool = False


async def locate(
    uri: SipUri, ask: Ask, *, families: Sequence[Kind] = ("A",), speaks: Iterable[str] = LABELS
) -> Located:
    """The ways to ``uri``.  ``families`` are the kinds of address that can be sent to, best first; ``speaks`` the
    transports that the gate speaks."""
    return await _Search(uri, ask, tuple(families), frozenset(speaks)).run()


class _Search:
    """One run of the rules; remembers how long its answers hold and whether one failed."""

    def __init__(self, uri: SipUri, ask: Ask, families: tuple[Kind, ...], speaks: frozenset[str]) -> None:
        self._uri = uri
        self._host = uri.params.get("maddr", "") or uri.host
        self._ask = ask
        self._families = families
        self._speaks = speaks
        self._ttl_s = TTL_MAX_S
        self._failed = False

    async def run(self) -> Located:
        uri = self._uri
        port = uri.port or (SIPS_PORT if uri.transport == "tls" else SIP_PORT)
        if is_address(self._host):
            return Located((Way((Hop(uri.transport, self._host, port),)),), self._ttl_s)
        ways = [] if uri.port else await self._by_services()
        if not ways:
            ways = [Way(hops)] if (hops := await self._hops(uri.transport, self._host, port)) else []
        return Located(tuple(ways), self._ttl_s, self._failed)

    async def _records(self, name: str, kind: Kind) -> tuple[Record, ...]:
        answer = await self._ask(name, kind)
        self._ttl_s = min(self._ttl_s, answer.ttl_s)
        self._failed = self._failed or answer.failed
        return answer.records

    async def _by_services(self) -> list[Way]:
        """The ways of every service of the domain, in the order of the services."""
        services = await self._services()
        found = await asyncio.gather(*[self._records(name, "SRV") for _, name in services])
        rows = [
            (rank, transport, srv)
            for rank, ((transport, _), records) in enumerate(zip(services, found, strict=True))
            for srv in records
            if isinstance(srv, Srv) and srv.target and srv.port
        ][:WAYS_MAX]
        hops = await asyncio.gather(*[self._hops(transport, srv.target, srv.port) for _, transport, srv in rows])
        return [
            Way(each, (rank, srv.priority), srv.weight) for (rank, _, srv), each in zip(rows, hops, strict=True) if each
        ]

    async def _services(self) -> list[tuple[str, str]]:
        """Transports to be tried and the names of their SRV records, best first (4.1)."""
        uri = self._uri
        if uri.params.get("transport"):
            return [(uri.transport, f"{LABELS[uri.transport]}.{self._host}")] if uri.transport in LABELS else []
        records = [each for each in await self._records(self._host, "NAPTR") if isinstance(each, Naptr)]
        wanted = [
            (SERVICES[each.service], each.replacement)
            for each in sorted(records, key=lambda each: (each.order, each.preference))
            if each.flags == "S" and each.replacement and self._may_use(SERVICES.get(each.service, ""))
        ]
        if wanted:
            return wanted
        return [(transport, f"{label}.{self._host}") for transport, label in LABELS.items() if self._may_use(transport)]

    def _may_use(self, transport: str) -> bool:
        """Of a sips URI only what is TLS (4.1)."""
        return transport in self._speaks and (self._uri.scheme != "sips" or transport == "tls")

    async def _hops(self, transport: str, name: str, port: int) -> tuple[Hop, ...]:
        """A hop for each address of a name, of the better family first."""
        if is_address(name):
            return (Hop(transport, name, port),)
        found = await asyncio.gather(*[self._records(name, family) for family in self._families])
        return tuple(Hop(transport, str(address), port) for records in found for address in records)


def is_address(host: str) -> bool:
    """Whether a host is an address and no name; an address may have a zone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def in_order(ways: Sequence[Way], chance: random.Random) -> list[Hop]:
    """Every hop in the order of one attempt: by rank, among equals by weight (RFC 2782)."""
    return [hop for way in drawn(ways, chance, lambda way: way.rank, lambda way: way.weight) for hop in way.hops]


Item = TypeVar("Item")


def drawn(
    items: Sequence[Item],
    chance: random.Random,
    rank: Callable[[Item], object],
    weight: Callable[[Item], int],
) -> list[Item]:
    """``items`` by rank; those of one rank as if drawn one after the other with chances as their weights.

    Weight 0 is drawn last, as RFC 2782 wants it "a very small chance".
    """
    ordered = sorted(items, key=rank)  # type: ignore[arg-type]
    found: list[Item] = []
    while ordered:
        equals = [item for item in ordered if rank(item) == rank(ordered[0])]
        ordered = ordered[len(equals) :]
        while len(equals) > 1:
            weights = [weight(item) or 0.001 for item in equals]
            place = chance.choices(range(len(equals)), weights)[0]
            found.append(equals.pop(place))
        found += equals
    return found
