"""The transaction layer (RFC 3261 17): which transaction a message belongs to, what they all send, when they wake.

Matching is by 17.1.3 and 17.2.3: branch, sent-by and method; without a magic cookie by what RFC 2543 had.  Nothing
is judged here; that is the endpoint's.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from gateway.sip.deadlines import Deadlines, DelayLine
from gateway.sip.events import Event, Flow, Send
from gateway.sip.large import DATAGRAM_SIZE, LargeRequests
from gateway.sip.message import Request, Response
from gateway.sip.transaction import (
    TRANSPORT_ERROR,
    ClientTransaction,
    Head,
    ServerTransaction,
    start,
)

Transaction = ClientTransaction | ServerTransaction

RFC2543_BRANCH: Final = ""
"""Stands in a key where the branch is no use; no real one is empty."""


class Timers(NamedTuple):
    """The three times of RFC 3261 17.1.1.1, in seconds; all other timers are made of them."""

    t1: float = 0.5
    """Estimate of a round trip."""
    t2: float = 4.0
    """Longest interval between retransmissions of anything but an INVITE."""
    t4: float = 5.0
    """How long a message may stay in the network."""


class Spare(NamedTuple):
    """A request as a datagram, while it is tried over TCP."""

    target: Flow
    request_bytes: bytes
    head: Head | None


class Counts:
    """What went by, for telemetry: only ever counted up."""

    __slots__ = ("messages", "parse_errors", "repeated_in", "repeated_out")

    def __init__(self) -> None:
        self.messages: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        """By direction (``in``, ``out``), method and status (0 for a request); first transmissions when going out."""
        self.repeated_in = 0
        """Retransmissions received."""
        self.repeated_out = 0
        """Retransmissions sent."""
        self.parse_errors = 0
        """Messages that could not be accepted as they were."""


class TransactionLayer:
    """All transactions of one endpoint, with what they put out."""

    __slots__ = (
        "clients",
        "counts",
        "deadlines",
        "events",
        "large",
        "long",
        "merged",
        "output",
        "servers",
        "short",
        "spares",
        "t4",
        "timers",
        "unacknowledged",
        "unanswered",
    )

    def __init__(self, deadlines: Deadlines, timers: Timers, large: LargeRequests) -> None:
        self.deadlines = deadlines
        self.large = large
        self.timers = timers
        self.counts = Counts()
        self.output: list[Send] = []
        self.events: list[Event] = []
        self.clients: dict[str, ClientTransaction] = {}
        self.unanswered: dict[str, ClientTransaction] = {}
        """Those of them that have heard nothing yet: what a transport error ends, few however many linger."""
        self.spares: dict[str, Spare] = {}
        """By key of a transaction that was sent over TCP for its size: what it is as a datagram."""
        self.servers: dict[tuple[str, ...], ServerTransaction] = {}
        self.merged: dict[tuple[str, str, int, str], ServerTransaction] = {}
        """By Call-ID, From tag and CSeq: what a second copy of a request over another path has in common (8.2.2.2)."""
        self.unacknowledged: dict[tuple[str, int], ServerTransaction] = {}
        """INVITEs answered with 2xx whose ACK has not come, by our tag and CSeq number."""
        self.short: DelayLine[Transaction] = DelayLine(deadlines, timers.t1, _retry)
        self.t4: DelayLine[Transaction] = DelayLine(deadlines, timers.t4, _expire)
        self.long: DelayLine[Transaction] = DelayLine(deadlines, 64 * timers.t1, _expire)

    def send(self, flow: Flow, data: bytes) -> None:
        """Put bytes out."""
        self.output.append(_send((flow, data)))

    def repeat(self, flow: Flow, data: bytes) -> None:
        """Put bytes out once more."""
        self.counts.repeated_out += 1
        self.output.append(_send((flow, data)))

    def count_out(self, method: str, status: int) -> None:
        """Count a message that goes out for the first time."""
        self.counts.messages["out", method, status] += 1

    def open_client(
        self, method: str, branch: str, data: bytes, target: Flow, owner: Any, head: Head | None, now: float
    ) -> ClientTransaction:
        """Send a request in a transaction of its own; ``head`` is an INVITE's."""
        client = ClientTransaction(self, method, branch, data, target, owner, head)
        self.counts.messages["out", method, 0] += 1
        if len(data) > DATAGRAM_SIZE and target.transport == "udp":
            self._try_tcp(client, now)
        start(client, None, now)
        return client

    def _try_tcp(self, client: ClientTransaction, now: float) -> None:
        """Send a request that is too large for a datagram over TCP, if its peer is to be asked by it (18.1.1)."""
        via = client.head.via if client.head is not None else self.large.via_of(client.request_bytes)
        changed = self.large.over_tcp(client.request_bytes, via, client.target, now)
        if changed is None:
            return
        self.spares[client.key] = Spare(client.target, client.request_bytes, client.head)
        client.request_bytes, via, client.target = changed
        client.reliable = True
        if client.head is not None:
            client.head = client.head._replace(via=via)
        self.deadlines.at(now + self.large.try_s, lambda at: self._end_try(client, at))

    def _end_try(self, client: ClientTransaction, now: float) -> None:
        """The peer has had its time to answer over TCP."""
        if client.key in self.unanswered and self.clients.get(client.key) is client:
            self._fall_back(client, now)
        else:
            self.spares.pop(client.key, None)

    def _fall_back(self, client: ClientTransaction, now: float) -> bool:
        """Send as a datagram what was sent over TCP for its size; False where it was not, or was already."""
        spare = self.spares.pop(client.key, None)
        if spare is None:
            return False
        client.target, client.request_bytes, client.head = spare
        client.reliable = False
        self.large.note_failure(client.target, now)
        start(client, None, now)
        return True

    def not_sent(self, client: ClientTransaction, now: float) -> None:
        """The transport could not send a request that nobody has answered: it has failed (17.1.4)."""
        if not self._fall_back(client, now):
            client.step(TRANSPORT_ERROR, None, now)

    def open_server(self, request: Request, flow: Flow, reply_flow: Flow, key: tuple[str, ...]) -> ServerTransaction:
        """Take a new request; of requests without To tag remember what copies of them would have in common."""
        server = ServerTransaction(self, request, flow, reply_flow, key)
        self.servers[key] = server
        if not request.to.tag:
            server.merge_key = merge_key(request)
            self.merged.setdefault(server.merge_key, server)
        return server

    def client_of(self, response: Response) -> ClientTransaction | None:
        """The transaction a response belongs to: same branch, same method (17.1.3)."""
        method = response.cseq[1]
        branch = response.branch
        client = self.clients.get(branch if method != "CANCEL" else "CANCEL " + branch)
        return client if client is not None and client.method == method else None

    def await_ack(self, server: ServerTransaction) -> None:
        """Remember that a 2xx waits for its ACK, which is a transaction of its own (17.1.1.3)."""
        self.unacknowledged[server.to_tag, server.request.cseq[0]] = server

    def drop_client(self, client: ClientTransaction) -> None:
        """Forget a client transaction."""
        if client.deadline is not None:
            self.deadlines.cancel(client.deadline)
        self.clients.pop(client.key, None)
        self.unanswered.pop(client.key, None)
        if self.spares:
            self.spares.pop(client.key, None)

    def drop_server(self, server: ServerTransaction) -> None:
        """Forget a server transaction."""
        if server.deadline is not None:
            self.deadlines.cancel(server.deadline)
        if self.servers.get(server.key) is server:
            del self.servers[server.key]
        key = server.merge_key
        if key is not None and self.merged.get(key) is server:
            del self.merged[key]
        if server.is_invite:
            waiting = (server.to_tag, server.request.cseq[0])
            if self.unacknowledged.get(waiting) is server:
                del self.unacknowledged[waiting]


_send: Final[Callable[[tuple[Flow, bytes]], Send]] = partial(tuple.__new__, Send)
"""A Send made of a pair: the constructor of a named tuple, and its ``_make`` too, are calls of Python code for each
message."""


def _retry(transaction: Transaction, due: float, now: float) -> None:
    transaction.retry(now)


def _expire(transaction: Transaction, due: float, now: float) -> None:
    # A transaction that has moved on since has another end, and is met again further down the line.
    if transaction.ends_at == due:
        transaction.expire(now)


def server_key(request: Request) -> tuple[str, ...]:
    """What 17.2.3 matches a request by; ACK and CANCEL have the key of their INVITE.

    Where the branch has no magic cookie, RFC 2543's rules hold: Request-URI, From tag, Call-ID, CSeq number and top Via
    are compared; the To tags are the endpoint's to compare, because an ACK has one more than its INVITE.
    """
    via, method = request.top_via, request.method
    if via.is_cookie:
        key: tuple[str, ...] = via.key
    else:
        hop = "".join(via.text.split())
        key = (RFC2543_BRANCH, request.uri, request.call_id, request.from_.tag, str(request.cseq[0]), hop)
    return key if method in _INVITE_KIN else (*key, method)


_INVITE_KIN: Final = frozenset(("INVITE", "ACK", "CANCEL"))


def merge_key(request: Request) -> tuple[str, str, int, str]:
    """Call-ID, From tag, CSeq number and method (8.2.2.2)."""
    number, method = request.cseq
    return (request.call_id, request.from_.tag, number, method)
