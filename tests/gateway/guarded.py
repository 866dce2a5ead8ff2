"""A real Redis with the printed ACL file, which tells both ways: what it refuses it writes into its ACL log, and it
counts which commands were given, so that a right that nobody uses is found as well.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from gateway.credit.embedded import find_server
from gateway.credit.roles import IN_A_CLUSTER, PLACEHOLDER, SIGNING_IN, acl_file

PASSWORD = "open-sesame"
"""Of every user."""

WATCHER = "watcher"
"""A user of the tests' own, who may do all: for their looks, and for what they do to Redis."""

UNUSED_HERE = {*SIGNING_IN, *IN_A_CLUSTER}
"""Rights for a URL that names another database than 0, or a cluster."""

STARTS_WITHIN_S = 30.0


def filled_in(text: str) -> str:
    """The printed file as an operator fills it in, every single role switched on."""
    return text.replace(PLACEHOLDER, f">{PASSWORD}").replace(" reset off ", f" reset on >{PASSWORD} ")


class Guarded:
    """One redis-server on a Unix socket; ``change`` makes of the filled-in file what another Redis takes."""

    def __init__(
        self, folder: Path, program: Path | None = None, change: Callable[[str], str] = lambda text: text
    ) -> None:
        self.socket = folder / "guarded.sock"
        file = folder / "callgate.acl"
        file.write_text(f"{change(filled_in(acl_file()))}user {WATCHER} on >{PASSWORD} allkeys +@all\n")
        server = str(program or find_server(os.environ["PATH"]))
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder), "--save", ""]
        with (folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen([server, *words, "--aclfile", str(file)], stdout=log, stderr=log)
        until_s = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < until_s, (folder / "redis.log").read_text()
            time.sleep(0.002)
        self.watcher = self.client(WATCHER)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket))
                link.sendall(b"PING\r\n")
                return bool(link.recv(16))  # that it asks who is there is answer enough
            except OSError:
                return False

    def url(self, name: str) -> str:
        return f"unix://{name}:{PASSWORD}@{self.socket}"

    def client(self, name: str) -> "Redis":
        return Redis(unix_socket_path=str(self.socket), username=name, password=PASSWORD, protocol=2, driver_info=None)

    def begin(self) -> None:
        """From here on is counted what is given and refused."""
        self.watcher.config_resetstat()
        self.watcher.acl_log_reset()

    def used(self) -> set[str]:
        """Commands that were given since :meth:`begin`, from within scripts too."""
        return {name.removeprefix("cmdstat_") for name in self.watcher.info("commandstats")}

    def refused(self) -> list[Any]:
        """What was refused since :meth:`begin`, to whom."""
        return [(each["username"], each["context"], each["object"]) for each in self.watcher.acl_log()]

    def close(self) -> None:
        self.watcher.close()
        self._process.kill()
        self._process.wait()
