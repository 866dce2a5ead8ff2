"""RFC 4028 on one leg by itself: what the gate agrees with that peer, and when who has to refresh.

Nothing of it is copied to the other leg.  As UAS the gate accepts a peer's interval between its Min-SE and our own
setting, leaves the refreshing to a peer that can do it, and refuses an interval below 90 s with 422.  As UAC it
offers its own setting, takes what the answer says, and comes again with a larger interval after a 422; a peer whose
422 asks for nothing larger is asked for no interval at all, so that nothing is left to refuse.  A refresh that is
refused is sent again before the session expires, a few times (RFC 4028 10).

Where a peer does not know session timers, nothing is agreed: the gate then looks at each half interval whether the
peer is still there (OPTIONS inside the dialog; 481, 408 or silence ends the call), which needs no support from it.  By
setting it asks so more often, whatever is agreed, so that a peer that is gone is noticed sooner.
"""

from enum import StrEnum
from math import inf
from typing import Final

from gateway.call.settings import MIN_SESSION_EXPIRES_S
from gateway.sip.kept import kept
from gateway.sip.message import Request, Response
from gateway.sip.reasons import SIP_REASONS, Headers, refusal_of

EXPIRY_MARGIN_S: Final = 32
"""A session whose refresh did not come ends this long before it expires, or a third of it (RFC 4028 10)."""

INTERVAL_LIMIT_S: Final = 86_400
"""Longest interval taken from a peer that asks for more than ours: longer ones protect nothing."""

SHORTEST_REFRESH_S: Final = 20
"""A peer may agree to less than the 90 s that RFC 4028 5 asks for, and hangs up when it is not refreshed by then: the
gate refreshes as often as it wants, but for a peer that would have each call's refreshes fill the line."""

RAISES_MAX: Final = 3
"""Larger intervals taken from 422s one after another: two proxies and the far end may each raise it once."""

REFRESHES_MAX: Final = 3
"""Times that a refused refresh is sent again, each an eighth of the interval later: the last one is due when an eighth
is left, and a peer that still says no is not asked without end (RFC 4028 10)."""

_VALUES_CACHED: Final = 512
"""Different header values remembered: there are as many as there are kinds of peers."""


class Duty(StrEnum):
    """What the gate has to do on a leg."""

    NONE = "nothing"
    """Session timers are off."""
    REFRESH = "refresh"
    """The gate refreshes at half the interval."""
    WATCH = "watch"
    """The peer refreshes; the gate ends the call when it does not."""
    PROBE = "probe"
    """The peer knows no session timers; the gate asks whether it is there."""


class SessionTimer:
    """The agreement with one peer.  ``interval_s`` is the session interval, ``offer_s`` what the gate offers.

    With ``options_every_s`` above 0 the peer is asked so often whether it is there.  ``withheld``: the peer refused
    every interval, and the INVITE to it says nothing of session timers any more.
    """

    __slots__ = (
        "_due_at", "_min_se_s", "_options_every_s", "_raises", "_refusals", "duty", "interval_s", "offer_s", "withheld",
    )  # fmt: skip

    def __init__(self, session_expires_s: int, options_every_s: int = 0) -> None:
        self._options_every_s = options_every_s
        self._due_at = -inf
        self.offer_s = session_expires_s
        self.interval_s = session_expires_s
        self.duty = Duty.PROBE if session_expires_s else Duty.NONE
        self._min_se_s = MIN_SESSION_EXPIRES_S
        self._raises = self._refusals = 0
        self.withheld = False

    def resume(self, duty: str, interval_s: int) -> None:
        """Take up what another process agreed (gateway.call.adoption).  Raises ValueError for a duty there is not."""
        self.duty = Duty(duty)
        self.interval_s = interval_s

    def accept(self, request: Request) -> Headers:
        """As UAS: agree to what an INVITE or UPDATE of the peer asks; return what its 2xx carries (RFC 4028 9)."""
        if self.duty is Duty.NONE:
            return ()
        if not _timer(request):
            self.duty = Duty.PROBE
            return ()
        offered = _expires(request.get("Session-Expires") or "")
        least = max(MIN_SESSION_EXPIRES_S, _seconds(request.get("Min-SE")) or 0)
        wanted, refresher = offered if offered is not None else (self.offer_s, "")
        self.interval_s = min(max(least, min(wanted, self.offer_s)), INTERVAL_LIMIT_S)
        if refresher == "uas":
            self.duty = Duty.REFRESH
            return (("Session-Expires", f"{self.interval_s};refresher=uas"),)
        self.duty = Duty.WATCH
        return (("Session-Expires", f"{self.interval_s};refresher=uac"), ("Require", "timer"))

    def offer(self) -> Headers:
        """As UAC of the first INVITE: what it carries (RFC 4028 7.1)."""
        return self._asking(str(self.offer_s)) if self.offer_s and not self.withheld else ()

    def offer_again(self) -> Headers:
        """As UAC of a later INVITE or UPDATE: who refreshes stays as it is (RFC 4028 7.4)."""
        if self.duty in (Duty.NONE, Duty.PROBE):
            return ()
        refresher = "uac" if self.duty is Duty.REFRESH else "uas"
        return self._asking(f"{max(self.interval_s, MIN_SESSION_EXPIRES_S)};refresher={refresher}")

    def _asking(self, expires: str) -> Headers:
        """Session-Expires, and after a 422 the Min-SE that it brought (RFC 4028 7.3)."""
        if self._min_se_s > MIN_SESSION_EXPIRES_S:
            return (("Session-Expires", expires), ("Min-SE", str(self._min_se_s)))
        return (("Session-Expires", expires),)

    def raise_offer(self, response: Response) -> bool:
        """After a 422: offer what it asks for next time; False where it asks for nothing larger or too much."""
        least = _seconds(response.get("Min-SE"))
        if self.duty is Duty.NONE or least is None or not self._min_se_s < least <= INTERVAL_LIMIT_S:
            return False
        if self._raises == RAISES_MAX:
            return False
        self._raises += 1
        self._min_se_s = least
        self.offer_s = max(self.offer_s, least)
        self.interval_s = max(self.interval_s, least)
        return True

    def give_in(self, response: Response) -> bool:
        """After a 422 to the first INVITE: offer what it asks for, else nothing at all; False where nothing was."""
        if self.raise_offer(response):
            return True
        said, self.withheld = bool(self.offer()), True
        return said

    def agree(self, response: Response) -> None:
        """As UAC: take what a 2xx to an INVITE or UPDATE says (RFC 4028 7.2)."""
        self._raises = 0
        if self.duty is Duty.NONE:
            return
        agreed = _expires(response.get("Session-Expires") or "")
        if agreed is None:
            self.duty = Duty.PROBE
            self.interval_s = self.offer_s
            return
        self.duty = Duty.WATCH if agreed[1] == "uas" else Duty.REFRESH
        least = MIN_SESSION_EXPIRES_S if self.duty is Duty.WATCH else SHORTEST_REFRESH_S
        self.interval_s = min(max(agreed[0], least), INTERVAL_LIMIT_S)

    def due_at(self, now: float) -> float:
        """When the duty calls, counted from a refresh at ``now``, or the peer is asked before; ``inf``: never."""
        self._refusals = 0
        if self.duty is Duty.NONE:
            self._due_at = inf
        elif self.duty is Duty.WATCH:
            self._due_at = now + self.interval_s - min(EXPIRY_MARGIN_S, self.interval_s / 3)
        else:
            self._due_at = now + self.interval_s / 2
        return self.asked_at(now)

    def asked_at(self, now: float) -> float:
        """When the duty calls, or the peer is asked before that, where it was heard ``now`` without a refresh."""
        every_s = self._options_every_s
        return min(self._due_at, now + every_s) if every_s else self._due_at

    def refresh_again(self, now: float) -> bool:
        """Have a refresh that was refused ``now`` be due again before the session expires; False where it is no
        refresh of the gate's, or was refused too often."""
        if self.duty is not Duty.REFRESH or self._refusals == REFRESHES_MAX:
            return False
        self._refusals += 1
        self._due_at = now + self.interval_s / 8
        return True

    def is_due(self, now: float) -> bool:
        """Whether the duty calls, and not only the question between; so too before the first :meth:`due_at`."""
        return now >= self._due_at


TOO_SMALL: Final[Headers] = (
    ("Min-SE", str(MIN_SESSION_EXPIRES_S)),
    *refusal_of(SIP_REASONS["INTERVAL_TOO_SMALL"]),
)
"""What a 422 carries (RFC 4028 6)."""


def too_small(request: Request) -> bool:
    """Whether a peer asks for less than may be and can be told so: answer 422 with :data:`TOO_SMALL`."""
    offered = _expires(request.get("Session-Expires") or "")
    return offered is not None and offered[0] < MIN_SESSION_EXPIRES_S and _timer(request)


def _timer(message: Request) -> bool:
    return any(map(_names_timer, message.all("Supported")))


@kept(_VALUES_CACHED)
def _names_timer(value: str) -> bool:
    return any(tag.strip().lower() == "timer" for tag in value.split(","))


@kept(_VALUES_CACHED)
def _expires(value: str) -> tuple[int, str] | None:
    """Seconds and refresher (``uac``, ``uas`` or nothing) of a Session-Expires; None where it cannot be read."""
    number, *params = (part.strip() for part in value.split(";"))
    seconds = _seconds(number)
    if seconds is None:
        return None
    refresher = next((param[10:].strip().lower() for param in params if param.lower().startswith("refresher=")), "")
    return seconds, refresher if refresher in ("uac", "uas") else ""


def _seconds(value: str | None) -> int | None:
    """Delta-seconds of Min-SE or Session-Expires, whose parameters are left aside; None where it is no number."""
    number = (value or "").partition(";")[0].strip()
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 10 else None
