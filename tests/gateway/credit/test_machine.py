"""The scripts against a plain model: any order, any repetition, two gates, restarts, epochs, money in the last moment.

Hypothesis chooses what the gates, the settler and fate do next; the model, written from MONEY 1–5 with the prices of
``rating``, says what must be answered, and after every step Redis is compared with it.  ``CALLGATE_STEPS`` sets how
many steps are run in all (default 10,000):

    CALLGATE_STEPS=100000 pytest tests/gateway/credit/test_machine.py
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.call.commands import Answer, Command, Prove, Release, Renew, Reserve, Settle
from gateway.credit import lua
from gateway.credit.kept import Live
from gateway.credit.keys import Keyspace
from gateway.credit.requests import Requests, read_tariff
from policy.verdict import Limits
from rating.tariff import Tariff, affordable_end_s, price_micros, tick_end_s

STEPS_A_RUN = 50
STEPS = int(os.environ.get("CALLGATE_STEPS", "10000"))

TENANTS = ("acme", "contoso")
TARIFFS = (
    Tariff(60_000, 0, 1, 1),
    Tariff(60_000, 5_000, 60, 60),
    Tariff(100_001, 777, 30, 6, 0, 40_000),
    Tariff(12_345, 0, 7, 13, 20),
    Tariff(0, 0, 60, 60),
    None,
)
KEPT_EARLIER = 16
LEASE_GRACE_S = 30


@dataclass
class Account:
    balance: int = 0
    held: int = 0
    applied: int = 0
    calls: int = 0
    funded: int = 0
    charged: int = 0
    overdrawn: bool = False
    """A charge that was heard late took more than was available; since then it may be below 0."""
    withdrawn: dict[str, int] = field(default_factory=dict)


@dataclass
class Talk:
    """A live call as the model knows it."""

    tenant: str
    owner: str
    generation: int
    tariff: Tariff | None
    paid: int | None
    held: int
    final: bool
    tick: int = 0
    answered: int = 0
    proven: int = 0
    expired: bool = False
    earlier: dict[int, list[Any]] = field(default_factory=dict)

    def grant(self) -> list[Any]:
        return [b"GRANT", -1 if self.paid is None else self.paid, self.held, int(self.final)]


@dataclass(frozen=True)
class Said:
    """A command as it was sent: by whom, in which generation, believing which epoch."""

    command: Any
    owner: str
    generation: int
    epoch: str


@dataclass(frozen=True)
class SweptTalk:
    """A call that was swept and has not been settled since."""

    tenant: str
    owner: str
    generation: int
    charge: int


class Model:
    """What MONEY says of each command."""

    def __init__(self) -> None:
        self.accounts = {tenant: Account() for tenant in TENANTS}
        self.live: dict[str, Talk] = {}
        self.done: dict[str, str] = {}
        self.swept: dict[str, SweptTalk] = {}
        self.outbox: list[tuple[str, str, int]] = []
        self.epoch = 1

    def answer_to(self, said: Said) -> list[Any]:
        if said.epoch != str(self.epoch):
            return [b"STALE"]
        command = said.command
        if command.call_id in self.done:
            return self._after_the_end(said)
        talk = self.live.get(command.call_id)
        if talk is None:
            return self._unknown(said)
        if talk.owner != said.owner or talk.generation > said.generation:
            return [b"FENCED"]
        act: Callable[[Talk, Said], list[Any]] = getattr(self, f"_{type(command).__name__.lower()}")
        return act(talk, said)

    def _after_the_end(self, said: Said) -> list[Any]:
        """What costs more than the sweep charged is taken once, whatever is available (MONEY 5)."""
        command = said.command
        swept = self.swept.get(command.call_id)
        if not isinstance(command, Settle) or swept is None:
            return [b"DONE"]
        if swept.owner != said.owner or swept.generation > said.generation:
            return [b"DONE"]
        del self.swept[command.call_id]
        late, account = max(0, command.charge_micros - swept.charge), self.accounts[swept.tenant]
        account.balance -= late
        account.charged += late
        account.overdrawn = account.overdrawn or account.balance < account.held
        self.done[command.call_id] = "settle"
        self.outbox.append(("late", command.call_id, late))
        return [b"CLOSED"]

    def _unknown(self, said: Said) -> list[Any]:
        command = said.command
        if isinstance(command, Reserve):
            return self._first(said, command)
        if isinstance(command, Release) or (isinstance(command, Settle) and command.charge_micros == 0):
            return self._close(command.call_id, "release" if isinstance(command, Release) else "settle", 0)
        if isinstance(command, Live):
            raise AssertionError("only what was granted is merged")
        return [b"UNKNOWN"]

    def _first(self, said: Said, command: Reserve) -> list[Any]:
        account = self.accounts[command.tenant_id]
        most = None if command.emergency else command.limits.max_calls
        alive = sum(1 for talk in self.live.values() if talk.tenant == command.tenant_id and not talk.expired)
        if most is not None and alive >= most:
            return [b"LIMIT_CALLS", b"tenant"]
        talk = Talk(command.tenant_id, said.owner, said.generation, command.tariff, None, 0, False)
        if command.tariff is not None:
            end = self._end(account, command.tariff, 0, command.end_s)
            if end is None:
                return [b"NO_CREDIT"]
            talk.paid, talk.held, talk.final = end, price_micros(command.tariff, end), end < command.end_s
        account.held += talk.held
        account.calls += 1
        self.live[command.call_id] = talk
        return talk.grant()

    def _end(self, account: Account, tariff: Tariff, start: int, end: int) -> int | None:
        if account.balance <= 0:
            return None
        return affordable_end_s(tariff, start, end, account.balance - account.held)

    def _reserve(self, talk: Talk, said: Said) -> list[Any]:
        return self._remembered(talk, 0)

    def _remembered(self, talk: Talk, tick: int) -> list[Any]:
        return talk.grant() if tick == talk.tick else talk.earlier.get(tick, talk.grant())

    def _renew(self, talk: Talk, said: Said) -> list[Any]:
        command = said.command
        if command.tick <= talk.tick:
            return self._remembered(talk, command.tick)
        before, account = (talk.tick, talk.grant()), self.accounts[talk.tenant]
        final, proven = False, max(talk.proven, command.proven_s)
        if talk.tariff is not None and talk.paid is not None:
            if command.end_s > talk.paid:
                end = self._end(account, talk.tariff, talk.paid, command.end_s)
                if end is None:
                    return [b"NO_CREDIT"]
                cost = price_micros(talk.tariff, end) - talk.held
                final, talk.paid = end < command.end_s, end
                talk.held += cost
                account.held += cost
            proven = min(proven, talk.paid)
        talk.earlier[before[0]] = before[1]
        talk.earlier.pop(before[0] - KEPT_EARLIER, None)
        talk.tick, talk.final, talk.proven, talk.expired = command.tick, final, proven, False
        talk.generation = said.generation
        return talk.grant()

    def _answer(self, talk: Talk, said: Said) -> list[Any]:
        if not talk.answered:
            talk.answered, talk.expired = said.command.answered_unix_ms, False
            talk.generation = said.generation
        return [b"WRITTEN"]

    def _prove(self, talk: Talk, said: Said) -> list[Any]:
        talk.generation = said.generation
        talk.proven = max(talk.proven, said.command.proven_s)
        if talk.paid is not None:
            talk.proven = min(talk.proven, talk.paid)
        talk.expired = False
        return [b"WRITTEN"]

    def _settle(self, talk: Talk, said: Said) -> list[Any]:
        command = said.command
        if command.charge_micros > talk.held:
            return [b"ALERT", b"CHARGE_ABOVE_HELD"]
        return self._close(command.call_id, "settle", command.charge_micros)

    def _release(self, talk: Talk, said: Said) -> list[Any]:
        return self._close(said.command.call_id, "release", 0)

    def _live(self, talk: Talk, said: Said) -> list[Any]:
        command = said.command
        talk.expired, talk.generation = False, said.generation
        if command.answered_ms:
            talk.answered = command.answered_ms
            talk.proven = max(talk.proven, command.proven_s)
            if talk.paid is not None:
                talk.proven = min(talk.proven, talk.paid)
        return [b"MERGED"]

    def _close(self, call_id: str, kind: str, charge: int) -> list[Any]:
        talk = self.live.pop(call_id, None)
        if talk is not None:
            account = self.accounts[talk.tenant]
            account.balance -= charge
            account.charged += charge
            account.held -= talk.held
            account.calls -= 1
        self.done[call_id] = kind
        self.outbox.append((kind, call_id, charge))
        return [b"CLOSED"]

    def sweep(self, call_id: str) -> list[Any]:
        talk = self.live[call_id]
        if not talk.expired:
            return [b"ALIVE"]
        charge = price_micros(talk.tariff, talk.proven) if talk.answered and talk.tariff is not None else 0
        self._close(call_id, "sweep", charge)
        self.swept[call_id] = SweptTalk(talk.tenant, talk.owner, talk.generation, charge)
        return [b"SWEPT", charge]


class Gate:
    """One worker slot: its generation rises when it is restarted, its belief in the epoch may lag."""

    def __init__(self, name: str, keys: Keyspace) -> None:
        self.name = name
        self.generation = 1
        self.epoch = "1"
        self._keys = keys

    def pack(self, said: Said) -> bytes:
        requests = Requests(self._keys, said.owner, LEASE_GRACE_S)
        requests.generation = said.generation
        kind = "merge" if isinstance(said.command, Live) else type(said.command).__name__.lower()
        packed: bytes = getattr(requests, kind)(said.command, said.epoch)
        return packed


first_ticks = st.tuples(
    st.integers(0, 1),
    st.sampled_from(TENANTS),
    st.sampled_from(TARIFFS),
    st.sampled_from((1, 30, 60)),
    st.sampled_from((None, None, None, 1, 3)),
    st.sampled_from((False, False, False, True)),
)
which_one = st.integers(0, 99)


class Machine(RuleBasedStateMachine):
    """Steps of two gates, a settler, a sweep and fate."""

    wire: Any
    redis: Any
    steps = 0

    @initialize(money=st.sampled_from((0, 3_000, 70_000, 130_000)), calls=st.lists(first_ticks, max_size=4))
    def begin(self, money: int, calls: list[Any]) -> None:
        self.redis.flushall()
        self.keys = Keyspace(1)
        self.model = Model()
        self.gates = [Gate("one/0", self.keys), Gate("two/0", self.keys)]
        self.count = 0
        self.seq = 0
        self.log: list[Said] = []
        self.partition = self.keys.partitions[0]
        self.redis.set(self.partition.epoch, "1")
        for tenant in TENANTS:
            self.money(tenant, money)
        self.reserve(calls)

    # The gates

    @rule(calls=st.lists(first_ticks, min_size=1, max_size=3))
    def reserve(self, calls: list[Any]) -> None:
        for gate, tenant, tariff, tick_s, most, emergency in calls:
            self.count += 1
            end = tick_end_s(tariff, 0, tick_s) if tariff else tick_s
            limits = Limits(max_calls=most)
            call_id = f"call-{self.count}"
            self.say(gate, Reserve(call_id, tenant, tariff, end, 60, limits, b"a", b"{}", emergency=emergency))

    @precondition(lambda self: self.model.live)
    @rule(
        which=which_one,
        ahead=st.sampled_from((1, 1, 1, 1, 2, 0, -1)),
        tick_s=st.sampled_from((1, 10, 60)),
        proven=st.integers(-20, 20),
        late_money=st.sampled_from((0, 0, 1_000, 60_000)),
    )
    def renew(self, which: int, ahead: int, tick_s: int, proven: int, late_money: int) -> None:
        call_id, talk = self.live(which)
        start = talk.paid or 0
        end = start + tick_s if talk.tariff is None else tick_end_s(talk.tariff, start, tick_s)
        tick, proven_s = max(1, talk.tick + ahead), max(0, start + proven)
        said = self.say(self.gate_of(talk), Renew(call_id, talk.tenant, tick, start, end, proven_s))
        if late_money:  # money arrives while the last tick runs: the same request is granted now, or trimmed
            self.money(talk.tenant, late_money)
            self.check(said)

    @precondition(lambda self: self.model.live)
    @rule(which=which_one, count=st.integers(2, 25))
    def talk_long(self, which: int, count: int) -> None:
        for _ in range(count):
            if len(self.model.live) == 0:
                return
            self.renew(which, 1, 1, 0, 0)

    @precondition(lambda self: self.model.live)
    @rule(which=which_one, answered=st.booleans(), proven=st.integers(0, 200))
    def answer_or_prove(self, which: int, answered: bool, proven: int) -> None:
        call_id, talk = self.live(which)
        gate = self.gate_of(talk)
        if answered:
            self.say(gate, Answer(call_id, talk.tenant, 1_700_000_000_000 + proven, b"b"))
        else:
            self.say(gate, Prove(call_id, talk.tenant, proven, b"c" if proven % 2 else None))

    @precondition(lambda self: self.model.live)
    @rule(which=which_one, part=st.floats(0, 1), released=st.sampled_from((False, False, True)))
    def end(self, which: int, part: float, released: bool) -> None:
        call_id, talk = self.live(which)
        charge = 0
        if talk.tariff is not None and talk.paid is not None:
            charge = price_micros(talk.tariff, int(part * talk.paid))
        gate = self.gate_of(talk)
        if released:
            self.say(gate, Release(call_id, talk.tenant, b"{}"))
        else:
            self.say(gate, Settle(call_id, talk.tenant, 0, charge, b"{}"))

    @rule(which=which_one)
    def repeat(self, which: int) -> None:
        if self.log:
            self.check(self.log[which * len(self.log) // 100])

    @precondition(lambda self: self.model.live)
    @rule(which=which_one)
    def say_again_what_was_granted(self, which: int) -> None:
        call_id, talk = self.live(which)
        reserve = Reserve(call_id, talk.tenant, talk.tariff, 0, 60, Limits(), b"a", b"{}")
        known = Live(reserve, talk.paid, talk.held, talk.final)
        known.tick, known.answered_ms, known.proven_s = talk.tick, talk.answered, talk.proven
        self.say(self.gate_of(talk), known)

    @precondition(lambda self: self.model.live)
    @rule(which=which_one, act=st.sampled_from(("settle", "release", "renew", "prove", "answer", "too much")))
    def a_wrong_step(self, which: int, act: str) -> None:
        """The other gate meddles with a call, or more is charged than is held."""
        call_id, talk = self.live(which)
        commands: dict[str, Command] = {
            "settle": Settle(call_id, talk.tenant, 0, 0, b"{}"),
            "release": Release(call_id, talk.tenant, b"{}"),
            "renew": Renew(call_id, talk.tenant, talk.tick + 1, 0, 10_000, 0),
            "prove": Prove(call_id, talk.tenant, 0, None),
            "answer": Answer(call_id, talk.tenant, 1, b""),
            "too much": Settle(call_id, talk.tenant, 0, talk.held + 1, b"{}"),
        }
        gate = self.gate_of(talk)
        self.say(gate if act == "too much" else 1 - gate, commands[act])

    @rule(tenant=st.sampled_from(TENANTS), act=st.sampled_from(("settle", "settle free", "renew", "release")))
    def a_call_that_nobody_knows(self, tenant: str, act: str) -> None:
        self.count += 1
        call_id = f"call-{self.count}"
        commands: dict[str, Command] = {
            "settle": Settle(call_id, tenant, 0, 1, b"{}"),
            "settle free": Settle(call_id, tenant, 0, 0, b"{}"),
            "renew": Renew(call_id, tenant, 1, 0, 10_000, 0),
            "release": Release(call_id, tenant, b"{}"),
        }
        self.say(0, commands[act])
        if act == "release":  # its reservation comes late
            self.say(0, Reserve(call_id, tenant, TARIFFS[0], 60, 60, Limits(), b"", b""))

    @rule(gate=st.integers(0, 1), older=st.booleans())
    def restart_a_gate(self, gate: int, older: bool) -> None:
        """A slot starts again, or an older start of it, stopped meanwhile, wakes."""
        restarted = self.gates[gate]
        restarted.generation = max(1, restarted.generation + (-1 if older else 1))

    # The settler and the sweep

    @rule(tenant=st.sampled_from(TENANTS), amount=st.sampled_from((0, 1, 999, 60_000, 250_000)))
    def fund(self, tenant: str, amount: int) -> None:
        self.money(tenant, amount)
        account = self.model.accounts[tenant]
        again = self.call(lua.FUND, [self.account(tenant)], [account.applied, 77])
        assert again == [b"REPEATED", account.balance, account.held]

    @rule(tenant=st.sampled_from(TENANTS), amount=st.sampled_from((1, 5_000, 10**7)), exact=st.booleans())
    def withdraw(self, tenant: str, amount: int, exact: bool) -> None:
        account = self.model.accounts[tenant]
        reference = f"{tenant}-out-{self.seq}-{self.model.epoch}"  # a rebuild forgets the older ones
        taken = account.withdrawn.get(reference)
        if taken is None:
            taken = max(0, min(amount, account.balance - account.held))
            taken = 0 if exact and taken < amount else taken
            if taken:
                account.withdrawn[reference] = taken
                account.balance -= taken
                self.model.outbox.append(("withdraw", reference, taken))
        places = [self.account(tenant), self.partition.withdrawal(reference), self.partition.outbox]
        reply = self.call(lua.WITHDRAW, places, [f"{reference} {tenant}", amount, int(exact), b"{}"])
        assert reply == [b"TAKEN", taken, account.balance, self.model.epoch]

    @precondition(lambda self: self.model.live)
    @rule(which=which_one, due=st.booleans(), swept=st.booleans())
    def sweep(self, which: int, due: bool, swept: bool) -> None:
        call_id, talk = self.live(which)
        keys, member = self.partition, f"{call_id} {talk.tenant}"
        if due:
            talk.expired = True
            self.redis.zadd(keys.leases, {member: 1})
        if swept:
            tenant = self.keys.tenant(talk.tenant)
            places = [tenant.account, keys.call(call_id), keys.leases, keys.outbox, keys.opened, tenant.counters]
            expected = self.model.sweep(call_id)
            assert self.call(lua.SWEEP, places, [member, 0]) == expected

    @precondition(lambda self: self.model.swept)
    @rule(which=which_one, charge=st.sampled_from((0, 1, 60_000, 300_000)), own=st.sampled_from((True, True, False)))
    def hear_of_a_swept_call(self, which: int, charge: int, own: bool) -> None:
        call_id = sorted(self.model.swept)[which % len(self.model.swept)]
        swept = self.model.swept[call_id]
        gate = int((swept.owner == "two/0") == own)
        self.say(gate, Settle(call_id, swept.tenant, 0, charge, b"{}"))

    # Epochs

    @rule(heard=st.booleans())
    def epoch_changes(self, heard: bool) -> None:
        """One gate hears of the new epoch, the other goes on as before until it hears of it too."""
        believed = str(self.model.epoch)
        if not heard:
            self.model.epoch += 1
            keys = [self.partition.epoch, self.partition.opened]
            assert self.wire.call(lua.OPEN_EPOCH, keys, [believed, str(self.model.epoch)]) == [b"OPENED"]
            assert self.wire.call(lua.OPEN_EPOCH, keys, [believed, "99"]) == [b"STALE"]
            self.gates[0].epoch = str(self.model.epoch)
        else:
            self.gates[1].epoch = believed

    # What holds at every instant

    @invariant()
    def redis_is_the_model(self) -> None:
        type(self).steps += 1
        live: dict[str, int] = dict.fromkeys(TENANTS, 0)
        for talk in self.model.live.values():
            live[talk.tenant] += talk.held
        for tenant, account in self.model.accounts.items():
            stored = self.redis.hmget(self.account(tenant), "balance", "held", "calls", "applied")
            assert [int(value or 0) for value in stored] == [
                account.balance, account.held, account.calls, account.applied,
            ]  # fmt: skip
            assert account.held == live[tenant]
            assert account.balance - account.held >= 0 or account.overdrawn
            assert account.funded == account.balance + account.charged + sum(account.withdrawn.values())
        assert self.redis.zcard(self.partition.leases) == len(self.model.live)
        assert self.redis.xlen(self.partition.outbox) == len(self.model.outbox)

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for call_id, talk in self.model.live.items():
            stored = self.redis.hgetall(self.partition.call(call_id))
            assert int(stored["held"]) == talk.held
            assert int(stored["tick"]) == talk.tick
            assert stored["paid_s"] == ("" if talk.paid is None else str(talk.paid))
            assert int(stored.get("proven_s", 0)) == talk.proven
            assert int(stored["gen"]) == talk.generation
            assert read_tariff(stored["tariff"]) == talk.tariff
        for call_id, kind in self.model.done.items():
            marker = self.redis.hgetall(self.partition.call(call_id))
            assert marker.pop("done") == kind
            assert (int(marker["charge"]) == self.model.swept[call_id].charge) if kind == "sweep" else marker == {}
        entries = self.redis.xrange(self.partition.outbox)
        said = [(each["kind"], each["call"].split(" ")[0], int(each["charge"])) for _, each in entries]
        assert said == self.model.outbox

    # Means

    def say(self, gate: int, command: Command | Live) -> Said:
        owner = self.gates[gate]
        said = Said(command, owner.name, owner.generation, owner.epoch)
        self.check(said)
        if not isinstance(command, Live):
            self.log.append(said)
        return said

    def check(self, said: Said) -> None:
        expected = self.model.answer_to(said)
        reply = self.wire.ask(self.gates[0].pack(said))
        assert reply[:4] == expected, (said, reply, expected)
        if reply[0] == b"GRANT" and len(reply) > 5:  # a new one tells what was seen of the account
            account = self.model.accounts[said.command.tenant_id]
            assert reply[4:] == [b"", account.balance - account.held, account.calls], (said, reply, account)

    def live(self, which: int) -> tuple[str, Talk]:
        call_id = sorted(self.model.live)[which % len(self.model.live)]
        return call_id, self.model.live[call_id]

    def gate_of(self, talk: Talk) -> int:
        return int(talk.owner == "two/0")

    def account(self, tenant: str) -> str:
        return self.keys.tenant(tenant).account

    def call(self, script: lua.Script, keys: list[str], args: list[Any]) -> Any:
        return self.wire.call(script, [self.partition.epoch, *keys], [str(self.model.epoch), *args])

    def money(self, tenant: str, amount: int) -> None:
        self.seq += 1
        account = self.model.accounts[tenant]
        account.balance += amount
        account.funded += amount
        account.applied = self.seq
        reply = self.call(lua.FUND, [self.account(tenant)], [self.seq, amount])
        assert reply == [b"APPLIED", account.balance, account.held]


def test_scripts_do_as_the_model_says(shared_server: Any, open_wire: Any) -> None:
    wire = open_wire(shared_server)
    with shared_server.client() as redis:
        machine = type("Machine", (Machine,), {"wire": wire, "redis": redis})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=STEPS // (STEPS_A_RUN * 3 // 5) + 1,  # a run may end early
                stateful_step_count=STEPS_A_RUN,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert machine.steps >= STEPS
