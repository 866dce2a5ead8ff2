"""Charges that Redis had not taken when their worker ended: the next start says them, and each is taken once."""

import asyncio
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call.commands import Answer, Grant, Prove, Release, Renew, Reserve, Settle, Written
from gateway.call.record import CallRecord, decode_record
from gateway.credit import tie, unsent
from gateway.credit.admin import CreditAdmin
from gateway.credit.charge_file import FOLDER, MERGE_WITHIN_S, write_charges
from gateway.credit.gone import say_for_gone
from gateway.credit.kept import Kept, Live
from gateway.credit.keys import Keyspace
from gateway.credit.store import CreditStore, Owner, StoreObserver
from policy.verdict import Limits
from rating.tariff import Tariff
from tests.gateway.credit.test_loss import Memory

from .conftest import open_epochs

SECONDS = Tariff(60_000, 0, 1, 1)
FUNDED = 10**9
WAIT_S = 20.0
OWNER = Owner("gate-1", 0, "here")
HERE = OWNER.name

OpenStore = Callable[..., Awaitable[Any]]


def reserve(call: str) -> Reserve:
    usage = CallRecord(call, "t", "user_out").encode()
    return Reserve(call, "t", SECONDS, 60, 90, Limits(), b"a", usage)


def settle(call: str, seconds: int) -> Settle:
    record = CallRecord(call, "t", "user_out", talk_ms=seconds * 1000, billed_s=seconds, charge_micros=seconds * 1000)
    return Settle(call, "t", seconds * 1000, seconds * 1000, record.encode())


def kept_charge(call: str, seconds: int, ended_ago_s: float = 0.0) -> Kept:
    """What a worker keeps of a call that was granted a minute, and ended so long ago."""
    live = Live(reserve(call), 60, 60_000, False)
    live.answered_ms = round((time.time() - ended_ago_s - seconds) * 1000)
    return Kept(settle(call, seconds), live, was_dirty=False)


def files(data_dir: Path) -> list[str]:
    return sorted(path.suffix for path in (data_dir / FOLDER).glob("*"))


def codes(bench: Any) -> list[str]:
    return [code for code, _ in bench.alerts]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


async def talk(bench: Any, *calls: str) -> None:
    """These calls are reserved and answered, and the store has said so."""
    bench.results.clear()
    for call in calls:
        bench.store.submit(reserve(call))
    await until(lambda: len(bench.results) == len(calls))
    for call in calls:
        bench.store.submit(Answer(call, "t", round(time.time() * 1000), b"b"))
    await until(lambda: len(bench.results) == 2 * len(calls))
    assert all(isinstance(each, Grant | Written) for each in bench.results)


async def end_without_redis(server: Any, bench: Any, *commands: Settle | Release) -> None:
    """Redis dies, these calls end, and then the worker."""
    server.kill()
    await until(lambda: not bench.store.up)
    for command in commands:
        bench.store.submit(command)
    await bench.store.stop()


async def charged(admin: CreditAdmin) -> dict[str, int]:
    """What stands in the outbox, by charge."""
    entries = await admin.read_outbox()
    found = {entry.charge_id: entry.charge_micros for entry in entries}
    assert len(found) == len(entries), "a charge stands there twice"
    return found


async def assert_money(admin: CreditAdmin, spent: int, held: int = 0, calls: int = 0) -> None:
    account = await admin.account("t")
    assert (account.balance_micros, account.held_micros, account.calls) == (FUNDED - spent, held, calls)
    assert sum((await charged(admin)).values()) == spent


async def say_gone(server: Any, data_dir: Path) -> list[str]:
    """Slot 0 of a gate with one worker says what others have left; the codes of the alerts it gives."""
    alerts: list[str] = []
    observer = StoreObserver(alert=lambda code, text: alerts.append(code))

    def make(owner: Owner) -> CreditStore:
        return CreditStore(server.url, owner, lambda result: None, partitions=4, data_dir=data_dir, observer=observer)

    async with asyncio.timeout(WAIT_S):
        await say_for_gone(data_dir, [HERE], OWNER.instance, make)
    return alerts


@pytest.fixture
async def admin(durable: Any, open_admin: OpenStore) -> CreditAdmin:
    admin: CreditAdmin = await open_admin(durable)
    await admin.apply_money_in("t", 1, FUNDED)
    return admin


@pytest.fixture
def open_here(durable: Any, open_store: OpenStore, tmp_path: Path) -> OpenStore:
    """Stores whose charges wait in the test's folder."""

    async def open_(owner: Owner = OWNER) -> Any:
        return await open_store(durable, owner, data_dir=tmp_path)

    return open_


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go as soon as all their charges are acknowledged."""
    monkeypatch.setattr(unsent, "LOSS_WINDOW_S", 0.0)


async def test_charges_and_releases_reach_redis_by_the_next_start(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    first = await open_here()
    await talk(first, "a", "b", "c", "d")
    await end_without_redis(durable, first, settle("a", 7), Release("b", "t", b"{}"), settle("c", 60))
    [text] = [text for code, text in first.alerts if code == "CHARGES_WAIT"]
    assert text.startswith("2 charges, 67000 micros")
    assert files(tmp_path) == [".charges"]
    durable.start()
    second = await open_here()
    await until(lambda: not second.store.unacknowledged)
    assert await charged(admin) == {"a": 7_000, "b": 0, "c": 60_000}
    await assert_money(admin, 67_000, held=60_000, calls=1)
    assert [call.call_id for call in await admin.live_calls()] == ["d"]
    await until(lambda: not second.store.unsent)
    assert (files(tmp_path), second.alerts) == ([], [])


async def test_a_redis_that_forgot_the_calls_hears_of_them_first(
    durable: Any, admin: CreditAdmin, open_here: OpenStore
) -> None:
    first = await open_here()
    await talk(first, "a", "b")
    first.store.submit(Renew("a", "t", 1, 60, 120, 55))
    first.store.submit(settle("b", 9))  # acknowledged, and forgotten all the same
    await until(lambda: not first.store.unacknowledged and len(first.results) == 5)
    await end_without_redis(durable, first, settle("a", 100))
    for path in [*durable.folder.rglob("*.aof"), *durable.folder.rglob("*.manifest")]:
        path.unlink()
    durable.start()
    await open_epochs(admin)
    await admin.create_account("t", FUNDED, 1)
    second = await open_here()
    await until(lambda: not second.store.unacknowledged)
    assert await charged(admin) == {"a": 100_000, "b": 9_000}
    await assert_money(admin, 109_000)


async def test_a_call_that_was_swept_meanwhile_costs_what_is_above_the_sweep(
    durable: Any, admin: CreditAdmin, open_here: OpenStore
) -> None:
    first = await open_here()
    await talk(first, "a", "b")
    first.store.submit(Renew("a", "t", 1, 60, 120, 17))
    await until(lambda: len(first.results) == 5)
    await end_without_redis(durable, first, settle("a", 100), Release("b", "t", b"{}"))
    durable.start()
    with durable.client() as redis:
        leases = Keyspace(4).partition("t").leases
        redis.zadd(leases, {"a t": 1, "b t": 1})
    assert {swept.call_id: swept.charge_micros for swept in await admin.sweep()} == {"a": 17_000, "b": 0}
    second = await open_here()
    await until(lambda: not second.store.unacknowledged)
    assert await charged(admin) == {"a": 17_000, "b": 0, "a:late": 83_000}
    await assert_money(admin, 100_000)
    late = decode_record((await admin.read_outbox())[-1].record)
    assert (late.call_id, late.talk_ms, late.billed_s, late.charge_micros) == ("a:late", 83_000, 83, 83_000)
    assert second.alerts == []


async def test_what_redis_had_taken_without_a_word_is_not_taken_again(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    first = await open_here()
    await talk(first, "a")
    first.store.submit(settle("a", 7))
    await until(lambda: not first.store.unacknowledged)
    await first.store.stop()
    assert files(tmp_path) == [], "Redis is up and has all of it"
    write_charges(tmp_path, HERE, [kept_charge("a", 7)])
    second = await open_here()
    await until(lambda: not second.store.unsent)
    await assert_money(admin, 7_000)


async def test_stopped_again_while_redis_is_still_away(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    first = await open_here()
    await talk(first, "a", "b")
    await end_without_redis(durable, first, settle("a", 7))
    second = await open_here()
    assert second.store.unacknowledged == 1
    await second.store.stop()
    assert files(tmp_path) == [".charges"], "it stands in a file already"
    third = await open_here()
    third.store.submit(settle("b", 60))  # an adopted call, say
    await third.store.stop()
    assert files(tmp_path) == [".charges", ".charges"]
    durable.start()
    fourth = await open_here()
    await until(lambda: not fourth.store.unsent)
    await assert_money(admin, 67_000)
    assert files(tmp_path) == []


async def test_a_file_goes_when_redis_has_had_its_charges_for_a_while(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tie, "CHECK_S", 3600.0)  # this test keeps house itself
    write_charges(tmp_path, HERE, [kept_charge("a", 7)])
    bench = await open_here()
    await until(lambda: not bench.store.unacknowledged)
    files_of = bench.store._unsent
    files_of.keep_house(100.0, up=True)
    files_of.keep_house(100.0 + unsent.LOSS_WINDOW_S - 0.1, up=True)
    files_of.keep_house(100.0 + unsent.LOSS_WINDOW_S + 0.1, up=False)
    assert files(tmp_path) == [".charges"]
    files_of.doubt()
    files_of.keep_house(200.0, up=True)
    files_of.keep_house(200.0 + unsent.LOSS_WINDOW_S - 0.1, up=True)
    assert files(tmp_path) == [".charges"]
    files_of.keep_house(200.0 + unsent.LOSS_WINDOW_S, up=True)
    assert files(tmp_path) == []
    assert not bench.store.unsent


async def test_a_redis_killed_right_after_hears_it_again(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path
) -> None:
    write_charges(tmp_path, HERE, [kept_charge("a", 7)])
    bench = await open_here()
    await until(lambda: not bench.store.unacknowledged)
    durable.kill()
    for path in [*durable.folder.rglob("*.aof"), *durable.folder.rglob("*.manifest")]:
        path.unlink()
    durable.start()
    await open_epochs(admin)
    await admin.create_account("t", FUNDED, 1)
    await until(lambda: bench.ops.count("settle") >= 2 and not bench.store.unacknowledged)
    await assert_money(admin, 7_000)
    assert files(tmp_path) == [".charges"]


@pytest.mark.parametrize(("node", "slot"), [("gate-1", 3), ("old-name", 0)])
async def test_charges_of_a_slot_or_name_that_is_gone(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None, node: str, slot: int
) -> None:
    gone = await open_here(Owner(node, slot, "here"))
    await talk(gone, "a")
    await end_without_redis(durable, gone, settle("a", 7))
    durable.start()
    bench = await open_here()
    assert bench.store.unacknowledged == 0, "not its own"
    for _ in range(2):
        assert await say_gone(durable, tmp_path) == []
    assert files(tmp_path) == []
    await assert_money(admin, 7_000)
    alive = {worker.name: worker.alive for worker in await admin.workers()}
    assert alive == {HERE: True, f"{node}/{slot}": False}


async def test_a_name_that_another_gate_has_taken_over_keeps_its_file(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, open_store: OpenStore, tmp_path: Path
) -> None:
    write_charges(tmp_path, "old-name/0", [kept_charge("a", 7)])
    await open_store(durable, Owner("old-name", 0, "elsewhere"))
    assert (await say_gone(durable, tmp_path))[-1] == "OWNER_TAKEN"
    assert files(tmp_path) == [".charges"]


async def test_a_fenced_start_leaves_the_file_to_the_newer_one(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    older = await open_here()
    await talk(older, "a")
    newer = await open_here()
    newer.store.submit(Prove("a", "t", 3, None))
    await until(lambda: "prove" in newer.ops)
    write_charges(tmp_path, HERE, [kept_charge("a", 7)])
    older.store._unsent.take_over()
    await until(lambda: "settle" in older.ops)
    assert (older.store.unacknowledged, older.store.unsent, files(tmp_path)) == (0, False, [".charges"])
    await assert_money(admin, 0, held=60_000, calls=1)
    newer.store._unsent.take_over()
    await until(lambda: not newer.store.unsent)
    assert files(tmp_path) == []
    await assert_money(admin, 7_000)


async def test_a_file_that_is_written_after_the_start_is_found(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "LOOK_EVERY_S", 0.0)
    bench = await open_here()
    write_charges(tmp_path, HERE, [kept_charge("a", 7)])
    write_charges(tmp_path, "gate-1/1", [kept_charge("b", 7)])
    await until(lambda: bench.store.unsent and not bench.store.unacknowledged)
    assert await charged(admin) == {"a": 7_000}


async def test_a_file_waits_while_so_many_charges_do_that_no_call_is_taken(
    durable: Any, open_here: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credit.kept.UNSENT_MAX", 2)
    for calls in (("a", "b"), ("c", "d"), ("e", "f")):
        write_charges(tmp_path, HERE, [kept_charge(call, 7) for call in calls])
    durable.kill()
    bench = await open_here()
    assert (bench.store.unacknowledged, bench.store.full) == (2, True)


def truncate(text: bytes) -> bytes:
    return text[:-30]


def cut_a_line(text: bytes) -> bytes:
    return b"\n".join(text.splitlines()[:-1]) + b"\n"


def change_a_digit(text: bytes) -> bytes:
    return text.replace(b"7000", b"9000")


def another_format(text: bytes) -> bytes:
    return text.replace(b'"format":1', b'"format":2')


def nobodys(text: bytes) -> bytes:
    return text.replace(b"gate-1/0", b"gate-one")


@pytest.mark.parametrize(
    "spoil", [truncate, cut_a_line, change_a_digit, another_format, nobodys, bytes, lambda text: b"", bytes.hex]
)
async def test_a_broken_file_is_set_aside_and_the_rest_goes_on(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, spoil: Callable[[bytes], Any]
) -> None:
    path = write_charges(tmp_path, HERE, [kept_charge("a", 7), kept_charge("b", 7)])
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt.encode() if isinstance(spoilt, str) else spoilt)
    write_charges(tmp_path, HERE, [kept_charge("c", 7)])
    bench = await open_here()
    await until(lambda: not bench.store.unacknowledged)
    whole = spoil is bytes
    assert await charged(admin) == ({"a": 7_000, "b": 7_000} if whole else {}) | {"c": 7_000}
    assert files(tmp_path) == ([".charges", ".charges"] if whole else [".broken", ".charges"])
    assert codes(bench) == ([] if whole else ["UNSENT_CHARGES_BROKEN"])
    assert whole or path.with_suffix(".broken").name in bench.alerts[0][1]


async def test_a_full_disk_at_the_stop_is_told_with_what_is_lost(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path
) -> None:
    bench = await open_here()
    await talk(bench, "a", "b")
    durable.kill()
    await until(lambda: not bench.store.up)
    bench.store.submit(settle("a", 7))
    bench.store.submit(settle("b", 5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        await bench.store.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    [text] = [text for code, text in bench.alerts if code == "CHARGES_NOT_TAKEN"]
    assert "2 charges, 12000 micros" in text
    assert "too large" in text
    assert files(tmp_path) == []


async def test_no_more_charges_are_written_than_a_file_may_hold(
    durable: Any, open_here: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "WRITTEN_MAX", 2)
    durable.kill()
    bench = await open_here()
    for call in ("a", "b", "c"):
        bench.store.submit(settle(call, 7))
    await bench.store.stop()
    assert [text.split(",")[0] for code, text in bench.alerts if code.startswith("CHARGES")] == [
        "2 charges", "1 charges",
    ]  # fmt: skip
    durable.start()


async def test_charges_that_redis_refuses_stay_for_a_person_to_look_at(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    dear, fair = kept_charge("a", 61), kept_charge("b", 7)
    path = write_charges(tmp_path, HERE, [dear, fair])
    bench = await open_here()
    await until(lambda: not bench.store.unsent)
    assert codes(bench) == ["CHARGE_ABOVE_HELD", "UNSENT_CHARGES_REFUSED"]
    assert bench.alerts[1][1].startswith(f"1 charges of {path} ")
    assert files(tmp_path) == [".refused"]
    assert await charged(admin) == {"b": 7_000}


async def test_after_a_day_a_call_that_redis_does_not_know_is_not_made_anew(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    first = await open_here()
    await talk(first, "live", "booked")
    first.store.submit(settle("booked", 7))
    await until(lambda: not first.store.unacknowledged)
    await first.store.stop()
    with durable.client() as redis:
        redis.delete(Keyspace(4).partition("t").call("booked"))  # as its marker goes, a day after the booking
    old = MERGE_WITHIN_S + 60.0
    write_charges(tmp_path, HERE, [kept_charge("live", 7, old), kept_charge("booked", 7, old)])
    second = await open_here()
    await until(lambda: not second.store.unsent)
    assert await charged(admin) == {"live": 7_000, "booked": 7_000}
    await assert_money(admin, 14_000)
    assert codes(second) == ["UNKNOWN_CALL", "UNSENT_CHARGES_REFUSED"]


async def test_stopped_at_random_moments_around_losses_nothing_is_lost_or_doubled(
    durable: Any, admin: CreditAdmin, open_here: OpenStore, tmp_path: Path, at_once: None
) -> None:
    """Each round Redis dies, forgets what it took since a random moment, and the worker ends before it is back."""
    dice, memory = random.Random(int(os.environ.get("CALLGATE_KILL_SEED", "7"))), Memory(durable)
    spent: dict[str, int] = {}
    for number in range(8):
        bench = await open_here()
        await until(lambda bench=bench: not bench.store.unacknowledged)
        calls = [f"{number}-{place}" for place in range(5)]
        marked = dice.randrange(len(calls))
        ends = {call: settle(call, dice.randrange(1, 61)) for call in calls}
        for place, call in enumerate(calls):
            if place == marked:
                memory.mark()
            await talk(bench, call)
            if dice.randrange(2):
                bench.store.submit(ends[call])
                await until(lambda bench=bench: not bench.store.unacknowledged)
        await end_without_redis(durable, bench, *ends.values())
        if dice.randrange(2):
            await (await open_here()).store.stop()
        spent |= {call: command.charge_micros for call, command in ends.items()}
        memory.lose()
        if dice.randrange(2):
            await sweep_some(durable, admin, dice, spent)
    bench = await open_here()
    await until(lambda: not bench.store.unsent)
    found: Counter[str] = Counter()
    for charge_id, micros in (await charged(admin)).items():
        found[charge_id.removesuffix(":late")] += micros
    assert found == spent
    await assert_money(admin, sum(spent.values()))
    assert (files(tmp_path), bench.alerts) == ([], [])


async def sweep_some(server: Any, admin: CreditAdmin, dice: random.Random, spent: dict[str, int]) -> None:
    """Some of the calls that live in Redis are swept, charged up to a random moment of their talk."""
    partition = Keyspace(4).partition("t")
    with server.client() as redis:
        for member in redis.zrange(partition.leases, 0, -1):
            if dice.randrange(2):
                call = member.split()[0]
                redis.hset(partition.call(call), "proven_s", dice.randint(0, spent[call] // 1000))
                redis.zadd(partition.leases, {member: 1})
    await admin.sweep()
