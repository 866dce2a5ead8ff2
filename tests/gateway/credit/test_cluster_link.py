"""A link to a node of a cluster: what another node has to carry out is said again there, in order, and not for ever.

Transports that only remember stand for two nodes; what they answer is written here.
"""

import asyncio
from typing import Any

import pytest
from hiredis import ReplyError

from gateway.credit import cluster_link
from gateway.credit.cluster_link import AGAIN_S, HOPS_MAX, ClusterLink
from gateway.credit.resp import LOST, Link

from .test_resp import Wire


class Two:
    """Links to nodes one and two; ``told`` is what callers heard."""

    def __init__(self) -> None:
        self.links: dict[int, Link] = {}
        self.wires = {1: Wire(), 2: Wire()}
        self.told: list[tuple[Any, Any]] = []
        for number, wire in self.wires.items():
            link = self.links[number] = ClusterLink(lambda _: None, self.reroute)
            link.connection_made(wire)  # type: ignore[arg-type]

    def reroute(self, host: str, port: int) -> Link | None:
        assert host == "h"
        return self.links.get(port)

    def send(self, word: str) -> None:
        self.links[1].send(f"{word};".encode(), lambda subject, reply, _: self.told.append((subject, reply)), word)

    async def answers(self, number: int, *replies: str) -> list[bytes]:
        """What a node says; then what both have been told by the end of the turn."""
        self.links[number].data_received("".join(f"{reply}\r\n" for reply in replies).encode())
        await asyncio.sleep(0)
        sent = self.wires[1].writes + self.wires[2].writes
        for wire in self.wires.values():
            wire.writes = []
        return sent


@pytest.fixture
async def two() -> Two:
    return Two()


async def test_moved_is_said_again_at_the_other_node(two: Two) -> None:
    two.send("settle")
    two.send("reserve")
    await asyncio.sleep(0)
    assert await two.answers(1, "-MOVED 7 h:2", "+OK") == [b"settle;reserve;", b"settle;"]
    assert two.told == [("reserve", b"OK")]
    await two.answers(2, "+DONE")
    assert two.told == [("reserve", b"OK"), ("settle", b"DONE")]
    assert two.links[2].oldest is None


async def test_ask_is_said_again_with_leave(two: Two) -> None:
    two.send("reserve")
    await asyncio.sleep(0)
    asking = b"*1\r\n$6\r\nASKING\r\n"
    assert await two.answers(1, "-ASK 7 h:2") == [b"reserve;", asking + b"reserve;"]
    await two.answers(2, "+OK", "+GRANT")
    assert two.told == [("reserve", b"GRANT")]


async def test_what_waits_keeps_its_order(two: Two) -> None:
    """The merge must wait; the settle that follows it would be welcome at the other node, and waits behind it."""
    two.send("merge")
    two.send("settle")
    await asyncio.sleep(0)
    await two.answers(1, "-TRYAGAIN keys are on their way", "-MOVED 7 h:2")
    await asyncio.sleep(2 * AGAIN_S)
    assert await two.answers(1, "-MOVED 7 h:2", "-MOVED 7 h:2") == [b"merge;settle;", b"merge;settle;"]
    await two.answers(2, "+A", "+B")
    assert two.told == [("merge", b"A"), ("settle", b"B")]


async def test_a_node_that_is_not_known_yet_is_waited_for_and_not_for_ever(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = two.links.pop(2)
    two.send("reserve")
    await asyncio.sleep(0)
    await two.answers(1, "-MOVED 7 h:2")
    assert two.told == []
    await asyncio.sleep(2 * AGAIN_S)
    two.links[2] = second
    assert await two.answers(1, "-MOVED 7 h:2") == [b"reserve;", b"reserve;"]
    await two.answers(2, "+GRANT")
    assert two.told == [("reserve", b"GRANT")]
    monkeypatch.setattr(cluster_link, "PATIENCE_S", 0.0)
    del two.links[2]
    two.send("renew")
    await asyncio.sleep(0)
    await two.answers(1, "-MOVED 7 h:2")
    await asyncio.sleep(2 * AGAIN_S)
    assert two.told[-1][0] == "renew"
    assert isinstance(two.told[-1][1], ReplyError)


async def test_two_nodes_that_name_each_other_end_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_link, "PATIENCE_S", 0.0)
    two.send("reserve")
    await asyncio.sleep(0)
    for hop in range(HOPS_MAX + 1):
        here, there = (1, 2) if hop % 2 == 0 else (2, 1)
        await two.answers(here, f"-MOVED 7 h:{there}")
    await asyncio.sleep(2 * AGAIN_S)
    [(subject, reply)] = two.told
    assert (subject, type(reply)) == ("reserve", ReplyError)


async def test_other_errors_and_a_lost_link_are_heard(two: Two) -> None:
    two.send("reserve")
    two.send("renew")
    two.send("settle")
    await asyncio.sleep(0)
    await two.answers(1, "-OOM full", "-TRYAGAIN keys are on their way")
    assert str(two.told[0][1]) == "OOM full"
    oldest = two.links[1].oldest
    assert oldest is not None
    assert oldest[1] == "settle"
    two.links[1].cut()
    assert two.told[1:] == [("settle", LOST), ("renew", LOST)]
    await asyncio.sleep(2 * AGAIN_S)
    assert len(two.told) == 3
