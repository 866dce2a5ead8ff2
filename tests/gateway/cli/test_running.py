"""Commands beside a gate that really runs: the demo, and calls seen, traced, ended and charged."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.token import TOKEN_FILE
from rating.money import parse_amount

from .conftest import PROVISIONING, Shell

WITHIN_S = 20.0


def until(what: Callable[[], Any]) -> Any:
    """The first answer that is true; processes tell of what happened when they have done it."""
    give_up_s = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < give_up_s, "it did not happen"
        time.sleep(0.1)
    return found


def test_the_demo_cuts_at_zero_and_its_books_balance(empty: Shell) -> None:
    done = empty.program("demo", "--seconds", "8", TMPDIR=str(empty.folder))
    assert (done.status, done.err) == (0, ""), done
    assert "\x1b" not in done.out
    first, *_, calls, books, verdict = done.out.splitlines()
    assert re.match(r" *0\.\d s  live +\d+  balance \d+\.\d{6}  held \d+\.\d{6}  completed 0", first)
    completed, cut, refused, other = map(int, re.findall(r"(?:^|, )(\d+) ", calls))
    assert cut > 0
    assert other == 0
    funded, balance, charged = map(parse_amount, re.findall(r"\d+\.\d{6}", books))
    assert funded == balance + charged
    assert f"({completed + cut} charges in the ledger), drift 0 micros" in books
    assert refused >= 0
    assert verdict == "the books balance"
    sockets = (
        f"callgate-{os.geteuid()}"  # where the path of the folder is too long for a socket; of all gates of a user
    )
    left = [path for path in empty.folder.iterdir() if path.name != sockets or list(path.iterdir())]
    assert left == [], "the demo left something behind"


@pytest.mark.parametrize("seconds", ["0", "4.9", "-5", "soon"])
def test_the_demo_is_not_shorter_than_it_makes_sense(empty: Shell, seconds: str) -> None:
    assert empty("demo", "--seconds", seconds, status=2).status == 2


class Running:
    """A gate with one trunk each way, on ports of its own."""

    def __init__(self, shell: Shell, *, ready: bool = True) -> None:
        self.shell = shell
        self.sip, self.admin, self.caller, self.callee = free_ports()
        (shell.folder / "callgate.toml").write_text(self._settings())
        (shell.folder / "tenants.toml").write_text(PROVISIONING)
        if ready:
            shell("provision", "tenants.toml")
            shell("fund", "contoso", "5", "--reference", "r1")
        self.log = (shell.folder / "serve.log").open("wb")
        words = [sys.executable, "-m", "gateway.cli", "serve"]
        self.process = subprocess.Popen(words, cwd=shell.folder, stdout=subprocess.PIPE, stderr=self.log)
        if ready:
            self.say_ready()

    def say_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"callgate ready\n", (self.shell.folder / "serve.log").read_text()

    def _settings(self) -> str:
        return f"""
[node]
data_dir = "data"
[sip]
listen = ["udp://127.0.0.1:{self.sip}"]
drain_s = 1
[redis]
partitions = 4
[admin]
listen = "127.0.0.1:{self.admin}"
[telemetry]
ladder_calls = 10
[[trunk]]
name = "pbx"
role = "access"
tenant = "contoso"
hosts = ["127.0.0.1:{self.caller}"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.1:{self.callee}"]
targets = ["sip:127.0.0.1:{self.callee}"]
options_ping_s = 0
"""

    def load(self, *words: str) -> subprocess.Popen[str]:
        """Callers and callees."""
        ends = ["--target", f"sip:127.0.0.1:{self.sip}", "--uas", f"127.0.0.1:{self.callee}"]
        command = [sys.executable, "-m", "loadtest", "run", *ends, "--source", f"127.0.0.1:{self.caller}", *words]
        return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def api(self, method: str, path: str) -> Any:
        token = (self.shell.folder / "data" / TOKEN_FILE).read_text().strip()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", method=method)
        asked.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.loads(answer.read())

    def wait_until_ready(self) -> None:
        """Its stores too: a worker accepts calls after three seconds though a first start's Redis is not open yet."""
        until_s = time.monotonic() + 30
        while True:
            try:
                assert self.api("GET", "/readyz") == {"status": "ready"}
                return
            except urllib.error.HTTPError as unready:
                if unready.code != 503 or time.monotonic() > until_s:
                    raise
                time.sleep(0.1)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        self.log.close()
        assert out == b""
        return self.process.returncode


def test_a_gate_that_never_read_a_directory_is_not_ready(shell: Shell) -> None:
    """It hears SIP, for emergency calls, and says so; all others it would have to refuse, so /readyz says no."""
    ledger = shell.folder / "data" / "ledger.sqlite3"
    ledger.mkdir(parents=True)
    gate = Running(shell, ready=False)
    gate.say_ready()
    assert b"accepting calls" in (shell.folder / "serve.log").read_bytes()
    with pytest.raises(urllib.error.HTTPError) as refused:
        gate.api("GET", "/readyz")
    with refused.value as answer:
        assert "has not read its directory yet" in json.load(answer)["detail"]
    ledger.rmdir()
    gate.wait_until_ready()
    assert gate.end() == 0


def free_ports() -> tuple[int, ...]:
    sockets = [socket.socket(type=kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM) for _ in range(2)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        sip, caller, admin, callee = (int(each.getsockname()[1]) for each in sockets)
        return sip, admin, caller, callee
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def gate(shell: Shell) -> Iterator[Running]:
    running = Running(shell)
    yield running
    if running.process.poll() is None:
        running.end()
    running.log.close()


def test_a_live_call_is_seen_traced_hung_up_and_charged(gate: Running) -> None:
    shell = gate.shell
    gate.wait_until_ready()
    callers = gate.load("--calls", "1", "--cps", "10", "--hold", "60", "--hangup", "gateway", "--limit", "40")
    answered = lambda: [call for call in shell("calls", "--json").document if call["state"] == "answered"]  # noqa: E731
    (call,) = until(answered)
    assert (call["tenant"], call["from"], call["kind"]) == ("contoso", "+14255550100", "user_out")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", call["answered_at"])
    assert call["paid_until"] > call["answered_at"]
    assert parse_amount(call["held"]) > parse_amount(call["charged"]) >= 0
    assert gate.api("GET", "/api/v1/calls")[0]["id"] == call["id"]

    ladder = shell("trace", call["id"]).out
    assert "INVITE sip:" in ladder
    assert "200 OK (INVITE)" in ladder
    directions = {(rung["sent"], rung["peer"]) for rung in shell("trace", call["id"], "--json").document}
    peers = (f"udp:127.0.0.1:{gate.caller}", f"udp:127.0.0.1:{gate.callee}")
    assert directions == {(sent, peer) for sent in (True, False) for peer in peers}

    assert shell("hangup", call["id"], "--json").document == {"id": call["id"], "tenant": "contoso", "ended": True}
    assert shell("calls", "--json").document == []
    *_, settings, hung_up = shell("audit", "--json").document
    assert (settings["act"], settings["actor"], settings["subject"]) == ("settings.changed", "settings", "gate-1")
    assert settings["after"]["partitions"] == 4
    assert (hung_up["act"], hung_up["subject"], hung_up["tenant"]) == ("call.hangup", call["id"], "contoso")
    assert hung_up["actor"] == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    assert hung_up["before"]["state"] == "answered"
    callers.communicate(timeout=60)
    booked = lambda: [line for line in shell("ledger", "--tenant", "contoso", "--json").document if line["call_id"]]  # noqa: E731
    (charge,) = until(booked)
    (row,) = shell("usage", "--tenant", "contoso", "--json").document
    assert row["Reason Code"] == "HUNG_UP"
    assert parse_amount(charge["amount"]) == -row["Charge Micros"] < 0
    balance = until(lambda: settled(shell))
    assert parse_amount(balance["balance"]) == 5_000_000 - row["Charge Micros"]
    assert "INVITE sip:" in shell("trace", call["id"]).out, "a call that is over can be traced as well"
    assert gate.end() == 0


def settled(shell: Shell) -> Any:
    found = shell("balance", "contoso", "--json").document
    return found if found["unsynced"] == "0.000000" else None


def test_the_load_testers_audit_holds_by_the_api(gate: Running) -> None:
    token = f"file:{gate.shell.folder / 'data' / TOKEN_FILE}"
    admin = ("--admin", f"http://127.0.0.1:{gate.admin}", "--token", token)
    callers = gate.load("--calls", "10", "--cps", "10", "--hold", "1", *admin)
    out, _ = callers.communicate(timeout=60)
    figures = json.loads(out)
    assert callers.returncode == 0, figures["faults"]
    assert figures["audit"]["holds"] is True
    assert gate.api("GET", "/api/v1/reconcile")["clean"] is True


def test_money_reaches_a_running_gate_at_once_and_new_decks_too(gate: Running) -> None:
    shell = gate.shell
    assert shell("fund", "contoso", "1", "--reference", "r2", "--json").document["applied"] is True
    assert gate.api("GET", "/api/v1/tenants/contoso/balance")["balance"] == "6.000000"
    (shell.folder / "deck.csv").write_text((shell.folder / "deck.csv").read_text().replace("600000", "1200000"))
    shell("rates", "load", "deck.csv", "--deck", "standard")
    log: Path = shell.folder / "serve.log"
    until(lambda: log.read_text().count("directory read") >= 2)


def test_tracing_without_a_worker_is_told(provisioned: Shell) -> None:
    assert provisioned("trace", "nope", status=1).failed("no worker", "callgate serve")
