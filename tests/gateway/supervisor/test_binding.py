import socket
from pathlib import Path

import pytest

from gateway.config.settings import Settings
from gateway.config.values import HostPort, Listen
from gateway.supervisor.binding import bind
from gateway.transport.sockets import ListenError
from gateway.worker.plan import Plan
from tests.gateway.transport.authority import Authority


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def settings(tmp_path: Path, workers: int = 1) -> Settings:
    return Settings.model_validate(
        {
            "node": {"data_dir": tmp_path},
            "sip": {
                "listen": (Listen("udp", "127.0.0.1", 0), Listen("tcp", "127.0.0.1", 0)),
                "workers": workers,
                "worker_ports": (free_port(), free_port()),
            },
            "admin": {"listen": HostPort("127.0.0.1", free_port())},
        }
    )


def plan(chosen: Settings) -> Plan:
    return Plan(role="worker", settings=chosen, redis_url="", ledger_url="", instance="x")


def test_one_worker_owns_the_listen_addresses(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    bound = bind(chosen, sip=True, admin=True)
    given = bound.give_to(0, plan(chosen))
    assert (len(given.own_udp), len(given.own_tcp)) == (1, 1)
    assert given.shared_udp == given.shared_tcp == ()
    assert given.inbox is None
    assert given.live is None
    assert bound.admin is not None
    bound.close()


def test_more_workers_share_the_listen_addresses_and_have_a_port_each(tmp_path: Path) -> None:
    chosen = settings(tmp_path, workers=2)
    bound = bind(chosen, sip=True, admin=False)
    first, second = (bound.give_to(slot, plan(chosen)) for slot in (0, 1))
    assert first.shared_udp == second.shared_udp
    assert len(first.shared_udp) == len(first.shared_tcp) == 1
    ports = [sock.getsockname()[1] for sock in bound.own[0]]
    assert ports == [chosen.sip.worker_ports[0]] * 2
    assert set(first.outboxes) == {1}
    assert second.outboxes == {0: bound.inboxes[0][1].fileno()}
    assert len(set(first.descriptors)) == len(first.descriptors)
    bound.close()


def test_a_taken_port_leaves_nothing_open(tmp_path: Path) -> None:
    chosen = settings(tmp_path, workers=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", chosen.sip.worker_ports[1]))
        with pytest.raises(ListenError, match=str(chosen.sip.worker_ports[1])):
            bind(chosen, sip=True, admin=True)
    bind(chosen, sip=True, admin=True).close()


def with_tls(chosen: Settings, folder: Path, **more: object) -> Settings:
    """The same settings with an address for TLS too; ``more`` are further keys of ``[sip]``."""
    tls = Authority(folder / "authority").settings("gate", "IP:127.0.0.1")
    listen = (*chosen.sip.listen, Listen("tls", "127.0.0.1", 0))
    return chosen.model_copy(
        update={"sip": chosen.sip.model_copy(update={"listen": listen, "tls": tls, **more})},
    )


@pytest.mark.peer("openssl")
def test_addresses_of_tls_are_told_apart_from_those_of_tcp(tmp_path: Path) -> None:
    chosen = with_tls(settings(tmp_path), tmp_path)
    bound = bind(chosen, sip=True, admin=False)
    given = bound.give_to(0, plan(chosen))
    assert (len(given.own_udp), len(given.own_tcp), len(given.own_tls)) == (1, 1, 1)
    assert set(given.own_tls) == bound.tls
    assert set(given.own_tls) < set(given.descriptors)
    bound.close()


@pytest.mark.peer("openssl")
def test_workers_have_a_port_for_tls_each_from_the_end_of_the_range(tmp_path: Path) -> None:
    ports = tuple(free_port() for _ in range(4))
    chosen = with_tls(settings(tmp_path, workers=2), tmp_path, worker_ports=ports)
    bound = bind(chosen, sip=True, admin=False)
    first, second = (bound.give_to(slot, plan(chosen)) for slot in (0, 1))
    assert first.shared_tls == second.shared_tls
    assert len(first.shared_tls) == 1
    found = [[sock.getsockname()[1] for sock in bound.own[slot]] for slot in (0, 1)]
    assert found == [[ports[0], ports[0], ports[3]], [ports[1], ports[1], ports[2]]]
    bound.close()


@pytest.mark.peer("openssl")
def test_a_certificate_that_cannot_be_shown_is_said_at_once(tmp_path: Path) -> None:
    chosen = with_tls(settings(tmp_path), tmp_path)
    assert chosen.sip.tls is not None
    chosen.sip.tls.key.write_text("no key")
    with pytest.raises(ListenError, match=r"cannot show a certificate: .*gate\.pem"):
        bind(chosen, sip=True, admin=False)
