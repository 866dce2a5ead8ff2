"""A real gate for the benchmark and for tests with real peers: its own folder, its own Redis, free ports.

It is used from outside only: its settings file, its command line, its SIP port and its metrics.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import loadtest
from loadtest.audit import AuditError
from loadtest.bench.proc import command_line
from loadtest.bench.processes import (
    Children,
    StartError,
    descendants,
    free_port,
    free_sip_port,
    free_sip_ports,
    wait_until,
)
from loadtest.wire import Address

READY: Final = "callgate ready"
READY_S: Final = 30.0
COMMAND_S: Final = 300.0
"""The longest a batch of commands may take: five hundred fundings are a few dozen seconds."""

SETTLED_S: Final = 30.0
"""How long the settler has to book what a run left in the outbox."""

UNIX_PATH_MAX: Final = 107
"""Characters of a Unix socket's path (sockaddr_un)."""

ROLES: Final = ("worker", "settler", "admin")

_MANY: Final = """
import contextlib, io, json, sys
from gateway.cli import main
results = []
for words in json.load(sys.stdin):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["callgate", *words]
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    results.append([status, *(stream.buffer.getvalue().decode() for stream in (out, err))])
json.dump(results, sys.__stdout__)
"""
"""Runs many commands in one interpreter: starting one for each funding would take longer than the benchmark."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one command answered."""

    words: Sequence[str]
    status: int
    out: str
    err: str

    def document(self) -> Any:
        """Its JSON document; raises :class:`AuditError` where it printed none."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise AuditError(f"callgate {' '.join(self.words)} (status {self.status}): {self.err.strip()}") from None


@dataclass(frozen=True, slots=True)
class Trunks:
    """Who may call and where calls go: ``hosts`` and ``targets`` as in the settings file."""

    access_hosts: Sequence[str]
    carrier_hosts: Sequence[str]
    carrier_targets: Sequence[str]
    access_targets: Sequence[str] = ()
    access_lines: str = 'tenant_from = "caller"'
    carrier_lines: str = "options_ping_s = 0"


@dataclass(slots=True)
class Gate:
    """One ``callgate serve`` with its stores; ``sections`` adds lines to sections of its settings file by name.

    ``redis_url``: a Redis that somebody else runs; where there is none and ``own_redis`` is False it is embedded.
    """

    children: Children
    folder: Path
    trunks: Trunks
    sip: Address = field(default_factory=lambda: Address("127.0.0.1", free_sip_port()))
    sections: Mapping[str, str] = field(default_factory=dict)
    own_redis: bool = True
    redis_url: str = ""
    workers: int = 1
    redis: "subprocess.Popen[bytes] | None" = None
    process: "subprocess.Popen[bytes] | None" = None
    admin: Address = field(init=False)
    config: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.admin = Address("127.0.0.1", free_port(kind=1))
        self.config = self.folder / "callgate.toml"
        self.config.write_text(self._settings())

    @property
    def redis_socket(self) -> Path:
        """The Unix socket of the Redis of this gate's own (where it is not the embedded one)."""
        return self.folder / "redis.sock"

    @property
    def log(self) -> Path:
        """All that the gate wrote."""
        return self.folder / "gate.log"

    def provision(self, provisioning: str, deck: str, fundings: Iterable[tuple[str, str]]) -> None:
        """Load tenants and ``deck`` (as ``deck.csv``), then book money: (tenant, amount) each.

        Raises :class:`StartError` where the gate refuses one of them.
        """
        (self.folder / "deck.csv").write_text(deck)
        tenants = self.folder / "tenants.toml"
        tenants.write_text(provisioning)
        funds = [["fund", tenant, amount, "--reference", f"first-{tenant}"] for tenant, amount in fundings]
        for said in self.run_many([["provision", str(tenants)], *funds]):
            if said.status:
                raise StartError(f"callgate {' '.join(said.words)}: {said.err.strip() or said.out.strip()}")

    def start_redis(self) -> None:
        """Start this gate's own Redis with its append-only file on."""
        server = shutil.which("redis-server") or shutil.which("valkey-server")
        if server is None:
            raise StartError("redis-server is not on PATH (Debian: apt-get install redis-server)")
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        log = self.folder / "redis.log"
        if len(str(self.redis_socket)) > UNIX_PATH_MAX:
            raise StartError(f"{self.redis_socket}: the path of a Unix socket has {UNIX_PATH_MAX} characters at most")
        options = {"port": "0", "unixsocket": self.redis_socket, "dir": data, "save": "", "appendonly": "yes"}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.redis = self.children.start([server, *words], log)
        wait_until(self.redis_socket.exists, 10.0, "redis-server", self.redis, log)

    def start(self) -> None:
        """Start the gate and wait until it accepts calls; raises :class:`StartError`."""
        if self.own_redis and self.redis is None:
            self.start_redis()
        was = self.log.stat().st_size if self.log.exists() else 0
        program = [sys.executable, "-c", "from gateway.cli import main; main()", "serve"]
        self.process = self.children.start(program, self.log, cwd=self.folder, env=self._environment())

        def ready() -> bool:
            with self.log.open("rb") as log:
                log.seek(was)
                return READY.encode() in log.read()

        wait_until(ready, READY_S, "callgate serve", self.process, self.log)

    def stop(self) -> int:
        """End the gate by SIGTERM; returns its exit status."""
        assert self.process is not None
        process, self.process = self.process, None
        return self.children.stop(process, wait_s=40.0)

    def stop_redis(self) -> None:
        """End this gate's own Redis at once, as a crash would."""
        assert self.redis is not None
        self.redis.kill()
        self.children.stop(self.redis)
        self.redis = None

    def run(self, *words: str) -> Said:
        """One command of the gate's command line."""
        return self.run_many([list(words)])[0]

    def run_many(self, commands: Sequence[Sequence[str]]) -> list[Said]:
        """Many commands, one after another, in one process; raises :class:`StartError` where that breaks."""
        done = subprocess.run(
            [sys.executable, "-c", _MANY],
            input=json.dumps(commands), capture_output=True, text=True, timeout=COMMAND_S, check=False,
            cwd=self.folder, env=self._environment(),
        )  # fmt: skip
        try:
            results = json.loads(done.stdout)
        except ValueError:
            raise StartError(f"callgate: {done.stderr.strip()[-2000:]}") from None
        return [Said(words, *result) for words, result in zip(commands, results, strict=True)]

    def pids(self) -> dict[str, list[int]]:
        """The processes by role; ``redis`` is this gate's own or the embedded one."""
        assert self.process is not None
        found: dict[str, list[int]] = {role: [] for role in (*ROLES, "redis")}
        for pid in descendants(self.process.pid):
            words = command_line(pid)
            role = next((role for role in ROLES if role in words), "")
            if words and ("redis-server" in words[0] or "valkey-server" in words[0]):
                role = "redis"
            if role:
                found[role].append(pid)
        if self.redis is not None:
            found["redis"].append(self.redis.pid)
        return found

    def token(self) -> str:
        """The bearer token the gate made at its first start."""
        return (self.folder / "state" / "admin-token").read_text().strip()

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``, labels and all as one name."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = {}
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                with contextlib.suppress(ValueError):
                    samples[name] = float(value)
        return samples

    def wait_booked(self, within_s: float = SETTLED_S) -> bool:
        """Wait until no call is live and the outbox is empty, twice a second and a half apart (gauges age one)."""
        give_up_s = time.monotonic() + within_s
        quiet = 0
        while quiet < 2:
            samples = self.metrics()
            left = sum(value for name, value in samples.items() if name.startswith("callgate_calls_active"))
            quiet = quiet + 1 if not left and not samples.get("callgate_outbox_pending", 0.0) else 0
            if time.monotonic() > give_up_s:
                return False
            time.sleep(1.5 if quiet == 1 else 0.2)
        return True

    def _environment(self) -> dict[str, str]:
        root = str(Path(loadtest.__file__).parents[1])
        paths = [root, os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "CALLGATE_CONFIG": str(self.config), "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def _workers(self) -> str:
        """Lines of the sip section for the workers; several need a private port each, side by side."""
        if self.workers == 1:
            return "workers = 1"
        first = free_sip_ports(self.workers)
        return f'workers = {self.workers}\nworker_ports = "{first}-{first + self.workers - 1}"'

    def _settings(self) -> str:
        trunks = self.trunks
        redis = self.redis_url or (f"unix://{self.redis_socket}" if self.own_redis else "embedded")
        sections = {
            "node": f'name = "{self.folder.name}"\ndata_dir = {_text(self.folder / "state")}',
            "sip": f'listen = ["udp://{self.sip}", "tcp://{self.sip}"]\n{self._workers()}',
            "redis": f"url = {_text(redis)}",
            "admin": f'listen = "{self.admin}"',
        }
        for name, lines in self.sections.items():
            sections[name] = f"{sections.get(name, '')}\n{lines}".strip()
        text = "\n\n".join(f"[{name}]\n{lines}" for name, lines in sections.items())
        access = f'name = "pbx"\nrole = "access"\n{trunks.access_lines}\nhosts = {_list(trunks.access_hosts)}\n'
        carrier = f'name = "carrier"\nrole = "carrier"\n{trunks.carrier_lines}\nhosts = {_list(trunks.carrier_hosts)}\n'
        access += f"targets = {_list(trunks.access_targets)}\n"
        carrier += f"targets = {_list(trunks.carrier_targets)}\n"
        return f"{text}\n\n[[trunk]]\n{access}\n[[trunk]]\n{carrier}"


class CommandBooks:
    """The gate's books by its command line, for :func:`loadtest.audit.audit`."""

    def __init__(self, gate: Gate, tenants: Sequence[str]) -> None:
        self._gate = gate
        self._tenants = tenants
        self._said: dict[tuple[str, str], Any] = {}

    def tenants(self) -> Iterable[str]:
        """The tenants given; reads all the books at once."""
        asked = [(kind, tenant) for tenant in self._tenants for kind in ("balance", "ledger")] + [("reconcile", "")]
        words = [_question(kind, tenant) for kind, tenant in asked]
        answers = self._gate.run_many(words)
        self._said = {key: said.document() for key, said in zip(asked, answers, strict=True)}
        return self._tenants

    def balance(self, tenant: str) -> dict[str, Any]:
        """``callgate balance TENANT --json``."""
        found: dict[str, Any] = self._said["balance", tenant]
        return found

    def ledger(self, tenant: str) -> list[dict[str, Any]]:
        """The postings of ``callgate ledger --tenant TENANT --json``."""
        postings: list[dict[str, Any]] = self._said["ledger", tenant]
        return postings

    def reconcile(self) -> dict[str, Any]:
        """``callgate reconcile --json``."""
        found: dict[str, Any] = self._said["reconcile", ""]
        return found


def _question(kind: str, tenant: str) -> list[str]:
    questions = {
        "balance": ["balance", tenant, "--json"],
        "ledger": ["ledger", "--tenant", tenant, "--json"],
        "reconcile": ["reconcile", "--json"],
    }
    return questions[kind]


def _text(value: object) -> str:
    """A TOML basic string; JSON's escapes are TOML's."""
    return json.dumps(str(value))


def _list(values: Iterable[str]) -> str:
    return json.dumps(list(values))
