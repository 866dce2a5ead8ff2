"""Transfer: a PBX asks the gate, by REFER inside a call, to connect the other side with a third party (RFC 3515).

The way to the third party is a call of its own, as with a call that is forwarded: the gate says its INVITE to itself in
the PBX's name (gateway.call.forwarding), with the number of who refers as the caller, so that whoever refers pays for
it, by its own licences and limits, and it is reserved, renewed, cut and settled as every call.  The call in which the
REFER came goes on at its own price for the side that stays.

::

    stays ──── call ──── refers          while the third party rings they may talk; who refers may hang up
    stays ──── call ──── (gate itself) ──── call of who refers ──── third party

Once the third party has answered, the side that stays is offered its description (gateway.call.late); when it agrees,
the new leg takes the place of who referred, who hears of it by NOTIFY and is hung up.  Where anything goes wrong before
that, who refers is told so and goes on talking; if it has hung up already the call is over.

Where Refer-To names a second call of the same PBX through this worker (Replaces, RFC 3891), no call is placed: that
one's far side is the third party, and who refers leaves both (gateway.call.replacing).
"""

from functools import partial
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from gateway.call.announcing import Told
from gateway.call.clock import Bell
from gateway.call.events import Answered, CallEvent, Failed, HungUp, Passed, Progress, Returned, Stopped
from gateway.call.headers import Headers
from gateway.call.intake import dialled_of
from gateway.call.late import LateLeg, Reoffer, offer_to
from gateway.call.moving import GLARE_RETRY_S
from gateway.call.refusals import ending_headers
from gateway.call.replacing import ENDS, can_give_way, leg_named, replaces_in
from gateway.call.states import Happening, State
from gateway.call.targets import LOOPED
from gateway.sip.address import parse_name_addr
from gateway.sip.dialog import Dialog
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.events import LOOP
from gateway.sip.message import Request, Response
from gateway.sip.reasons import SIP_REASONS, refusal_of
from gateway.sip.transaction import ServerTransaction
from gateway.sip.uri import SipUri, parse_uri
from policy.reasons import REASONS
from policy.verdict import Route

if TYPE_CHECKING:
    from gateway.call.leg import Leg

TRANSFERS_MAX: Final = 10
"""Transfers of one call: people do it once or twice, and each keeps a leg until the call is over."""

DECLINED: Final = tuple(refusal_of(SIP_REASONS["NO_TRANSFER"]))
"""What a 603 carries."""

PHRASES: Final = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 200: "OK",
    402: "Payment Required", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 480: "Temporarily Unavailable",
    486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 500: "Server Internal Error",
    503: "Service Unavailable", 603: "Decline",
}  # fmt: skip
"""Reason phrases of a sipfrag that was not made from an answer (RFC 3420)."""


def hear(leg: "Leg", transaction: ServerTransaction, request: Request, now: float) -> None:
    """A REFER of the peer inside the dialog of a call."""
    target = referred_to(request)
    if target is None:
        leg.respond(transaction, 400, now=now)
    elif not (target.number or target.replaces) or not may_refer(leg) or not _is_theirs(leg, target):
        leg.respond(transaction, 603, headers=DECLINED, now=now)
    elif leg.call.transfer is not None or leg.call.state is not State.TALKING or leg.other.hung_up:
        leg.respond(transaction, 491, now=now)
    else:
        leg.respond(transaction, 202, contact=True, now=now)
        leg.call.transfer = transfer = Transfer(leg, request, target)
        transfer.begin(now)


def may_refer(leg: "Leg") -> bool:
    """Whether who is behind a leg may have calls made: one of the tenant's people at a PBX, where the settings let it,
    in a call that somebody could pay for and that was not transferred too often."""
    call = leg.call
    allowed = leg.trunk in call.core.settings.referrers and leg.flow.transport != LOOP
    return allowed and not call.verdict.emergency and len(call.parted) < TRANSFERS_MAX


class Referred(NamedTuple):
    """Where a REFER leads: to a number, or to who talks in the dialog that ``replaces`` names.  Both empty: nowhere."""

    number: str = ""
    replaces: str = ""


def referred_to(request: Request) -> Referred | None:
    """What Refer-To names (RFC 3515 2.1); nowhere for what is declined: another method than INVITE, other headers than
    Replaces, no number.  None where it is no Refer-To at all."""
    try:
        uri = parse_uri(parse_name_addr(request.get("Refer-To") or "").uri)
    except (BadMessage, BadUri):
        return None
    if not isinstance(uri, SipUri):
        return Referred(dialled_of(uri))
    if uri.params.get("method", "INVITE").upper() != "INVITE":
        return Referred()
    return Referred(replaces=replaces_in(uri.headers)) if uri.headers else Referred(dialled_of(uri))


def _is_theirs(leg: "Leg", target: Referred) -> bool:
    """Whether a dialog that is named is another call of the same PBX, in which nothing else is under way."""
    if not target.replaces:
        return True
    named = leg_named(leg.call.core, target.replaces)
    return named is not None and named.trunk == leg.trunk and named.call is not leg.call and can_give_way(named)


class Transfer:
    """One transfer under way: ``refers`` asked for it, ``stays`` is to be connected with who is behind ``leg``."""

    __slots__ = ("_answer", "_before", "_event_id", "_notifies", "_told", "call", "leg", "refers", "stays")

    def __init__(self, refers: "Leg", request: Request, target: Referred) -> None:
        self.call = refers.call
        self.refers, self.stays = refers, refers.other
        self._notifies = (request.get("Refer-Sub") or "").strip().lower() != "false"  # RFC 4488
        self._event_id = request.cseq[0]
        self._told = 0
        self._answer: Response | None = None
        self._before = self.stays.sdp
        names = [("Replaces", target.replaces)] if target.replaces else _names(refers, request)
        self.leg = ReferredLeg(self, Route(refers.trunk, LOOPED, target.number or "replaced"), names)

    def begin(self, now: float) -> None:
        """Invite the third party, and say that it is being tried (RFC 3515 2.4.4)."""
        self._tell(100, now)
        self.leg.dial(now)
        attempt, core = self.leg.attempt, self.call.core
        assert attempt is not None, "it was just invited"
        host = self.stays.flow.host
        attempt.told = core.borders.between(self.stays.trunk, self.refers.trunk, attempt.target.flow.host)
        attempt.tells = core.borders.between(self.refers.trunk, self.stays.trunk, host, own=True)

    # what happens meanwhile

    def takes(self, happening: Happening, event: CallEvent | None, now: float) -> bool:
        """Whether what happens to the call concerns the transfer alone; what ends the call ends it first."""
        if isinstance(event, HungUp) and event.leg is self.refers:
            self.call.clock.wait(self.refers.bell, inf)
            return True
        if happening is Happening.FENCED:
            self.leg.silent = True
            self._drop()
        elif happening in ENDS:
            self._give_up(487, now)
        return False

    def hear(self, event: CallEvent, now: float) -> None:
        """Something happened on the new leg."""
        if isinstance(event, Progress):
            self._tell(event.response.status, now)
        elif isinstance(event, Answered):
            self._answer = event.response
            self._offer(now)
        elif isinstance(event, Passed):  # nobody is there yet whom it could concern
            self.leg.take(Returned(self.leg, event.carry, 491, None), now)
        elif isinstance(event, Failed):
            self.fail(event.status, now)
        elif isinstance(event, Stopped):
            self.fail(event.reason.sip_status, now)
        elif isinstance(event, HungUp):
            self.fail(480, now)

    def hear_bell(self, now: float) -> None:
        """The third party takes too long, or what was in the way of the offer is over."""
        if self._answer is None:
            self.leg.hear_setup_bell(now)
        else:
            self._offer(now)

    def _offer(self, now: float) -> None:
        """Send the third party's description to the side that stays; later where an offer is open with that."""
        assert self._answer is not None, "it has answered"
        clock = self.call.clock
        clock.wait(Bell.SETUP, now + GLARE_RETRY_S if self.stays.is_offering else inf)
        if not self._answer.body:
            self.fail(488, now)
        elif not self.stays.is_offering:
            self._before = self.stays.sdp
            offer_to(self.stays, self._answer, now, partial(_Rejoined, self))

    # the end

    def join(self, answer: Response, now: float) -> None:
        """The side that stays agreed: the third party takes the place of who referred."""
        call, leg = self.call, self.leg
        leg.answer_offer(answer)
        leg.joined = True
        call.transfer = None
        call.replace(self.refers, leg)
        call.clock.wait(self.refers.bell, inf)
        self._tell(200, now)
        self.refers.hang_up(ending_headers(REASONS["COMPLETED"]), now)
        call.dialogs_changed(now)

    def restore(self, now: float) -> None:
        """The side that stays agreed when it was too late: it is told again of whom it talked with."""
        if not self.stays.hung_up and self.stays.sdp is not None:
            self.stays.keep_up("INVITE", now)

    def fail(self, status: int, now: float) -> None:
        """It does not come about: they talk on, or nobody is left to talk with."""
        self._give_up(status, now)
        if self.refers.hung_up:
            self.call.happen(Happening.HUNG_UP, HungUp(self.refers, ()), now)

    def _give_up(self, status: int, now: float) -> None:
        """Let the third party go, and tell who asked for it."""
        self._tell(status if status >= 300 else 500, now)
        self.stays.sdp = self._before
        if not self.leg.hung_up:
            self.leg.abandon((), now)
        self._drop()

    def _drop(self) -> None:
        self.call.transfer = None
        self.call.clock.wait(Bell.SETUP, inf)
        self.leg.leave()

    def _tell(self, status: int, now: float) -> None:
        """NOTIFY how far it is, each status once (RFC 3515 2.4.4)."""
        leg, core = self.refers, self.call.core
        if not self._notifies or leg.hung_up or status == self._told:
            return
        self._told = status
        active = f"active;expires={int(core.settings.ring_timeout_s)}"
        headers = [
            ("Event", f"refer;id={self._event_id}"),
            ("Subscription-State", active if status < 200 else "terminated;reason=noresource"),
            ("Contact", core.endpoint.contact(leg.flow)),
            ("Content-Type", "message/sipfrag;version=2.0"),
        ]
        body = f"SIP/2.0 {status} {PHRASES.get(status, 'Declined' if status >= 300 else 'Progress')}\r\n".encode()
        leg.send("NOTIFY", next(iter(leg.dialogs.values())), Told(), headers, body, now)


def _names(refers: "Leg", request: Request) -> Headers:
    """What the way to the third party says of itself: that it is a transfer (CONTRACT 6), and who wanted it."""
    call = refers.call
    names = [("X-Callgate-Kind", "transfer")]
    if refers is call.caller and call.verdict.user_id:
        names.append(("X-Callgate-User", call.verdict.user_id))
    by = request.get("Referred-By")
    return [*names, ("Referred-By", by)] if by else names


class ReferredLeg(LateLeg):
    """The leg to the third party, through the gate itself; the transfer hears of it until it is ``joined``."""

    __slots__ = ("_transfer", "joined")

    acked: ClassVar = True
    connected: ClassVar = True

    def __init__(self, transfer: Transfer, route: Route, more: Headers) -> None:
        call = transfer.call
        number = call.verdict.caller if transfer.refers is call.caller else call.verdict.number
        super().__init__(call, route, number, more)
        self._transfer = transfer
        self.joined = False

    def emit(self, event: CallEvent, now: float) -> None:
        """Tell the transfer, or the call once it is a side of it."""
        if self.joined:
            super().emit(event, now)
        elif self.call.transfer is self._transfer:
            self._transfer.hear(event, now)


class _Rejoined(Reoffer):
    """The side that stays agrees to talk with the third party, or does not."""

    __slots__ = ("_transfer",)

    def __init__(self, transfer: Transfer, leg: "Leg", method: str, dialog: Dialog) -> None:
        super().__init__(leg, method, dialog)
        self._transfer = transfer

    def agreed(self, response: Response, now: float) -> None:
        """Both have each other's description."""
        if self.leg.call.transfer is self._transfer:
            self._transfer.join(response, now)
        else:
            self._transfer.restore(now)

    def refused(self, status: int, now: float) -> None:
        """It stays with whom it talked."""
        if self.leg.call.transfer is self._transfer:
            self._transfer.fail(status, now)
