"""RFC 3263 by a zone in memory: which transport, host and port a URI leads to, and in which order."""

import random
from collections import Counter
from typing import Any

import pytest

from gateway.sip.uri import SipUri, parse_uri
from gateway.transport.locate import Hop, Located, Way, in_order, locate
from gateway.transport.records import Answer, Kind, Naptr, Srv

NAPTR = (
    Naptr(20, 1, "S", "SIP+D2U", "_sip._udp.example.org"),
    Naptr(10, 2, "S", "SIP+D2T", "_sip._tcp.example.org"),
    Naptr(10, 1, "S", "SIPS+D2T", "_sips._tcp.example.org"),
    Naptr(1, 1, "S", "SIP+D2S", "_sip._sctp.example.org"),
    Naptr(1, 2, "U", "E2U+SIP", ""),
)
SRVS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("_sip._udp.example.org", "SRV"): (Srv(1, 1, 5060, "u.example.org"),),
    ("_sip._tcp.example.org", "SRV"): (Srv(2, 1, 5070, "t2.example.org"), Srv(1, 1, 5069, "t1.example.org")),
    ("_sips._tcp.example.org", "SRV"): (Srv(1, 1, 5061, "s.example.org"),),
    ("u.example.org", "A"): ("192.0.2.1",),
    ("t1.example.org", "A"): ("192.0.2.2",),
    ("t2.example.org", "A"): ("192.0.2.3", "192.0.2.4"),
    ("s.example.org", "A"): ("192.0.2.5",),
    ("s.example.org", "AAAA"): ("2001:db8::5",),
    ("example.org", "A"): ("192.0.2.9",),
}


class Zone:
    def __init__(self, records: dict[tuple[str, str], tuple[Any, ...]]) -> None:
        self.records = records
        self.asked: list[tuple[str, str]] = []

    async def ask(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        return Answer(self.records.get((name, kind), ()), 60.0)


def uri(text: str) -> SipUri:
    found = parse_uri(text)
    assert isinstance(found, SipUri)
    return found


async def ways(text: str, records: dict[tuple[str, str], tuple[Any, ...]], **more: Any) -> list[str]:
    """Where a URI leads, in order."""
    located = await locate(uri(text), Zone(records).ask, **more)
    return [str(hop) for hop in in_order(located.ways, random.Random(1))]


WITH_NAPTR = {("example.org", "NAPTR"): NAPTR, **SRVS}
ONLY_A = {("example.org", "A"): ("192.0.2.9",)}

CASES = [
    # 4.1 and 4.2: an address is used as it is
    ("sip:192.0.2.7", {}, ["udp:192.0.2.7:5060"]),
    ("sip:192.0.2.7:5080;transport=tcp", {}, ["tcp:192.0.2.7:5080"]),
    ("sips:192.0.2.7", {}, ["tls:192.0.2.7:5061"]),
    ("sip:[2001:db8::7]", {}, ["udp:[2001:db8::7]:5060"]),
    ("sip:example.org;maddr=192.0.2.7", WITH_NAPTR, ["udp:192.0.2.7:5060"]),
    # a port: no NAPTR, no SRV
    ("sip:example.org:5080", WITH_NAPTR, ["udp:192.0.2.9:5080"]),
    ("sips:example.org:5080", WITH_NAPTR, ["tls:192.0.2.9:5080"]),
    # a transport: its SRV records
    (
        "sip:example.org;transport=tcp",
        WITH_NAPTR,
        ["tcp:192.0.2.2:5069", "tcp:192.0.2.3:5070", "tcp:192.0.2.4:5070"],
    ),
    # neither: what NAPTR prefers
    (
        "sip:example.org",
        WITH_NAPTR,
        ["tls:192.0.2.5:5061", "tcp:192.0.2.2:5069", "tcp:192.0.2.3:5070", "tcp:192.0.2.4:5070", "udp:192.0.2.1:5060"],
    ),
    ("sips:example.org", WITH_NAPTR, ["tls:192.0.2.5:5061"]),
    # no NAPTR: whichever SRV records there are
    (
        "sip:example.org",
        SRVS,
        ["udp:192.0.2.1:5060", "tcp:192.0.2.2:5069", "tcp:192.0.2.3:5070", "tcp:192.0.2.4:5070", "tls:192.0.2.5:5061"],
    ),
    ("sips:example.org", SRVS, ["tls:192.0.2.5:5061"]),
    # no SRV either: the host itself
    ("sip:example.org", ONLY_A, ["udp:192.0.2.9:5060"]),
    ("sip:example.org;transport=tcp", ONLY_A, ["tcp:192.0.2.9:5060"]),
    ("sips:example.org", ONLY_A, ["tls:192.0.2.9:5061"]),
    ("sip:example.org", {}, []),
]


@pytest.mark.parametrize(("text", "records", "expected"), CASES)
async def test_where_a_uri_leads(text: str, records: dict[Any, Any], expected: list[str]) -> None:
    assert await ways(text, records) == expected


async def test_what_the_gate_does_not_speak_is_left_out() -> None:
    assert await ways("sip:example.org", WITH_NAPTR, speaks={"udp"}) == ["udp:192.0.2.1:5060"]
    assert await ways("sips:example.org", SRVS, speaks={"udp"}) == ["tls:192.0.2.9:5061"]


async def test_families_come_in_the_order_they_are_wanted() -> None:
    both = await ways("sips:example.org", SRVS, families=("AAAA", "A"))
    assert both == ["tls:[2001:db8::5]:5061", "tls:192.0.2.5:5061"]
    assert await ways("sips:example.org", SRVS, families=("AAAA",)) == ["tls:[2001:db8::5]:5061"]


async def test_a_service_that_says_it_is_not_there_is_not_looked_for() -> None:
    records = {("_sip._udp.example.org", "SRV"): (Srv(0, 0, 0, ""),), ("x", "A"): ()}
    assert await ways("sip:example.org;transport=udp", records) == []


async def test_an_address_asks_nobody_and_holds_for_long() -> None:
    zone = Zone({})
    located = await locate(uri("sip:192.0.2.7"), zone.ask)
    assert zone.asked == []
    assert located.ttl_s == 86_400.0


async def test_it_holds_as_long_as_its_shortest_record() -> None:
    async def ask(name: str, kind: Kind) -> Answer:
        found = await Zone(SRVS).ask(name, kind)
        return found._replace(ttl_s=7.0 if name == "u.example.org" else 900.0, failed=kind == "NAPTR")

    located = await locate(uri("sip:example.org"), ask)
    assert (located.ttl_s, located.failed) == (7.0, True)
    assert isinstance(located, Located)


def hop(name: str) -> Hop:
    return Hop("udp", name, 5060)


def test_equals_are_drawn_by_their_weights_and_ranks_are_kept() -> None:
    choices = [
        Way((hop("c"),), (0, 2), 1),
        Way((hop("a"),), (0, 1), 3),
        Way((hop("b"),), (0, 1), 1),
        Way((hop("z"),), (0, 1), 0),
    ]
    chance = random.Random(7)
    first = Counter(in_order(choices, chance)[0].host for _ in range(4000))
    assert 0.72 < first["a"] / 4000 < 0.78
    assert first["z"] < 10
    assert set(first) <= {"a", "b", "z"}
    for _ in range(20):
        order = [each.host for each in in_order(choices, chance)]
        assert sorted(order) == ["a", "b", "c", "z"]
        assert order[-1] == "c"
