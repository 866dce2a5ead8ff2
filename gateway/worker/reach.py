"""How a worker reaches its peers: names, pings and what follows from them, put together.

What is known of a target goes to three places: to the decider, who orders a call's routes; to the transport, which must
know whom a peer at an address has to prove to be (TLS); and to the endpoint, which must know who may be asked by TCP.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.config.settings import Settings
from gateway.sip.endpoint import Endpoint
from gateway.sip.large import TRY_S
from gateway.sip.uri import SipUri
from gateway.transport.locate import Ask, Hop, Located, locate
from gateway.transport.records import Kind
from gateway.transport.transport import Sockets, Transport
from gateway.worker.pings import LOOK_S, Counts, Pings
from gateway.worker.targets import Targets

TRIES_PER_TARGET: Final = 4
"""The part of ``target_timeout_s`` that a large request may wait for TCP: most of it is the datagram's."""

Do = Callable[[Callable[[float], None]], None]


class Reach:
    """One worker's peers; :meth:`find` before calls are taken, :meth:`watch` once there are sockets."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sockets,
        endpoint: Endpoint,
        new_token: Callable[[], str],
        transport: Transport,
        counts: Counts,
        do: Do,
    ) -> None:
        """``do(act)`` calls ``act(now)`` and sends what it led to."""
        self._settings = settings
        self._endpoint = endpoint
        endpoint.large.try_s = min(TRY_S, settings.sip.target_timeout_s / TRIES_PER_TARGET)
        self._transport = transport
        self._do = do
        self._families = _families(sockets)
        self._speaks = {"udp", "tcp"} | ({"tls"} if sockets.own_tls else set())
        self._ask: Ask | None = None
        self._close: Callable[[], Awaitable[None]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.targets = Targets(settings.trunk, self._locate, is_down=self._is_down, changed=self._found)
        self._pings = Pings(endpoint, new_token, counts, self.targets.note_down)

    async def find(self) -> None:
        """Look the names of the targets up; at most a moment is waited for them."""
        await self.targets.start()

    def watch(self) -> None:
        """Ping the targets that are to be pinged."""
        if any(target.trunk.options_ping_s for target in self.targets.all):
            self._do(self._follow)
            self._look()

    async def stop(self) -> None:
        """Look and ping no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.targets.stop()
        if self._close is not None:
            await self._close()

    def _is_down(self, hop: Hop) -> bool:
        return self._pings.is_down(hop)

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        self._do(self._pings.look)

    async def _locate(self, uri: SipUri) -> Located:
        if self._ask is None:
            from gateway.transport.resolver import Resolver  # only gates with names in their settings load it

            resolver = Resolver(self._settings.sip.nameservers)
            self._ask, self._close = resolver.ask, resolver.close
        return await locate(uri, self._ask, families=self._families, speaks=self._speaks)

    def _found(self) -> None:
        """The addresses of the targets are known, or others than before.

        Where names of two targets lead to one address and port, the first of the file is asked for: they share its
        connection.
        """
        large: set[tuple[str, int]] = set()
        names: dict[tuple[str, int], str] = {}
        for target in (*self.targets.all, *self.targets.registrars):
            by_tcp = target.trunk.large_by_tcp and not target.uri.params.get("transport")
            for hop in target.hops:
                if hop.transport == "tls":
                    names.setdefault((hop.host, hop.port), target.name)
                elif hop.transport == "udp" and by_tcp:
                    large.add((hop.host, hop.port))
        self._transport.expect(names)
        self._endpoint.large.peers = frozenset(large)
        if self._timer is not None:
            self._do(self._follow)

    def _follow(self, now: float) -> None:
        self._pings.follow(self.targets.all, now)


def _families(sockets: Sockets) -> tuple[Kind, ...]:
    """The kinds of address that a worker can send to, IPv6 first where it has both (RFC 6724 10.3)."""
    found = {sock.family for sock in (*sockets.own_udp, *sockets.own_tcp, *sockets.own_tls)}
    kinds: tuple[tuple[Kind, int], ...] = (("AAAA", socket.AF_INET6), ("A", socket.AF_INET))
    return tuple(kind for kind, family in kinds if family in found)
