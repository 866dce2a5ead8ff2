"""SIP over TLS on real sockets: who is let in, whom we believe, and what half a handshake costs."""

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config.settings import TlsSettings
from gateway.config.values import Listen
from gateway.sip.events import Flow
from gateway.transport import streams as streams_module
from gateway.transport import transport as transport_module
from gateway.transport.handoff import LiveSlots, open_inbox, owner
from gateway.transport.sockets import open_socket
from gateway.transport.tls import Contexts
from gateway.transport.transport import Sockets, Transport
from tests.gateway.transport.authority import Authority
from tests.gateway.transport.test_streams import OK, OPTIONS, Ears, Side

pytestmark = pytest.mark.peer("openssl")

TLS_OPTIONS = OPTIONS.replace(b"SIP/2.0/TCP", b"SIP/2.0/TLS")
CUT = (ConnectionResetError, asyncio.IncompleteReadError, ssl.SSLError)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def settings(authority: Authority) -> TlsSettings:
    return authority.settings("gate", "DNS:gate.example.org", "IP:127.0.0.1", "IP:::1")


async def open_tls(settings: TlsSettings, host: str = "127.0.0.1", knows: bool = True) -> Side:
    sockets = Sockets(own_tls=[open_socket(Listen("tls", host, 0))])
    name = sockets.own_tls[0].getsockname()
    ears = Ears()
    transport = Transport(sockets, ears, lambda source: True, Contexts(settings), knows=lambda source: knows)
    await transport.open()
    return Side(ears, transport, name[0], name[1])


@pytest.fixture
async def side(settings: TlsSettings) -> AsyncIterator[Side]:
    opened = await open_tls(settings)
    yield opened
    await opened.transport.close()


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    return context


async def connect(side: Side, authority: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(side.host, side.port, ssl=trusting(authority))


async def until_open(side: Side, count: int) -> None:
    async with asyncio.timeout(5):
        while len(side.transport.streams) != count:
            await asyncio.sleep(0.005)


async def test_a_peer_is_heard_and_answered(side: Side, authority: Authority) -> None:
    reader, writer = await connect(side, authority)
    both = TLS_OPTIONS % (5061, b"one") + TLS_OPTIONS % (5061, b"two")
    for piece in (both[:9], both[9:300], both[300:]):
        writer.write(piece)
        await writer.drain()
    await side.ears.until(lambda: len(side.ears.messages) == 2)
    flow = side.ears.messages[0][1]
    assert (flow.transport, flow.host, flow.port) == ("tls", *writer.get_extra_info("sockname"))
    side.transport.send(flow, b"answer")
    assert await reader.readexactly(6) == b"answer"
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.close()
    await side.ears.until(lambda: side.ears.lost == [flow])


async def test_the_end_of_a_connection_is_said_and_not_cut(side: Side, authority: Authority) -> None:
    reader, writer = await connect(side, authority)
    writer.write(TLS_OPTIONS % (5061, b"x"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    await side.transport.close()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_gates_share_one_connection_both_ways(settings: TlsSettings, host: str) -> None:
    here, there = await open_tls(settings, host), await open_tls(settings, host)
    to = Flow("tls", there.host, there.port)
    for name in (b"one", b"two", b"three"):
        here.transport.send(to, TLS_OPTIONS % (here.port, name))
    await there.ears.until(lambda: len(there.ears.messages) == 3)
    assert len(here.transport.streams) == len(there.transport.streams) == 1
    there.transport.send(there.ears.messages[0][1], OK % here.port)
    await here.ears.until(lambda: len(here.ears.messages) == 1)
    assert here.ears.messages[0][1][:3] == to[:3]
    for opened in (here, there):
        await opened.transport.close()


async def test_a_peer_must_be_who_it_was_looked_for(side: Side, authority: Authority) -> None:
    other = await open_tls(authority.settings("other", "DNS:other.example.org"))
    to = Flow("tls", other.host, other.port)
    side.transport.send(to, b"secret")
    await side.ears.until(lambda: side.ears.failed == [to])
    assert side.transport.streams.failed_handshakes == 1
    assert other.ears.messages == []
    side.transport.expect({(other.host, other.port): "other.example.org"})
    side.transport.send(to, TLS_OPTIONS % (side.port, b"x"))
    await other.ears.until(lambda: len(other.ears.messages) == 1)
    await other.transport.close()


async def test_a_peer_that_speaks_no_tls_fails(side: Side) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        await reader.read()
        writer.close()

    plain = await asyncio.start_server(greet, "127.0.0.1", 0)
    to = Flow("tls", *plain.sockets[0].getsockname())
    side.transport.send(to, b"x")
    await side.ears.until(lambda: side.ears.failed == [to])
    await asyncio.sleep(0.05)
    plain.close()


async def test_a_peer_that_accepts_and_never_shakes_hands_fails_in_time(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "CONNECT_TIMEOUT_S", 0.1)
    with open_socket(Listen("tcp", "127.0.0.1", 0)) as deaf:
        to = Flow("tls", *deaf.getsockname())
        side.transport.send(to, b"x")
        await side.ears.until(lambda: side.ears.failed == [to])
    await until_open(side, 0)


async def test_what_is_no_tls_is_cut(side: Side) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    writer.write(OPTIONS % (5060, b"plain"))
    await asyncio.wait_for(reader.read(), 5)
    assert side.ears.messages == []
    assert side.transport.streams.failed_handshakes == 1
    writer.close()


async def test_a_peer_that_never_shakes_hands_is_cut(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await asyncio.open_connection(side.host, side.port)
    await until_open(side, 1)
    side.transport.streams._close_idle()
    assert len(side.transport.streams) == 1
    monkeypatch.setattr(streams_module, "UNFINISHED_S", -1.0)
    side.transport.streams._close_idle()
    with pytest.raises(CUT):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_half_open_connections_of_strangers_leave_room(
    settings: TlsSettings, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted from their first byte on, and not once they have shaken hands."""
    side = await open_tls(settings, knows=False)
    monkeypatch.setattr(streams_module, "CONNECTIONS_PER_STRANGER_MAX", 3)
    half_open = [await asyncio.open_connection(side.host, side.port) for _ in range(4)]
    with pytest.raises(CUT):
        await asyncio.wait_for(half_open[3][0].readexactly(1), 5)
    assert len(side.transport.streams) == 3
    monkeypatch.setattr(streams_module, "CONNECTIONS_PER_STRANGER_MAX", 99)
    monkeypatch.setattr(streams_module, "STRANGERS_MAX", 3)
    with pytest.raises(CUT):
        await connect(side, authority)
    for _, writer in half_open:
        writer.close()
    await until_open(side, 0)
    _, let_in = await connect(side, authority)
    let_in.close()
    await side.transport.close()


async def test_a_proven_peer_may_have_its_connection_used_the_other_way(
    side: Side, settings: TlsSettings, authority: Authority, tmp_path: Path
) -> None:
    """RFC 5923: the alias holds for its own port, and only where it showed a certificate."""
    asks = await open_tls(settings.model_copy(update={"client_certificates": "optional"}))
    aliased = TLS_OPTIONS.replace(b";branch", b";alias;branch")
    peer = trusting(authority)
    peer.load_cert_chain(settings.certificate, settings.key)
    reader, writer = await asyncio.open_connection(asks.host, asks.port, ssl=peer)
    writer.write(aliased % (5999, b"x"))
    await asks.ears.until(lambda: len(asks.ears.messages) == 1)
    asks.transport.send(Flow("tls", "127.0.0.1", 5999), b"the other way")
    assert await asyncio.wait_for(reader.readexactly(13), 5) == b"the other way"
    _, unproven = await connect(asks, authority)
    unproven.write(aliased % (5998, b"y"))
    await asks.ears.until(lambda: len(asks.ears.messages) == 2)
    asks.transport.send(Flow("tls", "127.0.0.1", 5998), b"nobody listens there")
    await asks.ears.until(lambda: asks.ears.failed == [Flow("tls", "127.0.0.1", 5998)])
    for each in (writer, unproven):
        each.close()
    await asks.transport.close()


async def proven(
    side: Side, settings: TlsSettings, authority: Authority
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of a peer that shows the certificate of these settings."""
    context = trusting(authority)
    context.load_cert_chain(settings.certificate, settings.key)
    return await asyncio.open_connection(side.host, side.port, ssl=context)


async def test_a_connection_carries_only_requests_to_whom_its_certificate_names(
    settings: TlsSettings, authority: Authority
) -> None:
    """RFC 5923 8: an authority signs for many; none of them gets what is for another at the same address."""
    asks = await open_tls(settings.model_copy(update={"client_certificates": "optional"}))
    other = authority.settings("alias", "DNS:other.example.org")
    aliased = TLS_OPTIONS.replace(b";branch", b";alias;branch")
    asks.transport.expect({("127.0.0.1", 5997): "carrier.example.org", ("127.0.0.1", 5996): "other.example.org"})
    peers = [await proven(asks, other, authority) for _ in range(3)]
    for (_, writer), port in zip(peers, (5998, 5997, 5996), strict=True):
        writer.write(aliased % (port, b"x"))
    await asks.ears.until(lambda: len(asks.ears.messages) == 3)
    for port in (5998, 5997, 5996):
        asks.transport.send(Flow("tls", "127.0.0.1", port), b"for one")
    assert await asyncio.wait_for(peers[2][0].readexactly(7), 5) == b"for one"
    await asks.ears.until(lambda: {flow.port for flow in asks.ears.failed} == {5998, 5997})
    for _, writer in peers:
        writer.close()
    await asks.transport.close()


async def test_an_alias_is_looked_for_once_and_forgotten_with_its_connection(
    settings: TlsSettings, authority: Authority
) -> None:
    asks = await open_tls(settings.model_copy(update={"client_certificates": "optional"}))
    _, writer = await proven(asks, settings, authority)
    aliased = TLS_OPTIONS.replace(b";branch", b";alias;branch")
    for port in range(6000, 6050):
        writer.write(aliased % (port, b"x"))
        await writer.drain()
        await asks.ears.until(lambda wanted=port - 5999: len(asks.ears.messages) == wanted)  # type: ignore[misc]
    streams = asks.transport.streams
    assert {port for _, _, port in streams._by_peer} == {6000, writer.get_extra_info("sockname")[1]}
    writer.close()
    await until_open(asks, 0)
    assert streams._by_peer == {}
    await asks.transport.close()


async def test_an_alias_takes_the_place_of_a_connection_that_is_dead(
    settings: TlsSettings, authority: Authority
) -> None:
    asks = await open_tls(settings.model_copy(update={"client_certificates": "optional"}))
    writers = [(await proven(asks, settings, authority))[1] for _ in range(2)]
    await until_open(asks, 2)
    streams = asks.transport.streams
    first, second = streams._by_local.values()
    streams.alias(first, 5999)
    streams.alias(second, 5999)
    assert streams._by_peer["tls", "127.0.0.1", 5999] is first
    first.close(abort=True)
    streams.alias(second, 5999)
    assert streams._by_peer["tls", "127.0.0.1", 5999] is second
    await until_open(asks, 1)
    assert streams._by_peer["tls", "127.0.0.1", 5999] is second
    for each in writers:
        each.close()
    await asks.transport.close()


@pytest.mark.parametrize("knows", [True, False])
async def test_a_known_peer_may_be_silent_once_it_has_shaken_hands(
    settings: TlsSettings, authority: Authority, knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = await open_tls(settings, knows=knows)
    _, writer = await connect(side, authority)
    await until_open(side, 1)
    (connection,) = side.transport.streams._by_local.values()
    async with asyncio.timeout(5):
        await connection.ready
    monkeypatch.setattr(streams_module, "UNFINISHED_S", -1.0)
    side.transport.streams._close_idle()
    assert connection.is_open is knows
    writer.close()
    await side.transport.close()


def test_names_to_prove_outlive_the_dns_records_that_led_there(
    settings: TlsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(Sockets(), Ears(), lambda source: True, Contexts(settings))
    transport.expect({("192.0.2.1", 5061): "carrier.example.org"})
    transport.expect({("192.0.2.2", 5061): "carrier.example.org"})
    assert transport._name_of("192.0.2.1", 5061) == transport._name_of("192.0.2.2", 5061) == "carrier.example.org"
    transport.expect({("192.0.2.1", 5061): "other.example.org"})
    assert transport._name_of("192.0.2.1", 5061) == "other.example.org"
    monkeypatch.setattr(transport_module, "ROUTES_MAX", 8)
    for host in range(10, 40):
        transport.expect({(f"192.0.2.{host}", 5061): "moves.example.org"})
    assert len(transport._expected) == 8
    assert transport._name_of("192.0.2.39", 5061) == "moves.example.org"
    assert transport._name_of("192.0.2.1", 5061) == "192.0.2.1"


async def test_a_certificate_that_changes_is_shown_without_a_restart(authority: Authority) -> None:
    side = await open_tls(authority.settings("changes", "DNS:old.example.org"))
    context = trusting(authority)
    _, first = await asyncio.open_connection(side.host, side.port, ssl=context, server_hostname="old.example.org")
    authority.sign("changes", "DNS:new.example.org")
    side.transport.streams._close_idle()
    _, second = await asyncio.open_connection(side.host, side.port, ssl=context, server_hostname="new.example.org")
    first.write(TLS_OPTIONS % (5061, b"still"))
    await side.ears.until(lambda: len(side.ears.messages) == 1)
    for writer in (first, second):
        writer.close()
    await side.transport.close()


async def test_two_workers_answer_on_the_connection_that_one_of_them_accepted(
    settings: TlsSettings, authority: Authority
) -> None:
    with tempfile.TemporaryFile() as page:
        os.truncate(page.fileno(), 4096)
        live = LiveSlots(page.fileno(), 2)
        live.set(0, True)
        live.set(1, True)
        ends = [open_inbox() for _ in range(2)]
        listener = open_socket(Listen("tls", "127.0.0.1", 0))
        heard = [Ears(), Ears()]
        transports = []
        for slot in (0, 1):
            sockets = Sockets(
                slot=slot,
                shared_tls=[listener] if slot == 0 else [],
                live=live,
                inbox=ends[slot][0],
                outboxes={1 - slot: ends[1 - slot][1]},
            )
            transports.append(Transport(sockets, heard[slot], lambda source: True, Contexts(settings)))
            await transports[slot].open()
        name = next(b"%d" % number for number in range(99) if owner(b"%d" % number, [0, 1]) == 1)
        reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=trusting(authority))
        writer.write(TLS_OPTIONS % (5061, name))
        await heard[1].until(lambda: len(heard[1].messages) == 1)
        flow = heard[1].messages[0][1]
        assert flow.transport == "tls"
        transports[1].send(flow, b"SIP/2.0 200 OK")
        assert await asyncio.wait_for(reader.readexactly(14), 5) == b"SIP/2.0 200 OK"
        writer.close()
        for transport in transports:
            await transport.close()
        live.close()
