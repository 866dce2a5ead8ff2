"""One side of a call: its dialogs, the requests inside them, its session timer and its end.

A leg speaks SIP with its peer and call events with the call, and knows nothing of the other leg.  What is common to
both sides stands here: a request of the peer inside a dialog is answered by the gate where it concerns this leg alone
(BYE, OPTIONS, a session refresh without a body) and passed on otherwise; what comes from the other side is sent to
the peer and its answer returned.  Offers are never in flight in both directions of one leg: the later one gets 491,
a second one in the same direction 500 (RFC 3261 14.2, RFC 3311 5.2).

A leg ends once.  Whoever began it, every request of the peer that was still open gets 487 (RFC 3261 15.1.2), and the
leg is *cleared* when its own BYE is answered or in vain, or the peer's BYE came.
"""

from typing import TYPE_CHECKING, ClassVar, Final

from gateway.call import moving
from gateway.call.adoption import Side
from gateway.call.asking import OFFERS, Asking, send_in
from gateway.call.borders import Border
from gateway.call.carry import Carry, Farewell, Owner, Upkeep
from gateway.call.clock import Bell
from gateway.call.events import Acked, CallEvent, HungUp, Passed, Returned, Stopped, Unacked
from gateway.call.headers import CARRIED_METHODS, Headers, supported
from gateway.call.refusals import relayed_status
from gateway.call.session_timer import TOO_SMALL, Duty, SessionTimer, too_small
from gateway.call.targets import contact_beside, hop_of
from gateway.sip.dialog import Dialog
from gateway.sip.digest import Credentials, Login
from gateway.sip.events import Flow, Send
from gateway.sip.message import Message, Request, Response
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from policy.reasons import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.call.call import Call

BUSY_RETRY_S: Final = 2
"""Retry-After of a 500 to a second offer while the first is open (RFC 3261 14.2: 0 to 10 s)."""

OPEN_REQUESTS: Final = 16
"""Requests of one peer that may wait for the other side at once: DTMF by INFO has a few under way, more is a flood."""

RESUMED_FORK: Final = 1
"""The fork of an adopted call, of which one dialog is left."""

_ALLOW: Final[Headers] = [("Allow", ", ".join(CARRIED_METHODS))]
_GONE: Final = frozenset({408, 481})
"""Answers that mean the peer has no such dialog any more (RFC 3261 12.2.1.2)."""


class Leg:
    """One side of a call.

    ``dialogs`` are its live dialogs by fork; ``flow`` is where the peer's last word came from; ``hung_up`` is set when
    it begins to end, ``cleared`` when nothing is left to wait for.  A ``silent`` leg belongs to another worker: what
    still comes for it here is neither answered nor acknowledged (SIP.md 1).  One that was adopted is ``resumed``, and
    ``unproven`` until its peer is heard.  ``place`` is where the peer believes the gate to be
    (Identity.place), ``stray`` that it did not follow from there; ``sdp`` the session description that it got last.
    ``login`` are the challenges that the peer made, ``shown`` the credentials of the last INVITE to it, which its ACK
    repeats (RFC 3261 22.1).
    """

    __slots__ = (
        "_offer_at", "_offer_in", "_offer_out", "_open", "_to_ack", "_unacked", "allows_update", "call", "cleared",
        "dialogs", "flow", "hung_up", "login", "patient_until", "place", "resumed", "sdp", "session", "shown", "silent",
        "stray", "unproven",
    )  # fmt: skip

    bell: ClassVar[Bell]

    def __init__(self, call: "Call", flow: Flow) -> None:
        self.call = call
        self.flow = flow
        self.dialogs: dict[int, Dialog] = {}
        settings = call.core.settings
        self.session = SessionTimer(settings.session_expires_s, settings.options_every_s)
        self.allows_update = False
        self.hung_up = False
        self.cleared = False
        self.silent = False
        self.resumed = False
        self.unproven = False
        self._open: list[Carry] = []
        self._offer_in: Carry | None = None
        self._offer_out: Carry | Upkeep | None = None
        self._offer_at = 0.0
        self._unacked: Carry | None = None
        self._to_ack: Carry | None = None
        self.patient_until = 0.0
        self.sdp: tuple[bytes, str] | None = None
        self.place = call.core.endpoint.identity.place
        self.stray = False
        self.login: Login | None = None
        self.shown: Headers = []

    # taken over from another process (gateway.call.adopting)

    def resume(self, side: Side) -> None:
        """Go on in the dialog that another process had.  Raises ValueError for a session duty that there is not."""
        self.session.resume(side.session_duty, side.session_interval_s)
        self.allows_update = side.allows_update
        self.place, self.sdp = side.place, side.sdp
        self.dialogs[RESUMED_FORK] = side.dialog
        self.resumed = self.unproven = True

    def hear_again(self, response: Response) -> bool:
        """A 2xx to an INVITE that another process sent: its ACK was lost with it.  False where it is of no dialog."""
        if not self.resumed or self.silent:
            return False
        for dialog in self.dialogs.values():
            if (dialog.call_id, dialog.remote_tag) == (response.call_id, response.to.tag):
                self.send_ack(dialog, response.cseq[0], None)
                return True
        return False

    @property
    def astray(self) -> bool:
        """The peer believes the gate to be elsewhere: what it says does not come here."""
        return self.place != self.call.core.endpoint.identity.place

    def _prove(self, now: float) -> None:
        """The peer was heard: it is there."""
        self.call.heard_at = now
        if self.unproven or self.stray:
            self.unproven = False
            self.call.leg_proven(now)

    # what the peer asks inside a dialog

    def hear_request(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        """A request of the peer inside the dialog of ``fork``."""
        if not self.dialogs[fork].accept(request):
            self.respond(transaction, 500, now=now)  # out of order (RFC 3261 12.2.2)
            return
        self.call.heard_at = now
        if self.unproven:
            self._prove(now)
            if not self.astray:
                self.watch(now)
        if request.method == "BYE":
            self._hear_bye(transaction, request, fork, now)
        elif self.hung_up:
            self.respond(transaction, 481, now=now)
        elif request.method in OFFERS:
            self._hear_offer(transaction, request, fork, now)
        elif request.method == "OPTIONS":
            self.respond(transaction, 200, headers=_ALLOW, now=now)
        elif request.method == "REFER":
            self.call.refer(self, transaction, request, now)
        else:  # PRACK and INFO: the endpoint lets nothing else through
            self._pass(transaction, request, fork, now)

    def hear_ack(self, request: Request, now: float) -> None:
        """An ACK of the peer: to the 2xx of its re-INVITE, or a repetition that has had its effect."""
        carry = self._unacked
        if carry is not None and carry.request.cseq[0] == request.cseq[0]:
            self._unacked = None
            carry.end()
            self.emit(Acked(self, request, carry), now)

    def hear_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """The peer never acknowledged the 2xx to its re-INVITE (RFC 3261 13.3.1.4)."""
        carry = self._unacked
        if carry is not None and carry.transaction is transaction:
            self._unacked = None
            carry.end()
            self.emit(Unacked(self), now)

    def _hear_offer(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        """A re-INVITE or UPDATE: refused in glare, answered here where it is but a session refresh, else passed on."""
        if self._offer_out is not None or not self.ready_for_offer(request):
            self.respond(transaction, 491, now=now)
        elif self._offer_in is not None or self._unacked is not None:
            self.respond(transaction, 500, headers=[("Retry-After", str(BUSY_RETRY_S))], now=now)
        elif self.session.duty is not Duty.NONE and too_small(request):
            self.respond(transaction, 422, headers=TOO_SMALL, now=now)
        elif request.method == "UPDATE" and not request.body:
            headers = [*_ALLOW, *self._own_supported(), *self.session.accept(request)]
            self._refreshed(fork, request, now)
            self.respond(transaction, 200, contact=True, headers=headers, now=now)
        else:
            self._pass(transaction, request, fork, now)

    def fork_of(self, request: Request) -> int | None:
        """The fork whose dialog a request of the peer belongs to; None where it is none of them (481)."""
        raise NotImplementedError

    def ready_for_offer(self, request: Request) -> bool:
        """Whether the peer may make an offer now; the legs know which of their INVITEs are still open."""
        return True

    def _pass(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        if len(self._open) >= OPEN_REQUESTS:
            self.respond(transaction, 500, headers=[("Retry-After", str(BUSY_RETRY_S))], now=now)
            return
        carry = Carry(self, transaction, request, fork)
        transaction.owner = carry
        self._open.append(carry)
        if carry.method in OFFERS:
            self._offer_in = carry
        if carry.method == "INVITE":
            self.respond(transaction, 100, now=now)
        self.emit(Passed(self, carry), now)

    def _hear_bye(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        """The peer hangs up; a BYE that crosses ours is answered and clears the leg (RFC 3261 15.1.2)."""
        self.respond(transaction, 200, now=now)
        if not self.hung_up:
            self.hung_up = True
            self._close_open(now)
            self.emit(HungUp(self, tuple(self.other.border.cross(request))), now)
        self.clear(now)

    # what comes from the other side

    def take(self, event: Passed | Returned, now: float) -> None:
        """Send what the other side asks, or give it the answer it waited for."""
        if isinstance(event, Passed):
            self._forward(event.carry, now)
        else:
            self._give_back(event, now)

    def _forward(self, carry: Carry, now: float) -> None:
        dialog = self.dialogs.get(carry.fork)
        if dialog is None or self.hung_up:
            self.emit(Returned(self, carry, 481, None), now)
            return
        if carry.method in OFFERS and self._offer_out is not None:
            self.emit(Returned(self, carry, 491, None), now)
            return
        request = carry.request
        headers = self.border.cross(request)
        if carry.method in OFFERS:
            self._offer_out, self._offer_at = carry, now
            headers += supported(request, self.session.duty is not Duty.NONE)
            headers += self.session.offer_again()
        elif carry.method == "PRACK":
            headers.append(("RAck", self._rack(request, carry.fork)))
        carry.far, carry.dialog = self, dialog
        hops = request.max_forwards
        self._keep_sdp(request)
        carry.sent = self.send(
            carry.method, dialog, carry, headers, request.body, now, 70 if hops is None else hops - 1
        )
        carry.seq = dialog.local_seq

    def _rack(self, request: Request, fork: int) -> str:
        """RAck names the RSeq, the same on both legs, and the CSeq of the INVITE on this one (RFC 3262 7.2)."""
        number, _, _ = (request.get("RAck") or "0").partition(" ")
        open_invite = self._offer_out
        if isinstance(open_invite, Carry) and open_invite.method == "INVITE":
            return f"{number} {open_invite.seq} INVITE"
        return f"{number} {self.invite_seq(fork)} INVITE"

    def invite_seq(self, fork: int) -> int:
        """The CSeq number of the INVITE of ours that made the dialog of ``fork``; only the called leg has one."""
        return 0

    def _give_back(self, event: Returned, now: float) -> None:
        """The answer to a request of this peer."""
        carry, response = event.carry, event.response
        if carry.answered:
            return
        status = relayed_status(event.status)
        if status >= 200:
            self._open.remove(carry)
            if self._offer_in is carry:
                self._offer_in = None
            if carry.method == "INVITE" and status < 300:
                carry.answered = True
                self._unacked = carry
            else:
                carry.end()
        if response is None:
            self.respond(carry.transaction, status, now=now)
            return
        headers = self.border.cross(response)
        self._keep_sdp(response)
        if carry.method in OFFERS:
            headers += supported(response, self.session.duty is not Duty.NONE)
            if 200 <= status < 300:
                headers += self.session.accept(carry.request)
                self._refreshed(carry.fork, carry.request, now)
        reason = response.reason if status == response.status else None
        self.respond(
            carry.transaction, status, reason, contact=carry.method in OFFERS, headers=headers, body=response.body,
            now=now,
        )  # fmt: skip

    def acknowledge(self, event: Acked, now: float) -> None:
        """The other side acknowledged the 2xx of a request that this leg carried: so is the peer (late offer)."""
        if event.carry is not None:
            self._ack(event.carry, event.request, now)
            self.store_late_offer(event.request, now)

    def store_late_offer(self, request: Request, now: float) -> None:
        """What the peer got by an ACK is the description to be repeated, where that has to be stored."""
        if request.body and not self.allows_update:
            self.call.dialogs_changed(now)

    # what the peer answers

    def hear_reply(self, carry: Carry, response: Response, now: float) -> None:
        """The peer's answer to a request that was carried to it."""
        if self.silent:
            return
        status = response.status
        if status < 200:
            if status > 100 and carry.method == "INVITE":
                self.emit(Returned(self, carry, status, response), now)
            return
        if carry.final:  # a 2xx that is repeated until its ACK arrives
            if carry.ack is not None:
                self.call.core.endpoint.resend(carry.ack.data, carry.ack.flow)
            return
        self._finish(carry)
        if status not in _GONE:
            self.call.heard_at = now
        if status == 422 and carry.is_waited_for and not self.hung_up and self.session.raise_offer(response):
            carry.final = False
            self._forward(carry, now)
            return
        if status < 300 and carry.method == "INVITE":
            self._to_ack = carry
            if self.hung_up:
                self._ack(carry, None, now)
        if self.hung_up:
            return
        if status < 300 and carry.method in OFFERS:
            self.session.agree(response)
            self._refreshed(carry.fork, response, now)
        self.emit(Returned(self, carry, status, response), now)
        if status in _GONE and self.is_confirmed(carry.fork):
            self.dead(now)

    def hear_silence(self, carry: Carry, timeout: bool, now: float) -> None:
        """The peer did not answer a request that was carried to it (RFC 3261 8.1.3.1, 12.2.1.2)."""
        self._finish(carry)
        if self.hung_up:
            return
        self.emit(Returned(self, carry, 408 if timeout else 503, None), now)
        if self.is_confirmed(carry.fork):
            self.dead(now)

    def _finish(self, carry: Carry) -> None:
        """The peer has given its final answer, or will never give one."""
        carry.final = True
        carry.sent = None
        if self._offer_out is carry:
            self._offer_out = None

    def is_confirmed(self, fork: int) -> bool:
        """Whether the dialog of ``fork`` is the one the sides talk in."""
        dialog = self.dialogs.get(fork)
        return dialog is not None and dialog.confirmed

    def cancel(self, carry: Carry, now: float) -> None:
        """The other side gave up its re-INVITE, which was carried to this peer."""
        if carry.sent is not None and not carry.final:
            self.call.core.endpoint.cancel(carry.sent, now=now)

    # the session timer (RFC 4028 10) and the question whether the peer is there

    def watch(self, now: float, *, anew: bool = True) -> None:
        """Wait for what is due next; ``anew`` counts the session interval from ``now``.  A peer that could not tell of
        its end is asked more often."""
        due_at = self.session.due_at(now) if anew else self.session.asked_at(now)
        self.call.clock.wait(self.bell, min(due_at, now + moving.STRAY_ASKED_S) if self.stray else due_at)

    def hear_session_bell(self, now: float) -> None:
        """A refresh is to be sent, or one did not come; of an adopted call the peer is asked whether it is there."""
        duty = self.session.duty
        if self.unproven or self.astray:
            moving.ask_anew(self, now)
            return
        longest_s = self.call.core.settings.ring_timeout_s
        if not self.session.is_due(now):
            self.keep_up("OPTIONS", now)
        elif duty is Duty.WATCH or (self._offer_out is not None and now > self._offer_at + longest_s):
            self.dead(now)  # it did not refresh, or never answered an offer
        elif self.is_offering:
            self.call.clock.wait(self.bell, now + moving.GLARE_RETRY_S)
        elif duty is Duty.PROBE:
            self.keep_up("OPTIONS", now)
        else:
            self.keep_up("UPDATE" if self.allows_update or self.sdp is None else "INVITE", now)

    @property
    def is_offering(self) -> bool:
        """An offer is open between the peer and the gate, whoever made it."""
        return self._offer_out is not None or self._offer_in is not None or self._unacked is not None

    def keep_up(self, method: str, now: float, kind: "Callable[[Leg, str, Dialog], Upkeep]" = Upkeep) -> None:
        """Send a refresh or question of the gate's own; ``kind`` hears the answer."""
        dialog = next(iter(self.dialogs.values()))
        upkeep = kind(self, method, dialog)
        headers, body = [*_ALLOW], b""
        if method != "OPTIONS":
            self._offer_out, self._offer_at = upkeep, now
            headers += [*self._own_supported(), *self.session.offer_again()]
        if method == "INVITE" and self.sdp is not None:
            body, content_type = self.sdp
            headers.append(("Content-Type", content_type))
        upkeep.sent = self.send(method, dialog, upkeep, headers, body, now)
        upkeep.seq = dialog.local_seq

    def hear_upkeep(self, upkeep: Upkeep, response: Response, now: float) -> None:
        """The peer's answer to the gate's own refresh or probe: any but 481 and 408 proves that it is there."""
        status = response.status
        if status < 200 or self.silent:
            return
        upkeep.sent = None
        self.offer_over(upkeep)
        if status < 300 and upkeep.method == "INVITE":
            if upkeep.ack is not None:  # a 2xx that is repeated until its ACK arrives
                self.call.core.endpoint.resend(upkeep.ack.data, upkeep.ack.flow)
                return
            upkeep.ack = self.send_ack(upkeep.dialog, upkeep.seq, None)
        if self.hung_up:
            return
        if status in _GONE:
            self.dead(now)
            return
        self._prove(now)
        if status == 491 and not (self.astray and now > self.patient_until):
            self.call.clock.wait(self.bell, now + moving.GLARE_RETRY_S)
        elif status == 422 and self.session.raise_offer(response):
            self.keep_up(upkeep.method, now)
        elif status in (405, 501) and upkeep.method == "UPDATE" and self.sdp is not None:
            self.allows_update = False
            self.keep_up("INVITE", now)
        elif status < 300 and upkeep.method != "OPTIONS":
            self.session.agree(response)
            self._refreshed(RESUMED_FORK, response, now) if self.astray else upkeep.dialog.refresh_target(response)
            self.watch(now)
        else:
            if self.astray and not self.stray:
                moving.lose(self, "refused", status)
            anew = self.session.is_due(now)
            again = anew and upkeep.method != "OPTIONS" and self.session.refresh_again(now)
            self.watch(now, anew=anew and not again)

    def hear_no_upkeep(self, upkeep: Upkeep, timeout: bool, now: float) -> None:
        """The peer was silent, or cannot be reached."""
        self.offer_over(upkeep)
        if moving.is_to_try_again(self, timeout, now) and not self.hung_up:
            self.call.clock.wait(self.bell, now + moving.RECONNECT_ASKED_S)
        else:
            self.dead(now)

    def offer_over(self, offer: Upkeep) -> None:
        """An offer of the gate's own was refused, or nobody is there to take it."""
        if self._offer_out is offer:
            self._offer_out = None

    def dead(self, now: float) -> None:
        """The peer is not there any more, or has no such dialog."""
        self.emit(Stopped(self, REASONS["DEAD_PEER"]), now)

    def _refreshed(self, fork: int, message: Message, now: float) -> None:
        """A target refresh succeeded: take its Contact, count the session anew, let the store know (SIP.md 5 c)."""
        dialog = self.dialogs.get(fork)
        if dialog is None:
            return
        dialog.refresh_target(message)
        if dialog.confirmed:
            moving.arrive(self)
            self._prove(now)
            self.watch(now)
            self.call.dialogs_changed(now)

    # the end

    def hang_up(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """End the leg with a BYE that carries ``headers``; nothing happens where it ends already."""
        if self.hung_up:
            return
        self.hung_up = True
        self._close_open(now)
        self.say_bye(headers, now)

    def say_bye(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """Send BYE in the confirmed dialog; a 2xx that waits for its ACK gets that first (RFC 3261 13.2.2.4)."""
        if self._to_ack is not None:
            self._ack(self._to_ack, None, now)
        self.send("BYE", next(iter(self.dialogs.values())), Farewell(self), headers, b"", now)

    def clear(self, now: float) -> None:
        """Nothing of this leg is left to wait for."""
        if not self.cleared:
            self.cleared = True
            self.call.leg_cleared(now)

    def _close_open(self, now: float) -> None:
        """What is open between the peer and the gate ends: its requests get 487 (RFC 3261 15.1.2), ours CANCEL."""
        for carry in self._open:
            carry.end()
            self.respond(carry.transaction, 487, now=now)
        self._open.clear()
        self._offer_in = None
        offer = self._offer_out
        if offer is not None and offer.method == "INVITE" and offer.sent is not None:
            self.call.core.endpoint.cancel(offer.sent, now=now)  # else it would wait for its answer for ever

    def leave(self) -> None:
        """The call is over: act no more, and let go of what refers back, so that counting references frees the call."""
        self.hung_up = True
        for carry in self._open:
            carry.end()
        self._open.clear()
        if self._unacked is not None:
            self._unacked.end()
        self._offer_in = self._offer_out = self._unacked = self._to_ack = None

    # sending

    def emit(self, event: CallEvent, now: float) -> None:
        """Tell the call."""
        self.call.happen(event.happening, event, now)

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str = "",
        contact: bool = False,
        headers: "Iterable[tuple[str, str]]" = (),
        body: bytes = b"",
        now: float,
    ) -> None:
        """Answer a request of the peer; ``contact`` adds the gate's Contact."""
        endpoint = self.call.core.endpoint
        own = contact_beside(transaction.request.uri, endpoint.contact(transaction.flow)) if contact else ""
        endpoint.respond(transaction, status, reason, to_tag=to_tag, contact=own, headers=headers, body=body, now=now)

    def send(
        self,
        method: str,
        dialog: Dialog,
        owner: Owner,
        headers: "Iterable[tuple[str, str]]",
        body: bytes,
        now: float,
        max_forwards: int = 70,
    ) -> ClientTransaction:
        """Send a request inside a dialog of this leg."""
        if self.call.core.settings.credentials and self.credentials is not None:
            return Asking(self, method, dialog, owner, headers, body, max_forwards).send(now)
        return send_in(self, method, dialog, owner, headers, body, now, max_forwards)

    @property
    def trunk(self) -> str:
        """The trunk that the leg's peer is reached by."""
        raise NotImplementedError

    @property
    def other(self) -> "Leg":
        """The other side of the call."""
        return self.call.called if self is self.call.caller else self.call.caller

    @property
    def border(self) -> Border:
        """What this peer is told of the other side."""
        raise NotImplementedError

    @property
    def credentials(self) -> Credentials | None:
        """What the gate shows this peer when it asks; None: nothing."""
        return self.call.core.settings.credentials.get(self.trunk)

    def _ack(self, carry: Carry, request: Request | None, now: float) -> None:
        if self._to_ack is carry:
            self._to_ack = None
        assert carry.dialog is not None, "only what was sent is acknowledged"
        carry.ack = self.send_ack(carry.dialog, carry.seq, request)

    def send_ack(self, dialog: Dialog, seq: int, request: Request | None) -> Send:
        """ACK the 2xx of our INVITE with number ``seq``, with what the other side's ACK carried (late offer)."""
        endpoint, flow = self.call.core.endpoint, hop_of(dialog, self.flow)
        if request is None:
            return Send(flow, endpoint.ack(dialog.ack(seq), flow, headers=self.shown))
        self._keep_sdp(request)
        hops = request.max_forwards
        data = endpoint.ack(
            dialog.ack(seq), flow, headers=[*self.border.cross(request), *self.shown], body=request.body,
            max_forwards=70 if hops is None else hops - 1,
        )  # fmt: skip
        return Send(flow, data)

    def _own_supported(self) -> Headers:
        return [("Supported", "timer")] if self.session.duty is not Duty.NONE else []

    def _keep_sdp(self, message: Message) -> None:
        """Remember the last session description the peer got: a refresh by re-INVITE repeats it (RFC 4028 7.4)."""
        if message.body:
            self.sdp = (message.body, message.get("Content-Type") or "application/sdp")
