"""A real ledger and a real Redis for each test, and a worker's credit store to make charges with."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.call.commands import Answer, Grant, Release, Reserve, Result, Settle
from gateway.call.record import CallRecord
from gateway.config.provisioning import Provisioning, parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import find_server
from gateway.credit.store import CreditStore, Owner
from gateway.ledger import Ledger
from gateway.settlement import fund, settle_in
from policy.verdict import Limits
from rating.tariff import Tariff, charge_micros

PARTITIONS = 4
"""Few, so that tenants share some."""

PER_SECOND = Tariff(60_000, first_incr_s=1, next_incr_s=1)
"""A thousand micro-units a second."""

DECK = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,United Kingdom,60000,0,1,1\n"


class Server:
    """One redis-server of the test's own, with its append-only file on as the gate's; ``kill`` is kill -9."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "r.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        program = str(find_server(os.environ["PATH"]))
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "redis.log").open("ab") as log:
            durable = ["--appendonly", "yes", "--appendfsync", "everysec"]
            self.process = subprocess.Popen([program, *words, *durable], stdout=log, stderr=log)
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            time.sleep(0.002)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket))
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.socket.unlink(missing_ok=True)


class Nursery:
    """Settlers in a process of their own, one after the other; ``kill`` is kill -9 of the present one."""

    def __init__(
        self, folder: Path, ledger_url: str, url: str, partitions: int = PARTITIONS, *, hasty: bool = True
    ) -> None:
        program = str(Path(__file__).with_name("settler_nursery.py"))
        self._log = (folder / "settler.log").open("ab")
        words = [sys.executable, program, ledger_url, url, str(partitions), "hasty" if hasty else "calm"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self._log, text=True)
        self.pid = self._start()

    def _start(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def restart(self) -> None:
        self.pid = self._start()

    def close(self) -> None:
        self.kill()
        self._process.kill()
        self._process.communicate()
        self._log.close()


class Caller:
    """A worker: calls through its store that are reserved, answered and ended at once, and what it has charged.

    ``charged`` holds every call that was ended with its charge: what must stand in the ledger, once.
    """

    def __init__(self, url: str, node: str = "gate-1") -> None:
        self.store = CreditStore(url, Owner(node, 0, "here"), self._hear, partitions=PARTITIONS)
        self.results: dict[str, list[Result]] = {}
        self.charged: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._then: dict[str, Callable[[Result], None]] = {}

    def _hear(self, result: Result) -> None:
        self.results.setdefault(result.call_id, []).append(result)
        then = self._then.pop(result.call_id, None)
        if then is not None:
            then(result)

    def reserve(
        self, call_id: str, tenant: str = "contoso", *, lease_s: int = 30, then: Callable[[Result], None] | None = None
    ) -> None:
        """Ask for ten seconds of talk."""
        if then is not None:
            self._then[call_id] = then
        usage = record(call_id, tenant, 0, 0)
        self.store.submit(Reserve(call_id, tenant, PER_SECOND, 10, lease_s, Limits(), b"", usage))

    def call(self, tenant: str = "contoso", talk_ms: int = 3_000) -> str:
        """A call that talks for ``talk_ms`` (0: is never answered) and ends at once; its id."""
        call_id = f"{self.store.epoch:03}-{next(self._numbers):06}"

        def granted(result: Result) -> None:
            if talk_ms and isinstance(result, Grant):
                charge = charge_micros(PER_SECOND, talk_ms)
                self.charged[call_id] = charge
                self.store.submit(Answer(call_id, tenant, 1, b""))
                self.store.submit(Settle(call_id, tenant, talk_ms, charge, record(call_id, tenant, talk_ms, charge)))
            else:
                self.store.submit(Release(call_id, tenant, record(call_id, tenant, 0, 0)))

        self.reserve(call_id, tenant, then=granted)
        return call_id


def record(call_id: str, tenant: str, talk_ms: int, charge: int) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    answered_ms = now_ms - talk_ms if talk_ms else 0
    whole = CallRecord(
        call_id, tenant, "user_out", invited_ms=now_ms - talk_ms, answered_ms=answered_ms, ended_ms=now_ms,
        talk_ms=talk_ms, charge_micros=charge, reason="COMPLETED", sip_status=200, trunk="pbx",
    )  # fmt: skip
    return whole.encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.kill()


def two_tenants(folder: Path) -> Provisioning:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    tenants = [{"id": tenant, "rate_deck": "standard"} for tenant in ("contoso", "fabrikam")]
    return parse({"rate_deck": decks, "tenant": tenants}, "test.toml", folder)


@pytest.fixture
async def ledger(ledger_url: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger with the tenants contoso and fabrikam."""
    async with Ledger(ledger_url) as opened:
        await opened.migrate()
        await opened.provision(two_tenants(tmp_path))
        yield opened


@pytest.fixture
async def credit(server: Server) -> AsyncIterator[CreditAdmin]:
    """A Redis that nobody has prepared yet."""
    admin = CreditAdmin(server.url, partitions=PARTITIONS, timeout_s=2.0)
    yield admin
    await admin.close()


@pytest.fixture
async def caller(server: Server, ledger: Ledger, credit: CreditAdmin) -> AsyncIterator[Caller]:
    """A worker, with a ready Redis and money for its tenants."""
    await settle_in(ledger, credit)
    for tenant in ("contoso", "fabrikam"):
        await fund(ledger, credit, tenant, 1_000_000_000, "first")
    worker = Caller(server.url)
    await worker.store.start()
    yield worker
    await worker.store.stop()


@pytest.fixture
def nursery(server: Server, ledger_url: str, tmp_path: Path) -> Iterator[Nursery]:
    started = Nursery(tmp_path, ledger_url, server.url)
    yield started
    started.close()
