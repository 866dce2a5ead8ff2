import socket

import pytest

from gateway.config.values import Listen
from gateway.transport.sockets import ListenError, open_socket


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_opens_both_transports_on_both_families(transport: str, host: str) -> None:
    with open_socket(Listen(transport, host, 0)) as sock:  # type: ignore[arg-type]
        assert sock.getsockname()[0] == host
        assert sock.getblocking() is False


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_taken_port_is_named_with_what_to_do(transport: str) -> None:
    with open_socket(Listen(transport, "127.0.0.1", 0)) as first:  # type: ignore[arg-type]
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_socket(Listen(transport, "127.0.0.1", port))  # type: ignore[arg-type]
    assert f"{transport}://127.0.0.1:{port}" in str(caught.value)
    assert "another program holds this port" in str(caught.value)
    assert "ss -ln" in str(caught.value)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match="no such address"):
        open_socket(Listen("udp", "192.0.2.1", 0))


def test_a_missing_permission_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gateway.transport.sockets._bind", refuse)
    with pytest.raises(ListenError, match="CAP_NET_BIND_SERVICE"):
        open_socket(Listen("udp", "127.0.0.1", 80))


def test_the_other_family_is_not_taken_along() -> None:
    with open_socket(Listen("udp", "::1", 0)) as six:
        port = six.getsockname()[1]
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        open_socket(Listen("udp", "127.0.0.1", port)).close()
