"""Auto-recharge: who falls below its trigger, who is asked for money, and the money that comes of it.

Two jobs of the settler that know nothing of each other but what stands in the ledger.  One looks at the accounts and
writes payment requests down; the other asks about those that are due and books what became of them.  So whatever dies
between two steps, the next settler goes on from the ledger, with the same keys (gateway.ledger.payments).

The trigger looks at the balance less what answered calls hold (MONEY 9).  Redis' account has only what all calls hold,
so where that makes the difference the tenant's live calls are added up.
"""

import asyncio
import time
from typing import Final

from gateway.credit.admin import CreditAdmin, StoreError
from gateway.credit.views import AccountView
from gateway.ledger import Ledger, LedgerAway, LedgerRefused, Payment, Recharging, Settled
from gateway.settlement.accounts import apply_money_in
from gateway.settlement.payments import Answer, Provider, ProviderAway
from gateway.telemetry import metrics
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import Meter
from policy.recharge import RechargeLimits, RechargeRule, State, usable_micros
from rating.money import format_amount

AT_ONCE: Final = 8
"""Payments asked about at the same time."""

REST_S: Final = 5.0
"""After nothing could be asked for (a limit, money on its way) the tenant is looked at again so much later."""

AGAIN_MS: Final = 5_000
AGAIN_MAX_MS: Final = 600_000
"""What became of a payment is asked again after 5 s, then twice as long each time, at most each ten minutes."""

STUCK_MS: Final = 3_600_000
"""The same where only a person can help."""

log = get_logger("settlement")


async def settle_payment(ledger: Ledger, credit: CreditAdmin, key: str, answer: Answer) -> Settled:
    """Book what became of a payment, once, and let calls have the money.

    Raises UnknownPayment, AmountRefused or LedgerAway; where Redis is away the settler tells it later.
    """
    settled = await ledger.settle_payment(key, answer.state, answer.provider_id, answer.why)
    if settled.booked is not None:
        try:
            await apply_money_in(ledger, credit, settled.payment.tenant_id)
        except (StoreError, LedgerAway) as error:
            told = {"tenant": settled.payment.tenant_id, "why": str(error)}
            log.warning("recharge is booked, Redis will be told later", **told)
    return settled


class Recharger:
    """The two jobs.  ``provider`` None: money is asked for by notice, once until some comes in."""

    def __init__(
        self,
        ledger: Ledger,
        credit: CreditAdmin,
        provider: Provider | None,
        limits: RechargeLimits | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._ledger, self._credit, self._provider = ledger, credit, provider
        self._limits = limits or RechargeLimits()
        self._count = (meter or Meter()).counter(metrics.RECHARGE)
        self._resting: dict[str, float] = {}
        self._told: dict[str, int] = {}

    async def watch(self) -> bool:
        """Write a payment request down for each tenant below its trigger.  Raises LedgerAway, StoreError."""
        waiting = [each for each in await self._ledger.rechargers() if self._may_ask(each)]
        views = await self._credit.accounts([each.tenant_id for each in waiting])
        for each, view in zip(waiting, views, strict=True):
            has_micros = await self._below(each.rule, view)
            if has_micros is not None:
                await self._ask_for_money(each, view, has_micros)
        return False

    def _may_ask(self, each: Recharging) -> bool:
        if not each.rule.enabled or each.kept.standing.state is State.PENDING:
            return False
        if each.kept.standing.retry_ms > time.time_ns() // 1_000_000:
            return False
        return time.monotonic() >= self._resting.get(each.tenant_id, 0.0)

    async def _below(self, rule: RechargeRule, view: AccountView) -> int | None:
        """What the tenant has where that is strictly below its trigger, else None.

        The account is read before the calls: one that is settled in between is missed now and seen the next time.
        """
        if not view.exists or view.available_micros >= rule.trigger_micros:
            return None
        if view.balance_micros < rule.trigger_micros:
            return view.balance_micros
        calls = await self._credit.live_calls(view.tenant_id)
        has_micros = usable_micros(view.balance_micros, sum(call.held_micros for call in calls if call.answered_ms))
        return has_micros if has_micros < rule.trigger_micros else None

    async def _ask_for_money(self, each: Recharging, view: AccountView, has_micros: int) -> None:
        tenant = each.tenant_id
        if self._provider is None:
            if self._told.get(tenant) != view.applied_seq:
                if await self._ledger.ask_by_hand(tenant, each.rule, has_micros):
                    self._count.inc(("due",))
                self._told[tenant] = view.applied_seq
            return
        name, seen_seq = self._provider.name, view.applied_seq
        payment = await self._ledger.begin_payment(tenant, has_micros, seen_seq, name, self._limits)
        if payment is None:
            self._resting[tenant] = time.monotonic() + REST_S
            return
        self._count.inc(("asked",))
        amount = format_amount(payment.amount_micros)
        log.info("recharge asked for", tenant=tenant, amount=amount, payment=payment.key)

    async def pay(self) -> bool:
        """Ask about the payments that are due and book what became of them.  Raises LedgerAway."""
        due = await self._ledger.due_payments()
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(payment: Payment) -> None:
            async with turns:
                await self._pay(payment)

        done = await asyncio.gather(*(one(payment) for payment in due), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error
        return False

    async def _pay(self, payment: Payment) -> None:
        told = {"tenant": payment.tenant_id, "payment": payment.key}
        if self._provider is None or self._provider.name != payment.provider:
            log.error("payment cannot be asked about", **told, do=f"set payments.provider back to {payment.provider}")
            await self._ledger.postpone_payment(payment, STUCK_MS, why="the provider is another one now")
            return
        try:
            answer = await self._provider.ask(payment)
        except Exception as error:  # whatever it is: only an answer says what became of a payment
            if not isinstance(error, ProviderAway):
                log.exception("asking for a payment failed", **told)
            elif not payment.tries:
                log.warning("nobody knows yet what became of a payment", **told, why=str(error))
            self._count.inc(("away",))
            await self._ledger.postpone_payment(payment, _wait_ms(payment), why=str(error))
            return
        if answer.state == "pending":
            await self._ledger.postpone_payment(payment, _wait_ms(payment), answer.provider_id, answer.why)
            return
        await self._settle(payment, answer)

    async def _settle(self, payment: Payment, answer: Answer) -> None:
        told = {"tenant": payment.tenant_id, "payment": payment.key}
        try:
            settled = await settle_payment(self._ledger, self._credit, payment.key, answer)
        except LedgerRefused as error:
            log.error("a payment was made and cannot be booked", **told, why=str(error), do="book or refund it by hand")
            await self._ledger.postpone_payment(payment, STUCK_MS, answer.provider_id, str(error))
            return
        if settled.changed:
            self._count.inc((answer.state,))
            log.info("recharge settled", **told, state=answer.state, why=answer.why)


def _wait_ms(payment: Payment) -> int:
    return int(min(AGAIN_MAX_MS, AGAIN_MS * 2 ** min(payment.tries, 10)))
