"""Are the targets there: an OPTIONS to each address of each trunk with ``options_ping_s`` (RFC 3261 11), and what
follows from silence.

One lost ping says little, and one answer from a peer that comes and goes as little: an address is down after
DOWN_AFTER pings in a row went wrong and up again after UP_AFTER in a row were answered.  Once one went wrong they
follow each other quickly, so that both are known soon.  Any answer is a sign of life but 503 (the peer says itself
that it takes nothing) and 408 (it is a proxy before somebody who is silent).  What has not been asked yet is up, and so
is what has never answered at all: many peers hear OPTIONS and say nothing, or let none through, and take every call.

Each worker asks for itself, from the sockets that its calls would leave by.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from gateway.sip.endpoint import Endpoint
from gateway.sip.events import Flow
from gateway.sip.message import Response
from gateway.telemetry.logs import get_logger
from gateway.transport.locate import Hop
from gateway.worker.targets import TrunkTarget

DOWN_AFTER: Final = 2
"""Pings in a row without a good answer before an address is down."""

UP_AFTER: Final = 2
"""Good answers in a row before it is up again."""

TIMEOUT_S: Final = 4.0
"""How long an answer may take: as long as a call waits for a target by default."""

QUICK_S: Final = 5.0
"""How long after a ping the next one goes where the last went wrong, or the address is down."""

LOOK_S: Final = 0.5
"""How often it is looked whether a ping is due; the settings count in seconds."""

PINGS_PER_LOOK: Final = 20
"""Pings sent at once: with a thousand targets a burst of them should not delay a call."""

BAD: Final = frozenset({408, 503})

log = get_logger("worker")


class Counts(Protocol):
    """Who counts what pings find."""

    def ping(self, result: str) -> None:
        """A ping was ``answered``, ``refused`` (408 or 503) or ``lost``."""

    def targets(self, up: dict[tuple[str, str], bool]) -> None:
        """Which addresses are up, by trunk and address."""


class Health:
    """What is known of one address of one trunk."""

    __slots__ = ("answers", "down", "due_s", "every_s", "hop", "in_a_row", "name", "ping", "trunk", "uri")

    def __init__(self, target: TrunkTarget, hop: Hop, due_s: float) -> None:
        self.hop = hop
        self.trunk = target.trunk.name
        self.uri = target.proxy or target.rule.uri
        self.every_s = float(target.trunk.options_ping_s)
        self.due_s = due_s
        self.answers = False
        """Whether it has ever answered a ping; the silence of a peer that never does says nothing."""
        self.down = False
        self.in_a_row = 0
        """Pings in a row that speak against what it is taken for."""
        self.ping: Ping | None = None

    def learn(self, result: str, now: float) -> bool:
        """A ping was ``answered``, ``refused`` or ``lost``; True: the address is down now, or up again."""
        good = result == "answered"
        self.answers = self.answers or result != "lost"
        if good is not self.down or not self.answers:
            self.in_a_row = 0
        else:
            self.in_a_row += 1
            if self.in_a_row >= (UP_AFTER if self.down else DOWN_AFTER):
                self.down, self.in_a_row = not self.down, 0
                self._rest(now)
                return True
        self._rest(now)
        return False

    def _rest(self, now: float) -> None:
        quick = self.down or self.in_a_row
        self.due_s = now + (min(QUICK_S, self.every_s) if quick else self.every_s)


class Ping:
    """One OPTIONS on its way; the owner of its transaction."""

    __slots__ = ("_pings", "health", "until_s")

    def __init__(self, pings: "Pings", health: Health, until_s: float) -> None:
        self._pings = pings
        self.health = health
        self.until_s = until_s

    def heard(self, response: Response, now: float) -> None:
        """The peer answered; 1xx to OPTIONS means nothing."""
        if response.status >= 200:
            self._pings.done(self, "refused" if response.status in BAD else "answered", now)

    def failed(self, timeout: bool, now: float) -> None:
        """Timer F, or the transport could not send."""
        self._pings.done(self, "lost", now)


class Pings:
    """The pings of one worker; :meth:`look` is to be called each LOOK_S."""

    def __init__(
        self,
        endpoint: Endpoint,
        new_token: Callable[[], str],
        counts: Counts,
        changed: Callable[[bool], None],
    ) -> None:
        """``changed(any_down)`` is told when an address goes down or comes up."""
        self._endpoint = endpoint
        self._new_token = new_token
        self._counts = counts
        self._changed = changed
        self._known: dict[tuple[str, Hop], Health] = {}
        self._down: set[Hop] = set()

    def is_down(self, hop: Hop) -> bool:
        """Whether an address has been found down, by the pings of any trunk."""
        return hop in self._down

    def follow(self, targets: Iterable[TrunkTarget], now: float) -> None:
        """Ping these addresses from now on; what is known of those pinged before stays."""
        before, self._known = self._known, {}
        for target in targets:
            if target.trunk.options_ping_s:
                for hop in target.hops:
                    key = (target.trunk.name, hop)
                    first_s = now + target.trunk.options_ping_s
                    self._known[key] = before.get(key) or Health(target, hop, first_s)
        self._tell()

    def look(self, now: float) -> None:
        """Give up pings that take too long, and send those that are due."""
        sent = 0
        for health in list(self._known.values()):
            if health.ping is not None:
                if now >= health.ping.until_s:
                    self.done(health.ping, "lost", now)
            elif now >= health.due_s and sent < PINGS_PER_LOOK:
                sent += 1
                self._send(health, now)

    def _send(self, health: Health, now: float) -> None:
        hop = health.hop
        flow = Flow(hop.transport, hop.host, hop.port)
        identity = self._endpoint.identity.towards(hop.host)
        ping = health.ping = Ping(self, health, now + TIMEOUT_S)
        headers: tuple[tuple[str, str], ...] = (("Accept", "application/sdp"),)
        own = f"<sip:{identity.host}>"
        self._endpoint.request(
            "OPTIONS",
            health.uri,
            flow,
            from_=f"{own};tag={self._new_token()}",
            to=f"<{health.uri}>",
            call_id=self._new_token(),
            cseq=1,
            contact=self._endpoint.contact(flow),
            headers=headers,
            owner=ping,
            now=now,
        )

    def done(self, ping: Ping, result: str, now: float) -> None:
        """A ping is over; what comes after it was given up says nothing any more."""
        health = ping.health
        if health.ping is not ping:
            return
        health.ping = None
        self._counts.ping(result)
        if health.learn(result, now):
            say = log.error if health.down else log.info
            say("target down" if health.down else "target up", trunk=health.trunk, target=str(health.hop), last=result)
            self._tell()

    def _tell(self) -> None:
        self._down = {health.hop for health in self._known.values() if health.down}
        self._counts.targets({(trunk, str(hop)): not health.down for (trunk, hop), health in self._known.items()})
        self._changed(bool(self._down))
