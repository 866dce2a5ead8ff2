"""A leg that is invited without an offer, because its offer goes to somebody who talks already.

The gate has no media of its own.  To connect a peer that talks with somebody else it invites whom that is to be with no
session description, passes the offer that comes in the 200 to the peer in a re-INVITE, and the peer's answer back in
the ACK (RFC 3725 4.1, with the sides changed).  So nobody is ever told of a place where nobody listens.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gateway.call.called import Attempt
from gateway.call.carry import Upkeep
from gateway.call.changing import Change, Newcomer
from gateway.call.clock import Bell
from gateway.call.targets import LOOPED, hop_of, target_of
from gateway.sip.events import Send
from gateway.sip.message import Response
from gateway.sip.uri import escape_user
from policy.reasons import REASONS
from policy.verdict import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call.call import Call
    from gateway.call.leg import Leg
    from gateway.sip.dialog import Dialog

_TAKES: Final = (("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS"),)


class LateLeg(Newcomer):
    """The leg to ``route``, its only target; ``caller`` is the number that From shows, ``more`` headers beside it."""

    __slots__ = ("_caller", "_more")

    def __init__(
        self,
        call: "Call",
        route: Route,
        caller: str,
        more: Iterable[tuple[str, str]] = (),
        change: Change | None = None,
    ) -> None:
        super().__init__(call, (route,), target_of(route).flow, change)
        self._caller = caller
        self._more = tuple(more)

    def dial(self, now: float) -> None:
        """Invite it."""
        core, (route,) = self.call.core, self._routes
        target = target_of(route)
        if route.target != LOOPED:
            target = target._replace(uri=route.target)
        self.attempt = Attempt(self, route, target, core.new_call_id(), core.new_token(), core.endpoint.new_branch())
        self.attempt.from_ = f"<sip:{escape_user(self._caller)}@{core.endpoint.identity.host}>"
        super().dial(now)

    def _invite(self, now: float) -> None:
        attempt, core = self.attempt, self.call.core
        if attempt is None:
            self._fail(480, REASONS["FAR_END"], None, now)
            return
        attempt.since = now
        self.flow = attempt.target.flow
        attempt.transaction = core.endpoint.request(
            "INVITE", attempt.target.uri, attempt.target.flow, from_=f"{attempt.from_};tag={attempt.tag}",
            to=f"<{attempt.target.uri}>", call_id=attempt.call_id, cseq=attempt.seq, route=attempt.target.route,
            contact=core.endpoint.contact(attempt.target.flow), headers=[*_TAKES, *self._more], branch=attempt.branch,
            owner=attempt, now=now,
        )  # fmt: skip
        core.legs[attempt.tag] = self
        self.call.clock.wait(Bell.SETUP, min(self._ring_end, now + core.settings.target_timeout_s))

    def answer_offer(self, answer: Response) -> None:
        """ACK its 2xx with the peer's answer to its offer."""
        attempt, fork = self.attempt, self.winner
        if attempt is None or fork is None or fork.ack is not None or self.hung_up:
            return
        flow, kind = hop_of(fork.dialog, self.flow), answer.get("Content-Type")
        described = [("Content-Type", kind)] if answer.body and kind else []
        if answer.body:
            self.sdp = (answer.body, kind or "application/sdp")
        data = self.call.core.endpoint.ack(fork.dialog.ack(attempt.seq), flow, headers=described, body=answer.body)
        fork.ack = Send(flow, data)


class Reoffer(Upkeep):
    """The re-INVITE to the peer, with the description of who it is to talk to from now on."""

    __slots__ = ()

    def heard(self, response: Response, now: float) -> None:
        """The peer agreed, or did not."""
        if response.status >= 300:
            self.end(now)
            self.refused(response.status, now)
            return
        super().heard(response, now)
        if response.status >= 200 and not self.leg.hung_up:
            self.agreed(response, now)

    def failed(self, timeout: bool, now: float) -> None:
        """The peer is not there any more."""
        self.end(now)
        if not self.leg.hung_up:
            self.refused(408, now)

    def end(self, now: float) -> None:
        """No offer of ours is open any more."""
        self.sent = None
        self.leg.offer_over(self)

    def agreed(self, response: Response, now: float) -> None:
        """Its 2xx came, and was acknowledged."""
        raise NotImplementedError

    def refused(self, status: int, now: float) -> None:
        """It does not want to, or is not there."""
        raise NotImplementedError


def offer_to(leg: "Leg", offer: Response, now: float, kind: "Callable[[Leg, str, Dialog], Reoffer]") -> None:
    """Send the offer of who is to be connected to a peer that talks; ``kind`` hears what comes of it."""
    leg.sdp = (offer.body, offer.get("Content-Type") or "application/sdp")
    leg.keep_up("INVITE", now, kind)
