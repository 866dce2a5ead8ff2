"""The operator's desk: what may be asked and done about tenants, money and calls, for command line and HTTP API alike.

Both stand in front of the same stores; here each request is carried out once and its document made, so that
``callgate balance --json`` and ``GET tenants/{id}/balance`` cannot differ.  Errors are the stores' own (LedgerAway,
LedgerRefused, StoreError); :class:`NotFound` is what only the desk can tell.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

from gateway.admin.documents import (
    Document,
    balance_document,
    call_document,
    funding_document,
    lot_document,
    payment_document,
    pool_document,
    posting_document,
    rebuilt_document,
    recharge_document,
    reconcile_document,
    tenant_document,
)
from gateway.admin.limits import limits_document
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin
from gateway.credit.orders import HangUp
from gateway.credit.views import LiveCall
from gateway.ledger import Act, Ledger, LedgerAway
from gateway.settlement import Rebuilt, fund, reconcile, repair, settle_payment
from gateway.settlement.minutes import tenant_pools
from gateway.settlement.payments import check_signature, read_confirmation
from gateway.telemetry.logs import get_logger
from policy.limits import DAY_DIGITS
from policy.terms import QUARTER_MS, hour_label, month_of, period_label
from rating.money import format_amount

log = get_logger("admin")

HANG_UP_WAIT_S: Final = 5.0
"""How long a hang-up is waited for: the worker hears it at once, and settles within a Redis round trip."""

NOTE_WAIT_S: Final = 1.0
"""How long the order to hang up waits for its line in the audit log: a ledger that hangs is given up after ten seconds
and more, in which a fraudulent call would go on."""
HANG_UP_POLL_S: Final = 0.05


class NotFound(Exception):  # noqa: N818  what was asked for is not there; nothing went wrong
    """No such call, number or the like; the text says what and what to do."""


class NotDone(Exception):  # noqa: N818  as NotFound
    """It was asked for and has not happened; the text says what to do."""


class Desk:
    """Requests of operators against one ledger and one credit store; neither is closed here."""

    def __init__(self, settings: Settings, ledger: Ledger, credit: CreditAdmin) -> None:
        self.settings = settings
        self.ledger = ledger
        self.credit = credit

    async def tenants(self) -> list[Document]:
        """Every tenant, by id."""
        return [tenant_document(tenant) for tenant in await self.ledger.tenants()]

    async def tenant(self, tenant_id: str) -> Document:
        """One tenant.  Raises UnknownTenant."""
        return tenant_document(await self.ledger.tenant(tenant_id))

    async def balance(self, tenant_id: str) -> Document:
        """A tenant's balance in Redis beside the ledger's.  Raises UnknownTenant."""
        booked = await self.ledger.account(tenant_id)
        return balance_document(booked, await self.credit.account(tenant_id), await self._pools(tenant_id))

    async def _pools(self, tenant_id: str) -> list[Document]:
        """The tenant's pools in this month of its time zone."""
        tenant = await self.ledger.tenant(tenant_id)
        month, counters = month_of(tenant.time_zone, time.time_ns() // 1_000_000), await self.credit.counters(tenant_id)
        return [pool_document(pool, month, counters) for pool in await tenant_pools(self.ledger, tenant)]

    async def limits(self, tenant_id: str) -> Document:
        """A tenant's limits, what is counted against them, and closed ranges.  Raises UnknownTenant."""
        tenant = await self.ledger.tenant(tenant_id)
        users, trunks = await self.ledger.limited_users(tenant_id), self.settings.trunks.values()
        return limits_document(
            tenant,
            users,
            [trunk for trunk in trunks if trunk.tenant_from or trunk.tenant == tenant_id],
            await self.credit.account(tenant_id),
            await self.credit.counters(tenant_id),
            time.time_ns() // 1_000_000,
        )

    async def release(self, tenant_id: str, scope: str, actor: str, reason: str = "") -> Document:
        """Open a range that was closed, ``range/PREFIX``, or count a spending limit ``SCOPE/PERIOD`` anew.

        It is written down first.  Answers as :meth:`limits`.

        Of a spending limit what was spent in this hour, day or month counts no more; what live calls hold still does.
        Raises UnknownTenant, LedgerAway, StoreError; NotFound where nothing of that name can be released.
        """
        tenant, before = await self.ledger.tenant(tenant_id), await self._released(tenant_id, scope)
        after = {"reason": reason} if reason else None
        await self.ledger.note(Act(actor, "limit.released", tenant_id, scope, before, after))
        hour = hour_label(tenant.time_zone, time.time_ns() // 1_000_000 // QUARTER_MS)
        if before.get("limits"):
            label = period_label(scope, hour)
            taken_off = await self.credit.start_anew(tenant_id, scope, label)
            await self.ledger.note_released(tenant_id, scope, label, taken_off.total_micros)
        else:
            await self.credit.open_range(tenant_id, scope.partition("/")[2], hour[:DAY_DIGITS])
        return await self.limits(tenant_id)

    async def _released(self, tenant_id: str, scope: str) -> Document:
        """The row of :meth:`limits` that is to be released, as it stands now."""
        shown = await self.limits(tenant_id)
        rows = [row for row in (*shown["limits"], *shown["closed"]) if row["scope"] == scope]
        found: list[Document] = [row for row in rows if row.get("limits", "money") == "money"]
        if rows and not found:
            text = f"{scope!r} limits {rows[0]['limits']}: it opens by itself as calls end, or by provisioning more"
            raise NotFound(text)
        if not found:
            see = f"see `callgate limits {tenant_id}`"
            raise NotFound(f"{tenant_id!r} has no closed range and no spending limit {scope!r}; {see}")
        return found[0]

    async def fund(
        self, tenant_id: str, amount_micros: int, reference: str, kind: str, actor: str, reason: str = ""
    ) -> Document:
        """Book money, once by its reference.  Raises LedgerRefused, LedgerAway; for money out also StoreError."""
        outcome = await fund(
            self.ledger, self.credit, tenant_id, amount_micros, reference, kind=kind, actor=actor, reason=reason
        )
        return funding_document(outcome)

    async def lots(self, tenant_id: str, *, spent: bool = False) -> list[Document]:
        """A tenant's lots, oldest first; with ``spent`` those too of which nothing is left.  Raises UnknownTenant."""
        return [lot_document(lot) for lot in await self.ledger.lots(tenant_id, spent=spent)]

    async def recharge(self, tenant_id: str) -> Document:
        """How a tenant's recharge stands, and its latest payments.  Raises UnknownTenant."""
        tenant = await self.ledger.tenant(tenant_id)
        found = await self.ledger.rechargers(tenant_id)
        return recharge_document(tenant.id, found[0] if found else None, await self.ledger.payments(tenant_id))

    async def confirm_payment(self, key: str, body: bytes, signature: str) -> Document:
        """Book what a payment server says by itself of a payment, once (gateway.settlement.payments.webhook).

        Raises BadSignature, UnknownPayment, NotConfirmed where the message is not about that payment.
        """
        payments = self.settings.payments
        if payments.provider != "webhook":
            raise NotFound('payments are confirmed here only with payments.provider = "webhook"')
        check_signature(payments.secret.get_secret_value(), body, signature, time.time())
        payment = await self.ledger.payment(key)
        answer = read_confirmation(payment, body)
        settled = await settle_payment(self.ledger, self.credit, key, answer)
        return payment_document(settled.payment)

    async def postings(self, tenant_id: str) -> AsyncIterator[Document]:
        """A tenant's ledger lines in order.  Raises UnknownTenant at the first."""
        async for posting in self.ledger.postings(tenant_id):
            yield posting_document(posting)

    async def calls(self, tenant_id: str | None = None) -> list[Document]:
        """Live calls of one tenant or of all, the longest first."""
        now_ms = time.time_ns() // 1_000_000
        found = await self.credit.live_calls(tenant_id)
        found.sort(key=lambda call: (call.answered_ms or now_ms, call.call_id))
        return [call_document(call, now_ms) for call in found]

    async def hang_up(self, call_id: str, actor: str) -> Document:
        """End a live call and wait until it is settled.

        It is written down first, but a ledger that is away stops nothing, and one that hangs delays it by NOTE_WAIT_S.
        Raises NotFound where there is no such call, NotDone where its worker did not end it in time.
        """
        call = await self.credit.live_call(call_id)
        if call is None:
            raise NotFound(f"there is no live call {call_id!r}; see `callgate calls`")
        noting = asyncio.create_task(self._note_hang_up(call, actor))
        try:
            await asyncio.wait([noting], timeout=NOTE_WAIT_S)
            await self.credit.send_order(call.owner, HangUp(call_id))
            await self._wait_for_end(call)
        finally:
            await noting
        return {"id": call_id, "tenant": call.tenant_id, "ended": True}

    async def _wait_for_end(self, call: LiveCall) -> None:
        """Raises NotDone."""
        try:
            async with asyncio.timeout(HANG_UP_WAIT_S):
                while await self.credit.live_call(call.call_id, call.tenant_id or None):  # noqa: ASYNC110  it ends in another process
                    await asyncio.sleep(HANG_UP_POLL_S)
        except TimeoutError:
            raise NotDone(_not_hung_up(call.call_id, call.owner)) from None

    async def _note_hang_up(self, call: LiveCall, actor: str) -> None:
        before = call_document(call, time.time_ns() // 1_000_000)
        try:
            await self.ledger.note(Act(actor, "call.hangup", call.tenant_id, call.call_id, before))
        except LedgerAway as error:  # ending a fraudulent call must not wait for the books
            facts = {"actor": actor, "call_id": call.call_id, "tenant": call.tenant_id}
            log.error("hang-up not in the audit log", **facts, why=str(error))

    async def reconcile(self, tenant_id: str | None = None) -> Document:
        """Ledger, Redis, outbox and call records compared.  Raises UnknownTenant."""
        return reconcile_document(await reconcile(self.ledger, self.credit, [tenant_id] if tenant_id else None))

    async def repair(self, actor: str, tenant_id: str | None = None) -> Document:
        """Redis rebuilt from the ledger and live calls, for all tenants; then as :meth:`reconcile`, with what changed.

        Written down before, for it may end half-way, and each account that it changed afterwards.
        Raises UnknownTenant before anything is done, RebuildHeld where another process goes on rebuilding it.
        """
        if tenant_id:
            await self.ledger.account(tenant_id)
        epoch = await self.ledger.redis_epoch()
        await self.ledger.note(Act(actor, "redis.repair", "", f"epoch {epoch}", {"epoch": epoch}))
        done = await repair(self.ledger, self.credit)
        try:
            await self.ledger.note(*_repaired(actor, done))
        except LedgerAway as error:  # it is done all the same
            log.error("repair not in the audit log", actor=actor, epoch=done.number, why=str(error))
        return await self.reconcile(tenant_id) | {"rebuilt": rebuilt_document(done)}


def _repaired(actor: str, done: Rebuilt) -> Iterator[Act]:
    """What a repair did, and for each account that it changed what Redis had and what it has."""
    counts = {"epoch": done.number, "booked": done.booked, "calls_kept": done.kept, "calls_ended": done.over}
    yield Act(actor, "redis.repaired", "", f"epoch {done.number}", None, counts | {"accounts": len(done.changed)})
    for each in done.changed:
        old, new = each.before, each.after
        before = _account_facts(old.balance_micros, old.held_micros, old.calls) if old.exists else None
        after = _account_facts(new.balance_micros, new.held_micros, new.calls)
        yield Act(actor, "account.restored", new.tenant_id, new.tenant_id, before, after)


def _account_facts(balance_micros: int, held_micros: int, calls: int) -> Document:
    return {"balance": format_amount(balance_micros), "held": format_amount(held_micros), "calls": calls}


def _not_hung_up(call_id: str, owner: str) -> str:
    return (
        f"call {call_id} has not ended after {HANG_UP_WAIT_S:g} s: its worker {owner} does not answer; "
        "it will end when that worker is back, or when its paid time is over"
    )
