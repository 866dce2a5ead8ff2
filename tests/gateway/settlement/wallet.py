"""One tenant's money as a test moves it: a real ledger with a clock of its own, a real Redis, a worker's store."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from gateway.call.commands import Answer, Grant, Release, Reserve, Result, Settle
from gateway.call.record import CallRecord
from gateway.credit.admin import CreditAdmin
from gateway.ledger import Ledger
from gateway.ledger.tables import notices
from gateway.settlement import Settler, fund, settle_in
from gateway.settlement.expiry import LATE_MS, expire_lots
from policy.verdict import Limits
from rating.tariff import Tariff

M = 1_000_000
WAIT_S = 10.0


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self, start: str = "2026-01-10T09:00") -> None:
        self.ms = ms(start)

    def __call__(self) -> int:
        return self.ms


class Wallet:
    """The money of the tenant contoso; amounts in micro-units."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin, caller: Any, clock: Clock) -> None:
        self.ledger, self.credit, self.caller, self.clock = ledger, credit, caller, clock
        self.settler = Settler(ledger, credit)
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        await settle_in(self.ledger, self.credit)
        await self.caller.store.start()

    async def fund(self, micros: int, reference: str = "", kind: str = "manual") -> None:
        await fund(self.ledger, self.credit, "contoso", micros, reference or f"f{next(self._numbers)}", kind=kind)

    async def hold(self, micros: int, *, answered: bool = True) -> str | None:
        """Reserve a call of one minute; its id, or None where it was refused."""
        call_id, heard = f"call-{next(self._numbers)}", asyncio.get_running_loop().create_future()
        self.caller._then[call_id] = lambda result: heard.done() or heard.set_result(result)
        usage = CallRecord(call_id, "contoso", "user_out").encode()
        tariff = Tariff(micros, first_incr_s=60, next_incr_s=60)
        self.caller.store.submit(Reserve(call_id, "contoso", tariff, 60, 30, Limits(), b"", usage))
        if not isinstance(await asyncio.wait_for(heard, WAIT_S), Grant):
            return None
        if answered:
            self.caller.store.submit(Answer(call_id, "contoso", 1, b""))
            await self._until(call_id, lambda call: call is not None and call.answered_ms > 0)
        return call_id

    async def end(self, call_id: str, micros: int) -> None:
        """The call ends now and costs ``micros``; where that is nothing it was never answered."""
        known = {"invited_ms": 1, "answered_ms": 2 if micros else 0, "ended_ms": self.clock.ms, "talk_ms": 60_000}
        record = CallRecord(call_id, "contoso", "user_out", charge_micros=micros, **known).encode()
        if micros:
            self.caller.store.submit(Settle(call_id, "contoso", 60_000, micros, record))
        else:
            self.caller.store.submit(Release(call_id, "contoso", record))
        await self._until(call_id, lambda call: call is None)

    async def _until(self, call_id: str, true: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true(await self.credit.live_call(call_id, "contoso")):
                await asyncio.sleep(0.002)

    async def spend(self, micros: int, *, book: bool = True) -> bool:
        """A call that costs so much; whether it was granted."""
        call_id = await self.hold(micros)
        if call_id is None:
            return False
        await self.end(call_id, micros)
        if book:
            await self.book()
        return True

    async def book(self) -> None:
        while await self.settler.settle_once():
            pass

    async def expire(self) -> None:
        """As the settler does; the clock must be LATE_MS after the moment that is meant."""
        await expire_lots(self.ledger, self.credit)

    def late(self, text: str) -> None:
        """Move the clock to so long after a moment that what expired then is forfeited."""
        self.clock.ms = ms(text) + LATE_MS

    async def left(self) -> list[int]:
        assert await self.ledger.lot_faults() == []
        return [lot.remaining_micros for lot in await self.ledger.lots("contoso", spent=True)]

    async def balance(self) -> int:
        """In Redis; the ledger's is the same where nothing waits."""
        return (await self.credit.account("contoso")).balance_micros

    async def told(self) -> list[str]:
        async with self.ledger.database.read() as connection:
            rows = await connection.scalars(select(notices.c.event).order_by(notices.c.at_ms, notices.c.event))
            return list(rows)

    def hear(self, result: Result) -> None:
        self.caller._hear(result)
