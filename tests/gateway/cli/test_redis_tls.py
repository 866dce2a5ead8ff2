"""The command line with a Redis that only speaks TLS, to an ACL user whose URL stands in the environment."""

from collections.abc import Iterator
from typing import Any

import pytest

from ..redis_server import RedisServer, free_ports, make_authority
from .conftest import Shell

pytestmark = [pytest.mark.peer("redis-server"), pytest.mark.peer("openssl")]


@pytest.fixture
def tls(shell: Shell) -> Iterator[RedisServer]:
    """Its authority is ``ca/ca.crt`` in the settings' folder; the user is gate, its password is secret."""
    authority = make_authority(shell.folder / "ca")
    acl = ["--user", "gate", "on", ">s:ecret", "~cg:*", "+@all", "-@dangerous", "+info", "--user", "default", "off"]
    options = ["--tls-port", str(free_ports(1)[0]), "--tls-auth-clients", "no", *authority.server_options(), *acl]
    server = RedisServer(shell.folder / "redis", 0, *options).start()
    settings = shell.folder / "callgate.toml"
    settings.write_text(settings.read_text().replace("[redis]", '[redis]\nurl = "env:REDIS_URL"'))
    yield server
    server.kill()


def test_money_and_check(shell: Shell, tls: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"rediss://gate:s%3Aecret@localhost:{tls.tls_port}?ssl_ca_certs=ca/ca.crt"
    monkeypatch.setenv("REDIS_URL", url)
    assert "all is well" in shell("check").out
    shell("provision", "tenants.toml")
    shell("fund", "contoso", "5", "--reference", "r1")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rediss://gate:s%3Aecret@localhost:{port}", "name the authority that signed it as ssl_ca_certs"),
        ("rediss://gate:wrong@localhost:{port}?ssl_ca_certs=ca/ca.crt", "mend user and password in redis.url"),
        ("redis://gate:s%3Aecret@localhost:{port}", "where it expects TLS, use rediss://"),
        ("rediss://gate:s%3Aecret@localhost:{port}?ca=ca/ca.crt", "expected ssl_ca_certs"),
    ],
)
def test_what_is_wrong_is_one_line(
    shell: Shell, tls: RedisServer, monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url.format(port=tls.tls_port))
    done: Any = shell("check", status=1)
    told = done.out + done.err
    (line,) = [each for each in told.splitlines() if why in each]
    assert "ecret" not in told
    assert ":wrong@" not in line
