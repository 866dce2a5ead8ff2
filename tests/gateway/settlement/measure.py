"""Measures the settler: ``python tests/gateway/settlement/measure.py [CHARGES] [TENANTS] [CHARGES_PER_SECOND]``.

A settler of its own process, a real Redis with 256 partitions, and a ledger: SQLite in a temporary folder, with
``--ledger postgresql://…`` an empty database of any PostgreSQL, with ``--ledger postgres`` a cluster made for the
measurement, with ``fsync`` on as a customer's has it.  First the settler books a backlog as fast as it can, then it
idles, then it books a steady stream.  CPU is user and system time of the settler's process, in microseconds a charge;
of the steady stream without and with what it needs when idle.  The delay of a charge runs from Redis' moment of its
outbox entry to Redis' moment of the order that tells its worker that it is booked, so it holds the commit and a little
more.  It is no test: a time depends on the machine.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from cluster import Cluster
from conftest import DECK, Nursery, Server, record
from peers import find_program
from redis.asyncio import Redis

from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Booked
from gateway.ledger import Ledger, ledger_url
from gateway.settlement import settle_in

PARTITIONS = 256
AT_ONCE = 500
IDLE_S = 5
STEADY_S = 10
WORKER = "gate-1/0"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def add_charges(redis: Redis, tenants: list[str], count: int) -> dict[str, int]:
    """What the settle script appends, without the calls before it; Redis' moment of each in Unix milliseconds."""
    keys, added = Keyspace(PARTITIONS), dict[str, int]()
    for start in range(0, count, AT_ONCE):
        pipeline, ids = redis.pipeline(transaction=False), []
        for number in range(start, min(start + AT_ONCE, count)):
            tenant, call_id = tenants[number % len(tenants)], str(uuid.uuid4())
            fields = {"kind": "settle", "call": f"{call_id} {tenant}", "charge": "20000", "owner": WORKER}
            fields["record"] = record(call_id, tenant, 60_000, 20_000).decode()
            pipeline.xadd(keys.partition(tenant).outbox, fields)  # type: ignore[arg-type]
            ids.append(call_id)
        for call_id, entry in zip(ids, await pipeline.execute(), strict=True):
            added[call_id] = _moment(entry.decode())
    return added


def _moment(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


async def hear_booked(credit: CreditAdmin, heard: dict[str, int]) -> None:
    """Redis' moment at which the worker was told of each charge."""
    after = "0-0"
    while True:
        for entry_id, order in await credit.read_orders(WORKER, after, block_s=0.5):
            after = entry_id
            if isinstance(order, Booked):
                heard.update(dict.fromkeys(order.call_ids, _moment(entry_id)))


async def emptied(credit: CreditAdmin) -> None:
    while (await credit.outbox_state()).pending:
        await asyncio.sleep(0.05)


async def steady(redis: Redis, credit: CreditAdmin, tenants: list[str], per_second: int) -> tuple[int, list[int]]:
    """A stream of charges; how many, and their delays in milliseconds in order."""
    sent, heard, began_s, count = dict[str, int](), dict[str, int](), time.perf_counter(), 0
    hearing = asyncio.create_task(hear_booked(credit, heard))
    while (now_s := time.perf_counter() - began_s) < STEADY_S:
        due = int(now_s * per_second) - count
        sent |= await add_charges(redis, tenants, due)
        count += due
        await asyncio.sleep(0.02)
    await emptied(credit)
    while not sent.keys() <= heard.keys():
        await asyncio.sleep(0.05)
    hearing.cancel()
    return count, sorted(heard[call_id] - sent[call_id] for call_id in sent)


async def measure(folder: Path, url: str, charges: int, tenants: list[str], per_second: int) -> None:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    people = [{"id": tenant, "rate_deck": "standard"} for tenant in tenants]
    server = Server(folder)
    credit, redis = CreditAdmin(server.url), Redis(unix_socket_path=str(server.socket))
    try:
        async with Ledger(url) as ledger:
            await ledger.migrate()
            await ledger.provision(parse({"rate_deck": decks, "tenant": people}, "measure.toml", folder))
            await settle_in(ledger, credit)
        await add_charges(redis, tenants, charges)
        settler = Nursery(folder, url, server.url, PARTITIONS, hasty=False)
        began_s, began_cpu_s = time.perf_counter(), cpu_s(settler.pid)
        await emptied(credit)
        took_s, took_cpu_s = time.perf_counter() - began_s, cpu_s(settler.pid) - began_cpu_s
        print(f"backlog of {charges}, {len(tenants)} tenants: {charges / took_s:.0f} charges/s, "
              f"{took_cpu_s / charges * 1e6:.0f} us of settler CPU a charge")  # fmt: skip
        began_cpu_s = cpu_s(settler.pid)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_s(settler.pid) - began_cpu_s) / IDLE_S
        began_s, began_cpu_s = time.perf_counter(), cpu_s(settler.pid)
        sent, delays_ms = await steady(redis, credit, tenants, per_second)
        took_s, took_cpu_s = time.perf_counter() - began_s, cpu_s(settler.pid) - began_cpu_s
        print(f"steady {sent / took_s:.0f} charges/s: {(took_cpu_s - idle * took_s) / sent * 1e6:.0f} us a charge, "
              f"{took_cpu_s / sent * 1e6:.0f} with the {idle * 1000:.0f} ms a second of an idle settler")  # fmt: skip
        p50, p99 = (delays_ms[int(len(delays_ms) * share)] for share in (0.5, 0.99))
        print(f"settled to booked: p50 {p50} ms, p99 {p99} ms, longest {delays_ms[-1]} ms")
        settler.close()
    finally:
        await redis.aclose()
        await credit.close()
        server.kill()


@contextlib.contextmanager
def ledger_at(given: str, folder: Path) -> Iterator[str]:
    """The ledger's URL as ``--ledger`` asks for it."""
    if given != "postgres":
        yield ledger_url(given, folder)
        return
    program = find_program("postgres")
    assert program is not None, "install Debian's postgresql"
    cluster = Cluster(program.parent, durable=True)
    try:
        yield ledger_url(cluster.create("measured"), folder)
    finally:
        cluster.close()


def main() -> None:
    words = argparse.ArgumentParser(description="Measures the settler.")
    words.add_argument("charges", nargs="?", type=int, default=20_000, help="the backlog")
    words.add_argument("tenants", nargs="?", type=int, default=50)
    words.add_argument("per_second", nargs="?", type=int, default=500, help="charges of the steady stream")
    words.add_argument("--ledger", default="embedded", help="embedded, postgres, or the URL of an empty database")
    given = words.parse_args()
    tenants = [f"tenant-{number}" for number in range(given.tenants)]
    with tempfile.TemporaryDirectory() as name, ledger_at(given.ledger, Path(name)) as url:
        asyncio.run(measure(Path(name), url, given.charges, tenants, given.per_second))


if __name__ == "__main__":
    main()
