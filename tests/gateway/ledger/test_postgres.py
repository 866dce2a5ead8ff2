"""What only PostgreSQL does: transactions taken back, connections that break, servers that stop or hang."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text

from gateway.config.provisioning import Provisioning
from gateway.ledger import CallEntry, Ledger, LedgerAway, LedgerRefused, booking, engine, ledger_url
from gateway.ledger.engine import TRIES
from gateway.ledger.errors import Collided

from ..cluster import Cluster
from ..wire import Wire

pytestmark = pytest.mark.peer("postgres")

Call = Callable[..., CallEntry]
Document = Callable[..., Provisioning]


@pytest.fixture
def configured_url(postgres_url: str) -> str:
    return postgres_url


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def states(ledger: Ledger) -> list[str]:
    """Collects the SQLSTATE of every error of this ledger's database."""
    found: list[str] = []

    def keep(error: object) -> None:
        found.append(str(getattr(error.original_exception, "sqlstate", "")))  # type: ignore[attr-defined]

    event.listen(ledger.database.engine.sync_engine, "handle_error", keep)
    return found


# Transactions that get in each other's way


async def test_a_deadlock_is_tried_again(ledger: Ledger, ledger_url: str, call: Call) -> None:
    """Somebody locks the accounts the other way round, which no code of ours does."""
    lock = "SELECT 1 FROM accounts WHERE tenant_id = '{}' FOR UPDATE"
    seen = states(ledger)
    async with Ledger(ledger_url) as other, other.database.write() as connection:
        await connection.execute(text(lock.format("fabrikam")))
        going = asyncio.create_task(ledger.book([call("contoso"), call("fabrikam")]))
        await asyncio.sleep(0.02)
        await connection.execute(text(lock.format("contoso")))
    assert (await going).booked == 2
    assert "40P01" in seen
    assert (await ledger.verify_chain("contoso")).length == 1


async def test_serialization_failures_are_tried_again(
    ledger: Ledger, ledger_url: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ISOLATION", "SERIALIZABLE")
    entries = [call("contoso" if n % 2 else "fabrikam", charge=n + 1) for n in range(40)]
    async with Ledger(ledger_url) as one, Ledger(ledger_url) as two:
        seen = states(one), states(two)
        turns = [each.book(entries[k : k + 10]) for k in range(0, 40, 10) for each in (one, two)]
        funds = [each.fund("contoso", 5, f"r{n}") for n in range(3) for each in (one, two)]
        booked, funded = await asyncio.gather(asyncio.gather(*turns), asyncio.gather(*funds))
    assert "40001" in seen[0] + seen[1], "the test has tested something"
    assert sum(batch.booked for batch in booked) == 40
    assert sorted(each.repeated for each in funded) == [False] * 3 + [True] * 3
    assert await ledger.balance("contoso") == 15 - sum(range(2, 41, 2))
    assert (await ledger.verify_chain("contoso")).intact


async def test_the_databases_default_isolation_is_not_taken(
    postgres: Cluster, postgres_url: str, ledger: Ledger
) -> None:
    postgres.sql(f"ALTER DATABASE {name_of(postgres_url)} SET default_transaction_isolation = serializable")
    async with Ledger(ledger_url(postgres_url, Path())) as fresh, fresh.database.write() as connection:
        assert await connection.scalar(text("SHOW transaction_isolation")) == "read committed"


async def test_a_collision_that_never_ends_is_given_up(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RETRY_PAUSE_S", 0.0)
    tries = 0

    async def collide(_connection: object) -> None:
        nonlocal tries
        tries += 1
        raise Collided("deadlock detected")

    with pytest.raises(LedgerAway, match="the ledger is busy"):
        await ledger.database.transact(collide)
    assert tries == TRIES


async def test_settlers_and_funders_at_once(ledger: Ledger, ledger_url: str, call: Call) -> None:
    """Free calls, charges, poison and fundings by two ledgers at the same moment, each entry twice, in any order."""
    good = [call("contoso" if n % 2 else "fabrikam", charge=n % 4) for n in range(200)]
    poison = [call("nobody", origin=f"1/{n}") for n in range(5)]
    entries = good + poison
    async with Ledger(ledger_url) as other:
        turns = [ledger.book(entries[k : k + 41]) for k in range(0, 205, 41)]
        turns += [other.book(entries[k : k + 41][::-1]) for k in range(164, -1, -41)]
        funds = [each.fund("contoso", 5, f"r{n}") for n in range(10) for each in (ledger, other)]
        booked, funded = await asyncio.gather(asyncio.gather(*turns), asyncio.gather(*funds))
    assert sum(batch.booked for batch in booked) == sum(batch.repeated for batch in booked) == 200
    assert sum(each.repeated for each in funded) == 10
    assert await ledger.balance("contoso") == 50 - sum(n % 4 for n in range(1, 200, 2))
    async with ledger.database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM set_aside")) == 5
    for tenant in ("contoso", "fabrikam"):
        assert (await ledger.verify_chain(tenant)).intact


@pytest.mark.parametrize("bare_url", ["postgres"], indirect=True)
async def test_two_first_starts_and_two_provisionings_at_once(
    bare_url: str, document: Document, clock: Callable[[], int]
) -> None:
    async with Ledger(bare_url, now_ms=clock) as one, Ledger(bare_url, now_ms=clock) as two:
        await asyncio.gather(one.migrate(), two.migrate())
        assert await asyncio.gather(one.partitions(64), two.partitions(64)) == [64, 64]
        wanted = document({"id": "contoso"})
        both = await asyncio.gather(one.provision(wanted), two.provision(wanted))
        assert sorted(len(changes) for changes in both) == [0, 2]
        await asyncio.gather(*(each.provision(document({"id": n})) for n, each in (("a", one), ("b", two))))
        assert await one.directory_version() == 3, "each change raises it by one"


async def test_more_tenants_than_a_statement_has_parameters(ledger: Ledger) -> None:
    found = await ledger.accounts(["contoso", *(f"nobody-{number}" for number in range(40_000))])
    assert [account.tenant_id for account in found] == ["contoso"]


# Connections and servers that go away


async def test_every_connection_ended_between_two_bookings_is_no_error(
    ledger: Ledger, call: Call, postgres: Cluster, postgres_url: str
) -> None:
    await ledger.book([call()])
    assert postgres.cut(name_of(postgres_url)) > 0
    assert (await ledger.book([call()])).booked == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_connections_ended_in_the_middle_of_a_transaction_book_nothing(
    ledger: Ledger, call: Call, postgres: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    entries = [call() for _ in range(20)]
    write = booking._Page.write

    async def cut(page: booking._Page, connection: object) -> None:
        if moment == "after":
            await write(page, connection)  # type: ignore[arg-type]
        postgres.cut(name_of(postgres_url))
        if moment == "before":
            await write(page, connection)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(booking._Page, "write", cut)
        with pytest.raises(LedgerAway):
            await ledger.book(entries)
    assert await ledger.booked_charges([entry.charge_id for entry in entries]) == set()
    assert (await ledger.book(entries)).booked == 20
    assert (await ledger.verify_chain("contoso")).length == 20


@pytest.fixture
async def wire(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> AsyncIterator[Wire]:
    async with Wire(tmp_path_factory.mktemp("w"), postgres.folder) as carried:
        yield carried


@pytest.fixture
async def far(ledger: Ledger, postgres: Cluster, postgres_url: str, wire: Wire) -> AsyncIterator[Ledger]:
    """The ledger of the test at the other end of the wire."""
    url = postgres.url(name_of(postgres_url), host=wire.folder)
    async with Ledger(ledger_url(url, Path())) as opened:
        await opened.ping()
        yield opened


async def test_a_commit_whose_answer_is_lost_is_found_again(far: Ledger, call: Call, wire: Wire) -> None:
    entries = [call() for _ in range(20)]
    wire.break_at = b"COMMIT;"
    with pytest.raises(LedgerAway):
        await far.book(entries)
    assert wire.broken == 1
    done = await far.book(entries)
    assert (done.booked, done.repeated) == (0, 20), "it had been booked"
    wire.break_at = b"COMMIT;"
    with pytest.raises(LedgerAway):
        await far.fund("contoso", 5, "r1")
    assert (await far.fund("contoso", 5, "r1")).repeated
    assert (await far.verify_chain("contoso")).length == 21


async def test_a_slow_wire_is_only_slow(far: Ledger, call: Call, wire: Wire) -> None:
    wire.delay_s = 0.02
    assert (await far.book([call() for _ in range(500)])).booked == 500
    assert (await far.verify_chain("contoso")).intact


async def test_a_server_that_hangs_is_given_up(
    ledger: Ledger, far: Ledger, call: Call, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that it hangs: neither a connection that is open nor one that is being opened ends by itself."""
    monkeypatch.setattr(engine, "ANSWER_S", 0.3)
    wire.fall_silent()
    entries = [call()]
    began_s = time.monotonic()
    with pytest.raises(LedgerAway, match="no answer within"):
        await far.book(entries)
    assert time.monotonic() - began_s < 5
    wire.flow()
    assert (await far.book(entries)).booked == 1
    assert await ledger.booked_charges([entries[0].charge_id])


async def test_a_server_that_is_stopped_is_away_and_then_back(
    ledger: Ledger, call: Call, document: Document, postgres: Cluster
) -> None:
    entries = [call() for _ in range(50)]
    await ledger.book(entries[:10])
    postgres.stop()
    try:
        for work in (
            ledger.book(entries),
            ledger.fund("contoso", 5, "r1"),
            ledger.provision(document({"id": "northwind"})),
            ledger.ping(),
            ledger.migrate(),
        ):
            with pytest.raises(LedgerAway) as away:
                await work
            assert "\n" not in str(away.value)
    finally:
        postgres.start()
    done = await ledger.book(entries)
    assert (done.booked, done.repeated) == (40, 10), "what was committed has outlived the kill"
    assert not (await ledger.fund("contoso", 5, "r1")).repeated
    assert (await ledger.verify_chain("contoso")).length == 51


async def test_a_backup_that_was_restored_is_the_ledger_that_was_saved(
    ledger: Ledger, call: Call, postgres: Cluster, postgres_url: str
) -> None:
    await ledger.fund("contoso", 1_000_000, "r1", actor="alice", reason="paid")
    await ledger.book([call() for _ in range(20)])
    restored = f"{name_of(postgres_url)}_restored"
    postgres.copy(name_of(postgres_url), restored)
    try:
        async with Ledger(ledger_url(postgres.url(restored), Path())) as again:
            await again.migrate()
            verdict = await again.verify_chain("contoso")
            assert (verdict.intact, verdict.length) == (True, 21)
            assert await again.missing_triggers() == []
            assert not (await again.fund("contoso", 5, "r2")).repeated
            assert (await again.book([call(), call(charge_id="call-0001")])).repeated == 1
    finally:
        postgres.drop(restored)


# What it says


async def test_a_database_that_is_not_there_says_so(postgres: Cluster) -> None:
    async with Ledger(ledger_url(postgres.url("nowhere"), Path())) as ledger:
        with pytest.raises(LedgerAway, match=r'"nowhere" does not exist.*make the database'):
            await ledger.migrate()


async def test_without_tables(postgres: Cluster, postgres_url: str) -> None:
    async with Ledger(ledger_url(postgres.url("postgres"), Path())) as ledger:
        with pytest.raises(LedgerAway, match="they make the tables"):
            await ledger.ping()


async def test_a_user_that_is_not_there_says_so(postgres: Cluster) -> None:
    url = postgres.url("postgres").replace("postgres@", "nobody@")
    async with Ledger(ledger_url(url, Path())) as ledger:
        with pytest.raises(LedgerAway, match=r'role "nobody" does not exist.*make the user'):
            await ledger.ping()


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
async def test_what_no_text_can_hold_is_refused_or_set_aside(ledger: Ledger, call: Call, odd: str) -> None:
    with pytest.raises(LedgerRefused):
        await ledger.balance(odd)
    done = await ledger.book([call(), call(odd, origin=f"1/{odd}"), call(charge_id=odd), call()])
    assert (done.booked, len(done.set_aside)) == (2, 2)


async def test_commits_are_durable_whatever_the_server_does_by_default(postgres: Cluster, postgres_url: str) -> None:
    database = name_of(postgres_url)
    for given, taken in (("off", "on"), ("remote_apply", "remote_apply")):
        postgres.sql(f"ALTER DATABASE {database} SET synchronous_commit = {given}")
        async with Ledger(ledger_url(postgres_url, Path())) as ledger, ledger.database.write() as connection:
            assert await connection.scalar(text("SHOW synchronous_commit")) == taken


def test_options_of_the_url(tmp_path: Path) -> None:
    assert ledger_url("postgresql://u@h/db?sslmode=require", tmp_path) == "postgresql+asyncpg://u@h/db?ssl=require"
    with pytest.raises(LedgerRefused, match="'application_name', which is not known"):
        ledger_url("postgresql://u@h/db?application_name=x", tmp_path)
