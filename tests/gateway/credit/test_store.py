"""A worker's store on a real Redis: results, time limits, and what it keeps and says again."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hiredis import Reader

from gateway.call.commands import (
    Answer,
    Away,
    Grant,
    Prove,
    Refusal,
    Refused,
    Release,
    Renew,
    Reserve,
    Settle,
    StoreAway,
    Written,
)
from gateway.call.record import CallRecord, decode_record
from gateway.credit import kept, retelling, tie
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.resp import pack
from gateway.credit.store import Owner, OwnerTakenError
from policy.verdict import Limits
from rating.tariff import Tariff

from .conftest import begin_rebuild, open_epochs

SECONDS = Tariff(60_000, 0, 1, 1)
MINUTES = Tariff(60_000, 500, 60, 60)
WAIT_S = 20.0

OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str = "c", end_s: int = 60, tariff: Tariff | None = SECONDS, **options: Any) -> Reserve:
    return Reserve(call, "t", tariff, end_s, 90, options.pop("limits", Limits()), b"a", b"{}", **options)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


async def result(bench: Any, count: int = 1) -> Any:
    """The last of ``count`` results; they are taken away."""
    await until(lambda: len(bench.results) >= count)
    last = bench.results[-1]
    bench.results.clear()
    return last


async def test_a_whole_call(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 100_000)
    bench = await open_store(server)
    bench.store.submit(reserve())
    assert bench.results == []  # never from within submit
    assert await result(bench) == Grant("c", 0, 60, 60_000)
    bench.store.submit(Answer("c", "t", 5, b"b"))
    assert await result(bench) == Written("c")
    bench.store.submit(Renew("c", "t", 1, 60, 120, 55))
    assert await result(bench) == Grant("c", 1, 100, 100_000, final=True)
    bench.store.submit(Renew("c", "t", 2, 100, 160, 99))
    assert await result(bench) == Refusal("c", 2, "NO_CREDIT")
    bench.store.submit(Prove("c", "t", 99, b"d"))
    [call] = await admin.live_calls()
    assert (call.proven_s, call.adoption, call.paid_s, call.owner, call.generation) == (99, b"d", 100, "gate-1/0", 1)
    bench.store.submit(Settle("c", "t", 99_500, 100_000, b"{}"))
    await until(lambda: not bench.store.unacknowledged)
    [entry] = await admin.read_outbox()
    assert (entry.kind, entry.charge_id, entry.charge_micros, entry.owner) == ("settle", "c", 100_000, "gate-1/0")
    assert bench.ops == ["reserve", "answer", "renew", "renew", "prove", "settle"]
    assert (bench.ups, bench.alerts, bench.store.epoch) == ([True], [], 1)


async def test_nobody_pays(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server)
    bench.store.submit(reserve(tariff=None))
    assert await result(bench) == Grant("c", 0, None, 0)


async def test_sixty_at_once_with_money_for_seven(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 7 * 60_500)
    gates = [await open_store(server, Owner(f"gate-{number}", 0, "here")) for number in range(2)]
    for number in range(60):
        gates[number % 2].store.submit(reserve(f"c{number}", tariff=MINUTES))
    await until(lambda: sum(len(gate.results) for gate in gates) == 60)
    results = [each for gate in gates for each in gate.results]
    assert sum(isinstance(each, Grant) for each in results) == 7
    assert sum(each == Refusal(each.call_id, 0, "NO_CREDIT") for each in results) == 53
    account = await admin.account("t")
    assert (account.held_micros, account.available_micros, account.calls) == (7 * 60_500, 0, 7)


async def test_one_turn_is_one_write(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    bench = await open_store(server)
    writes: list[bytes] = []
    link = bench.store._tie.link
    transport = link._transport

    class Counting:
        def write(self, data: bytes) -> None:
            writes.append(data)
            transport.write(data)

        def abort(self) -> None:
            transport.abort()

    link._transport = Counting()
    for number in range(50):
        bench.store.submit(reserve(f"c{number}"))
    await result(bench, 50)
    reader = Reader()
    reader.feed(writes[0])
    commands = 0
    while reader.gets() is not False:
        commands += 1
    assert (len(writes), commands) == (1, 50)


async def test_limits_reach_the_script(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**9)
    bench = await open_store(server)
    bench.store.submit(reserve("a", limits=Limits(max_calls=1)))
    bench.store.submit(reserve("b", limits=Limits(max_calls=1)))
    assert await result(bench, 2) == Refusal("b", 0, "LIMIT_CALLS", "tenant")
    bench.store.submit(reserve("c", limits=Limits(max_calls=1), emergency=True))
    assert isinstance(await result(bench), Grant)


async def test_redis_away_at_the_start(server: Any, open_store: OpenStore) -> None:
    server.kill()
    bench = await open_store(server)
    assert not bench.store.up
    bench.store.submit(reserve())
    bench.store.submit(Answer("c", "t", 1, b""))
    bench.store.submit(Renew("c", "t", 1, 60, 120, 60))
    bench.store.submit(Prove("c", "t", 1, None))
    bench.store.submit(Release("c", "t", b"{}"))
    assert bench.results == []
    await until(lambda: len(bench.results) == 3)
    assert bench.results == [StoreAway("c", tick, Away.UNREACHABLE) for tick in (0, 0, 1)]
    assert bench.store.unacknowledged == 1
    server.start()
    admin = CreditAdmin(server.url, partitions=4)
    await open_epochs(admin)
    await until(lambda: not bench.store.unacknowledged)
    assert [entry.kind for entry in await admin.read_outbox()] == ["release"]
    await admin.close()


async def test_an_epoch_that_is_not_there_is_stale(server: Any, open_store: OpenStore, open_admin: OpenStore) -> None:
    bench = await open_store(server)
    bench.store.submit(reserve())
    assert await result(bench) == StoreAway("c", 0, Away.STALE)
    admin = await open_admin(server)
    await admin.apply_money_in("t", 1, 10**6)
    await until(lambda: all(bench.store._tie.open_epochs))
    bench.store.submit(reserve())
    assert isinstance(await result(bench), Grant)


async def test_during_a_rebuild_nothing_is_granted_and_calls_are_said_again(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve())
    await result(bench)
    with server.client() as redis:
        redis.flushall()
        await begin_rebuild(admin, 2)
        await admin.announce_epoch(2)
        await until(lambda: redis.hget("cg:heard", "gate-1/0") == "2")
        assert redis.hget(Keyspace(4).partition("t").call("c"), "held") == "60000"
    assert [worker.alive for worker in await admin.workers()] == [True], "it claims its slot again"
    bench.store.submit(Renew("c", "t", 1, 60, 120, 60))
    assert await result(bench) == StoreAway("c", 1, Away.STALE)
    bench.store.submit(Settle("c", "t", 1, 1_000, b"{}"))
    await open_epochs(admin, 2)
    await until(lambda: not bench.store.unacknowledged)
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (-1_000, 0, 0)


async def test_a_forgotten_script_is_sent_again(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)

    def forget() -> None:
        with server.client() as redis:
            redis.script_flush()

    forget()
    bench.store.submit(reserve("a"))
    bench.store.submit(reserve("b"))
    assert await result(bench, 2) == Grant("b", 0, 60, 60_000)
    for command in (Answer("a", "t", 1, b""), Renew("a", "t", 1, 60, 61, 60)):
        forget()
        bench.store.submit(command)
        assert isinstance(await result(bench), Grant | Written)
    for closing in (Settle("a", "t", 1, 1, b"{}"), Release("b", "t", b"{}")):
        forget()
        bench.store.submit(closing)
        await until(lambda: not bench.store.unacknowledged)
    forget()
    bench.store._tie._claim_at_s = 0.0
    assert len(await admin.read_outbox()) == 2


async def test_a_hung_redis_is_noticed_and_left(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    server.signal(signal.SIGSTOP)
    try:
        bench.store.submit(reserve())
        assert await result(bench) == StoreAway("c", 0, Away.UNREACHABLE)
        bench.store.submit(reserve())  # known to be away: answered at once
        await asyncio.sleep(0)
        assert bench.results == [StoreAway("c", 0, Away.UNREACHABLE)]
        bench.store.submit(Release("c", "t", b"{}"))
    finally:
        server.signal(signal.SIGCONT)
    await until(lambda: not bench.store.unacknowledged)
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (10**6, 0, 0)


async def test_a_hang_is_noticed_in_silence(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server)
    server.signal(signal.SIGSTOP)
    try:
        await until(lambda: not bench.store.up)
    finally:
        server.signal(signal.SIGCONT)
    await until(lambda: bench.store.up)
    assert bench.ups == [True, False, True]


def test_a_hang_is_noticed_within_a_second() -> None:
    timeout_s = 1.0
    assert tie.LOOK_EVERY_S + tie.CHECK_S + (timeout_s - tie.LOOK_MARGIN_S) + tie.CHECK_S <= timeout_s


async def test_charges_wait_for_redis_and_are_taken_once(
    durable: Any, open_admin: OpenStore, open_store: OpenStore
) -> None:
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(durable)
    for call in ("a", "b"):
        bench.store.submit(reserve(call))
    await result(bench, 2)
    durable.kill()
    await until(lambda: not bench.store.up)
    bench.store.submit(Settle("a", "t", 60_000, 60_000, b"{}"))
    bench.store.submit(Settle("a", "t", 60_000, 60_000, b"{}"))
    bench.store.submit(Answer("b", "t", 7, b"answered"))
    assert await result(bench) == StoreAway("b", 0, Away.UNREACHABLE)
    durable.start()
    await until(lambda: not bench.store.unacknowledged)
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (10**6 - 60_000, 60_000, 1)
    [call] = await admin.live_calls()
    assert (call.call_id, call.answered_ms, call.adoption) == ("b", 7, b"answered")
    assert [entry.charge_id for entry in await admin.read_outbox()] == ["a"]


async def test_a_charge_is_kept_until_it_is_booked(
    server: Any, admin: CreditAdmin, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve())
    await result(bench)
    bench.store.submit(Settle("c", "t", 1_000, 1_000, b"{}"))
    await until(lambda: not bench.store.unacknowledged)
    assert bench.store.unbooked == 1
    monkeypatch.setattr(kept, "LOSS_WINDOW_S", 0.0)
    bench.store.booked(["c", "somebody else's"])
    bench.store._on_check(asyncio.get_running_loop().time() + 1)
    assert bench.store.unbooked == 0


async def test_a_booked_charge_is_kept_as_long_as_redis_is_away(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    """It may come back without it, however long that takes."""
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve())
    await result(bench)
    bench.store.submit(Settle("c", "t", 1_000, 1_000, b"{}"))
    await until(lambda: not bench.store.unacknowledged)
    bench.store.booked(["c"])
    server.kill()
    await until(lambda: not bench.store.up)
    bench.store._on_check(asyncio.get_running_loop().time() + 10 * kept.LOSS_WINDOW_S)
    assert bench.store.unbooked == 1


async def test_too_many_unsent_charges_stop_new_calls(
    server: Any, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "UNSENT_MAX", 2)
    server.kill()
    bench = await open_store(server)
    for call in ("a", "b"):
        assert not bench.store.full
        bench.store.submit(Release(call, "t", b"{}"))
    assert bench.store.full
    bench.store.submit(reserve("c"))
    assert await result(bench) == Refusal("c", 0, "OUTBOX_FULL")
    bench.store.submit(reserve("d", emergency=True))
    assert await result(bench) == StoreAway("d", 0, Away.UNREACHABLE)


async def test_an_outbox_too_long_stops_new_calls(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server, outbox_max=3)
    for call in ("a", "b", "c"):
        bench.store.submit(Release(call, "t", b"{}"))
    await until(lambda: bench.store.full)
    bench.store.submit(reserve("d"))
    assert await result(bench) == Refusal("d", 0, "OUTBOX_FULL")
    await admin.trim_outbox(await admin.read_outbox())
    await until(lambda: not bench.store.full)


async def test_a_charge_that_cannot_be_taken_is_an_alert(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve("a"))
    await result(bench)
    bench.store.submit(Settle("a", "t", 1, 60_001, b"{}"))
    bench.store.submit(Settle("unknown", "t", 1, 5, b"{}"))
    await until(lambda: len(bench.alerts) == 2)
    assert [code for code, _ in bench.alerts] == ["CHARGE_ABOVE_HELD", "UNKNOWN_CALL"]
    assert (await admin.account("t")).balance_micros == 10**6


async def test_refusing_redis_is_away_and_an_alert(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    with server.client() as redis:
        redis.config_set("maxmemory", 1)
        bench.store.submit(reserve())
        assert await result(bench) == StoreAway("c", 0, Away.UNREACHABLE)
        assert [code for code, _ in bench.alerts] == ["REDIS_ERROR"]
        bench.store.submit(Release("c", "t", b"{}"))
        await asyncio.sleep(0)
        redis.config_set("maxmemory", 0)
    await until(lambda: not bench.store.unacknowledged)


async def test_an_answer_that_was_refused_is_said_again_without_an_outage(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve())
    await result(bench)
    with server.client() as redis:
        redis.config_set("maxmemory", 1)
        bench.store.submit(Answer("c", "t", 77, b"talks"))
        assert await result(bench) == StoreAway("c", 0, Away.UNREACHABLE)
        redis.config_set("maxmemory", 0)
    await until(lambda: "merge" in bench.ops)
    [call] = await admin.live_calls()
    assert (call.answered_ms, call.adoption) == (77, b"talks")
    assert bench.ups == [True]


async def test_a_partition_that_stays_shut_is_told_once(
    server: Any, admin: CreditAdmin, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    bench.store.submit(reserve())
    await result(bench)
    rounds: list[set[int]] = []
    keeper_tie = bench.store._tie
    say_again = keeper_tie._on_return
    keeper_tie._on_return = lambda again, new: (rounds.append(again | new), say_again(again, new))
    everywhere = list(range(4))
    await begin_rebuild(admin, 2)
    for partition in everywhere:
        keeper_tie.stale(partition)
    await until(lambda: "merge" in bench.ops)
    for _ in range(3):  # each poll says the same again
        keeper_tie._ask_epochs(everywhere)
        await keeper_tie.link.ask("PING")
        await asyncio.sleep(0)
    assert (rounds, bench.ops.count("merge")) == ([set(everywhere)], 1)
    await open_epochs(admin, 2)
    keeper_tie._ask_epochs(everywhere)
    await until(lambda: bench.store.open)
    assert set().union(*rounds[1:]) == set()
    assert bench.ops.count("merge") == 1, "what was heard once is not said again"


async def test_a_stop_while_the_slot_is_being_claimed(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server)
    keeper_tie = bench.store._tie
    keeper_tie._claim = lambda ttl_ms=0: pack(("BLPOP", "never", 0))
    first = keeper_tie.link
    first.cut()
    await until(lambda: keeper_tie.link is not first and keeper_tie.link.oldest and not keeper_tie.link._out)
    await until(lambda: "_claim_slot" in keeper_tie.link.oldest[0].__qualname__)
    await bench.store.stop()
    assert keeper_tie.link.lost


async def test_charges_that_redis_never_took_are_told_at_the_stop(
    server: Any, admin: CreditAdmin, open_store: OpenStore
) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    bench = await open_store(server)
    for call in ("a", "b"):
        bench.store.submit(reserve(call))
    await result(bench, 2)
    server.kill()
    await until(lambda: not bench.store.up)
    bench.store.submit(Settle("a", "t", 1_000, 1_000, b"{}"))
    bench.store.submit(Settle("b", "t", 2_500, 3_000, b"{}"))
    bench.store.submit(Release("c", "t", b"{}"))
    await bench.store.stop()
    [(_, text)] = [alert for alert in bench.alerts if alert[0] == "CHARGES_NOT_TAKEN"]
    assert "2 charges, 4000 micros" in text


async def test_a_replica_is_not_written_to(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server)
    with server.client() as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        bench.store.submit(Release("c", "t", b"{}"))
        await until(lambda: False in bench.ups)
        redis.execute_command("REPLICAOF", "NO", "ONE")
    await until(lambda: not bench.store.unacknowledged)


async def test_a_slot_has_one_holder(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    first = await open_store(server)
    with pytest.raises(OwnerTakenError, match="held by a live gate"):
        await open_store(server, Owner("gate-1", 0, "elsewhere"))
    again = await open_store(server)
    assert (first.store.epoch, again.store.epoch) == (1, 2)
    first.store._tie._claim_at_s = 0.0
    await until(lambda: first.store.fenced)
    assert not first.store.up
    assert again.store.up
    [worker] = await admin.workers()
    assert (worker.name, worker.epoch, worker.alive) == ("gate-1/0", 2, True)
    await again.store.stop()
    assert not (await admin.workers())[0].alive
    assert again.ups == [True]  # its own end is no outage


async def test_a_restarted_slot_fences_the_older_start(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    await admin.apply_money_in("t", 1, 10**6)
    older = await open_store(server)
    older.store.submit(reserve())
    await result(older)
    newer = await open_store(server)
    newer.store.submit(Renew("c", "t", 1, 60, 120, 60))
    assert await result(newer) == Grant("c", 1, 120, 120_000)
    older.store.submit(Renew("c", "t", 1, 60, 120, 60))
    assert await result(older) == Refusal("c", 1, "FENCED")
    assert older.store._keeper.live == {}
    older.store.submit(Settle("c", "t", 1, 1, b"{}"))
    await until(lambda: not older.store.unbooked)
    assert (await admin.account("t")).held_micros == 120_000


async def test_another_partition_count_is_refused(server: Any, open_store: OpenStore) -> None:
    with server.client() as redis:
        redis.set("cg:partitions", 128)
    bench = await open_store(server)
    assert not bench.store.up
    assert bench.alerts[0][0] == "PARTITIONS"


async def test_refused_calls_are_written_up_to_a_rate(server: Any, admin: CreditAdmin, open_store: OpenStore) -> None:
    bench = await open_store(server, refused_per_s=3)
    bench.store._on_check(asyncio.get_running_loop().time())  # a second begins
    for number in range(10):
        record = CallRecord(f"r{number}", "t", "user_out", reason="NO_CREDIT")
        bench.store.submit(Refused(record.call_id, "t", "pbx", record.encode()))
    await until(lambda: len(bench.ops) >= 4)
    entries = await admin.read_refused()
    records = [decode_record(entry.record) for entry in entries]
    assert [record.count for record in records] == [1, 1, 1, 7]
    assert records[-1].call_id == "r9"
    await admin.trim_refused(entries)
    assert await admin.read_refused() == []


async def test_calls_are_said_again_in_slices(
    durable: Any, open_admin: OpenStore, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retelling, "SAID_A_TURN", 10)
    admin = await open_admin(durable)
    await admin.apply_money_in("t", 1, 10**9)
    bench = await open_store(durable)
    for number in range(55):
        bench.store.submit(reserve(f"c{number}"))
    await result(bench, 55)
    durable.kill()
    await until(lambda: not bench.store.up)
    for path in durable.folder.rglob("*.aof"):
        path.unlink()  # all of it is lost
    for path in durable.folder.rglob("*.manifest"):
        path.unlink()
    durable.start()
    await open_epochs(admin)
    await admin.create_account("t", 10**9, 1)
    await until(lambda: bench.ops.count("merge") >= 55)
    account = await admin.account("t")
    assert (account.held_micros, account.calls) == (55 * 60_000, 55)
