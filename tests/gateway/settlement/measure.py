"""Measures the settler: ``python tests/gateway/settlement/measure.py [CHARGES] [TENANTS] [CHARGES_PER_SECOND]``.

A settler of its own process, a real Redis with 256 partitions, a real SQLite: first it books a backlog as fast as it
can, then it idles, then it books a steady stream.  CPU is user and system time of the settler's process, in
microseconds a charge; of the steady stream without and with what it needs when idle.  It is no test: a time depends
on the machine.
"""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from conftest import DECK, Nursery, Server, record
from redis.asyncio import Redis

from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.ledger import Ledger
from gateway.settlement import settle_in

PARTITIONS = 256
AT_ONCE = 500
IDLE_S = 5
STEADY_S = 10


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def add_charges(redis: Redis, tenants: list[str], count: int) -> None:
    """What the settle script appends, without the calls before it."""
    keys = Keyspace(PARTITIONS)
    for start in range(0, count, AT_ONCE):
        pipeline = redis.pipeline(transaction=False)
        for number in range(start, min(start + AT_ONCE, count)):
            tenant, call_id = tenants[number % len(tenants)], str(uuid.uuid4())
            fields = {"kind": "settle", "call": f"{call_id} {tenant}", "charge": "20000", "owner": "gate-1/0"}
            fields["record"] = record(call_id, tenant, 60_000, 20_000).decode()
            pipeline.xadd(keys.partition(tenant).outbox, fields)  # type: ignore[arg-type]
        await pipeline.execute()


async def emptied(credit: CreditAdmin) -> None:
    while (await credit.outbox_state()).pending:
        await asyncio.sleep(0.05)


async def measure(folder: Path, charges: int, tenants: list[str], per_second: int) -> None:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    people = [{"id": tenant, "rate_deck": "standard"} for tenant in tenants]
    server = Server(folder)
    credit, redis = CreditAdmin(server.url), Redis(unix_socket_path=str(server.socket))
    try:
        async with Ledger.open("embedded", folder) as ledger:
            await ledger.migrate()
            await ledger.provision(parse({"rate_deck": decks, "tenant": people}, "measure.toml", folder))
            await settle_in(ledger, credit)
        await add_charges(redis, tenants, charges)
        settler = Nursery(folder, server.url, PARTITIONS, hasty=False)
        began_s, began_cpu_s = time.perf_counter(), cpu_s(settler.pid)
        await emptied(credit)
        took_s, took_cpu_s = time.perf_counter() - began_s, cpu_s(settler.pid) - began_cpu_s
        print(f"backlog of {charges}, {len(tenants)} tenants: {charges / took_s:.0f} charges/s, "
              f"{took_cpu_s / charges * 1e6:.0f} us of settler CPU a charge")  # fmt: skip
        began_cpu_s = cpu_s(settler.pid)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_s(settler.pid) - began_cpu_s) / IDLE_S
        began_s, began_cpu_s, sent = time.perf_counter(), cpu_s(settler.pid), 0
        while (now_s := time.perf_counter() - began_s) < STEADY_S:
            due = int(now_s * per_second) - sent
            await add_charges(redis, tenants, due)
            sent += due
            await asyncio.sleep(0.02)
        await emptied(credit)
        took_s, took_cpu_s = time.perf_counter() - began_s, cpu_s(settler.pid) - began_cpu_s
        print(f"steady {sent / took_s:.0f} charges/s: {(took_cpu_s - idle * took_s) / sent * 1e6:.0f} us a charge, "
              f"{took_cpu_s / sent * 1e6:.0f} with the {idle * 1000:.0f} ms a second of an idle settler")  # fmt: skip
        settler.close()
    finally:
        await redis.aclose()
        await credit.close()
        server.kill()


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    charges, tenants, per_second = [*given, *(20_000, 50, 500)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), charges, [f"tenant-{number}" for number in range(tenants)], per_second))


if __name__ == "__main__":
    main()
