"""Who may come in: which trunk a source address belongs to, and how many calls the gate takes.

Trunks are found by source address alone (CONTRACT 3): of all ``hosts`` entries that fit, the most specific wins:
address with port, then address, then the longest CIDR prefix.  On a stream the source port says nothing, since the
peer's kernel chose it; there the port of an entry is compared with the port in the Via the peer wrote (SIP.md 4).

The gate's own limits, ``max_calls_per_second`` and ``max_calls``, are divided evenly over the workers: each applies its
part to the calls that it has, and asks no other.  Emergency calls are asked about by the caller of this module before
any limit is: nothing here ever refuses one, and none is counted.  Live ordinary calls are compared with 98 % of
``max_calls``, so that the room for the others stays theirs, and an emergency call never takes an ordinary one's place.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.config.values import HostRule
from gateway.sip.events import Flow

SOURCES_REMEMBERED: Final = 4096
"""Sources whose trunk is remembered; a gate has tens of peers, and a flood of forged addresses must cost no memory.
When it is full, all are forgotten and found again."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EMERGENCY_SHARE: Final = 50
"""One call in this many of ``max_calls`` is kept for emergencies: 2 % (SIP.md 4)."""


class Sources:
    """Trunk names by source address, made from each trunk's ``hosts``; replaced whole when the settings change."""

    __slots__ = ("_hosts", "_lengths", "_remembered", "_rules")

    def __init__(self, hosts: Mapping[str, Iterable[HostRule]]) -> None:
        """``hosts``: trunk name → its entries; of entries that are equally specific the first named wins."""
        rules = [(rule, trunk) for trunk, entries in hosts.items() for rule in entries]
        self._rules = sorted(rules, key=lambda pair: pair[0].rank, reverse=True)
        self._lengths = _by_length({rule.network for rule, _ in rules})
        self._hosts: dict[str, bool] = {}
        self._remembered: dict[tuple[str, int], str | None] = {}

    def trunk(self, host: str, port: int) -> str | None:
        """The trunk of a source (on a stream: its address and the port of its Via), or None."""
        key = (host, port)
        try:
            return self._remembered[key]
        except KeyError:
            pass
        if not self.knows(host):
            return None  # not remembered: there are more strangers than anybody wants to know
        if len(self._remembered) >= SOURCES_REMEMBERED:
            self._remembered.clear()
        found = self._remembered[key] = self._find(host, port)
        return found

    def _find(self, host: str, port: int) -> str | None:
        address = _address(host)
        if address is None:
            return None
        return next((trunk for rule, trunk in self._rules if rule.matches(address, port)), None)

    def knows(self, host: str) -> bool:
        """Whether any entry names this address, whatever the port: may it connect, and be answered, at all."""
        known = self._hosts.get(host)
        if known is None:
            if len(self._hosts) >= SOURCES_REMEMBERED:
                self._hosts.clear()
            known = self._hosts[host] = self._is_named(host)
        return known

    def _is_named(self, host: str) -> bool:
        """One look-up for each length of prefix that there is: forged sources ask this thousands of times a second."""
        address = _address(host)
        if address is None:
            return False
        bits = int(address)
        return any(bits >> shift in networks for shift, networks in self._lengths.get(address.version, ()))

    def is_stranger(self, data: bytes, flow: Flow) -> bool:
        """Whether this is a request from a source that no trunk names; responses are let through to their transaction.

        On a stream the address alone counts, since the port of the Via is not known before the message is parsed.
        """
        if data.startswith(b"SIP/2.0 "):
            return False
        if flow.transport == "udp":
            return self.trunk(flow.host, flow.port) is None
        return not self.knows(flow.host)


def _by_length(networks: Iterable[Network]) -> dict[int, list[tuple[int, set[int]]]]:
    """By IP version: for each length of prefix how many bits are behind it, and the prefixes."""
    found: dict[int, dict[int, set[int]]] = {}
    for network in networks:
        shift = network.max_prefixlen - network.prefixlen
        found.setdefault(network.version, {}).setdefault(shift, set()).add(int(network.network_address) >> shift)
    return {version: list(lengths.items()) for version, lengths in found.items()}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """``host`` as an address, without the zone of a link-local one; None where it is none."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


class Bucket:
    """A token bucket: at most ``per_second`` calls in one burst, refilled evenly over the second."""

    __slots__ = ("_at_s", "_per_second", "_tokens")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = max(1.0, per_second)
        self._at_s: float | None = None

    def take(self, now: float) -> bool:
        """Take one token at ``now`` (monotonic seconds); False: there is none."""
        if self._at_s is not None and now > self._at_s:
            full = max(1.0, self._per_second)
            self._tokens = min(full, self._tokens + (now - self._at_s) * self._per_second)
        self._at_s = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Gate:
    """The gate's own limits as one worker applies its share of them."""

    __slots__ = ("_bucket", "ordinary_calls_max")

    def __init__(self, max_calls: int, max_calls_per_second: int, workers: int = 1) -> None:
        """``max_calls`` and ``max_calls_per_second`` are the whole gate's; each worker applies its part."""
        self.ordinary_calls_max = max(1, (max_calls - max_calls // EMERGENCY_SHARE) // workers)
        self._bucket = Bucket(max_calls_per_second / workers)

    def refusal(self, ordinary_calls: int, now: float) -> str | None:
        """The reason code (policy.reasons) to refuse an ordinary call with, or None; an admitted call takes a token.

        ``ordinary_calls`` are this worker's live calls without emergency calls.
        """
        if ordinary_calls >= self.ordinary_calls_max:
            return "GATE_CALLS"
        return None if self._bucket.take(now) else "GATE_CALLS_PER_SECOND"
