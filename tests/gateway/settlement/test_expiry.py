"""Lots that expire: what is left is forfeited once, never what live calls hold, never before charges are booked."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger, LedgerAway, lots
from gateway.settlement import fund, reconcile

from .conftest import Caller, two_tenants
from .wallet import Clock, M, Wallet, ms


@pytest.fixture
async def wallet(ledger_url: str, credit: CreditAdmin, server: Any, tmp_path: Path) -> AsyncIterator[Wallet]:
    clock = Clock()
    async with Ledger(ledger_url, now_ms=clock) as ledger:
        await ledger.migrate()
        await ledger.provision(two_tenants(tmp_path))
        caller = Caller(server.url)
        wallet = Wallet(ledger, credit, caller, clock)
        await wallet.begin()
        yield wallet
        await caller.store.stop()


async def clean(wallet: Wallet) -> bool:
    return all(drift.clean for drift in await reconcile(wallet.ledger, wallet.credit))


async def test_what_live_calls_hold_is_not_forfeited_and_is_tried_again(wallet: Wallet) -> None:
    await wallet.fund(20 * M, "A")
    one, other = await wallet.hold(5 * M), await wallet.hold(3 * M, answered=False)
    assert one
    assert other
    wallet.late("2027-01-10T09:00")
    await wallet.expire()
    account = await wallet.credit.account("contoso")
    assert (account.balance_micros, account.held_micros, account.available_micros) == (8 * M, 8 * M, 0)
    await wallet.expire()
    assert await wallet.left() == [8 * M]
    await wallet.end(one, 5 * M)
    await wallet.end(other, 0)
    await wallet.book()
    assert await wallet.left() == [3 * M]
    await wallet.expire()
    await wallet.book()
    assert (await wallet.left(), await wallet.balance()) == ([0], 0)
    parts = [each.reference async for each in wallet.ledger.postings("contoso") if each.kind == "expiry"]
    assert parts == ["expiry:1:1", "expiry:1:2"]
    assert await clean(wallet)


async def test_a_charge_from_before_waits_in_the_outbox_and_the_lot_waits_for_it(wallet: Wallet) -> None:
    await wallet.fund(20 * M, "A")
    await wallet.spend(15 * M, book=False)
    entries = await wallet.credit.read_outbox(10)
    wallet.late("2027-01-10T09:00")
    (lot,) = await wallet.ledger.lots("contoso")
    in_time = entries[0].at_unix_ms <= lot.expires_ms + 60_000  # Redis' clock is that of the machine
    await wallet.expire()
    await wallet.book()
    await wallet.expire()
    await wallet.book()
    assert (await wallet.left(), await wallet.balance()) == ([0], 0)
    lost = [each.amount_micros async for each in wallet.ledger.postings("contoso") if each.kind == "expiry"]
    assert lost == [-5 * M]
    lines = [each.kind async for each in wallet.ledger.postings("contoso")]
    assert not in_time or lines == ["manual", "charge", "expiry"]


async def test_dying_between_redis_and_ledger_takes_it_once(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    await wallet.fund(20 * M, "A")
    wallet.late("2027-01-10T09:00")

    async def away(_entries: object, _source: object) -> None:
        raise LedgerAway("the ledger is away", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(wallet.ledger, "book", away)
        with pytest.raises(LedgerAway):
            await wallet.expire()
    assert (await wallet.balance(), await wallet.left()) == (0, [20 * M])
    await wallet.fund(7 * M, "B")
    await wallet.expire()
    await wallet.book()
    await wallet.expire()
    assert (await wallet.balance(), await wallet.left()) == (7 * M, [0, 7 * M])
    assert await clean(wallet)


async def test_the_outbox_books_what_a_dead_settler_took(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    await wallet.fund(20 * M, "A")
    wallet.late("2027-01-10T09:00")

    async def away(_entries: object, _source: object) -> None:
        raise LedgerAway("the ledger is away", "wait")

    with monkeypatch.context() as patched:
        patched.setattr(wallet.ledger, "book", away)
        with pytest.raises(LedgerAway):
            await wallet.expire()
    await wallet.book()
    assert (await wallet.left(), await wallet.told()) == ([0], ["balance.zero", "lot.expired"])
    await wallet.expire()
    assert await clean(wallet)


async def test_an_overdrawn_tenant_forfeits_nothing(wallet: Wallet) -> None:
    await wallet.fund(20 * M, "A")
    await wallet.spend(20 * M)
    wallet.late("2027-01-10T09:00")
    await wallet.expire()
    assert (await wallet.left(), await wallet.told()) == ([0], ["balance.zero"])


async def test_calls_after_the_expiry_use_the_younger_lot(wallet: Wallet) -> None:
    await wallet.fund(20 * M, "A")
    wallet.clock.ms = ms("2026-06-01T09:00")
    await wallet.fund(50 * M, "B")
    wallet.clock.ms = ms("2027-01-10T09:00:30")
    await wallet.spend(10 * M)
    assert await wallet.left() == [20 * M, 40 * M]
    wallet.late("2027-01-10T09:00")
    await wallet.expire()
    await wallet.book()
    assert (await wallet.left(), await wallet.balance()) == ([0, 40 * M], 40 * M)


async def test_lots_that_cannot_be_forfeited_keep_no_other_from_it(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lots, "DUE_EACH", 2)
    for name in "ABCD":
        await wallet.fund(5 * M, name)
    await fund(wallet.ledger, wallet.credit, "fabrikam", 5 * M, "F")
    calls = [await wallet.hold(5 * M) for _ in "ABCD"]
    wallet.late("2027-01-10T09:00")
    await wallet.expire()
    await wallet.book()
    assert await wallet.ledger.balance("fabrikam") == 0
    assert await wallet.balance() == 20 * M
    for call in calls:
        assert call
        await wallet.end(call, 0)
    for _ in "ABCD":  # Redis' clock is before theirs: what is in the outbox is looked at as from before
        await wallet.book()
        await wallet.expire()
    assert await wallet.balance() == 0
