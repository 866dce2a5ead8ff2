"""The peers of an adopted call: asked whether they are there, and moved where they believe the gate to be elsewhere.

A peer whose call another gate had sends what it says there.  A target refresh with our Contact moves its dialog here
(RFC 3261 12.2.1.2): UPDATE without a body where it takes that, else a re-INVITE that repeats the session description
it got last.  An offer of its own that is still under way to the dead gate makes it answer 491 for up to 64·T1, so that
is tried again as long.  Whoever refuses for another reason, or got no description that could be repeated, is *stray*:
the call goes on, but its BYE will not be heard, so it is asked often whether its dialog still stands, and talk counts
up to its last answer (SIP.md 5).
"""

from typing import TYPE_CHECKING, Final

from gateway.call.facts import Moved
from gateway.call.session_timer import Duty

if TYPE_CHECKING:
    from gateway.call.leg import Leg

PATIENCE_S: Final = 32.0
"""64·T1: how long the peer of an adopted call has to answer, be it that it has an offer of its own under way to where
the gate was (491), or has to connect again first."""

RECONNECT_ASKED_S: Final = 2.0
"""How often a peer that cannot be reached is tried meanwhile."""

STRAY_ASKED_S: Final = 15.0
"""How often a stray peer is asked: where it hung up, so much talk at most is not charged, and the other side hears of
it so late."""

GLARE_RETRY_S: Final = 3.0
"""When the gate's own refresh met an offer of the peer it is tried again: the middle of the 2.1 to 4 s that RFC 3261
14.1 gives to the owner of the Call-ID; a relayed offer is tried again by the side that made it."""


def ask_anew(leg: "Leg", now: float) -> None:
    """Ask the peer whether it is there, by a target refresh where it believes the gate to be elsewhere."""
    leg.patient_until = leg.patient_until or now + PATIENCE_S
    if leg.stray or not leg.astray:
        update = leg.session.duty is Duty.REFRESH and leg.allows_update and not leg.stray
        leg.keep_up("UPDATE" if update else "OPTIONS", now)
    elif leg.is_offering:
        leg.call.clock.wait(leg.bell, now + GLARE_RETRY_S)  # what is under way moves it too
    elif leg.allows_update or leg.sdp is not None:
        leg.keep_up("UPDATE" if leg.allows_update else "INVITE", now)
    else:
        lose(leg, "impossible", 0)
        leg.keep_up("OPTIONS", now)


def lose(leg: "Leg", result: str, status: int) -> None:
    """The peer does not follow to this gate."""
    leg.stray = True
    _tell(leg, result, status)


def arrive(leg: "Leg") -> None:
    """The peer has our Contact: from now on what it says comes here."""
    if leg.astray:
        leg.place, leg.stray = leg.call.core.endpoint.identity.place, False
        _tell(leg, "moved", 200)


def is_to_try_again(leg: "Leg", timeout: bool, now: float) -> bool:
    """Whether a peer that could not be asked may yet come: it may have lost its connection with the process that it was
    to, and has as long to connect again as one that is asked by UDP has to answer."""
    return leg.unproven and not timeout and now + RECONNECT_ASKED_S <= leg.patient_until


def _tell(leg: "Leg", result: str, status: int) -> None:
    call = leg.call
    call.core.tell(Moved(result, call.id, "caller" if leg is call.caller else "called", status))
