"""The leg of the side that is called: the gate is its UAC, for one target after the other.

Each target is an :class:`Attempt`, an INVITE with a Call-ID and tag of its own, which may open several dialogs
(forks).  A target that says 503 or 408, is silent for ``target_timeout_s`` or cannot be reached gives way to the next;
a 3xx names further ones where the settings let it; a 422 is asked again with the interval it wants.  The first 2xx
wins.

An attempt that is given up needs nobody any more: it is cancelled, and whatever 2xx still comes for it, from whichever
fork, it acknowledges and ends by itself, so that a call can be over while stragglers are swept up.
"""

from typing import TYPE_CHECKING, ClassVar, Final

from gateway.call.adoption import Unanswered
from gateway.call.asking import learn
from gateway.call.borders import Border
from gateway.call.clock import Bell
from gateway.call.events import Acked, Answered, Failed, Progress, Stopped
from gateway.call.forwarding import diverted, forwarded
from gateway.call.headers import supported
from gateway.call.leg import RESUMED_FORK, Leg
from gateway.call.refusals import relayed_status
from gateway.call.session_timer import Duty
from gateway.call.targets import LOOPED, REDIRECTS_MAX, Target, contact_beside, hop_of, redirected, target_of
from gateway.sip.dialog import EARLY_DIALOGS, Dialog
from gateway.sip.digest import CHALLENGED
from gateway.sip.errors import BadUri
from gateway.sip.events import Flow, Send
from gateway.sip.message import Request, Response
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from policy.reasons import REASONS, Reason
from policy.verdict import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.call.b2bua import B2bua
    from gateway.call.call import Call

FAILOVER: Final = frozenset({408, 503})
"""Answers after which the next target is tried; every other refusal is the called party's and final."""

FORKS_MAX: Final = 2 * EARLY_DIALOGS
"""Dialogs of one INVITE, those included that a 2xx makes without ringing first: each of these is to be acknowledged
and ended, but a far end that mints tags shall not make the gate send for ever."""


class Fork:
    """One dialog of an attempt: its number, and the ACK its 2xx got; ``ended`` once it was ACKed and BYEd at once."""

    __slots__ = ("ack", "dialog", "ended", "number")

    def __init__(self, number: int, dialog: Dialog) -> None:
        self.number = number
        self.dialog = dialog
        self.ack: Send | None = None
        self.ended = False


class Attempt:
    """One INVITE to one target; ``since`` is when it left, ``heard_any`` whether any answer, also 100, came."""

    __slots__ = (
        "answered", "branch", "call_id", "core", "forks", "from_", "given_up", "heard_any", "leg", "route", "seq",
        "silent_s", "since", "tag", "target", "tells", "to", "told", "transaction",
    )  # fmt: skip

    def __init__(self, leg: "CalledLeg", route: Route, target: Target, call_id: str, tag: str, branch: str) -> None:
        self.leg = leg
        self.core: B2bua = leg.call.core
        self.route = route
        self.target = target
        self.call_id = call_id
        self.tag = tag
        borders, access = self.core.borders, leg.call.verdict.trunk
        self.told = borders.between(access, route.trunk, target.flow.host)
        """What this target is told of the caller, and below the caller of it."""
        own = route.target == LOOPED
        self.tells = borders.between(route.trunk, access, leg.call.caller.flow.host, own=own)
        self.branch = branch
        self.from_ = ""
        """Who calls, as this target is told: From without its tag."""
        self.to = ""
        """Who is called: To's URI, where it is not the Request-URI."""
        self.seq = 1
        self.since = 0.0
        self.heard_any = False
        self.silent_s = 0.0
        """How long it took until any answer came."""
        self.given_up = False
        self.transaction: ClientTransaction | None = None
        self.forks: dict[str, Fork] = {}
        self.answered: set[tuple[str, str]] = set()
        """The challenges to the INVITE that were answered (gateway.sip.digest.Login.learn)."""

    def heard(self, response: Response, now: float) -> None:
        """A response to the INVITE; of what comes after the attempt was given up only a 2xx still matters."""
        self.note_heard(now)
        if self.leg.silent:
            return
        if not self.given_up:
            if response.status > 100:
                self.leg.hear_answer(self, response, now)
        elif 200 <= response.status < 300:
            self.sweep(response, now)

    def note_heard(self, now: float) -> None:
        """The target is silent no longer, or given up."""
        if not self.heard_any:
            self.heard_any = True
            self.silent_s += now - self.since

    def failed(self, timeout: bool, now: float) -> None:
        """The target was silent (Timer B) or cannot be reached."""
        if not self.given_up:
            self.leg.hear_no_answer(self, timeout, now)

    def fork_of(self, response: Response) -> Fork | None:
        """The fork a response belongs to, made or confirmed by it; None beyond the limit of dialogs.

        A provisional answer without a To tag makes a fork too; the first tag that comes names it.
        """
        tag = response.to.tag
        fork = self.forks.get(tag)
        if fork is None:
            fork = self.forks.pop("", None)
            if fork is not None:
                fork.dialog = Dialog.as_client(response, self.target.uri)
            elif len(self.forks) >= (EARLY_DIALOGS if response.status < 200 else FORKS_MAX):
                return None
            else:
                fork = Fork(self.leg.new_fork(), Dialog.as_client(response, self.target.uri))
            self.forks[tag] = fork
        elif response.status >= 200 and not fork.dialog.confirmed:
            fork.dialog.confirm(response)
        return fork

    def give_up(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """Cancel the INVITE; the endpoint waits for a provisional answer first (RFC 3261 9.1)."""
        self.given_up = True
        if self.transaction is not None:
            self.core.endpoint.cancel(self.transaction, headers=headers, now=now)
            self.transaction = None

    def sweep(self, response: Response, now: float) -> None:
        """Acknowledge a 2xx that nobody wants and end its dialog, once; repeated it is acknowledged again."""
        fork = self.fork_of(response)
        if fork is None:
            return
        self.acknowledge(fork, None)
        if not fork.ended:
            fork.ended = True
            fields, flow = fork.dialog.request("BYE"), hop_of(fork.dialog, self.target.flow)
            self.core.endpoint.request_in(fields, flow, now=now)

    def acknowledge(self, fork: Fork, request: Request | None) -> None:
        """ACK the fork's 2xx with what the caller's ACK carried, or the same as before (RFC 3261 13.2.2.4)."""
        if fork.ack is not None:
            self.core.endpoint.resend(fork.ack.data, fork.ack.flow)
        else:
            fork.ack = self.leg.send_ack(fork.dialog, self.seq, request)


class CalledLeg(Leg):
    """The called side of one call; ``attempt`` is the target being tried, ``winner`` the fork that answered."""

    __slots__ = ("_forks", "_index", "_ring_end", "_routes", "_silent_s", "attempt", "winner")

    bell: ClassVar = Bell.CALLED_SESSION

    def __init__(self, call: "Call", routes: tuple[Route, ...], flow: Flow) -> None:
        super().__init__(call, flow)
        self._routes = list(routes)
        self._index = 0
        self._forks = 0
        self._ring_end = 0.0
        self._silent_s = 0.0
        self.attempt: Attempt | None = None
        self.winner: Fork | None = None

    # placing the call

    def dial(self, now: float) -> None:
        """Invite the first target."""
        settings = self.call.core.settings
        self._ring_end = now + settings.ring_timeout_s
        self._invite(now)

    def prepare(self) -> Attempt | None:
        """The first attempt, before it is sent: what another process would need to cancel it (SIP.md 5 a)."""
        self.attempt = self._attempt_from(0)
        return self.attempt

    def _attempt_from(self, index: int) -> Attempt | None:
        """An attempt at the first target from ``index`` on that can be read, as the settings see to; None: no more."""
        core = self.call.core
        for number in range(index, len(self._routes)):
            route = self._routes[number]
            try:
                target = target_of(route)
            except BadUri:
                continue
            self._index = number
            call_id = core.new_call_id() if number else self.call.id
            to = target.uri
            if "@" in route.target:  # a peer that registered is called by its Contact, and reads the number in To
                target = target._replace(uri=route.target)
            attempt = Attempt(self, route, target, call_id, core.new_token(), core.endpoint.new_branch())
            attempt.to = to
            attempt.from_ = attempt.told.caller(self.call.caller.request)
            return attempt
        return None

    # taken over from another process (gateway.call.adopting)

    def resume_attempt(self, dialog: Dialog, carrier: str, seq: int) -> None:
        """The target that answered over the trunk ``carrier``; ``seq`` is the number of the INVITE it was sent."""
        target = Target(dialog.remote_target, self.flow)
        attempt = Attempt(self, Route(carrier, "", ""), target, dialog.call_id, dialog.local_tag, "")
        attempt.seq = seq
        self.winner = attempt.forks[dialog.remote_tag] = Fork(RESUMED_FORK, dialog)
        self.attempt = attempt
        self.call.core.legs[attempt.tag] = self

    def acknowledge_anew(self) -> None:
        """ACK the answer in case nobody did: the caller's ACK went where nobody hears it."""
        if self.attempt is not None and self.winner is not None:
            self.attempt.acknowledge(self.winner, None)

    def resume_unanswered(self, left: Unanswered) -> Attempt:
        """The target that was being tried."""
        target = Target(left.target_uri, left.target_flow)
        route = Route(left.carrier, "", "")
        self.attempt = Attempt(self, route, target, left.sent_call_id, left.local_tag, left.branch)
        self.attempt.seq = left.sent_cseq
        self.attempt.from_ = left.local
        return self.attempt

    def _invite(self, now: float) -> None:
        """Send the INVITE of the present attempt."""
        attempt, call, endpoint = self.attempt, self.call, self.call.core.endpoint
        if attempt is None:
            self._fail(500, REASONS["INTERNAL"], None, now)
            return
        request = call.caller.request
        headers = self.border.cross(request)
        headers += supported(request, self.session.duty is not Duty.NONE and not self.session.withheld)
        if attempt.route.target == LOOPED:
            headers = diverted(headers, call.verdict.number, endpoint.identity.host)
        hops = request.max_forwards
        self.flow = attempt.target.flow
        self.shown = [] if self.login is None else self.login.headers("INVITE", attempt.target.uri, request.body)
        attempt.since = now
        self._keep_sdp(request)
        attempt.transaction = endpoint.request(
            "INVITE",
            attempt.target.uri,
            attempt.target.flow,
            from_=f"{attempt.from_};tag={attempt.tag}",
            to=f"<{attempt.to or attempt.target.uri}>",
            call_id=attempt.call_id,
            cseq=attempt.seq,
            route=attempt.target.route,
            max_forwards=70 if hops is None else hops - 1,
            contact=contact_beside(attempt.target.uri, endpoint.contact(attempt.target.flow)),
            headers=[*headers, *self.session.offer(), *self.shown],
            body=request.body,
            branch=attempt.branch,
            owner=attempt,
            now=now,
        )
        call.core.legs[attempt.tag] = self
        call.clock.wait(Bell.SETUP, min(self._ring_end, now + call.core.settings.target_timeout_s))
        call.placed(now)

    def _next(self, status: int, response: Response | None, now: float) -> None:
        """Try the next target, or let the call fail with the last one's ``status``.

        Only silence is bounded: who rang for a while and then says 503 has cost nobody's patience but the caller's,
        and ``ring_timeout_s`` bounds that.
        """
        failed = self.attempt
        if failed is not None:
            failed.note_heard(now)
            self._silent_s += failed.silent_s
            self._forget(failed, now)
        goes_on = self._silent_s < self.call.core.settings.failover_s
        following = self._attempt_from(self._index + 1) if goes_on else None
        if following is not None:
            self.attempt = following
            self._invite(now)
            self.call.dialogs_changed(now)
        else:
            reason = REASONS["DEAD_PEER"] if response is None and status == 408 else REASONS["FAR_END"]
            self._fail(status, reason, response, now)

    def _fail(self, status: int, reason: Reason, response: Response | None, now: float) -> None:
        self.hung_up = self.cleared = True
        self.emit(Failed(self, relayed_status(status), reason, response), now)

    def _forget(self, attempt: Attempt, now: float) -> None:
        """Its early dialogs are over; later answers to its INVITE sweep themselves up."""
        attempt.given_up = True
        attempt.transaction = None
        self._close_open(now)
        self._offer_out = self.login = None
        self.call.core.legs.pop(attempt.tag, None)
        self.dialogs.clear()

    def new_fork(self) -> int:
        """A number for one more dialog."""
        self._forks += 1
        return self._forks

    @property
    def trunk(self) -> str:
        """The trunk of the target being tried, or that answered."""
        return self.attempt.route.trunk if self.attempt is not None else ""

    @property
    def border(self) -> Border:
        """What the target is told of the caller."""
        assert self.attempt is not None, "nobody is told anything before"
        return self.attempt.told

    @property
    def route(self) -> Route | None:
        """The route being tried, or that answered."""
        return self.attempt.route if self.attempt is not None else None

    # what the targets answer

    def hear_answer(self, attempt: Attempt, response: Response, now: float) -> None:
        """An answer to the INVITE of the attempt that is being tried, other than 100."""
        status = response.status
        if self.winner is not None:
            self._hear_more(attempt, response, now)
        elif status < 200:
            fork = attempt.fork_of(response)
            if fork is not None:
                self.dialogs[fork.number] = fork.dialog
                self.emit(Progress(self, fork.number, response), now)
        elif status < 300:
            self._win(attempt, response, now)
        elif status == 422 and self.session.give_in(response):
            self._invite_again(attempt, now)
        elif status in CHALLENGED and learn(self, response, attempt.answered):
            self._drop_early(attempt)
            self._invite_again(attempt, now)
            self.call.dialogs_changed(now)
        elif status in FAILOVER or (status < 400 and self._redirect(attempt, response)):
            self._next(status, response, now)
        else:
            self._forget(attempt, now)
            self._fail(status, REASONS["FAR_END"], response, now)

    def _invite_again(self, attempt: Attempt, now: float) -> None:
        """The same target once more, in the same call to it (RFC 3261 8.1.3.5)."""
        attempt.seq += 1
        attempt.branch = self.call.core.endpoint.new_branch()
        attempt.heard_any = False
        self._invite(now)

    def _drop_early(self, attempt: Attempt) -> None:
        """A final answer ended what early dialogs there were (RFC 3261 13.2.2.3)."""
        attempt.forks.clear()
        self.dialogs.clear()

    def _win(self, attempt: Attempt, response: Response, now: float) -> None:
        """The first 2xx wins; other dialogs of the INVITE are over (RFC 3261 13.2.2.4)."""
        fork = self.winner = attempt.fork_of(response)
        assert fork is not None, "early dialogs leave room for the first 2xx"
        self.dialogs = {fork.number: fork.dialog}
        self.session.agree(response)
        self.allows_update = "UPDATE" in (response.get("Allow") or "")
        attempt.transaction = None
        self.watch(now)
        self.emit(Answered(self, fork.number, response), now)

    def _hear_more(self, attempt: Attempt, response: Response, now: float) -> None:
        """After the answer: its repetition is acknowledged again, another fork's 2xx is swept up."""
        if not 200 <= response.status < 300:
            return
        fork = attempt.fork_of(response)
        if fork is not self.winner:
            attempt.sweep(response, now)
        elif fork is not None and fork.ack is not None:
            attempt.acknowledge(fork, None)

    def hear_no_answer(self, attempt: Attempt, timeout: bool, now: float) -> None:
        """A target is silent (Timer B) or cannot be reached, which is a 408 or a 503 (RFC 3261 8.1.3.1)."""
        self._next(408 if timeout else 503, None, now)

    def hear_setup_bell(self, now: float) -> None:
        """The target or the ringing takes too long."""
        attempt = self.attempt
        assert attempt is not None, "what is dialled has a target"
        silent_at = attempt.since + self.call.core.settings.target_timeout_s
        if now >= self._ring_end:
            self.emit(Stopped(None, REASONS["NO_ANSWER"]), now)
        elif not attempt.heard_any and now >= silent_at:
            attempt.give_up((), now)
            self._next(408, None, now)
        else:
            at_s = self._ring_end if attempt.heard_any else min(silent_at, self._ring_end)
            self.call.clock.wait(Bell.SETUP, at_s)

    def _redirect(self, attempt: Attempt, response: Response) -> bool:
        """Put a 3xx's targets next in line, if the settings let it; False where it has none that may be dialled."""
        if not self.call.core.settings.follow_redirects:
            return False
        known = {(route.target, route.number) for route in self._routes}
        spare = REDIRECTS_MAX - (len(self._routes) - len(self.call.verdict.routes))
        named = redirected(response, attempt.route)
        if attempt.route.trunk in self.call.core.settings.forwarders and attempt.route.target != LOOPED:
            named += forwarded(response, attempt.route, self.call.caller.request)
        found = [route for route in named if (route.target, route.number) not in known][:spare]
        self._routes[self._index + 1 : self._index + 1] = found
        return bool(found)

    # the talk

    def acknowledge(self, event: Acked, now: float) -> None:
        """The caller's ACK goes on to the called side, with its body where the offer came late."""
        if event.carry is not None:
            super().acknowledge(event, now)
        elif self.attempt is not None and self.winner is not None and self.winner.ack is None:
            self.attempt.acknowledge(self.winner, event.request)
            self.store_late_offer(event.request, now)

    def fork_of(self, request: Request) -> int | None:
        """The fork whose dialog a request of the called side belongs to; None where it is none of them."""
        attempt = self.attempt
        if attempt is None or request.to.tag != attempt.tag:
            return None
        fork = attempt.forks.get(request.from_.tag)
        if fork is None or fork.number not in self.dialogs or not fork.dialog.owns(request):
            return None
        return fork.number

    def sit_opposite(self, fork: int) -> None:
        """The one dialog that is left belongs together with the other side's of this number."""
        assert self.winner is not None, "who answered is opposite"
        self.winner.number, self.dialogs = fork, {fork: next(iter(self.dialogs.values()))}

    def invite_seq(self, fork: int) -> int:
        """The CSeq number of the INVITE that was sent."""
        return self.attempt.seq if self.attempt is not None else 0

    def ready_for_offer(self, request: Request) -> bool:
        """Not while our INVITE is open, but an UPDATE may make an offer in an early dialog (RFC 3311 5.1)."""
        if request.method == "UPDATE" or self.resumed:
            return True
        return self.winner is not None and self.winner.ack is not None

    def _hear_bye(self, transaction: ServerTransaction, request: Request, fork: int, now: float) -> None:
        """The called side may not end an early dialog by BYE (RFC 3261 15); its 2xx is acknowledged all the same."""
        if self.winner is None:
            self.respond(transaction, 481, now=now)
            return
        self._settle_ack(now)
        super()._hear_bye(transaction, request, fork, now)

    # the end

    def abandon(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """The call will not come about: cancel what rings, or end at once what has just answered."""
        if self.winner is not None:
            self.hang_up(headers, now)
            return
        self.hung_up = True
        if self.attempt is not None:
            self.attempt.give_up(headers, now)
            self._forget(self.attempt, now)
        self.clear(now)

    def say_bye(self, headers: "Iterable[tuple[str, str]]", now: float) -> None:
        """ACK the answer if nobody did, then BYE (SIP.md 4)."""
        self._settle_ack(now)
        super().say_bye(headers, now)

    def leave(self) -> None:
        """Requests for this leg are not known any more."""
        super().leave()
        if self.attempt is not None:
            self.call.core.legs.pop(self.attempt.tag, None)
        self.attempt = None

    def _settle_ack(self, now: float) -> None:
        if self.resumed:  # it was acknowledged, or is when its 2xx comes again
            return
        if self.attempt is not None and self.winner is not None and self.winner.ack is None:
            self.attempt.acknowledge(self.winner, None)
