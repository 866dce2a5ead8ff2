"""One side of a call that talks is replaced by another one, of which the gate itself is the peer.

A transfer changes a side of one call, or of two (gateway.call.referring, gateway.call.replacing)::

    stays ──── call ──── leaves
    stays ──── call ──── leg ──── (gate itself) ──── another call

While a change is under way the call goes on between who stays and who leaves, and the change hears first what happens:
who leaves may hang up already, and whatever ends the call ends the change.  It has one of two ends.  Either the new leg
takes its place and who leaves is hung up, or the new leg is let go and all is as it was.
"""

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.call.called import CalledLeg
from gateway.call.events import CallEvent, HungUp
from gateway.call.refusals import ending_headers
from gateway.call.states import Happening
from gateway.sip.events import Flow
from policy.reasons import REASONS
from policy.verdict import Route

if TYPE_CHECKING:
    from gateway.call.call import Call
    from gateway.call.leg import Leg

ENDS: Final = frozenset({Happening.HUNG_UP, Happening.STOPPED, Happening.DRY, Happening.NO_ACK, Happening.FENCED})
"""What ends a call, and a change of it before."""

GIVEN_UP: Final = 487
"""The status of a change whose call ended."""


class Change:
    """``leg`` is to take the place of ``leaves``, for the side that ``stays``; who begins it sets ``call.change``."""

    __slots__ = ("call", "leaves", "leg", "stays")

    leg: "Newcomer"

    def __init__(self, leaves: "Leg") -> None:
        self.call = leaves.call
        self.leaves, self.stays = leaves, leaves.other

    def takes(self, happening: Happening, event: CallEvent | None, now: float) -> bool:
        """Whether what happens to the call concerns the change alone."""
        if isinstance(event, HungUp) and event.leg is self.leaves:
            self.call.clock.wait(self.leaves.bell, inf)
            return True
        if happening in ENDS:
            self.end(GIVEN_UP, now)
        return False

    def hear(self, event: CallEvent, now: float) -> None:
        """Something happened on the new leg."""
        raise NotImplementedError

    def hear_bell(self, now: float) -> None:
        """What the change waited for takes too long."""

    def join(self, now: float) -> None:
        """The new leg takes its place, and who leaves is hung up."""
        call = self.call
        call.change = self.leg.change = None
        call.replace(self.leaves, self.leg)
        call.clock.wait(self.leaves.bell, inf)
        self.joined(now)
        self.leaves.hang_up(ending_headers(REASONS["COMPLETED"]), now)
        call.dialogs_changed(now)

    def joined(self, now: float) -> None:
        """It has come about; who leaves can still be told."""

    def fail(self, status: int, now: float) -> None:
        """It does not come about: they talk on, or nobody is left to talk with."""
        self.end(status, now)
        if self.leaves.hung_up:
            self.call.happen(Happening.HUNG_UP, HungUp(self.leaves, ()), now)

    def end(self, status: int, now: float) -> None:
        """Let the new leg go; ``status`` says why."""
        self.call.change = None
        self.leg.let_go(now)


class Newcomer(CalledLeg):
    """A leg that comes into a call that talks: nobody asked for it by an INVITE that it could repeat.

    Its ``change`` hears of it as long as one is under way, and where it never was one, or has come about, the call.
    """

    __slots__ = ("change",)

    acked: ClassVar = True
    connected: ClassVar = True
    """In a caller's place it is one that talks."""

    def __init__(self, call: "Call", routes: tuple[Route, ...], flow: Flow, change: Change | None) -> None:
        super().__init__(call, routes, flow)
        self.change = change
        self.session.duty = self.session.duty.NONE

    def sit_between(self, change: Change) -> None:
        """Know what it is told of who stays, and who stays of it."""
        leaves, stays, borders = change.leaves, change.stays, self.call.core.borders
        assert self.attempt is not None, "it is under way"
        self.attempt.told = borders.between(stays.trunk, leaves.trunk, self.flow.host)
        self.attempt.tells = borders.between(leaves.trunk, stays.trunk, stays.flow.host, own=True)

    def let_go(self, now: float) -> None:
        """It takes nobody's place: cancel it, or hang it up."""
        if not self.hung_up:
            self.abandon((), now)
        self.leave()

    def watch(self, now: float, *, anew: bool = True) -> None:
        """It has no session timer: its peer is this gate itself, or it lasts less than the shortest session."""

    def emit(self, event: CallEvent, now: float) -> None:
        """Tell the change, or the call."""
        if self.change is None:
            super().emit(event, now)
        elif self.call.change is self.change:
            self.change.hear(event, now)
