"""What is measured: something that stands between a calling and a called SIPp and charges for the calls.

Both subjects are given the same callers, numbers and money; the parts of the benchmark know only this much of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from loadtest.audit import HttpBooks, audit
from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.wire import Address

LOAD_TENANTS: Final = 20
"""Tenants that the load is spread over: as many accounts as a small operator has busy at once."""

LOAD_CALLERS: Final = 1_000
"""Calling numbers of the load tenants, in turn; each has credit of its own in cnxcc, which walks a credit's calls."""

RICH: Final = "5000000"
"""Money of a load tenant: never used up at one unit a second."""

DRY_TALK_S: Final = 5
"""Seconds of talk that a caller of the cut part has money for."""

DECK: Final = (
    "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n1,North America,60000000,0,1,1\n"
)
"""One unit of money a second, billed by the second: what cnxcc is told too."""


@dataclass(frozen=True, slots=True)
class Places:
    """The addresses of a benchmark's two SIPps."""

    caller: Address
    callee: Address


class Subject(Protocol):
    """A running peer; ``sip`` is where callers send INVITEs."""

    name: str
    sip: Address
    places: Places

    def pids(self) -> dict[str, list[int]]:
        """Its processes by what is told apart: ``worker``, ``settler``, ``redis`` …."""

    def wait_booked(self) -> bool:
        """Wait until every ended call is charged; whether that happened in time."""

    def books_fault(self, charged: int) -> str:
        """What is wrong with the money after ``charged`` answered calls; empty where nothing is."""


def places() -> Places:
    """Two free addresses."""
    return Places(Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port()))


def load_callers() -> list[str]:
    """The callers that have money without end."""
    return [f"+1425555{number:04d}" for number in range(LOAD_CALLERS)]


def dry_callers(count: int) -> list[str]:
    """Callers with money for :data:`DRY_TALK_S` seconds each."""
    return [f"+1206{2_000_000 + number}" for number in range(count)]


def called_numbers(first: int, count: int) -> list[str]:
    """Called numbers, each used once in a benchmark, since legs are joined by them."""
    return [f"+1212{2_000_000 + first + number}" for number in range(count)]


class GateSubject:
    """A gate with one worker, a Redis of its own and SQLite."""

    name = "callgate"

    def __init__(self, children: Children, folder: Path, where: Places, dry: int) -> None:
        self.places = where
        trunks = Trunks([str(where.caller)], [str(where.callee)], [f"sip:{where.callee}"])
        limits = "max_calls = 200000\nmax_calls_per_second = 100000"
        self.gate = Gate(children, folder / "gate", trunks, sections={"sip": limits})
        self.sip = self.gate.sip
        self._load = [f"load-{number}" for number in range(LOAD_TENANTS)]
        self._dry = [f"dry-{number}" for number in range(dry)]
        self.gate.start_redis()
        self._provision()
        self.gate.start()

    def pids(self) -> dict[str, list[int]]:
        """Worker, settler and Redis; the admin process has no part in a call."""
        found = self.gate.pids()
        return {role: found[role] for role in ("worker", "settler", "redis")}

    def wait_booked(self) -> bool:
        """Wait for the outbox to be empty."""
        return self.gate.wait_booked()

    def books_fault(self, charged: int) -> str:
        """The audit of every tenant, and as many charges as answered calls."""
        found = audit(HttpBooks(f"http://{self.gate.admin}", self.gate.token()))
        charges = sum(tenant.charges for tenant in found.tenants)
        faults = [*found.faults, *(fault for tenant in found.tenants for fault in tenant.faults)]
        if charges != charged:
            faults.append(f"{charges} charges for {charged} answered calls")
        return "; ".join(faults[:3])

    def _provision(self) -> None:
        callers = load_callers()
        tenants = [(tenant, callers[place::LOAD_TENANTS]) for place, tenant in enumerate(self._load)]
        tenants += [(tenant, [number]) for tenant, number in zip(self._dry, dry_callers(len(self._dry)), strict=True)]
        deck = '[[rate_deck]]\nname = "bench"\ncurrency = "USD"\nfile = "deck.csv"\n'
        fundings = [(tenant, RICH) for tenant in self._load] + [(tenant, f"{DRY_TALK_S}.00") for tenant in self._dry]
        self.gate.provision(deck + "".join(_tenant(*row) for row in tenants), DECK, fundings)


def _tenant(tenant: str, numbers: Sequence[str]) -> str:
    users = "".join(
        f'[[tenant.user]]\nid = "{number[1:]}@{tenant}"\nnumber = "{number}"\nusage_location = "US"\n'
        for number in numbers
    )
    return (
        f'\n[[tenant]]\nid = "{tenant}"\nname = "{tenant}"\ncountry = "US"\ncurrency = "USD"\nrate_deck = "bench"\n'
        f'mode = "prepaid"\nlicensing = "none"\n{users}'
    )


def pairs_of(callers: Sequence[str], called: Sequence[str]) -> list[tuple[str, str]]:
    """(caller, called) for each called number, callers in turn."""
    return [(callers[place % len(callers)], number) for place, number in enumerate(called)]
