"""Real Redis servers on loopback ports, with TLS or without, and a proxy that stands between them and a gate.

A server keeps its folder and port when it is killed, so ``start`` is what an init system would do.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from gateway.credit.embedded import find_server
from gateway.credit.keys import slot_of

START_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, and nobody on those 10,000 higher: a cluster's nodes talk there.

    Below 32,768 both, where Linux takes no ports for connections from.
    """
    found: list[int] = []
    for _ in range(10_000):
        port = random.randrange(10_000, 22_000)
        if port not in found and all(map(_is_free, (port, port + 10_000))):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


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

    @property
    def runs(self) -> bool:
        return self._process is not None

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


class RedisCluster:
    """Three masters and a replica of each; ``more`` are further options of every node."""

    def __init__(self, folder: Path, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        options = [
            "--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-node-timeout", "800",
            "--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
            "--repl-diskless-sync-delay", "0", *more,
        ]  # fmt: skip
        self.nodes = [RedisServer(folder / str(port), port, *options) for port in free_ports(6)]
        try:
            for node in self.nodes:
                node.start(wait=False)
            for node in self.nodes:
                node.wait_until_it_listens()
            self._join()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def _join(self) -> None:
        masters, replicas = self.nodes[:3], self.nodes[3:]
        for number, node in enumerate(masters):
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            ask(node, "CLUSTER", "ADDSLOTS", *range(first, last))
        for node in self.nodes[1:]:
            ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_for(lambda: all(self._told(node)["cluster_known_nodes"] == "6" for node in self.nodes), "all nodes met")
        for master, replica in zip(masters, replicas, strict=True):
            name = ask(master, "CLUSTER", "MYID")
            wait_for(lambda replica=replica, name=name: ask(replica, "CLUSTER", "REPLICATE", name), "a replica")
        wait_for(self.is_whole, "a cluster")

    def _told(self, node: RedisServer) -> dict[str, str]:
        with node.client() as client:
            told: dict[str, str] = client.execute_command("CLUSTER INFO")
            return told

    def is_whole(self) -> bool:
        """Every node agrees who serves what, and each master has a replica that has everything."""
        views = [sorted(self.ranges(node)) for node in self.nodes]
        return (
            all(self._told(node)["cluster_state"] == "ok" for node in self.nodes)
            and all(view == views[0] for view in views)
            and len(views[0]) == 3
            and all(self.has_replica(self.by_port(port)) for _, _, port in views[0])
        )

    def ranges(self, node: RedisServer) -> list[tuple[int, int, int]]:
        """First and last slot, and the port of the master, as a node knows them."""
        with node.client() as client:
            client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
            return [(first, last, served[0][1]) for first, last, *served in client.execute_command("CLUSTER SLOTS")]

    def has_replica(self, master: RedisServer) -> bool:
        with master.client() as client:
            told = client.info("replication")
        return told["connected_slaves"] == 1 and told["slave0"]["offset"] == told["master_repl_offset"]

    def by_port(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)

    def serving(self, key: str) -> RedisServer:
        """The master of a key, as the nodes that live know."""
        slot = slot_of(key)
        alive = next(node for node in self.nodes if node.runs)
        return self.by_port(next(port for first, last, port in self.ranges(alive) if first <= slot <= last))

    def replica_of(self, master: RedisServer) -> RedisServer:
        with master.client() as client:
            return self.by_port(int(client.info("replication")["slave0"]["port"]))

    def cut_replication(self, master: RedisServer) -> None:
        """As in a group with sentinels."""
        replica = self.replica_of(master)
        with replica.client() as client:
            client.config_set("masteruser", "nobody")
            client.config_set("masterauth", "nothing")
        with master.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        wait_for(lambda: not self.has_replica(master), "a replica without a master")

    def move_slot(self, slot: int, here: RedisServer, there: RedisServer) -> Iterator[str]:
        """Move a slot key by key; yields each key that has just been moved, and at last an empty one."""
        ask(there, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(here, "CLUSTER", "MYID"))
        ask(here, "CLUSTER", "SETSLOT", slot, "MIGRATING", ask(there, "CLUSTER", "MYID"))
        while keys := ask(here, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            ask(here, "MIGRATE", "127.0.0.1", there.port, keys[0], 0, 5000)
            yield keys[0]
        for node in (there, here):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", ask(there, "CLUSTER", "MYID"))
        yield ""

    def close(self) -> None:
        kill_all(self.nodes)


def ask(node: RedisServer, *words: object) -> Any:
    """A command to one node, whatever it serves."""
    with node.client() as client:
        return client.execute_command(*words)
