"""All keys of every script fall into one slot, by our own sum and by a real Redis Cluster node."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from gateway.call.commands import Answer, Prove, Release, Renew, Reserve, Settle
from gateway.credit import lua
from gateway.credit.admin import CreditAdmin
from gateway.credit.kept import Live
from gateway.credit.keys import Keyspace, crc16, slot_of
from gateway.credit.requests import Requests
from policy.verdict import Limits
from rating.tariff import Tariff

from .conftest import begin_rebuild, open_epochs

SCRIPTS = Path(__file__).parents[3] / "gateway" / "credit" / "scripts"
TARIFF = Tariff(60_000, 0, 1, 1)


def test_crc16_is_the_one_of_the_cluster() -> None:
    assert crc16("123456789") == 0x31C3  # the check value of CRC-16/XMODEM


@given(st.text())
def test_slots_are_those_of_redis_py(key: str) -> None:
    assert slot_of(key) == key_slot(key.encode())


@given(st.text(), st.text(), st.integers(1, 512))
def test_everything_of_a_tenant_is_in_one_slot(tenant: str, call: str, partitions: int) -> None:
    keys = Keyspace(partitions).tenant(tenant)
    partition = keys.partition
    assert partition.number == crc16(tenant) % partitions
    names = [
        keys.account, partition.epoch, partition.opened, partition.leases, partition.outbox,
        partition.refused, partition.call(call), partition.withdrawal(call),
    ]  # fmt: skip
    assert {slot_of(name) for name in names} == {slot_of(f"{{p{partition.number}}}")}


def test_at_least_one_partition() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyspace(0)


def commands(tenant: str) -> list[Any]:
    reserve = Reserve("c", tenant, TARIFF, 60, 90, Limits(5, 5), b"a", b"u")
    return [
        reserve,
        Answer("c", tenant, 1, b"a"),
        Renew("c", tenant, 1, 60, 120, 60),
        Prove("c", tenant, 61, b"b"),
        Live(reserve, 60, 60_000, False),
        Settle("c", tenant, 1000, 1000, b"{}"),
        Release("d", tenant, b"{}"),
    ]


class Watched:
    """A wire that notes the keys of what is sent over it."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self.keys: dict[str, list[str]] = {}

    def ask(self, packed: bytes) -> Any:
        words = re.findall(rb"\$\d+\r\n((?:(?!\r\n\$).)*)", packed, re.DOTALL)
        count = int(words[2])
        self.keys[lua.BY_SHA[words[1].decode()].name] = [word.decode() for word in words[3 : 3 + count]]
        return self._wire.ask(packed)


def test_the_keys_of_each_hot_script_share_a_slot(wire: Any, redis: Any) -> None:
    watched, keys = Watched(wire), Keyspace(256)
    requests = Requests(keys, "gate/0", 30)
    partition = keys.partition("contoso")
    redis.set(partition.epoch, "1")
    redis.hset(keys.tenant("contoso").account, "balance", 10**6)
    for command in commands("contoso"):
        kind = "merge" if isinstance(command, Live) else type(command).__name__.lower()
        reply = watched.ask(getattr(requests, kind)(command, "1"))
        assert reply[0] in {b"GRANT", b"WRITTEN", b"MERGED", b"CLOSED"}, (kind, reply)
    assert set(watched.keys) == {script.name for script in lua.HOT} - {"claim"}
    for names in watched.keys.values():
        assert len({slot_of(name) for name in names}) == 1, names


async def test_redis_cluster_takes_every_script(
    tmp_path: Path, make_server: Callable[..., Any], open_store: Callable[..., Awaitable[Any]]
) -> None:
    """A cluster node refuses a script whose keys, or whose commands' keys, are in different slots."""
    node = make_server("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--port", "0")
    keys = Keyspace(4)
    with node.client() as redis:
        redis.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        while "cluster_state:ok" not in redis.execute_command("CLUSTER", "INFO"):
            pass
        for partition in keys.partitions:
            redis.set(partition.epoch, "1")
            for name in (partition.epoch, partition.account("t"), partition.call("c")):
                assert redis.execute_command("CLUSTER", "KEYSLOT", name) == slot_of(name)
        admin = CreditAdmin(node.url, partitions=4, sweep_quiet_s=0)
        assert (await admin.apply_money_in("contoso", 1, 10**6)).applied
        bench = await open_store(node)
        for command in commands("contoso"):
            if not isinstance(command, Live):
                bench.store.submit(command)
        while bench.store.unacknowledged:
            await admin.ping()
        assert (await admin.account("contoso")).balance_micros == 10**6 - 1000
        assert (await admin.withdraw("contoso", "w", 10, b"{}")).taken_micros == 10
        await begin_rebuild(admin, 2)
        await open_epochs(admin, 2)
        bench.store.submit(Reserve("e", "contoso", TARIFF, 60, 0, Limits(), b"", b"{}"))
        await bench.store.stop()
        await admin.close()


PASSED_ON = {"resolved.lua": ("call",), "grant.lua": {"call"}, "drawn.lua": {"counters"}, "terms.lua": {"counters"}}
"""Keys that a script hands to the parts it includes, by part."""


def test_scripts_touch_declared_keys_only() -> None:
    for path in sorted(SCRIPTS.rglob("*.lua")):
        for command, key in re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", path.read_text()):
            declared = key.startswith("KEYS[") or key in PASSED_ON.get(path.name, ())
            assert declared or command == "TIME", (path.name, command, key)


TEXTS = {
    "grant.lua", "claim.lua", "inherit.lua", "inherited.lua", "drawn.lua", "terms.lua", "reserve.lua", "resolved.lua",
    "anew.lua",
}  # fmt: skip


def test_amounts_are_never_written_by_tostring() -> None:
    for path in sorted(SCRIPTS.rglob("*.lua")):
        code = re.sub(r"--.*", "", path.read_text())
        assert "tostring" not in code, path.name
        for line in code.splitlines():
            if ".." in line.replace("...", ""):  # texts only: grants remembered, a claim, names of counters
                assert path.name in TEXTS, (path.name, line)


def test_every_script_is_loaded_and_whole() -> None:
    assert {script.name for script in lua.ALL} == {path.stem for path in SCRIPTS.glob("*.lua")}
    assert not any("@include" in script.text for script in lua.ALL)
