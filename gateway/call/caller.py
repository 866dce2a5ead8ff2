"""The leg of the side that calls: the gate is its UAS.

Each early dialog of the called side is shown to the caller as a To-tag of its own (SIP.md 4), so that reliable
provisional answers and early requests of several forks never mix.  A caller that has the 200 but has not acknowledged
it cannot be sent a BYE (RFC 3261 15): the leg then owes one, and pays it at the ACK or after 64·T1.
"""

from typing import TYPE_CHECKING, ClassVar

from gateway.call.adoption import Side
from gateway.call.borders import Border
from gateway.call.clock import Bell
from gateway.call.events import Acked, Answered, GaveUp, Progress, Unacked
from gateway.call.headers import Headers, supported
from gateway.call.leg import RESUMED_FORK, Leg
from gateway.call.refusals import reasons_of
from gateway.call.session_timer import Duty
from gateway.call.targets import contact_beside
from gateway.sip.dialog import Dialog
from gateway.sip.digest import Credentials
from gateway.sip.events import Flow
from gateway.sip.message import Request, Response
from gateway.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.call.call import Call


class CallerLeg(Leg):
    """The caller's side of one call: ``connected`` once it has the 200, ``acked`` once it has acknowledged it."""

    __slots__ = ("_agreed", "_forks", "_invite", "_owed", "_seq", "_tags", "acked", "connected")

    bell: ClassVar = Bell.CALLER_SESSION

    def __init__(self, call: "Call", flow: Flow, transaction: ServerTransaction | None) -> None:
        """``transaction`` is the INVITE's; None where another process heard it: then :meth:`resume`."""
        super().__init__(call, flow)
        self._invite = transaction
        self._seq = transaction.request.cseq[0] if transaction is not None else 0
        self.connected = False
        self.acked = False
        self._tags: dict[int, str] = {}
        self._forks: dict[str, int] = {}
        self._owed: Headers | None = None
        self._agreed: Sequence[tuple[str, str]] = ()
        if transaction is not None:
            transaction.owner = self

    def resume(self, side: Side) -> None:
        """Go on where another process answered; whether the ACK had come is the call's to say."""
        super().resume(side)
        tag = side.dialog.local_tag
        self._tags[RESUMED_FORK] = tag
        self._forks[tag] = RESUMED_FORK
        self._seq = side.dialog.remote_seq
        self.connected = True
        self.call.core.legs[tag] = self

    @property
    def trunk(self) -> str:
        """The trunk the call came in by."""
        return self.call.verdict.trunk

    @property
    def credentials(self) -> Credentials | None:
        """None for who has to show the gate its own: it calls, and could be anybody before it has."""
        return None if self.trunk in self.call.core.settings.guarded else super().credentials

    @property
    def border(self) -> Border:
        """What the caller is told of the target that is tried, or that answered."""
        attempt = self.call.called.attempt
        assert attempt is not None, "nobody else says anything"
        return attempt.tells

    @property
    def transaction(self) -> ServerTransaction:
        """The INVITE's; let go at its ACK, because a message weighs more than all else of a call that talks."""
        assert self._invite is not None, "nobody asks for the INVITE after its ACK"
        return self._invite

    @property
    def request(self) -> Request:
        """The INVITE, until its ACK."""
        return self.transaction.request

    # the answer to the INVITE

    def progress(self, event: Progress, now: float) -> None:
        """Relay a provisional answer under its fork's To-tag, also where it repeats (RFC 3262: end to end)."""
        response = event.response
        self._keep_sdp(response)
        self.respond(
            self.transaction, response.status, response.reason, to_tag=self._tag_of(event.fork), contact=True,
            headers=self.border.cross(response), body=response.body, now=now,
        )  # fmt: skip

    def choose(self, fork: int, response: Response) -> None:
        """``response`` of this fork will be the answer; the dialogs of the others are over for the caller (RFC 3261
        13.2.2.4)."""
        self._keep_sdp(response)
        self._tag_of(fork)
        for other in [known for known in self.dialogs if known != fork]:
            self._drop_fork(other)
        self.dialogs[fork].confirmed = True
        request = self.request
        self.allows_update = "UPDATE" in (request.get("Allow") or "")
        self._agreed = self.session.accept(request)

    def answer(self, event: Answered, now: float) -> None:
        """Relay the 200."""
        response, tag = event.response, self._tag_of(event.fork)
        self.connected = True
        headers = self.border.cross(response)
        headers += supported(response, self.session.duty is not Duty.NONE)
        headers += self._agreed
        self.respond(
            self.transaction, response.status, response.reason, to_tag=tag, contact=True, headers=headers,
            body=response.body, now=now,
        )  # fmt: skip
        self.watch(now)

    def contacts(self, response: Response) -> Headers:
        """The Contacts of a redirect as this peer may be told them: places of the other side become the gate's."""
        call, endpoint = self.call, self.call.core.endpoint

        def own(user: str) -> str:
            return contact_beside(self.request.uri, endpoint.contact(self.flow, user))

        return self.border.contacts(response, call.verdict.number, own)

    def refuse(
        self,
        status: int,
        reason: str | None,
        headers: "Iterable[tuple[str, str]]",
        now: float,
        body: bytes = b"",
    ) -> None:
        """Give the INVITE a final answer that is no 2xx: the gate's own, or the called side's."""
        self.hung_up = True
        self._close_open(now)
        self.respond(self.transaction, status, reason, headers=headers, body=body, now=now)
        self.clear(now)

    def hand_over(self) -> ServerTransaction:
        """Give the INVITE, which nobody has answered, to another call."""
        transaction = self.transaction
        self.hung_up = self.cleared = True
        self._invite = None
        return transaction

    # what the caller says

    def fork_of(self, request: Request) -> int | None:
        """The fork whose dialog a request of the caller belongs to; None where it is none of them."""
        fork = self._forks.get(request.to.tag)
        return fork if fork is not None and self.dialogs[fork].owns(request) else None

    def hear_cancel(self, request: Request, now: float) -> None:
        """The caller gave up; its CANCEL has its answer (RFC 3261 9.2).  One that crosses a refusal is too late."""
        if not self.hung_up:
            self.emit(GaveUp(self, self._reasons_of(request)), now)

    def _reasons_of(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Why the caller gives up, as the called side is told."""
        called = self.call.called
        return () if called.attempt is None else called.border.reasons(reasons_of(request))

    def hear_ack(self, request: Request, now: float) -> None:
        """The ACK of the INVITE's 2xx starts the talk, or lets a BYE go that was owed."""
        if self.acked or not self.connected or request.cseq[0] != self._seq:
            super().hear_ack(request, now)
            return
        self._stop_waiting()
        if self._owed is None:
            self.emit(Acked(self, request, None), now)
        else:
            self._pay(now)

    def hear_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """64·T1 without an ACK: the call ends, or the BYE that was owed goes now (RFC 3261 13.3.1.4)."""
        if transaction is not self._invite or not self.connected:
            super().hear_ack_missing(transaction, now)
            return
        self._stop_waiting()
        if self._owed is None:
            self.emit(Unacked(self), now)
        else:
            self._pay(now)

    def ready_for_offer(self, request: Request) -> bool:
        """Not before the ACK, but an UPDATE may make an offer in an early dialog (RFC 3311 5.1)."""
        return self.acked or self.resumed or request.method == "UPDATE"

    def _hear_bye(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        """The caller may hang up before its ACK, and in an early dialog, where it means CANCEL (RFC 3261 15)."""
        if self.connected:
            if not self.acked:
                if self._invite is not None:
                    self.call.core.endpoint.settled(self._invite)
                self._stop_waiting()
                self._owed = None
            super()._hear_bye(transaction, request, fork, now)
            return
        self.respond(transaction, 200, now=now)
        self.emit(GaveUp(self, self._reasons_of(request)), now)

    # the end

    def hang_up(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """End the leg with a BYE, which has to wait for the ACK (RFC 3261 15) where it can still be missed."""
        if self.acked or self.hung_up or self.resumed:
            super().hang_up(headers, now)
            return
        self.hung_up = True
        self._close_open(now)
        self._owed = list(headers)

    def _stop_waiting(self) -> None:
        """The ACK came, or is not waited for any more."""
        self.acked = True
        self._invite = None

    def _pay(self, now: float) -> None:
        headers, self._owed = self._owed or [], None
        self.say_bye(headers, now)

    def leave(self) -> None:
        """Requests for this leg are not known any more."""
        super().leave()
        self._invite = None
        for fork in list(self.dialogs):
            self._drop_fork(fork)

    # forks

    def _tag_of(self, fork: int) -> str:
        tag = self._tags.get(fork)
        if tag is None:
            core = self.call.core
            tag = self._tags[fork] = core.new_token()
            self._forks[tag] = fork
            self.dialogs[fork] = Dialog.as_server(self.request, tag)
            core.legs[tag] = self
        return tag

    def _drop_fork(self, fork: int) -> None:
        tag = self._tags.pop(fork)
        del self._forks[tag], self.dialogs[fork], self.call.core.legs[tag]
