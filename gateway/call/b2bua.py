"""The B2BUA: all calls of one worker, between the SIP endpoint, the credit store and the clock.

It is told what happened (:meth:`B2bua.handle`, :meth:`B2bua.resolve`, and deadlines that fire), and leaves behind what
is to be done: SIP in the endpoint's output, commands for the store in :meth:`B2bua.take_commands`, facts for
telemetry in :meth:`B2bua.take_facts`.  It reads no clock and makes no names: the moment, fresh ids and policy's
decision are handed in.

A request inside a dialog is found by its To-tag, which is a tag of ours and therefore unique; what is not found gets
481.  Answers are found by the owner of their transaction.  A 2xx that belongs to nothing any more is acknowledged and
ended, so that no phone stays off the hook.

What is done to many calls at once (money that arrives, the end of a drain) is done to each by itself: what one of them
raises is a bug, which goes to ``on_fault``, and the others have their turn as if nothing had been.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from gateway.call import adopting, records, replacing
from gateway.call.adoption import StoredCall
from gateway.call.borders import Borders
from gateway.call.call import Call
from gateway.call.caller import CallerLeg
from gateway.call.carry import Carry
from gateway.call.commands import Command, Refused, Result
from gateway.call.facts import Fact, Finished
from gateway.call.leg import Leg
from gateway.call.records import Ending
from gateway.call.referring import DECLINED
from gateway.call.refusals import refusal_headers
from gateway.call.session_timer import TOO_SMALL, too_small
from gateway.call.settings import CallSettings
from gateway.call.states import State
from gateway.call.targets import hop_of
from gateway.call.views import CallView
from gateway.sip.deadlines import Deadlines, OnFault, let_it_rise
from gateway.sip.dialog import Dialog
from gateway.sip.digest import Challenge
from gateway.sip.endpoint import Endpoint
from gateway.sip.events import (
    LOOP,
    AckArrived,
    AckMissing,
    CancelArrived,
    Event,
    Flow,
    InviteArrived,
    RequestArrived,
    RequestFailed,
    ResponseArrived,
    StrayAnswer,
)
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction
from policy.reasons import REASONS, Reason
from policy.verdict import Allow, Deny, Verdict

UNANSWERED: Final = frozenset({State.RESERVING, State.DIALLING, State.ANSWERING})


EARLY_MAX: Final = 1000
"""Requests kept that came before their calls were adopted, which is a matter of milliseconds unless Redis is away; then
it is ten seconds of 100 calls a second ending, and what is above gets 481."""


class B2bua:
    """All calls of one worker.

    ``decide`` is asked once for each initial INVITE: request, where it came from, now.  ``wall_ms`` turns a monotonic
    moment into Unix milliseconds.  ``new_token`` gives a fresh word for tags, ``new_call_id`` a fresh UUID for a call.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        deadlines: Deadlines,
        decide: Callable[[Request, Flow, float], Verdict | Challenge],
        settings: CallSettings,
        wall_ms: Callable[[float], int],
        new_token: Callable[[], str],
        new_call_id: Callable[[], str],
    ) -> None:
        self.endpoint = endpoint
        self.deadlines = deadlines
        self.settings = settings
        self.borders = Borders(settings.terms, endpoint.identity)
        self.wall_ms = wall_ms
        self.new_token = new_token
        self.legs: dict[str, Leg] = {}
        """Legs by the tags the gate gave them."""
        self.on_fault: OnFault = let_it_rise
        """Hears what one of many calls raised."""
        self.hear_register: Callable[[ServerTransaction, Request, float], None] | None = None
        """Who answers a REGISTER, which the endpoint lets through only where there is somebody."""
        self.draining = False
        self._decide = decide
        self.new_call_id = new_call_id
        self._calls: dict[str, Call] = {}
        self._emergencies: dict[str, Call] = {}
        """Those of them that are emergency calls: few, so that what is asked of them never looks through all calls."""
        self._thirsty: dict[str, dict[str, Call]] = {}
        self._early: deque[InviteArrived | RequestArrived | StrayAnswer] | None = None
        self._probe_at = 0.0
        self._commands: list[Command] = []
        self._facts: list[Fact] = []

    def __len__(self) -> int:
        """Calls that are not over, those that only wait for the answer to a BYE included."""
        return len(self._calls)

    def ordinary_calls(self) -> int:
        """As ``len``, without emergency calls."""
        return len(self._calls) - len(self._emergencies)

    # what happens

    def handle(self, event: Event, now: float) -> None:
        """One event of the endpoint."""
        _HANDLED[type(event)](self, event, now)

    def resolve(self, result: Result, now: float) -> None:
        """One answer of the credit store; answers for calls that are over mean nothing (settle covers them)."""
        call = self._calls.get(result.call_id)
        if call is not None:
            call.resolve(result, now)

    def adopt(self, stored: StoredCall, now: float) -> bool:
        """Go on with a call of the worker that was here before (SIP.md 5); False where what is stored cannot be read.

        One that talks is then left to the sweep; one that was unanswered is released all the same.
        """
        if stored.call_id in self._calls:
            return True
        try:
            call = adopting.rebuild(self, stored, now)
        except ValueError:
            if not stored.answered_ms:
                adopting.give_back(self, stored, now)
            return False
        self._calls[call.id] = call
        if call.verdict.emergency:
            self._emergencies[call.id] = call
        self._probe_at = max(now, self._probe_at + adopting.PROBE_EVERY_S)
        adopting.go_on(call, now, self._probe_at)
        return True

    def expect_adoption(self) -> None:
        """Calls may yet be adopted: requests in dialogs that are not known wait for :meth:`end_adoption`."""
        self._early = deque()

    def end_adoption(self, now: float) -> None:
        """Every call that was left is adopted: what waited for it is heard now."""
        early, self._early = self._early, None
        for event in early or ():
            self.handle(event, now)

    def may_know(self, tag: str) -> bool:
        """Whether a leg of a live call has this tag from the gate; of one that is yet to be adopted nobody knows."""
        return tag in self.legs or self._early is not None

    @property
    def asks(self) -> bool:
        """A call waits for the store's word on a tick."""
        return any(call.money.asks for call in self._calls.values())

    def hang_up(self, call_id: str, now: float) -> bool:
        """End a live call on an operator's wish; False where there is none of that id."""
        call = self._calls.get(call_id)
        if call is None or call.state is State.ENDING:
            return False
        call.stop(REASONS["HUNG_UP"], now)
        return True

    def funded(self, tenant_id: str, now: float) -> None:
        """Money arrived for a tenant: its calls whose tick was refused ask again (MONEY 2)."""
        self._each(list(self._thirsty.get(tenant_id, {}).values()), Call.fund, now)

    def drain(self, now: float) -> None:
        """Take no new calls but emergency ones (SIP.md 5), and say so to who asks by OPTIONS (RFC 3261 11.2)."""
        self.draining = True
        self.endpoint.available_status = REASONS["DRAINING"].sip_status

    def end_unanswered(self, now: float) -> None:
        """Refuse with 503 what has not been answered, but emergency calls, which no drain ends (CONTRACT 6)."""
        self._stop([call for call in self._ordinary() if call.state in UNANSWERED], now)

    def cut_ordinary(self, now: float) -> None:
        """End every call, for ``serve --cut-on-drain``, but emergency calls, which are never cut (CONTRACT 6)."""
        self._stop(self._ordinary(), now)

    def unanswered_emergencies(self) -> int:
        """Emergency calls that nobody has answered yet: a drain waits for them (SIP.md 5)."""
        return sum(call.state in UNANSWERED for call in self._emergencies.values())

    def end_emergencies(self, now: float) -> None:
        """Refuse with 503 the emergency calls that still ring when the process goes, so that their callers may try
        another way; silence would keep them waiting for an answer that cannot come."""
        self._stop([call for call in self._emergencies.values() if call.state in UNANSWERED], now)

    def _ordinary(self) -> list[Call]:
        return [call for call in self._calls.values() if not call.verdict.emergency]

    def _stop(self, calls: list[Call], now: float) -> None:
        self._each(calls, lambda call, at: call.stop(REASONS["DRAINING"], at), now)

    def _each(self, calls: list[Call], act: Callable[[Call, float], None], now: float) -> None:
        """Do something to each of several calls; one that raises keeps no other from it."""
        for call in calls:
            try:
                act(call, now)
            except Exception as fault:
                self.on_fault(fault, now)

    # what is to be done, and what is known

    def take_commands(self) -> list[Command]:
        """Commands for the credit store since the last call, in order."""
        commands = self._commands
        if commands:
            self._commands = []
        return commands

    def take_facts(self) -> list[Fact]:
        """Facts for telemetry since the last call."""
        facts = self._facts
        if facts:
            self._facts = []
        return facts

    def view(self, call_id: str, now: float) -> CallView | None:
        """One live call at ``now``; None where it is over."""
        call = self._calls.get(call_id)
        return None if call is None else call.view(now)

    def calls(self, now: float) -> Iterator[CallView]:
        """Every live call as it stands at ``now``."""
        return (call.view(now) for call in self._calls.values())

    def census(self) -> dict[tuple[str, str], int]:
        """Live calls by trunk and state, for ``calls_active``."""
        counted: dict[tuple[str, str], int] = {}
        for call in self._calls.values():
            key = (call.verdict.trunk, call.state.value)
            counted[key] = counted.get(key, 0) + 1
        return counted

    # for calls and legs

    def submit(self, command: Command) -> None:
        """Have the credit store carry a command out."""
        self._commands.append(command)

    def tell(self, fact: Fact) -> None:
        """Tell telemetry."""
        self._facts.append(fact)

    def thirst(self, call: Call) -> None:
        """A tick of the call was refused: wake it when its tenant is funded."""
        self._thirsty.setdefault(call.verdict.tenant_id, {})[call.id] = call

    def unthirst(self, call: Call) -> None:
        """The call needs no more ticks."""
        waiting = self._thirsty.get(call.verdict.tenant_id)
        if waiting is not None and waiting.pop(call.id, None) is not None and not waiting:
            del self._thirsty[call.verdict.tenant_id]

    def remove(self, call: Call) -> None:
        """The call is over."""
        self._calls.pop(call.id, None)
        if call.verdict.emergency:
            self._emergencies.pop(call.id, None)

    # events of the endpoint

    def _invite(self, event: InviteArrived, now: float) -> None:
        transaction, request = event.transaction, event.request
        if request.to.tag:
            self._request(event, now)
            return
        self.endpoint.respond(transaction, 100, now=now)
        if transaction.flow.transport == LOOP and request.get("Replaces"):
            replacing.hear(self, transaction, request, now)
            return
        verdict = self._decide(request, transaction.flow, now)
        if isinstance(verdict, Deny):
            self._refuse(transaction, verdict, now)
        elif isinstance(verdict, Challenge):  # no call yet, and none refused: the peer asks again with credentials
            self.endpoint.respond(transaction, 401, headers=verdict.headers, now=now)
        elif self.draining and not verdict.emergency:
            self._refuse(transaction, denied(verdict, REASONS["DRAINING"]), now)
        elif self.settings.session_expires_s and not verdict.emergency and too_small(request):
            self.endpoint.respond(transaction, 422, headers=TOO_SMALL, now=now)
        else:
            self.place(transaction, verdict, False, now)

    def place(self, transaction: ServerTransaction, verdict: Allow, instead: bool, now: float) -> None:
        """Begin a call; ``instead`` of one that was refused for want of credit."""
        call_id = self.new_call_id()
        call = self._calls[call_id] = Call.invited(self, call_id, transaction, verdict, now)
        call.instead = instead
        if verdict.emergency:
            self._emergencies[call_id] = call
        call.begin(now)

    def _refuse(self, transaction: ServerTransaction, verdict: Deny, now: float) -> None:
        """Refuse before anything was reserved; the record of it may be dropped (MONEY 4)."""
        reason, invited_ms = verdict.reason, self.wall_ms(now)
        self.endpoint.respond(transaction, reason.sip_status, headers=refusal_headers(reason), now=now)
        self.tell(Finished("refused", reason.code, verdict.kind, verdict.trunk))
        call_id = self.new_call_id()
        opening = records.opening(
            verdict, call_id, transaction.request.call_id, self.settings.node, verdict.trunk, invited_ms
        )
        record = records.unanswered(opening, "", invited_ms, Ending(reason.code, reason.sip_status, "gate"))
        self.submit(Refused(call_id, verdict.tenant_id, verdict.trunk, record))

    def _request(self, event: InviteArrived | RequestArrived, now: float) -> None:
        """A request inside a dialog: whose it is its To-tag tells (RFC 3261 12.2.2)."""
        request = event.request
        if self.hear_register is not None and request.method == "REGISTER":
            self.hear_register(event.transaction, request, now)
            return
        leg = self.legs.get(request.to.tag)
        fork = leg.fork_of(request) if leg is not None else None
        if request.method == "REFER" and not request.to.tag:  # nobody is there to be transferred
            self.endpoint.respond(event.transaction, 603, headers=DECLINED, now=now)
        elif leg is None or fork is None:
            if not self._waits(event):
                self.endpoint.respond(event.transaction, 481, now=now)
        else:
            leg.hear_request(event.transaction, request, fork, now)

    def _waits(self, event: InviteArrived | RequestArrived | StrayAnswer) -> bool:
        """Keep what may belong to a call that is still to be adopted; a peer that repeats it is not answered twice."""
        if self._early is None or len(self._early) >= EARLY_MAX:
            return False
        self._early.append(event)
        return True

    def _ack(self, event: AckArrived, now: float) -> None:
        leg = self.legs.get(event.request.to.tag)
        if leg is not None and leg.fork_of(event.request) is not None:
            leg.hear_ack(event.request, now)

    def _cancel(self, event: CancelArrived, now: float) -> None:
        owner = event.transaction.owner
        if isinstance(owner, CallerLeg):
            owner.hear_cancel(event.request, now)
        elif isinstance(owner, Carry) and owner.far is not None:
            owner.far.cancel(owner, now)

    def _response(self, event: ResponseArrived, now: float) -> None:
        owner = event.transaction.owner
        if owner is not None:
            owner.heard(event.response, now)

    def _failure(self, event: RequestFailed, now: float) -> None:
        owner = event.transaction.owner
        if owner is not None:
            owner.failed(event.timeout, now)

    def _ack_missing(self, event: AckMissing, now: float) -> None:
        owner = event.transaction.owner
        if isinstance(owner, CallerLeg):
            owner.hear_ack_missing(event.transaction, now)
        elif isinstance(owner, Carry):
            owner.leg.hear_ack_missing(event.transaction, now)

    def _stray(self, event: StrayAnswer, now: float) -> None:
        """A 2xx to an INVITE that nobody knows any more: acknowledge it and end its dialog (SIP.md 4)."""
        response = event.response
        leg, contact = self.legs.get(response.from_.tag), response.contact
        if contact is None or (leg is not None and leg.hear_again(response)) or self._waits(event):
            return
        dialog = Dialog.as_client(response, contact.uri)
        flow = hop_of(dialog, event.flow)
        self.endpoint.ack(dialog.ack(response.cseq[0]), flow)
        self.endpoint.request_in(dialog.request("BYE"), flow, now=now)


def denied(verdict: Any, reason: Reason) -> Deny:
    """The refusal of a call that policy would let in, with what is known of it."""
    return Deny(
        reason,
        tenant_id=verdict.tenant_id,
        user_id=verdict.user_id,
        currency=verdict.currency,
        kind=verdict.kind,
        caller=verdict.caller,
        dialled=verdict.dialled,
        number=verdict.number,
        destination=verdict.destination,
        trunk=verdict.trunk,
    )


_HANDLED: Final[dict[type, Callable[[B2bua, Any, float], None]]] = {
    InviteArrived: B2bua._invite,
    RequestArrived: B2bua._request,
    AckArrived: B2bua._ack,
    CancelArrived: B2bua._cancel,
    ResponseArrived: B2bua._response,
    RequestFailed: B2bua._failure,
    AckMissing: B2bua._ack_missing,
    StrayAnswer: B2bua._stray,
}
