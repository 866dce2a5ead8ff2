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
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.call.announcing import Told
from gateway.call.changing import Change
from gateway.call.clock import Bell
from gateway.call.events import Answered, CallEvent, Failed, HungUp, Passed, Progress, Returned, Stopped
from gateway.call.headers import Headers
from gateway.call.intake import dialled_of
from gateway.call.late import LateLeg, Reoffer, offer_to
from gateway.call.moving import GLARE_RETRY_S
from gateway.call.replacing import Replaces, can_give_way, leg_named, replaces_in
from gateway.call.states import Happening, State
from gateway.call.targets import LOOPED
from gateway.sip.address import parse_name_addr
from gateway.sip.build import REASONS as PHRASES
from gateway.sip.dialog import Dialog
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.events import LOOP
from gateway.sip.message import Request, Response
from gateway.sip.reasons import SIP_REASONS, refusal_of
from gateway.sip.transaction import ServerTransaction
from gateway.sip.uri import SipUri, parse_uri
from policy.verdict import Route

if TYPE_CHECKING:
    from gateway.call.leg import Leg

TRANSFERS_MAX: Final = 10
"""Transfers of one call: people do it once or twice, and each keeps a leg until the call is over."""

DECLINED: Final = tuple(refusal_of(SIP_REASONS["NO_TRANSFER"]))
"""What a 603 carries."""


def hear(leg: "Leg", transaction: ServerTransaction, request: Request, now: float) -> None:
    """A REFER of the peer inside the dialog of a call."""
    target = referred_to(request)
    if target is None:
        leg.respond(transaction, 400, now=now)
    elif not (target.number or target.replaces) or not may_refer(leg) or not _is_theirs(leg, target):
        leg.respond(transaction, 603, headers=DECLINED, now=now)
    elif leg.call.change is not None or leg.call.state is not State.TALKING or leg.other.hung_up:
        leg.respond(transaction, 491, now=now)
    else:
        leg.respond(transaction, 202, contact=True, now=now)
        leg.call.change = transfer = Transfer(leg, request, target)
        transfer.begin(now)


def may_refer(leg: "Leg") -> bool:
    """Whether who is behind a leg may have calls made: one of the tenant's people at a PBX, where the settings let it,
    in a call that somebody could pay for and that was not transferred too often."""
    call = leg.call
    allowed = leg.trunk in call.core.settings.referrers and leg.flow.transport != LOOP
    return allowed and not call.verdict.emergency and len(call.parted) < TRANSFERS_MAX


class Referred(NamedTuple):
    """Where a REFER leads: to a number, or to who talks in the dialog that ``replaces`` names.  Neither: nowhere."""

    number: str = ""
    replaces: Replaces | None = None


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
    if target.replaces is None:
        return True
    named = leg_named(leg.call.core, target.replaces)
    return named is not None and named.trunk == leg.trunk and named.call is not leg.call and can_give_way(named)


class Transfer(Change):
    """One transfer under way: who leaves has asked for it, the third party is behind ``leg``."""

    __slots__ = ("_answer", "_before", "_event_id", "_notifies", "_told")

    leg: LateLeg

    def __init__(self, leaves: "Leg", request: Request, target: Referred) -> None:
        super().__init__(leaves)
        self._notifies = (request.get("Refer-Sub") or "").strip().lower() != "false"  # RFC 4488
        self._event_id = request.cseq[0]
        self._told = 0
        self._answer: Response | None = None
        self._before = self.stays.sdp
        names = _names(leaves, request) if target.replaces is None else [("Replaces", str(target.replaces))]
        verdict, route = self.call.verdict, Route(leaves.trunk, LOOPED, target.number or "replaced")
        caller = verdict.caller if leaves is self.call.caller else verdict.number
        self.leg = LateLeg(self.call, route, caller, names, self)

    def begin(self, now: float) -> None:
        """Invite the third party, and say that it is being tried (RFC 3515 2.4.4)."""
        self._tell(100, now)
        self.leg.dial(now)
        self.leg.sit_between(self)

    # what happens meanwhile

    def takes(self, happening: Happening, event: CallEvent | None, now: float) -> bool:
        """As a change's; of a call that is another worker's nobody outside hears a word."""
        if happening is Happening.FENCED:
            self._notifies = False
        return super().takes(happening, event, now)

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

    def agree(self, answer: Response, now: float) -> None:
        """The side that stays agreed to talk with the third party."""
        self.leg.answer_offer(answer)
        self.join(now)

    def joined(self, now: float) -> None:
        """Tell who asked for it."""
        self._tell(200, now)

    def end(self, status: int, now: float) -> None:
        """Let the third party go, and tell who asked for it."""
        self._tell(status if status >= 300 else 500, now)
        self.stays.sdp = self._before
        self.call.clock.wait(Bell.SETUP, inf)
        super().end(status, now)

    def restore(self, now: float) -> None:
        """The side that stays agreed when it was too late: it is told again of whom it talked with."""
        if not self.stays.hung_up and self.stays.sdp is not None:
            self.stays.keep_up("INVITE", now)

    def _tell(self, status: int, now: float) -> None:
        """NOTIFY how far it is, each status once (RFC 3515 2.4.4)."""
        leg, core = self.leaves, self.call.core
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
        body = f"SIP/2.0 {status} {PHRASES.get(status, 'Unknown')}\r\n".encode()
        leg.send("NOTIFY", next(iter(leg.dialogs.values())), Told(), headers, body, now)


def _names(leaves: "Leg", request: Request) -> Headers:
    """What the way to the third party says of itself: that it is a transfer (CONTRACT 6), and who wanted it."""
    call = leaves.call
    names = [("X-Callgate-Kind", "transfer")]
    if leaves is call.caller and call.verdict.user_id:
        names.append(("X-Callgate-User", call.verdict.user_id))
    by = request.get("Referred-By")
    return [*names, ("Referred-By", by)] if by else names


class _Rejoined(Reoffer):
    """The side that stays agrees to talk with the third party, or does not."""

    __slots__ = ("_transfer",)

    def __init__(self, transfer: Transfer, leg: "Leg", method: str, dialog: Dialog) -> None:
        super().__init__(leg, method, dialog)
        self._transfer = transfer

    def agreed(self, response: Response, now: float) -> None:
        """Both have each other's description."""
        if self.leg.call.change is self._transfer:
            self._transfer.agree(response, now)
        else:
            self._transfer.restore(now)

    def refused(self, status: int, now: float) -> None:
        """It stays with whom it talked."""
        if self.leg.call.change is self._transfer:
            self._transfer.fail(status, now)
