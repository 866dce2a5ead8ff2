"""The four transaction machines of RFC 3261 17 with the Accepted states of RFC 6026, as literal tables.

A table says for each state what each event does: the next state and the actions, in their order.  An event that a
state does not list does nothing.  Timers carry the letters of RFC 3261's table 4 (M and L are RFC 6026's); which
letter a moment means is told by the state, so a transaction waits for at most two moments: the next retransmission,
and its end.  Retransmissions are timed where the transport is unreliable; the 2xx to an INVITE is repeated on every
transport, because the hops behind the next one may be datagrams (13.3.1.4).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.sip.build import build_request
from gateway.sip.deadlines import Deadline
from gateway.sip.events import AckMissing, Flow, RequestFailed, ResponseArrived
from gateway.sip.message import Request, Response

if TYPE_CHECKING:
    from gateway.sip.layer import TransactionLayer

NEVER: Final = float("inf")

# States
CALLING: Final = "calling"
TRYING: Final = "trying"
PROCEEDING: Final = "proceeding"
ACCEPTED: Final = "accepted"
COMPLETED: Final = "completed"
CONFIRMED: Final = "confirmed"
TERMINATED: Final = "terminated"

# Events: messages from the peer or from our side, and timers
REQUEST: Final = "request"
ACK: Final = "ACK"
PROVISIONAL: Final = "1xx"
SUCCESS: Final = "2xx"
REFUSAL: Final = "3xx-6xx"
TRANSPORT_ERROR: Final = "transport error"
TIMER_A: Final = "A"
TIMER_B: Final = "B"
TIMER_D: Final = "D"
TIMER_E: Final = "E"
TIMER_F: Final = "F"
TIMER_G: Final = "G"
TIMER_H: Final = "H"
TIMER_I: Final = "I"
TIMER_J: Final = "J"
TIMER_K: Final = "K"
TIMER_L: Final = "L"
TIMER_M: Final = "M"
TIMER_2XX: Final = "2xx again"
"""The unnamed timer of 13.3.1.4, which the transaction user would keep."""
CANCEL_TIMEOUT: Final = "64·T1 after CANCEL"
"""The unnamed timer of 9.1."""

STATUS_EVENTS: Final = ("", PROVISIONAL, SUCCESS, REFUSAL, REFUSAL, REFUSAL, REFUSAL)
"""The event that a status means, by its first digit."""


class Head(NamedTuple):
    """What a CANCEL and the ACK to a refusal repeat of their INVITE (9.1, 17.1.1.3)."""

    uri: str
    via: str
    route: tuple[str, ...]
    from_: str
    to: str
    call_id: str
    cseq: int


class ClientTransaction:
    """A request of ours and what comes back.

    ``method`` and ``branch`` identify it, ``target`` is where it was sent, ``request_bytes`` what was sent (empty once
    it need not be sent again), ``state`` where it stands.  ``owner`` is the caller's own, never touched here.
    """

    __slots__ = (
        "ack",
        "branch",
        "cancel_headers",
        "cancelled",
        "deadline",
        "ends_at",
        "head",
        "interval",
        "is_invite",
        "key",
        "layer",
        "method",
        "owner",
        "reliable",
        "request_bytes",
        "state",
        "target",
    )

    def __init__(
        self,
        layer: "TransactionLayer",
        method: str,
        branch: str,
        request_bytes: bytes,
        target: Flow,
        owner: Any,
        head: Head | None = None,
    ) -> None:
        self.layer = layer
        self.method = method
        self.branch = branch
        self.key = branch if method != "CANCEL" else "CANCEL " + branch
        self.request_bytes = request_bytes
        self.target = target
        self.owner = owner
        self.cancelled = False
        """A CANCEL was sent."""
        self.is_invite = method == "INVITE"
        self.reliable = target.transport != "udp"
        self.state = CALLING if self.is_invite else TRYING
        self.interval = layer.timers.t1
        self.ends_at = NEVER
        self.deadline: Deadline | None = None
        self.head = head
        """Of an INVITE."""
        self.ack = b""
        self.cancel_headers: tuple[tuple[str, str], ...] | None = None
        """What a CANCEL that waits for a provisional response will carry; None: none is wanted."""

    @property
    def finished(self) -> bool:
        """True once a final response came or the request failed."""
        return self.state not in (CALLING, TRYING, PROCEEDING)

    def step(self, event: str, response: Response | None, now: float) -> bool:
        """Let ``event`` happen; False where it means nothing in this state."""
        table = INVITE_CLIENT if self.is_invite else NON_INVITE_CLIENT
        row = table[self.state].get(event)
        if row is None:
            return False
        self.state = row[0]
        for action in row[1]:
            action(self, response, now)
        return True

    def retry(self, now: float) -> None:
        """The moment of the next retransmission has come, or the end."""
        if now >= self.ends_at:
            self.expire(now)
        elif self.state in CLIENT_RETRY[self.is_invite]:
            self.step(CLIENT_RETRY[self.is_invite][self.state], None, now)

    def expire(self, now: float) -> None:
        """The end of waiting has come; which timer that is, is told by the state."""
        timer = CLIENT_END[self.is_invite].get(self.state)
        if timer is not None:
            self.step(timer, None, now)

    def __repr__(self) -> str:
        return f"<ClientTransaction {self.method} {self.branch} {self.state}>"


class ServerTransaction:
    """A request of the peer and our answer.

    ``request`` is what came, over ``flow``; answers go to ``reply_flow``.  ``state`` says where it stands, ``to_tag``
    is the tag of our answers, ``status`` the last one sent (0: none).  ``owner`` is the caller's own.
    """

    __slots__ = (
        "acknowledged",
        "answer",
        "cancelled",
        "deadline",
        "ends_at",
        "flow",
        "interval",
        "is_invite",
        "key",
        "layer",
        "merge_key",
        "method",
        "owner",
        "reliable",
        "reply_flow",
        "request",
        "state",
        "status",
        "to_tag",
    )

    def __init__(
        self, layer: "TransactionLayer", request: Request, flow: Flow, reply_flow: Flow, key: tuple[str, ...]
    ) -> None:
        self.layer = layer
        self.request = request
        self.flow = flow
        self.reply_flow = reply_flow
        self.key = key
        self.method = request.method
        self.is_invite = request.method == "INVITE"
        self.reliable = flow.transport != "udp"
        self.state = PROCEEDING if self.is_invite else TRYING
        self.interval = layer.timers.t1
        self.ends_at = NEVER
        self.deadline: Deadline | None = None
        self.answer = b""
        self.status = 0
        self.to_tag = ""
        self.merge_key: tuple[str, str, int, str] | None = None
        self.acknowledged = False
        self.cancelled = False
        self.owner: Any = None

    @property
    def finished(self) -> bool:
        """True once a final answer was given."""
        return self.status >= 200 or self.state == TERMINATED

    def step(self, event: str, data: bytes, now: float) -> bool:
        """Let ``event`` happen, with the bytes of our answer where it is one; False where it means nothing now."""
        table = INVITE_SERVER if self.is_invite else NON_INVITE_SERVER
        row = table[self.state].get(event)
        if row is None:
            return False
        self.state = row[0]
        for action in row[1]:
            action(self, data, now)
        return True

    def retry(self, now: float) -> None:
        """The moment of the next retransmission has come, or the end."""
        if now >= self.ends_at:
            self.expire(now)
        elif self.state in SERVER_RETRY[self.is_invite]:
            self.step(SERVER_RETRY[self.is_invite][self.state], b"", now)

    def expire(self, now: float) -> None:
        """The end of waiting has come; which timer that is, is told by the state."""
        timer = SERVER_END[self.is_invite].get(self.state)
        if timer is not None:
            self.step(timer, b"", now)

    def __repr__(self) -> str:
        return f"<ServerTransaction {self.method} {self.request.call_id} {self.state}>"


class Row(NamedTuple):
    """One cell of a client's table: the next state and what is done."""

    state: str
    actions: "tuple[Callable[[ClientTransaction, Response | None, float], None], ...]"


class ServerRow(NamedTuple):
    """One cell of a server's table: the next state and what is done."""

    state: str
    actions: tuple[Callable[[ServerTransaction, bytes, float], None], ...]


# What client transactions do


def start(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Send the request and wait: for the first retransmission (A, E) or, on a stream, for the end (B, F)."""
    layer = client.layer
    layer.clients[client.key] = layer.unanswered[client.key] = client
    layer.send(client.target, client.request_bytes)
    if client.reliable:
        client.ends_at = layer.long.add(client, now)
    else:
        client.ends_at = now + layer.long.delay_s
        layer.short.add(client, now)


def send_again(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Repeat the request; the interval doubles, for other requests than INVITE up to T2 (17.1.1.2, 17.1.2.2)."""
    layer = client.layer
    layer.repeat(client.target, client.request_bytes)
    interval = client.interval * 2
    if not client.is_invite:
        interval = layer.timers.t2 if client.state == PROCEEDING else min(interval, layer.timers.t2)
    client.interval = interval
    client.deadline = layer.deadlines.at(min(now + interval, client.ends_at), client.retry)


def deliver(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Tell about the response; answers to a CANCEL concern nobody."""
    if response is not None and client.method != "CANCEL":
        client.layer.events.append(ResponseArrived(client, response))


def stop_waiting(client: ClientTransaction, response: Response | None, now: float) -> None:
    """A ringing phone may ring on: no timer runs in Proceeding of an INVITE, and a CANCEL that waited may go."""
    client.ends_at = NEVER
    if client.cancel_headers is not None:
        send_cancel(client, response, now)


def send_cancel(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Send CANCEL on the way of the INVITE (9.1), and wait no longer than 64·T1 for the end of the INVITE."""
    layer, headers, head = client.layer, client.cancel_headers or (), client.head
    client.cancel_headers = None
    client.cancelled = True
    assert head is not None
    data = along(head, "CANCEL", head.to, headers)
    cancel = ClientTransaction(layer, "CANCEL", client.branch, data, client.target, client.owner)
    start(cancel, None, now)
    layer.count_out("CANCEL", 0)
    client.ends_at = layer.long.add(client, now)


def acknowledge(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Send the ACK to a refusal, which belongs to the transaction (17.1.1.3)."""
    assert response is not None
    assert client.head is not None
    client.ack = along(client.head, "ACK", response._first["To"], ())
    client.layer.count_out("ACK", 0)
    client.layer.send(client.target, client.ack)


def acknowledge_again(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Answer a repeated refusal with the same ACK."""
    if client.ack:
        client.layer.repeat(client.target, client.ack)


def linger(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Stay to absorb what may still come: D and M 64·T1, K T4; on a stream D and K are 0 (17.1.1.2, 17.1.2.2)."""
    layer = client.layer
    if client.deadline is not None:
        layer.deadlines.cancel(client.deadline)
        client.deadline = None
    client.request_bytes = b""
    if client.state == ACCEPTED:
        client.ends_at = layer.long.add(client, now)
    elif client.reliable:
        forget(client, response, now)
    else:
        client.ends_at = (layer.long if client.is_invite else layer.t4).add(client, now)


def time_out(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Tell that nothing came back; an unanswered CANCEL concerns nobody."""
    if client.method != "CANCEL":
        client.layer.events.append(RequestFailed(client, timeout=True))


def fail(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Tell that the transport did not take the request (17.1.4)."""
    if client.method != "CANCEL":
        client.layer.events.append(RequestFailed(client, timeout=False))


def forget(client: ClientTransaction, response: Response | None, now: float) -> None:
    """Leave the layer."""
    client.state = TERMINATED
    client.layer.drop_client(client)


INVITE_CLIENT: Final = {  # 17.1.1.2 and RFC 6026 7.2
    CALLING: {
        TIMER_A: Row(CALLING, (send_again,)),
        TIMER_B: Row(TERMINATED, (time_out, forget)),
        PROVISIONAL: Row(PROCEEDING, (stop_waiting, deliver)),
        SUCCESS: Row(ACCEPTED, (linger, deliver)),
        REFUSAL: Row(COMPLETED, (acknowledge, linger, deliver)),
        TRANSPORT_ERROR: Row(TERMINATED, (fail, forget)),
    },
    PROCEEDING: {
        PROVISIONAL: Row(PROCEEDING, (deliver,)),
        SUCCESS: Row(ACCEPTED, (linger, deliver)),
        REFUSAL: Row(COMPLETED, (acknowledge, linger, deliver)),
        CANCEL_TIMEOUT: Row(TERMINATED, (time_out, forget)),
    },
    ACCEPTED: {
        SUCCESS: Row(ACCEPTED, (deliver,)),
        TIMER_M: Row(TERMINATED, (forget,)),
    },
    COMPLETED: {
        REFUSAL: Row(COMPLETED, (acknowledge_again,)),
        TIMER_D: Row(TERMINATED, (forget,)),
    },
    TERMINATED: {},
}

NON_INVITE_CLIENT: Final = {  # 17.1.2.2
    TRYING: {
        TIMER_E: Row(TRYING, (send_again,)),
        TIMER_F: Row(TERMINATED, (time_out, forget)),
        PROVISIONAL: Row(PROCEEDING, (deliver,)),
        SUCCESS: Row(COMPLETED, (linger, deliver)),
        REFUSAL: Row(COMPLETED, (linger, deliver)),
        TRANSPORT_ERROR: Row(TERMINATED, (fail, forget)),
    },
    PROCEEDING: {
        TIMER_E: Row(PROCEEDING, (send_again,)),
        TIMER_F: Row(TERMINATED, (time_out, forget)),
        PROVISIONAL: Row(PROCEEDING, (deliver,)),
        SUCCESS: Row(COMPLETED, (linger, deliver)),
        REFUSAL: Row(COMPLETED, (linger, deliver)),
    },
    COMPLETED: {
        TIMER_K: Row(TERMINATED, (forget,)),
    },
    TERMINATED: {},
}

CLIENT_RETRY: Final = ({TRYING: TIMER_E, PROCEEDING: TIMER_E}, {CALLING: TIMER_A})
"""Which timer a retransmission is, by state: other requests, INVITE."""

CLIENT_END: Final = (
    {TRYING: TIMER_F, PROCEEDING: TIMER_F, COMPLETED: TIMER_K},
    {CALLING: TIMER_B, PROCEEDING: CANCEL_TIMEOUT, ACCEPTED: TIMER_M, COMPLETED: TIMER_D},
)
"""Which timer the end of waiting is, by state: other requests, INVITE."""


# What server transactions do


def send_answer(server: ServerTransaction, data: bytes, now: float) -> None:
    """Send our answer and keep it for retransmissions."""
    server.answer = data
    server.layer.send(server.reply_flow, data)


def answer_again(server: ServerTransaction, data: bytes, now: float) -> None:
    """The request came again: so does the last answer, if there was one."""
    if server.answer:
        server.layer.repeat(server.reply_flow, server.answer)


def repeat_answer(server: ServerTransaction, data: bytes, now: float) -> None:
    """Repeat a final answer until its ACK comes; the interval doubles up to T2 (13.3.1.4, 17.2.1)."""
    if server.acknowledged:
        return
    layer = server.layer
    layer.repeat(server.reply_flow, server.answer)
    server.interval = min(server.interval * 2, layer.timers.t2)
    server.deadline = layer.deadlines.at(min(now + server.interval, server.ends_at), server.retry)


def await_ack(server: ServerTransaction, data: bytes, now: float) -> None:
    """Wait 64·T1 for the ACK (L for a 2xx, H for a refusal), repeating the answer meanwhile."""
    layer = server.layer
    server.ends_at = layer.long.add(server, now)
    if server.state == ACCEPTED:
        layer.await_ack(server)
        layer.short.add(server, now)
    elif not server.reliable:
        layer.short.add(server, now)


def linger_confirmed(server: ServerTransaction, data: bytes, now: float) -> None:
    """Stay for T4 to absorb more ACKs (I); on a stream there are none (17.2.1)."""
    layer = server.layer
    layer.deadlines.cancel(server.deadline)
    server.deadline = None
    if server.reliable:
        forget_server(server, data, now)
    else:
        server.ends_at = layer.t4.add(server, now)


def linger_answered(server: ServerTransaction, data: bytes, now: float) -> None:
    """Stay for 64·T1 to answer retransmissions (J); on a stream there are none (17.2.2)."""
    if server.reliable:
        forget_server(server, data, now)
    else:
        server.ends_at = server.layer.long.add(server, now)


def report_no_ack(server: ServerTransaction, data: bytes, now: float) -> None:
    """Tell that no ACK came."""
    if not server.acknowledged:
        server.layer.events.append(AckMissing(server))


def forget_server(server: ServerTransaction, data: bytes, now: float) -> None:
    """Leave the layer."""
    server.state = TERMINATED
    server.layer.drop_server(server)


INVITE_SERVER: Final = {  # 17.2.1 and RFC 6026 7.1
    PROCEEDING: {
        REQUEST: ServerRow(PROCEEDING, (answer_again,)),
        PROVISIONAL: ServerRow(PROCEEDING, (send_answer,)),
        SUCCESS: ServerRow(ACCEPTED, (send_answer, await_ack)),
        REFUSAL: ServerRow(COMPLETED, (send_answer, await_ack)),
    },
    ACCEPTED: {
        REQUEST: ServerRow(ACCEPTED, ()),
        TIMER_2XX: ServerRow(ACCEPTED, (repeat_answer,)),
        TIMER_L: ServerRow(TERMINATED, (report_no_ack, forget_server)),
    },
    COMPLETED: {
        REQUEST: ServerRow(COMPLETED, (answer_again,)),
        ACK: ServerRow(CONFIRMED, (linger_confirmed,)),
        TIMER_G: ServerRow(COMPLETED, (repeat_answer,)),
        TIMER_H: ServerRow(TERMINATED, (report_no_ack, forget_server)),
    },
    CONFIRMED: {
        TIMER_I: ServerRow(TERMINATED, (forget_server,)),
    },
    TERMINATED: {},
}

NON_INVITE_SERVER: Final = {  # 17.2.2
    TRYING: {
        PROVISIONAL: ServerRow(PROCEEDING, (send_answer,)),
        SUCCESS: ServerRow(COMPLETED, (send_answer, linger_answered)),
        REFUSAL: ServerRow(COMPLETED, (send_answer, linger_answered)),
    },
    PROCEEDING: {
        REQUEST: ServerRow(PROCEEDING, (answer_again,)),
        PROVISIONAL: ServerRow(PROCEEDING, (send_answer,)),
        SUCCESS: ServerRow(COMPLETED, (send_answer, linger_answered)),
        REFUSAL: ServerRow(COMPLETED, (send_answer, linger_answered)),
    },
    COMPLETED: {
        REQUEST: ServerRow(COMPLETED, (answer_again,)),
        TIMER_J: ServerRow(TERMINATED, (forget_server,)),
    },
    TERMINATED: {},
}

SERVER_RETRY: Final[tuple[dict[str, str], dict[str, str]]] = ({}, {ACCEPTED: TIMER_2XX, COMPLETED: TIMER_G})
"""Which timer a retransmission is, by state: other requests, INVITE."""

SERVER_END: Final = (
    {COMPLETED: TIMER_J},
    {ACCEPTED: TIMER_L, COMPLETED: TIMER_H, CONFIRMED: TIMER_I},
)
"""Which timer the end of waiting is, by state: other requests, INVITE."""


def along(head: Head, method: str, to: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """A CANCEL or the ACK to a refusal: it takes the INVITE's way, with its Via, Route and number (9.1, 17.1.1.3)."""
    return build_request(
        method,
        head.uri,
        via=head.via,
        route=head.route,
        from_=head.from_,
        to=to,
        call_id=head.call_id,
        cseq=head.cseq,
        headers=headers,
    )
