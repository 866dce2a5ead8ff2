"""``python -m tests.chaos``: a real gate under SIPp's load while its processes are killed, stopped and cut off, then
the audit, to the micro.

The gate, Redis (append-only file on), PostgreSQL (``fsync`` on) and SIPp are real; the seed decides what breaks when.
What is not asked: that every call succeeds, since a caller whose gate is dead hears nothing.  What is asked: that
afterwards no money is missing or doubled (ledger = Redis, drift 0, money in = balance + charged), nothing is held, no
call is up, and no call was charged twice.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.audit import audit
from loadtest.bench.gate import CommandBooks, Gate, Trunks
from loadtest.bench.processes import Children, free_port, wait_until
from loadtest.bench.sipp import CALLER, Sipp
from loadtest.wire import Address
from tests.chaos.faults import DATABASE, Fate, Proxy
from tests.gateway.cluster import Cluster
from tests.live.conftest import CARRIER, DECK, PBX, tenants
from tests.peers import find_program

TENANTS = tuple(f"tenant{number}" for number in range(10))
MONEY = "1000000"
HOLD_MS = 3_000
PAUSE_S = (1.0, 6.0)
"""Between two faults."""

CALM_S = 180.0
"""How long leases, sweeps and the settler have to bring everything to rest: a lease outlasts its call by 30 s, and
nothing is swept for 30 s after Redis was away."""


def main() -> int:
    """Exit status 1 where the audit does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--cps", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callgate-chaos-")))
        children, ledger = stack.enter_context(Children()), stack.enter_context(_ledger(asked))
        report = _run(children, folder, ledger, asked.seconds, asked.cps, asked.seed)
    print(json.dumps(report, indent=2) if asked.json else _text(report))
    return int(bool(report["faults"]))


@contextlib.contextmanager
def _ledger(asked: argparse.Namespace) -> Iterator[Cluster | None]:
    """A PostgreSQL of the run's own on a real disk, with ``fsync`` on; none where the ledger is SQLite."""
    if asked.ledger == "sqlite":
        yield None
        return
    program = find_program("postgres")
    if program is None:
        raise SystemExit("PostgreSQL is not installed (Debian: apt-get install postgresql), or say --ledger sqlite")
    with contextlib.closing(Cluster(Path(program).parent, durable=True)) as cluster:
        yield cluster


def _run(
    children: Children, folder: Path, ledger: Cluster | None, seconds: float, cps: float, seed: int
) -> dict[str, Any]:
    gate, proxy = _gate(children, folder, ledger)
    gate.start()
    struck: list[str] = []
    began_s = time.monotonic()

    def note(what: str) -> None:
        struck.append(f"{time.monotonic() - began_s:.1f} {what}")

    fate = Fate(gate, proxy, ledger, random.Random(seed), note)
    caller, callee = Sipp(children, folder, "caller"), Sipp(children, folder, "callee")
    calls = int(seconds * cps)
    callee.start_callee(Address(CARRIER, int(gate.trunks.carrier_targets[0].rpartition(":")[2])), 50)
    pairs = [(f"+14255550{index % len(TENANTS):03d}", f"+4420{index:08d}") for index in range(calls)]
    caller.start_caller(Address(PBX, free_port(PBX)), gate.sip, pairs, cps, scenario=CALLER, hold_ms=HOLD_MS)
    try:
        _strike_until(fate, began_s + seconds)
        caller.wait(60.0)
    finally:
        caller.stop()
        callee.stop()
    told = caller.statistics()
    return {
        "seed": seed, "seconds": seconds, "cps": cps, "ledger": "postgres" if ledger else "sqlite",
        "struck": struck, "calls": calls,
        "succeeded": told.get("SuccessfulCall", 0), "failed": told.get("FailedCall", 0),
        "retransmissions": told.get("Retransmissions", 0), **_at_rest(gate), "faults": _faults(gate),
    }  # fmt: skip


def _gate(children: Children, folder: Path, ledger: Cluster | None) -> tuple[Gate, Proxy]:
    """A gate whose way to Redis is a proxy."""
    carrier = free_port(CARRIER)
    trunks = Trunks([PBX], [CARRIER], [f"sip:{CARRIER}:{carrier}"])
    listens = folder / "proxy.sock"
    sections = {"ledger": f'url = "{ledger.create(DATABASE)}"'} if ledger is not None else {}
    gate = Gate(children, folder / "gate", trunks, sections=sections)
    gate.config.write_text(gate.config.read_text().replace(str(gate.redis_socket), str(listens)))
    gate.start_redis()
    proxy = Proxy(listens, gate.redis_socket)
    gate.provision(tenants(*TENANTS), DECK, [(name, MONEY) for name in TENANTS])
    return gate, proxy


def _strike_until(fate: Fate, end_s: float) -> None:
    while True:
        rest_s = fate.dice.uniform(*PAUSE_S)
        if time.monotonic() + rest_s > end_s:
            return
        time.sleep(rest_s)
        time.sleep(fate.strike())


def _at_rest(gate: Gate) -> dict[str, Any]:
    """Wait until nothing is live or waiting; how long that took."""
    began_s = time.monotonic()

    def rested() -> bool:
        samples = gate.metrics()
        held = sum(value for name, value in samples.items() if name.startswith("callgate_held_micros"))
        return not held and not samples.get("callgate_outbox_pending", 1.0)

    wait_until(rested, CALM_S, "rest after chaos", gate.process, gate.log)
    return {"at_rest_after_s": round(time.monotonic() - began_s, 1)}


def _faults(gate: Gate) -> list[str]:
    found = audit(CommandBooks(gate, TENANTS))
    told = [f"{tenant.tenant}: {fault}" for tenant in found.tenants for fault in tenant.faults]
    return [*found.faults, *told]


def _text(report: dict[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in report.items() if key not in ("struck", "faults")]
    lines += [f"  {line}" for line in report["struck"]]
    return "\n".join([*lines, *(f"FAULT {fault}" for fault in report["faults"]), f"{len(report['faults'])} faults"])


if __name__ == "__main__":
    sys.exit(main())
