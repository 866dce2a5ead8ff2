"""The SIP endpoint: bytes and the time come in, events and bytes go out (RFC 3261 8, 9, 11, 13, 17).

It answers by itself whatever needs no call to be known: what cannot be read, what is asked in vain, what comes twice,
CANCEL, OPTIONS.  Such answers are given without a transaction (8.2.7): a repeated request is answered anew, with the
same To tag, because the tag is made of the request; so nobody can fill the memory with requests that are refused.
All else becomes an event.

It is a user agent on both sides of a B2BUA and never a proxy: Via does not cross, so a loop shows as a hop of its own
in what comes in, and Max-Forwards, which crosses the legs, ends the loops that do not show (RFC 7332).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from zlib import crc32

from gateway.sip.address import MAGIC_COOKIE, Via
from gateway.sip.build import Headers, build_request, build_response, echo_of
from gateway.sip.deadlines import Deadlines
from gateway.sip.demands import ALLOWED, CARRIED, SUPPORTED, fault_of, unserved
from gateway.sip.dialog import RequestFields
from gateway.sip.errors import BadMessage
from gateway.sip.events import (
    LOOP,
    AckArrived,
    CancelArrived,
    Event,
    Flow,
    InviteArrived,
    RequestArrived,
    Send,
    StrayAnswer,
)
from gateway.sip.identity import Identity, mark_of
from gateway.sip.large import LargeRequests
from gateway.sip.layer import Counts, Timers, TransactionLayer, merge_key, server_key
from gateway.sip.message import DEFAULT_SIZE, METHODS, Request, Response, Size, parse
from gateway.sip.reasons import SIP_REASONS, SipReason, reason_of_fault, refusal_of
from gateway.sip.transaction import (
    ACCEPTED,
    ACK,
    CALLING,
    PROCEEDING,
    REQUEST,
    STATUS_EVENTS,
    TERMINATED,
    ClientTransaction,
    Head,
    ServerTransaction,
    send_cancel,
)

__all__ = ["ALLOWED", "SUPPORTED", "Endpoint", "Identity", "Limits", "Timers"]

KEEPALIVE_SIZE: Final = 4
"""Datagrams up to this size are keep-alives (RFC 5626: CRLF CRLF; other peers send NULs), not broken messages."""


class Limits(NamedTuple):
    """What the endpoint takes before it refuses."""

    transactions: int = 400_000
    """Live transactions; beyond, new requests get 503.  2000 calls/s × 4 transactions × 32 s of Timers J, L and M make
    256 000."""
    passes: int = 2
    """How often a request for one number may come back here.  Once is a call to a service number that went out to a
    carrier and came in again; the second time it is a loop (16.3)."""
    size: Size = DEFAULT_SIZE


BUSY_RETRY_S: Final = 10
"""What Retry-After says when there are too many transactions: Timers J and L have let some of them go by then."""

OTHER: Final = "other"
"""How methods that have no RFC are counted, so that nobody can make up more counters."""


class Endpoint:
    """The SIP core of one worker.

    ``new_token`` gives a fresh word for branches and tags, at least 32 random bits (19.3) of token characters.
    ``deadlines`` is run by the owner, who also calls :meth:`take_events` and :meth:`take_output` after each turn.
    ``available_status`` is the answer to OPTIONS outside dialogs: what an INVITE would meet (11.2), 200 or 503.
    """

    def __init__(
        self,
        identity: Identity,
        deadlines: Deadlines,
        new_token: Callable[[], str],
        timers: Timers = Timers(),  # noqa: B008 - immutable
        limits: Limits = Limits(),  # noqa: B008 - immutable
        *,
        allowed: Iterable[str] = ALLOWED,
        supported: Iterable[str] = SUPPORTED,
    ) -> None:
        self.identity = identity
        self.available_status = 200
        self.loops = False
        """Whether it has ever said something to itself: else nobody need look."""
        self._new_token = new_token
        self._limits = limits
        self._allowed = tuple(allowed)
        self._supported = frozenset(supported)
        self._may_require = self._supported | CARRIED
        self._layer = TransactionLayer(deadlines, timers, LargeRequests(identity))
        self._salt = crc32(new_token().encode())
        self._product = (("Server", identity.product),) if identity.product else ()
        self._user_agent = (("User-Agent", identity.product),) if identity.product else ()
        self._about = (
            ("Allow", ", ".join(self._allowed)),
            ("Supported", ", ".join(sorted(self._supported))),
            ("Accept", "application/sdp"),
        )

    @property
    def load(self) -> int:
        """Live transactions, with those that only linger to absorb retransmissions."""
        return len(self._layer.clients) + len(self._layer.servers)

    @property
    def large(self) -> LargeRequests:
        """Which peers get requests that are too large for a datagram over TCP."""
        return self._layer.large

    @property
    def counts(self) -> Counts:
        """What went by."""
        return self._layer.counts

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events = self._layer.events
        if events:
            self._layer.events = []
        return events

    def take_output(self) -> list[Send]:
        """What is to be sent since the last call, in order."""
        output = self._layer.output
        if output:
            self._layer.output = []
        return output

    # What comes in

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one datagram, or one message that a StreamFramer cut from a stream."""
        if len(data) <= KEEPALIVE_SIZE:
            return
        try:
            message = parse(data, self._limits.size, stream=flow.transport != "udp")
        except BadMessage as bad:
            self._refuse_unreadable(bad, flow)
            return
        messages = self._layer.counts.messages
        method = message.cseq[1]
        messages["in", method if method in METHODS else OTHER, message.status if type(message) is Response else 0] += 1
        if type(message) is Response:
            self._take_response(message, flow, now)
        elif type(message) is Request:
            self._take_request(message, flow, now)

    def hear_own(self, now: float) -> bool:
        """Take what this endpoint has said to itself since the last call, as if it had come in; False: nothing."""
        layer = self._layer
        own = [sent for sent in layer.output if sent.flow.transport == LOOP]
        if own:
            layer.output = [sent for sent in layer.output if sent.flow.transport != LOOP]
        for flow, data in own:
            self.receive(data, flow, now)
        return bool(own)

    def send_failed(self, flow: Flow, now: float) -> None:
        """The transport could not send to ``flow``: requests to it that nobody answered yet have failed (17.1.4)."""
        peer = flow[:3]
        for client in [client for client in self._layer.unanswered.values() if client.target[:3] == peer]:
            self._layer.not_sent(client, now)

    def connection_lost(self, flow: Flow, now: float) -> None:
        """A connection ended: as :meth:`send_failed`.  Where an INVITE rings, its answer may come over another one."""
        self.send_failed(flow, now)

    # What goes out

    def new_branch(self) -> str:
        """A branch that nobody has used: the magic cookie and a fresh token (8.1.1.7)."""
        return MAGIC_COOKIE + self._new_token()

    def contact(self, flow: Flow, user: str = "") -> str:
        """Our Contact value for a peer on ``flow``, with its ``<>``; ``user`` must be escaped."""
        identity = self.identity if self.identity.other is None else self.identity.towards(flow.host)
        return identity.contact(flow.transport, user)

    def _with_product(self, headers: Headers) -> Headers:
        return (*headers, *self._user_agent) if self._user_agent else headers

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str = "",
        contact: str = "",
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        now: float,
    ) -> None:
        """Answer a request; nothing happens if it has its final answer already.

        Without ``to_tag`` the transaction's tag is used, or a new one.  Several tags make several early dialogs.  A
        2xx to an INVITE is repeated until its ACK comes; AckMissing says that none came in 64·T1 (13.3.1.4).
        """
        if transaction.status >= 200 or transaction.state == TERMINATED:
            return
        request = transaction.request
        if status > 100:
            to_tag = request.to.tag or to_tag or transaction.to_tag or self._new_token()
            transaction.to_tag = to_tag
        elif "Timestamp" in request._first:  # sent in the turn that brought it: no delay to add (8.2.6.1)
            headers = (*headers, ("Timestamp", request._first["Timestamp"]))
        if request.echo is None:
            flow = transaction.flow
            echo_of(request, request.top_via.stamped(flow.host, flow.port))
        data = build_response(
            request,
            status,
            reason,
            to_tag=to_tag,
            contact=contact,
            headers=(*headers, *self._product) if self._product else headers,
            body=body,
            content_type=content_type,
        )
        if transaction.step(STATUS_EVENTS[status // 100], data, now):
            transaction.status = status
            method = transaction.method
            self._layer.counts.messages["out", method if method in METHODS else OTHER, status] += 1

    def request(
        self,
        method: str,
        uri: str,
        target: Flow,
        *,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
        route: Iterable[str] = (),
        max_forwards: int = 70,
        contact: str = "",
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        branch: str = "",
        owner: Any = None,
        now: float,
    ) -> ClientTransaction:
        """Send a request (any but ACK and CANCEL) in a new transaction; its responses come as ResponseArrived.

        ``from_``, ``to``, ``contact`` and each ``route`` are whole header values; ``from_`` has its tag.  ``branch`` is
        one of :meth:`new_branch` where it had to be known before.
        """
        branch = branch or self.new_branch()
        if target.transport == LOOP:
            self.loops = True
        identity = self.identity if self.identity.other is None else self.identity.towards(target.host)
        via = identity.via(target.transport, branch)
        head: Head | None = None
        if method == "INVITE":
            via += mark_of(uri)
            head = Head(uri, via, tuple(route), from_, to, call_id, cseq)
        data = build_request(
            method,
            uri,
            via=via,
            from_=from_,
            to=to,
            call_id=call_id,
            cseq=cseq,
            route=route,
            max_forwards=max_forwards,
            contact=contact,
            headers=self._with_product(headers),
            body=body,
            content_type=content_type,
        )
        return self._layer.open_client(method, branch, data, target, owner, head, now)

    def request_in(
        self,
        fields: RequestFields,
        target: Flow,
        *,
        contact: str = "",
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        max_forwards: int = 70,
        owner: Any = None,
        now: float,
    ) -> ClientTransaction:
        """Send a request within a dialog: ``fields`` are what Dialog.request gave (12.2.1)."""
        return self.request(
            fields.method,
            fields.uri,
            target,
            from_=fields.from_,
            to=fields.to,
            call_id=fields.call_id,
            cseq=fields.cseq,
            route=fields.route,
            max_forwards=max_forwards,
            contact=contact,
            headers=headers,
            body=body,
            content_type=content_type,
            owner=owner,
            now=now,
        )

    def ack(
        self,
        fields: RequestFields,
        target: Flow,
        *,
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        max_forwards: int = 70,
    ) -> bytes:
        """Send the ACK to a 2xx of an INVITE of ours; ``fields`` are what Dialog.ack gave (13.2.2.4).

        It is no transaction: the caller keeps the bytes, for :meth:`resend` when the 2xx comes again.
        """
        identity = self.identity if self.identity.other is None else self.identity.towards(target.host)
        data = build_request(
            "ACK",
            fields.uri,
            via=identity.via(target.transport, self.new_branch()),
            from_=fields.from_,
            to=fields.to,
            call_id=fields.call_id,
            cseq=fields.cseq,
            route=fields.route,
            max_forwards=max_forwards,
            headers=self._with_product(headers),
            body=body,
            content_type=content_type,
        )
        self._layer.counts.messages["out", "ACK", 0] += 1
        self._layer.send(target, data)
        return data

    def resend(self, data: bytes, target: Flow) -> None:
        """Send an ACK once more."""
        self._layer.repeat(target, data)

    def cancel(self, transaction: ClientTransaction, *, headers: Headers = (), now: float) -> None:
        """Cancel an INVITE of ours: at once if it had a provisional response, else when one comes (9.1).

        Harmless when it is over or cancelled already.  The INVITE still ends with a final response, or with
        RequestFailed 64·T1 after the CANCEL.
        """
        if transaction.state == CALLING and transaction.is_invite:
            transaction.cancel_headers = tuple(headers)
        elif transaction.state == PROCEEDING and transaction.is_invite and not transaction.cancelled:
            transaction.cancel_headers = tuple(headers)
            send_cancel(transaction, None, now)

    def settled(self, transaction: ServerTransaction) -> None:
        """Expect no ACK to our 2xx any more, because its dialog is over: it is neither repeated nor missed."""
        transaction.acknowledged = True
        if transaction.deadline is not None:
            self._layer.deadlines.cancel(transaction.deadline)
            transaction.deadline = None
        self._layer.unacknowledged.pop((transaction.to_tag, transaction.request.cseq[0]), None)

    # Requests

    def _take_request(self, request: Request, flow: Flow, now: float) -> None:
        method = request.method
        if method == "ACK":
            self._take_ack(request, flow, now)
            return
        layer = self._layer
        key = server_key(request)
        server = layer.servers.get(key)
        if method == "CANCEL":
            self._take_cancel(request, flow, server)
        elif server is not None and (request.top_via.is_cookie or server.request.to.tag == request.to.tag):
            layer.counts.repeated_in += 1
            server.step(REQUEST, b"", now)
        elif not self._settle_alone(request, flow):
            via = request.top_via
            server = layer.open_server(request, flow, reply_flow(via, flow), key)
            opened = InviteArrived if method == "INVITE" else RequestArrived
            layer.events.append(opened(server, request))

    def _take_ack(self, request: Request, flow: Flow, now: float) -> None:
        """An ACK belongs to a refusal by its branch (17.2.3), to a 2xx by its dialog (13.3.1.4)."""
        layer = self._layer
        tag = request.to.tag
        answered = layer.unacknowledged.get((tag, request.cseq[0]))
        if answered is not None and answered.request.call_id == request.call_id:
            self.settled(answered)
        else:
            server = layer.servers.get(server_key(request))
            if server is not None and server.state != ACCEPTED:
                if request.top_via.is_cookie or tag == server.to_tag:
                    server.step(ACK, b"", now)
                return
            if tag == self._tag_for(request):
                return
        layer.events.append(AckArrived(request, flow))

    def _take_cancel(self, request: Request, flow: Flow, server: ServerTransaction | None) -> None:
        """Answer a CANCEL with the tag of its INVITE's answers (9.2); tell about the first one that is in time."""
        if server is None or not server.is_invite:
            self._answer(request, flow, 481)
            return
        if not server.to_tag:
            server.to_tag = server.request.to.tag or self._new_token()
        self._answer(request, flow, 200, to_tag=server.to_tag)
        if not server.cancelled and not server.finished:
            server.cancelled = True
            self._layer.events.append(CancelArrived(server, request))

    def _settle_alone(self, request: Request, flow: Flow) -> bool:
        """Answer what needs no call to be known, in the order of 8.2; False where the request is for the user."""
        fault = fault_of(request)
        if fault is not None:
            self._refuse(request, flow, reason_of_fault(fault.status), details=fault.text)
        elif request.method not in self._allowed:
            self._refuse(request, flow, unserved(request.method), headers=self._about[:1])
        elif (not request.to.tag and self._turns_away(request, flow)) or (
            "Require" in request._first and self._lacks_extension(request, flow)
        ):
            return True
        elif request.method == "OPTIONS" and not request.to.tag:
            self._answer(request, flow, self.available_status, headers=self._about)
        else:
            return False
        return True

    def _turns_away(self, request: Request, flow: Flow) -> bool:
        """Refuse a request outside dialogs that went too far, came twice, or is one too many."""
        if request.max_forwards == 0:  # RFC 7332: a B2BUA checks it like a proxy
            self._refuse(request, flow, SIP_REASONS["TOO_MANY_HOPS"])
        elif merge_key(request) in self._layer.merged:
            self._refuse(request, flow, SIP_REASONS["MERGED"], phrase="Request Merged")
        elif request.via_count > 1 and self.identity.passes(request) >= self._limits.passes:
            self._refuse(request, flow, SIP_REASONS["LOOP"])
        elif self.load >= self._limits.transactions:
            self._refuse(request, flow, SIP_REASONS["OVERLOADED"], headers=(("Retry-After", str(BUSY_RETRY_S)),))
        else:
            return False
        return True

    def _lacks_extension(self, request: Request, flow: Flow) -> bool:
        """Refuse what requires an extension nobody here knows (8.2.2.3)."""
        unknown = [tag for tag in request.values("Require") if tag.lower() not in self._may_require]
        if unknown:
            self._refuse(request, flow, SIP_REASONS["BAD_EXTENSION"], headers=(("Unsupported", ", ".join(unknown)),))
        return bool(unknown)

    def _refuse(
        self,
        request: Request,
        flow: Flow,
        reason: SipReason,
        *,
        phrase: str | None = None,
        headers: Headers = (),
        details: str = "",
    ) -> None:
        """Refuse without a transaction, and say why in the words of CONTRACT 6."""
        headers = (*headers, *refusal_of(reason, details))
        self._answer(request, flow, reason.status, reason=phrase, headers=headers)

    def _answer(
        self,
        request: Request,
        flow: Flow,
        status: int,
        *,
        reason: str | None = None,
        to_tag: str = "",
        headers: Headers = (),
    ) -> None:
        """Answer without a transaction (8.2.7)."""
        via = request.top_via
        echo_of(request, via.stamped(flow.host, flow.port))
        tag = to_tag or self._tag_for(request)
        data = build_response(request, status, reason, to_tag=tag, headers=(*headers, *self._product))
        self._layer.count_out(request.method if request.method in METHODS else OTHER, status)
        self._layer.send(reply_flow(via, flow), data)

    def _tag_for(self, request: Request) -> str:
        """The To tag of an answer without a transaction: the same for a retransmission and for its ACK (8.2.7)."""
        text = f"{request.top_via.branch} {request.call_id} {request.from_.tag} {request.cseq[0]}"
        return f"{crc32(text.encode(), self._salt):08x}"

    def _refuse_unreadable(self, bad: BadMessage, flow: Flow) -> None:
        """Answer a request that could not be read as far as it could be; anything else is dropped (18.3)."""
        self._layer.counts.parse_errors += 1
        request, via = bad.request, bad.via
        if request is None:
            return
        if via is not None:
            echo_of(request, via.stamped(flow.host, flow.port))
            flow = reply_flow(via, flow)
        headers = (*refusal_of(reason_of_fault(bad.status), bad.text), *self._product)
        data = build_response(request, bad.status, to_tag=self._new_token(), headers=headers)
        self._layer.count_out(request.method if request.method in METHODS else OTHER, bad.status)
        self._layer.send(flow, data)

    # Responses

    def _take_response(self, response: Response, flow: Flow, now: float) -> None:
        layer = self._layer
        client = layer.client_of(response)
        if response.via_count != 1:  # a response of ours went through no proxy of ours (8.1.3.3)
            return
        if response.cseq[1] == "INVITE" and response.status > 100 and not response.to.uri:
            layer.counts.parse_errors += 1
        elif client is None:
            self._take_stray(response, flow)
        else:
            layer.unanswered.pop(client.key, None)
            if not client.step(STATUS_EVENTS[response.status // 100], response, now):
                layer.counts.repeated_in += 1

    def _take_stray(self, response: Response, flow: Flow) -> None:
        """Tell about a 2xx to an INVITE that was ours by its Via; anything else is dropped (18.1.2)."""
        if response.status // 100 != 2 or response.cseq[1] != "INVITE":
            return
        try:
            via = response.top_via
        except BadMessage:
            return
        if via.is_cookie and self.identity.is_mine(via):
            self._layer.events.append(StrayAnswer(response, flow))


def reply_flow(via: Via, flow: Flow) -> Flow:
    """Where answers go (18.2.2, RFC 3581 4): back on the connection; for datagrams to the address the request came
    from, at its port if the peer asks for that, else at the one Via names.

    maddr is not obeyed: it would let anyone aim our answers at a third party.
    """
    if flow.transport != "udp" or via.wants_rport:
        return flow
    port = via.reply_port
    return flow if port == flow.port else Flow("udp", flow.host, port, flow.local)
