"""Names asked of a real name server on the loopback: how long answers hold, and what happens while it is away."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.transport import resolver as resolver_module
from gateway.transport.records import Naptr, Srv
from gateway.transport.resolver import FAILED_S, STALE_S, TTL_MIN_S, Resolver
from tests.name_server import NameServer

ZONE = {
    "example.org": {"NAPTR": (30, ['10 20 "s" "SIPS+D2T" "" _sips._tcp.example.org.'])},
    "_sip._udp.example.org": {"SRV": (40, ["1 5 5060 A.example.org.", "2 0 5061 ."])},
    "a.example.org": {"A": (50, ["192.0.2.1", "192.0.2.2"]), "AAAA": (0, ["2001:db8::1"])},
}


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer({name: dict(kinds) for name, kinds in ZONE.items()}) as running:
        yield running


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent server is given up soon."""
    monkeypatch.setattr(resolver_module, "LIFETIME_S", 0.3)


@pytest.fixture
def resolver(server: NameServer, clock: Time, tmp_path: Path) -> Resolver:
    return Resolver([server.address], hosts=tmp_path / "hosts", monotonic=clock)


async def test_records_of_every_kind_are_read(resolver: Resolver) -> None:
    assert await resolver.ask("Example.Org.", "NAPTR") == (
        (Naptr(10, 20, "S", "SIPS+D2T", "_sips._tcp.example.org"),), 30.0, False,
    )  # fmt: skip
    # the server gives the records of one answer in any order
    srvs = (await resolver.ask("_sip._udp.example.org", "SRV")).records
    assert set(srvs) == {Srv(1, 5, 5060, "a.example.org"), Srv(2, 0, 5061, "")}
    assert set((await resolver.ask("a.example.org", "A")).records) == {"192.0.2.1", "192.0.2.2"}
    assert (await resolver.ask("a.example.org", "AAAA")).records == ("2001:db8::1",)


async def test_an_answer_holds_for_its_time_to_live(resolver: Resolver, server: NameServer, clock: Time) -> None:
    assert (await resolver.ask("a.example.org", "A")).ttl_s == 50.0
    clock.now += 20.0
    assert (await resolver.ask("a.example.org", "A")).ttl_s == 30.0
    assert len(server.asked) == 1
    server.zone["a.example.org"]["A"] = (50, ["192.0.2.9"])
    clock.now += 30.0
    assert (await resolver.ask("a.example.org", "A")).records == ("192.0.2.9",)


async def test_a_life_of_nothing_is_a_short_one(resolver: Resolver) -> None:
    assert (await resolver.ask("a.example.org", "AAAA")).ttl_s == TTL_MIN_S


@pytest.mark.parametrize("name", ["nobody.example.org", "example.org"])
async def test_that_there_is_nothing_is_remembered_too(
    resolver: Resolver, server: NameServer, clock: Time, name: str
) -> None:
    assert await resolver.ask(name, "A") == ((), 60.0, False)
    clock.now += 59.0
    assert (await resolver.ask(name, "A")).ttl_s == 1.0
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", ["silent", "broken"])
async def test_an_old_answer_is_used_while_no_server_answers(
    resolver: Resolver, server: NameServer, clock: Time, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = (await resolver.ask("a.example.org", "A")).records
    setattr(server, fault, True)
    monkeypatch.setattr(resolver_module, "LIFETIME_S", 0.3)
    clock.now += 51.0
    assert await resolver.ask("a.example.org", "A") == (known, FAILED_S, True)
    asked = len(server.asked)
    assert (await resolver.ask("a.example.org", "A")).records == known
    assert len(server.asked) == asked, "it is not asked again at once"
    clock.now += STALE_S + 1.0
    assert (await resolver.ask("a.example.org", "A")).records == ()
    setattr(server, fault, False)
    monkeypatch.undo()
    clock.now += FAILED_S
    assert not (await resolver.ask("a.example.org", "A")).failed


@pytest.mark.usefixtures("impatient")
async def test_a_name_never_heard_of_and_no_server_is_nothing(resolver: Resolver, server: NameServer) -> None:
    server.silent = True
    assert await resolver.ask("a.example.org", "A") == ((), FAILED_S, True)
    assert await resolver.ask("a.example.org", "A") == ((), FAILED_S, True), "nobody has answered since"


async def test_who_asks_the_same_at_once_shares_the_answer(resolver: Resolver, server: NameServer) -> None:
    answers = await asyncio.gather(*[resolver.ask("a.example.org", "A") for _ in range(10)])
    assert len(set(answers)) == 1
    assert len(server.asked) == 1


@pytest.mark.usefixtures("impatient")
async def test_who_stops_waiting_stops_no_question(resolver: Resolver, server: NameServer) -> None:
    server.silent = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(resolver.ask("a.example.org", "A"), 0.05)
    server.silent = False
    await asyncio.sleep(0)
    await resolver.close()


async def test_the_hosts_file_wins_and_is_read_again(resolver: Resolver, server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# nothing\n192.0.2.77  A.example.org other # a comment\n::7 a.example.org\n\n")
    assert (await resolver.ask("a.example.org", "A")).records == ("192.0.2.77",)
    assert (await resolver.ask("other.", "A")).records == ("192.0.2.77",)
    assert (await resolver.ask("a.example.org", "AAAA")).records == ("::7",)
    assert server.asked == []
    hosts.unlink()
    assert (await resolver.ask("a.example.org", "A")).ttl_s == 50.0


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".org", ".".join(["x" * 60] * 5)])
async def test_what_is_no_name_has_no_records(resolver: Resolver, name: str) -> None:
    assert (await resolver.ask(name, "A")).records == ()


async def test_memory_has_a_bound(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "RECORDS_MAX", 3)
    for number in range(10):
        await resolver.ask(f"n{number}.example.org", "A")
    assert len(resolver._kept) <= 3
