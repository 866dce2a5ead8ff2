"""Measures a rebuild: ``python tests/gateway/settlement/measure_rebuild.py [TENANTS] [LIVE_CALLS] [KEPT]``.

A worker of its own process holds the live calls and keeps charges, half of which the ledger has; a settler of its own
process runs as it does in the gate.  Then Redis, 256 partitions of it, is emptied (FLUSHALL), and the time is taken
until every partition is open again, and until the worker grants.  It is no test: a time depends on the machine.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import DECK, PER_SECOND, Nursery, Server, record
from redis.asyncio import Redis

from gateway.call.commands import Answer, Grant, Reserve, Result, Settle
from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import is_open
from gateway.credit.store import CreditStore, Owner
from gateway.ledger import Ledger
from gateway.settlement import reconcile, settle_in
from policy.verdict import Limits

PARTITIONS = 256
AT_ONCE = 500
FUNDED = 100_000_000


async def work(url: str, tenants: int, live: int, kept: int) -> None:
    """The worker's process: make its calls, say so, then go on until it is ended; say when it grants again."""
    granted: set[str] = set()

    def hear(result: Result) -> None:
        if isinstance(result, Grant):
            granted.add(result.call_id)

    store = CreditStore(url, Owner("gate-1", 0, "here"), hear, partitions=PARTITIONS)
    await store.start()
    for start in range(0, live + kept, AT_ONCE):
        some = range(start, min(start + AT_ONCE, live + kept))
        for number in some:
            tenant = f"tenant-{number % tenants}"
            usage = record(f"c{number}", tenant, 0, 0)
            store.submit(Reserve(f"c{number}", tenant, PER_SECOND, 60, 300, Limits(), b"a" * 900, usage))
        while not all(f"c{number}" in granted for number in some):
            await asyncio.sleep(0.005)
        for number in some:
            tenant = f"tenant-{number % tenants}"
            store.submit(Answer(f"c{number}", tenant, 1, b"a" * 900))
            if number >= live:
                store.submit(Settle(f"c{number}", tenant, 3_000, 3_000, record(f"c{number}", tenant, 3_000, 3_000)))
        while store.unacknowledged:
            await asyncio.sleep(0.005)
    print("ready", flush=True)
    while store.open:
        await asyncio.sleep(0.005)
    while not store.open or store.unacknowledged:
        await asyncio.sleep(0.005)
    print("granting", time.time(), flush=True)
    await asyncio.Event().wait()


async def measure(folder: Path, tenants: int, live: int, kept: int) -> None:
    (folder / "deck.csv").write_text(DECK)
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    people = [{"id": f"tenant-{number}", "rate_deck": "standard"} for number in range(tenants)]
    server = Server(folder)
    credit, redis = CreditAdmin(server.url, timeout_s=30.0), Redis(unix_socket_path=str(server.socket))
    words = [sys.executable, __file__, "work", server.url, str(tenants), str(live), str(kept)]
    async with Ledger.open("embedded", folder) as ledger:
        await ledger.migrate()
        await ledger.provision(parse({"rate_deck": decks, "tenant": people}, "measure.toml", folder))
        for tenant in people:
            await ledger.fund(tenant["id"], FUNDED, "first")
        await settle_in(ledger, credit)
        worker = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        assert await asyncio.to_thread(worker.stdout.readline) == "ready\n"
        settler = Nursery(folder, server.url, PARTITIONS, hasty=False)
        while (await credit.outbox_state()).pending:
            await asyncio.sleep(0.05)
        await asyncio.sleep(2.0)
        began_s = time.time()
        await redis.flushall()
        while not await credit.newest_epoch():
            await asyncio.sleep(0.005)
        shut_s = time.time() - began_s
        while not all(map(is_open, await credit.epochs())):
            await asyncio.sleep(0.01)
        open_s = time.time() - began_s
        granting_s = float((await asyncio.to_thread(worker.stdout.readline)).split()[1]) - began_s
        print(f"{tenants} tenants, {live} live calls, {kept} kept charges: begun after {shut_s:.2f} s, "
              f"open after {open_s:.2f} s, granting after {granting_s:.2f} s")  # fmt: skip
        await asyncio.sleep(3.0)
        drifts = await reconcile(ledger, credit)
        drift, held = sum(each.total_micros for each in drifts), sum(each.held_micros for each in drifts)
        charged = tenants * FUNDED - sum(each.ledger_micros for each in drifts)
        print(f"drift {drift} micros, held {held} (of {live * 60_000}), charged {charged} (of {kept * 3_000})")
        print(*(line for line in (folder / "settler.log").read_text().splitlines() if "rebuilt" in line))
        settler.close()
        worker.kill()
        worker.wait()
        worker.stdout.close()
    await redis.aclose()
    await credit.close()
    server.kill()


def main() -> None:
    if sys.argv[1:2] == ["work"]:
        asyncio.run(work(sys.argv[2], *(int(word) for word in sys.argv[3:])))
        return
    given = [int(word) for word in sys.argv[1:]]
    tenants, live, kept = [*given, *(10_000, 10_000, 2_000)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), tenants, live, kept))


if __name__ == "__main__":
    main()
