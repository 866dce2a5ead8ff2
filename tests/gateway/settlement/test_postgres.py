"""Bad days of PostgreSQL under a living settler: charges wait in the outbox and are booked, once, when it is back."""

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger, LedgerAway, engine, ledger_url
from gateway.settlement import Settler, fund, reconcile
from gateway.telemetry import metrics
from gateway.telemetry.metrics import Meter

from ..cluster import TEMPLATE, Cluster
from ..wire import Wire

pytestmark = pytest.mark.peer("postgres")

WITHIN_S = 30.0
"""Only ends a test that hangs."""


@pytest.fixture
def configured_url(request: pytest.FixtureRequest) -> str:
    """A database of the test's own; with the parameter ``small`` on a disk with hardly any room."""
    url: str = request.getfixturevalue(getattr(request, "param", "postgres_url"))
    return url


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


async def until(true: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = true()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"this never came: {what}")


class Working:
    """A settler at work, and what it shows."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
        self.ledger, self.credit, self.caller, self.meter = ledger, credit, caller, Meter()

    def is_up(self) -> bool:
        return self.meter.gauges[metrics.LEDGER_UP.name].values[()] == 1

    def is_away(self) -> bool:
        return not self.is_up()

    def shows_waiting(self, count: int) -> bool:
        gauge = self.meter.gauges.get(metrics.OUTBOX_PENDING.name)
        return gauge is not None and gauge.values[()] >= count

    async def all_booked(self) -> bool:
        charged = self.caller.charged
        try:
            done = set(charged) <= await self.ledger.booked_charges(charged)
        except LedgerAway:
            return False
        return done and not self.caller.store.unacknowledged and not (await self.credit.outbox_state()).pending

    async def audit(self) -> None:
        """Everything is booked, once, and adds up."""
        await until(self.all_booked, "every charge in the ledger and out of the outbox")
        assert all(drift.clean for drift in await reconcile(self.ledger, self.credit))
        booked = [p.call_id async for p in self.ledger.postings("contoso") if p.kind == "charge"]
        assert sorted(booked) == sorted(self.caller.charged)
        assert (await self.ledger.verify_chain("contoso")).intact


@contextlib.asynccontextmanager
async def settling(ledger: Ledger, credit: CreditAdmin, caller: Any) -> AsyncIterator[Working]:
    """A settler over ``ledger``, from when it has found its stores."""
    stop, working = asyncio.Event(), Working(ledger, credit, caller)
    task = asyncio.create_task(Settler(ledger, credit, working.meter).run(stop))
    try:
        await until(working.is_up, "the settler has settled in")
        yield working
    finally:
        stop.set()
        await task


async def test_stopped_for_a_while_and_back(
    ledger: Ledger, credit: CreditAdmin, caller: Any, postgres: Cluster
) -> None:
    async with settling(ledger, credit, caller) as working:
        caller.call()
        await until(working.all_booked, "the first charge")
        postgres.stop()
        try:
            for _ in range(30):
                caller.call()
            await until(working.is_away, "the ledger is seen to be away")
            await until(lambda: working.shows_waiting(30), "the outbox grows")
            with pytest.raises(LedgerAway):
                await fund(ledger, credit, "contoso", 5, "meanwhile")
        finally:
            postgres.start()
        await until(working.is_up, "the ledger is seen to be back")
        await working.audit()
        assert not (await fund(ledger, credit, "contoso", 5, "meanwhile")).booked.repeated


async def test_restarted_and_cut_off_again_and_again_while_it_books(
    ledger: Ledger, credit: CreditAdmin, caller: Any, postgres: Cluster, postgres_url: str
) -> None:
    async with settling(ledger, credit, caller) as working:
        for turn in range(6):
            for _ in range(50):
                caller.call()
            await asyncio.sleep(0.05 * turn)
            if turn % 2:
                postgres.stop()
                postgres.start()
            else:
                postgres.cut(name_of(postgres_url))
        await working.audit()


@pytest.fixture
async def wire(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> AsyncIterator[Wire]:
    async with Wire(tmp_path_factory.mktemp("w"), postgres.folder) as carried:
        yield carried


@pytest.fixture
async def far(postgres: Cluster, postgres_url: str, wire: Wire) -> AsyncIterator[Ledger]:
    """The ledger of the test at the other end of the wire."""
    async with Ledger(ledger_url(postgres.url(name_of(postgres_url), host=wire.folder), Path())) as opened:
        yield opened


async def test_slow(far: Ledger, credit: CreditAdmin, caller: Any, wire: Wire) -> None:
    async with settling(far, credit, caller) as working:
        wire.delay_s = 0.02
        for _ in range(100):
            caller.call()
        await working.audit()
        assert working.is_up(), "slow is not away"


async def test_hung_and_back(
    far: Ledger, credit: CreditAdmin, caller: Any, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers stop without a word: it is away after ANSWER_S, and what it had committed is found again."""
    monkeypatch.setattr(engine, "ANSWER_S", 0.3)
    async with settling(far, credit, caller) as working:
        wire.fall_silent()
        for _ in range(30):
            caller.call()
        await until(working.is_away, "the ledger is seen to be away")
        wire.flow()
        await working.audit()


async def test_a_commit_that_nobody_heard_of_is_found_again(
    far: Ledger, credit: CreditAdmin, caller: Any, wire: Wire
) -> None:
    async with settling(far, credit, caller) as working:
        for _ in range(5):
            broken = wire.broken
            wire.break_at = b"COMMIT;"
            for _ in range(10):
                caller.call()
            await until(lambda broken=broken: wire.broken > broken, "the wire breaks")
        await working.audit()


@contextlib.contextmanager
def small_disk(folder: Path, owner: Path) -> Iterator[Path]:
    """A file system of a few megabytes that PostgreSQL may write; skips, visibly, where none may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        place = folder / "space"
        place.mkdir()
        for path in (folder, place):
            os.chown(path, owner.stat().st_uid, owner.stat().st_gid)
        yield place
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture
def small(postgres: Cluster) -> Iterator[str]:
    """The URL of a database on a disk with hardly any room."""
    with small_disk(postgres.folder / "small", postgres.data) as place:
        postgres.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        try:
            postgres.sql(f"CREATE DATABASE on_small TEMPLATE {TEMPLATE} TABLESPACE small STRATEGY FILE_COPY")
            yield postgres.url("on_small")
        finally:
            postgres.sql("DROP DATABASE IF EXISTS on_small WITH (FORCE)")
            postgres.sql("DROP TABLESPACE small")


@pytest.mark.parametrize("configured_url", ["small"], indirect=True)
async def test_with_its_disk_full_charges_wait_for_room(
    ledger: Ledger, credit: CreditAdmin, caller: Any, postgres: Cluster
) -> None:
    """The database's own disk; PostgreSQL's log has another one, else the server stops as a whole."""
    with capture_logs() as logs:
        async with settling(ledger, credit, caller) as working:
            fill(postgres)
            while working.is_up():
                for _ in range(100):
                    caller.call()
                await asyncio.sleep(0.1)
            assert any("make room on its disk" in line.get("why", "") for line in logs)
            subprocess.run(["mount", "-o", "remount,size=200m", str(postgres.folder / "small")], check=True)
            await working.audit()


def fill(postgres: Cluster) -> None:
    """Let less than a megabyte of room be left."""
    with contextlib.suppress(AssertionError):
        for number in itertools.count():
            rows = "SELECT repeat(md5(n::text), 30) AS ballast FROM generate_series(1, 700) AS n"
            postgres.sql(f"CREATE TABLE ballast_{number} AS {rows}", "on_small")
