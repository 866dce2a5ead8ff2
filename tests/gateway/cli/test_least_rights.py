"""A whole gate in which each process, and the command line, has no more rights than its own, in Redis and PostgreSQL.

Three ``serve --role`` with settings of their own; calls by SIP, a worker that is killed, a Redis that is emptied.  Both
stores write down what they refuse, and every text and argument of a process is searched for the passwords.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.credit.roles import ADMIN, OPERATOR, SETTLER, WORKER
from gateway.ledger.roles import APPLICATION, BOOKING
from loadtest.bench.processes import descendants
from rating.money import parse_amount

from ..cluster import Cluster
from ..guarded import PASSWORD, Guarded
from ..roles import Guarded as Books
from .conftest import Shell
from .test_running import free_ports, until

pytestmark = pytest.mark.peer("postgres")

SETTINGS = """
[node]
data_dir = "data"
[sip]
listen = ["udp://127.0.0.1:{sip}"]
drain_s = 1
[redis]
url = "{redis}"
partitions = 4
[ledger]
url = "{ledger}"
[admin]
listen = "127.0.0.1:{admin}"
[[trunk]]
name = "pbx"
role = "access"
tenant = "contoso"
hosts = ["127.0.0.1:{caller}"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.1:{callee}"]
targets = ["sip:127.0.0.1:{callee}"]
options_ping_s = 0
"""
USERS = {
    "worker": (WORKER.name, BOOKING),
    "settler": (SETTLER.name, BOOKING),
    "admin": (ADMIN.name, BOOKING),
    "callgate": (OPERATOR.name, APPLICATION),
}
"""By settings file (``callgate.toml`` is the command line's): the user in Redis and in PostgreSQL."""


class Gate:
    """Its processes by role, and everything they and the commands beside them have said."""

    def __init__(self, shell: Shell, redis: Guarded, books: Books) -> None:
        self.shell, self.redis, self.books = shell, redis, books
        self.sip, self.admin, self.caller, self.callee = free_ports()
        for name, (user, role) in USERS.items():
            url = books.cluster.url(books.name, user=f"{role}:{PASSWORD}-ledger")
            ports = {"sip": self.sip, "admin": self.admin, "caller": self.caller, "callee": self.callee}
            text = SETTINGS.format(redis=redis.url(user), ledger=url, **ports)
            (shell.folder / f"{name}.toml").write_text(text)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, role: str) -> str:
        return (self.shell.folder / f"{role}.log").read_text()

    def start(self, role: str) -> None:
        words = [sys.executable, "-m", "gateway.cli", "serve", "--role", role, "--config", f"{role}.toml"]
        with (self.shell.folder / f"{role}.log").open("wb") as log:
            self.processes[role] = subprocess.Popen(words, cwd=self.shell.folder, stdout=log, stderr=log)
        until(lambda: "callgate ready" in self.log(role))

    def call(self, count: int, hold_s: int) -> Any:
        """Calls that the caller ends; their figures."""
        words = ["--target", f"sip:127.0.0.1:{self.sip}", "--uas", f"127.0.0.1:{self.callee}", "--limit", "60"]
        words += ["--source", f"127.0.0.1:{self.caller}", "--calls", str(count), "--cps", "10", "--hold", str(hold_s)]
        command = [sys.executable, "-m", "loadtest", "run", *words, "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            assert process.wait(60) == 0

    def kill(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def gate(shell: Shell, postgres: Cluster, tmp_path: Path) -> Iterator[Gate]:
    redis, books = Guarded(tmp_path), Books(postgres, "least_rights")
    running = Gate(shell, redis, books)
    try:
        yield running
    finally:
        running.kill()
        redis.close()
        books.close()


def figures(callers: Any) -> Any:
    out, _ = callers.communicate(timeout=90)
    return json.loads(out)


def test_a_gate_of_least_rights_does_its_work_and_tells_no_password(gate: Gate) -> None:
    server_log = gate.books.cluster.folder / "server.log"
    before = len(server_log.read_text())
    shell = gate.shell
    gate.redis.begin()
    for role in ("settler", "worker", "admin"):
        gate.start(role)
    shell("provision", "tenants.toml")
    assert until(lambda: shell("fund", "contoso", "9", "--reference", "r1", "--json").document)["ledger_balance"]
    until(lambda: shell("balance", "contoso", "--json").document["balance"] == "9.000000")
    until(lambda: "directory read" in gate.log("worker"))
    heard = figures(gate.call(4, 1))
    assert heard["answered"] == 4, heard

    callers = gate.call(1, 6)
    answered = lambda: [call for call in shell("calls", "--json").document if call["state"] == "answered"]  # noqa: E731
    until(answered)
    (worker,) = descendants(gate.processes["worker"].pid)
    os.kill(worker, signal.SIGKILL)
    until(lambda: "calls adopted" in gate.log("worker"))
    gate.redis.watcher.flushall()
    assert figures(callers)["answered"] == 1
    charges = lambda: [line for line in shell("ledger", "--tenant", "contoso", "--json").document if line["call_id"]]  # noqa: E731
    until(lambda: len(charges()) == 5)
    until(lambda: shell("balance", "contoso", "--json").document["unsynced"] == "0.000000")
    assert shell("reconcile", "--json").document["clean"]
    charged = sum(-parse_amount(line["amount"]) for line in charges())
    assert parse_amount(shell("balance", "contoso", "--json").document["balance"]) == 9_000_000 - charged

    assert gate.redis.refused() == []
    assert "permission denied" not in server_log.read_text()[before:]
    told = [text for role in gate.processes for text in (gate.log(role), *arguments(gate.processes[role].pid))]
    gate.end()
    told += [gate.log(role) for role in gate.processes]
    assert PASSWORD not in "".join(told)


def arguments(pid: int) -> list[str]:
    """Of a process and all that it started."""
    return [Path(f"/proc/{each}/cmdline").read_text() for each in (pid, *descendants(pid))]
