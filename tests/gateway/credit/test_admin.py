"""What settler, command line and supervisor ask of the store, on a real Redis."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Prove, Release, Renew, Reserve, Resolved, Settle
from gateway.call.record import CallRecord, decode_record
from gateway.credit.admin import (
    CreditAdmin,
    PartitionsChangedError,
    StoreError,
    StoreStaleError,
    StoreUnreachableError,
)
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Booked, DirectoryChanged, Funded, HangUp, decode_order, encode_order
from gateway.credit.store import Owner
from gateway.credit.streams import FORGOTTEN_AT_ONCE
from gateway.credit.views import AccountView, Applied, OutboxState, Swept, Withdrawn
from policy.verdict import Limits
from rating.money import MAX_MICROS
from rating.tariff import Step, Tariff

from .conftest import begin_rebuild, open_epochs

TARIFF = Tariff(60_000, 500, 60, 6)
OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str, tenant: str = "t", tariff: Tariff | None = TARIFF) -> Reserve:
    record = CallRecord(call, tenant, "user_out", caller="+1", number="+44")
    return Reserve(call, tenant, tariff, 60, 90, Limits(), b"adoption", record.encode())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def carry_out(bench: Any, *commands: Any) -> None:
    """Commands in order, each answered or acknowledged."""
    for command in commands:
        before = len(bench.ops)
        bench.store.submit(command)
        await until(lambda before=before: len(bench.ops) > before)


async def test_the_first_start_opens_every_partition(server: Any, redis: Any) -> None:
    admin = CreditAdmin(server.url, partitions=4)
    with pytest.raises(StoreStaleError, match="no epoch"):
        await admin.apply_money_in("t", 1, 5)
    await open_epochs(admin)
    await open_epochs(admin)
    assert [redis.get(keys.epoch) for keys in Keyspace(4).partitions] == ["1"] * 4
    await admin.close()
    other = CreditAdmin(server.url, partitions=8)
    with pytest.raises(PartitionsChangedError, match="first used with 4"):
        await other.fix_partitions()
    await other.close()


async def test_epochs_move_only_from_what_is_believed(admin: CreditAdmin, redis: Any) -> None:
    redis.set(Keyspace(4).partitions[2].epoch, "5")
    with pytest.raises(StoreStaleError, match="2 rebuilding"):
        await admin.move_epochs(["1"] * 4, "2 rebuilding")
    assert await admin.epochs() == ["2 rebuilding", "2 rebuilding", "5", "2 rebuilding"]


async def test_money_in_is_applied_once_in_rising_order(admin: CreditAdmin) -> None:
    assert await admin.apply_money_in("t", 3, 1_000) == Applied(True, 1_000, 0)
    assert await admin.apply_money_in("t", 3, 1_000) == Applied(False, 1_000, 0)
    assert await admin.apply_money_in("t", 2, 1_000) == Applied(False, 1_000, 0)
    assert await admin.apply_money_in("t", 9, 1_000) == Applied(True, 2_000, 0)
    assert await admin.account("t") == AccountView("t", 2_000, 0, 9, 0, exists=True)
    with pytest.raises(StoreError, match="BALANCE_OUT_OF_RANGE"):
        await admin.apply_money_in("t", 10, MAX_MICROS)


async def test_accounts_come_in_the_order_asked(admin: CreditAdmin) -> None:
    tenants = [f"tenant-{number}" for number in range(1100)]
    for tenant in ("tenant-7", "tenant-1001"):
        assert await admin.create_account(tenant, 5, 2)
        assert not await admin.create_account(tenant, 6, 3)
    accounts = await admin.accounts(tenants)
    assert [account.tenant_id for account in accounts] == tenants
    assert [account.tenant_id for account in accounts if account.exists] == ["tenant-7", "tenant-1001"]
    assert accounts[7] == AccountView("tenant-7", 5, 0, 2, 0, exists=True)


async def test_money_out_is_at_most_what_is_available(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 100_000)
    bench = await open_store(server)
    await carry_out(bench, reserve("c"))
    assert await admin.withdraw("t", "w0", 39_501, b"{}", exact=True) == Withdrawn(0, 100_000, 1)
    assert await admin.withdraw("t", "w1", 50_000, b'{"r":1}') == Withdrawn(39_500, 60_500, 1)
    assert await admin.withdraw("t", "w1", 50_000, b'{"r":1}') == Withdrawn(39_500, 60_500, 1)
    assert await admin.withdraw("t", "w2", 1, b"{}") == Withdrawn(0, 60_500, 1)
    [entry] = await admin.read_outbox()
    assert (entry.kind, entry.charge_id, entry.tenant_id, entry.charge_micros) == ("withdraw", "w1", "t", 39_500)
    assert (entry.record, entry.owner) == (b'{"r":1}', "")


async def test_live_calls_of_one_tenant_or_all(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    tenants = [f"tenant {number}" for number in range(6)]
    bench = await open_store(server, Owner("a/b", 3, "here"))
    for tenant in tenants:
        await admin.apply_money_in(tenant, 1, 10**6)
        await carry_out(bench, reserve(f"call-{tenant[-1]}", tenant))
    await carry_out(bench, Answer("call-2", tenants[2], 77, b"later"), reserve("free", tenants[2], None))
    calls = {call.call_id: call for call in await admin.live_calls(tenants[2])}
    assert set(calls) == {"call-2", "free"}
    paid, free = calls["call-2"], calls["free"]
    assert (paid.tenant_id, paid.owner, paid.answered_ms, paid.paid_s) == (tenants[2], "a/b/3", 77, 60)
    assert (paid.held_micros, paid.tariff, paid.adoption) == (60_500, TARIFF, b"later")
    assert decode_record(paid.usage).number == "+44"
    assert (free.paid_s, free.held_micros, free.tariff) == (None, 0, None)
    assert len(await admin.live_calls()) == 7
    [worker] = await admin.workers()
    assert (worker.node, worker.slot, worker.name) == ("a/b", 3, "a/b/3")


async def test_one_live_call_is_found_by_its_key_however_many_live(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    """Once all live calls of all tenants were fetched, with their records, to look for one."""
    bench = await open_store(server)
    for tenant in ("t", "u", "v"):
        await admin.apply_money_in(tenant, 1, 10**6)
        await carry_out(bench, reserve(f"call-{tenant}", tenant))
    crowd(redis, "t", 5_000)
    assert len(await admin.live_calls()) == 5_003
    for tenant, known in (("t", None), ("u", None), ("v", "v")):
        redis.config_resetstat()
        found = await admin.live_call(f"call-{tenant}", known)
        asked = {name: stat["calls"] for name, stat in redis.info("commandstats").items()}
        assert asked.pop("cmdstat_hmget") == (4 if known is None else 1)
        assert asked.pop("cmdstat_zscore") == 1
        assert not [name for name in asked if name.startswith(("cmdstat_z", "cmdstat_h", "cmdstat_scan"))]
        assert found == next(call for call in await admin.live_calls(tenant) if call.call_id == f"call-{tenant}")


def crowd(redis: Any, tenant: str, count: int) -> None:
    """Many more live calls of a tenant."""
    keys, pipeline = Keyspace(4).partition(tenant), redis.pipeline(transaction=False)
    for number in range(count):
        call_id = f"crowd-{number}"
        usage = CallRecord(call_id, tenant, "user_out").encode()
        pipeline.hset(keys.call(call_id), mapping={"owner": "gate-1/0", "gen": 1, "tick": 0, "usage": usage})
        pipeline.zadd(keys.leases, {f"{call_id} {tenant}": 2e12})
    pipeline.execute()


async def test_a_call_that_is_over_is_not_found(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    await carry_out(bench, reserve("settled"), reserve("swept"), Answer("swept", "t", 1_000, b""))
    await carry_out(bench, Settle("settled", "t", 0, 0, b"{}"))
    redis.zadd(Keyspace(4).partition("t").leases, {"swept t": 1})
    assert await admin.live_call("swept") is not None
    assert len(await admin.sweep()) == 1
    for call_id in ("settled", "swept", "never", "with space", ""):
        assert await admin.live_call(call_id) is None
        assert await admin.live_call(call_id, "t") is None


async def test_a_live_call_with_a_record_nobody_can_read_is_found_all_the_same(admin: CreditAdmin, redis: Any) -> None:
    redis.hset(Keyspace(4).partitions[3].call("c"), mapping={"owner": "gate-1/0", "usage": "{"})
    found = await admin.live_call("c")
    assert found is not None
    assert (found.owner, found.tenant_id, found.lease_ms) == ("gate-1/0", "", 0)


async def test_the_outbox_keeps_its_entries_until_they_are_trimmed(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    bench = await open_store(server)
    for tenant in ("t", "u", "v"):
        await admin.apply_money_in(tenant, 1, 10**6)
        await carry_out(bench, reserve(f"s-{tenant}", tenant), reserve(f"r-{tenant}", tenant))
        await carry_out(bench, Settle(f"s-{tenant}", tenant, 1, 500, b"{}"), Release(f"r-{tenant}", tenant, b"{}"))
    entries = await admin.read_outbox()
    assert {(entry.charge_id, entry.kind, entry.charge_micros) for entry in entries} == {
        *((f"s-{tenant}", "settle", 500) for tenant in "tuv"),
        *((f"r-{tenant}", "release", 0) for tenant in "tuv"),
    }
    state = await admin.outbox_state()
    assert state == OutboxState(6, min(entry.at_unix_ms for entry in entries))
    views, seen = await admin.snapshot(["v", "t"])
    assert [view.tenant_id for view in views] == ["v", "t"]
    assert {entry.charge_id for entry in seen} == {"s-v", "r-v", "s-t", "r-t"}
    await admin.trim_outbox(entries[:2])
    left = {entry.charge_id for entry in await admin.read_outbox()}
    assert left == {entry.charge_id for entry in entries[2:]}
    for entry in entries:
        marker = Keyspace(4).partition(entry.tenant_id).call(entry.charge_id)
        assert (redis.ttl(marker) > 23 * 3600) == (entry in entries[:2])
    await admin.announce_booked(entries[:2])
    booked = await admin.read_orders("gate-1/0")
    assert [set(order.call_ids) for _, order in booked] == [{entry.charge_id for entry in entries[:2]}]


@pytest.mark.parametrize("count", [1, FORGOTTEN_AT_ONCE + 2])
async def test_entries_are_forgotten_by_a_redis_that_has_forgotten_the_script(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any, count: int
) -> None:
    bench = await open_store(server)
    await carry_out(bench, *(Release(f"c-{number}", "t", b"{}") for number in range(count)))
    redis.script_flush()
    entries = await admin.read_outbox(count)
    await admin.trim_outbox(entries)
    await admin.trim_outbox(entries)  # a settler that died after it does it again
    keys = Keyspace(4).partition("t")
    assert (len(entries), redis.xlen(keys.outbox)) == (count, 0)
    assert redis.get(keys.booked) == entries[-1].entry_id
    assert all(redis.ttl(keys.call(entry.charge_id)) > 23 * 3600 for entry in entries)


async def test_reading_the_outbox_waits_for_an_entry(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server)
    assert await admin.read_outbox(block_s=0.01) == []
    reading = asyncio.create_task(admin.read_outbox(block_s=10))
    await admin.ping()
    bench.store.submit(Release("c", "t", b"{}"))
    assert [entry.charge_id for entry in await reading] == ["c"]


async def test_a_swept_call_has_a_finished_record(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    await carry_out(bench, reserve("answered"), reserve("ringing"), reserve("free", tariff=None))
    await carry_out(bench, Answer("answered", "t", 1_000, b""), Prove("answered", "t", 31, None))
    assert await admin.sweep() == []
    for member in ("answered t", "ringing t", "free t"):
        redis.zadd(Keyspace(4).partition("t").leases, {member: 1})
    assert len(await admin.sweep(limit=1)) == 1
    swept = [*await admin.sweep(), *await admin.sweep()]
    assert len(swept) == 2
    entries = {entry.charge_id: entry for entry in await admin.read_outbox()}
    record = decode_record(entries["answered"].record)
    assert (record.talk_ms, record.billed_s, record.charge_micros) == (31_000, 60, 60_500)
    assert (record.answered_ms, record.ended_ms, record.number) == (1_000, 32_000, "+44")
    assert (record.reason, record.ended_by) == ("INTERNAL", "gate")
    assert entries["answered"].charge_micros == 60_500
    assert entries["answered"].owner == "gate-1/0"
    assert decode_record(entries["ringing"].record).charge_micros == 0
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (10**6 - 60_500, 0, 0)


async def test_the_record_of_a_swept_call_tells_the_rates_it_met(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    """A second at 0.06 a minute up to 60 s, in effect at the INVITE too; from there on 0.03."""
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    stepped = Tariff(60_000, 0, 1, 1, steps=(Step(60, 30_000, 1),))
    usage = CallRecord("c", "t", "user_out", rate_micros_per_min=60_000).encode()
    await carry_out(bench, Reserve("c", "t", Tariff(60_000, 0, 1, 1), 60, 90, Limits(), b"", usage))
    await carry_out(bench, Answer("c", "t", 1_000, b"", Resolved(stepped, 60)), Renew("c", "t", 1, 60, 120, 59))
    await carry_out(bench, Prove("c", "t", 80, None))
    redis.zadd(Keyspace(4).partition("t").leases, {"c t": 1})
    assert [swept.charge_micros for swept in await admin.sweep()] == [70_000]
    [entry] = await admin.read_outbox()
    record = decode_record(entry.record)
    assert (record.billed_s, record.charge_micros, record.rates) == (80, 70_000, "0 60000, 60 30000")


async def test_what_was_proven_after_a_sweep_is_one_more_charge(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    await carry_out(bench, reserve("c"), Answer("c", "t", 1_000, b""), Prove("c", "t", 6, None))
    redis.zadd(Keyspace(4).partition("t").leases, {"c t": 1})
    [swept] = await admin.sweep()
    record = CallRecord("c", "t", "user_out", answered_ms=1_000, talk_ms=72_500, billed_s=78, charge_micros=78_500)
    record.connect_micros = 500
    await carry_out(bench, Settle("c", "t", 72_500, 78_500, record.encode()))
    await until(lambda: not bench.store.unacknowledged)
    assert (await admin.account("t")).balance_micros == 10**6 - 78_500
    first, late = await admin.read_outbox()
    assert (first.charge_id, first.charge_micros) == ("c", swept.charge_micros) == ("c", 60_500)
    assert (late.kind, late.charge_id, late.charge_micros, late.owner) == ("settle", "c:late", 18_000, "gate-1/0")
    rest = decode_record(late.record)
    assert (rest.call_id, rest.talk_ms, rest.billed_s, rest.charge_micros) == ("c:late", 66_500, 18, 18_000)
    assert rest.connect_micros == 0, "the sweep has charged the connect fee"
    await admin.trim_outbox([first, late])
    assert redis.ttl(Keyspace(4).partition("t").call("c")) > 23 * 3600
    await admin.announce_booked([first, late])
    orders = await admin.read_orders("gate-1/0")
    assert [order for _, order in orders] == [Booked(("c", "c"))]


async def test_a_call_is_not_swept_soon_after_an_epoch_changed(
    server: Any, open_admin: Callable[..., Awaitable[CreditAdmin]], open_store: OpenStore, redis: Any
) -> None:
    admin = await open_admin(server, sweep_quiet_s=30)
    bench = await open_store(server)
    await carry_out(bench, reserve("c", tariff=None))
    redis.zadd(Keyspace(4).partition("t").leases, {"c t": 1})
    assert await admin.sweep() == []


async def test_nothing_is_swept_soon_after_redis_was_away(
    durable: Any, open_admin: Callable[..., Awaitable[CreditAdmin]], open_store: OpenStore
) -> None:
    """Leases ran on meanwhile, and the charges of their calls are still on their way."""
    admin, keys = await open_admin(durable, sweep_quiet_s=30), Keyspace(4)
    bench = await open_store(durable)
    await carry_out(bench, reserve("c", tariff=None))
    with durable.client() as redis:
        redis.zadd(keys.partition("t").leases, {"c t": 1})
        redis.mset({partition.opened: 1 for partition in keys.partitions})
    durable.kill()
    await until(lambda: not bench.store.up)
    durable.start()
    assert await admin.sweep() == []


async def test_after_another_run_or_an_absence_the_sweep_is_quiet(
    server: Any, open_admin: OpenStore, open_store: OpenStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover, or a network that was cut: this Redis has been up for long, as it says."""
    admin, keys = await open_admin(server, sweep_quiet_s=30), Keyspace(4)
    redis.mset({partition.opened: 1 for partition in keys.partitions})
    bench = await open_store(server)
    said = {"run_id": "one", "uptime_in_seconds": 10_000}

    async def info(_section: str) -> dict[str, Any]:
        return said

    async def leave(call: str) -> None:
        await carry_out(bench, reserve(call, tariff=None))
        redis.zadd(keys.partition("t").leases, {f"{call} t": 1})

    monkeypatch.setattr(admin._client.redis, "info", info)
    await leave("a")
    assert await admin.sweep() == [], "workers that start with us adopt their calls first"
    admin._quiet_until_s = 0.0
    assert len(await admin.sweep()) == 1
    await leave("b")
    said["run_id"] = "other"
    assert await admin.sweep() == await admin.sweep() == []
    admin._quiet_until_s = 0.0
    admin._client.away_at_s = time.monotonic()
    assert await admin.sweep() == []
    admin._client.away_at_s -= 30
    assert len(await admin.sweep()) == 1


async def test_a_lease_that_cannot_be_swept_does_not_hold_up_the_others(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    keys = Keyspace(4).partition("t")
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    await carry_out(bench, reserve("poisoned"), reserve("well"))
    redis.hset(keys.call("poisoned"), "held", 10**8)
    redis.zadd(keys.leases, {"poisoned t": 1, "well t": 2})
    assert await admin.sweep(limit=1) == [Swept("poisoned", "t", 0, "HELD_ABOVE_ACCOUNT")]
    assert await admin.sweep(limit=1) == [Swept("well", "t", 0)]
    assert await admin.sweep(limit=1) == []


async def test_a_partition_that_is_not_open_does_not_hold_up_the_others(
    server: Any, admin: CreditAdmin, open_store: OpenStore, redis: Any
) -> None:
    bench = await open_store(server)
    keys = Keyspace(4)
    shut, well = sorted(("t", "u", "v"), key=lambda tenant: keys.partition(tenant).number)[::2]
    assert keys.partition(shut).number < keys.partition(well).number
    await carry_out(bench, reserve("a", shut, None), reserve("b", shut, None), reserve("c", well, None))
    for call, tenant in (("a", shut), ("b", shut), ("c", well)):
        redis.zadd(keys.partition(tenant).leases, {f"{call} {tenant}": 1})
    await begin_rebuild(admin, 2, keys.partition(shut).number)
    assert await admin.sweep() == [Swept("c", well, 0)]


async def test_orders_reach_live_workers(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    first = await open_store(server, Owner("a", 0, "here"))
    await open_store(server, Owner("a", 1, "here"))
    await admin.broadcast_order(Funded("t"))
    await admin.send_order("a/0", HangUp("c"))
    orders = await admin.read_orders("a/0")
    assert [order for _, order in orders] == [Funded("t"), HangUp("c")]
    await admin.trim_orders("a/0", orders[0][0])
    assert [order for _, order in await admin.read_orders("a/0")] == [HangUp("c")]
    assert await admin.read_orders("a/0", after=orders[1][0]) == []
    assert [order for _, order in await admin.read_orders("a/1")] == [Funded("t")]
    await first.store.stop()
    await admin.broadcast_order(DirectoryChanged(4))
    assert [order for _, order in await admin.read_orders("a/0")] == [HangUp("c")]


@pytest.mark.parametrize("order", [HangUp("c"), Funded("a b"), DirectoryChanged(7), Booked(("a", "b")), Booked(())])
def test_orders_are_read_as_written(order: Any) -> None:
    assert decode_order(encode_order(order)) == order


def test_an_unknown_order_is_skipped() -> None:
    assert decode_order({"order": "dance", "value": "x"}) is None
    assert decode_order({"order": "directory_changed", "value": "x"}) is None


async def test_the_directory_version_never_goes_back(admin: CreditAdmin) -> None:
    assert await admin.directory_version() == 0
    for version in (9, 10, 3):
        await admin.publish_directory(version)
    assert await admin.directory_version() == 10


async def test_epochs_are_raised_and_opened_again(admin: CreditAdmin) -> None:
    await begin_rebuild(admin, 2)
    with pytest.raises(StoreStaleError, match="rebuilt"):
        await admin.apply_money_in("t", 1, 5)
    await open_epochs(admin, 2)
    assert (await admin.apply_money_in("t", 1, 5)).applied
    assert await admin.newest_epoch() == 2


async def test_an_epoch_that_changed_meanwhile_is_looked_up(
    server: Any, admin: CreditAdmin, open_admin: Callable[..., Awaitable[CreditAdmin]]
) -> None:
    await admin.apply_money_in("t", 1, 5)
    other = await open_admin(server)
    await begin_rebuild(other, 2)
    await open_epochs(other, 2)
    assert (await admin.apply_money_in("t", 2, 5)).balance_micros == 10


async def test_a_redis_that_is_away_is_said_to_be(server: Any, admin: CreditAdmin) -> None:
    server.kill()
    with pytest.raises(StoreUnreachableError, match="start it"):
        await admin.ping()
    with pytest.raises(StoreUnreachableError):
        await admin.read_outbox()
    server.start()
    await admin.ping()


async def test_a_redis_that_hangs_is_said_to_be(server: Any) -> None:
    admin = CreditAdmin(server.url, partitions=4, timeout_s=0.2)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnreachableError, match="did not answer"):
            await admin.ping()
    finally:
        server.signal(signal.SIGCONT)
    await admin.close()


async def test_what_redis_refuses_is_an_error_of_ours(admin: CreditAdmin, redis: Any) -> None:
    redis.config_set("maxmemory", 1)
    with pytest.raises(StoreError, match="refused"):
        await admin.apply_money_in("t", 1, 5)
    redis.config_set("maxmemory", 0)


async def test_a_forgotten_script_is_sent_again(admin: CreditAdmin, redis: Any) -> None:
    redis.script_flush()
    assert (await admin.apply_money_in("t", 1, 5)).applied


async def test_both_gates_books_add_up(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    """fundings − withdrawals = balance + charged, with two gates on one account."""
    await admin.apply_money_in("t", 1, 10**6)
    gates = [await open_store(server, Owner(name, 0, name)) for name in ("one", "two")]
    for number in range(40):
        await carry_out(gates[number % 2], reserve(f"c{number}"))
    granted = [each.call_id for gate in gates for each in gate.results if isinstance(each, Grant)]
    for position, call in enumerate(granted):
        await carry_out(gates[int(call[1:]) % 2], Settle(call, "t", 1, 500 + position, b"{}"))
    taken = (await admin.withdraw("t", "w", 10_000, b"{}")).taken_micros
    charged = sum(entry.charge_micros for entry in await admin.read_outbox() if entry.kind == "settle")
    account = await admin.account("t")
    assert 10**6 - taken == account.balance_micros + charged
    assert (account.held_micros, len(granted)) == (0, 16)
