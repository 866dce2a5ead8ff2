"""A call that takes another one's place (RFC 3891): the consultation call of an attended transfer.

A PBX that has two calls through the gate and wants their far sides to talk with each other refers the one to the other:
its Refer-To names, in Replaces, the dialog of its second call.  Nothing new is placed and nothing new is paid: both
calls go on, each at its own price, and the gate says an INVITE with Replaces to itself, from the one to the other
(gateway.call.referring)::

    stays ──── first call ──── (gate itself) ──── second call ──── stays

This module is the second call's side of it.  The INVITE has no offer; it goes on as a re-INVITE to the side that stays,
whose offer comes back in the 200 and whose answer in the ACK, as with any request that is passed on.  Once it has
agreed, the new leg takes the place of the PBX's, which is hung up.

Only the gate itself may take a call's place: an INVITE with Replaces from a peer is a new call like any other.
"""

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote

from gateway.call.called import CalledLeg
from gateway.call.events import Acked, CallEvent, HungUp, Passed, Returned, Stopped
from gateway.call.leg import RESUMED_FORK, Leg
from gateway.call.refusals import ending_headers
from gateway.call.states import Happening, State
from gateway.sip.dialog import Dialog
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction
from policy.reasons import REASONS

if TYPE_CHECKING:
    from gateway.call.b2bua import B2bua

ENDS: Final = frozenset({Happening.HUNG_UP, Happening.STOPPED, Happening.DRY, Happening.NO_ACK, Happening.FENCED})
"""What ends a call one of whose sides is about to be replaced."""


def replaces_in(headers: str) -> str:
    """The Replaces of a Refer-To URI's headers (RFC 3891 6.1), unescaped; empty where there is none, or another one."""
    name, _, value = headers.partition("=")
    return unquote(value) if name.lower() == "replaces" and "&" not in value else ""


def leg_named(core: "B2bua", replaces: str) -> Leg | None:
    """The leg whose peer has the dialog that a Replaces names (RFC 3891 3); None where no call that talks has it."""
    call_id, *words = (word.strip() for word in replaces.split(";"))
    tags = dict(word.partition("=")[::2] for word in words)
    leg = core.legs.get(tags.get("to-tag", ""))
    if leg is None or leg.hung_up or leg.call.state is not State.TALKING:
        return None
    wanted = (call_id, tags.get("from-tag", ""))
    return leg if any((each.call_id, each.remote_tag) == wanted for each in leg.dialogs.values()) else None


def can_give_way(leg: Leg) -> bool:
    """Whether nothing else is under way in the leg's call."""
    call = leg.call
    return call.transfer is None and call.state is State.TALKING and not (leg.hung_up or leg.other.hung_up)


def hear(core: "B2bua", transaction: ServerTransaction, request: Request, now: float) -> None:
    """An INVITE of the gate's own that takes the place of a PBX's call."""
    leg = leg_named(core, request.get("Replaces") or "")
    if leg is None or leg.trunk != transaction.flow.host or not can_give_way(leg):
        core.endpoint.respond(transaction, 481, now=now)
        return
    leg.call.transfer = taking = Taking(leg, transaction, request)
    taking.leg.ask(transaction, request, now)


class Taking:
    """One replacement under way: ``leg`` is to take the place of ``leaves``, for the side that ``stays``."""

    __slots__ = ("call", "leaves", "leg", "stays")

    def __init__(self, leaves: Leg, transaction: ServerTransaction, request: Request) -> None:
        self.call = leaves.call
        self.leaves, self.stays = leaves, leaves.other
        self.leg = TakenLeg(self, transaction, request)

    def takes(self, happening: Happening, event: CallEvent | None, now: float) -> bool:
        """Whether what happens to the call concerns the replacement alone; what ends the call ends it first."""
        if isinstance(event, HungUp) and event.leg is self.leaves:
            self.call.clock.wait(self.leaves.bell, inf)
            return True
        if isinstance(event, Returned) and event.carry.leg is self.leg:
            self._hear_answer(event, now)
            return True
        if happening in ENDS:
            self._drop(now)
        return False

    def hear(self, event: CallEvent, now: float) -> None:
        """Something happened on the new leg."""
        if isinstance(event, Passed):
            self.stays.take(event, now)
        elif isinstance(event, HungUp | Stopped):
            self._fail(now)

    def hear_bell(self, now: float) -> None:
        """It waits for nothing but the side that stays, whose own requests have their time limits."""

    def _hear_answer(self, event: Returned, now: float) -> None:
        self.leg.take(event, now)
        if 200 <= event.status < 300:
            self._join(now)
        elif event.status >= 300:
            self._fail(now)

    def _join(self, now: float) -> None:
        call = self.call
        call.transfer, self.leg.joined = None, True
        call.replace(self.leaves, self.leg)
        call.clock.wait(self.leaves.bell, inf)
        self.leaves.hang_up(ending_headers(REASONS["COMPLETED"]), now)
        call.dialogs_changed(now)

    def _fail(self, now: float) -> None:
        self._drop(now)
        if self.leaves.hung_up:
            self.call.happen(Happening.HUNG_UP, HungUp(self.leaves, ()), now)

    def _drop(self, now: float) -> None:
        self.call.transfer = None
        self.leg.give_up(now)


class TakenLeg(CalledLeg):
    """The leg that takes a PBX's place: the gate itself is its peer, in a dialog that the gate itself began."""

    __slots__ = ("_taking", "joined")

    acked: ClassVar = True
    connected: ClassVar = True

    def __init__(self, taking: Taking, transaction: ServerTransaction, request: Request) -> None:
        call, leaves, stays = taking.call, taking.leaves, taking.stays
        super().__init__(call, (), transaction.flow)
        self._taking = taking
        self.joined = False
        self.session.duty = self.session.duty.NONE
        dialog = Dialog.as_server(request, call.core.new_token())
        dialog.confirmed = self.resumed = True
        transaction.to_tag = dialog.local_tag
        self.dialogs[RESUMED_FORK] = dialog
        self.resume_attempt(dialog, leaves.trunk, 0)
        self.sit_opposite(next(iter(stays.dialogs)))
        attempt, borders = self.attempt, call.core.borders
        assert attempt is not None, "it was just resumed"
        attempt.told = borders.between(stays.trunk, leaves.trunk, self.flow.host)
        attempt.tells = borders.between(leaves.trunk, stays.trunk, stays.flow.host, own=True)

    def ask(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Pass the INVITE on, as one inside a dialog."""
        self._pass(transaction, request, next(iter(self.dialogs)), now)

    def give_up(self, now: float) -> None:
        """It takes nobody's place."""
        self.hung_up = True
        self._close_open(now)
        self.leave()

    def watch(self, now: float, *, anew: bool = True) -> None:
        """Its peer is this gate itself."""

    def emit(self, event: CallEvent, now: float) -> None:
        """Tell the replacement, or the call once it is a side of it."""
        if self.joined:
            super().emit(event, now)
        elif self.call.transfer is self._taking and not isinstance(event, Acked):
            self._taking.hear(event, now)
