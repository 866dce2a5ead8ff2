"""What the SIP endpoint hands up and what it wants sent: the words between a protocol core and its surroundings.

Events are plain slotted objects, one for each message that matters to the transaction user; retransmissions,
ACKs to refusals and stray answers end inside the endpoint.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.sip.message import Request, Response
    from gateway.sip.transaction import ClientTransaction, ServerTransaction


LOOP: Final = "loop"
"""The transport of what the endpoint says to itself (Endpoint.hear_own); no peer can use it."""


class Flow(NamedTuple):
    """Where bytes came from or shall go: ``transport`` is ``udp``, ``tcp`` or ``tls``; ``host`` a bare address.

    ``local`` names the local end: of UDP the number of the listening socket, of a stream its connection.  0 in an
    outgoing flow lets the transport choose: the worker's own UDP socket, an open connection to that peer, or a new one.
    Of :data:`LOOP` the ``host`` is the name of the trunk that the endpoint speaks for.
    """

    transport: str
    host: str
    port: int
    local: int = 0


class Send(NamedTuple):
    """Bytes to be sent on a flow."""

    flow: Flow
    data: bytes


@dataclass(slots=True)
class InviteArrived:
    """An initial INVITE or a re-INVITE (its To has a tag) opened a server transaction; 100 has not been sent yet."""

    transaction: "ServerTransaction"
    request: "Request"


@dataclass(slots=True)
class RequestArrived:
    """Any other request but ACK and CANCEL opened a server transaction."""

    transaction: "ServerTransaction"
    request: "Request"


@dataclass(slots=True)
class AckArrived:
    """An ACK to a 2xx (RFC 3261 13.3.1.4); ACKs to other answers stay inside their transaction.

    The first ACK and its retransmissions all arrive here.
    """

    request: "Request"
    flow: Flow


@dataclass(slots=True)
class CancelArrived:
    """The caller gave up ``transaction``, an INVITE without a final answer; the CANCEL itself is answered already."""

    transaction: "ServerTransaction"
    request: "Request"


@dataclass(slots=True)
class ResponseArrived:
    """A response to a request of ours; for an INVITE every 2xx arrives, from each fork and each retransmission."""

    transaction: "ClientTransaction"
    response: "Response"


@dataclass(slots=True)
class StrayAnswer:
    """A 2xx to an INVITE that no transaction and no call knows any more: it must be ACKed and BYEd (SIP.md 4)."""

    response: "Response"
    flow: Flow


@dataclass(slots=True)
class RequestFailed:
    """A request of ours ended without a response: timer B or F fired, or the transport refused the bytes."""

    transaction: "ClientTransaction"
    timeout: bool


@dataclass(slots=True)
class AckMissing:
    """No ACK came for a final answer of ours: timer H for a refusal, 64·T1 for a 2xx (RFC 3261 13.3.1.4)."""

    transaction: "ServerTransaction"


Event = (
    InviteArrived
    | RequestArrived
    | AckArrived
    | CancelArrived
    | ResponseArrived
    | StrayAnswer
    | RequestFailed
    | AckMissing
)
