"""A call that takes another one's place (RFC 3891): the consultation call of an attended transfer.

A PBX that has two calls through the gate and wants their far sides to talk with each other refers the one to the other:
its Refer-To names, in Replaces, the dialog of its second call.  Nothing new is placed and nothing new is paid: both
calls go on, each at its own price, and the gate says an INVITE with Replaces to itself, from the one to the other
(gateway.call.referring)::

    stays ──── first call ──── (gate itself) ──── second call ──── stays

This module is the second call's side of it.  The INVITE has no offer; it goes on as a re-INVITE to the side that stays,
whose offer comes back in the 200 and whose answer in the ACK, as with any request that is passed on.

Only the gate itself may take a call's place: an INVITE with Replaces from a peer is a new call like any other.
"""

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gateway.call.changing import Change, Newcomer
from gateway.call.events import CallEvent, HungUp, Passed, Returned, Stopped
from gateway.call.leg import RESUMED_FORK, Leg
from gateway.call.states import Happening, State
from gateway.sip.dialog import Dialog
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from gateway.call.b2bua import B2bua


class Replaces(NamedTuple):
    """A dialog as its other end names it (RFC 3891 6.1): ``to_tag`` is the gate's, ``from_tag`` the peer's."""

    call_id: str
    to_tag: str
    from_tag: str

    def __str__(self) -> str:
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}"


def read_replaces(value: str) -> Replaces:
    """What a Replaces names; parameters that it has not are empty, and so name nothing."""
    call_id, *words = (word.strip() for word in value.split(";"))
    tags = dict(word.partition("=")[::2] for word in words)
    return Replaces(call_id, tags.get("to-tag", ""), tags.get("from-tag", ""))


def replaces_in(headers: str) -> Replaces | None:
    """The Replaces of a Refer-To URI's headers, unescaped; None where there is none, or another header with it."""
    name, _, value = headers.partition("=")
    return read_replaces(unquote(value)) if name.lower() == "replaces" and "&" not in value else None


def leg_named(core: "B2bua", named: Replaces) -> Leg | None:
    """The leg whose peer has the dialog that is named (RFC 3891 3); None where no call that talks has it."""
    leg = core.legs.get(named.to_tag)
    if leg is None or leg.hung_up or leg.call.state is not State.TALKING:
        return None
    wanted = named.call_id, named.from_tag
    return leg if any((each.call_id, each.remote_tag) == wanted for each in leg.dialogs.values()) else None


def can_give_way(leg: Leg) -> bool:
    """Whether nothing else is under way in the leg's call."""
    call = leg.call
    return call.change is None and call.state is State.TALKING and not (leg.hung_up or leg.other.hung_up)


def hear(core: "B2bua", transaction: ServerTransaction, request: Request, now: float) -> None:
    """An INVITE of the gate's own that takes the place of a PBX's call."""
    leg = leg_named(core, read_replaces(request.get("Replaces") or ""))
    if leg is None or leg.trunk != transaction.flow.host or not can_give_way(leg):
        core.endpoint.respond(transaction, 481, now=now)
        return
    leg.call.change = taking = Taking(leg, transaction, request)
    taking.leg.ask(transaction, request, now)


class Taking(Change):
    """The change of the second call."""

    __slots__ = ()

    leg: "TakenLeg"

    def __init__(self, leaves: Leg, transaction: ServerTransaction, request: Request) -> None:
        super().__init__(leaves)
        self.leg = TakenLeg(self, transaction, request)

    def takes(self, happening: Happening, event: CallEvent | None, now: float) -> bool:
        """As a change's; the answer of who stays to the new leg's INVITE decides it."""
        if not isinstance(event, Returned) or event.carry.leg is not self.leg:
            return super().takes(happening, event, now)
        self.leg.take(event, now)
        if 200 <= event.status < 300:
            self.join(now)
        elif event.status >= 300:
            self.fail(event.status, now)
        return True

    def hear(self, event: CallEvent, now: float) -> None:
        """The new leg asks something of who stays, or is over."""
        if isinstance(event, Passed):
            self.stays.take(event, now)
        elif isinstance(event, HungUp | Stopped):
            self.fail(480, now)


class TakenLeg(Newcomer):
    """The leg that takes a PBX's place, in a dialog that the gate itself began."""

    __slots__ = ()

    def __init__(self, change: Taking, transaction: ServerTransaction, request: Request) -> None:
        super().__init__(change.call, (), transaction.flow, change)
        dialog = Dialog.as_server(request, change.call.core.new_token())
        dialog.confirmed = self.resumed = True
        transaction.to_tag = dialog.local_tag
        self.dialogs[RESUMED_FORK] = dialog
        self.resume_attempt(dialog, change.leaves.trunk, 0)
        self.sit_opposite(next(iter(change.stays.dialogs)))
        self.sit_between(change)

    def ask(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Pass the INVITE on, as one inside a dialog."""
        self._pass(transaction, request, next(iter(self.dialogs)), now)

    def let_go(self, now: float) -> None:
        """Refuse what it asked."""
        self.hung_up = True
        self._close_open(now)
        self.leave()
