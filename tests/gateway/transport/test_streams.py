import asyncio
import contextlib
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from gateway.config.values import Listen
from gateway.sip.events import Flow
from gateway.transport import streams as streams_module
from gateway.transport.handoff import LiveSlots, open_inbox, owner
from gateway.transport.sockets import open_socket
from gateway.transport.strangers import StrangerLimits, Strangers
from gateway.transport.streams import holder_of
from gateway.transport.tcp import CONNECTIONS_PER_PEER_MAX, UNSENT_BYTES_MAX
from gateway.transport.transport import Sockets, Transport

OPTIONS = (
    b"OPTIONS sip:gate SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:%d;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:gate>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
OK = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:%d;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:gate>;tag=2\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Ears:
    """What a transport told, and a way to wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, Flow]] = []
        self.lost: list[Flow] = []
        self.failed: list[Flow] = []
        self.told = asyncio.Event()

    def hear(self, data: bytes, flow: Flow) -> None:
        self.messages.append((data, flow))

    def end_turn(self) -> None:
        self.told.set()

    def connection_lost(self, flow: Flow) -> None:
        self.lost.append(flow)
        self.told.set()

    def send_failed(self, flow: Flow) -> None:
        self.failed.append(flow)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self.told.clear()
                await self.told.wait()


@dataclass
class Side:
    ears: Ears
    transport: Transport
    host: str
    port: int


async def open_side(
    sockets: Sockets | None = None, host: str = "127.0.0.1", allow: bool = True, strangers: Strangers | None = None
) -> Side:
    sockets = sockets or Sockets(own_tcp=[open_socket(Listen("tcp", host, 0))])
    name = (sockets.own_tcp or sockets.shared_tcp)[0].getsockname()
    ears = Ears()
    transport = Transport(sockets, ears, lambda source: allow, strangers=strangers)
    await transport.open()
    return Side(ears, transport, name[0], name[1])


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    opened = await open_side()
    yield opened
    await opened.transport.close()


async def test_messages_in_any_pieces_are_heard_whole_and_answered_on_their_connection(side: Side) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    both = OPTIONS % (5060, b"one") + OPTIONS % (5060, b"two")
    for piece in (both[:7], both[7:200], both[200:]):
        writer.write(piece)
        await writer.drain()
    await side.ears.until(lambda: len(side.ears.messages) == 2)
    (first, flow), (second, _) = side.ears.messages
    assert (first, second) == (OPTIONS % (5060, b"one"), OPTIONS % (5060, b"two"))
    assert (flow.transport, flow.host, flow.port) == ("tcp", *writer.get_extra_info("sockname"))
    side.transport.send(flow, b"answer")
    assert await reader.readexactly(6) == b"answer"
    writer.close()
    await side.ears.until(lambda: side.ears.lost == [flow])


async def test_requests_share_a_connection_to_their_peer() -> None:
    here, there = await open_side(), await open_side()
    to = Flow("tcp", there.host, there.port)
    for name in (b"one", b"two", b"three"):
        here.transport.send(to, OPTIONS % (here.port, name))
    await there.ears.until(lambda: len(there.ears.messages) == 3)
    assert len(here.transport.streams) == len(there.transport.streams) == 1
    # the answer comes back on it, and so does a request the other way
    back = there.ears.messages[0][1]
    there.transport.send(back, OK % here.port)
    await here.ears.until(lambda: len(here.ears.messages) == 1)
    assert here.ears.messages[0][1][:3] == to[:3]
    for opened in (here, there):
        await opened.transport.close()


async def test_an_answer_without_its_connection_goes_to_the_port_of_its_via(side: Side) -> None:
    _, writer = await asyncio.open_connection(side.host, side.port)
    peer = await open_side()
    writer.write(OPTIONS % (peer.port, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    flow = side.ears.messages[0][1]
    writer.close()
    await side.ears.until(lambda: bool(side.ears.lost))
    side.transport.send(flow, OK % peer.port)
    await peer.ears.until(lambda: [data for data, _ in peer.ears.messages] == [OK % peer.port])
    await peer.transport.close()


async def test_an_answer_for_a_connection_before_a_restart_does_not_go_to_a_stranger(side: Side) -> None:
    """A restarted worker counts its connections anew: the number is another peer's by now."""
    reader, writer = await asyncio.open_connection(side.host, side.port)
    peer = await open_side()
    writer.write(OPTIONS % (5060, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    before = side.ears.messages[0][1]._replace(port=peer.port)
    side.transport.send(before, OK % peer.port)
    await peer.ears.until(lambda: [data for data, _ in peer.ears.messages] == [OK % peer.port])
    writer.write(OPTIONS % (5060, b"y"))
    await side.ears.until(lambda: len(side.ears.messages) == 2)
    side.transport.send(side.ears.messages[1][1], b"mine")
    assert await reader.readexactly(4) == b"mine"
    writer.close()
    await peer.transport.close()


async def test_a_refused_connection_is_told_for_the_flow_that_was_used(side: Side) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = Flow("tcp", *gone.getsockname())
    side.transport.send(nobody, b"anyone?")
    await side.ears.until(lambda: side.ears.failed == [nobody])


async def test_a_connection_that_breaks_is_told_for_the_requests_sent_on_it(side: Side) -> None:
    peer = await open_side()
    to = Flow("tcp", peer.host, peer.port)
    side.transport.send(to, OPTIONS % (side.port, b"x"))
    await peer.ears.until(lambda: len(peer.ears.messages) == 1)
    await peer.transport.close()
    await side.ears.until(lambda: side.ears.failed == [to])


async def test_what_cannot_be_framed_is_heard_once_and_the_connection_closed(side: Side) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    bad = (OPTIONS % (5060, b"bad")).replace(b"Content-Length: 0", b"Content-Length: -1")
    writer.write(OPTIONS % (5060, b"good") + bad)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert [b"good" in data for data, _ in side.ears.messages] == [True, False]
    writer.close()


async def test_a_ping_gets_its_pong(side: Side) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    writer.write(b"\r\n\r\n")
    assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
    assert side.ears.messages == []
    writer.close()


async def test_a_source_that_may_not_connect_is_closed_at_once() -> None:
    side = await open_side(allow=False)
    reader, writer = await asyncio.open_connection(side.host, side.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert side.transport.streams.refused_connections == 1
    writer.close()
    await side.transport.close()


async def test_one_peer_cannot_take_all_connections(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "CONNECTIONS_PER_PEER_MAX", 2)
    assert CONNECTIONS_PER_PEER_MAX > 2
    opened = [await asyncio.open_connection(side.host, side.port) for _ in range(3)]
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(opened[2][0].readexactly(1), 5)
    assert len(side.transport.streams) == 2
    for _, writer in opened:
        writer.close()


async def test_a_peer_that_does_not_read_is_cut(side: Side) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (side.host, side.port))
    await asyncio.get_running_loop().sock_sendall(sock, OPTIONS % (5060, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    flow = side.ears.messages[0][1]
    for _ in range(200):
        if side.ears.lost:
            break
        side.transport.send(flow, b"x" * (UNSENT_BYTES_MAX // 4))
        await asyncio.sleep(0)
    await side.ears.until(lambda: side.ears.lost == [flow])
    sock.close()


async def test_a_banned_stranger_is_cut_and_let_in_no_more() -> None:
    strangers = Strangers(lambda host: False, StrangerLimits(per_second=2, offences=3), time.monotonic)
    side = await open_side(strangers=strangers)
    reader, writer = await asyncio.open_connection(side.host, side.port)
    for number in range(6):
        writer.write(OPTIONS % (5060, b"%d" % number))
    await side.ears.until(lambda: len(side.ears.lost) == 1)
    assert len(side.ears.messages) == 2
    assert strangers.bans == 1
    writer.close()
    reader, writer = await asyncio.open_connection(side.host, side.port)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert len(side.transport.streams) == 0
    writer.close()
    await side.transport.close()


async def test_where_the_gate_sends_requests_nobody_is_a_stranger() -> None:
    strangers = Strangers(lambda host: False, StrangerLimits(per_second=1), time.monotonic)
    here, there = await open_side(strangers=strangers), await open_side()
    here.transport.send(Flow("tcp", there.host, there.port), OPTIONS % (here.port, b"x"))
    await there.ears.until(lambda: len(there.ears.messages) == 1)
    for _ in range(5):
        there.transport.send(there.ears.messages[0][1], OK % here.port)
    await here.ears.until(lambda: len(here.ears.messages) == 5)
    for opened in (here, there):
        await opened.transport.close()


async def test_answers_to_strangers_push_no_way_out() -> None:
    strangers = Strangers(lambda host: False, StrangerLimits(), time.monotonic)
    udp, tcp = (open_socket(Listen(kind, "127.0.0.1", 0)) for kind in ("udp", "tcp"))
    side = await open_side(Sockets(own_udp=[udp], own_tcp=[tcp]), strangers=strangers)
    side.transport.send(Flow("udp", "127.0.0.1", 9, 0), b"OPTIONS")
    for number in range(100):
        side.transport.send(Flow("udp", f"127.0.44.{number}", 9, 1), b"SIP/2.0 403 Forbidden")
    assert list(side.transport._routes) == [Flow("udp", "127.0.0.1", 9, 0)]
    await side.transport.close()


@pytest.mark.parametrize("knows", [True, False])
async def test_only_strangers_have_to_speak_soon(knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that connect long before their first call, and do not ping, are as old as SIP over TCP."""
    sockets = Sockets(own_tcp=[open_socket(Listen("tcp", "127.0.0.1", 0))])
    transport = Transport(sockets, Ears(), lambda source: True, knows=lambda source: knows)
    await transport.open()
    _, writer = await asyncio.open_connection(*sockets.own_tcp[0].getsockname())
    async with asyncio.timeout(5):
        while not (connections := list(transport.streams._by_local.values())):
            await asyncio.sleep(0)
    monkeypatch.setattr(streams_module, "UNFINISHED_S", -1.0)
    transport.streams._close_idle()
    assert connections[0].is_open is knows
    writer.close()
    await transport.close()


async def test_only_what_strangers_open_is_counted_and_never_twice() -> None:
    known: set[str] = set()
    sockets = Sockets(own_tcp=[open_socket(Listen("tcp", "127.0.0.1", 0))])
    ears = Ears()
    transport = Transport(sockets, ears, lambda source: True, knows=known.__contains__)
    await transport.open()
    streams, there = transport.streams, await open_side()
    transport.send(Flow("tcp", there.host, there.port), OPTIONS % (5060, b"ours"))
    await there.ears.until(lambda: len(there.ears.messages) == 1)
    assert (len(streams), streams._strangers, streams._per_host["127.0.0.1"]) == (1, 0, 0)
    _, writer = await asyncio.open_connection(*sockets.own_tcp[0].getsockname())
    async with asyncio.timeout(5):
        while len(streams) != 2:
            await asyncio.sleep(0.005)
        assert (streams._strangers, streams._per_host["127.0.0.1"]) == (1, 1)
        known.add("127.0.0.1")  # it registers
        writer.close()
        while len(streams) != 1:
            await asyncio.sleep(0.005)
    assert (streams._strangers, streams._per_host["127.0.0.1"]) == (0, 0)
    await transport.close()
    await there.transport.close()


async def test_idle_and_unfinished_connections_are_closed(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    writer.write(b"OPTIONS sip:half")
    await side.ears.until(lambda: True)
    while not (connections := list(side.transport.streams._by_local.values())) or not connections[0].unfinished_since:
        await asyncio.sleep(0.005)
    side.transport.streams._close_idle()
    assert len(side.transport.streams) == 1
    monkeypatch.setattr(streams_module, "UNFINISHED_S", -1.0)
    side.transport.streams._close_idle()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_ipv6_streams_work() -> None:
    side = await open_side(host="::1")
    peer = await open_side(host="::1")
    side.transport.send(Flow("tcp", "::1", peer.port), OPTIONS % (side.port, b"six"))
    await peer.ears.until(lambda: len(peer.ears.messages) == 1)
    assert peer.ears.messages[0][1].host == "::1"
    for opened in (side, peer):
        await opened.transport.close()


async def test_a_host_name_is_looked_up_once_and_used(side: Side) -> None:
    peer = await open_side()
    to = Flow("tcp", "localhost", peer.port)
    side.transport.send(to, OPTIONS % (side.port, b"x"))
    side.transport.send(to, OPTIONS % (side.port, b"y"))
    await peer.ears.until(lambda: len(peer.ears.messages) == 2)
    missing = Flow("udp", "no-such-host.invalid", 5060)
    side.transport.send(missing, b"x")
    await side.ears.until(lambda: side.ears.failed == [missing])
    await peer.transport.close()


@pytest.mark.parametrize(
    "flow", [Flow("udp", "::1", 5060), Flow("tcp", "127.0.0.1", 0), Flow("udp", "127.0.0.1", 70000)]
)
async def test_what_no_socket_can_reach_fails(side: Side, flow: Flow) -> None:
    side.transport.send(flow, b"x")
    await side.ears.until(lambda: side.ears.failed == [flow])


async def test_two_workers_answer_on_the_connection_that_one_of_them_accepted() -> None:
    with tempfile.TemporaryFile() as page:
        os.truncate(page.fileno(), 4096)
        live = LiveSlots(page.fileno(), 2)
        live.set(0, True)
        live.set(1, True)
        ends = [open_inbox() for _ in range(2)]
        listener = open_socket(Listen("tcp", "127.0.0.1", 0))
        sides = [
            await open_side(
                Sockets(
                    slot=slot,
                    shared_tcp=[listener] if slot == 0 else [],
                    own_tcp=[open_socket(Listen("tcp", "127.0.0.1", 0))],
                    live=live,
                    inbox=ends[slot][0],
                    outboxes={1 - slot: ends[1 - slot][1]},
                )
            )
            for slot in (0, 1)
        ]
        name = next(b"%d" % number for number in range(99) if owner(b"%d" % number, [0, 1]) == 1)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(OPTIONS % (5060, name))
        await sides[1].ears.until(lambda: len(sides[1].ears.messages) == 1)
        flow = sides[1].ears.messages[0][1]
        assert holder_of(flow.local) == 0
        assert sides[0].ears.messages == []
        sides[1].transport.send(flow, b"SIP/2.0 200 OK")
        assert await asyncio.wait_for(reader.readexactly(14), 5) == b"SIP/2.0 200 OK"
        writer.close()
        for opened in sides:
            await opened.transport.close()
        live.close()


async def test_a_request_inside_a_dialog_goes_over_the_connection_that_the_dialog_came_by(side: Side) -> None:
    """To the port of the peer's Contact, where nobody listens: it is behind a firewall."""
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        contact = gone.getsockname()[1]
    reader, writer = await asyncio.open_connection(side.host, side.port)
    writer.write(OPTIONS % (contact, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    came_by = side.ears.messages[0][1]
    hop = Flow("tcp", "127.0.0.1", contact, came_by.local)
    side.transport.send(hop, b"BYE sip:x SIP/2.0")
    assert await asyncio.wait_for(reader.readexactly(17), 5) == b"BYE sip:x SIP/2.0"
    writer.close()
    # what was sent on it has not arrived, as far as anybody knows
    await side.ears.until(lambda: side.ears.failed == [hop])
    side.transport.send(hop, b"BYE sip:x SIP/2.0")
    await side.ears.until(lambda: side.ears.failed == [hop, hop])


async def test_without_its_connection_it_goes_to_the_contact(side: Side) -> None:
    peer = await open_side()
    _, writer = await asyncio.open_connection(side.host, side.port)
    writer.write(OPTIONS % (5060, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    came_by = side.ears.messages[0][1]
    writer.close()
    await side.ears.until(lambda: bool(side.ears.lost))
    side.transport.send(came_by._replace(port=peer.port), OPTIONS % (side.port, b"in"))
    await peer.ears.until(lambda: len(peer.ears.messages) == 1)
    await peer.transport.close()


async def test_a_ping_between_messages_gets_its_pong_and_a_busy_connection_stays(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message has its own time: one that is always in the middle of the next is not unfinished for that."""
    reader, writer = await asyncio.open_connection(side.host, side.port)
    message = OPTIONS % (5060, b"x")
    writer.write(b"\r\n\r\n" + message + b"\r\n")
    assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
    writer.write(b"\r\n" + message + message[:20])
    assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
    await side.ears.until(lambda: len(side.ears.messages) == 2)
    (connection,) = side.transport.streams._by_local.values()
    began_s = connection.unfinished_since
    assert began_s is not None
    writer.write(message[20:] + message[:20])
    await side.ears.until(lambda: len(side.ears.messages) == 3)
    assert connection.unfinished_since is not None
    assert connection.unfinished_since > began_s
    writer.close()
