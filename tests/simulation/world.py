"""One seeded world: gates, a PBX, a carrier, Redis, a settler and a fate that breaks things; what must always hold.

A seed decides everything: who calls when, what the people do, how bad the network is, when Redis breaks and how, when
a gate is killed, when money comes.  The same seed is the same story.  ``check`` is asked again and again while the
story runs, and ``check_end`` when nothing is left to happen:

- money in = balance + charged, in Redis after every script and in the ledger at the end, to the micro;
- what is held is the sum of what live calls hold, and available is never below zero after a grant;
- each reservation is resolved once, and charged by the tariff for the talk of its record;
- no call talks beyond paid-until while its gate is up;
- no call is stuck, and the two legs of one call end together.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.call.record import decode_record
from gateway.call.settings import CallSettings
from gateway.credit import lua
from gateway.credit.keys import is_open
from gateway.credit.resp import Link
from gateway.credit.standing import STALL_S
from gateway.credit.streams import LATE
from gateway.sip.events import Flow
from gateway.sip.message import Request
from gateway.sip.uri import parse_uri
from policy.drawn import held_counters
from policy.verdict import Allow, Route, Verdict
from tests.simulation.books import Booked
from tests.simulation.gate import UNIX_START_S, SimGate
from tests.simulation.loop import VirtualLoop
from tests.simulation.machine import patched
from tests.simulation.network import Address, Cable, Network
from tests.simulation.phones import Carrier, End, Pbx, Plan
from tests.simulation.prices import Prices
from tests.simulation.rebuilding import RealSettler
from tests.simulation.redis import SimRedis
from tests.simulation.settler import SimSettler
from tests.simulation.story import GATES, PAST_S, REDIS_FAULTS, STORY_S, Story, story_of

PBX: Address = ("10.0.0.2", 5060)
CARRIER: Address = ("10.0.0.3", 5060)
SETTINGS = CallSettings(
    tick_s=5, renew_lead_s=1.0, max_call_s=40, ring_timeout_s=20.0, session_expires_s=0, lease_grace_s=30
)
OVER_S = 600.0
"""When a story must be over: the longest call, all timers, leases and the sweep's quiet time, several times."""

LATE_S = 0.01
"""How long after paid-until the end of talk may be seen: the clock rounds up half a millisecond."""

UNSEEN_S = 0.1
"""Talk that a gate cannot know of: the ways of the first and the last message of a call, in good weather."""

T1_S = 0.5
"""Of the simulated peers (RFC 3261 17.1.1.1)."""

LOSS_S = 2.0
"""What Redis may lose on a kill (everysec), in seconds."""


class BrokenError(AssertionError):
    """Something that must always hold did not."""


class World:
    """A story being played; ``texts`` replaces scripts (mutations)."""

    def __init__(self, story: Story, texts: dict[str, str] | None = None) -> None:
        self.story = story
        self.loop = VirtualLoop()
        self.dice = random.Random(story.seed + 1)
        self.server = SimRedis(lambda: UNIX_START_S + self.loop.time(), texts)
        self.server.watch = self._count_money
        self.network = Network(self.loop, self.dice, story.weather)
        self.server.on_restored, self.server.on_recounted = self._restored, self._recounted
        self.settler = self._make_settler()
        self.pbx = Pbx(self.loop, self.network, self.dice, PBX)
        self.carrier = Carrier(self.loop, self.network, self.dice, CARRIER)
        self.prices = Prices(self.dice, story.tenants, story.seed + 3)
        self.gates = [self._make_gate(number, address) for number, address in enumerate(GATES[: story.gates], start=1)]
        self.killed: set[Address] = set()
        self.forgotten = False
        self.drawn: dict[str, str] = {}
        """What each call had drawn when it was last seen."""
        self.faults: list[str] = []
        """Exceptions that were caught and logged."""

    def _make_settler(self) -> SimSettler | RealSettler:
        told = (self._tell_booked, self._tell_funded)
        if self.story.rebuilt:
            return RealSettler(self.loop, Cable(self.loop, self.dice, self.server), self.story.tenants, *told)
        return SimSettler(self.loop, self.dice, self.server, self.story.tenants, *told)

    def _make_gate(self, number: int, address: Address) -> SimGate:
        cable = Cable(self.loop, self.dice, self.server)
        return SimGate(self.loop, self.network, cable, self.dice, f"gate-{number}", address, self._decide, SETTINGS)

    def _decide(self, request: Request, flow: Flow, now: float) -> Verdict:
        caller, number = (parse_uri(uri).user for uri in (request.from_.uri, request.uri))  # type: ignore[union-attr]
        route = Route("carrier", f"sip:{CARRIER[0]}:{CARRIER[1]}", number)
        prices = self.prices
        tariff, changes = prices.at(caller, int((UNIX_START_S + now) * 1000))
        return Allow(
            tenant_id=caller, currency="USD", kind="user_out", caller=caller, dialled=number, number=number,
            routes=(route,), tariff=tariff, limits=prices.limits[caller], trunk="pbx", pools=prices.pools[caller],
            changes=changes,
        )  # fmt: skip

    async def open_link(self, _address: object, on_lost: Callable[[Link], None]) -> Link:
        """Stands for gateway.credit.resp.open_link: whose tie asks tells whose cable it is."""
        tie = on_lost.__self__  # type: ignore[attr-defined]
        cable = next(gate.cable for gate in self.gates if gate.alive and gate.store._tie is tie)
        return await cable.open_link(on_lost)

    # who tells whom

    def _tell_booked(self, call_ids: list[str]) -> None:
        for gate in self.gates:
            if gate.alive:
                gate.store.booked(call_ids)

    def _tell_funded(self, tenant: str) -> None:
        for gate in self.gates:
            if gate.alive:
                gate.b2bua.funded(tenant, self.loop.time())
                gate.turn.end(self.loop.time())

    # the story

    def play(self) -> None:
        """Play it to its end.  Raises BrokenError."""
        with patched(self):
            self.settler.prepare()
            for plan in self.story.plans:
                self.carrier.plans[plan.number] = plan
                self.pbx.place(plan)
            for at_s, tenant, micros in self.story.fundings:
                self.loop.call_at(1000.0 + at_s, self.settler.fund, tenant, micros)
            for at_s, what, much in self.story.faults:
                self.loop.call_at(1000.0 + at_s, self._break, what, much)
            for gate in self.gates:
                self.loop.call_soon(gate.start)
            self.loop.call_soon(self._watch)
            try:
                self._run()
                self.check_end()
            finally:
                for gate in self.gates:
                    gate.kill()
                if isinstance(self.settler, RealSettler):
                    self.settler.stop()
                self.loop.run_until(self.loop.time() + 0.001)
                self.loop.close()

    def _run(self) -> None:
        until_s = 1000.0 + STORY_S + 5
        while True:
            self.loop.run_until(until_s)
            if self.loop.faults:
                fault = self.loop.faults[0].get("exception")
                raise (
                    fault
                    if isinstance(fault, BrokenError)
                    else BrokenError(f"raised: {fault or self.loop.faults[0]!r}")
                )
            if self._is_over():
                return
            if self.loop.time() > 1000.0 + OVER_S:
                raise BrokenError(f"something is stuck: {self._left()}")
            until_s += 5.0

    def _is_over(self) -> bool:
        return not any(self._left().values())

    def _left(self) -> dict[str, int]:
        """What is still there of any call."""
        data = self.server.data
        return {
            "calls": sum(len(gate.b2bua) for gate in self.gates if gate.alive),
            "legs": sum(len(gate.b2bua.legs) for gate in self.gates if gate.alive),
            "unanswered": sum(self._may_be_answered(end) for end in self.pbx.ends.values()),
            "transactions": sum(gate.endpoint.load for gate in self.gates if gate.alive),
            "unacknowledged": sum(gate.store.unacknowledged for gate in self.gates if gate.alive),
            "leases": sum(len(data.get(keys.leases.encode(), ())) for keys in self.settler.keys.partitions),
            "outbox": sum(len(data.get(keys.outbox.encode(), ())) for keys in self.settler.keys.partitions),
            "faults": sum(self.loop.time() < 1000.0 + at_s + 8 * much for at_s, _, much in self.story.faults),
            "fundings": sum(self.loop.time() < 1000.0 + at_s + 1 for at_s, _, _ in self.story.fundings),
        }

    def _may_be_answered(self, end: End) -> bool:
        """Its INVITE has not timed out (Timer B) and nobody has answered it."""
        return not end.status and not end.gone and self.loop.time() < end.plan.at_s + 64 * T1_S

    def _watch(self) -> None:
        """Five times a second: a picture of Redis' file, who is fenced, and whether anybody talks unpaid."""
        self.loop.call_later(0.2, self._watch)
        self.server.remember(self.loop.time(), PAST_S if self.story.rebuilt else LOSS_S)
        now = self.loop.time()
        for gate in self.gates:
            if gate.alive and gate.store.fenced and not gate.stalled:
                self.killed.add(gate.address)  # what Redis could not be told by then, its heir does not know either
                gate.kill()
            for call in gate.b2bua._calls.values() if gate.is_up else ():
                money = call.money  # overdue: adopted after paid time, and what is due is being asked for
                if not (money.closed or money.overdue) and now > money.paid_until + LATE_S:
                    raise BrokenError(f"call {call.id} talks {now - money.paid_until:.3f} s beyond what is paid")

    # fate

    def _break(self, what: str, much: float) -> None:
        act = getattr(self, "_break_" + what.replace(" ", "_"))
        act(much)

    def _for_a_while(self, much: float, what: str, during: object, after: object) -> None:
        """Something about every way to Redis is different for ``much`` seconds."""
        for gate in self.gates:
            setattr(gate.cable, what, during)
            self.loop.call_later(much, setattr, gate.cable, what, after)

    def _settler_without_redis(self, much: float) -> None:
        self.settler.reaches_redis = False
        self.loop.call_later(much, setattr, self.settler, "reaches_redis", True)

    def _break_cut(self, much: float) -> None:
        for gate in self.gates:
            gate.cable.cut()

    def _break_down(self, much: float) -> None:
        self._for_a_while(much, "up", False, True)
        self._settler_without_redis(much)
        self._break_cut(much)

    def _break_hang(self, much: float) -> None:
        self._for_a_while(much, "hangs", True, False)
        self._settler_without_redis(much)

    def _break_slow(self, much: float) -> None:
        self._for_a_while(much, "delay_s", 0.5, 0.0003)

    def _break_partition(self, much: float) -> None:
        """One gate alone loses Redis, for so long that the sweep closes its calls."""
        cable = self.dice.choice(self.gates).cable
        cable.up = False
        cable.cut()
        self.loop.call_later(much * 8, setattr, cable, "up", True)

    def _break_forget(self, much: float) -> None:
        """Killed, and back without its last writes."""
        self._break_down(much / 4)
        self.forgotten = True
        self.server.forget(self.loop.time() - self.dice.uniform(0, LOSS_S))

    def _break_wipe(self, much: float) -> None:
        """FLUSHALL: the same run, and nothing in it."""
        self._lose({}, another_run=False)

    def _break_wipe_and_restart(self, much: float) -> None:
        """A Redis without a file."""
        self._break_down(much / 4)
        self._lose({}, another_run=True)

    def _break_half(self, much: float) -> None:
        """One partition is gone, as with a node of a cluster."""
        gone = self.dice.choice(self.settler.keys.partitions).epoch.encode().rpartition(b":")[0]
        self._lose({key: value for key, value in self.server.data.items() if gone not in key}, another_run=False)

    def _break_past(self, much: float) -> None:
        """A replica that lagged, or a backup."""
        self._break_down(much / 4)
        self._lose(self.server.before(self.loop.time() - self.dice.uniform(0, PAST_S)), another_run=True)

    def _lose(self, data: dict[bytes, Any], *, another_run: bool) -> None:
        self.forgotten = True
        self.server.become(data, another_run=another_run)

    def _break_settler_dies(self, much: float) -> None:
        assert isinstance(self.settler, RealSettler)
        self.loop.call_later(self.dice.uniform(0, 3), self.settler.die)
        self.loop.call_later(self.dice.uniform(0, 2), self._break_wipe, much)

    def _restored(self, account: bytes) -> None:
        """A rebuild has set an account by the ledger: what was charged is what is booked."""
        tenant = account.decode().rpartition(":")[2]
        booked = self.settler.ledger.booked.items()
        mine = {charge_id: (tenant, charge.micros) for charge_id, charge in booked if charge.tenant == tenant}
        self._know(b"charged", tenant, mine)

    def _recounted(self, counters: bytes) -> None:
        """It has set the counters too, also where the account was as it should be: a pool's calls move no money."""
        tenant = counters.decode().rpartition(":")[2]
        booked = Counter(self.settler.ledger.counters.get(tenant, {}))
        self._know(b"counted", tenant, {f"booked of {tenant}": (tenant, booked)})

    def _know(self, what: bytes, tenant: str, mine: dict[str, Any]) -> None:
        others = {key: pair for key, pair in self.server.data.get(what, {}).items() if pair[0] != tenant}
        self.server.data[what] = others | mine

    def _break_flush_scripts(self, much: float) -> None:
        self.server.loaded = set()

    def _break_kill(self, much: float) -> None:
        gate = self.dice.choice(self.gates)
        if gate.alive:
            self.killed.add(gate.address)
            gate.kill()
            self.loop.call_later(much, gate.start)

    def _break_gone(self, much: float) -> None:
        """A gate dies for good: the other one has its calls in a while, and both ends' dialogs."""
        gate = self.dice.choice(self.gates)
        self.killed.add(gate.address)
        gate.kill()

    def _break_stall(self, much: float) -> None:
        """A gate hears nothing and does nothing for a moment, as a busy or stopped process."""
        gate = self.dice.choice(self.gates)
        if gate.alive:
            gate.stall(much / 4)

    def _break_replace(self, much: float) -> None:
        """A process stands still, a newer one takes its slot, and it wakes: it must not say a word (SIP.md 1)."""
        gate = self.dice.choice(self.gates)
        if gate.alive and not gate.stalled:
            gate.stall(STALL_S + 1.5 + much)
            if gate.stalled:
                self.loop.call_later(0.5 + much / 4, self._replace, gate)

    def _replace(self, gate: SimGate) -> None:
        if gate.alive and gate.stalled:
            gate.replaced = True
            self.killed.add(gate.address)
            newer = self._make_gate(int(gate.node.removeprefix("gate-")), gate.address)
            self.gates.append(newer)
            newer.start()

    def _break_settler_away(self, much: float) -> None:
        self.settler.away = True
        self.loop.call_later(much, setattr, self.settler, "away", False)

    # what must always hold

    def _count_money(self) -> None:
        """After every script: each account's balance and what it holds, from what is in Redis itself."""
        data, late = self.server.data, self._has_late()
        held: dict[str, int] = dict.fromkeys(self.story.tenants, 0)
        self._note_drawn()
        if not all(is_open(data.get(keys.epoch.encode(), b"").decode()) for keys in self.settler.keys.partitions):
            return  # it is being made ready, or rebuilt: nothing adds up before the end of that
        for keys in self.settler.keys.partitions:
            for member in data.get(keys.leases.encode(), ()):
                call_id, tenant = member.decode().split(" ")
                held[tenant] += int(data[keys.call(call_id).encode()].get(b"held", b"0"))
        for tenant in self.story.tenants:
            row = data.get(self.settler.keys.tenant(tenant).account.encode(), {})
            balance, all_held = int(row.get(b"balance", b"0")), int(row.get(b"held", b"0"))
            if all_held != held[tenant]:
                raise BrokenError(f"{tenant} holds {all_held}, its live calls {held[tenant]}")
            charged = sum(micros for owner, micros in data.get(b"charged", {}).values() if owner == tenant)
            funded = self.settler.ledger.funded(tenant, int(row.get(b"applied", b"0")))
            if funded != balance + charged:
                raise BrokenError(f"{tenant}: {funded} came in, balance {balance} + charged {charged}")
            if balance < all_held and not self.forgotten and tenant not in late:
                raise BrokenError(f"{tenant}: available is {balance - all_held}")
            self._count_minutes(tenant, tenant not in late and not self.forgotten)

    def _note_drawn(self) -> None:
        """What live calls have drawn, also while a rebuild is under way."""
        for keys in self.settler.keys.partitions:
            for member in self.server.data.get(keys.leases.encode(), ()):
                call_id = member.decode().split(" ")[0]
                call = self.server.data.get(keys.call(call_id).encode(), {})
                self.drawn[call_id] = call.get(b"drawn", b"").decode()

    def _count_minutes(self, tenant: str, within: bool) -> None:
        """Counters of pools and limits are what was used, spent and is drawn by live calls, ``within`` their totals."""
        data, due = self.server.data, Counter[str]()
        for keys in self.settler.keys.partitions:
            for member in data.get(keys.leases.encode(), ()):
                call_id, owner = member.decode().split(" ")
                if owner == tenant:
                    due.update(held_counters(self.drawn[call_id]))
        for owner, counters in data.get(b"counted", {}).values():
            if owner == tenant:
                due.update(counters)
        stored = data.get(self.settler.keys.tenant(tenant).counters.encode(), {})
        found = {name.decode(): int(much) for name, much in stored.items() if int(much)}
        if found != {name: much for name, much in due.items() if much}:
            raise BrokenError(f"{tenant} has the counters {found}, due are {due}")
        for pool in self.prices.pools[tenant] if within else ():
            minutes = sum(much for name, much in found.items() if f" {pool.name} " in name)
            if minutes > pool.total_minutes:
                raise BrokenError(f"{tenant}: {minutes} minutes of {pool}")
        for limit in self.prices.limits[tenant].spend if within else ():
            micros = sum(much for name, much in found.items() if name.startswith(f"spent {limit.scope}/"))
            if micros > limit.most_micros:
                raise BrokenError(f"{tenant}: {micros} spent of {limit}")

    def _has_late(self) -> set[str]:
        """Tenants whose talk was heard of after a sweep: only that may take available below zero (MONEY 1)."""
        charged = self.server.data.get(b"charged", {})
        return {tenant for charge_id, (tenant, _) in charged.items() if charge_id.endswith(":late")}

    def check_end(self) -> None:
        """When nothing is left to happen."""
        ledger = self.settler.ledger
        if isinstance(self.settler, RealSettler) and self.settler.drift_micros:
            raise BrokenError(f"the settler says that {self.settler.drift_micros} micros drift")
        for tenant in self.story.tenants:
            row = self.server.data[self.settler.keys.tenant(tenant).account.encode()]
            if int(row[b"balance"]) != ledger.balance(tenant):
                raise BrokenError(f"{tenant}: Redis has {int(row[b'balance'])}, the ledger {ledger.balance(tenant)}")
            if int(row.get(b"held", b"0")):
                raise BrokenError(f"{tenant} still holds {int(row[b'held'])}")
            stored = self.server.data.get(self.settler.keys.tenant(tenant).counters.encode(), {})
            found = {name.decode(): int(much) for name, much in stored.items() if int(much)}
            if found != {name: much for name, much in ledger.counters.get(tenant, {}).items() if much}:
                raise BrokenError(f"{tenant}: Redis counts {found}, the ledger {ledger.counters.get(tenant)}")
        for charge_id, charge in ledger.booked.items():
            self._check_charge(charge_id, charge)
        for call_id in {call_id for gate in self.gates for call_id in gate.proven}:
            self._check_proven(call_id)
        for plan in self.story.plans:
            self._check_legs(plan)
            self._check_talk(plan)
        leases_may_end = (self.killed and self._redis_broke()) or any(
            what == "partition" for _, what, _ in self.story.faults
        )
        if self.settler.swept and not leases_may_end:
            raise BrokenError(f"{self.settler.swept} calls were swept although their gate lives and reaches Redis")
        if self.faults:
            raise BrokenError(f"{len(self.faults)} exceptions were logged, the first: {self.faults[0]}")
        if faults := sum(gate.faults + gate.turn.faults for gate in self.gates):
            raise BrokenError(f"{faults} faults were caught in turns")
        alerts = [alert for gate in self.gates for alert in gate.alerts if alert[0] not in EXPECTED_ALERTS]
        if alerts:
            raise BrokenError(f"alerts: {alerts[:3]}")

    def _check_talk(self, plan: Plan) -> None:
        """What both had of a call is charged, to the datagram's way, where the network is good and Redis was there.

        A gate that was down may not have been able to charge all of it: then its record says how much (SIP.md 5).
        """
        caller, callee = self.pbx.ends[plan.number], self.carrier.ends.get(plan.number)
        if callee is None or callee.ended_at is None or callee.gone or caller.connected_at is None:
            return
        if self.story.weather.loss or self._redis_broke() or not plan.acknowledges:
            return
        if self._is_gone(plan) and (plan.caller_talks_s, plan.callee_talks_s) != (None, None):
            return  # a BYE that nobody heard: charged to the last proven moment (MONEY 5)
        if caller.gone and plan.gate in self.killed:
            return  # missed by the gate that adopted the call: charged to the last proven moment, as stored (MONEY 5)
        records = [decode_record(charge.record) for charge in self.settler.ledger.booked.values()]
        mine = [each for each in records if each.number == plan.number]
        if any(each.pool_minutes for each in mine):
            return  # a pool paid for part of it
        told = sum(each.charge_micros + each.uncharged_micros for each in mine)
        stood_still_s = sum(much / 4 for _, what, much in self.story.faults if what == "stall")  # and cut late by that
        talked_s = callee.ended_at - caller.connected_at - UNSEEN_S - stood_still_s
        answered_ms = max((each.answered_ms for each in mine), default=0)
        due = self.prices.due(plan.caller, answered_ms, "", int(talked_s * 1000)) if talked_s > 0 else 0
        if told < due:
            raise BrokenError(f"{plan.number} was talked on for {talked_s:.2f} s, which cost {due}, told was {told}")

    def _is_gone(self, plan: Plan) -> bool:
        """Its gate died for good."""
        return plan.gate in self.killed and any(what == "gone" for _, what, _ in self.story.faults)

    def _redis_broke(self) -> bool:
        return any(what in REDIS_FAULTS for _, what, _ in self.story.faults)

    def _check_charge(self, charge_id: str, charge: Booked) -> None:
        """The price of the talk, once: also where a sweep and a late charge share it."""
        found, micros = decode_record(charge.record), charge.micros
        if self.story.rebuilt and charge_id.endswith(LATE):
            return  # part of its call's charge
        if self.story.rebuilt and (late := self.settler.ledger.booked.get(charge_id + LATE)):
            after = decode_record(late.record)
            found.answered_ms = found.answered_ms or after.answered_ms  # the sweep may not have known of the answer
            found.talk_ms, micros = found.talk_ms + after.talk_ms, micros + late.micros
        drawn = self.drawn.get(charge_id.removesuffix(LATE), "")
        price = self._due(charge, drawn, found.talk_ms) if found.answered_ms else 0
        if charge.kind == "sweep":
            due = self._due(charge, drawn, charge.talk_s * 1000) if charge.talk_s else micros
        elif charge.kind == "late":
            swept = self.settler.ledger.booked[charge_id.removesuffix(LATE)].micros
            due = max(0, price - swept)
        else:
            due = price
        if due != micros:
            raise BrokenError(f"{charge_id} ({charge.kind}) costs {due}, booked were {micros}")

    def _due(self, charge: Booked, drawn: str, talk_ms: int) -> int:
        answered_ms = charge.answered_ms or decode_record(charge.record).answered_ms
        return self.prices.due(charge.tenant, answered_ms, drawn, talk_ms)

    def _check_proven(self, call_id: str) -> None:
        charge = self.settler.ledger.booked[call_id]
        if charge.kind == "sweep" and not charge.talk_s:
            raise BrokenError(f"{call_id} talked when its gate died, and was charged for nothing")

    def _check_legs(self, plan: Plan) -> None:
        """Where nobody vanished both ends heard the end, and nobody is left with a ringing phone.

        A process that died may have said its last word to nobody, where the network lost it, where Redis could not take
        it, or where it waited for an ACK that never came (RFC 3261 15).  A 2xx to a gate that is gone for good is heard
        by nobody: its sender gives up by itself (13.3.1.4).
        """
        caller, callee = self.pbx.ends[plan.number], self.carrier.ends.get(plan.number)
        unheard = caller.connected_at is None and self._is_gone(plan)
        doubtful = self.story.weather.loss or self._redis_broke() or not plan.acknowledges or unheard
        if plan.gate in self.killed and doubtful:
            return
        if not caller.gone and not caller.status:
            raise BrokenError(f"the caller of {plan.number} never heard an answer")
        for name, end in (("caller", caller), ("callee", callee)):
            if end is not None and not end.gone and end.connected_at is not None and end.ended_at is None:
                raise BrokenError(f"the {name} of {plan.number} is still connected")


EXPECTED_ALERTS = {"STORE_AWAY", "REDIS_ERROR", "FENCED", "OWNER_TAKEN", "NOT_ADOPTED"}


def play(seed: int, texts: dict[str, str] | None = None) -> World:
    """Play the story of a seed.  Raises BrokenError with the story in its text."""
    world = World(story_of(seed), texts)
    try:
        world.play()
    except Exception as fault:
        raise BrokenError(f"{fault}\n{world.story}\nagain: python -m tests.simulation {seed}") from fault
    return world


def mutated(old: str, new: str) -> dict[str, str]:
    """The scripts with one line broken, in every script that has it.  Raises ValueError where none does."""
    texts = {script.name: script.text.replace(old, new, 1) for script in lua.ALL if old in script.text}
    if not texts:
        raise ValueError(f"{old!r} stands in no script")
    return texts
