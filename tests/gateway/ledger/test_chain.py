"""The hash chain: any change of what was booked is found."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Delete, Update, delete, text, update

from gateway.config.provisioning import Provisioning, parse
from gateway.ledger import CallEntry, Ledger, UnknownTenant, WithdrawalEntry
from gateway.ledger.chain import Tail, first_fault
from gateway.ledger.tables import CREDIT, accounts, calls, fundings, postings

from ..tamper import drop_triggers, tamper

Call = Callable[..., CallEntry]


async def fill(ledger: Ledger, call: Call) -> None:
    await ledger.fund("contoso", 1_000_000, "r1", actor="alice")
    await ledger.book([call(charge_id=f"c{number}") for number in range(3)])
    await ledger.book([WithdrawalEntry("w1", "contoso", 5, actor="bob", reason="booked twice")])


async def test_an_untouched_ledger_is_intact(ledger: Ledger, call: Call) -> None:
    await fill(ledger, call)
    verdict = await ledger.verify_chain("contoso")
    assert (verdict.intact, verdict.length, verdict.why) == (True, 5, "")
    assert (await ledger.verify_chain("fabrikam")).length == 0
    with pytest.raises(UnknownTenant):
        await ledger.verify_chain("nobody")


def at(seq: int) -> Update:
    return update(postings).where(postings.c.seq == seq)


CREDIT_ROW = update(accounts).where(accounts.c.name == CREDIT)
TAMPERED: dict[str, tuple[Update | Delete, int]] = {
    "amount": (at(3).values(amount_micros=-1), 3),
    "amount and its balance": (
        at(3).values(amount_micros=postings.c.amount_micros + 1, balance_micros=postings.c.balance_micros + 1),
        3,
    ),
    "balance": (at(2).values(balance_micros=7), 2),
    "moment": (at(4).values(at_ms=postings.c.at_ms + 1), 4),
    "kind": (at(1).values(kind="refund"), 1),
    "other side": (at(1).values(account="refunds"), 1),
    "reference": (at(1).values(reference="r2"), 1),
    "call": (at(2).values(charge_id="c9"), 2),
    "hash": (at(2).values(hash=b"\0"), 2),
    "a line cut out": (delete(postings).where(postings.c.seq == 3), 4),
    "the first line cut off": (delete(postings).where(postings.c.seq == 1), 2),
    "the tail cut off": (delete(postings).where(postings.c.seq >= 4), 4),
    "the account's balance": (CREDIT_ROW.values(balance_micros=0), 6),
    "the account's head": (CREDIT_ROW.values(head=b"\0"), 6),
    "a call record": (update(calls).where(calls.c.charge_id == "c1").values(record=b"{}"), 3),
    "a call record's charge": (update(calls).where(calls.c.charge_id == "c1").values(charge_micros=1), 3),
    "who funded": (update(fundings).where(fundings.c.seq == 1).values(actor="mallory"), 1),
    "why it was funded": (update(fundings).where(fundings.c.seq == 5).values(reason=""), 5),
    "what was funded": (update(fundings).where(fundings.c.seq == 1).values(amount_micros=1), 1),
    "a funding": (delete(fundings).where(fundings.c.seq == 1), 1),
}


@pytest.mark.parametrize(("statement", "seq"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_tampering_is_found_at_its_line(ledger: Ledger, call: Call, statement: Update | Delete, seq: int) -> None:
    await fill(ledger, call)
    async with ledger.database.write() as connection:
        await drop_triggers(connection)
        await connection.execute(statement)
    verdict = await ledger.verify_chain("contoso")
    assert verdict.broken_seq == seq, verdict
    assert verdict.why


async def test_a_deleted_call_record_breaks_nothing(ledger: Ledger, call: Call) -> None:
    await fill(ledger, call)
    await tamper(ledger, "DELETE FROM calls")
    verdict = await ledger.verify_chain("contoso")
    assert (verdict.intact, verdict.missing_records) == (True, 3)


def test_a_chain_begins_anew_for_each_tenant() -> None:
    one, two = Tail("a"), Tail("b")
    first, second = one.append(1, "manual", "funding", 5), two.append(1, "manual", "funding", 5)
    assert first.hash != second.hash
    assert first_fault(Tail("b"), [first]) is None, "a line says itself whose it is"
    assert first_fault(Tail("a"), [second, second]) == (1, "line 2 is missing")


MOVES = st.lists(
    st.tuples(st.sampled_from(["fund", "charge", "free", "withdraw"]), st.integers(0, 1), st.integers(1, 10**12)),
    max_size=30,
)


_RUNS = itertools.count(1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES, sizes=st.lists(st.integers(1, 6), min_size=30, max_size=30))
def test_any_sequence_adds_up(
    ledger_url: str, tmp_path: Path, moves: list[tuple[str, int, int]], sizes: list[int]
) -> None:
    """Both lines of a posting sum to zero, running balances follow, the chain holds, the tables have one total."""
    asyncio.run(_adds_up(ledger_url, tmp_path, moves, sizes))


async def _adds_up(url: str, folder: Path, moves: list[tuple[str, int, int]], sizes: list[int]) -> None:
    run = next(_RUNS)
    tenants = (f"contoso-{run}", f"fabrikam-{run}")
    async with Ledger(url) as ledger:
        await ledger.migrate()
        await ledger.provision(_provisioning(folder, tenants))
        expected = {tenant: list[int]() for tenant in tenants}
        entries: list[CallEntry | WithdrawalEntry] = []
        for number, (what, index, amount) in enumerate(moves):
            tenant, name = tenants[index], f"{run}-{number}"
            if what == "fund":
                await ledger.fund(tenant, amount, name)
                expected[tenant].append(amount)
            elif what == "withdraw":
                entries.append(WithdrawalEntry(name, tenant, amount))
                expected[tenant].append(-amount)
            else:
                charge = amount if what == "charge" else 0
                entries.append(CallEntry(name, tenant, charge, _record(number)))
                expected[tenant] += [-charge] if charge else []
        while entries:
            size = sizes.pop()
            await ledger.book(entries[:size])
            await ledger.book(entries[:size])
            entries = entries[size:]
        for tenant in tenants:
            await _check(ledger, tenant, expected[tenant])


def _provisioning(folder: Path, names: tuple[str, ...]) -> Provisioning:
    (folder / "deck.csv").write_text(
        "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n44,UK,1,0,60,60\n"
    )
    decks = [{"name": "d", "currency": "USD", "file": "deck.csv"}]
    tenants = [{"id": tenant, "rate_deck": "d"} for tenant in names]
    return parse({"rate_deck": decks, "tenant": tenants}, "test.toml", folder)


def _record(number: int) -> bytes:
    return b'{"answered_ms":1,"invited_ms":1,"kind":"user_out","user_id":"","trunk":"","talk_ms":%d}' % number


async def _check(ledger: Ledger, tenant: str, amounts: list[int]) -> None:
    postings = [posting async for posting in ledger.postings(tenant)]
    assert sorted(posting.amount_micros for posting in postings) == sorted(amounts)
    running = 0
    for seq, posting in enumerate(postings, 1):
        running += posting.amount_micros
        assert (posting.seq, posting.balance_micros) == (seq, running)
    [totals] = await ledger.totals([tenant])
    assert (totals.balance_micros, totals.postings_micros, totals.accounts_micros) == (running, running, 0)
    assert totals.charged_micros == totals.records_micros
    async with ledger.database.read() as connection:
        lines = "SELECT seq FROM posting_lines GROUP BY tenant_id, seq HAVING sum(amount_micros) <> 0 OR count(*) <> 2"
        assert (await connection.execute(text(lines))).all() == []
    assert (await ledger.verify_chain(tenant)).intact
