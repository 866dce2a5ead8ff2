"""What sources that no trunk names may cost: so many messages a second each, so many all together, and bans.

A message of a stranger is judged here before anything reads it.  One that cannot be SIP by its first line, one over its
source's rate, an INVITE, which strangers cannot place, and credentials that are missing or wrong are offences; a source
with too many in a minute is banned for a while.
UDP sources can be forged, so whatever is counted here can be counted against somebody else.  Hence the two rules of
this module: who is known is never limited, blamed or banned, and what is kept of strangers has an end.

Known is an address that a trunk names whatever the port, where a registration or right credentials came from, or where
the gate itself sends requests: the targets and the contacts of calls.  Only trunks lead it there.  Of IPv6 a source is
its /64, since whoever has one address of it has them all.
"""

import re
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.telemetry.logs import get_logger
from gateway.transport.admission import Bucket

SOURCES_MAX: Final = 4096
"""Strangers whose rate and offences are kept, 2 MB; the one that was silent longest is forgotten for a new one.  A
flood from more forged addresses than this is bounded by the rate of all strangers alone."""

BANS_MAX: Final = 4096
"""Bans at once.  They stand apart from the sources, so that no flood pushes one out; beyond, nobody is banned."""

EXPECTED_MAX: Final = 16_384
"""Addresses that the gate has sent requests to, or that trunks' contacts name; the oldest is forgotten for a new one,
and known again with the next request to it."""

OFFENCES_WITHIN_S: Final = 60.0
"""Offences are counted over a minute; then the count begins anew."""

WRONG_CREDENTIALS: Final = 30
"""Offences that wrong credentials count as: a tenth of the default, so ten guesses of a password in a minute."""

BANS_LOGGED_PER_MINUTE: Final = 60
"""Bans that are logged of one minute; forged sources make many, and the metric counts them all."""

KEEPALIVE_SIZE: Final = 4
"""As in gateway.sip.endpoint: datagrams up to this size are keep-alives and no garbage."""

_IS_SIP = re.compile(rb"[\r\n]{0,16}+(?:SIP/|[!-~]{1,64}+ [^\r\n]{1,4096}? SIP/)", re.IGNORECASE).match
"""Whether the first line could be one of SIP, whatever its version: those that are nearly right are answered."""

Key = str | bytes

log = get_logger("transport")


@dataclass(frozen=True, slots=True)
class StrangerLimits:
    """``per_second`` messages of one source, ``all_per_second`` of all and ``all_calls_per_second`` INVITEs among them;
    ``offences`` in a minute ban for ``ban_s`` seconds (0: nobody is banned)."""

    per_second: float = 50
    all_per_second: float = 200
    all_calls_per_second: float = 20
    offences: int = 300
    ban_s: float = 60


class _Source:
    """What is kept of one stranger."""

    __slots__ = ("bucket", "offences", "since_s")

    def __init__(self, per_second: float, now: float) -> None:
        self.bucket = Bucket(per_second)
        self.offences = 0
        self.since_s = now


class Strangers:
    """Judges the messages of one worker's strangers; ``named(host)`` says whether a trunk names an address."""

    def __init__(self, named: Callable[[str], bool], limits: StrangerLimits, monotonic: Callable[[], float]) -> None:
        self.dropped = {"banned": 0, "garbage": 0, "rate": 0, "strangers": 0}
        """Messages dropped, by cause: of a banned source, no SIP, over its own rate, over the rate of all."""
        self.on_forget: Callable[[], None] = lambda: None
        """Called when a source that was known no longer is."""
        self._named = named
        self._limits = limits
        self._monotonic = monotonic
        self._all = Bucket(limits.all_per_second)
        self._calls = Bucket(limits.all_calls_per_second)
        self._sources: OrderedDict[Key, _Source] = OrderedDict()
        self._bans: OrderedDict[Key, float] = OrderedDict()
        self._expected: OrderedDict[str, None] = OrderedDict()
        self._registered: frozenset[str] = frozenset()
        self._logged = 0
        self._logged_since_s = 0.0

    # who is known

    def knows(self, host: str) -> bool:
        """Whether a source is none of those that are judged here."""
        return self._named(host) or host in self._expected or host in self._registered

    def expect(self, host: str) -> None:
        """The gate has something to say to this address, so it may answer; or who is there has proved itself."""
        if host in self._expected:
            self._expected.move_to_end(host)
            return
        self._expected[host] = None
        if len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)
            self.on_forget()
        self._bans.pop(_key(host), None)

    def register(self, hosts: Iterable[str]) -> None:
        """These are the addresses of all registrations that are bound now; bans of them end."""
        before, self._registered = self._registered, frozenset(hosts)
        for host in self._registered - before:
            self._bans.pop(_key(host), None)
        if before - self._registered:
            self.on_forget()

    # what strangers may

    def admits(self, host: str, data: bytes) -> bool:
        """Whether a message of a source that is not known is to be read."""
        key = _key(host)
        if key in self._bans:
            self.dropped["banned"] += 1
            return False
        now = self._monotonic()
        source = self._source(key, now)
        if not source.bucket.take(now):
            return self._drop("rate", key, host, source, now)
        if len(data) > KEEPALIVE_SIZE and _IS_SIP(data) is None:
            return self._drop("garbage", key, host, source, now)
        is_call = data.startswith(b"INVITE ")
        if is_call:
            self._offend(key, host, source, 1, now, "calls")
        if not self._all.take(now) or (is_call and not self._calls.take(now)):
            self.dropped["strangers"] += 1  # which may be others' fault
            return False
        return True

    def blame(self, host: str, wrong: bool) -> None:
        """Count a request without right credentials, or with ``wrong`` ones; harmless to who is known."""
        key = _key(host)
        if not self.knows(host) and key not in self._bans:
            now = self._monotonic()
            self._offend(key, host, self._source(key, now), WRONG_CREDENTIALS if wrong else 1, now, "credentials")

    def is_banned(self, host: str) -> bool:
        """Whether a source is to be given nothing."""
        return bool(self._bans) and _key(host) in self._bans and not self.knows(host)

    @property
    def bans(self) -> int:
        """Sources that are banned; :meth:`tend` ends bans."""
        return len(self._bans)

    def tend(self) -> None:
        """End the bans whose time is over; called about twice a second, so that no message has to ask for the time."""
        now = self._monotonic()
        while self._bans and next(iter(self._bans.values())) <= now:
            self._bans.popitem(last=False)

    def _source(self, key: Key, now: float) -> _Source:
        source = self._sources.get(key)
        if source is not None:
            self._sources.move_to_end(key)
            return source
        if len(self._sources) >= SOURCES_MAX:
            self._sources.popitem(last=False)
        source = self._sources[key] = _Source(self._limits.per_second, now)
        return source

    def _drop(self, cause: str, key: Key, host: str, source: _Source, now: float) -> bool:
        self.dropped[cause] += 1
        self._offend(key, host, source, 1, now, cause)
        return False

    def _offend(self, key: Key, host: str, source: _Source, offences: int, now: float, cause: str) -> None:
        if now - source.since_s >= OFFENCES_WITHIN_S:
            source.offences, source.since_s = 0, now
        source.offences += offences
        limits = self._limits
        if source.offences < limits.offences or limits.ban_s <= 0 or len(self._bans) >= BANS_MAX:
            return
        self._sources.pop(key, None)  # after the ban it begins anew
        self._bans[key] = now + limits.ban_s
        self._log(host, cause, now)

    def _log(self, host: str, cause: str, now: float) -> None:
        if now - self._logged_since_s >= OFFENCES_WITHIN_S:
            self._logged, self._logged_since_s = 0, now
        self._logged += 1
        if self._logged <= BANS_LOGGED_PER_MINUTE:
            log.warning("source banned", host=host, cause=cause, seconds=self._limits.ban_s)


def _key(host: str) -> Key:
    """An IPv4 address as it is, the first half of an IPv6 one."""
    if ":" not in host:
        return host
    try:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8]
    except OSError:
        return host
