"""What the call machine wants done with money, and what comes back: commands to the credit store and its results.

All amounts are micro-units, all talk is seconds or milliseconds since the answer, all stored moments are Unix
milliseconds.  A command is identified by its call and tick (MONEY 3): it may be carried out any number of times and
has one effect.  Who owns the call (node, slot, generation) and the partition's epoch are added by the store.  Several
are made for each call, hence plain slots; nobody changes one.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from policy.verdict import Limits
from rating.tariff import Tariff


@dataclass(slots=True)
class Reserve:
    """Ask for the first tick of a call, talk from 0 to ``end_s``, before it is dialled.

    Result: Grant, Refusal or StoreAway.

    ``tariff`` None: nobody pays; the call is only recorded and its leases counted.  Where the price may change before
    the answer it is a ceiling (rating.schedule).  ``adoption`` is what another
    process needs to carry the call on (SIP.md 5); ``usage`` the call record as far as it is known, so that a sweep
    can book the call.  ``lease_s`` is how long the lease lasts without a further command.  ``terms`` are what it may
    draw on beside the balance (policy.terms), and ``hour`` the hour in which the tick begins.
    """

    call_id: str
    tenant_id: str
    tariff: Tariff | None
    end_s: int
    lease_s: int
    limits: Limits
    adoption: bytes
    usage: bytes
    emergency: bool = False
    tick: int = 0
    terms: str = ""
    hour: str = ""


class Resolved(NamedTuple):
    """By which tariff a call is charged whose price changes while it rings or talks (rating.schedule).

    ``paid_s`` is up to when what is held for the first tick pays by it, None: as it was granted.
    """

    tariff: Tariff
    paid_s: int | None


@dataclass(slots=True)
class Answer:
    """The called side answered: written before the 200 goes to the caller.  Result: Written or StoreAway.

    ``resolved`` is None where the call is charged by what it was reserved by.
    """

    call_id: str
    tenant_id: str
    answered_unix_ms: int
    adoption: bytes
    resolved: Resolved | None = None


@dataclass(slots=True)
class Renew:
    """Ask for the next tick, talk from ``start_s`` to ``end_s``.  Result: Grant, Refusal or StoreAway.

    ``proven_s`` is the talk that is known to have happened, for the sweep (MONEY 5); ``hour`` as with Reserve.
    ``resolved`` is the Answer's, said again for a store that may not have heard it.
    """

    call_id: str
    tenant_id: str
    tick: int
    start_s: int
    end_s: int
    proven_s: int
    hour: str = ""
    resolved: Resolved | None = None


@dataclass(slots=True)
class Prove:
    """The call is known to live, or its dialogs changed: refresh lease, proven talk and adoption record.

    No result is waited for.
    """

    call_id: str
    tenant_id: str
    proven_s: int
    adoption: bytes | None


@dataclass(slots=True)
class Settle:
    """An answered call is over: take the charge, give the rest back, ``record`` to the outbox; kept until done.

    ``record`` is the finished call record as JSON (gateway.call.record).  No result is waited for.
    """

    call_id: str
    tenant_id: str
    talk_ms: int
    charge_micros: int
    record: bytes


@dataclass(slots=True)
class Release:
    """A call that was never answered is over: all goes back, ``record`` to the outbox; kept until done."""

    call_id: str
    tenant_id: str
    record: bytes


@dataclass(slots=True)
class Refused:
    """A call was refused with nothing reserved: ``record`` goes to the stream of refused calls, which may drop."""

    call_id: str
    tenant_id: str
    trunk: str
    record: bytes


Command = Reserve | Answer | Renew | Prove | Settle | Release | Refused


@dataclass(slots=True)
class Grant:
    """Talk is paid up to ``paid_s`` seconds after the answer; ``held_micros`` is held for the whole call by now.

    ``final`` is true where the tick had to be trimmed: the money ends here unless more arrives.
    ``paid_s`` is None where nobody pays.  ``drawn`` is what the call has drawn beside the balance (policy.drawn).
    """

    call_id: str
    tick: int
    paid_s: int | None
    held_micros: int
    final: bool = False
    drawn: str = ""


@dataclass(slots=True)
class Refusal:
    """The tick was not granted; ``code`` is one of policy.reasons (NO_CREDIT, LIMIT_CALLS, …, FENCED).

    ``detail`` says of a limit whose it is: its scope (policy.limits), of money with ``/hour``, ``/day`` or ``/month``.
    """

    call_id: str
    tick: int
    code: str
    detail: str = ""


@dataclass(slots=True)
class Written:
    """The store has recorded the answer of the call."""

    call_id: str


class Away(Enum):
    """Why the store gave no answer."""

    UNREACHABLE = "unreachable"
    STALE = "stale"
    CEILING = "ceiling"
    """It cannot be reached, and the talk that may go on without it is used up (MONEY 8)."""


@dataclass(slots=True)
class StoreAway:
    """The store did not carry the command out, as far as is known: not connected, timed out, or being rebuilt."""

    call_id: str
    tick: int
    cause: Away


Result = Grant | Refusal | Written | StoreAway
