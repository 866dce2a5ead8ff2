"""The command line with the printed rights in Redis: commands that ask Redis do their work, nothing is refused."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest

from gateway.call.record import CallRecord
from gateway.credit.keys import Keyspace
from gateway.credit.roles import OPERATOR

from ..guarded import UNUSED_HERE, Guarded
from .conftest import SETTINGS, Shell

PARTITIONS = 4
ORDERS = "cg:orders:gate-1/0"
WITHIN_S = 20.0


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    running = Guarded(tmp_path)
    yield running
    running.close()


@pytest.fixture
def signed_in(shell: Shell, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(import_module("gateway.settlement.rebuild"), "HEAR_MAX_S", 0.4)
    text = SETTINGS.replace("[redis]", f'[redis]\nurl = "{guarded.url(OPERATOR.name)}"')
    (shell.folder / "callgate.toml").write_text(text)
    guarded.begin()
    return shell


def leave_a_call(guarded: Guarded, call: str) -> str:
    """A live call whose worker says nothing; its key."""
    keys = Keyspace(PARTITIONS).partition("contoso")
    usage = CallRecord(call, "contoso", "user_out").encode()
    facts = {"owner": "gate-1/0", "gen": 1, "held": 0, "usage": usage, "drawn": "live tenant"}
    guarded.watcher.hset(keys.call(call), mapping=facts)
    guarded.watcher.zadd(keys.leases, {f"{call} contoso": 99_999_999_999_999})
    guarded.watcher.hset("cg:owners", "gate-1/0", "1 99999999999999 1 here")
    return keys.call(call)


def leave_a_charge(guarded: Guarded, call: str) -> None:
    """A call that is over, of which Redis has kept the outbox entry and lost that it is over."""
    keys = Keyspace(PARTITIONS).partition("contoso")
    leave_a_call(guarded, call)
    record = CallRecord(call, "contoso", "user_out", invited_ms=1).encode()
    fields = {"kind": "settle", "call": f"{call} contoso", "charge": "0", "record": record, "owner": ""}
    guarded.watcher.xadd(keys.outbox, fields)
    guarded.watcher.hset(keys.said, "elsewhere contoso", "0")


def end_when_ordered(guarded: Guarded, call: str) -> None:
    """Stand in for a worker: the call ends once the order is there."""
    until_s = time.monotonic() + WITHIN_S
    with guarded.client("watcher") as redis:
        while redis.xlen(ORDERS) == 0 and time.monotonic() < until_s:
            time.sleep(0.01)
        redis.delete(call)


def test_every_command_does_its_work(signed_in: Shell, guarded: Guarded) -> None:
    run = signed_in
    run("provision", "tenants.toml")
    assert run("reconcile", "--repair", "--json").document["clean"], "a new Redis is opened by hand"
    limits = 'rate_deck = "standard"\nlimits = { spend_per_day = "200.00" }'
    again = (run.folder / "tenants.toml").read_text().replace('rate_deck = "standard"', limits, 1)
    again += '[[tenant]]\nid = "fabrikam"\nrate_deck = "standard"\n'
    (run.folder / "tenants.toml").write_text(again)
    run("provision", "tenants.toml")
    for tenant in ("contoso", "fabrikam"):
        assert run("fund", tenant, "5", "--reference", "r1", "--json").document["applied"]
    run("fund", "contoso", "--reference", "r2", "--kind", "adjustment", "--", "-1")
    run("check")
    assert run("balance", "contoso", "--json").document["balance"] == "4.000000"
    call = leave_a_call(guarded, "c1")
    assert [each["id"] for each in run("calls", "--json").document] == ["c1"]
    run("trace", "c1", status=None)
    day = datetime.now(UTC).date().isoformat()
    guarded.watcher.hset(Keyspace(PARTITIONS).tenant("contoso").counters, f"closed +88 {day}", 1)
    assert run("limits", "contoso", "--release", "range/+88", "--json").document["closed"] == []
    run("limits", "contoso", "--release", "tenant/day")
    assert run("reconcile", "--json").document["clean"]
    leave_a_charge(guarded, "c0")
    assert run("reconcile", "--repair", "--json").document["rebuilt"]["calls_kept"] == 1
    guarded.watcher.delete(ORDERS)
    worker = threading.Thread(target=end_when_ordered, args=(guarded, call))
    worker.start()
    run("hangup", "c1")
    worker.join()
    assert guarded.refused() == []
    assert OPERATOR.commands - guarded.used() <= UNUSED_HERE


def test_a_call_is_hung_up_while_the_ledger_is_away(signed_in: Shell, guarded: Guarded) -> None:
    run = signed_in
    run("provision", "tenants.toml")
    run("reconcile", "--repair")
    call = leave_a_call(guarded, "c1")
    for path in (run.folder / "data").glob("ledger.sqlite3*"):
        path.unlink()
    (run.folder / "data" / "ledger.sqlite3").mkdir()
    worker = threading.Thread(target=end_when_ordered, args=(guarded, call))
    worker.start()
    done = run("hangup", "c1", "--json", status=None)
    worker.join()
    assert done.status == 0, done
    assert done.document["ended"]
    assert "hang-up not in the audit log" in done.err
