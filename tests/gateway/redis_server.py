"""Real Redis servers on loopback ports, with TLS or without, and a proxy that stands between them and a gate.

A server keeps its folder and port when it is killed, so ``start`` is what an init system would do.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from gateway.credit.embedded import find_server

START_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, none above 55535: a cluster's bus takes the one 10,000 higher."""
    found: list[int] = []
    for _ in range(10_000):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        port = port if port < 40_000 else 10_000 + port % 30_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own, and what it signed."""

    ca: Path
    certificate: Path
    key: Path

    def server_options(self) -> list[str]:
        files = {"cert": self.certificate, "key": self.key, "ca-cert": self.ca}
        return [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]


def make_authority(folder: Path, name: str = "DNS:localhost") -> Authority:
    """A CA, and a certificate for ``name`` (as openssl writes subject alternative names)."""
    folder.mkdir(exist_ok=True)
    ca, ca_key, key, request, certificate = (folder / n for n in ("ca.crt", "ca.key", "r.key", "r.csr", "r.crt"))
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"]
    _openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test CA", "-keyout", ca_key, "-out", ca)
    _openssl(*new, "-subj", "/CN=redis", "-keyout", key, "-out", request)
    names = folder / "names"
    names.write_text(f"subjectAltName={name}\n")
    signing = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", names]
    _openssl("x509", "-req", "-in", request, *signing, "-out", certificate)
    return Authority(ca, certificate, key)


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class RedisServer:
    """One redis-server on a port; ``data`` in its folder survives :meth:`kill`."""

    def __init__(self, folder: Path, port: int, *options: str, sentinel: bool = False) -> None:
        self.folder, self.port = folder, port
        folder.mkdir(exist_ok=True)
        self._options = options
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> "RedisServer":
        program = str(find_server(os.environ["PATH"]))
        words = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        if self._sentinel:
            words = [program, str(self.folder / "sentinel.conf"), "--sentinel"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*words, *self._options], stdout=log, stderr=log)
        if wait:
            self.wait_until_it_listens()
        return self

    def wait_until_it_listens(self) -> None:
        until_s = time.monotonic() + START_S
        while not self.listens():
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until_s, (self.folder / "log").read_text()
            time.sleep(0.005)

    def listens(self) -> bool:
        with socket.socket() as link:
            link.settimeout(1.0)
            return link.connect_ex(("127.0.0.1", self.tls_port or self.port)) == 0

    @property
    def tls_port(self) -> int:
        words = list(self._options)
        return int(words[words.index("--tls-port") + 1]) if "--tls-port" in words else 0

    def kill(self) -> None:
        """As kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, decode_responses=True, protocol=2, socket_timeout=5.0)


def kill_all(servers: Sequence[RedisServer]) -> None:
    for server in servers:
        server.kill()


def wait_for(true: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    until_s = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RedisError, OSError):
            if true():
                return
        assert time.monotonic() < until_s, f"this never came: {what}"
        time.sleep(0.02)


class SentinelGroup:
    """A master, two replicas and three sentinels; ``service`` is what they call it."""

    service = "gate"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        ports = free_ports(6)
        first = str(ports[0])
        durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"]
        self.nodes = [RedisServer(folder / f"redis-{port}", port, *durable) for port in ports[:3]]
        self.sentinels = [RedisServer(folder / f"sentinel-{port}", port, sentinel=True) for port in ports[3:]]
        try:
            self.nodes[0].start()
            for node in self.nodes[1:]:
                node.start()
                with node.client() as client:
                    client.replicaof("127.0.0.1", first)
            for sentinel in self.sentinels:
                self._configure(sentinel, first)
                sentinel.start()
            wait_for(self._is_whole, "sentinels that know each other and the replicas")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{self.service}"

    def _configure(self, sentinel: RedisServer, port: str) -> None:
        lines = [
            f"port {sentinel.port}",
            "bind 127.0.0.1",
            f"dir {sentinel.folder}",
            f"sentinel monitor {self.service} 127.0.0.1 {port} 2",
            f"sentinel down-after-milliseconds {self.service} 500",
            f"sentinel failover-timeout {self.service} 3000",
            f"sentinel parallel-syncs {self.service} 2",
        ]
        (sentinel.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _is_whole(self) -> bool:
        return all(
            (state["num-slaves"], state["num-other-sentinels"]) == (2, 2) and "down" not in state["flags"]
            for state in map(self._state, self.sentinels)
        ) and all(self._link(node) == "up" for node in self.nodes[1:])

    def _state(self, sentinel: RedisServer) -> dict[str, Any]:
        with sentinel.client() as client:
            state: dict[str, Any] = client.sentinel_master(self.service)
            return state

    def _link(self, node: RedisServer) -> str:
        with node.client() as client:
            return str(client.info("replication").get("master_link_status"))

    def master(self) -> RedisServer:
        """The one that the sentinels name who know of the latest failover."""
        newest = max(map(self._state, self.sentinels), key=lambda state: int(state["config-epoch"]))
        return next(node for node in self.nodes if node.port == int(newest["port"]))

    def wait_until_replicas_have_all(self) -> None:
        master = self.master()

        def caught_up() -> bool:
            with master.client() as client:
                told = client.info("replication")
            slaves = [told[f"slave{number}"] for number in range(told["connected_slaves"])]
            return len(slaves) == 2 and all(each["offset"] == told["master_repl_offset"] for each in slaves)

        wait_for(caught_up, "replicas that have everything")

    def cut_replication(self) -> None:
        """The replicas hear no more of their master: they try to sign in as a user that is not there."""
        master = self.master()
        replicas = [node for node in self.nodes if node is not master]
        for node in replicas:
            with node.client() as client:
                client.config_set("masteruser", "nobody")
                client.config_set("masterauth", "nothing")
        with master.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        wait_for(lambda: all(self._link(node) == "down" for node in replicas), "replicas without a master")

    def allow_replication(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(RedisError), node.client() as client:
                client.config_set("masteruser", "")
                client.config_set("masterauth", "")

    def close(self) -> None:
        kill_all([*self.sentinels, *self.nodes])
