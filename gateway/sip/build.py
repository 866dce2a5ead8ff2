"""Writing messages: f-strings joined once, encoded once; what is copied from a message is copied as it came.

Values handed in must not hold line ends; values read by gateway.sip.message never do.
"""

from collections.abc import Iterable
from typing import Final

from gateway.sip.message import Request

Headers = Iterable[tuple[str, str]]
"""Further header lines, name and value, in the order in which they are written."""

REASONS: Final = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    433: "Anonymity Disallowed",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""Reason phrases (21 and the RFCs that added statuses)."""


def echo_of(request: Request, first_hop: str = "") -> tuple[str, str]:
    """What every response repeats (8.2.6.2): from Via to To's value, and Call-ID with CSeq; fields never sent stay out.

    ``first_hop`` replaces the newest Via value, to say where the request came from (18.2.1).  Kept in the request.
    """
    first = request._first
    if request.via_count == 1:
        before = f"Via: {first_hop or first['Via']}\r\n"
    else:
        hops = request.all("Via")
        if first_hop:
            rest = request.top_via.rest
            hops[0] = f"{first_hop}, {rest}" if rest else first_hop
        before = "".join([f"Via: {hop}\r\n" for hop in hops])
    try:
        echo = (
            f"{before}From: {first['From']}\r\n",
            f"Call-ID: {first['Call-ID']}\r\nCSeq: {first['CSeq']}\r\n",
        )
    except KeyError:
        # A request that is refused because they are missing (8.2.6.2 cannot be kept).
        echo = (
            before + "".join([f"{name}: {first[name]}\r\n" for name in ("From",) if name in first]),
            "".join([f"{name}: {first[name]}\r\n" for name in ("Call-ID", "CSeq") if name in first]),
        )
    request.echo = echo
    return echo


def build_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str = "",
    contact: str = "",
    headers: Headers = (),
    body: bytes = b"",
    content_type: str = "",
) -> bytes:
    """A response to ``request``; ``to_tag`` is added where To has none, ``contact`` is a Contact value with its ``<>``.

    ``reason`` None takes the usual phrase.  Record-Route is repeated where the response may make a dialog (12.1.1).
    """
    before, after = request.echo or echo_of(request)
    first = request._first
    to = first.get("To")
    if to is not None:
        tag = f";tag={to_tag}" if to_tag and not request.to.tag else ""
        to = f"To: {to}{tag}\r\n"
    more = ""
    if "Record-Route" in first and 100 < status < 300:
        more = "".join([f"Record-Route: {route}\r\n" for route in request.all("Record-Route")])
    if reason is None:
        reason = REASONS.get(status, "")
    if contact:
        more += f"Contact: {contact}\r\n"
    if headers:
        more += "".join([f"{name}: {value}\r\n" for name, value in headers])
    if body and content_type:
        more += f"Content-Type: {content_type}\r\n"
    head = f"SIP/2.0 {status} {reason}\r\n{before}{to or ''}{after}{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def build_request(
    method: str,
    uri: str,
    *,
    via: str,
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
) -> bytes:
    """A request; ``via``, ``from_``, ``to`` and ``contact`` are whole header values, ``route`` one value each.

    ``content_type`` may also stand among ``headers`` instead.
    """
    more = f"Contact: {contact}\r\n" if contact else ""
    if headers:
        more += "".join([f"{name}: {value}\r\n" for name, value in headers])
    if body and content_type:
        more += f"Content-Type: {content_type}\r\n"
    routes = "".join([f"Route: {value}\r\n" for value in route]) if route else ""
    head = (
        f"{method} {uri} SIP/2.0\r\nVia: {via}\r\n{routes}Max-Forwards: {max_forwards}\r\nFrom: {from_}\r\nTo: {to}\r\n"
        f"Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
