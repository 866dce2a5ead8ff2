"""A Redis that is reached by TLS alone, as an ACL user: by the worker's own connection and by redis-py.

The server, its authority and the user are real.  Whatever is wrong is told in one line that says what to mend.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Reserve, Settle
from gateway.credit.admin import CreditAdmin, StoreError, StoreUnreachableError
from policy.verdict import Limits
from rating.tariff import Tariff

from ..redis_server import Authority, RedisServer, free_ports, make_authority
from .conftest import PARTITIONS, open_epochs

pytestmark = [pytest.mark.peer("redis-server"), pytest.mark.peer("openssl")]

PASSWORD = "p@ss:w/rd#1"
QUOTED = "p%40ss%3Aw%2Frd%231"
ACL = ["--user", "gate", "on", f">{PASSWORD}", "~cg:*", "+@all", "-@dangerous", "+info", "--user", "default", "off"]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def tls(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """TLS alone (``port 0``), no certificate of the client's asked for."""
    options = ["--tls-port", str(free_ports(1)[0]), "--tls-auth-clients", "no", *authority.server_options(), *ACL]
    server = RedisServer(tmp_path_factory.mktemp("redis"), 0, *options).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that asks for the client's certificate."""
    options = ["--tls-port", str(free_ports(1)[0]), *authority.server_options(), *ACL]
    server = RedisServer(tmp_path_factory.mktemp("redis"), 0, *options).start()
    yield server
    server.kill()


@pytest.fixture
async def open_any() -> AsyncIterator[Callable[[str], CreditAdmin]]:
    opened: list[CreditAdmin] = []

    def open_(url: str) -> CreditAdmin:
        opened.append(CreditAdmin(url, partitions=PARTITIONS, timeout_s=1.0))
        return opened[-1]

    yield open_
    for admin in opened:
        await admin.close()


async def a_call(admin: CreditAdmin, open_store: Any, url: str) -> None:
    """A whole call through worker and administration."""
    await open_epochs(admin)
    await admin.create_account("t", 1_000_000, 1)
    before = await admin.account("t")
    bench = await open_store(SimpleNamespace(url=url))
    assert bench.store.up, bench.alerts
    call_id = f"call-{before.balance_micros}"
    bench.store.submit(Reserve(call_id, "t", Tariff(60_000, 0, 1, 1), 60, 90, Limits(), b"a", b"{}"))
    await until(lambda: bench.results)
    assert isinstance(bench.results[0], Grant)
    bench.store.submit(Answer(call_id, "t", 1, b""))
    bench.store.submit(Settle(call_id, "t", 5_000, 5_000, b"{}"))
    await until(lambda: not bench.store.unacknowledged)
    after = await admin.account("t")
    assert (after.balance_micros, after.held_micros) == (before.balance_micros - 5_000, 0)


async def test_a_call_is_paid_by_tls_as_an_acl_user(
    tls: RedisServer, authority: Authority, open_any: Any, open_store: Callable[..., Awaitable[Any]]
) -> None:
    url = f"rediss://gate:{QUOTED}@localhost:{tls.tls_port}/0?ssl_ca_certs={authority.ca}"
    await a_call(open_any(url), open_store, url)


async def test_the_gate_shows_a_certificate_where_the_server_asks_for_one(
    mutual: RedisServer, authority: Authority, open_any: Any, open_store: Callable[..., Awaitable[Any]]
) -> None:
    own = f"&ssl_certfile={authority.certificate}&ssl_keyfile={authority.key}"
    url = f"rediss://gate:{QUOTED}@localhost:{mutual.tls_port}?ssl_ca_certs={authority.ca}{own}"
    await a_call(open_any(url), open_store, url)


async def test_a_name_that_does_not_stand_in_the_certificate_is_let_pass_only_where_one_says_so(
    tls: RedisServer, authority: Authority, open_any: Any, open_store: Callable[..., Awaitable[Any]]
) -> None:
    url = f"rediss://gate:{QUOTED}@127.0.0.1:{tls.tls_port}?ssl_ca_certs={authority.ca}"
    with pytest.raises(StoreUnreachableError, match="certificate that is not accepted"):
        await open_any(url).ping()
    assert not (await open_store(SimpleNamespace(url=url))).store.up
    await open_any(url + "&ssl_check_hostname=false").epochs()
    assert (await open_store(SimpleNamespace(url=url + "&ssl_check_hostname=false"))).store.up


WRONG = {
    "authority": ("rediss://gate:{quoted}@localhost:{port}?ssl_ca_certs={stranger}", "not accepted"),
    "no authority": ("rediss://gate:{quoted}@localhost:{port}", "not accepted"),
    "no such file": ("rediss://gate:{quoted}@localhost:{port}?ssl_ca_certs=/no/ca.crt", "/no/ca.crt: No such file"),
    "password": ("rediss://gate:secret@localhost:{port}?ssl_ca_certs={ca}", "does not let the gate in"),
    "no password": ("rediss://localhost:{port}?ssl_ca_certs={ca}", "does not let the gate in"),
    "plaintext": ("redis://gate:{quoted}@localhost:{port}", "where it expects TLS, use rediss://"),
    "no certificate": ("rediss://gate:{quoted}@localhost:{mutual}?ssl_ca_certs={ca}", "give ssl_certfile"),
    "plain server": ("rediss://gate:{quoted}@localhost:{plain}?ssl_ca_certs={ca}", "does it not speak TLS there?"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_told_in_one_line(
    tls: RedisServer, mutual: RedisServer, authority: Authority, stranger: Authority, tmp_path: Path,
    open_any: Any, open_store: Callable[..., Awaitable[Any]], wrong: str,
) -> None:  # fmt: skip
    plain = RedisServer(tmp_path, free_ports(1)[0])
    if wrong == "plain server":
        plain.start()
    text, why = WRONG[wrong]
    url = text.format(
        quoted=QUOTED, port=tls.tls_port, mutual=mutual.tls_port, plain=plain.port, ca=authority.ca,
        stranger=stranger.ca,
    )  # fmt: skip
    try:
        with pytest.raises(StoreError) as caught:
            await open_any(url).ping()
        bench = await open_store(SimpleNamespace(url=url), timeout_s=0.3)
        assert not bench.store.up
        await until(lambda: bench.alerts)
    finally:
        plain.kill()
    for line in (str(caught.value), bench.alerts[0][1]):
        assert why in line
        assert "\n" not in line
        assert PASSWORD not in line
        assert "secret" not in line
