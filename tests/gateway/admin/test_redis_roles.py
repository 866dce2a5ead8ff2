"""The admin process with the printed rights in Redis: all that HTTP asks of it is answered, and nothing is refused."""

from pathlib import Path

import pytest

from gateway.call.record import CallRecord
from gateway.credit.keys import Keyspace
from gateway.credit.roles import ADMIN
from gateway.settlement import fund

from ..guarded import UNUSED_HERE, Guarded
from .conftest import PARTITIONS, open_world


async def test_the_admin_process_does_all_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admin.desk.HANG_UP_WAIT_S", 0.2)
    guarded = Guarded(tmp_path)
    try:
        async with open_world(tmp_path, guarded=guarded) as world:
            world.worker_ready()
            await fund(world.ledger, world.credit, "contoso", 5_000_000, "r1")
            keys = Keyspace(PARTITIONS).partition("contoso")
            usage = CallRecord("c1", "contoso", "user_out").encode()
            guarded.watcher.hset(keys.call("c1"), mapping={"owner": "gate-1/0", "gen": 1, "held": 0, "usage": usage})
            guarded.watcher.zadd(keys.leases, {"c1 contoso": 99_999_999_999_999})
            guarded.begin()
            assert (await world.ask("GET", "/readyz", token=None)).status == 200
            assert (await world.ask("GET", "/api/v1/tenants")).status == 200
            assert (await world.ask("GET", "/api/v1/tenants/contoso/balance")).body["balance"] == "5.000000"
            assert (await world.ask("GET", "/api/v1/tenants/contoso/ledger")).status == 200
            assert [call["id"] for call in (await world.ask("GET", "/api/v1/calls")).body] == ["c1"]
            assert (await world.ask("GET", "/api/v1/calls?tenant=contoso")).status == 200
            assert (await world.ask("GET", "/api/v1/reconcile")).body["drift_micros"] == 0
            told = await world.ask("DELETE", "/api/v1/calls/c1")
            assert "does not answer" in told.body["detail"], "the order is given, and nobody is there"
            assert guarded.watcher.xlen("cg:orders:gate-1/0") == 1
            assert guarded.refused() == []
            assert ADMIN.commands - guarded.used() <= UNUSED_HERE
    finally:
        guarded.close()
