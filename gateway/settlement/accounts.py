"""What Redis must know of the ledger before calls can be paid: accounts, money in, open epochs (MONEY 4, 6).

All of it may be said again at any time: an account is made only where there is none, money in is applied by its ledger
sequence number, a withdrawal is taken once by its id.  So one and the same round serves a new tenant and a Redis that
was killed and came back without its last writes; one that is new, or lost more than that, is rebuilt first.
"""

from collections.abc import Iterable
from typing import Final

from gateway.credit.admin import CreditAdmin
from gateway.credit.orders import Funded
from gateway.credit.views import AccountView
from gateway.ledger import Ledger, LedgerAccount
from gateway.settlement.doubt import find_doubt
from gateway.settlement.outbox import withdrawal_id, withdrawal_record
from gateway.settlement.rebuild import rebuild

LOSS_WINDOW_MS: Final = 60_000
"""Withdrawals booked so recently are said again to a Redis that restarted: many times the two seconds that an
append-only file synced every second may lack (MONEY 6)."""


async def settle_in(ledger: Ledger, credit: CreditAdmin) -> int:
    """Make ledger and Redis ready for each other: tables, accounts, money in, epochs.  Harmless when repeated.

    Returns the epoch that Redis is in.  Raises LedgerAway, StoreError, or RebuildHeld where another process rebuilds;
    then it must be repeated before anything is booked.
    """
    await ledger.migrate()
    await credit.fix_partitions()
    doubt = await find_doubt(ledger, credit)
    if doubt is not None:
        await rebuild(ledger, credit, doubt.why, first=doubt.first)
    epoch = await ledger.redis_epoch()
    accounts = await ledger.accounts()
    views = await credit.accounts([account.tenant_id for account in accounts])
    await make_accounts(credit, accounts, views)
    await apply_all_money_in(ledger, credit, accounts, views)
    await _withdraw_again(ledger, credit)
    await credit.publish_directory(await ledger.directory_version())
    return epoch


async def make_accounts(credit: CreditAdmin, accounts: Iterable[LedgerAccount], views: Iterable[AccountView]) -> None:
    """Give every tenant of the ledger that has none an account in Redis.  Raises StoreError.

    It gets the ledger's balance, and the ledger's last sequence number as the last one applied: both come from one
    row, so a funding that is booked meanwhile has a higher number and is applied afterwards.
    """
    for account, view in zip(accounts, views, strict=True):
        if not view.exists:
            await credit.create_account(account.tenant_id, account.balance_micros, account.seq)


async def apply_all_money_in(
    ledger: Ledger, credit: CreditAdmin, accounts: Iterable[LedgerAccount], views: Iterable[AccountView]
) -> None:
    """Apply the money in that Redis lacked when it was seen as ``views``.  Raises LedgerAway, StoreError."""
    for account, view in zip(accounts, views, strict=True):
        if account.money_in_seq > view.applied_seq:
            await apply_money_in(ledger, credit, account.tenant_id)


async def apply_money_in(ledger: Ledger, credit: CreditAdmin, tenant_id: str) -> int:
    """Tell Redis of all money in of a tenant that it has not applied yet, in order; how many there were.

    Then its workers are told, so that calls at their end ask again (MONEY 2).  Several processes may do this at once:
    each goes through every number above the one that Redis names, and Redis takes each number once.

    Raises LedgerAway or StoreError.
    """
    view = await credit.account(tenant_id)
    if not view.exists:
        account = await ledger.account(tenant_id)
        await credit.create_account(tenant_id, account.balance_micros, account.seq)
        view = await credit.account(tenant_id)
    waiting = await ledger.money_in_after(tenant_id, view.applied_seq)
    for money in waiting:
        await credit.apply_money_in(tenant_id, money.seq, money.amount_micros)
    if waiting:
        await credit.broadcast_order(Funded(tenant_id))
    return len(waiting)


async def _withdraw_again(ledger: Ledger, credit: CreditAdmin) -> None:
    """Take again what a Redis without its last writes has given back; the ledger finds the reference booked."""
    for funding in await ledger.recent_withdrawals(LOSS_WINDOW_MS):
        charge_id = withdrawal_id(funding.tenant_id, funding.reference)
        record = withdrawal_record(funding.reference, funding.kind, funding.actor, funding.reason)
        await credit.withdraw(funding.tenant_id, charge_id, funding.amount_micros, record, exact=True)
