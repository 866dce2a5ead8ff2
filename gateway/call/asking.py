"""Requests inside a dialog to a peer that may want credentials: sent with them once it has, and again when it asks.

Only legs whose trunk has credentials send so; all others send as if there were no such thing.  The answer that asks is
heard by nobody else: who sent the request sees one request and one answer.
"""

from typing import TYPE_CHECKING, Any, Final

from gateway.call.targets import contact_beside, hop_of
from gateway.sip.digest import CHALLENGED, Credentials, Login
from gateway.sip.message import Response
from gateway.sip.transaction import ClientTransaction

SEQ_STORED_EVERY: Final = 64
"""Requests of ours in a dialog after which its CSeq number is stored anew: fewer than the jump of who adopts the call
(adopting.CSEQ_GAP), and so seldom that only long DTMF gets there."""

OFFERS: Final = frozenset({"INVITE", "UPDATE"})
"""Methods that say where the sender is (target refreshes)."""

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.call.carry import Owner
    from gateway.call.leg import Leg
    from gateway.sip.dialog import Dialog


class Asking:
    """One request of a leg, until its answer is not a challenge; it owns the transaction in the name of ``owner``."""

    __slots__ = ("_answered", "_body", "_dialog", "_headers", "_hops", "_leg", "_method", "_owner")

    def __init__(
        self,
        leg: "Leg",
        method: str,
        dialog: "Dialog",
        owner: "Owner",
        headers: "Iterable[tuple[str, str]]",
        body: bytes,
        hops: int,
    ) -> None:
        self._leg = leg
        self._method = method
        self._dialog = dialog
        self._owner = owner
        self._headers = tuple(headers)
        self._body = body
        self._hops = hops
        self._answered: set[tuple[str, str]] = set()

    def send(self, now: float) -> ClientTransaction:
        """Send it, with credentials where the peer has asked for some."""
        leg, method = self._leg, self._method
        shown: list[tuple[str, str]] = []
        if leg.login is not None:
            shown = leg.login.headers(method, self._dialog.request_uri, self._body)
        if method == "INVITE":
            leg.shown = shown
        return send_in(leg, method, self._dialog, self, [*self._headers, *shown], self._body, now, self._hops)

    def heard(self, response: Response, now: float) -> None:
        """The peer answered; a challenge is answered in turn, as long as the request still matters."""
        leg = self._leg
        matters = not leg.silent and (self._method == "BYE" or not leg.hung_up)
        if response.status in CHALLENGED and matters and learn(leg, response, self._answered):
            sent = self.send(now)
            owner: Any = self._owner
            if hasattr(owner, "sent"):  # a BYE's has neither
                owner.sent, owner.seq = sent, self._dialog.local_seq
        else:
            self._owner.heard(response, now)

    def failed(self, timeout: bool, now: float) -> None:
        """The peer was silent or cannot be reached."""
        self._owner.failed(timeout, now)


def send_in(
    leg: "Leg",
    method: str,
    dialog: "Dialog",
    owner: "Owner",
    headers: "Iterable[tuple[str, str]]",
    body: bytes,
    now: float,
    max_forwards: int,
) -> ClientTransaction:
    """Send the next request inside a dialog of ``leg``."""
    endpoint, flow = leg.call.core.endpoint, hop_of(dialog, leg.flow)
    fields = dialog.request(method)
    contact = contact_beside(fields.uri, endpoint.contact(flow)) if method in OFFERS else ""
    if fields.cseq % SEQ_STORED_EVERY == 0:
        leg.call.dialogs_changed(now)
    return endpoint.request_in(
        fields, flow, contact=contact, headers=headers, body=body, max_forwards=max_forwards, owner=owner, now=now
    )


def learn(leg: "Leg", response: Response, answered: "set[tuple[str, str]]") -> bool:
    """Whether the leg can answer this challenge with the credentials of its trunk."""
    credentials: Credentials | None = leg.credentials
    if credentials is None:
        return False
    if leg.login is None:
        settings = leg.call.core.settings
        refused_realm = settings.realm if leg.trunk in settings.guarded else ""
        leg.login = Login(credentials, leg.call.core.new_token, refused_realm)
    return leg.login.learn(response, answered)
