"""The credit store as a plain model: balances, reservations and markers in dicts, results in the next turn.

It prices with ``rating`` as Redis' scripts do, and asserts what must always hold: a call is settled or released once,
a charge never exceeds what is held, available never falls below zero.  Pools and limits are tests.gateway.drawing's.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from gateway.call.adoption import StoredCall
from gateway.call.commands import (
    Answer,
    Away,
    Command,
    Grant,
    Prove,
    Refusal,
    Refused,
    Release,
    Renew,
    Reserve,
    Resolved,
    Result,
    Settle,
    StoreAway,
    Written,
)
from policy.drawn import end_money
from rating.tariff import Tariff, affordable_end_s, price_micros
from tests.gateway.drawing import Tenant, draw


@dataclass
class Held:
    """One reservation."""

    tenant_id: str
    tariff: Tariff | None
    paid_s: int | None
    micros: int
    tick: int = 0
    answered: bool = False
    terms: str = ""
    drawn: str = ""


@dataclass
class Store:
    """``balances`` by tenant; ``away`` makes it silent to Reserve, Answer and Renew, ``slow`` keeps results back."""

    balances: dict[str, int]
    held: dict[str, Held] = field(default_factory=dict)
    closed: dict[str, Settle | Release] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    proven: list[Prove] = field(default_factory=list)
    away: bool = False
    slow: bool = False
    deny: str = ""
    fenced: bool = False
    counters: Counter[str] = field(default_factory=Counter)
    """Of pools and limits, by their fields in the store."""
    _ready: deque[Result] = field(default_factory=deque)

    def submit(self, command: Command) -> None:
        self.commands.append(command)
        if isinstance(command, Settle):
            self._close(command, command.charge_micros)
        elif isinstance(command, Release):
            self._close(command, 0)
        elif isinstance(command, Refused):
            self.refused.append(command)
        elif isinstance(command, Prove):
            self.proven.append(command)
        else:
            self._ready.append(self._answer(command))

    def live(self, proven_s: int = 0) -> list[StoredCall]:
        """What stands in the store of calls that are not closed; ``proven_s`` is what was proven of each."""
        first = {command.call_id: command for command in self.commands if isinstance(command, Reserve)}
        answers = {command.call_id: command for command in self.commands if isinstance(command, Answer)}
        latest = {
            command.call_id: command.adoption
            for command in self.commands
            if isinstance(command, Reserve | Answer | Prove) and command.adoption is not None
        }
        return [
            StoredCall(
                call_id, held.tenant_id, held.tick, held.paid_s, held.micros, False, held.tariff, 210,
                answers[call_id].answered_unix_ms if call_id in answers else 0, proven_s, first[call_id].usage,
                latest[call_id], terms=held.terms, drawn=held.drawn,
            )
            for call_id, held in self.held.items()
        ]  # fmt: skip

    def results(self) -> list[Result]:
        if self.slow:
            return []
        results, self._ready = list(self._ready), deque()
        return results

    def available(self, tenant_id: str) -> int:
        return self.balances[tenant_id] - sum(h.micros for h in self.held.values() if h.tenant_id == tenant_id)

    def count(self, kind: type) -> int:
        return sum(isinstance(command, kind) for command in self.commands)

    def _answer(self, command: Reserve | Answer | Renew) -> Result:
        tick = 0 if isinstance(command, Answer) else command.tick
        if self.away:
            return StoreAway(command.call_id, tick, Away.UNREACHABLE)
        if self.fenced:
            return Refusal(command.call_id, tick, "FENCED")
        if isinstance(command, Answer):
            if command.call_id in self.held:
                self.held[command.call_id].answered = True
                self._resolve(self.held[command.call_id], command.resolved)
            return Written(command.call_id)
        if isinstance(command, Reserve):
            return self._reserve(command)
        return self._renew(command)

    def _reserve(self, command: Reserve) -> Result:
        assert command.call_id not in self.held
        if command.call_id in self.closed:
            return Refusal(command.call_id, 0, "NO_CREDIT")
        if self.deny and not command.emergency:
            return Refusal(command.call_id, 0, self.deny)
        if command.terms:
            held = Held(command.tenant_id, command.tariff, 0, 0, terms=command.terms)
            return self._draw(held, command)
        if command.tariff is None:
            self.held[command.call_id] = Held(command.tenant_id, None, None, 0)
            return Grant(command.call_id, 0, None, 0)
        end_s = affordable_end_s(command.tariff, 0, command.end_s, self.available(command.tenant_id))
        if end_s is None or self.balances[command.tenant_id] <= 0:
            return Refusal(command.call_id, 0, "NO_CREDIT")
        micros = price_micros(command.tariff, end_s)
        self.held[command.call_id] = Held(command.tenant_id, command.tariff, end_s, micros)
        return Grant(command.call_id, 0, end_s, micros, final=end_s < command.end_s)

    @staticmethod
    def _resolve(held: Held, resolved: Resolved | None) -> None:
        """The answer fixed the tariff; said again it changes nothing."""
        if resolved is not None and resolved.tariff != held.tariff:
            held.tariff = resolved.tariff
            if resolved.paid_s is not None and held.tick == 0:
                held.paid_s, held.drawn = resolved.paid_s, end_money(held.drawn, resolved.paid_s)

    def _renew(self, command: Renew) -> Result:
        held = self.held[command.call_id]
        self._resolve(held, command.resolved)
        assert held.paid_s is not None
        if command.tick <= held.tick:
            return Grant(command.call_id, command.tick, held.paid_s, held.micros, drawn=held.drawn)
        if held.terms:
            return self._draw(held, command)
        assert held.tariff is not None
        assert command.start_s == held.paid_s, "a tick begins where the last one ended"
        budget = self.available(held.tenant_id) + held.micros - price_micros(held.tariff, held.paid_s)
        end_s = None if self.deny else affordable_end_s(held.tariff, held.paid_s, command.end_s, budget)
        if end_s is None:
            return Refusal(command.call_id, command.tick, self.deny or "NO_CREDIT")
        held.tick, held.paid_s, held.micros = command.tick, end_s, max(held.micros, price_micros(held.tariff, end_s))
        assert self.available(held.tenant_id) >= 0, "available never falls below zero"
        return Grant(command.call_id, command.tick, end_s, held.micros, final=end_s < command.end_s)

    def _draw(self, held: Held, command: Reserve | Renew) -> Result:
        """A tick of a call that may draw on more than the balance."""
        holding = sum(each.micros for each in self.held.values() if each.tenant_id == held.tenant_id)
        tenant = Tenant(self.balances[held.tenant_id], holding, self.counters)
        assert held.paid_s is not None
        start = held.paid_s, command.end_s, held.micros
        tick = tenant.tick(held.tariff, held.terms, command.hour, held.drawn, *start)
        if isinstance(tick, str):
            code, _, scope = tick.partition(" ")
            return Refusal(command.call_id, command.tick, code, scope)
        tenant.hold(held.drawn, -1)
        held.drawn = draw(held.drawn, held.terms, command.hour, tick)
        tenant.hold(held.drawn)
        held.tick, held.paid_s, held.micros = command.tick, tick.end_s, held.micros + tick.cost
        self.held[command.call_id] = held
        return Grant(command.call_id, command.tick, tick.end_s, held.micros, tick.trimmed, held.drawn)

    def _close(self, command: Settle | Release, charge: int) -> None:
        assert command.call_id not in self.closed, "a call is settled or released once"
        self.closed[command.call_id] = command
        held = self.held.pop(command.call_id, None)
        if held is not None:
            assert 0 <= charge <= held.micros, f"charge {charge} of {held.micros} held"
            self.balances[held.tenant_id] -= charge
            tenant = Tenant(0, 0, self.counters)
            tenant.hold(held.drawn, -1)
            tenant.end(held.drawn, command.talk_ms if isinstance(command, Settle) else 0, charge)
        else:
            assert charge == 0 or self.away, "nothing was held for this charge"
