"""A gate with a secret in every place that takes one, in every kind of trouble: no secret is written anywhere.

Everything it says is searched: standard output and error of the gate and of commands, the arguments of its processes,
answers to whoever asks without a token and with one, and the texts of errors about settings that are wrong.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.bench.processes import descendants, free_port, free_sip_port

from .conftest import Shell

MARK = "hunter2"
SETTINGS = """
[node]
data_dir = "data"
[sip]
listen = ["udp://127.0.0.1:{sip}"]
[redis]
url = "redis://gate:{mark}-redis@127.0.0.1:1/0"
[ledger]
url = "postgresql://gate:{mark}-ledger@127.0.0.1:1/callgate"
[admin]
listen = "127.0.0.1:{admin}"
token = "{mark}-token"
[telemetry]
log_level = "debug"
[[trunk]]
name = "pbx"
role = "access"
tenant_from = "caller"
hosts = ["127.0.0.2"]
digest = {{ username = "pbx", password = "{mark}-digest" }}
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.3"]
targets = ["sip:127.0.0.3:5060"]
digest = {{ username = "gate", password = "env:CARRIER_PASSWORD" }}
"""
READY_S = 30.0
WRONG = [
    ("redis.url", 'url = "redis://gate:{mark}-redis@127.0.0.1:1/0"', 'url = "redis://:{mark}/x@127.0.0.1:1/0"'),
    ("redis.url", 'url = "redis://gate:{mark}-redis@127.0.0.1:1/0"', 'url = "http://:{mark}@127.0.0.1/0"'),
    ("redis.url", 'url = "redis://gate:{mark}-redis@127.0.0.1:1/0"', 'url = "redis://:{mark}@127.0.0.1/{mark}="'),
    ("ledger.url", 'url = "postgresql://gate:{mark}-ledger@127.0.0.1:1/callgate"', 'url = "mysql://u:{mark}@h/db"'),
    ("ledger.url", "127.0.0.1:1/callgate", "127.0.0.1:{mark}@x/callgate"),
    ("admin.token", 'token = "{mark}-token"', 'tokens = "{mark}-token"'),
    ("admin.token", 'token = "{mark}-token"', 'token = ["{mark}-token"]'),
    ("trunk[0].digest", 'password = "{mark}-digest"', 'pasword = "{mark}-digest"'),
    ("trunk[1].digest", '"env:CARRIER_PASSWORD"', '"env:NOT_SET"'),
]


class Secretive:
    """A gate in a folder, and everything it and its commands have said."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.sip, self.admin = shell, free_sip_port(), free_port(kind=1)
        self.said: list[str] = []
        self.write()

    def write(self, old: str = "", new: str = "") -> None:
        text = SETTINGS.replace(old, new).format(mark=MARK, sip=self.sip, admin=self.admin)
        (self.shell.folder / "callgate.toml").write_text(text)

    def command(self, *words: str) -> None:
        secret = f"{MARK}-carrier"
        done = self.shell.program(*words, CARRIER_PASSWORD=secret, CALLGATE_DEBUG="1")
        self.said += [done.out, done.err]

    def ask(self, method: str, path: str, token: str | None = None) -> int:
        link = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=20)
        try:
            link.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = link.getresponse()
            self.said.append(f"{answer.getheaders()}\n{answer.read().decode()}")
            return answer.status
        finally:
            link.close()

    def assert_no_secret(self) -> None:
        found = [text for text in self.said if MARK in text]
        assert not found, "\n".join(line for text in found for line in text.splitlines() if MARK in line)


@pytest.fixture
def secretive(empty: Shell) -> Secretive:
    return Secretive(empty)


@pytest.fixture
def gate(secretive: Secretive) -> Iterator["subprocess.Popen[bytes]"]:
    log = secretive.shell.folder / "gate.log"
    environment = {**os.environ, "CARRIER_PASSWORD": f"{MARK}-carrier"}
    with log.open("wb") as out:
        words = [sys.executable, "-m", "gateway.cli", "serve"]
        process = subprocess.Popen(words, cwd=secretive.shell.folder, stdout=out, stderr=out, env=environment)
    until_s = time.monotonic() + READY_S
    while b"accepting calls" not in log.read_bytes():  # with neither store it is never ready
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_gate_in_trouble_tells_no_secret(secretive: Secretive, gate: "subprocess.Popen[bytes]") -> None:
    assert secretive.ask("GET", "/readyz") == 503
    assert secretive.ask("GET", "/metrics") == 200
    assert secretive.ask("GET", "/api/v1/tenants", token=f"{MARK}-wrong") == 401
    assert secretive.ask("GET", "/api/v1/tenants", token=f"{MARK}-token") == 503
    assert secretive.ask("GET", "/api/v1/calls", token=f"{MARK}-token") == 503
    assert secretive.ask("DELETE", "/api/v1/calls/x", token=f"{MARK}-token") == 503
    processes = [gate.pid, *descendants(gate.pid)]
    assert len(processes) == 4
    secretive.said += [arguments_of(pid) for pid in processes]
    os.kill(processes[1], signal.SIGKILL)  # a death is told too
    for words in (["check"], ["check", "--json"], ["balance", "contoso"], ["calls"], ["reconcile", "--json"]):
        secretive.command(*words)
    for words in (["audit"], ["reconcile", "--repair"], ["export", "redis-acl"], ["export", "postgres-roles"]):
        secretive.command(*words)
    secretive.command("fund", "contoso", "5", "--reference", "r")
    gate.send_signal(signal.SIGTERM)
    assert gate.wait(60) == 0
    log = (secretive.shell.folder / "gate.log").read_text()
    assert "127.0.0.1:1" in log  # it did tell what it cannot reach
    secretive.said.append(log)
    secretive.assert_no_secret()


@pytest.mark.parametrize(("key", "old", "new"), WRONG, ids=lambda value: value[:20])
def test_settings_that_are_wrong_tell_no_secret(secretive: Secretive, key: str, old: str, new: str) -> None:
    secretive.write(old, new)
    if key == "redis.url":  # a ledger that is away would be told first
        text = (secretive.shell.folder / "callgate.toml").read_text()
        away = f'"postgresql://gate:{MARK}-ledger@127.0.0.1:1/callgate"'
        (secretive.shell.folder / "callgate.toml").write_text(text.replace(away, '"embedded"'))
    for words in (["check"], ["balance", "contoso"]):
        secretive.command(*words)
    assert key.split(".")[0] in "".join(secretive.said)
    secretive.assert_no_secret()


def test_settings_show_themselves_without_secrets(secretive: Secretive, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.config import settings

    monkeypatch.setenv("CARRIER_PASSWORD", f"{MARK}-carrier")
    found = settings.load(str(secretive.shell.folder / "callgate.toml"))
    secretive.said += [repr(found), str(found)]
    secretive.assert_no_secret()
