import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import pytest
import uvloop

from gateway.config.values import Listen
from gateway.sip.events import Flow
from gateway.transport.sockets import open_socket
from gateway.transport.strangers import StrangerLimits, Strangers
from gateway.transport.udp import DATAGRAMS_PER_TURN, PEERS_REMEMBERED, QUEUED_DATAGRAMS_MAX, UdpPort

BURST: Final = 20 * DATAGRAMS_PER_TURN
"""Datagrams that wait at once: enough that a port has learned to ask for many."""


class Heard:
    """What one port told, and an event for each time it did."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, Flow]] = []
        self.batches: list[int] = []
        self.failed: list[tuple[str, int]] = []
        self.told = asyncio.Event()

    def hear(self, data: bytes, flow: Flow) -> None:
        self.messages.append((data, flow))

    def end_turn(self) -> None:
        self.batches.append(len(self.messages))
        self.told.set()

    def fail(self, host: str, port: int) -> None:
        self.failed.append((host, port))
        self.told.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self.told.clear()
                await self.told.wait()


def opened(heard: Heard, host: str = "127.0.0.1") -> UdpPort:
    port = UdpPort(open_socket(Listen("udp", host, 0)), 7, heard.hear, heard.end_turn, heard.fail)
    port.open(asyncio.get_running_loop())
    return port


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


async def test_datagrams_are_told_with_their_flow_and_answered(peer: socket.socket) -> None:
    heard = Heard()
    port = opened(heard)
    peer.sendto(b"one", port.sock.getsockname())
    await heard.until(lambda: bool(heard.messages))
    host, number = peer.getsockname()
    assert heard.messages == [(b"one", Flow("udp", host, number, 7))]
    port.send(port.address_of(host, number), b"answer")
    assert peer.recv(100) == b"answer"
    port.close()


async def test_a_burst_is_told_in_bounded_batches(peer: socket.socket) -> None:
    heard = Heard()
    port = opened(heard)
    for number in range(BURST):
        peer.sendto(b"%d" % number, port.sock.getsockname())
    await heard.until(lambda: len(heard.messages) == BURST)
    sizes = [after - before for before, after in pairwise([0, *heard.batches])]
    assert max(sizes) == DATAGRAMS_PER_TURN
    assert [data for data, _ in heard.messages] == [b"%d" % number for number in range(BURST)]
    port.close()


async def test_an_empty_datagram_is_heard_as_one(peer: socket.socket) -> None:
    heard = Heard()
    port = opened(heard)
    peer.sendto(b"", port.sock.getsockname())
    peer.sendto(b"next", port.sock.getsockname())
    await heard.until(lambda: len(heard.messages) == 2)
    port.close()


async def test_ipv6_works() -> None:
    heard = Heard()
    port = opened(heard, "::1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(5)
        peer.sendto(b"six", port.sock.getsockname())
        await heard.until(lambda: bool(heard.messages))
        flow = heard.messages[0][1]
        assert (flow.host, flow.port) == peer.getsockname()[:2]
        port.send(port.address_of(flow.host, flow.port), b"answer")
        assert peer.recv(100) == b"answer"
    port.close()


def test_an_address_of_the_other_family_is_refused() -> None:
    for host, other in (("127.0.0.1", "::1"), ("::1", "127.0.0.1")):
        port = UdpPort(open_socket(Listen("udp", host, 0)), 1, lambda *_: None, lambda: None, lambda *_: None)
        with pytest.raises(OSError, match=r".*"):
            port.address_of(other, 5060)
        port.close()


async def icmp_is_told_and_hearing_goes_on() -> None:
    heard = Heard()
    port = opened(heard)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    for round_ in (1, 2):
        port.send(nobody, b"anyone there?")
        await heard.until(lambda round_=round_: len(heard.failed) == round_)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"still here", port.sock.getsockname())
        await heard.until(lambda round_=round_: len(heard.messages) == round_)
    assert heard.failed == [nobody, nobody]
    port.close()


async def test_icmp_errors_are_told_and_hearing_goes_on() -> None:
    await icmp_is_told_and_hearing_goes_on()


def test_icmp_errors_do_not_deafen_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(icmp_is_told_and_hearing_goes_on())


async def test_an_error_about_another_peer_does_not_lose_a_datagram(peer: socket.socket) -> None:
    heard = Heard()
    port = opened(heard)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    port.send(nobody, b"x")
    # the loop has not run: the pending error is reported to this send
    port.send(peer.getsockname(), b"whole")
    assert peer.recv(100) == b"whole"
    assert heard.failed == [nobody]
    port.close()


class FullSocket:
    """A socket whose kernel buffer is full until it is told otherwise."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, peer: Any) -> int:
        if self.full:
            raise BlockingIOError(errno.EAGAIN, "full")
        return self._sock.sendto(data, peer)


async def test_a_full_kernel_buffer_queues_in_order_and_bounded(peer: socket.socket) -> None:
    heard = Heard()
    port = opened(heard)
    full = FullSocket(port.sock)
    port.sock = full  # type: ignore[assignment]
    for number in range(QUEUED_DATAGRAMS_MAX + 3):
        port.send(peer.getsockname(), b"%d" % number)
    assert port.dropped == 3
    full.full = False
    got = [await asyncio.to_thread(peer.recv, 100) for _ in range(20)]
    assert got == [b"%d" % number for number in range(20)]
    port.send(peer.getsockname(), b"after")
    port.close()


async def test_a_flood_of_forged_sources_costs_no_memory() -> None:
    heard = Heard()
    port = opened(heard)
    for number in range(PEERS_REMEMBERED + 5):
        port._meet(("10.0.0.1", number), b"")
    assert len(port._flows) <= PEERS_REMEMBERED
    port.close()


async def test_strangers_are_judged_each_time_and_never_remembered(peer: socket.socket) -> None:
    heard, named = Heard(), {"127.0.0.1"}
    strangers = Strangers(lambda host: host in named, StrangerLimits(per_second=2), asyncio.get_running_loop().time)
    port = UdpPort(open_socket(Listen("udp", "127.0.0.1", 0)), 7, heard.hear, heard.end_turn, heard.fail, strangers)
    port.open(asyncio.get_running_loop())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.44.1", 0))
        for number in range(10):
            stranger.sendto(b"OPTIONS sip:%d SIP/2.0" % number, port.sock.getsockname())
        peer.sendto(b"known", port.sock.getsockname())
        await heard.until(lambda: any(data == b"known" for data, _ in heard.messages))
        assert [flow.host for _, flow in heard.messages] == ["127.0.44.1", "127.0.44.1", "127.0.0.1"]
        assert list(port._flows) == [peer.getsockname()]
        named.clear()
        port.forget_peers()
        for _ in range(10):
            peer.sendto(b"garbage", port.sock.getsockname())
        await heard.until(lambda: strangers.dropped["rate"] + strangers.dropped["garbage"] >= 18)
        assert len(heard.messages) == 3
    port.close()


async def test_a_send_the_kernel_refuses_is_told() -> None:
    heard = Heard()
    port = opened(heard)
    port.send(("127.0.0.1", 9), b"x" * 70_000)
    assert heard.failed == [("127.0.0.1", 9)]
    port.close()
