"""Announcements without media: who has no money left is connected with somebody who says so, instead of with nobody.

The gate plays nothing itself; it has a SIP URI that answers, such as an announcement server or the top-up line of the
operator.  Only callers of PBXs hear it: they are the tenant's people, a caller from outside is not.

- A call that is refused for want of credit becomes a second one, to that URI, which nobody pays.  Where the URI does
  not answer the caller gets the 402 that it would have got.
- When the money of a call ends, its called side is hung up and the call settled, as at every cut; then the caller is
  moved to the URI (RFC 8506 5.6.2, Final-Unit-Action REDIRECT), by a leg that is invited late (gateway.call.late).  The
  call is not in the store any more: a gate that dies meanwhile leaves both sides to their own session timers.
- Before that the caller may be told by INFO, in JSON, how many seconds are left; who knows nothing of it says 415.
"""

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.call.clock import Bell
from gateway.call.late import LateLeg, Reoffer, offer_to
from gateway.call.refusals import ending_headers
from gateway.sip.events import LOOP
from gateway.sip.message import Response
from policy.reasons import REASONS
from policy.verdict import Allow, Limits, Route

if TYPE_CHECKING:
    from gateway.call.call import Call
    from gateway.call.commands import Grant

DESTINATION: Final = "announcement"
"""What the record of such a call says it led to."""


def concerns(call: "Call") -> bool:
    """Whether the caller is one of the tenant's people, who may hear of its money."""
    trunks = call.core.settings.announcing.trunks
    return call.verdict.trunk in trunks and call.caller.flow.transport != LOOP and not call.verdict.emergency


def instead_of_refusal(call: "Call", now: float) -> bool:
    """Connect the caller of a call that is refused for want of credit with who says so; False where nobody does."""
    announcing = call.core.settings.announcing
    if not announcing.refused or call.instead or not concerns(call):
        return False
    call.core.place(call.caller.hand_over(), _unpaid(call.verdict, announcing.refused, announcing.longest_s), True, now)
    return True


def _unpaid(verdict: Allow, uri: str, longest_s: int) -> Allow:
    """The same call to another place, paid by nobody and limited by nothing but its length."""
    return replace(
        verdict, routes=(Route("", uri, verdict.number),), payer="none", tariff=None, pools=(), credit="", changes=(),
        limits=Limits(), max_call_s=longest_s, destination=DESTINATION, failure_policy="terminate",
        credit_limit_micros=0,
    )  # fmt: skip


# at zero


def may_redirect(call: "Call") -> bool:
    """Whether the caller can be moved now: it has acknowledged, and no offer of anybody is open with it."""
    caller = call.caller
    return bool(call.core.settings.announcing.at_zero) and caller.acked and not caller.is_offering and concerns(call)


def redirect(call: "Call", now: float) -> None:
    """Invite who says that the money is over, for the caller of a call whose called side is hung up."""
    announcing = call.core.settings.announcing
    route = Route("", announcing.at_zero, call.verdict.number)
    call.parted += (call.called,)
    call.called = LateLeg(call, route, call.verdict.caller)
    call.called.dial(now)
    call.clock.wait(Bell.LONGEST, now + announcing.longest_s)


def offer_to_caller(call: "Call", offer: Response, now: float) -> None:
    """Send the announcement's offer to the caller; without one there is nothing to connect it with."""
    call.clock.wait(Bell.SETUP, inf)
    if offer.body:
        offer_to(call.caller, offer, now, _Moved)
    else:
        call.stop(REASONS["NO_CREDIT"], now)


class _Moved(Reoffer):
    """The caller hears who says that its money is over, or both are hung up."""

    __slots__ = ()

    def agreed(self, response: Response, now: float) -> None:
        """Its answer goes to who speaks."""
        if isinstance(self.leg.call.called, LateLeg):
            self.leg.call.called.answer_offer(response)

    def refused(self, status: int, now: float) -> None:
        """There is nobody to tell."""
        self.leg.call.stop(REASONS["NO_CREDIT"], now)


# before


def plan_warning(call: "Call", grant: "Grant | None", now: float) -> None:
    """Money ends, unless more comes: note when the caller is to hear of it.  A grant that was not trimmed says that it
    goes on."""
    announcing = call.core.settings.announcing
    if not announcing.warns or not call.caller.connected:
        return
    if grant is not None and not grant.final:
        call.clock.wait(Bell.WARNING, inf)
    elif call.warned_until != call.money.paid_until and concerns(call):
        call.clock.wait(Bell.WARNING, max(now, call.money.paid_until - announcing.warning_s))


def warn(call: "Call", now: float) -> None:
    """Tell the caller how long its money lasts; once for each end of it."""
    caller, until = call.caller, call.money.paid_until
    if caller.hung_up or not caller.acked or until == inf:
        return
    call.warned_until = until
    body = b'{"event":"call.low_credit","seconds":%d}' % max(0, round(until - now))
    headers = [("Content-Type", "application/json")]
    caller.send("INFO", next(iter(caller.dialogs.values())), Told(), headers, body, now)


class Told:
    """Whatever the caller says to the warning, the call goes on."""

    __slots__ = ()

    def heard(self, response: Response, now: float) -> None:
        """It took note, or did not know what to make of it."""

    def failed(self, timeout: bool, now: float) -> None:
        """It said nothing: the session timer finds out whether it is there."""


def part(call: "Call", now: float) -> None:
    """The announcement is over: hang up whoever is still there."""
    headers = ending_headers(REASONS["NO_CREDIT"])
    try:
        call.called.abandon(headers, now)
    finally:
        call.caller.hang_up(headers, now)
