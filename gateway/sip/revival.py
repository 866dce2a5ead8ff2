"""INVITE transactions that another process had open when it died, as far as they can be ended decently (SIP.md 5).

What came in can still be refused: the refusal is repeated until its ACK, and that ACK is absorbed, as if the INVITE had
been heard here.  What was sent can still be cancelled: the CANCEL repeats the INVITE's head (RFC 3261 9.1), its final
answer is acknowledged, and a 2xx that comes all the same reaches the transaction's owner.  The INVITE itself is not
known any more and is never sent again; whether a provisional answer came is not known either, so it counts as come.
Where the other process was at another place, a CANCEL names that place in its Via, or it would match no INVITE
(17.2.3); the INVITE's final answer goes there too and is not heard.
"""

from typing import Any

from gateway.sip.endpoint import Endpoint, reply_flow
from gateway.sip.errors import BadMessage
from gateway.sip.events import Flow
from gateway.sip.identity import mark_of
from gateway.sip.layer import server_key
from gateway.sip.message import Request, parse
from gateway.sip.transaction import PROCEEDING, ClientTransaction, Head, ServerTransaction


def heard_invite(endpoint: Endpoint, head: bytes, flow: Flow) -> ServerTransaction:
    """The transaction of an INVITE that came over ``flow`` with this ``head``: only what its answers repeat.

    Where the INVITE has meanwhile been heard here too, its own transaction answers it and this one is silent.  Raises
    ValueError where ``head`` is not a request's.
    """
    try:
        request = parse(head)
    except BadMessage as bad:
        raise ValueError(f"the INVITE to be refused cannot be read: {bad}") from bad
    if not isinstance(request, Request):
        raise ValueError("what is to be refused is no request")
    layer, key = endpoint._layer, server_key(request)
    if key not in layer.servers:
        return layer.open_server(request, flow, reply_flow(request.top_via, flow), key)
    silent = ServerTransaction(layer, request, flow, flow, key)
    silent.status = 500
    return silent


def sent_invite(
    endpoint: Endpoint, uri: str, target: Flow, *, from_: str, to: str, call_id: str, cseq: int, branch: str,
    sent_by: str, owner: Any,
) -> ClientTransaction:  # fmt: skip
    """The transaction of an INVITE that went to ``uri`` over ``target``, ready to be cancelled by the endpoint.

    ``sent_by`` is what its Via said.
    """
    layer, identity = endpoint._layer, endpoint.identity.towards(target.host)
    via = identity.via(target.transport, branch).replace(identity.sent_by(target), sent_by, 1) + mark_of(uri)
    head = Head(uri, via, (), from_, to, call_id, cseq)
    client = ClientTransaction(layer, "INVITE", branch, b"", target, owner, head)
    client.state = PROCEEDING
    layer.clients[client.key] = client
    return client
