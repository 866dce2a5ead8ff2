"""The credit side of one call (MONEY 2 to 5): what is reserved, up to when talk is paid, what it costs in the end.

A reservation asks for the first tick before anything is dialled.  From the answer on it asks for the next tick a lead
time before paid time ends.  A refusal is not the end: the same tick is asked for again when the tenant is funded and
50 ms before the end, because money that arrives in the last second keeps the call up.  A store that does not answer
is asked again at a bounded rate.  Whatever is asked or pending, talk ends at paid-until to the instant.

The charge is the price of the talk between the called side's answer and the first BYE, or paid-until where that comes
first, so it never exceeds what is held.  A reservation is closed exactly once, by Settle or by Release; a tick that is
granted after that is given back by the same command, since it covers all ticks of the call.

Minutes of pools pay before money does, where policy names any: the store says with each grant what the call has drawn
(policy.drawn), and the charge is the price of the talk that money paid, as of one call of its own.

Where the price changes while a call may ring or talk, the first tick is reserved by a ceiling and the answer fixes the
tariff to the call's end (rating.schedule): what is held is then looked at anew, and the store told with the answer.
Where money does not reach for the ceiling the INVITE's own price is reserved: most calls are answered by it.  One that
is answered by a dearer price, whose first increment is not held, does not begin (:meth:`Reservation.can_begin`).

Calls that nobody pays for (emergency, on-net, free numbers) have no paid-until and are never cut for credit.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final

from gateway.call.adoption import StoredCall
from gateway.call.commands import Answer, Away, Grant, Refusal, Release, Renew, Reserve, Resolved, Settle, StoreAway
from gateway.call.settings import CallSettings
from policy.drawn import Minutes, end_money, has_minutes, minutes_used, money_ms, money_s, money_tariff
from policy.reasons import REASONS, Reason, is_limit
from policy.terms import has_pools, hour_of
from policy.verdict import Limits
from rating.schedule import Change, ceiling, resolve
from rating.tariff import (
    MS_PER_S,
    Tariff,
    affordable_end_s,
    billed_s,
    boundary_after,
    charge_micros,
    tick_end_s,
)

LAST_ASK_S: Final = 0.05
"""How long before the end a refused tick is asked for a last time (MONEY 2): two orders above a round trip to Redis."""

AWAY_ASK_S: Final = 0.25
"""How long to wait before asking a store again that gave no answer: four times a second for each call in its lead
time bounds what a dead Redis costs, and leaves several tries before paid time ends."""

_FLOOR_SLACK_MS: Final = 1e-4
"""Added before milliseconds are floored: the difference of two floats may fall a rounding error short of a whole."""


_TOO_DEAR: Final = frozenset({"NO_CREDIT", "LIMIT_SPEND"})
"""Refusals that a lower price may not meet."""

OVERDUE_WAIT_S: Final = 4.0
"""How long a call that talked beyond its paid time while no gate was up waits for the store's word on those ticks: four
times as long as the store allows itself for an answer, then it is cut as one that was refused."""


class Reservation:
    """What is reserved for one call; moments are monotonic seconds, talk counts from the answer.

    ``metered`` is whether anybody pays: ``tariff`` prices what money pays, None where only pools do by the ``terms``.
    It is in seconds of the call's talk; where ``changes`` follow it at the INVITE, the answer's from there on.
    ``paid_s`` is the talk paid for, None where nobody pays; ``paid_until`` the moment it ends, ``inf`` before the
    answer.  ``refused`` is the code of a refusal that still stands, ``limit`` whose limit the last one was.
    ``doubted_s`` is not None while it is not known whether the talk of a call that was adopted went on beyond so many
    seconds.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_ceiled",
        "_ceiling",
        "_changes",
        "_granted",
        "_latest_ms",
        "_next_ask",
        "_overdue_until",
        "_reserved",
        "_resolved",
        "_settings",
        "_talked_ms",
        "answered_at",
        "call_id",
        "closed",
        "doubted_s",
        "drawn",
        "held_micros",
        "limit",
        "longest_s",
        "metered",
        "paid_s",
        "paid_until",
        "refused",
        "tariff",
        "tenant_id",
        "terms",
        "tick",
    )

    def __init__(
        self,
        call_id: str,
        tenant_id: str,
        tariff: Tariff | None,
        longest_s: int,
        settings: CallSettings,
        terms: str = "",
        changes: Sequence[Change] = (),
    ) -> None:
        self.call_id = call_id
        self.tenant_id = tenant_id
        self.tariff = tariff
        self.longest_s = longest_s
        self.terms = terms
        self.drawn = ""
        self.metered = tariff is not None or has_pools(terms)
        self._settings = settings
        self._changes = changes
        self._latest_ms = 0
        self._reserved = tariff
        self._ceiled: Reserve | None = None
        """The first tick as it was asked for by the ceiling, until the store has said something to it."""
        self._resolved: Resolved | None = None
        self.tick = 0
        self.paid_s: int | None = None
        self.held_micros = 0
        self.answered_at: float | None = None
        self.paid_until = inf
        self.refused = ""
        self.limit = ""
        self.closed = False
        self.doubted_s: int | None = None
        self._overdue_until = -inf
        self._talked_ms = 0
        self._asked = False
        self._again = False
        self._ceiling = False
        self._granted = -1
        self._next_ask = inf

    # before the answer

    def reserve(self, limits: Limits, adoption: bytes, usage: bytes, emergency: bool, now_ms: int = 0) -> Reserve:
        """Ask for the first tick, at ``now_ms`` (Unix milliseconds).

        The lease outlasts the longest setup by its grace, so that no sweep takes a ringing call.
        """
        settings = self._settings
        lease_s = int(settings.ring_timeout_s) + settings.lease_grace_s
        if self.tariff is not None and self._changes:
            self._latest_ms = now_ms + lease_s * MS_PER_S
            self._reserved = ceiling(self.tariff, self._changes, self._latest_ms, settings.tick_s)
        tariff = self._reserved
        self._asked = True
        first = Reserve(
            call_id=self.call_id,
            tenant_id=self.tenant_id,
            tariff=tariff,
            end_s=tick_end_s(tariff, 0, settings.tick_s) if tariff else settings.tick_s,
            lease_s=lease_s,
            limits=limits,
            adoption=adoption,
            usage=usage,
            emergency=emergency,
            terms=self.terms,
            hour=hour_of(self.terms, now_ms),
        )
        self._ceiled = first if tariff != self.tariff else None
        return first

    def reserve_by_own_price(self) -> Reserve | None:
        """After a refusal of the first tick by the ceiling: the same by the INVITE's own price, else None.

        A refusal leaves no trace in the store, so this is one more question of the same call.
        """
        first, self._ceiled = self._ceiled, None
        tariff = self.tariff
        if first is None or tariff is None or self.refused not in _TOO_DEAR:
            return None
        self._reserved, self._asked, self.refused = tariff, True, ""
        return replace(first, tariff=tariff, end_s=tick_end_s(tariff, 0, self._settings.tick_s))

    def can_begin(self, unix_ms: int) -> bool:
        """Whether what is held pays for the first increment of the price in effect at an answer at ``unix_ms``.

        Never False of what was reserved by the ceiling.
        """
        if not self._changes or self.tariff is None or self.paid_s is None or has_minutes(self.drawn):
            return True
        tariff = self._tariff_at(self.tariff, unix_ms)
        return affordable_end_s(tariff, 0, tick_end_s(tariff, 0, self._settings.tick_s), self.held_micros) is not None

    def ask_first_again(self, first: Reserve) -> Reserve:
        """The store gave no answer to ``first``: the same tick again, which is one request to it (MONEY 3)."""
        self._asked = True
        return first

    def answer(self, now: float, unix_ms: int, adoption: bytes) -> Answer:
        """The called side answered at ``now``: talk is paid from here on."""
        self.answered_at = now
        if self._changes and self.tariff is not None:
            self._resolve(self.tariff, unix_ms)
        if self.metered and self.paid_s is not None:
            self.paid_until = now + self.paid_s
        return Answer(self.call_id, self.tenant_id, unix_ms, adoption, self._resolved)

    def _resolve(self, tariff: Tariff, unix_ms: int) -> None:
        """Fix the tariff, and how far what is held pays by it; a clock that was set while it rang changes no more than
        that the answer counts as the latest that the ceiling is for."""
        self.tariff = tariff = self._tariff_at(tariff, unix_ms)
        if tariff == self._reserved:
            return
        paid_s = None
        if self.paid_s is not None and not has_minutes(self.drawn):
            end_s = tick_end_s(tariff, 0, self._settings.tick_s)
            paid_s = affordable_end_s(tariff, 0, end_s, self.held_micros)
            assert paid_s is not None, "can_begin was asked first"
            self.paid_s, self.drawn = paid_s, end_money(self.drawn, paid_s)
        self._resolved = Resolved(tariff, paid_s)

    def _tariff_at(self, tariff: Tariff, unix_ms: int) -> Tariff:
        return resolve(tariff, self._changes, min(unix_ms, self._latest_ms), self.longest_s)

    # taken over from another process

    def resume(self, stored: StoredCall, answered_at: float, now: float) -> None:
        """Go on where the store stands, with a call that was answered at ``answered_at``.

        Ticks that elapsed meanwhile are asked for first, all at once; only a refusal cuts (MONEY 5).
        """
        self.answered_at = answered_at
        self.tariff = stored.tariff
        self.tick = self._granted = stored.tick
        self.held_micros = stored.held_micros
        self.doubted_s = stored.proven_s
        self.drawn = stored.drawn
        if not self.metered or stored.paid_s is None:
            return
        self._pay_until(stored.paid_s, now)
        if self.paid_until <= now:
            self._talked_ms = int((now - answered_at) * 1000)
            if stored.paid_s < self.longest_s:
                self._overdue_until = now + OVERDUE_WAIT_S

    @property
    def asks(self) -> bool:
        """A tick is being asked for."""
        return self._asked

    @property
    def overdue(self) -> bool:
        """Talk beyond paid time is being asked for, and the store has not said yet whether it is granted."""
        return self._overdue_until > -inf

    def uncharged_micros(self, talk_ms: int) -> int:
        """What talk cost that was had while no gate was up and is not charged; ``talk_ms`` is what is."""
        if not self._talked_ms:
            return 0
        return max(0, self.charge_micros(self._talked_ms) - self.charge_micros(talk_ms))

    # results of the store

    def grant(self, grant: Grant, now: float) -> bool:
        """The tick asked for was granted; False where it is another one than that, repeated or late."""
        if not self._asked or grant.tick != self.tick:
            return False
        was_overdue, self._overdue_until = self.overdue, -inf
        self._asked = self._again = False
        self._granted = grant.tick
        self._ceiled = None
        self.refused = ""
        self.held_micros = grant.held_micros
        if grant.drawn:
            self.drawn = grant.drawn
        if self.metered and grant.paid_s is not None:
            self._pay_until(grant.paid_s, now)
            if was_overdue and self.paid_until <= now:  # as much as could be paid, and it is over already
                self.refused = "NO_CREDIT"
        return True

    def refuse(self, refusal: Refusal, now: float) -> bool:
        """The tick asked for was refused; False where it is another one.  It is asked for again (module text)."""
        if not self._asked or refusal.tick != self.tick:
            return False
        self._asked = False
        self._overdue_until = -inf
        self.refused, self.limit = refusal.code, refusal.detail
        last = self.paid_until - LAST_ASK_S
        self._next_ask = now if self._again else last if now < last else inf
        self._again = False
        return True

    def away(self, away: StoreAway, now: float) -> bool:
        """The store gave no answer; False where its tick is not waited for.  It is asked again soon."""
        if not self._asked or away.tick != self.tick:
            return False
        self._asked = False
        self._next_ask = now + AWAY_ASK_S
        self._ceiling = away.cause is Away.CEILING
        return True

    def away_reason(self) -> Reason:
        """Why nothing is granted while the store gives no answer."""
        return REASONS["FAILURE_CEILING" if self._ceiling else "STORE_AWAY"]

    def fund(self, now: float) -> bool:
        """The tenant got money: True where a refused tick is to be asked for at once.

        A tick that is being asked for may meet the account before the money does: its refusal will be doubted once.
        """
        if self.closed or not self.metered or now >= self.paid_until:
            return False
        if self._asked:
            self._again = True
            return False
        return bool(self.refused)

    # the course of talk

    def start(self, now: float) -> None:
        """The caller has heard the answer: ticks are renewed from now on, but none beyond the longest call."""
        if self.metered and self.paid_s is not None and self.paid_s < self.longest_s:
            self._next_ask = max(now, self.paid_until - self._settings.lead_s)

    def next_at(self) -> float:
        """When to look at the reservation again: to ask for a tick or to end the call; ``inf``: never."""
        return min(self._next_ask, self.cut_at)

    @property
    def cut_at(self) -> float:
        """When the call is cut for want of credit: at paid-until, or once the store has said no to what is overdue."""
        return self.paid_until if self.paid_until > self._overdue_until else self._overdue_until

    def renew(self, now: float, answered_ms: int = 0) -> Renew:
        """Ask for the tick after the last one granted; asked for again it is the same tick to the store (MONEY 3).

        ``answered_ms`` is the answer's Unix time: a tick counts in the hour and the month in which it begins.
        """
        assert self.metered
        assert self.paid_s is not None
        self.tick = self._granted + 1
        self._asked = True
        self._next_ask = inf
        tick_s = self._settings.tick_s
        if self.overdue:
            tick_s += max(0, -(-self._talked_ms // 1000) - self.paid_s)
        hour = hour_of(self.terms, answered_ms + self.paid_s * MS_PER_S)
        end_s = self._tick_end_s(tick_s)
        proven_s = self.proven_s(now)
        return Renew(self.call_id, self.tenant_id, self.tick, self.paid_s, end_s, proven_s, hour, self._resolved)

    def _tick_end_s(self, tick_s: int) -> int:
        """The end of an increment of what money pays; whole minutes of a pool are the store's to draw.

        Talk that is overdue is asked for at once, also beyond a change of the rate.
        """
        assert self.paid_s is not None
        tariff = self._money_tariff
        if tariff is None:
            return self.paid_s + tick_s
        money = money_s(self.drawn, self.paid_s)
        end_s = boundary_after(tariff, money + tick_s - 1) if self.overdue else tick_end_s(tariff, money, tick_s)
        return self.paid_s - money + end_s

    @property
    def _money_tariff(self) -> Tariff | None:
        """The tariff in seconds of the talk that money pays."""
        return money_tariff(self.tariff, self.drawn)

    def proven_s(self, now: float) -> int:
        """Whole seconds of talk that are known to have happened by ``now``, never beyond paid-until (MONEY 5)."""
        return self.talk_ms(now) // 1000 if self.doubted_s is None else self.doubted_s

    def proven_at(self, heard_at: float) -> float:
        """The last proven moment: the answer, or ``heard_at`` if later, unless nobody was heard since the adoption."""
        if self.answered_at is None:
            return heard_at
        if self.doubted_s is None:
            return max(self.answered_at, heard_at)
        return self.answered_at + self.doubted_s

    def talk_ms(self, ended_at: float) -> int:
        """Talk up to ``ended_at`` in whole milliseconds, floored (SIP.md 3); 0 without an answer.

        Talk ends at paid-until and at the longest call's end even where the deadline or a BYE came later.
        """
        if self.answered_at is None:
            return 0
        most_s = self.longest_s if self.paid_s is None else min(self.paid_s, self.longest_s)
        if ended_at >= self.answered_at + most_s:
            return most_s * 1000
        return max(0, int((ended_at - self.answered_at) * 1000 + _FLOOR_SLACK_MS))

    def charge_micros(self, talk_ms: int) -> int:
        """What ``talk_ms`` of this call costs in micro-units."""
        return self.priced(talk_ms)[0]

    def priced(self, talk_ms: int) -> tuple[int, int]:
        """What ``talk_ms`` of this call costs in micro-units, and for how many seconds of it money is charged."""
        paid_ms, tariff = money_ms(self.drawn, talk_ms), self._money_tariff
        if tariff is None or paid_ms is None:
            return 0, 0
        return charge_micros(tariff, paid_ms), billed_s(tariff, paid_ms)

    def minutes_used(self, talk_ms: int) -> list[Minutes]:
        """Minutes of pools that were used by it."""
        return minutes_used(self.drawn, talk_ms) if self.drawn else []

    def cut_reason(self) -> Reason:
        """Why talk ends at paid-until: want of credit, a limit, or a store that did not answer."""
        if self.paid_s is not None and self.paid_s >= self.longest_s:
            return REASONS["MAX_DURATION"]
        if is_limit(self.refused):
            return REASONS["LIMIT_REACHED"]
        if self.refused:
            return REASONS.get(self.refused, REASONS["NO_CREDIT"])
        return self.away_reason()

    # the end, once

    def settle(self, talk_ms: int, charge: int, record: bytes) -> Settle:
        """Take the charge and give the rest back."""
        self._close()
        return Settle(self.call_id, self.tenant_id, talk_ms, charge, record)

    def release(self, record: bytes) -> Release:
        """Give everything back: the call was never answered."""
        self._close()
        return Release(self.call_id, self.tenant_id, record)

    def _close(self) -> None:
        assert not self.closed, "a reservation is settled or released once"
        self.closed = True
        self._asked = False  # an answer that is still to come means nothing any more
        self._overdue_until = -inf
        self._next_ask = self.paid_until = inf

    def _pay_until(self, paid_s: int, now: float) -> None:
        self.paid_s = paid_s
        if self.answered_at is not None:
            self.paid_until = self.answered_at + paid_s
            self.start(now)
