"""What a request that the gate sends inside a dialog belongs to: it is asked when the answer comes, or none does.

Every client transaction of a call has an owner with these two methods.  A :class:`Carry` is a request on its way from
one side to the other; :class:`Upkeep` the gate's own session refresh or question whether a peer is there;
:class:`Farewell` a BYE.
"""

from typing import TYPE_CHECKING, Protocol

from gateway.sip.dialog import Dialog
from gateway.sip.events import Send
from gateway.sip.message import Request, Response
from gateway.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from gateway.call.leg import Leg


class Owner(Protocol):
    """Who a client transaction reports to."""

    def heard(self, response: Response, now: float) -> None:
        """A response arrived; of an INVITE each provisional and every 2xx."""

    def failed(self, timeout: bool, now: float) -> None:
        """No response came in time, or the transport could not deliver the request."""


class Carry:
    """One request inside a dialog, from the side that sent it (``leg``) to the other (``far``).

    ``sent`` is the transaction on the far leg, ``dialog`` and ``seq`` its dialog and CSeq there; ``answered`` is set
    once its sender has a final answer, ``final`` once the far side gave one; ``ack`` is the ACK the far side got for
    its 2xx, kept because a repeated 2xx is acknowledged again.
    """

    __slots__ = (
        "ack", "answered", "dialog", "far", "final", "fork", "leg", "method", "request", "sent", "seq", "transaction",
    )  # fmt: skip

    def __init__(self, leg: "Leg", transaction: ServerTransaction, request: Request, fork: int) -> None:
        self.leg = leg
        self.transaction = transaction
        self.request = request
        self.method = request.method
        self.fork = fork
        self.far: Leg | None = None
        self.sent: ClientTransaction | None = None
        self.dialog: Dialog | None = None
        self.seq = 0
        self.final = False
        self.answered = False
        self.ack: Send | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether its sender still wants the answer: it has none, and has not cancelled."""
        return not (self.answered or self.transaction.cancelled)

    def end(self) -> None:
        """Its sender has the answer, and of a 2xx to INVITE also acknowledged it: nothing more comes of it."""
        self.answered = True
        self.transaction.owner = None

    def heard(self, response: Response, now: float) -> None:
        """The far side answered."""
        if self.far is not None:
            self.far.hear_reply(self, response, now)

    def failed(self, timeout: bool, now: float) -> None:
        """The far side was silent or cannot be reached."""
        if self.far is not None:
            self.far.hear_silence(self, timeout, now)


class Upkeep:
    """A refresh or probe of the gate's own on one leg."""

    __slots__ = ("ack", "dialog", "leg", "method", "sent", "seq")

    def __init__(self, leg: "Leg", method: str, dialog: Dialog) -> None:
        self.leg = leg
        self.method = method
        self.dialog = dialog
        self.sent: ClientTransaction | None = None
        self.seq = 0
        self.ack: Send | None = None

    def heard(self, response: Response, now: float) -> None:
        """The peer answered."""
        self.leg.hear_upkeep(self, response, now)

    def failed(self, timeout: bool, now: float) -> None:
        """The peer is gone, or cannot be reached."""
        self.sent = None
        self.leg.hear_no_upkeep(self, timeout, now)


class Farewell:
    """The BYE on one leg: whatever becomes of it, the leg is done."""

    __slots__ = ("leg",)

    def __init__(self, leg: "Leg") -> None:
        self.leg = leg

    def heard(self, response: Response, now: float) -> None:
        """The peer answered; any final answer ends the dialog (RFC 3261 15.1.1)."""
        if response.status >= 200:
            self.leg.clear(now)

    def failed(self, timeout: bool, now: float) -> None:
        """Nobody is there any more."""
        self.leg.clear(now)
