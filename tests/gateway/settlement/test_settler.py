"""Charges from Redis into the ledger, money from the ledger into Redis, and both stores away and back."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.call.commands import Refused
from gateway.call.record import CallRecord
from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Booked
from gateway.ledger import Ledger, LedgerAway, engine
from gateway.settlement import Settler, apply_money_in, compare, fund, reconcile, settle_in, settler
from gateway.telemetry import metrics
from gateway.telemetry.metrics import Meter

from ..tamper import tamper


async def until(true: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    """Wait for something that happens in another task or process; the time only ends a hung test."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = true()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"this never came: {what}")


@contextlib.asynccontextmanager
async def running(ledger: Ledger, credit: CreditAdmin, meter: Meter | None = None) -> AsyncIterator[Settler]:
    stop = asyncio.Event()
    working = Settler(ledger, credit, meter)
    task = asyncio.create_task(working.run(stop))
    try:
        yield working
    finally:
        stop.set()
        await task


async def usage(ledger: Ledger, tenant: str = "contoso") -> list[str]:
    return [record.call_id async for record in ledger.usage(tenant, refused=True)]


async def clean(ledger: Ledger, credit: CreditAdmin) -> bool:
    return all(drift.clean for drift in await reconcile(ledger, credit))


async def test_a_call_is_booked_acknowledged_and_forgotten(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    call_id = caller.call(talk_ms=3_000)
    released = caller.call(talk_ms=0)
    await until(lambda: caller.store.unbooked == 2 and caller.store.unacknowledged == 0, "both calls settled")
    assert await Settler(ledger, credit).settle_once() == 2
    assert await ledger.balance("contoso") == 1_000_000_000 - 3_000
    assert sorted(await usage(ledger)) == sorted([call_id, released])
    assert (await credit.outbox_state()).pending == 0
    orders = [order for _, order in await credit.read_orders("gate-1/0") if isinstance(order, Booked)]
    assert sorted(call for order in orders for call in order.call_ids) == sorted([call_id, released])
    assert await clean(ledger, credit)


STEPS = ["book", "announce_booked", "trim_outbox"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_dying_around_any_step_loses_and_doubles_nothing(
    ledger: Ledger, credit: CreditAdmin, caller: Any, monkeypatch: pytest.MonkeyPatch, step: str, done: bool
) -> None:
    caller.call()
    await until(lambda: caller.store.unbooked == 1 and caller.store.unacknowledged == 0, "the call is settled")
    owner = ledger if step == "book" else credit
    real = getattr(owner, step)

    async def die(*args: Any) -> None:
        if done:
            await real(*args)
        raise ConnectionResetError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, die)
        with pytest.raises(ConnectionResetError):
            await Settler(ledger, credit).settle_once()
    await Settler(ledger, credit).settle_once()
    assert await ledger.balance("contoso") == 1_000_000_000 - 3_000
    assert (await credit.outbox_state()).pending == 0
    assert await clean(ledger, credit)
    orders = [order for _, order in await credit.read_orders("gate-1/0") if isinstance(order, Booked)]
    assert orders, "the worker has been told"


async def test_the_loop_books_while_calls_come(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    meter = Meter()
    async with running(ledger, credit, meter):
        for number in range(40):
            caller.call("contoso" if number % 2 else "fabrikam", talk_ms=number % 5 * 1_000)
            await asyncio.sleep(0.005)
        await until(lambda: _booked_all(ledger, caller), "every charge in the ledger")
        gauges = meter.gauges
        await until(lambda: gauges.get(metrics.BALANCE.name) and gauges[metrics.BALANCE.name].values, "tenants' gauges")
    assert await clean(ledger, credit)
    assert gauges[metrics.LEDGER_UP.name].values[()] == gauges[metrics.REDIS_UP.name].values[()] == 1
    assert gauges[metrics.LEDGER_DRIFT.name].values[()] == 0
    assert set(gauges[metrics.BALANCE.name].values) == {("contoso",), ("fabrikam",)}
    assert gauges[metrics.EXHAUSTED.name].values["contoso",] == 0


async def _booked_all(ledger: Ledger, caller: Any) -> bool:
    return set(caller.charged) <= await ledger.booked_charges(caller.charged)


async def test_refused_calls_become_usage_rows(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    refused = CallRecord("r-1", "contoso", "user_out", invited_ms=5, reason="NO_CREDIT", sip_status=402)
    caller.store.submit(Refused("r-1", "contoso", "pbx", refused.encode()))
    settling = Settler(ledger, credit)
    await until(settling.settle_once, "the refused call")
    assert [record async for record in ledger.usage("contoso", refused=True)] == [refused]
    assert [record async for record in ledger.usage("contoso")] == []
    assert await settling.settle_once() == 0


async def test_poison_is_set_aside_with_an_alert_and_the_rest_is_booked(
    ledger: Ledger, credit: CreditAdmin, caller: Any, server: Any
) -> None:
    good = caller.call()
    await until(lambda: caller.store.unbooked == 1 and caller.store.unacknowledged == 0, "the call is settled")
    key = f"cg:{{p{_partition('contoso')}}}:outbox"
    async with Redis(unix_socket_path=str(server.socket)) as redis:
        whole = {"kind": "settle", "call": "bad contoso", "charge": "5", "record": b"\xff{", "owner": ""}
        for broken in (whole, {"nonsense": "1"}, whole | {"charge": "many"}, whole | {"kind": "unheard of"}):
            await redis.xadd(key, broken)  # type: ignore[arg-type]
    behind = caller.call()
    await until(lambda: caller.store.unbooked == 2 and caller.store.unacknowledged == 0, "the next call is settled")
    with capture_logs() as logs:
        await Settler(ledger, credit).settle_once()
    assert len([line for line in logs if line["log_level"] == "error" and "set aside" in line["event"]]) == 4
    assert set(await usage(ledger)) == {good, behind}
    assert (await credit.outbox_state()).pending == 0


def _partition(tenant: str) -> int:
    return Keyspace(4).partition(tenant).number


# Money in, accounts, epochs


async def test_the_first_start_makes_accounts_and_opens_epochs(ledger: Ledger, credit: CreditAdmin) -> None:
    await ledger.fund("contoso", 500, "before the first start")
    await settle_in(ledger, credit)
    views = {view.tenant_id: view for view in await credit.accounts(["contoso", "fabrikam"])}
    assert (views["contoso"].balance_micros, views["contoso"].applied_seq) == (500, 1)
    assert views["fabrikam"].exists
    assert await clean(ledger, credit)
    await settle_in(ledger, credit)
    assert (await credit.account("contoso")).balance_micros == 500


async def test_a_new_tenant_gets_its_account_and_money_while_the_loop_runs(
    ledger: Ledger, credit: CreditAdmin, tmp_path: Path
) -> None:
    async with running(ledger, credit):
        await until(lambda: credit.directory_version(), "the directory's version in Redis")
        document = {"tenant": [{"id": "northwind", "rate_deck": "standard"}]}
        await ledger.provision(parse(document, "test.toml", tmp_path))
        await ledger.fund("northwind", 70, "booked by a process that died before it told Redis")
        await until(lambda: _balance_is(credit, "northwind", 70), "the new tenant's money in Redis")
        await until(lambda: _published(ledger, credit), "the new version in Redis")


async def _balance_is(credit: CreditAdmin, tenant: str, micros: int) -> bool:
    return (await credit.account(tenant)).balance_micros == micros


async def _published(ledger: Ledger, credit: CreditAdmin) -> bool:
    return await credit.directory_version() == await ledger.directory_version()


async def test_money_in_is_applied_once_and_in_order_by_any_number_of_processes(
    ledger: Ledger, credit: CreditAdmin
) -> None:
    await settle_in(ledger, credit)
    for number in range(10):
        await ledger.fund("contoso", 10**number, f"r{number}")
    await asyncio.gather(*(apply_money_in(ledger, credit, "contoso") for _ in range(5)))
    assert (await credit.account("contoso")).balance_micros == 1_111_111_111
    assert await clean(ledger, credit)


# Away and back


async def test_with_redis_away_a_funding_is_booked_and_applied_later(
    ledger: Ledger, credit: CreditAdmin, server: Any
) -> None:
    async with running(ledger, credit):
        await until(lambda: _published(ledger, credit), "the settler has settled in")
        server.kill()
        outcome = await fund(ledger, credit, "contoso", 500, "r1")
        assert not outcome.applied
        assert outcome.booked.balance_micros == 500
        server.start()
        await until(lambda: _balance_is(credit, "contoso", 500), "the money in Redis")
    assert await clean(ledger, credit)


async def test_both_away_at_the_start(tmp_path: Path, credit: CreditAdmin, server: Any) -> None:
    server.kill()
    folder = tmp_path / "later"
    async with Ledger.open("embedded", folder) as ledger:
        with capture_logs() as logs:
            async with running(ledger, credit):
                await until(lambda: any(line["event"] == "settler job waits" for line in logs), "a complaint")
                server.start()
                folder.mkdir()
                await until(lambda: any(line["event"] == "settler job goes on" for line in logs), "work")
        waits = [line for line in logs if line["event"] == "settler job waits" and line["job"] == "settle in"]
        assert len(waits) == 1, "told once, not at every try"
        assert await ledger.directory_version() == 0


@pytest.mark.parametrize("configured_url", ["sqlite"], indirect=True)
async def test_with_the_ledger_away_charges_wait_and_are_booked_later(
    ledger: Ledger, credit: CreditAdmin, caller: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sits on the ledger; the outbox grows, the metrics say so, and in the end all is there."""
    meter = Meter()
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    async with Ledger.open("embedded", tmp_path) as impatient:
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)) as other:
            async with running(impatient, credit, meter):
                await until(lambda: meter.gauges[metrics.LEDGER_UP.name].values[()] == 1, "the settler has settled in")
                other.execute("BEGIN IMMEDIATE")
                for _ in range(30):
                    caller.call()
                await until(
                    lambda: meter.gauges[metrics.LEDGER_UP.name].values[()] == 0, "the ledger is seen to be away"
                )
                await until(lambda: meter.gauges[metrics.OUTBOX_PENDING.name].values[()] == 30, "the outbox grows")
                with pytest.raises(LedgerAway):
                    await impatient.fund("contoso", 5, "r")
                other.execute("ROLLBACK")
                await until(lambda: _booked_all(ledger, caller), "all is booked")
                await until(
                    lambda: meter.gauges[metrics.LEDGER_UP.name].values[()] == 1, "the ledger is seen to be back"
                )
    assert await clean(ledger, credit)


async def test_a_mistake_of_our_own_is_logged_and_tried_again(
    ledger: Ledger, credit: CreditAdmin, caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = settler.book_outbox

    async def trip(*args: Any) -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ZeroDivisionError
        return await real(*args)

    monkeypatch.setattr(settler, "book_outbox", trip)
    with capture_logs() as logs:
        async with running(ledger, credit):
            caller.call()
            await until(lambda: _has_charge(ledger, caller), "booked after all")
    assert any(line["event"] == "settler job failed" for line in logs)


async def _has_charge(ledger: Ledger, caller: Any) -> bool:
    return bool(caller.charged) and await _booked_all(ledger, caller)


async def test_at_the_stop_what_waits_is_booked(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    async with running(ledger, credit):
        await until(lambda: _published(ledger, credit), "the settler has settled in")
        for _ in range(10):
            caller.call()
        await until(lambda: len(caller.charged) == 10 and caller.store.unacknowledged == 0, "calls are settled")
    assert await _booked_all(ledger, caller)


async def test_a_lease_that_ran_out_is_swept_and_booked(ledger: Ledger, server: Any, caller: Any) -> None:
    caller.reserve("orphan", lease_s=0)
    await until(lambda: caller.results.get("orphan"), "the call is granted")
    meter = Meter()
    sweeping = CreditAdmin(server.url, partitions=4, sweep_quiet_s=0)
    try:
        async with running(ledger, sweeping, meter):
            await until(lambda: meter.counters[metrics.LEASES_EXPIRED.name].values[()] == 1, "the sweep")
            await until(lambda: _in_usage(ledger, "orphan"), "its record in the ledger")
        assert await clean(ledger, sweeping)
    finally:
        await sweeping.close()


async def _in_usage(ledger: Ledger, call_id: str) -> bool:
    return call_id in await usage(ledger)


# Reconcile


@pytest.mark.usefixtures("caller")
async def test_drift_is_seen_told_once_and_shown(
    ledger: Ledger, credit: CreditAdmin, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler, "WATCH_S", 0.01)
    monkeypatch.setattr(settler, "BOOK_S", 0.01)
    async with Redis(unix_socket_path=str(server.socket)) as redis:
        await redis.hincrby(f"cg:{{p{_partition('contoso')}}}:account:contoso", "balance", 7)
    [contoso, fabrikam] = await reconcile(ledger, credit)
    assert (contoso.drift_micros, contoso.clean, contoso.total_micros) == (7, False, 7)
    assert fabrikam.clean
    meter = Meter()
    with capture_logs() as logs:
        async with running(ledger, credit, meter):
            await until(lambda: meter.gauges[metrics.LEDGER_DRIFT.name].values[()] == 7, "the drift in the metrics")
            await until(lambda: any(line["event"] == "ledger and Redis differ" for line in logs), "a complaint")
            await asyncio.sleep(0.2)
    [told] = [line for line in logs if line["event"] == "ledger and Redis differ"]
    assert (told["tenant"], told["drift_micros"]) == ("contoso", 7)


async def test_reconcile_while_calls_run_never_sees_drift_that_is_not_there(
    ledger: Ledger, credit: CreditAdmin, caller: Any
) -> None:
    async with running(ledger, credit):
        for number in range(60):
            caller.call(talk_ms=1_000)
            if number % 7 == 0:
                await fund(ledger, credit, "contoso", 10, f"more-{number}")
            assert all(drift.drift_micros == 0 for drift in await compare(ledger, credit))


async def test_reconcile_finds_call_records_that_disagree(ledger: Ledger, credit: CreditAdmin, caller: Any) -> None:
    caller.call()
    await until(lambda: len(caller.charged) == 1 and caller.store.unacknowledged == 0, "settled")
    await Settler(ledger, credit).settle_once()
    await tamper(ledger, "UPDATE calls SET charge_micros = charge_micros + 1")
    [contoso] = await reconcile(ledger, credit, ["contoso"])
    assert (contoso.drift_micros, contoso.records_drift_micros, contoso.clean) == (0, 1, False)
