"""The HTTP side over real stores: what is open, what wants the token, and how errors are told."""

import asyncio
import contextlib
import json
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.admin import desk, readiness
from gateway.call.commands import Grant, Reserve, Result
from gateway.call.record import CallRecord
from gateway.config.version import VERSION
from gateway.credit.orders import HangUp
from gateway.credit.store import CreditStore, Owner
from gateway.settlement import fund
from gateway.telemetry import metrics
from gateway.telemetry.metrics import Meter
from gateway.telemetry.snapshots import SnapshotFile
from policy.verdict import Limits
from rating.tariff import Tariff

from ..cluster import Cluster
from .conftest import PARTITIONS, Answer, World, open_world

PROBLEM = "application/problem+json"


def is_problem(answer: Answer, status: int, *words: str) -> bool:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == PROBLEM
    assert answer.body["status"] == status
    assert answer.body["title"]
    for word in words:
        assert word in answer.body["detail"]
    return True


async def test_health_metrics_and_readiness_want_no_token(world: World) -> None:
    world.worker_ready()
    health = await world.ask("GET", "/healthz", token=None)
    assert (health.status, health.body) == (200, {"status": "up", "version": VERSION})
    assert (await world.ask("GET", "/readyz", token=None)).status == 200
    meter = Meter()
    meter.set_tenants(metrics.BALANCE, [("contoso", 5)])
    SnapshotFile(world.metrics_dir, meter).write()
    scraped = await world.ask("GET", "/metrics", token=None)
    assert scraped.headers["content-type"].startswith("text/plain")
    assert 'callgate_balance_micros{tenant="contoso"} 5.0' in scraped.body
    assert "# TYPE callgate_cut_error_seconds histogram" in scraped.body
    openmetrics = await world.ask("GET", "/metrics", token=None, accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith("# EOF\n")


async def test_readiness_names_what_is_not_usable(world: World) -> None:
    missing_sip = await world.ask("GET", "/readyz", token=None)
    assert is_problem(missing_sip, 503, "sip: worker 0 does not accept calls")
    assert missing_sip.body["unusable"] == ["sip"]
    ready = world.worker_ready()
    await world.redis.stop()
    assert (await world.ask("GET", "/readyz", token=None)).body["unusable"] == ["redis"]
    await world.redis.ensure()
    assert (await world.ask("GET", "/readyz", token=None)).status == 200
    ready.write_text("999999999")  # a process that is gone
    assert (await world.ask("GET", "/readyz", token=None)).body["unusable"] == ["sip"]


async def test_readiness_names_a_ledger_that_is_away(world: World) -> None:
    world.worker_ready()
    await world.ledger.close()
    for path in world.settings.data_dir.glob("*sqlite*"):
        path.unlink()
    (world.settings.data_dir / "ledger.sqlite3").mkdir(exist_ok=True)
    answer = await world.ask("GET", "/readyz", token=None)
    assert "ledger" in answer.body.get("unusable", []), answer.body


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No file of this process may grow beyond what the ledger's largest takes now, as with a full disk or quota."""
    size = max(file.stat().st_size for file in folder.glob("ledger*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_readiness_names_a_ledger_that_can_be_read_but_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TRIAL_EVERY_S", 0.0)
    world.worker_ready()
    with full_disk(world.settings.data_dir):
        await world.ledger.ping()
        answer = await world.ask("GET", "/readyz", token=None)
        assert is_problem(answer, 503, "ledger: it can be read but not written: the ledger is away (", "its disk")
        assert answer.body["unusable"] == ["ledger"]
    assert (await world.ask("GET", "/readyz", token=None)).status == 200


async def test_polls_between_two_trials_are_told_what_the_last_one_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.worker_ready()
    monkeypatch.setattr(readiness, "TRIAL_EVERY_S", 1000.0)
    with full_disk(world.settings.data_dir):
        for _ in range(3):
            assert (await world.ask("GET", "/readyz", token=None)).body["unusable"] == ["ledger"]
    assert (await world.ask("GET", "/readyz", token=None)).body["unusable"] == ["ledger"], "nothing was tried again"


async def test_a_settler_that_cannot_book_is_believed(world: World) -> None:
    world.worker_ready()
    meter = Meter()
    meter.gauge(metrics.LEDGER_UP).set(0)
    file = SnapshotFile(world.metrics_dir, meter)
    file.write()
    assert is_problem(await world.ask("GET", "/readyz", token=None), 503, "ledger: the settler cannot book", "its log")
    meter.gauge(metrics.LEDGER_UP).set(1)
    file.write()
    assert (await world.ask("GET", "/readyz", token=None)).status == 200


async def test_a_writer_at_work_is_no_reason_to_refuse(world: World) -> None:
    world.worker_ready()
    async with world.ledger.database.write():
        assert (await world.ask("GET", "/readyz", token=None)).status == 200
    assert (await world.ask("GET", "/readyz", token=None)).status == 200


@pytest.mark.peer("postgres")
async def test_readiness_names_a_postgresql_that_is_stopped_and_forgets_it_when_it_is_back(
    tmp_path: Path, postgres: Cluster, postgres_url: str
) -> None:
    async with open_world(tmp_path, f'[ledger]\nurl = "{postgres_url}"\n') as world:
        world.worker_ready()
        assert (await world.ask("GET", "/readyz", token=None)).status == 200
        postgres.stop()
        try:
            answer = await world.ask("GET", "/readyz", token=None)
            assert (answer.status, answer.body["unusable"]) == (503, ["ledger"])
            assert is_problem(await world.ask("GET", "/api/v1/tenants/contoso/ledger"), 503, "the ledger is away")
        finally:
            postgres.start()
        assert (await world.ask("GET", "/readyz", token=None)).status == 200


async def test_the_api_wants_the_token(world: World) -> None:
    for path in ("tenants", "openapi.json"):
        for token in (None, "wrong"):
            answer = await world.ask("GET", f"/api/v1/{path}", token=token)
            assert is_problem(answer, 401, "Authorization: Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await world.ask("GET", f"/api/v1/{path}")).status == 200


async def test_openapi_describes_the_api(world: World) -> None:
    document = (await world.ask("GET", "/api/v1/openapi.json")).body
    assert document["info"] == {"title": "Callgate", "version": VERSION}
    assert set(document["paths"]) == {
        "/api/v1/tenants",
        "/api/v1/tenants/{tenant}",
        "/api/v1/tenants/{tenant}/balance",
        "/api/v1/tenants/{tenant}/ledger",
        "/api/v1/tenants/{tenant}/lots",
        "/api/v1/tenants/{tenant}/recharge",
        "/api/v1/payments/{key}",
        "/api/v1/calls",
        "/api/v1/calls/{call}",
        "/api/v1/reconcile",
    }


async def test_tenants_are_shown(world: World) -> None:
    tenants = (await world.ask("GET", "/api/v1/tenants")).body
    assert [tenant["id"] for tenant in tenants] == ["contoso", "fabrikam"]
    contoso = (await world.ask("GET", "/api/v1/tenants/contoso")).body
    assert contoso == tenants[0]
    assert contoso["limits"]["max_calls"] == 50
    assert contoso["limits"]["spend_per_day"] == "200.000000"
    assert tenants[1]["credit_limit"] == "5.000000"


async def test_balance_and_ledger_are_the_contracts_documents(world: World) -> None:
    await fund(world.ledger, world.credit, "contoso", 12_340_000, "r1")
    balance = (await world.ask("GET", "/api/v1/tenants/contoso/balance")).body
    assert balance == {
        "tenant": "contoso",
        "currency": "USD",
        "mode": "prepaid",
        "balance": "12.340000",
        "held": "0.000000",
        "available": "12.340000",
        "ledger_balance": "12.340000",
        "unsynced": "0.000000",
        "pools": [],
        "exhausted": False,
    }
    (posting,) = (await world.ask("GET", "/api/v1/tenants/contoso/ledger")).body
    assert posting.pop("at").endswith("Z")
    assert posting == {
        "id": "1",
        "kind": "manual",
        "amount": "12.340000",
        "balance": "12.340000",
        "reference": "r1",
        "call_id": None,
    }


async def test_a_postpaid_tenant_has_its_limit_available_and_is_never_exhausted(world: World) -> None:
    balance = (await world.ask("GET", "/api/v1/tenants/fabrikam/balance")).body
    assert (balance["balance"], balance["available"], balance["exhausted"]) == ("0.000000", "5.000000", False)
    assert (await world.ask("GET", "/api/v1/tenants/contoso/balance")).body["exhausted"] is True


async def test_what_is_not_there_is_a_problem(world: World) -> None:
    for path in ("tenants/nobody", "tenants/nobody/balance", "tenants/nobody/ledger", "reconcile?tenant=nobody"):
        assert is_problem(await world.ask("GET", f"/api/v1/{path}"), 404, "nobody")
    assert is_problem(await world.ask("DELETE", "/api/v1/calls/nope"), 404, "nope")
    assert is_problem(await world.ask("GET", "/nowhere"), 404)
    assert is_problem(await world.ask("POST", "/api/v1/calls"), 405)


async def test_redis_away_is_a_problem_that_says_so(world: World) -> None:
    await world.redis.stop()
    assert is_problem(await world.ask("GET", "/api/v1/tenants/contoso/balance"), 503)
    assert (await world.ask("GET", "/api/v1/tenants/contoso/ledger")).status == 200
    assert (await world.ask("GET", "/healthz", token=None)).status == 200


async def test_reconcile_finds_no_drift(world: World) -> None:
    await fund(world.ledger, world.credit, "contoso", 5, "r1")
    document = (await world.ask("GET", "/api/v1/reconcile")).body
    assert (document["drift_micros"], document["clean"]) == (0, True)
    assert [tenant["tenant"] for tenant in document["tenants"]] == ["contoso", "fabrikam"]
    only = (await world.ask("GET", "/api/v1/reconcile?tenant=contoso")).body
    assert [tenant["tenant"] for tenant in only["tenants"]] == ["contoso"]


async def reserve(world: World, results: list[Result]) -> CreditStore:
    """A live call of contoso's on a worker of the name gate-1/0."""
    store = CreditStore(world.redis.url, Owner("gate-1", 0, "here"), results.append, partitions=PARTITIONS)
    await store.start()
    usage = CallRecord(
        call_id="c1",
        tenant_id="contoso",
        kind="user_out",
        caller="+14255550100",
        number="+12125550123",
        user_id="alice",
    )
    store.submit(Reserve("c1", "contoso", Tariff(60_000, 0, 1, 1), 10, 30, Limits(), b"", usage.encode()))
    return store


async def test_live_calls_are_shown_and_told_to_end(world: World) -> None:
    await fund(world.ledger, world.credit, "contoso", 1_000_000, "r1")
    results: list[Result] = []
    store = await reserve(world, results)
    await store.stop()  # sends what waits
    assert isinstance(results[0], Grant)
    (call,) = (await world.ask("GET", "/api/v1/calls")).body
    assert call == {
        "id": "c1",
        "tenant": "contoso",
        "user": "alice",
        "from": "+14255550100",
        "to": "+12125550123",
        "kind": "user_out",
        "state": "calling",
        "answered_at": None,
        "seconds": 0,
        "charged": "0.000000",
        "held": "0.010000",
        "paid_until": None,
        "node": "gate-1",
    }
    assert (await world.ask("GET", "/api/v1/calls?tenant=fabrikam")).body == []
    assert is_problem(await world.ask("DELETE", "/api/v1/calls/c1"), 503, "gate-1/0", "does not answer")
    orders = [order for _, order in await world.credit.read_orders("gate-1/0")]
    assert HangUp("c1") in orders
    act = [act async for act in world.ledger.acts("contoso")][-1]
    assert (act.actor, act.act, act.subject) == ("http:admin-token", "call.hangup", "c1")
    assert act.before is not None
    assert act.before["state"]


async def test_a_ledger_that_is_away_keeps_no_call_up(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "HANG_UP_WAIT_S", 0.2)
    await fund(world.ledger, world.credit, "contoso", 1_000_000, "r1")
    store = await reserve(world, [])
    await store.stop()
    await world.ledger.close()
    for path in world.settings.data_dir.glob("*sqlite*"):
        path.unlink()
    (world.settings.data_dir / "ledger.sqlite3").mkdir()
    assert is_problem(await world.ask("DELETE", "/api/v1/calls/c1"), 503, "does not answer"), "it was asked to"
    assert HangUp("c1") in [order for _, order in await world.credit.read_orders("gate-1/0")]
    assert "hang-up not in the audit log" in capsys.readouterr().out


async def test_a_ledger_that_hangs_delays_no_hang_up_and_keeps_its_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "NOTE_WAIT_S", 0.1)
    monkeypatch.setattr(desk, "HANG_UP_WAIT_S", 0.2)
    await fund(world.ledger, world.credit, "contoso", 1_000_000, "r1")
    store = await reserve(world, [])
    await store.stop()
    with contextlib.closing(sqlite3.connect(world.settings.data_dir / "ledger.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")  # five seconds are waited for it
        asking = asyncio.create_task(world.ask("DELETE", "/api/v1/calls/c1"))
        async with asyncio.timeout(20):
            while HangUp("c1") not in [order for _, order in await world.credit.read_orders("gate-1/0")]:
                await asyncio.sleep(0.01)
    assert is_problem(await asking, 503, "does not answer")
    assert [act.act async for act in world.ledger.acts("contoso")][-1] == "call.hangup"


async def test_documents_are_json_with_nothing_but_text_for_money(world: World) -> None:
    for path in ("tenants", "tenants/contoso/balance", "reconcile"):
        body = (await world.ask("GET", f"/api/v1/{path}")).body
        assert "." not in "".join(str(n) for n in numbers(json.loads(json.dumps(body))))


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for each in value.values() for n in numbers(each)]
    if isinstance(value, list):
        return [n for each in value for n in numbers(each)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
