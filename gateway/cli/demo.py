"""``callgate demo``: a whole gate with callers and callees of its own, for a minute, on stores that vanish afterwards.

A real ``serve`` runs in a temporary folder with embedded stores; ``callgate-load``, a process of its own, plays both
sides.  The sample tenant has money for about two thirds of the calls it would like to make, so its live calls are cut
on both legs when the balance is gone, and later ones get 402.  In the end everything has to be booked and the books
have to balance; else the exit status is 1.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.admin.desk import Desk
from gateway.admin.documents import Document
from gateway.cli.common import AsJson, ConfigFile, actor, command, load, wait
from gateway.cli.demo_view import Sample, View, print_outcome
from gateway.cli.output import FAILED, Failure, note, print_json
from gateway.config import provisioning
from gateway.config import settings as config
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin
from gateway.credit.embedded import EmbeddedRedis
from gateway.ledger import Ledger
from gateway.telemetry.metrics import CALLS
from gateway.telemetry.snapshots import fold
from rating.money import format_amount, parse_amount

SECONDS: Final = 45
SECONDS_MIN: Final = 5
LOOK_EVERY_S: Final = 0.5
READY_WITHIN_S: Final = 30.0
SETTLED_WITHIN_S: Final = 15.0
"""How long the last charges may take into the ledger; it is well below a second."""
SETTLED_LOOKS: Final = 4
"""Looks in a row that must find all settled: workers write their counters each half second, so the last calls may be
counted a little after they are booked."""
STOP_WITHIN_S: Final = 20.0
PORT_TRIES: Final = 20
LOG_TAIL_CHARS: Final = 400

CALLS_PER_S: Final = 3.0
HOLD_MAX_S: Final = 8.0
MONEY_SHARE: Final = 0.6
"""The part of the calls' whole price that the tenant has: the balance ends when about two thirds are made."""
RATE_MICROS_PER_S: Final = 10_000

TENANT: Final = "acme"
REFERENCE: Final = "demo"

SETTINGS: Final = """\
[node]
name = "demo"
data_dir = "data"
[sip]
listen = ["udp://127.0.0.1:{sip}", "tcp://127.0.0.1:{sip}"]
drain_s = 2
[admin]
listen = "127.0.0.1:{admin}"
[credit]
tick_s = 2
renew_lead_s = 0.5
[[trunk]]
name = "pbx"
role = "access"
tenant = "acme"
hosts = ["127.0.0.1:{caller}"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.1:{callee}"]
targets = ["sip:127.0.0.1:{callee}"]
options_ping_s = 0
"""
PROVISIONING: Final = """\
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"
[[tenant]]
id = "acme"
name = "Acme Ltd"
country = "US"
currency = "USD"
rate_deck = "standard"
[[tenant.user]]
id = "alice@acme.example"
number = "+14255550100"
"""
DECK: Final = f"""\
prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s
1,United States,{RATE_MICROS_PER_S * 60},0,1,1
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: its folder, its ports, and how long calls arrive and last."""

    folder: Path
    sip: int
    admin: int
    caller: int
    callee: int
    seconds: float

    @property
    def hold_s(self) -> float:
        """How long a call is talked."""
        return min(HOLD_MAX_S, self.seconds / 3)

    @property
    def calls(self) -> int:
        """Calls in all; the last one has time to end within the demo's seconds."""
        return max(1, round((self.seconds - self.hold_s) * CALLS_PER_S))

    @property
    def money_micros(self) -> int:
        """What the tenant has: a price of whole seconds, so that it can be talked away to the last micro."""
        return int(self.calls * self.hold_s * MONEY_SHARE) * RATE_MICROS_PER_S

    @property
    def settings_file(self) -> Path:
        """The settings that ``serve`` is given."""
        return self.folder / "callgate.toml"

    @property
    def log(self) -> Path:
        """What ``serve`` and the load tester say on standard error."""
        return self.folder / "serve.log"


@command
def demo(
    seconds: Annotated[float, typer.Option("--seconds", min=SECONDS_MIN, help="How long calls are played.")] = SECONDS,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Play a minute of calls on a gate of its own: live calls, a balance that falls, a cut at zero, books that balance.

    Settings given are checked, but the demo has its own.
    """
    if config_file:
        load(config_file)
    with tempfile.TemporaryDirectory(prefix="callgate-demo-") as folder:
        stage = _stage(Path(folder), seconds)
        outcome = wait(_play(stage, quiet=as_json))
    print_json(outcome) if as_json else print_outcome(outcome)
    if not outcome["balanced"]:
        note("the books of the demo do not balance; please report it")
        return FAILED
    if not outcome["cut"]:
        note("no call was cut at zero; play longer, or report it")
        return FAILED
    return 0


def _stage(folder: Path, seconds: float) -> Stage:
    """Choose ports and write the files."""
    stage = Stage(folder, _sip_port(), *_free_ports(), seconds)
    ports = {"sip": stage.sip, "admin": stage.admin, "caller": stage.caller, "callee": stage.callee}
    stage.settings_file.write_text(SETTINGS.format(**ports), encoding="utf-8")
    (folder / "tenants.toml").write_text(PROVISIONING, encoding="utf-8")
    (folder / "deck.csv").write_text(DECK, encoding="utf-8")
    return stage


def _sip_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP."""
    for _ in range(PORT_TRIES):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", udp.getsockname()[1]))
                return int(udp.getsockname()[1])
    raise Failure("127.0.0.1 has no port that is free for UDP and TCP; end some programs and try again")


def _free_ports() -> tuple[int, int, int]:
    """Three more: admin (TCP), callers and callees (UDP)."""
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=kind)) for kind in kinds]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        admin, caller, callee = (int(each.getsockname()[1]) for each in sockets)
    return admin, caller, callee


async def _play(stage: Stage, *, quiet: bool) -> Document:
    """Run the gate and the calls; what came of it."""
    settings = config.load(str(stage.settings_file))
    settings.data_dir.mkdir()
    async with Ledger.open(settings.ledger.url, settings.data_dir) as ledger:
        await ledger.migrate()
        await ledger.provision(provisioning.load(stage.folder / "tenants.toml"), actor=actor())
        async with _gate(stage, settings) as redis_url:
            credit = CreditAdmin(redis_url, partitions=settings.redis.partitions)
            try:
                return await _watch(stage, Desk(settings, ledger, credit), quiet=quiet)
            finally:
                await credit.close()


@asynccontextmanager
async def _gate(stage: Stage, settings: Settings) -> AsyncIterator[str]:
    """``serve`` until it is ready, and at the end its orderly stop; yields where its Redis is."""
    redis = EmbeddedRedis(settings.data_dir)
    with stage.log.open("wb") as log:
        words = ("-m", "gateway.cli", "serve", "--cut-on-drain", "--config", str(stage.settings_file))
        serve = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=DEVNULL, stdout=PIPE, stderr=log)
    try:
        await _until_ready(serve, stage)
        yield redis.url
    finally:
        await _stop(serve)
        await redis.stop()  # it outlives its gate where calls were up


async def _until_ready(serve: Process, stage: Stage) -> None:
    assert serve.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            line = await serve.stdout.readline()
    except TimeoutError:
        line = b""
    if not line.startswith(b"callgate ready"):
        said = stage.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
        raise Failure(f"the demo's gate did not start: {' '.join(said.split()) or 'it said nothing'}")


async def _stop(process: Process) -> None:
    """Ask a process to end, and end it where it does not."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _watch(stage: Stage, desk: Desk, *, quiet: bool) -> Document:
    """Fund the tenant, play the calls, show them, and wait until all is booked."""
    await desk.fund(TENANT, stage.money_micros, REFERENCE, "manual", "demo")
    started_s = time.monotonic()
    callers = await _callers(stage)
    view = View(quiet=quiet, seconds=stage.seconds, money_micros=stage.money_micros)
    try:
        with view:
            while callers.returncode is None:
                view.show(await _look(desk, time.monotonic() - started_s))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await callers.wait()
            return await _settled(desk, view, started_s)
    finally:
        await _stop(callers)


async def _callers(stage: Stage) -> Process:
    """``callgate-load`` as callers and callees."""
    options = {
        "--target": f"sip:127.0.0.1:{stage.sip}",
        "--uas": f"127.0.0.1:{stage.callee}",
        "--source": f"127.0.0.1:{stage.caller}",
        "--cps": f"{CALLS_PER_S:g}",
        "--calls": str(stage.calls),
        "--hold": f"{stage.hold_s:g}",
        "--limit": f"{stage.hold_s + 10:g}",
    }
    words = [word for option in options.items() for word in option]
    with stage.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest", "run", *words, "--json"), stdin=DEVNULL, stdout=DEVNULL, stderr=log
        )


async def _look(desk: Desk, at_s: float) -> Sample:
    """The demo as it is now."""
    balance = await desk.balance(TENANT)
    outcomes = _outcomes(desk.settings)
    return Sample(
        at_s=at_s,
        calls=await desk.calls(TENANT),
        balance_micros=parse_amount(balance["balance"]),
        held_micros=parse_amount(balance["held"]),
        unsynced_micros=parse_amount(balance["unsynced"]),
        completed=outcomes["answered"],
        cut=outcomes["cut"],
        refused=outcomes["refused"],
        other=outcomes["other"],
    )


def _outcomes(settings: Settings) -> Counter[str]:
    """Calls that are over, as the workers have counted them: ``answered``, ``cut`` and ``refused`` for want of credit.

    Whatever else became of a call is ``other``: there should be none.
    """
    found: Counter[str] = Counter()
    for (outcome, reason, _), count in fold(settings.data_dir / "run" / "metrics").counters.get(CALLS.name, {}).items():
        for_credit = outcome == "answered" or (outcome in ("cut", "refused") and reason == "NO_CREDIT")
        found[outcome if for_credit else "other"] += int(count)
    return found


async def _settled(desk: Desk, view: View, started_s: float) -> Document:
    """Wait until no call is live and every charge is booked, then compare the books."""
    give_up_s = time.monotonic() + SETTLED_WITHIN_S
    looks_settled = 0
    while True:
        sample = await _look(desk, time.monotonic() - started_s)
        view.show(sample)
        done = not sample.calls and not sample.held_micros and not sample.unsynced_micros
        looks_settled = looks_settled + 1 if done else 0
        if looks_settled >= SETTLED_LOOKS or time.monotonic() > give_up_s:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    books = await desk.reconcile()
    charges = [p async for p in desk.postings(TENANT) if p["kind"] == "charge"]
    charged_micros = -sum(parse_amount(posting["amount"]) for posting in charges)
    funded_micros = (await desk.ledger.balance(TENANT)) + charged_micros
    return {
        "tenant": TENANT,
        "funded": format_amount(funded_micros),
        "charged": format_amount(charged_micros),
        "balance": format_amount(sample.balance_micros),
        "held": format_amount(sample.held_micros),
        "completed": sample.completed,
        "cut": sample.cut,
        "refused": sample.refused,
        "other": sample.other,
        "charges": len(charges),
        "drift_micros": books["drift_micros"],
        "balanced": done and bool(books["clean"]) and funded_micros == sample.balance_micros + charged_micros,
    }
