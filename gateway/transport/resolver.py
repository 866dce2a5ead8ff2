"""DNS for SIP: NAPTR, SRV, A and AAAA records, asked for off the hot path and remembered as long as they say.

dnspython asks (`dns.asyncresolver`; why: README.md), this module remembers.  An answer is used for its time to live,
and so is the answer that there is none (RFC 2308).  While the name servers are silent or fail, the last answer is used
on for up to a day (RFC 8767): a carrier that was reached yesterday is worth a try.  Names in the machine's hosts file
win over DNS, as they do for every other program.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver

from gateway.config.values import HostPort
from gateway.transport.records import TTL_MAX_S, Answer, Kind, Naptr, Record, Srv

LIFETIME_S: Final = 5.0
"""How long one question may take, all servers and repetitions together."""

SERVER_S: Final = 1.5
"""How long one server may take before the next is asked."""

FAILED_S: Final = 10.0
"""How long a question that nobody answered is not asked again (RFC 2308 7: at most five minutes)."""

TTL_MIN_S: Final = 5.0
"""Shorter lives are taken for this: a record with TTL 0 would be asked for without a pause."""

STALE_S: Final = 86_400.0
"""How long past its life an answer is used while no newer one can be had (RFC 8767 5: one to three days)."""

RECORDS_MAX: Final = 4096
"""Answers remembered: trunks have tens of names; a zone that leads on and on makes us forget, not grow."""

ENTRIES_MAX: Final = 64
"""Records of one answer that are used; a set of this size is a mistake or an attack."""

HOSTS: Final = Path("/etc/hosts")


class _Kept(NamedTuple):
    records: tuple[Record, ...]
    until_s: float
    stale_until_s: float
    failed: bool = False
    """Nobody answered when it was asked last: to be told until it is asked again."""


class Resolver:
    """Asks and remembers; ``nameservers`` empty: those of the machine (``/etc/resolv.conf``)."""

    def __init__(
        self,
        nameservers: Sequence[HostPort] = (),
        *,
        hosts: Path = HOSTS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.questions = 0
        """Questions that went to a name server."""
        self._monotonic = monotonic
        self._kept: dict[tuple[str, Kind], _Kept] = {}
        self._asking: dict[tuple[str, Kind], asyncio.Task[Answer]] = {}
        self._hosts = HostsFile(hosts)
        self._dns = _dns(nameservers)

    async def ask(self, name: str, kind: Kind) -> Answer:
        """What is known of ``name``; asks where that is nothing, or too old.  Never raises for what DNS says."""
        name = name.rstrip(".").lower()
        if kind in ("A", "AAAA") and (found := self._hosts.addresses(name, kind)):
            return Answer(found, TTL_MIN_S)
        key, now = (name, kind), self._monotonic()
        kept = self._kept.get(key)
        if kept is not None and now < kept.until_s:
            return Answer(kept.records, kept.until_s - now, failed=kept.failed)
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.get_running_loop().create_task(self._question(name, kind))
            asking.add_done_callback(lambda task: self._asking.pop(key, None))
        # who stops waiting does not stop the question: others wait for it as well
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """Give up what is being asked."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _question(self, name: str, kind: Kind) -> Answer:
        self.questions += 1
        try:
            records, ttl_s = await self._from_dns(name, kind)
        except (dns.exception.DNSException, OSError, ValueError, UnicodeError):
            # no server answered in time, all of them failed, or it is no name that DNS can have
            return self._old(name, kind)
        ttl_s = min(max(ttl_s, TTL_MIN_S), TTL_MAX_S)
        now = self._monotonic()
        if len(self._kept) >= RECORDS_MAX:
            self._kept.clear()
        self._kept[name, kind] = _Kept(records, now + ttl_s, now + ttl_s + STALE_S)
        return Answer(records, ttl_s)

    async def _from_dns(self, name: str, kind: Kind) -> tuple[tuple[Record, ...], float]:
        """Records and their time to live; of a name without them, how long that is known for (RFC 2308 5)."""
        try:
            answer = await self._dns.resolve(name + ".", kind, raise_on_no_answer=False, lifetime=LIFETIME_S)
        except dns.resolver.NXDOMAIN as nothing:
            replies = list(nothing.responses().values())  # type: ignore[no-untyped-call]
            return (), _negative_ttl_s(replies[-1]) if replies else TTL_MIN_S
        if answer.rrset is None:
            return (), _negative_ttl_s(answer.response)
        records = tuple(_record(each, kind) for each in list(answer.rrset)[:ENTRIES_MAX])
        return records, float(answer.chaining_result.minimum_ttl)

    def _old(self, name: str, kind: Kind) -> Answer:
        """Nobody answered: what was known before, else nothing; either way it is not asked again at once."""
        now = self._monotonic()
        kept = self._kept.get((name, kind), _Kept((), now, now + FAILED_S))
        records = kept.records if now < kept.stale_until_s else ()
        self._kept[name, kind] = kept._replace(records=records, until_s=now + FAILED_S, failed=True)
        return Answer(records, FAILED_S, failed=True)


class HostsFile:
    """Names and addresses of the machine's hosts file, read again when it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def addresses(self, name: str, kind: Kind) -> tuple[str, ...]:
        """Addresses of a name in lower case: IPv4 for ``A``, IPv6 for ``AAAA``."""
        try:
            state = self._file.stat()
            seen = (state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._names, self._seen = _read_hosts(self._file.read_text(errors="replace")), seen
        except OSError:  # a machine without one
            self._names, self._seen = {}, None
        return tuple(address for address in self._names.get(name, ()) if (":" in address) == (kind == "AAAA"))


def _read_hosts(text: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *words = line.partition("#")[0].split() or [""]
        for word in words:
            names.setdefault(word.rstrip(".").lower(), []).append(address)
    return names


def _dns(nameservers: Sequence[HostPort]) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:  # a machine without any: what the hosts file says is all there is
        resolver = dns.asyncresolver.Resolver(configure=False)
    if nameservers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(each.host, each.port) for each in nameservers]
    resolver.timeout = SERVER_S
    resolver.cache = None
    return resolver


def _record(record: object, kind: Kind) -> Record:
    """One record of dnspython's as a plain value."""
    if kind == "NAPTR":
        words = (getattr(record, name).decode("latin-1").upper() for name in ("flags", "service"))
        flags, service = words
        return Naptr(record.order, record.preference, flags, service, _name(record.replacement))  # type: ignore[attr-defined]
    if kind == "SRV":
        return Srv(record.priority, record.weight, record.port, _name(record.target))  # type: ignore[attr-defined]
    return str(record.address)  # type: ignore[attr-defined]


def _name(name: object) -> str:
    return str(name).rstrip(".").lower()


def _negative_ttl_s(reply: dns.message.Message) -> float:
    """How long it is known that there is nothing: the SOA record of the reply says it; without one not long."""
    if not isinstance(reply, dns.message.QueryMessage):
        return TTL_MIN_S
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)
    return float(reply.resolve_chaining().minimum_ttl) if has_soa else TTL_MIN_S
