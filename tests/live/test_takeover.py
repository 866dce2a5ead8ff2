"""Two gates with one Redis and one ledger: where one is gone for good, or ends in order, the other has its calls.

Both are whole ``callgate serve`` processes with addresses and node names of their own.  A claim to a worker slot runs
out fifteen seconds after its holder was heard last; but for the first, these tests do not wait for that but make it
look older in Redis.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from gateway.credit.keys import OWNERS_KEY
from gateway.ledger import Ledger, ledger_url
from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children
from loadtest.wire import Address, Heard, sip_cause
from tests.gateway.cluster import Cluster
from tests.live.phone import until
from tests.live.sides import PBX, Caller, Side, books_are_whole, dialogs_of_callee, follow, say, usage
from tests.peers import find_program

pytestmark = pytest.mark.peer("redis-server", "postgres")

CREDIT = "tick_s = 4\nrenew_lead_s = 1.0\ntakeover_after_s = 1\ngates = 2"
Books = tuple[Callable[..., str], str]
Pair = tuple[Gate, Gate]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    program = find_program("postgres")
    assert program is not None
    cluster = Cluster(program.parent)
    yield cluster
    cluster.close()


@pytest.fixture
def make_pair(
    children: Children, tmp_path: Path, carrier: Address, postgres: Cluster, books: Books
) -> Callable[..., Pair]:
    """Two gates on one Redis and PostgreSQL; each tenant has a caller's number and so much money."""

    def make(**funds: str) -> Pair:
        url = postgres.create(f"books_{tmp_path.name[-8:].replace('-', '_')}")
        asyncio.run(_migrate(url))
        sections = {"credit": CREDIT, "ledger": f'url = "{url}"', "sip": "drain_s = 1"}
        trunks = Trunks([PBX], [carrier.host], [f"sip:{carrier}"])
        one, two = (Gate(children, tmp_path / name, trunks, sections=sections) for name in ("one", "two"))
        one.start_redis()
        two.redis_socket.symlink_to(one.redis_socket)
        two.redis = one.redis
        one.provision(books[0](*funds), books[1], list(funds.items()))
        for gate in (one, two):
            gate.start()
        return one, two

    return make


async def _migrate(url: str) -> None:
    async with Ledger(ledger_url(url, Path())) as ledger:
        await ledger.migrate()


@pytest.fixture
def callee(carrier: Address) -> Iterator[Side]:
    side = Side(carrier)
    yield side
    side.close()


@pytest.fixture
def make_caller() -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def make(gate: Gate, **more: object) -> Caller:
        made.append(Caller(gate.sip, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def kill(gate: Gate) -> None:
    """Every process of the gate at once; Redis is the other's too."""
    assert gate.process is not None
    pids = [pid for role, some in gate.pids().items() if role != "redis" for pid in some]
    for pid in (gate.process.pid, *pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gate.process.wait(10)
    gate.process = None


def age_claim(gate: Gate) -> None:
    """As if the worker had not been heard for a minute."""
    with redis.Redis(unix_socket_path=str(gate.redis_socket), decode_responses=True) as store:
        name = f"{gate.folder.name}/0"
        epoch, _, start, instance = str(store.hget(OWNERS_KEY, name)).split(" ", 3)
        store.hset(OWNERS_KEY, name, f"{epoch} {int(time.time() * 1000) - 60_000} {start} {instance}")


def test_a_gate_that_is_killed_as_a_whole_has_its_calls_taken_over(
    make_pair: Callable[..., Pair], make_caller: Callable[..., Caller], callee: Side
) -> None:
    one, two = make_pair(contoso="10", poor="0.024")
    first, second, third = (make_caller(one, updates=number != 1) for number in range(3))
    poor = make_caller(one, number="+14255550001")
    dialogs = [caller.call() for caller in (first, second, third, poor)]
    answered_s = poor.wait(lambda heard: heard.status == 200)[0]
    far = dialogs_of_callee(callee)
    callee.gone.add(far[2].call_id)
    time.sleep(1.0)
    kill(one)
    moved = [
        follow(caller, dialog, within_s=30.0)
        for caller, dialog in ((first, dialogs[0]), (second, dialogs[1]), (poor, dialogs[3]))
    ]
    assert [(heard.method, heard.cseq > 100) for heard in moved] == [
        ("UPDATE", True), ("INVITE", True), ("INVITE", True)
    ]  # fmt: skip
    assert "o=- 2" in moved[1].body, "the description of the called side"
    assert second.asked("ACK")[1].cseq == moved[1].cseq
    assert f"{two.sip}" in moved[0].first("contact")
    for dialog in (far[0], far[1], far[3]):
        follow(callee, dialog)
    assert sip_cause(third.asked("BYE")[1]) == 408, "the far side had hung up meanwhile"
    live = two.run("calls", "--json").document()
    assert [call["node"] for call in live] == ["two"] * 3
    for side, ended in ((poor, dialogs[3]), (callee, far[3])):
        at_s, bye = bye_in(side, ended.call_id)
        assert sip_cause(bye) == 402
        assert 23.95 < at_s - answered_s < 24.5, at_s - answered_s
    assert say(first, dialogs[0], "BYE").status == 200
    assert say(callee, far[1], "BYE").status == 200
    second.asked("BYE")
    books_are_whole(two, f"{10 - spent(two, 'contoso'):.6f}")
    assert spent(two, "poor") == pytest.approx(0.024)
    reasons = sorted(str(row["Reason Code"]) for row in usage(two))
    assert reasons == ["COMPLETED", "COMPLETED", "DEAD_PEER"]
    assert two.metrics()['callgate_dialogs_moved_total{result="moved"}'] >= 6
    assert "caused a fault" not in two.log.read_text()
    assert two.stop() == 0


def bye_in(side: Side, call_id: str) -> tuple[float, Heard]:
    return side.wait(
        lambda heard: not heard.status and heard.method == "BYE" and heard.call_id == call_id, within_s=20.0
    )


def spent(gate: Gate, tenant: str) -> float:
    return sum(int(row["Charge Micros"]) for row in usage(gate, tenant)) / 1_000_000


def test_a_gate_that_wakes_after_its_calls_are_anothers_says_nothing_and_starts_anew(
    make_pair: Callable[..., Pair], make_caller: Callable[..., Caller], callee: Side
) -> None:
    one, two = make_pair(contoso="10", poor="0.004")
    caller, poor = make_caller(one), make_caller(one, number="+14255550001")
    dialog = caller.call()
    poor.call()
    (worker,) = one.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(3.5)
    age_claim(one)
    follow(caller, dialog)
    for side in (poor, callee):
        side.asked("BYE")
    time.sleep(0.5)
    heard = [len(side.heard) for side in (caller, poor, callee)]
    os.kill(worker, signal.SIGCONT)
    until(lambda: one.pids()["worker"] not in ([], [worker]))
    other = make_caller(one)
    again = other.call()
    assert [len(side.heard) for side in (caller, poor)] == heard[:2]
    assert all(message.method != "BYE" for _, message in callee.heard[heard[2] :])
    assert say(other, again, "BYE").status == 200
    assert say(caller, dialog, "BYE").status == 200
    assert one.wait_booked()
    books_are_whole(two, f"{10 - spent(two, 'contoso'):.6f}")
    assert [row["Reason Code"] for row in usage(two)] == ["COMPLETED"] * 2
    assert spent(two, "poor") == pytest.approx(0.004)
    assert (one.stop(), two.stop()) == (0, 0)


def test_one_gate_after_the_other_is_restarted_and_no_call_is_dropped_or_free(
    make_pair: Callable[..., Pair], make_caller: Callable[..., Caller], callee: Side
) -> None:
    one, two = make_pair(contoso="10")
    callers = [make_caller(one, updates=number % 2 == 0) for number in range(4)]
    dialogs = [caller.call() for caller in callers]
    answered_s = time.monotonic()
    far = dialogs_of_callee(callee)
    for leaving, staying in ((one, two), (two, one)):
        since = [len(side.heard) for side in (*callers, callee)]
        assert leaving.stop() == 0
        for caller, dialog, start in zip(callers, dialogs, since, strict=False):
            assert f"{staying.sip}" in follow(caller, dialog, start).first("contact")
        for dialog in far:
            follow(callee, dialog, since[-1])
        leaving.start()
    assert not any(side.count("BYE") for side in (*callers, callee))
    for caller, dialog in zip(callers, dialogs, strict=True):
        assert say(caller, dialog, "BYE").status == 200
    talked_s = time.monotonic() - answered_s
    books_are_whole(one, f"{10 - spent(one, 'contoso'):.6f}")
    rows = usage(one)
    assert [row["Reason Code"] for row in rows] == ["COMPLETED"] * 4
    assert all(talked_s - 1.5 < int(row["Charge Micros"]) / 1000 < talked_s + 1.5 for row in rows)
    assert callee.count("BYE") == 4
    assert (one.stop(), two.stop()) == (0, 0)
