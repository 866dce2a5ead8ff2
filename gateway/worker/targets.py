"""Where a call really goes: the targets of trunks with their names resolved, in the order of this moment.

Policy says which trunks take a call and which targets they have; here each target becomes the addresses that its name
leads to (RFC 3263, gateway.transport.locate), those of one priority are drawn by their weights, and what does not
answer pings comes last of its trunk: a call tries it only when nothing else of that trunk is left, because a ping may
be wrong.  Which trunk comes first is never for pings to say: routes of trunks stay in the order that policy gave them.

A call waits for nothing here.  The names in the settings are looked up when the worker starts and again when their
records' life ends; a call takes what is known.  A name that nothing is known of yet is left as it is, for the
transport to look up as any program does.  Where every target is an address, each priority has one, and all are up,
which is how most gates run, a call's routes are not touched at all.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from gateway.config.settings import TrunkSettings
from gateway.config.values import TargetRule
from gateway.sip.events import Flow
from gateway.sip.uri import SipUri, parse_uri
from gateway.telemetry.logs import get_logger
from gateway.transport.locate import Hop, Located, Way, drawn, in_order, is_address
from policy.verdict import Route

REFRESH_MIN_S: Final = 5.0
"""How long a name rests at least before it is looked up again."""

START_S: Final = 2.0
"""How long a start waits for the names to be looked up; the first calls are worth that much."""

log = get_logger("worker")

Locate = Callable[[SipUri], Awaitable[Located]]


class TrunkTarget:
    """One target of one trunk; ``located`` is what is known to lead to it, None: nothing yet.

    ``uri`` is where calls to it are sent: the target itself, or the proxy on the way to it.
    """

    __slots__ = ("located", "name", "proxy", "rank", "rule", "trunk", "uri")

    def __init__(self, trunk: TrunkSettings, place: int, rule: TargetRule, *, by_proxy: bool = True) -> None:
        self.proxy = trunk.proxy.uri if by_proxy and trunk.proxy is not None else ""
        uri = parse_uri(self.proxy or rule.uri)
        assert isinstance(uri, SipUri), "the settings take nothing else"
        self.trunk = trunk
        self.rule = rule
        self.uri = uri
        self.rank = rule.priority or place
        self.name = trunk.tls_name or uri.host
        """Whom it must prove to be, where it is reached by TLS."""
        host = uri.params.get("maddr", "") or uri.host
        flow = uri.flow()
        hop = Hop(flow.transport, host, flow.port)
        self.located: Located | None = Located((Way((hop,)),), 0.0) if is_address(host) else None

    @property
    def is_name(self) -> bool:
        """Whether its addresses are DNS' to say."""
        return not is_address(self.uri.params.get("maddr", "") or self.uri.host)

    @property
    def hops(self) -> list[Hop]:
        """Every address that leads to it."""
        return [hop for way in self.located.ways for hop in way.hops] if self.located is not None else []


class Targets:
    """The targets of all trunks; ``is_down(hop)`` says what pings found, ``changed()`` is told of new addresses."""

    def __init__(
        self,
        trunks: Sequence[TrunkSettings],
        locate: Locate,
        *,
        is_down: Callable[[Hop], bool] = lambda hop: False,
        changed: Callable[[], None] = lambda: None,
        chance: random.Random | None = None,
    ) -> None:
        self.all = [
            TrunkTarget(trunk, place, rule) for trunk in trunks for place, rule in enumerate(trunk.targets, start=1)
        ]
        self.registrars = [
            TrunkTarget(trunk, 1, trunk.registration.registrar, by_proxy=False)
            for trunk in trunks
            if trunk.registration is not None
        ]
        """Where the gate registers: found like targets, but no call goes there and no ping."""
        self._by_target = {(target.trunk.name, target.rule.uri): target for target in self.all}
        self._locate = locate
        self._is_down = is_down
        self._changed = changed
        self._chance = chance or random.Random()
        self._tasks: list[asyncio.Task[None]] = []
        self._first: list[asyncio.Event] = []
        self._always = any(target.is_name or target.proxy for target in self.all) or self._has_equals()
        self.reorders = self._always
        """Whether a call's routes have to go through :meth:`order` at all."""

    def _has_equals(self) -> bool:
        """Whether targets of one trunk share a priority, or stand out of order."""
        ranks: dict[str, list[int]] = {}
        for target in self.all:
            ranks.setdefault(target.trunk.name, []).append(target.rank)
        return any(sorted(set(each)) != each for each in ranks.values())

    def note_down(self, any_down: bool) -> None:
        """Pings have found some hop down, or none any more."""
        self.reorders = self._always or any_down

    # the order of a call's routes

    def order(self, routes: Sequence[Route]) -> tuple[Route, ...]:
        """One route for each address, in the order in which a call shall try them; what is down is last of its trunk.

        Routes that are no target of the settings, such as where a peer has registered, are left as they are.
        """
        found: list[Route] = []
        for run in _runs(routes):
            if all((route.trunk, route.target) in self._by_target for route in run):
                found += self._ordered(run)
            else:
                found += run
        return tuple(found)

    def _ordered(self, run: list[Route]) -> list[Route]:
        """The routes of one trunk, each a target of the settings."""
        up: list[Route] = []
        down: list[Route] = []
        for route in drawn(run, self._chance, self._rank, self._weight):
            self._add(route, up, down)
        return up + down

    def _rank(self, route: Route) -> int:
        return self._by_target[route.trunk, route.target].rank

    def _weight(self, route: Route) -> int:
        return self._by_target[route.trunk, route.target].rule.weight

    def _add(self, route: Route, up: list[Route], down: list[Route]) -> None:
        target = self._by_target[route.trunk, route.target]
        if target.located is None and not target.proxy:
            up.append(route)
            return
        if target.located is None or not target.located.ways:
            # behind a proxy that is not found: nothing may go around it, so its name is left to the transport
            proxy = target.proxy
            down.append(Route(route.trunk, route.target, route.number, proxy, proxy) if proxy else route)
            return
        for hop in in_order(target.located.ways, self._chance):
            found = route
            if target.is_name or target.proxy:
                found = Route(route.trunk, route.target, route.number, uri_of(hop), target.proxy)
            (down if self._is_down(hop) else up).append(found)

    def registrar(self, trunk: str, tries: int) -> Flow | None:
        """Where to register with the carrier ``trunk`` after so many failures in a row: another of its registrar's
        addresses, if it has several.  None where nothing is known of them."""
        target = next((each for each in self.registrars if each.trunk.name == trunk), None)
        if target is None or target.located is None:
            return None
        hops = in_order(target.located.ways, self._chance)
        return Flow(*hops[tries % len(hops)]) if hops else None

    # finding

    async def start(self) -> None:
        """Begin to look names up, and wait a moment for the first answers."""
        loop = asyncio.get_running_loop()
        for target in (*self.all, *self.registrars):
            if target.is_name:
                first = asyncio.Event()
                self._first.append(first)
                self._tasks.append(loop.create_task(self._follow(target, first)))
        self._changed()
        if self._first:
            try:
                async with asyncio.timeout(START_S):
                    await asyncio.gather(*[first.wait() for first in self._first])
            except TimeoutError:
                waited = [each.rule.uri for each in (*self.all, *self.registrars) if each.located is None]
                log.warning("names not found yet", targets=waited, doing="calls go on without them")

    async def stop(self) -> None:
        """Look nothing up any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, target: TrunkTarget, first: asyncio.Event) -> None:
        while True:
            try:
                located = await self._locate(target.uri)
            except Exception:  # a fault of ours in what a stranger's zone says must not end the looking up
                log.exception("name not looked up", target=target.rule.uri)
                located = Located((), REFRESH_MIN_S, failed=True)
            self._take(target, located)
            first.set()
            await asyncio.sleep(max(located.ttl_s, REFRESH_MIN_S))

    def _take(self, target: TrunkTarget, located: Located) -> None:
        before = target.located
        if located.failed and not located.ways and before is not None and before.ways:
            return  # nobody answered, not even with old records: what was known is worth a try
        target.located = located
        if before is None or before.ways != located.ways:
            if not located.ways:
                log.error("target has no address", trunk=target.trunk.name, target=target.rule.uri)
            self._changed()


def uri_of(hop: Hop) -> str:
    """A hop as a SIP URI."""
    transport = "" if hop.transport == "udp" else hop.transport
    return str(SipUri(hop.host, hop.port, params={"transport": transport} if transport else None))


def _runs(routes: Sequence[Route]) -> Iterable[list[Route]]:
    """Routes of one trunk after the other, as they follow each other."""
    run: list[Route] = []
    for route in routes:
        if run and run[-1].trunk != route.trunk:
            yield run
            run = []
        run.append(route)
    if run:
        yield run
