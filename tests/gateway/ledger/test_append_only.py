"""The database itself refuses to change what was booked; a correction is an entry the other way."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from gateway.ledger import AmountRefused, CallEntry, Ledger, WithdrawalEntry
from gateway.ledger.tables import fundings

from ..tamper import drop_triggers

Call = Callable[..., CallEntry]

REFUSED = {
    "a posting's amount": "UPDATE postings SET amount_micros = 1 WHERE seq = 2",
    "a posting's hash": "UPDATE postings SET hash = record_sha256",
    "a posting gone": "DELETE FROM postings WHERE seq = 2",
    "a call record": "UPDATE calls SET talk_ms = 0",
    "a call record gone": "DELETE FROM calls",
    "who funded": "UPDATE fundings SET actor = 'mallory'",
    "a funding gone": "DELETE FROM fundings",
    "an account's balance": "UPDATE accounts SET balance_micros = 5 WHERE name = 'credit'",
    "an account's head": "UPDATE accounts SET head = record_sha256 FROM postings WHERE name = 'credit'",
    "an account's number": "UPDATE accounts SET seq = seq + 1 WHERE name = 'credit'",
    "an account's number back": "UPDATE accounts SET seq = seq - 1 WHERE name = 'credit' AND seq > 0",
    "an account gone": "DELETE FROM accounts",
    "who acted": "UPDATE audit SET actor = 'mallory'",
    "an act gone": "DELETE FROM audit",
    "a posting twice": "INSERT INTO postings SELECT * FROM postings",
}
REFUSED_ON = {
    "sqlite": {
        "a posting replaced": "REPLACE INTO postings SELECT * FROM postings",
        "a call record replaced": "REPLACE INTO calls SELECT * FROM calls",
        "a funding replaced": "INSERT OR REPLACE INTO fundings SELECT * FROM fundings",
        "an act replaced": "REPLACE INTO audit SELECT * FROM audit",
        "an account replaced": "REPLACE INTO accounts SELECT * FROM accounts",
    },
    "postgresql": {
        "all postings gone": "TRUNCATE postings",
        "all call records gone": "TRUNCATE calls",
        "all accounts gone": "TRUNCATE accounts",
        "all acts gone": "TRUNCATE audit",
        "acts gone as a replica": "SET LOCAL session_replication_role = replica; DELETE FROM audit",
        "as a replica": "SET LOCAL session_replication_role = replica; DELETE FROM postings",
        "changed on conflict": (
            "INSERT INTO postings SELECT * FROM postings ON CONFLICT (tenant_id, seq) DO UPDATE SET amount_micros = 1"
        ),
    },
}


async def carry_out(ledger: Ledger, statements: str) -> None:
    async with ledger.database.write() as connection:
        for statement in statements.split("; "):
            await connection.exec_driver_sql(statement)


async def test_what_was_booked_cannot_be_changed(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 1_000_000, "r1", actor="alice")
    await ledger.book([call(), call()])
    dialect = "sqlite" if ledger.database.is_sqlite else "postgresql"
    for statements in (REFUSED | REFUSED_ON[dialect]).values():
        with pytest.raises(DBAPIError, match=r"append-only|ends where|duplicate key"):
            await carry_out(ledger, statements)
    assert (await ledger.verify_chain("contoso")).intact
    assert await ledger.balance("contoso") == 960_000


async def test_booking_goes_on_beside_the_triggers(ledger: Ledger, call: Call) -> None:
    assert (await ledger.book([call(), call()])).booked == 2
    assert (await ledger.book([call(), call(charge_id="call-0001")])).repeated == 1


async def test_a_trigger_that_is_gone_is_missed(ledger: Ledger) -> None:
    assert await ledger.missing_triggers() == []
    async with ledger.database.write() as connection:
        await drop_triggers(connection)
    missing = await ledger.missing_triggers()
    assert "accounts_follow_postings" in missing
    assert len(missing) == (15 if ledger.database.is_sqlite else 6)


@pytest.mark.peer("postgres")
@pytest.mark.parametrize("configured_url", ["postgres"], indirect=True)
async def test_a_trigger_that_is_switched_off_is_missed(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE postings DISABLE TRIGGER postings_append_only")
    assert await ledger.missing_triggers() == ["postings_append_only"]


async def test_a_correction_is_an_entry_the_other_way_with_actor_and_reason(ledger: Ledger) -> None:
    await ledger.fund("contoso", 500, "r1", actor="alice")
    await ledger.book([WithdrawalEntry("r1-back", "contoso", 500, actor="bob", reason="booked twice")])
    await ledger.fund("contoso", 5, "r2", "adjustment", actor="carol", reason="rounded wrongly")
    assert [posting.balance_micros async for posting in ledger.postings("contoso")] == [500, 0, 5]
    async with ledger.database.read() as connection:
        rows = await connection.execute(select(fundings.c.actor, fundings.c.reason).order_by(fundings.c.seq))
        assert [tuple(row) for row in rows] == [("alice", ""), ("bob", "booked twice"), ("carol", "rounded wrongly")]
    [taken] = await ledger.recent_withdrawals(1_000)
    assert (taken.actor, taken.reason) == ("bob", "booked twice")
    assert (await ledger.verify_chain("contoso")).intact
    for wrong in ("two\nlines", "x" * 600):
        with pytest.raises(AmountRefused, match="reason is too long or not printable"):
            await ledger.fund("contoso", 5, "r3", reason=wrong)
