"""Measures usage export: ``python tests/gateway/settlement/measure_usage.py [CALLS ...] [--ledger postgres]``.

A ledger is filled through its own booking with one tenant for each number of CALLS, a year of calls each: SQLite in a
temporary folder, or with ``--ledger postgres`` a PostgreSQL cluster made for the measurement, with ``fsync`` on as a
customer's has it.  Then ``callgate usage`` writes each tenant's calls in each form, as a program of its own, and a
report and the advice read them.  Told are wall time, processor time of all its threads, the most memory that it had
(peak resident set) and the size of the file; the first lines are the same for a tenant without calls.  It is no test:
a time depends on the machine.
"""

import argparse
import asyncio
import re
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from measure import ledger_at

from gateway.call.record import CallRecord
from gateway.config.provisioning import parse
from gateway.ledger import CallEntry, Ledger

LOOK_S = 0.02
YEAR_S = 364 * 86_400
BOOKED_AT_ONCE = 20_000
FORMS = ("csv", "json", "xlsx", "zip")
USERS = 500
PLACES = (("+33144556677", "France"), ("+442079460000", "United Kingdom"), ("+12125550123", "United States"))


def calls(tenant: str, count: int) -> Iterator[CallEntry]:
    """A year of calls of some hundred users, ended just now; as long a record as the gate writes."""
    begin_ms = (int(time.time()) - YEAR_S) * 1000
    for number in range(count):
        at_ms = begin_ms + number * YEAR_S * 1000 // count
        user, (called, place) = number % USERS, PLACES[number % len(PLACES)]
        talk_ms = 5_000 + number * 7_919 % 600_000
        minutes = -(-talk_ms // 60_000)
        record = CallRecord(
            str(uuid.UUID(int=number, version=4)), tenant, "user_out", sip_call_id=f"{number:032x}@198.51.100.7",
            node="gate-1", trunk="pbx", carrier="carrier", user_id=f"user{user:04}@contoso.example",
            user_name=f"User {user}", user_location="DE", caller=f"+4930{user:06}", dialled=f"00{called[1:]}",
            number=called, number_type="subscriber", domestic=False, destination=place, capability="MCOPSTNPP",
            currency="USD", payer="credits", invited_ms=at_ms - 2_000, answered_ms=at_ms, ended_ms=at_ms + talk_ms,
            talk_ms=talk_ms, billed_s=minutes * 60, rate_micros_per_min=18_000, charge_micros=minutes * 18_000,
            reason="COMPLETED", sip_status=200, ended_by="caller",
        )  # fmt: skip
        yield CallEntry(record.call_id + tenant, tenant, record.charge_micros, record.encode())


async def fill(folder: Path, url: str, counts: list[int]) -> None:
    columns = "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s"
    (folder / "deck.csv").write_text(f"{columns}\n33,France,18000,0,60,60\n")
    decks = [{"name": "standard", "currency": "USD", "file": "deck.csv"}]
    people = [{"id": f"calls-{count}", "country": "DE", "rate_deck": "standard"} for count in [0, *counts]]
    async with Ledger(url) as ledger:
        await ledger.migrate()
        await ledger.provision(parse({"rate_deck": decks, "tenant": people}, "measure.toml", folder))
        began_s = time.perf_counter()
        for count in counts:
            batch: list[CallEntry] = []
            for entry in calls(f"calls-{count}", count):
                batch.append(entry)
                if len(batch) == BOOKED_AT_ONCE:
                    await ledger.book(batch)
                    batch = []
            await ledger.book(batch)
    print(f"booked {sum(counts)} calls in {time.perf_counter() - began_s:.0f} s", flush=True)


def run(folder: Path, *words: str) -> tuple[float, float, float]:
    """One command as a program of its own: wall and processor time in seconds, its peak resident set in MB."""
    command = [sys.executable, "-m", "gateway.cli", *words, "--config", str(folder / "callgate.toml")]
    began_s, before_s, peak_kb = time.perf_counter(), children_s(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            peak_kb = max(peak_kb, peak_of(child.pid))
            time.sleep(LOOK_S)
    assert child.returncode == 0, words
    return time.perf_counter() - began_s, children_s() - before_s, peak_kb / 1024


def children_s() -> float:
    """User and system time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_of(pid: int) -> int:
    """The most memory that a process has had in kB: what wait(2) tells would hold what its parent had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(found[1]) if (found := re.search(r"VmHWM:\s+(\d+)", status)) else 0


def tell(what: str, took: tuple[float, float, float], count: int, size: int = 0) -> None:
    wall_s, cpu_s, peak_mb = took
    each = f"{cpu_s / count * 1e6:6.0f} us a call" if count else ""
    file = f"{size / 1e6:8.1f} MB of file" if size else ""
    print(f"{what:26} {wall_s:7.1f} s, {cpu_s:6.1f} s CPU {peak_mb:5.0f} MB of memory {each} {file}", flush=True)


def measure(folder: Path, counts: list[int], forms: list[str]) -> None:
    for count in [0, *counts]:
        for form in forms:
            made = folder / f"usage-{count}.{form}"
            took = run(folder, "usage", "--tenant", f"calls-{count}", "--format", form, "-o", str(made))
            tell(f"usage {form} of {count}", took, count, made.stat().st_size)
            made.unlink()
        for words in (("report", "spend"), ("advise", "--months", "2")):
            tell(f"{words[0]} of {count}", run(folder, *words, "--tenant", f"calls-{count}"), count)


def main() -> None:
    words = argparse.ArgumentParser(description="Measures usage export.")
    words.add_argument("calls", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    words.add_argument("--ledger", default="embedded", help="embedded, or postgres")
    words.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    words.add_argument("--folder", type=Path, help="an embedded ledger is kept here, and used where it is filled")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name, ledger_at(given.ledger, given.folder or Path(name)) as url:
        folder = given.folder or Path(name)
        if not (folder / "callgate.toml").exists():
            asyncio.run(fill(folder, url, given.calls))
            told = url.replace("+asyncpg", "").replace("+aiosqlite", "")
            (folder / "callgate.toml").write_text(f'[node]\ndata_dir = "{folder}"\n[ledger]\nurl = "{told}"\n')
        measure(folder, given.calls, list(given.forms))


if __name__ == "__main__":
    main()
