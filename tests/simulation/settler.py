"""The settler of a simulation: the same orders of MONEY 4 and 5 over a ledger that is a few dictionaries.

Money in is written into the ledger first and then applied by its number; charges are booked by their id, announced,
and only then trimmed; leases that ran out are swept.  It may be away, and it may die between any two of these steps.
"""

import random
from collections.abc import Callable

from gateway.credit import lua
from gateway.credit.keys import DOUBTFUL_KEY, Keyspace
from gateway.credit.streams import LATE, MARKER_S
from gateway.credit.views import SaidCharge
from gateway.ledger import BookedCharge
from gateway.settlement.rebuild import Findings, judge
from policy.drawn import read_minutes, read_spent
from tests.simulation.books import Booked, SimLedger
from tests.simulation.gate import PARTITIONS, UNIX_START_S
from tests.simulation.loop import VirtualLoop
from tests.simulation.redis import SimRedis

TURN_S = 0.5
SWEEP_QUIET_S = 30.0


class SimSettler:
    """Books, funds and sweeps; ``tell_booked`` and ``tell_funded`` reach the workers that live."""

    def __init__(
        self,
        loop: VirtualLoop,
        dice: random.Random,
        server: SimRedis,
        tenants: list[str],
        tell_booked: Callable[[list[str]], None],
        tell_funded: Callable[[str], None],
    ) -> None:
        self._loop, self._dice, self._server = loop, dice, server
        self._tell_booked, self._tell_funded = tell_booked, tell_funded
        self.keys = Keyspace(PARTITIONS)
        self.ledger = SimLedger().open(tenants)
        self.away = False
        self.reaches_redis = True
        self.swept = 0
        self._run_id = self._server.run_id
        self._quiet_until_s = 0.0

    def prepare(self) -> None:
        """Make an empty Redis ready."""
        data = self._server.data
        data[b"cg:partitions"] = b"%d" % PARTITIONS
        for keys in self.keys.partitions:
            data[keys.epoch.encode()] = b"1"
            data[keys.opened.encode()] = b"%d" % int(UNIX_START_S * 1000)
        for tenant in self.ledger.money_in:
            keys = self.keys.tenant(tenant)
            self._server.run(lua.CREATE, [keys.partition.epoch, keys.account], ["1", 0, 0])
        self._loop.call_soon(self._turn)

    def fund(self, tenant: str, micros: int) -> None:
        """Money comes in: the ledger knows it at once, Redis as soon as it can."""
        self.ledger.fund(tenant, micros)
        if self._reaches():
            self._apply(tenant)

    def _reaches(self) -> bool:
        if self.reaches_redis:
            return True
        self._quiet_until_s = self._loop.time() + SWEEP_QUIET_S
        return False

    def _turn(self) -> None:
        self._loop.call_later(TURN_S, self._turn)
        if self.away or not self._reaches():
            return
        if self._server.run_id != self._run_id:
            self._run_id = self._server.run_id
            self._quiet_until_s = self._loop.time() + SWEEP_QUIET_S
        for tenant in self.ledger.money_in:
            self._apply(tenant)
        self._book()
        self._judge()
        if self._loop.time() >= self._quiet_until_s:
            self._sweep()

    def _apply(self, tenant: str) -> None:
        """Say to Redis what it has not applied yet, in rising order."""
        keys = self.keys.tenant(tenant)
        applied = int(self._server.data[keys.account.encode()].get(b"applied", b"0"))
        for number, micros in self.ledger.money_in[tenant]:
            if number > applied or self._dice.random() < 0.05:  # it died before it knew that this was applied
                self._server.run(lua.FUND, [keys.partition.epoch, keys.account], ["1", number, micros])
                self._loop.call_later(0.01, self._tell_funded, tenant)

    def _book(self) -> None:
        for keys in self.keys.partitions:
            stream = self._server.data.get(keys.outbox.encode(), [])
            if not stream:
                continue
            waiting = list(stream)
            if self._dice.random() < 0.1:
                waiting = waiting[: self._dice.randint(0, len(waiting))]
            for _, entry in waiting:
                call_id, tenant = entry[b"call"].decode().split(" ")
                kind = entry[b"kind"].decode()
                charge_id = call_id + LATE if kind == "late" else call_id
                talk_s = int(entry.get(b"talk_s", b"0"))
                answered_ms = int(entry.get(b"answered_ms", b"0"))
                charge = Booked(tenant, int(entry[b"charge"]), entry[b"record"], kind, talk_s, answered_ms)
                if self.ledger.charge(charge_id, charge):
                    minutes, spent = (entry.get(name, b"").decode() for name in (b"pools", b"spent"))
                    self.ledger.count(tenant, read_minutes(minutes), read_spent(spent))
            if self._dice.random() < 0.1:
                continue  # it died after the commit: everything is read again
            call_ids = [entry[b"call"].decode().split(" ")[0] for _, entry in waiting]
            self._loop.call_later(0.02, self._tell_booked, call_ids)
            if self._dice.random() >= 0.1:  # or after it told the workers
                del stream[: len(waiting)]

    def _judge(self) -> None:
        """Charges that workers said late: in the ledger, or to be taken (gateway.settlement.rebuild.judge_late)."""
        doubtful, ledger = self._server.data.pop(DOUBTFUL_KEY.encode(), {}), self.ledger
        if not doubtful:
            return
        said = [
            SaidCharge(keys.number, *member.decode().split(" "), int(charge))
            for keys in self.keys.partitions
            for member, charge in self._server.data.get(keys.said.encode(), {}).items()
        ]
        booked = {
            charge_id: BookedCharge(charge.micros, charge.talk_s * 1000) for charge_id, charge in ledger.booked.items()
        }
        verdict = judge(Findings((), said, booked))
        for call in verdict.over:
            places, member = self._places(call.call_id, call.tenant_id), f"{call.call_id} {call.tenant_id}"
            done = "sweep" if call.swept else "booked"
            self._server.run(lua.MARK, places, ["1", member, done, call.charge_micros, call.talk_s, MARKER_S])
        for charge in verdict.cleared:
            epoch, _, call_key, _, said_key = self._places(charge.call_id, charge.tenant_id)
            member = f"{charge.call_id} {charge.tenant_id}"
            self._server.run(lua.CLEAR, [epoch, call_key, said_key], ["1", 1, member, MARKER_S])

    def _places(self, call_id: str, tenant: str) -> list[str]:
        keys = self.keys.tenant(tenant)
        partition = keys.partition
        return [partition.epoch, keys.account, partition.call(call_id), partition.leases, partition.said, keys.counters]

    def _sweep(self) -> None:
        now_ms = int((UNIX_START_S + self._loop.time()) * 1000)
        for keys in self.keys.partitions:
            leases = self._server.data.get(keys.leases.encode(), {})
            for member in [member for member, until in leases.items() if until <= now_ms]:
                call_id, tenant = member.decode().split(" ")
                mine, call_key = self.keys.tenant(tenant), keys.call(call_id)
                places = [
                    keys.epoch, mine.account, call_key, keys.leases, keys.outbox, keys.opened, mine.counters,
                ]  # fmt: skip
                reply = self._server.run(lua.SWEEP, places, ["1", member, 0])
                assert reply[0] != b"ALERT", f"the sweep of {call_id} met {reply}"
                self.swept += reply[0] == b"SWEPT"
