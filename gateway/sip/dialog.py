"""Dialogs (RFC 3261 12): who talks to whom, in which order, over which hops.

A dialog is made by a request that came in (UAS) or by a response to a request of ours (UAC); a forked INVITE makes
several, one for each To tag (12.1, 13.2.2.4).  It is plain state: nothing here is sent or timed.
"""

from typing import Final, NamedTuple

from gateway.sip.address import parse_name_addr
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.message import Message, Request, Response
from gateway.sip.uri import SipUri, parse_uri

EARLY_DIALOGS: Final = 16
"""Dialogs that one INVITE may open: carriers ring a handful of phones; more is a far end that mints tags."""


class RequestFields(NamedTuple):
    """What a request within a dialog has in its head, named as gateway.sip.build.build_request takes it."""

    method: str
    uri: str
    route: tuple[str, ...]
    from_: str
    to: str
    call_id: str
    cseq: int


class Dialog:
    """One dialog as this side sees it.

    ``local`` and ``remote`` are whole From/To values with their tags, ``remote_target`` is the URI of the other
    side's Contact, ``route_set`` the Route values in the order of sending.  ``local_seq`` is the last CSeq number
    sent (0: none), ``remote_seq`` the last received (-1: none; a peer may begin at 0).  ``confirmed`` is False while it
    is early.
    """

    __slots__ = (
        "call_id",
        "confirmed",
        "local",
        "local_seq",
        "local_tag",
        "remote",
        "remote_seq",
        "remote_tag",
        "remote_target",
        "route_set",
    )

    def __init__(
        self,
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        remote_target: str,
        *,
        route_set: tuple[str, ...] = (),
        local_seq: int = 0,
        remote_seq: int = -1,
        confirmed: bool = False,
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.remote_target = remote_target
        self.route_set = route_set
        self.local_seq = local_seq
        self.remote_seq = remote_seq
        self.confirmed = confirmed

    @classmethod
    def as_server(cls, request: Request, local_tag: str) -> "Dialog":
        """The dialog that our answer to ``request`` with ``local_tag`` makes (12.1.1).

        A caller without Contact (RFC 2543) is called back at its From URI.
        """
        from_ = request.from_
        return cls(
            request.call_id,
            f"{request._first['To']};tag={local_tag}",
            local_tag,
            request._first["From"],
            from_.tag,
            _target(request, from_.uri),
            route_set=_routes(request),
            remote_seq=request.cseq[0],
        )

    @classmethod
    def as_client(cls, response: Response, request_uri: str) -> "Dialog":
        """The dialog that ``response`` to our request to ``request_uri`` makes (12.1.2); confirmed by a 2xx.

        A far side without Contact is called at the request's URI.
        """
        return cls(
            response.call_id,
            response._first["From"],
            response.from_.tag,
            response._first["To"],
            response.to.tag,
            _target(response, request_uri),
            route_set=_routes(response)[::-1],
            local_seq=response.cseq[0],
            confirmed=response.status >= 200,
        )

    def confirm(self, response: Response) -> None:
        """A 2xx made this early dialog a confirmed one: target and route set are those of the 2xx (13.2.2.4)."""
        self.confirmed = True
        self.remote_target = _target(response, self.remote_target)
        self.route_set = _routes(response)[::-1]

    @property
    def request_uri(self) -> str:
        """The Request-URI of a request within the dialog (12.2.1.1)."""
        return self._fields("", 0).uri

    def request(self, method: str) -> RequestFields:
        """The head of a new request within the dialog, with the next CSeq number (12.2.1.1)."""
        self.local_seq += 1
        return self._fields(method, self.local_seq)

    def ack(self, cseq: int) -> RequestFields:
        """The head of the ACK to the 2xx of our INVITE with number ``cseq`` (13.2.2.4)."""
        return self._fields("ACK", cseq)

    def _fields(self, method: str, cseq: int) -> RequestFields:
        uri, route = self.remote_target, self.route_set
        if route and not _is_loose(route[0]):
            # A strict router gets its own URI as Request-URI; the target moves to the end (12.2.1.1).
            uri, route = _uri_of(route[0]), (*route[1:], f"<{uri}>")
        return RequestFields(method, uri, route, self.local, self.remote, self.call_id, cseq)

    def accept(self, request: Request) -> bool:
        """Take note of a request's CSeq number; False where it is out of order and must get 500 (12.2.2).

        Not for ACK and CANCEL, which carry the number of their INVITE.
        """
        number = request.cseq[0]
        if number <= self.remote_seq:
            return False
        self.remote_seq = number
        return True

    def refresh_target(self, message: Message) -> bool:
        """Take the Contact of a target refresh (re-INVITE, UPDATE, or a 2xx to one; 12.2.1.2); True if it changed."""
        target = _target(message, self.remote_target)
        changed = target != self.remote_target
        self.remote_target = target
        return changed

    def owns(self, request: Request) -> bool:
        """True for a request of the other side within this dialog (12.2.2); a missing tag equals an empty one."""
        return (
            request.call_id == self.call_id
            and request.to.tag == self.local_tag
            and request.from_.tag == self.remote_tag
        )

    def __repr__(self) -> str:
        return f"<Dialog {self.call_id} {self.local_tag}/{self.remote_tag}>"


def _target(message: Message, otherwise: str) -> str:
    """The URI of the Contact if it is one that can be sent to, else ``otherwise``."""
    contact = message.contact
    if contact is None:
        return otherwise
    try:
        return contact.uri if isinstance(parse_uri(contact.uri), SipUri) else otherwise
    except BadUri:
        return otherwise


def _routes(message: Message) -> tuple[str, ...]:
    return tuple(message.values("Record-Route")) if "Record-Route" in message._first else ()


def _uri_of(route: str) -> str:
    try:
        return parse_name_addr(route).uri
    except BadMessage:
        return ""


def _is_loose(route: str) -> bool:
    """True where the hop's URI has the parameter lr (16.12.1.1); what cannot be read is left to the next hop."""
    try:
        uri = parse_uri(_uri_of(route))
    except BadUri:
        return True
    return isinstance(uri, SipUri) and "lr" in uri.params
