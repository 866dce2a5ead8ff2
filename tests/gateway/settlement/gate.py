"""A whole gate but its wires: what is provisioned is decided by policy, paid by the real scripts, booked in a ledger.

A call goes every step of a real one, but no SIP is spoken and time is the test's own: the directory is read from the
ledger, ``policy.decide`` says who may pay, the credit side of the call machine (gateway.call.money) asks a real Redis
for tick after tick at the moments at which it would, and what the call cost goes through the outbox into the ledger.
The deck has the sample rates of DOMAIN 8, which are invented.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.call.commands import Grant, Refusal, Refused, Result
from gateway.call.money import Reservation
from gateway.call.record import CallRecord
from gateway.call.records import Ending, answered, opening, so_far, unanswered
from gateway.call.settings import CallSettings
from gateway.config.facts import number_plan
from gateway.config.provisioning import parse
from gateway.credit.admin import CreditAdmin
from gateway.credit.store import CreditStore, Owner
from gateway.ledger import Ledger
from gateway.settlement import Settler, fund, reconcile, settle_in
from policy.decide import decide
from policy.directory import Directory, Trunk
from policy.reasons import REASONS
from policy.terms import month_of, terms_of
from policy.verdict import Allow, CallRequest, Deny, Verdict

from .conftest import PARTITIONS
from .wallet import Clock

DECK = """prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s,direction
1,United States and Canada,13000,0,60,60,
33,France,18000,0,60,60,
44,United Kingdom,20000,0,60,60,
44844,GB shared cost,120000,100000,60,60,
263,Zimbabwe,480000,0,60,60,
682,Cook Islands,1200000,0,60,60,
881,Satellite,9000000,0,60,60,
1800,US toll-free,40000,0,60,60,in
"""

TRUNKS = {
    "pbx": Trunk("pbx", "access", tenant="contoso", targets=("sip:127.0.0.2",)),
    "shared": Trunk("shared", "access", tenant_from="caller", targets=("sip:127.0.0.4",)),
    "carrier": Trunk("carrier", "carrier", targets=("sip:127.0.0.3",)),
}
STRANGER = "+61212345678"
WAIT_S = 10.0


@dataclass
class Leg:
    """One call that was let in; ``ended`` is why it is over, empty while it lives."""

    call_id: str
    verdict: Allow
    money: Reservation
    opening: str
    answered_ms: int = 0
    talk_ms: int = 0
    charge_micros: int = 0
    ended: str = ""

    @property
    def next_at(self) -> float:
        """When money has to be looked at, in the gate's own seconds."""
        return self.money.next_at() if self.answered_ms and not self.ended else float("inf")


class Gate:
    """One gate of its own time, which ``clock`` counts; nothing happens but what a test does."""

    def __init__(self, ledger: Ledger, credit: CreditAdmin, url: str, clock: Clock, folder: Path) -> None:
        self.ledger, self.credit, self.clock, self._folder = ledger, credit, clock, folder
        self.store = CreditStore(url, Owner("gate-1", 0, "here"), self._hear, partitions=PARTITIONS)
        self.settler = Settler(ledger, credit)
        self.directory = Directory()
        self.live: list[Leg] = []
        self.settings = CallSettings()
        self._plan = number_plan()
        self._start_ms = clock.ms
        self._numbers = itertools.count(1)
        self._heard: dict[str, asyncio.Future[Result]] = {}

    def _hear(self, result: Result) -> None:
        waiting = self._heard.pop(result.call_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    @property
    def now(self) -> float:
        """Seconds since the gate's start."""
        return (self.clock.ms - self._start_ms) / 1000

    async def open(self, *tenants: dict[str, Any]) -> None:
        """Provision the tenants and begin."""
        (self._folder / "domain.csv").write_text(DECK)
        await self.ledger.migrate()
        await self.provision(*tenants)
        await settle_in(self.ledger, self.credit)
        await self.store.start()

    async def provision(self, *tenants: dict[str, Any]) -> None:
        """Say all there is to say about these tenants, and decide by it."""
        decks = [{"name": "domain", "currency": "USD", "file": "domain.csv"}]
        full = [{"rate_deck": "domain", "licensing": "per-user"} | tenant for tenant in tenants]
        await self.ledger.provision(parse({"rate_deck": decks, "tenant": full}, "test.toml", self._folder))
        self.directory = await self.ledger.directory(TRUNKS)

    async def fund(self, micros: int, tenant: str = "contoso", reference: str = "") -> None:
        await fund(self.ledger, self.credit, tenant, micros, reference or f"f{next(self._numbers)}", kind="manual")

    # calls

    def decide(self, dialled: str, who: str = "", kind: str = "", caller: str = "", trunk: str = "pbx") -> Verdict:
        """What policy says of a call that the PBX places in a user's name, or a stranger by the ``carrier``."""
        number = caller or (STRANGER if trunk == "carrier" else "")
        asked = CallRequest(trunk, dialled, number, self.clock.ms, x_user=who, x_kind=kind)
        return decide(self.directory, self._plan, asked)

    async def call(
        self, dialled: str, who: str = "", kind: str = "", caller: str = "", trunk: str = "pbx"
    ) -> Leg | str:
        """A call that is answered as soon as its first tick is paid; or the code it was refused with."""
        verdict = self.decide(dialled, who, kind, caller, trunk)
        call_id = f"call-{next(self._numbers):04}"
        begun = opening(verdict, call_id, call_id, "gate-1", trunk, self.clock.ms)
        if isinstance(verdict, Deny):
            return self._refuse(call_id, verdict.tenant_id, trunk, begun, verdict.reason.code)
        longest_s = verdict.max_call_s or self.settings.max_call_s
        money = Reservation(call_id, verdict.tenant_id, verdict.tariff, longest_s, self.settings, terms_of(verdict))
        result = await self._ask(
            call_id, money.reserve(verdict.limits, b"", so_far(begun), verdict.emergency, self.clock.ms)
        )
        if isinstance(result, Refusal):
            return self._refuse(call_id, verdict.tenant_id, trunk, begun, result.code)
        assert isinstance(result, Grant)
        money.grant(result, self.now)
        leg = Leg(call_id, verdict, money, begun, answered_ms=self.clock.ms)
        await self._ask(call_id, money.answer(self.now, self.clock.ms, b""))
        money.start(self.now)
        self.live.append(leg)
        return leg

    def _refuse(self, call_id: str, tenant: str, trunk: str, begun: str, code: str) -> str:
        reason = REASONS[code]
        record = unanswered(begun, "", self.clock.ms, Ending(code, reason.sip_status, "gate"))
        self.store.submit(Refused(call_id, tenant, trunk, record))
        return code

    async def _ask(self, call_id: str, command: Any) -> Result:
        heard = self._heard[call_id] = asyncio.get_running_loop().create_future()
        self.store.submit(command)
        return await asyncio.wait_for(heard, WAIT_S)

    async def wait(self, seconds: float) -> None:
        """Let time go on; calls are paid for meanwhile, and cut where nothing pays."""
        end_ms = self.clock.ms + round(seconds * 1000)
        while self.live:
            leg = min(self.live, key=lambda each: each.next_at)
            if leg.next_at > (end_ms - self._start_ms) / 1000:
                break
            self.clock.ms = max(self.clock.ms, self._start_ms + round(leg.next_at * 1000))
            await self._ring(leg)
        self.clock.ms = end_ms

    async def _ring(self, leg: Leg) -> None:
        money, now = leg.money, max(self.now, leg.next_at)  # the clock has whole milliseconds
        if now >= money.cut_at:
            await self.end(leg, money.cut_reason().code, "gate")
            return
        result = await self._ask(leg.call_id, money.renew(now, leg.answered_ms))
        if isinstance(result, Grant):
            assert money.grant(result, now)
        else:
            assert isinstance(result, Refusal), result
            assert money.refuse(result, now)

    async def end(self, leg: Leg, reason: str = "COMPLETED", by: str = "caller") -> None:
        """The call is over now, and its charge in the outbox."""
        money = leg.money
        leg.talk_ms = money.talk_ms(self.now)
        leg.charge_micros = money.charge_micros(leg.talk_ms)
        leg.ended = reason
        record = answered(
            leg.opening, "carrier", leg.answered_ms, leg.talk_ms, money.priced(leg.talk_ms)[1], leg.charge_micros,
            Ending(reason, 200, by), minutes=money.minutes_used(leg.talk_ms),
        )  # fmt: skip
        self.store.submit(money.settle(leg.talk_ms, leg.charge_micros, record))
        self.live.remove(leg)
        async with asyncio.timeout(WAIT_S):
            while await self.credit.live_call(leg.call_id, leg.verdict.tenant_id) is not None:
                await asyncio.sleep(0.001)

    async def talk(self, dialled: str, seconds: float, who: str = "", kind: str = "", **more: str) -> Leg | str:
        """A call of so many seconds, or of as many as were paid for; or the code it was refused with."""
        leg = await self.call(dialled, who, kind, **more)
        if isinstance(leg, Leg):
            await self.wait(seconds)
            if not leg.ended:
                await self.end(leg)
        return leg

    async def use_up(self, minutes: int, dialled: str, who: str = "", kind: str = "", **more: str) -> None:
        """Calls that use so many minutes of what pays for them first, in the longest ticks that there may be."""
        self.settings = CallSettings(tick_s=self.settings.max_call_s)
        most = self.settings.max_call_s // 60
        for each in [most] * (minutes // most) + [minutes % most]:
            if each:
                leg = await self.talk(dialled, each * 60, who, kind, **more)
                assert isinstance(leg, Leg)
                assert (leg.talk_ms, leg.charge_micros) == (each * 60_000, 0)
        self.settings = CallSettings()
        await self.book()

    # the books

    async def book(self) -> None:
        """Everything that is in the outbox, also records of refused calls."""
        while await self.settler.settle_once():
            pass
        await self.settler._book_refused()

    async def record(self, leg: Leg) -> CallRecord:
        """The call's row of the usage report as it is booked."""
        found = await self.ledger.call(leg.call_id)
        assert found is not None
        return found

    async def used(self, tenant: str = "contoso") -> dict[str, int]:
        """Minutes used by pool in this month, as the ledger and Redis say alike."""
        month = month_of(self.directory.tenants[tenant].time_zone, self.clock.ms)
        booked = {each.pool: each.minutes for each in await self.ledger.pool_use(tenant, month)}
        counters = await self.credit.counters(tenant)
        for pool, minutes in booked.items():
            assert counters.used[pool, month] == minutes
        return booked

    async def balance(self, tenant: str = "contoso") -> int:
        """Of the ledger, which Redis agrees with once all is booked."""
        account = await self.credit.account(tenant)
        assert account.balance_micros == await self.ledger.balance(tenant)
        return account.balance_micros

    async def clean(self) -> bool:
        """Ledger, Redis and call records say the same."""
        return all(drift.clean for drift in await reconcile(self.ledger, self.credit))


async def open_gate(folder: Path, url: str, ledger_url: str, start: str = "2026-01-10T09:00") -> AsyncIterator[Gate]:
    """A gate over that Redis and ledger that nobody has prepared yet, closed at the end."""
    clock = Clock(start)
    credit = CreditAdmin(url, partitions=PARTITIONS, timeout_s=2.0)
    async with Ledger(ledger_url, now_ms=clock) as ledger:
        gate = Gate(ledger, credit, url, clock, folder)
        yield gate
        await gate.store.stop()
    await credit.close()
