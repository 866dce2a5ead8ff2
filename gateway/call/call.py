"""One call, the whole of it: two legs, one reservation, one clock, and the table that says what follows what.

The call hears events from its legs, results from the credit store and bells from its clock, looks each of them up in
:mod:`gateway.call.states`, and does what stands there.  It owns the money and the record; of SIP it knows only the two
legs.  It is settled or released exactly once, at the moment it begins to end, whatever the legs still have to wait
for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.call import adoption, announcing, records, referring
from gateway.call.called import CalledLeg
from gateway.call.caller import CallerLeg
from gateway.call.changing import Change
from gateway.call.clock import Bell, CallClock
from gateway.call.commands import Grant, Prove, Refusal, Refused, Reserve, Result, StoreAway, Written
from gateway.call.events import Acked, Answered, Failed, GaveUp, HungUp, Passed, Progress, Returned, Stopped
from gateway.call.facts import Cut, Finished, Placed, Ticked
from gateway.call.money import Reservation
from gateway.call.records import Ending, rates_told
from gateway.call.refusals import busy_until, ending_headers, far_end_status, refusal_headers, relayed_headers
from gateway.call.states import TABLE, Happening, State
from gateway.call.views import CallView
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction
from policy.reasons import REASONS, Reason, is_limit
from policy.terms import terms_of
from policy.verdict import Allow

if TYPE_CHECKING:
    from gateway.call.b2bua import B2bua
    from gateway.call.leg import Leg

ENDING_MAX_S: Final = 180.0
"""When an ending call is forgotten whatever its legs wait for: more than twice 64·T1, for the caller's ACK and for the
answer to the BYE after it, which end by themselves in any case."""

ANSWER_WAIT_S: Final = 4.0
"""How long the 200 waits for a store that says nothing at all, four times as long as the store allows itself: then it
is relayed unwritten."""

RETRY_FOR_S: Final = 0.5
"""How long after the INVITE a first tick is asked for again where the tenant's failure policy is "retry" (MONEY 8)."""

RETRY_EVERY_S: Final = 0.05
"""How often: ten times in RETRY_FOR_S, each answered at once by a store that knows Redis to be away."""

UNLIMITED_S: Final = 2**31
"""The longest emergency call: it is never cut (CONTRACT 6), only ended where a peer is dead."""


class Call:
    """One call from the INVITE that was let in to the end of both legs; ``id`` is the gate's own (SIP.md 1)."""

    __slots__ = (
        "_answer",
        "_first",
        "_left",
        "_opening",
        "_placed",
        "answered_ms",
        "called",
        "caller",
        "change",
        "clock",
        "core",
        "heard_at",
        "id",
        "instead",
        "invited_at",
        "money",
        "parted",
        "state",
        "verdict",
        "warned_until",
    )

    caller: CallerLeg
    called: CalledLeg

    def __init__(self, core: "B2bua", call_id: str, verdict: Allow, opening: str, now: float, terms: str = "") -> None:
        """A call without legs yet; ``opening`` is its record so far (gateway.call.records), ``terms`` what it may draw
        on beside the balance (policy.terms)."""
        settings = core.settings
        self.id = call_id
        self.core = core
        self.heard_at = 0.0
        """When a peer was heard inside the call last, or paid time was renewed: the talk is known to have gone on until
        then (MONEY 5)."""
        self.verdict = verdict
        self.state = State.RESERVING
        self.clock = CallClock(core.deadlines, self.ring)
        longest_s = min(verdict.max_call_s or settings.max_call_s, settings.max_call_s)
        if verdict.emergency:
            longest_s = UNLIMITED_S
        self.money = Reservation(
            call_id, verdict.tenant_id, verdict.tariff, longest_s, settings, terms, verdict.changes
        )
        self.invited_at = now
        self.answered_ms = 0
        self._answer: Answered | None = None
        self._first: Reserve | None = None
        self._placed = False
        self._left = False
        self._opening = opening
        self.instead = False
        """It stands for one that was refused for want of credit (gateway.call.announcing)."""
        self.change: Change | None = None
        """One side is about to be replaced."""
        self.parted: tuple[Leg, ...] = ()
        """Sides that another one has taken the place of."""
        self.warned_until = 0.0

    @classmethod
    def invited(cls, core: "B2bua", call_id: str, transaction: ServerTransaction, verdict: Allow, now: float) -> "Call":
        """The call of an INVITE that policy lets in."""
        request, node = transaction.request, core.settings.node
        opening = records.opening(verdict, call_id, request.call_id, node, verdict.trunk, core.wall_ms(now))
        call = cls(core, call_id, verdict, opening, now, terms_of(verdict))
        call.caller = CallerLeg(call, transaction.flow, transaction)
        call.called = CalledLeg(call, verdict.routes, transaction.flow)
        return call

    # what happens

    def happen(self, happening: Happening, event: Any, now: float) -> None:
        """Do what the table says, also at an ``event`` of a leg; what it does not name changes nothing."""
        step = _STEPS[self.state].get(happening)
        if step is None or (self.change is not None and self.change.takes(happening, event, now)):
            return
        action, self.state = step
        action(self, event, now)
        if self.state is State.OVER:
            self._leave()

    def begin(self, now: float) -> None:
        """Ask for the first tick; an emergency call does not wait for the answer (CONTRACT 6)."""
        attempt = self.called.prepare()
        adopt = adoption.unanswered(self.caller, attempt) if attempt is not None else b""
        verdict = self.verdict
        usage, wall_ms = records.so_far(self._opening), self.core.wall_ms(now)
        first = self.money.reserve(verdict.limits, adopt, usage, verdict.emergency, wall_ms)
        if verdict.failure_policy == "retry":
            self._first = first
        self.core.submit(first)
        self.clock.wait(Bell.SETUP, now + self.core.settings.target_timeout_s)
        if verdict.emergency:
            self.happen(Happening.GRANTED, None, now)

    def resume(self, now: float) -> None:
        """Go on after the worker that carried the call died (gateway.call.adopting): all clocks count from the answer.

        The store learns at once which CSeq numbers are used from here on.
        """
        money = self.money
        assert money.answered_at is not None, "only an answered call goes on"
        self.clock.wait(Bell.LONGEST, max(now, money.answered_at + money.longest_s))
        if money.next_at() <= now or money.overdue:
            self._renew(now)  # at once: the worker hears nothing before it knows
        else:
            self.clock.wait(Bell.MONEY, money.next_at())
        if not money.metered:
            self._prove_later(now)
        self.dialogs_changed(now)

    def resolve(self, result: Result, now: float) -> None:
        """The credit store answered; an emergency call does not care."""
        if self.verdict.emergency:
            return
        if isinstance(result, Grant):
            self._granted(result, now)
        elif isinstance(result, Written):
            self.happen(Happening.WRITTEN, None, now)
        elif isinstance(result, StoreAway):
            self._store_away(result, now)
        else:
            self._refused(result, now)

    def stop(self, reason: Reason, now: float) -> None:
        """End the call, in whichever state it is."""
        self.happen(Happening.STOPPED, Stopped(None, reason), now)

    def fund(self, now: float) -> None:
        """The tenant got money: a tick that was refused is asked for at once (MONEY 2)."""
        if self.money.fund(now):
            self._renew(now)

    def ring(self, bell: Bell, now: float) -> None:
        """A moment of the clock has come."""
        _RINGS[bell](self, now)

    # money

    def _granted(self, grant: Grant, now: float) -> None:
        if not self.money.grant(grant, now):
            return
        self.core.tell(Ticked("trimmed" if grant.final else "granted"))
        if self.state is State.RESERVING:
            self._first = None
            self.happen(Happening.GRANTED, None, now)
        else:
            self.clock.wait(Bell.MONEY, self.money.next_at())
            announcing.plan_warning(self, grant, now)

    def _refused(self, refusal: Refusal, now: float) -> None:
        if refusal.code == "FENCED":
            self.happen(Happening.FENCED, Stopped(None, REASONS["FENCED"]), now)
        elif self.money.refuse(refusal, now):
            if self.state is State.RESERVING and (cheaper := self.money.reserve_by_own_price()) is not None:
                self._first = cheaper if self._first is not None else None
                self.core.submit(cheaper)
                return
            self.core.tell(Ticked("refused"))
            if self.state is State.RESERVING:
                reason = REASONS.get(refusal.code, REASONS["INTERNAL"])
                self.happen(Happening.DENIED, Stopped(None, reason), now)
            else:
                self.core.thirst(self)
                self.clock.wait(Bell.MONEY, self.money.next_at())
                announcing.plan_warning(self, None, now)

    def _store_away(self, away: StoreAway, now: float) -> None:
        if self.state is State.ANSWERING:
            self.happen(Happening.STORE_AWAY, None, now)
        elif self.money.away(away, now):
            self.core.tell(Ticked("away"))
            if self.state is not State.RESERVING:
                self.clock.wait(Bell.MONEY, self.money.next_at())
            elif self._first is not None and now < self.invited_at + RETRY_FOR_S:
                self.clock.wait(Bell.MONEY, min(now + RETRY_EVERY_S, self.invited_at + RETRY_FOR_S))
            else:
                self.happen(Happening.STORE_AWAY, Stopped(None, self.money.away_reason()), now)

    def _renew(self, now: float) -> None:
        self.heard_at = now
        self.core.submit(self.money.renew(now, self.answered_ms))
        self.clock.wait(Bell.MONEY, self.money.next_at())

    def _money_bell(self, now: float) -> None:
        if self.state is State.RESERVING and self._first is not None:
            self.core.submit(self.money.ask_first_again(self._first))
        elif now >= self.money.cut_at:
            reason = self.money.cut_reason()
            dry = reason.code == "NO_CREDIT" and self.state is State.TALKING and announcing.may_redirect(self)
            self.happen(Happening.DRY if dry else Happening.STOPPED, Stopped(None, reason), now)
        else:
            self._renew(now)

    def _setup_bell(self, now: float) -> None:
        if self.state is State.RESERVING:
            self.happen(Happening.STORE_AWAY, Stopped(None, REASONS["STORE_AWAY"]), now)
        elif self.state is State.DIALLING or self.state is State.REDIRECTED:
            self.called.hear_setup_bell(now)
        elif self.change is not None:
            self.change.hear_bell(now)
        else:
            self.happen(Happening.WRITTEN, None, now)

    def _longest_bell(self, now: float) -> None:
        self.stop(REASONS["MAX_DURATION"], now)

    def _proof_bell(self, now: float) -> None:
        """Nobody pays, so no renewal refreshes the lease (MONEY 5): the proof that the call lives does."""
        self.heard_at = now
        self.core.submit(Prove(self.id, self.verdict.tenant_id, self.money.proven_s(now), None))
        self._prove_later(now)

    def _prove_later(self, now: float) -> None:
        settings = self.core.settings
        self.clock.wait(Bell.PROOF, now + (settings.ring_timeout_s + settings.lease_grace_s) / 2)

    def _caller_session_bell(self, now: float) -> None:
        self.caller.hear_session_bell(now)

    def _called_session_bell(self, now: float) -> None:
        self.called.hear_session_bell(now)

    def _warning_bell(self, now: float) -> None:
        announcing.warn(self, now)

    def _ending_bell(self, now: float) -> None:
        self.happen(Happening.CLEARED, None, now)

    # actions of the table

    def dial(self, event: None, now: float) -> None:
        """The first tick is granted: invite the called side."""
        self.called.dial(now)

    def show_progress(self, event: Progress, now: float) -> None:
        """The called side rings or plays something."""
        self.caller.progress(event, now)

    def pass_on(self, event: Passed | Returned, now: float) -> None:
        """A request inside a dialog, or its answer, goes to the other side."""
        self._other(event.leg).take(event, now)

    def write_answer(self, event: Answered, now: float) -> None:
        """Talk is paid from now on; the caller hears of it once the store has written it down."""
        money = self.money
        self._answer = event
        self.caller.choose(event.fork, event.response)
        if not money.can_begin(self.core.wall_ms(now)):  # dearer by now, and no more was there to be reserved
            self.happen(Happening.STOPPED, Stopped(None, REASONS["NO_CREDIT"]), now)
            return
        self.answered_ms = self.core.wall_ms(now)
        self.clock.wait(Bell.SETUP, now + ANSWER_WAIT_S)
        self.clock.wait(Bell.LONGEST, now + money.longest_s)
        self.core.submit(money.answer(now, self.answered_ms, self._both_sides()))
        self.clock.wait(Bell.MONEY, money.next_at())
        if self.verdict.emergency:
            self.happen(Happening.WRITTEN, None, now)

    def connect(self, event: None, now: float) -> None:
        """Relay the 200 to the caller, also where the store could not write it down (SIP.md 5)."""
        answer, self._answer = self._answer, None
        assert answer is not None
        self.caller.answer(answer, now)
        if not self.money.metered:
            self._prove_later(now)
        else:
            self.money.start(now)
            self.clock.wait(Bell.MONEY, self.money.next_at())

    def acknowledge(self, event: Acked, now: float) -> None:
        """An ACK goes on to the other side, end to end."""
        self._other(event.leg).acknowledge(event, now)

    def relay_failure(self, event: Failed, now: float) -> None:
        """No target took the call: the caller gets the last one's answer."""
        response = event.response
        if self.instead:
            self.refuse(Stopped(None, REASONS["NO_CREDIT"]), now)
            return
        contacts: list[tuple[str, str]] = []
        status = event.status
        if response is not None and status < 400:
            contacts = self.caller.contacts(response)
            status = status if contacts else 480  # a redirect to nowhere is no answer to a caller
        self._end(Ending(event.reason.code, status, "callee"), "failed", now)
        if response is None:
            own = event.reason.code != "FAR_END"
            added = refusal_headers(event.reason) if own else relayed_headers(event.status, has_reason=False)
            self.caller.refuse(event.status, None, added, now)
            return
        headers = self.caller.border.cross(response) + contacts
        if status >= 400:
            headers += relayed_headers(status, response.get("Reason") is not None)
            headers += busy_until(status, response)
        reason = response.reason if status == response.status else None
        self.caller.refuse(status, reason, headers, now, response.body)

    def give_up(self, event: GaveUp, now: float) -> None:
        """The caller does not want the call any more (RFC 3261 9.2, 15.1.2)."""
        reason = REASONS["CANCELLED"]
        self._end(Ending(reason.code, reason.sip_status, "caller"), "cancelled", now)
        try:
            self.caller.refuse(reason.sip_status, None, (), now)
        finally:
            self.called.abandon(event.headers, now)

    def refuse(self, event: Stopped | HungUp, now: float) -> None:
        """The call ends before the caller heard an answer."""
        if isinstance(event, HungUp):
            reason, status, by = REASONS["FAR_END"], far_end_status(event.headers), "callee"
        else:
            reason = REASONS["NO_CREDIT"] if self.instead else event.reason
            status, by = reason.sip_status, "gate"
        outcome = "failed" if reason.code in ("FAR_END", "NO_ANSWER") else "refused"
        self._end(Ending(reason.code, status, by), outcome, now)
        try:
            if reason.code != "NO_CREDIT" or not announcing.instead_of_refusal(self, now):
                self.caller.refuse(status, None, refusal_headers(reason), now)
        finally:
            self.called.abandon(ending_headers(reason), now)

    def hang_up_other(self, event: HungUp, now: float) -> None:
        """A side hung up: the other one gets its BYE."""
        by = "caller" if event.leg is self.caller else "callee"
        self._end(Ending("COMPLETED", 200, by), "answered", now)
        self._other(event.leg).hang_up(event.headers, now)

    def hang_up_both(self, event: Any, now: float) -> None:
        """The gate ends an answered call: the called side gets its BYE at once, the caller as soon as may be.

        A fault in the closing or in the one leg, which the turn counts, never leaves the other one talking.
        """
        reason = event.reason if isinstance(event, Stopped) else REASONS["NO_ACK"]
        paid_until = self.money.paid_until
        try:
            self._end(Ending(reason.code, 200, "gate"), "cut", now)
        finally:
            headers = ending_headers(reason)
            try:
                self.called.hang_up(headers, now)
                if now >= paid_until:
                    self.core.tell(Cut(now - paid_until))
            finally:
                self.caller.hang_up(headers, now)

    def redirect(self, event: Stopped, now: float) -> None:
        """Money is over: end the called side and the charge as at every cut, and have somebody tell the caller."""
        paid_until = self.money.paid_until
        self._end(Ending(event.reason.code, 200, "gate"), "cut", now)
        self.called.hang_up(ending_headers(event.reason), now)
        self.core.tell(Cut(now - paid_until))
        announcing.redirect(self, now)

    def offer_to_caller(self, event: Answered, now: float) -> None:
        """Who tells the caller has answered with an offer, which goes to the caller."""
        announcing.offer_to_caller(self, event.response, now)

    def part(self, event: Any, now: float) -> None:
        """The caller has heard it, or cannot: both are hung up; the money was settled before."""
        self.clock.stop()
        self.clock.wait(Bell.ENDING, now + ENDING_MAX_S)
        announcing.part(self, now)

    def drop(self, event: Stopped, now: float) -> None:
        """Another worker owns the call now: forget it without a word to anybody (SIP.md 1)."""
        self.caller.silent = self.called.silent = True
        if not self.money.closed:
            self.money.closed = True
            self.core.tell(Finished("fenced", event.reason.code, self.verdict.kind, self.verdict.trunk))

    def forget(self, event: None, now: float) -> None:
        """Both legs are done."""

    def refer(self, leg: "Leg", transaction: ServerTransaction, request: Request, now: float) -> None:
        """A side asks for the other one to be connected with somebody else."""
        referring.hear(leg, transaction, request, now)

    def replace(self, old: "Leg", new: CalledLeg) -> None:
        """``new`` takes the place of ``old`` in a call that talks, where a caller is asked for nothing that only a
        caller has (gateway.call.changing)."""
        self.parted += (old,)
        new.sit_opposite(next(iter(old.other.dialogs)))
        if old is self.caller:
            self.caller = cast(CallerLeg, new)
        else:
            self.called = new

    # the end

    def leg_cleared(self, now: float) -> None:
        """A leg has nothing left to wait for."""
        if self.state is State.ENDING and self.caller.cleared and self.called.cleared:
            self.happen(Happening.CLEARED, None, now)

    def dialogs_changed(self, now: float) -> None:
        """Let the store know how the call is to be carried on (SIP.md 5 c)."""
        if self.money.closed:
            return
        if self.money.answered_at is None:
            attempt = self.called.attempt
            assert attempt is not None
            adopt = adoption.unanswered(self.caller, attempt)
        else:
            adopt = self._both_sides()
        self.core.submit(Prove(self.id, self.verdict.tenant_id, self.money.proven_s(now), adopt))

    def _both_sides(self) -> bytes:
        return adoption.talking(self.caller, self.called, self.money.longest_s)

    def leg_proven(self, now: float) -> None:
        """A peer of an adopted call was heard: with both of them there, the talk is doubted no more; or it is proven up
        to now, where one of them could not tell us that it hung up (gateway.call.moving)."""
        if not (self.caller.unproven or self.called.unproven):
            stray = self.caller.stray or self.called.stray
            self.money.doubted_s = self.money.talk_ms(now) // 1000 if stray else None

    def _end(self, ending: Ending, outcome: str, now: float) -> None:
        """Settle or release, once; the legs may need longer.  With a dead peer talk ended when it was proven last."""
        verdict, core = self.verdict, self.core
        if is_limit(ending.reason):
            ending.limit = self.money.limit
        self.clock.stop()
        if self.state is State.ENDING:  # first, so that no fault below keeps the call for ever
            self.clock.wait(Bell.ENDING, now + ENDING_MAX_S)
        core.tell(Finished(outcome, ending.reason, verdict.kind, verdict.trunk))
        if self.caller.connected:
            self._settle(ending, self.money.proven_at(self.heard_at) if ending.reason == "DEAD_PEER" else now)
        else:
            self._release(ending, now)

    def _settle(self, ending: Ending, ended_at: float) -> None:
        money = self.money
        talk_ms = money.talk_ms(ended_at)
        (charge, billed), minutes = money.priced(talk_ms), money.minutes_used(talk_ms)
        uncharged = money.uncharged_micros(talk_ms) if ending.reason != "DEAD_PEER" else 0
        record = records.answered(
            self._opening, self._carrier(), self.answered_ms, talk_ms, billed, charge, ending, uncharged, minutes,
            rates_told(money.tariff, self.verdict.tariff),
        )  # fmt: skip
        self.core.submit(money.settle(talk_ms, charge, record))

    def _release(self, ending: Ending, now: float) -> None:
        """Never answered, as far as the caller knows: nothing is charged (SIP.md 4)."""
        money = self.money
        record = records.unanswered(self._opening, self._carrier(), self.core.wall_ms(now), ending)
        if money.refused and not self._placed:  # the first tick was refused: nothing is reserved
            money.closed = True
            self.core.submit(Refused(self.id, self.verdict.tenant_id, self.verdict.trunk, record))
        elif money.answered_at is not None:
            self.core.submit(money.settle(0, 0, record))
        else:
            self.core.submit(money.release(record))

    def _carrier(self) -> str:
        route = self.called.route
        return route.trunk if route is not None and self._placed else ""

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self.clock.stop()
            self.caller.leave()
            self.called.leave()
            for leg in self.parted:
                leg.leave()
            self.parted = ()
            self.core.unthirst(self)
            self.core.remove(self)
            self._answer = None
            del self.caller, self.called, self.clock  # they refer back: without them counting references frees all

    def placed_before(self) -> None:
        """Another process sent the INVITE to the called side, and told of it."""
        self._placed = True

    def placed(self, now: float) -> None:
        """The first INVITE to the called side is on its way."""
        if not self._placed:
            self._placed = True
            self.core.tell(Placed(now - self.invited_at))

    def _other(self, leg: "Leg") -> "Leg":
        return self.called if leg is self.caller else self.caller

    def view(self, now: float) -> CallView:
        """The call as ``callgate calls`` shows it at ``now``."""
        money, verdict = self.money, self.verdict
        talk_ms = money.talk_ms(now)
        paid_s = money.paid_s if self.answered_ms and money.metered else None
        return CallView(
            id=self.id,
            tenant=verdict.tenant_id,
            user=verdict.user_id,
            trunk=verdict.trunk,
            caller=verdict.caller,
            number=verdict.number,
            kind=verdict.kind,
            state=self.state.value,
            answered_ms=self.answered_ms,
            seconds=talk_ms // 1000,
            charged_micros=money.charge_micros(talk_ms) if self.answered_ms else 0,
            held_micros=money.held_micros,
            paid_until_ms=self.answered_ms + paid_s * 1000 if paid_s is not None else 0,
            node=self.core.settings.node,
        )


_STEPS: Final[dict[State, dict[Happening, tuple[Callable[[Call, Any, float], None], State]]]] = {
    state: {happening: (getattr(Call, action), following) for happening, (action, following) in row.items()}
    for state, row in TABLE.items()
}
"""The table with its actions bound, so that a step costs two dictionary look-ups."""

_RINGS: Final[dict[Bell, Callable[[Call, float], None]]] = {
    Bell.MONEY: Call._money_bell,
    Bell.SETUP: Call._setup_bell,
    Bell.LONGEST: Call._longest_bell,
    Bell.PROOF: Call._proof_bell,
    Bell.CALLER_SESSION: Call._caller_session_bell,
    Bell.CALLED_SESSION: Call._called_session_bell,
    Bell.ENDING: Call._ending_bell,
    Bell.WARNING: Call._warning_bell,
}
