"""Real Redis servers on loopback ports, with TLS or without, and a proxy that stands between them and a gate.

A server keeps its folder and port when it is killed, so ``start`` is what an init system would do.
"""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

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


def shakes_hands(port: int) -> bool:
    """Whether TLS is spoken at a port."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def kill_all(servers: Sequence[RedisServer]) -> None:
    for server in servers:
        server.kill()
