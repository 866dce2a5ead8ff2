"""The operator's desk: what may be asked and done about tenants, money and calls, for command line and HTTP API alike.

Both stand in front of the same stores; here each request is carried out once and its document made, so that
``callgate balance --json`` and ``GET tenants/{id}/balance`` cannot differ.  Errors are the stores' own (LedgerAway,
LedgerRefused, StoreError); :class:`NotFound` is what only the desk can tell.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from gateway.admin.documents import (
    Document,
    balance_document,
    call_document,
    funding_document,
    posting_document,
    rebuilt_document,
    reconcile_document,
    tenant_document,
)
from gateway.config.settings import Settings
from gateway.credit.admin import CreditAdmin
from gateway.credit.orders import HangUp
from gateway.ledger import Ledger
from gateway.settlement import fund, reconcile, repair

HANG_UP_WAIT_S: Final = 5.0
"""How long a hang-up is waited for: the worker hears it at once, and settles within a Redis round trip."""
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
        return balance_document(booked, await self.credit.account(tenant_id))

    async def fund(
        self, tenant_id: str, amount_micros: int, reference: str, kind: str, actor: str, reason: str = ""
    ) -> Document:
        """Book money, once by its reference.  Raises LedgerRefused, LedgerAway; for money out also StoreError."""
        outcome = await fund(
            self.ledger, self.credit, tenant_id, amount_micros, reference, kind=kind, actor=actor, reason=reason
        )
        return funding_document(outcome)

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

    async def hang_up(self, call_id: str) -> Document:
        """End a live call and wait until it is settled.

        Raises NotFound where there is no such call, NotDone where its worker did not end it in time.
        """
        call = await self.credit.live_call(call_id)
        if call is None:
            raise NotFound(f"there is no live call {call_id!r}; see `callgate calls`")
        await self.credit.send_order(call.owner, HangUp(call_id))
        try:
            async with asyncio.timeout(HANG_UP_WAIT_S):
                while await self.credit.live_call(call_id, call.tenant_id or None):  # noqa: ASYNC110  it ends in another process
                    await asyncio.sleep(HANG_UP_POLL_S)
        except TimeoutError:
            raise NotDone(_not_hung_up(call_id, call.owner)) from None
        return {"id": call_id, "tenant": call.tenant_id, "ended": True}

    async def reconcile(self, tenant_id: str | None = None) -> Document:
        """Ledger, Redis, outbox and call records compared.  Raises UnknownTenant."""
        return reconcile_document(await reconcile(self.ledger, self.credit, [tenant_id] if tenant_id else None))

    async def repair(self, tenant_id: str | None = None) -> Document:
        """Redis rebuilt from the ledger and live calls, for all tenants; then as :meth:`reconcile`, with what changed.

        Raises UnknownTenant before anything is done, RebuildHeld where another process goes on rebuilding it.
        """
        if tenant_id:
            await self.ledger.account(tenant_id)
        done = await repair(self.ledger, self.credit)
        return await self.reconcile(tenant_id) | {"rebuilt": rebuilt_document(done)}


def _not_hung_up(call_id: str, owner: str) -> str:
    return (
        f"call {call_id} has not ended after {HANG_UP_WAIT_S:g} s: its worker {owner} does not answer; "
        "it will end when that worker is back, or when its paid time is over"
    )
