"""Measures large directories: ``python tests/gateway/worker/measure.py [--users N] [--prefixes N] [--deck FILE]``.

A real ``callgate serve`` with two workers, an embedded Redis and SQLite in a temporary folder: 100,000 users in 100
tenants with seven sets of licences, and a deck of 336,736 prefixes, made up where no file is given.  It prints how long
the start takes (``serve`` to ``callgate ready``, and until each worker has read the directory) and the memory of each
worker (PSS: its share of what it shares; peak: the most it ever had); then a user is changed five times by ``callgate
provision``, and it prints how long after that command's commit each worker decides by it, and the longest time that an
OPTIONS sent to a worker each millisecond waited for its answer, in rest and during the changes; at last the median of
a decision over that directory.  It is no test: a time depends on the machine.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from gateway.config.facts import number_plan
from gateway.ledger import Ledger, ledger_url
from policy.decide import decide
from policy.directory import Trunk
from policy.verdict import CallRequest

TENANTS, CHANGES, CALLS, WORKERS = 100, 5, 20_000, 2
REST_S, SETTLE_S = 5.0, 8.0
PORTS = (15_071, 15_072)
LICENCES = (
    ("MCOPSTNPP",),
    ("MCOPSTN1", "MCOPSTNPP"),
    ("MCOPSTN2", "MCOPSTNPP", "MCOMEETADD"),
    ("MCOPSTN5", "MCOPSTN6", "MCOPSTNPP"),
    ("MCOPSTN8", "MCOPSTNPP"),
    ("PAYG-1", "MCOPSTNPP"),
    ("MCOMEETADD", "MCOMEETADD_DIALOUT_US", "MCOPSTNC"),
)
CODES = ("1", "44", "49", "33", "91", "86", "263", "52", "55", "61", "81", "39")
TRUNKS = {
    "shared": Trunk("shared", "access", tenant_from="caller", targets=("sip:127.0.0.2:15091",)),
    "carrier": Trunk("carrier", "carrier", targets=("sip:127.0.0.1:15090",)),
}
SETTINGS = """[node]
data_dir = "{folder}/data"
[sip]
listen = ["udp://127.0.0.1:15070"]
workers = 2
worker_ports = "15071-15079"
[admin]
listen = "127.0.0.1:15080"
[[trunk]]
name = "shared"
role = "access"
tenant_from = "caller"
hosts = ["127.0.0.0/8"]
targets = ["sip:127.0.0.2:15091"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.1:15090"]
targets = ["sip:127.0.0.1:15090"]
options_ping_s = 0
"""


def write_deck(path: Path, prefixes: int) -> None:
    dice, seen = random.Random(1), dict.fromkeys(CODES)
    while len(seen) < prefixes:
        code = dice.choice(CODES)
        seen[code + str(dice.randrange(10**6)).zfill(6)[: dice.randint(3, 6)]] = None
    rates = [dice.randrange(5_000, 30_000) for _ in range(3_000)]  # as of a real deck, which has many rows a place
    rows = (f"{each},Place {each[:4]},{rates[int(each[:4]) % len(rates)]},0,60,60" for each in sorted(seen))
    header = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s"
    path.write_text("\n".join([header, *rows, ""]))


def write_tenants(path: Path, users: int, names: range, changed: str = "") -> None:
    lines = []
    for tenant in names:
        lines.append(f'[[tenant]]\nid = "t{tenant}"\nrate_deck = "standard"\nlicensing = "per-user"')
        for place in range(tenant, users, TENANTS):
            name = changed if changed and place == tenant else f"User {place}"
            words = ", ".join(f'"{each}"' for each in LICENCES[place % len(LICENCES)])
            lines.append(
                f'[[tenant.user]]\nid = "u{place}"\nname = "{name}"\nnumber = "+1425{place:07d}"\n'
                f'usage_location = "US"\nlicences = [{words}]'
            )
    path.write_text("\n".join([*lines, ""]))


def callgate(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", *words]


class Serving:
    """A ``callgate serve`` and what its log says."""

    def __init__(self, settings: Path) -> None:
        began_s = time.monotonic()
        self._process = subprocess.Popen(
            callgate("serve", "-c", str(settings)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.read: dict[str, list[tuple[int, float]]] = {}
        threading.Thread(target=self._hear, daemon=True).start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("callgate ready"), line
        self.start_s = time.monotonic() - began_s
        while len(self.read) < WORKERS:
            time.sleep(0.01)
        self.read_s = time.monotonic() - began_s

    def _hear(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("event") == "directory read":
                at_s = datetime.fromisoformat(said["timestamp"]).timestamp()
                self.read.setdefault(said["process"], []).append((said["version"], at_s))

    def workers(self) -> dict[str, int]:
        found = {}
        for place in Path("/proc").iterdir():
            if place.name.isdigit() and self._is_below(int(place.name)):
                command = (place / "cmdline").read_bytes().decode().replace("\0", " ")
                found[command] = int(place.name)
        return found

    def _is_below(self, pid: int) -> bool:
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            return False
        return parent == self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


class Pings:
    """OPTIONS to one worker each millisecond, by a thread; the longest wait for an answer since the last look."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(5)
        self._waits_s: list[float] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        here = "{}:{}".format(*self._socket.getsockname())
        number = 0
        while True:
            number += 1
            text = (
                f"OPTIONS sip:gate SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:m@{here}>;tag=m\r\nTo: <sip:gate>\r\nCall-ID: {number}@m\r\nCSeq: {number} OPTIONS\r\n"
                f"Content-Length: 0\r\n\r\n"
            )
            sent_s = time.perf_counter()
            try:
                self._socket.send(text.encode())
                self._socket.recv(65_536)
            except OSError:  # the worker has ended
                return
            self._waits_s.append(time.perf_counter() - sent_s)
            time.sleep(0.001)

    def look(self) -> str:
        waits, self._waits_s = sorted(self._waits_s), []
        over = sum(wait > 0.005 for wait in waits)
        p99, longest = waits[len(waits) * 99 // 100] * 1e3, waits[-1] * 1e3
        return f"p99 {p99:.1f}, longest {longest:.1f} ms, {over} above 5 ms of {len(waits)}"


def memory(pid: int) -> str:
    rows = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if ":" in line
    )
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return f"{int(rows['Pss'].split()[0]) // 1024} MB PSS, {int(peak.split()[1]) // 1024} MB peak"


async def decisions(folder: Path, users: int) -> None:
    async with Ledger(ledger_url("embedded", folder / "data")) as ledger:
        began_s = time.perf_counter()
        directory = await ledger.directory(TRUNKS)
        print(f"directory read whole in {time.perf_counter() - began_s:.1f} s")
    dice, plan, times_us = random.Random(1), number_plan(), []
    called = ["+442079461234", "011493012345678", "14155551234", "+919812345678", "911", "+33123456789"]
    for _ in range(CALLS):
        caller, kind = f"+1425{dice.randrange(users):07d}", dice.choice(("", "", "", "conference"))
        request = CallRequest("shared", dice.choice(called), caller, time.time_ns() // 10**6, x_kind=kind)
        began_s = time.perf_counter()
        decide(directory, plan, request)
        times_us.append((time.perf_counter() - began_s) * 1e6)
    quantiles = statistics.quantiles(times_us, n=100)
    print(f"decision: median {quantiles[49]:.1f} us, p99 {quantiles[98]:.1f} us")


def change(folder: Path, settings: Path, users: int, serving: Serving, pings: dict[int, Pings]) -> None:
    for number in range(CHANGES):
        path = folder / "change.toml"
        write_tenants(path, users, range(number, number + 1), f"Changed {number}")
        before = {name: said[-1][0] for name, said in serving.read.items()}
        subprocess.run(callgate("provision", str(path), "-c", str(settings)), check=True, stdout=subprocess.DEVNULL)
        done_s = time.time()
        time.sleep(SETTLE_S)
        late = [f"{name} {said[-1][1] - done_s:+.2f} s" for name, said in sorted(serving.read.items())
                if said[-1][0] > before[name]]  # fmt: skip
        print(f"change {number + 1} after its command: {', '.join(late)}")
        for port, ping in pings.items():
            print(f"  port {port}: {ping.look()}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--prefixes", type=int, default=336_736)
    parser.add_argument("--deck", type=Path, help="a deck of your own instead of one that is made up")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings, deck = folder / "callgate.toml", asked.deck or folder / "deck.csv"
        settings.write_text(SETTINGS.format(folder=folder))
        if asked.deck is None:
            write_deck(deck, asked.prefixes)
        write_tenants(folder / "all.toml", asked.users, range(TENANTS))
        head = f'[[rate_deck]]\nname = "standard"\ncurrency = "USD"\nfile = "{deck.absolute()}"\n'
        (folder / "all.toml").write_text(head + (folder / "all.toml").read_text())
        began_s = time.monotonic()
        provision = callgate("provision", str(folder / "all.toml"), "-c", str(settings))
        subprocess.run(provision, check=True, stdout=subprocess.DEVNULL)
        print(f"provisioned in {time.monotonic() - began_s:.1f} s; {os.cpu_count()} cores")
        serving = Serving(settings)
        try:
            measure(folder, settings, asked.users, serving)
        finally:
            serving.stop()
        asyncio.run(decisions(folder, asked.users))


def measure(folder: Path, settings: Path, users: int, serving: Serving) -> None:
    time.sleep(SETTLE_S)
    print(f"ready in {serving.start_s:.1f} s, all workers decide by the whole directory after {serving.read_s:.1f} s")
    for command, pid in serving.workers().items():
        print(f"{memory(pid)}: {command[-60:]}")
    pings = {port: Pings(port) for port in PORTS}
    time.sleep(REST_S)
    for port, ping in pings.items():
        print(f"in rest, port {port}: {ping.look()}")
    change(folder, settings, users, serving, pings)
    for command, pid in serving.workers().items():
        print(f"{memory(pid)}: {command[-60:]}")


if __name__ == "__main__":
    main()
