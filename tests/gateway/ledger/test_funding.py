"""Money in: once by its reference, within its bounds."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.config.provisioning import Provisioning
from gateway.ledger import AmountRefused, Ledger, ReferenceConflict, UnknownTenant
from rating.money import MAX_MICROS


async def test_a_reference_books_once_and_says_so(ledger: Ledger) -> None:
    first = await ledger.fund("contoso", 500, "r1", actor="alice")
    again = await ledger.fund("contoso", 500, "r1", actor="bob")
    assert (first.seq, first.balance_micros, first.repeated) == (1, 500, False)
    assert (again.seq, again.balance_micros, again.repeated) == (1, 500, True)
    assert await ledger.balance("contoso") == 500


async def test_a_repeat_tells_the_balance_of_then(ledger: Ledger) -> None:
    await ledger.fund("contoso", 500, "r1")
    await ledger.fund("contoso", 700, "r2")
    assert (await ledger.fund("contoso", 500, "r1")).balance_micros == 500


async def test_references_of_two_tenants_are_apart(ledger: Ledger) -> None:
    assert not (await ledger.fund("contoso", 500, "r1")).repeated
    assert not (await ledger.fund("fabrikam", 600, "r1")).repeated


@pytest.mark.parametrize(("amount", "kind"), [(501, "manual"), (500, "refund")])
async def test_a_reference_with_another_amount_or_kind_is_refused(ledger: Ledger, amount: int, kind: str) -> None:
    await ledger.fund("contoso", 500, "r1")
    with pytest.raises(ReferenceConflict, match="already booked as manual") as refused:
        await ledger.fund("contoso", amount, "r1", kind)
    assert refused.value.http_status == 409
    assert await ledger.balance("contoso") == 500


async def test_many_at_once_book_once(ledger: Ledger, ledger_url: str) -> None:
    async with Ledger(ledger_url) as other:
        done = await asyncio.gather(*(each.fund("contoso", 5, "r1") for each in [ledger, other] * 5))
    assert sorted(each.repeated for each in done) == [False] + [True] * 9
    assert await ledger.balance("contoso") == 5


@pytest.mark.parametrize(
    ("amount", "reference", "kind", "why"),
    [
        (0, "r", "manual", "zero"),
        (-5, "r", "manual", "cannot be negative"),
        (-5, "r", "refund", "cannot be negative"),
        (-5, "r", "adjustment", "not booked directly"),
        (MAX_MICROS + 1, "r", "manual", "too large"),
        (5, "", "manual", "reference is empty"),
        (5, "r" * 600, "manual", "too long"),
        (5, "r\n", "manual", "not printable"),
        (5, "r", "gift", "not a kind"),
    ],
)
async def test_what_is_refused(ledger: Ledger, amount: int, reference: str, kind: str, why: str) -> None:
    with pytest.raises(AmountRefused, match=why):
        await ledger.fund("contoso", amount, reference, kind)
    assert [posting async for posting in ledger.postings("contoso")] == []


async def test_the_balance_stays_within_what_a_double_carries(ledger: Ledger) -> None:
    await ledger.fund("contoso", MAX_MICROS, "all there is")
    with pytest.raises(AmountRefused, match="balance would become too large"):
        await ledger.fund("contoso", 1, "one more")


async def test_an_unknown_tenant(ledger: Ledger) -> None:
    with pytest.raises(UnknownTenant, match="no tenant 'nobody'"):
        await ledger.fund("nobody", 5, "r")
    with pytest.raises(UnknownTenant):
        await ledger.find_funding("nobody", 5, "r", "manual")
    with pytest.raises(UnknownTenant):
        await ledger.balance("nobody")


async def test_the_minimum_holds_for_what_a_customer_pays_in(
    ledger: Ledger, document: Callable[..., Provisioning]
) -> None:
    await ledger.provision(document({"id": "contoso", "minimum_funding": "50"}))
    with pytest.raises(AmountRefused, match="fund at least 50"):
        await ledger.fund("contoso", 49_999_999, "short")
    await ledger.fund("contoso", 1, "a correction", "adjustment")
    await ledger.fund("contoso", 1, "a refund", "refund")
    await ledger.fund("contoso", 50_000_000, "enough")
    assert await ledger.balance("contoso") == 50_000_002


async def test_what_redis_has_not_been_told_of(ledger: Ledger) -> None:
    for number in range(1, 4):
        await ledger.fund("contoso", number, f"r{number}")
    assert [(each.seq, each.amount_micros) for each in await ledger.money_in_after("contoso", 1)] == [(2, 2), (3, 3)]
    account = await ledger.account("contoso")
    assert (account.seq, account.money_in_seq, account.currency) == (3, 3, "USD")
