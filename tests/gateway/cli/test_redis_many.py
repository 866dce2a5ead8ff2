"""The command line over Redis behind sentinels, and over Redis Cluster, both by TLS and as an ACL user.

One master and one sentinel, and a cluster of one node, are enough here: what more of them do is tried in
``tests/gateway/settlement``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ..redis_server import Authority, RedisServer, free_ports, kill_all, make_authority, wait_for
from .conftest import Shell

pytestmark = [pytest.mark.peer("redis-server"), pytest.mark.peer("openssl")]

USER = ["--user", "gate", "on", ">s:ecret", "~cg:*", "+@all", "-@dangerous", "+info", "--user", "default", "off"]
CLUSTER_USER = [*USER[:-3], "+cluster|info", "+cluster|slots", *USER[-3:]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "ca", "DNS:localhost,IP:127.0.0.1")


def by_tls(authority: Authority, port: int) -> list[str]:
    return ["--tls-port", str(port), "--tls-auth-clients", "no", *authority.server_options()]


def admin(authority: Authority, port: int, user: str = "admin") -> Redis:
    """Somebody who may do all, where the gate's user may not."""
    words = {"username": user, "password": "all"} if user else {}
    return Redis(host="127.0.0.1", port=port, ssl=True, ssl_ca_certs=str(authority.ca), protocol=2, **words)


ADMIN = ["--user", "admin", "on", ">all", "~*", "&*", "+@all"]


@pytest.fixture
def sentinel_url(tmp_path: Path, authority: Authority) -> Iterator[str]:
    port, sentinel_port = free_ports(2)
    master = RedisServer(tmp_path / "master", 0, *by_tls(authority, port), *USER, *ADMIN).start()
    sentinel = RedisServer(tmp_path / "sentinel", sentinel_port, sentinel=True)
    lines = [
        "port 0", f"tls-port {sentinel_port}", "bind 127.0.0.1", "tls-replication yes", "tls-auth-clients no",
        f"tls-cert-file {authority.certificate}", f"tls-key-file {authority.key}", f"tls-ca-cert-file {authority.ca}",
        f"dir {sentinel.folder}", f"sentinel monitor gate 127.0.0.1 {port} 1",
        "sentinel auth-user gate admin", "sentinel auth-pass gate all", "user default on >watch ~* &* +@all",
    ]  # fmt: skip
    (sentinel.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    sentinel.start()
    yield (
        f"redis+sentinel://gate:s%3Aecret@localhost:{sentinel_port}/gate?ssl_ca_certs={authority.ca}"
        "&sentinel_password=watch"
    )
    kill_all([sentinel, master])


@pytest.fixture
def cluster_url(tmp_path: Path, authority: Authority) -> Iterator[str]:
    (port,) = free_ports(1)
    options = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-replication", "yes"]
    node = RedisServer(tmp_path / "node", 0, *by_tls(authority, port), *options, *CLUSTER_USER, *ADMIN).start()
    with admin(authority, port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_for(lambda: b"cluster_state:ok" in raw(client, "CLUSTER INFO"), "a cluster")
    yield f"redis+cluster://gate:s%3Aecret@127.0.0.1:{port}?ssl_ca_certs={authority.ca}"
    node.kill()


def raw(client: Redis, command: str) -> bytes:
    client.set_response_callback(command, lambda reply, **_: reply)
    said: bytes = client.execute_command(command)
    return said


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_money_and_check(shell: Shell, kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    settings = shell.folder / "callgate.toml"
    settings.write_text(settings.read_text().replace("[redis]", f'[redis]\nurl = "{url}"'))
    assert "all is well" in shell("check").out
    shell("provision", "tenants.toml")
    shell("fund", "contoso", "5", "--reference", "r1")
    shell("reconcile", "--repair")  # as no settler runs, nobody else makes this Redis ready
    assert shell("balance", "contoso", "--json").document["balance"] == "5.000000"
    shell("fund", "contoso", "-2", "--kind", "adjustment", "--reference", "r2")
    assert shell("balance", "contoso", "--json").document["available"] == "3.000000"
    assert shell("calls", "--json").document == []
    assert shell("reconcile", "--json").document["drift_micros"] == 0


def test_a_wrong_password_is_told_without_showing_it(shell: Shell, sentinel_url: str, cluster_url: str) -> None:
    settings = shell.folder / "callgate.toml"
    before = settings.read_text()
    for url in (sentinel_url, cluster_url):
        settings.write_text(before.replace("[redis]", f'[redis]\nurl = "{url.replace("s%3Aecret", "topsecret")}"'))
        done = shell("check", status=1)
        (line,) = [each for each in done.out.splitlines() if "mend user and password in redis.url" in each]
        assert "topsecret" not in done.out + done.err
        assert "watch" not in line
