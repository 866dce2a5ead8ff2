"""Mistakes made on purpose: lines of the credit path broken one at a time, each of which the simulation must notice.

``SCRIPTS`` replaces text in the Lua scripts, ``WORKER`` a method of the worker.  A check that cannot fail is none, and
this is how the simulation's own checks are checked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from gateway.call.adoption import StoredCall
from gateway.call.b2bua import B2bua
from gateway.call.caller import CallerLeg
from gateway.call.money import Reservation
from gateway.credit.heirs import Heirs
from gateway.credit.kept import Keeper
from gateway.credit.retelling import Retelling
from gateway.credit.standing import Standing
from gateway.credit.succession import Holder
from tests.simulation.world import BrokenError, mutated, play

SEEDS_MAX: Final = 1_000
"""Seeds played until a mistake counts as unnoticed."""

SCRIPTS: Final = {
    "the charge does not leave the balance": ("'balance', whole(balance - charge)", "'balance', whole(balance)"),
    "what is left over is not given back": ("'held', whole(all_held - held),", "'held', whole(all_held),"),
    "a first tick may be had twice": ("tonumber(ARGV[6]), balance, held, 0)", "tonumber(ARGV[6]), balance, 0, 0)"),
    "a next tick looks past what others hold": ("      all_held, held)", "      0, held)"),
    "a tick costs the whole call again": (
        "local cost = math.max(0, price(known, money_end) - call_held)", "local cost = price(known, money_end)"
    ),
    "a change of the rate splits an increment": (
        "begin = round_up(tariff.first, found[#found], beyond)", "begin = math.max(tariff.first, beyond)"
    ),
    "minutes of a tick are not held": ("count(counters, 'held ' .. source, (end_s - start_s) / 60)", ""),
    "minutes that were used are not counted": ("    count(counters, 'used ' .. source, more)\n", ""),
    "what a limit counts is not given back": ("count(counters, 'spent ' .. spent.bucket, sign * spent.micros)", ""),
    "a rebuild forgets minutes and limits": ("  redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1])\n", ""),
    "a tick is not held": ("    redis.call('HSET', KEYS[2], 'held', whole(all_held + cost))\n", ""),
    "a call that is over leaves no marker": ("  redis.call('HSET', KEYS[3], 'done', kind)\n", ""),
    "a call that is over keeps its lease": ("    redis.call('ZREM', KEYS[4], member)\n", ""),
    "money in is applied as often as it is said": (
        "if tonumber(ARGV[2]) <= tonumber(account[3] or 0) then", "if false then"
    ),
    "a call that is said again is held twice": (
        "all_held = all_held + held - (counted and tonumber(call[5]) or 0)", "all_held = all_held + held"
    ),
    "the sweep charges a micro too much": (
        "charge = price(money_tariff(read_tariff(call[3]), parts), money_s)",
        "charge = price(money_tariff(read_tariff(call[3]), parts), money_s) + 1",
    ),
    "talk heard of after a sweep is free": ("if late > 0 then", "if false then"),
    "a process that was replaced may still charge": ("or tonumber(generation) > tonumber(ARGV[3])", ""),
    "a rebuild forgets what live calls hold": ("'held', ARGV[3], 'calls'", "'held', '0', 'calls'"),
    "a rebuild leaves no marker of what is booked": ("  redis.call('HSET', KEYS[3], 'done', 'booked')\n", ""),
    "a rebuild applies money in again": ("'applied', ARGV[5])\nreturn", "'applied', '0')\nreturn"),
    "an answer is not written": ("'answered_ms', ARGV[5], 'clock_ms',", "'clock_ms',"),
}  # fmt: skip


def uncapped(self: Reservation, ended_at: float) -> int:
    """Talk without its end at paid-until."""
    return 0 if self.answered_at is None else max(0, int((ended_at - self.answered_at) * 1000))


def acknowledged_anyway(self: Retelling, kept: Any, reply: Any, seconds: float) -> None:
    """A charge is let go whatever Redis says, or does not say."""
    self._keeper.acknowledge(kept, 0.0)


def adopts_nothing(self: B2bua, stored: StoredCall, now: float) -> bool:
    """As if no record could be read."""
    return False


async def finds_nobody(self: Heirs, *_: object) -> list[Holder]:
    """As if every claim were fresh."""
    return []


WORKER: Final[dict[str, tuple[type, str, Callable[..., Any]]]] = {
    "a late BYE is billed beyond what was held": (Reservation, "talk_ms", uncapped),
    "the end of paid time rings no bell": (Reservation, "next_at", lambda self: self._next_ask),
    "a cut reaches one leg": (CallerLeg, "hang_up", lambda self, headers, now: None),
    "a charge that Redis lost is not said again": (Keeper, "unsay", lambda self, kept: None),
    "calls of a gate that is gone are not taken over": (Heirs, "_look", finds_nobody),
    "calls of the last process are not adopted": (B2bua, "adopt", adopts_nothing),
    "a process that was replaced meanwhile speaks": (Standing, "is_sure", lambda self, now: True),
    "a charge without an answer counts as taken": (Retelling, "_on_kept", acknowledged_anyway),
}


@contextmanager
def made(name: str) -> Iterator[dict[str, str] | None]:
    """The mistake of that name is made; the scripts as they are then, None where they are as ever."""
    if name in SCRIPTS:
        yield mutated(*SCRIPTS[name])
        return
    owner, method, instead = WORKER[name]
    with patch.object(owner, method, instead):
        yield None


def notice(name: str) -> tuple[int, str]:
    """The first seed that notices a mistake, and what it says; raises AssertionError where none does."""
    with made(name) as texts:
        for seed in range(SEEDS_MAX):
            try:
                play(seed, texts)
            except BrokenError as broken:
                return seed, str(broken)
    raise AssertionError(f"no seed below {SEEDS_MAX} noticed that {name}")
