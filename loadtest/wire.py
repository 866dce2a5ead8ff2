"""SIP as these ears hear and speak it: a strict small reader and messages made from templates.

The reader is not the gate's: it takes a message apart by itself and refuses what RFC 3261 forbids, so that a message
the gate builds wrongly is heard as wrong.  It knows only what two simple telephones need.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_DATAGRAM: Final = 65_535
"""Octets of the largest UDP datagram."""

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE"

_COMPACT: Final = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type",
    "k": "supported",
}  # fmt: skip
_MANDATORY: Final = ("via", "from", "to", "call-id", "cseq")
_ADDRESS: Final = re.compile(r"<?sips?:(?:[^@>]*@)?(\[[0-9A-Fa-f:.]+\]|[^:;>?]+)(?::(\d+))?")
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^;\s]+)", re.IGNORECASE)
_BRANCH: Final = re.compile(r";\s*branch\s*=\s*([^;,\s]+)", re.IGNORECASE)
_USER: Final = re.compile(r"sips?:([^@;>]+)@")
_WARNING: Final = re.compile(r'399\s+callgate\s+"([A-Z][A-Z0-9_]*):')
_CAUSE: Final = re.compile(r"SIP\s*;(?:[^,]*;)?\s*cause=(\d+)", re.IGNORECASE)


class Address(NamedTuple):
    """An IP address and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class MalformedError(ValueError):
    """Bytes that are not a SIP message by RFC 3261; the message says what is wrong."""


@dataclass(slots=True)
class Heard:
    """A message as it was heard: ``status`` is 0 for a request, ``method`` that of the CSeq for a response."""

    status: int
    method: str
    uri: str
    cseq: int
    headers: dict[str, list[str]]
    body: str
    branch: str = ""

    @property
    def call_id(self) -> str:
        """The Call-ID as written."""
        return self.headers["call-id"][0]

    def first(self, name: str) -> str:
        """The first value of a header (lower-case full name); empty where it is absent."""
        values = self.headers.get(name)
        return values[0] if values else ""


def hear(raw: bytes) -> Heard:
    """Take a datagram apart; raises :class:`MalformedError` for what RFC 3261 7 does not allow a gate to send."""
    head, blank, body = raw.decode("latin-1").partition("\r\n\r\n")
    if not blank:
        raise MalformedError("no empty line after the headers")
    lines = head.split("\r\n")
    headers = _headers(lines)
    for name in _MANDATORY:
        if name not in headers:
            raise MalformedError(f"{name} is missing (8.1.1)")
    length = headers.get("content-length")
    if length and length[0] != str(len(body)):
        raise MalformedError(f"Content-Length {length[0]}, but the body has {len(body)} octets (18.3)")
    number, _, method = headers["cseq"][0].partition(" ")
    if not number.isdigit():
        raise MalformedError(f"CSeq {headers['cseq'][0]!r} (20.16)")
    branch = _BRANCH.search(headers["via"][0])
    status, uri = _start(lines[0], method)
    return Heard(status, method, uri, int(number), headers, body, branch[1] if branch else "")


def _start(line: str, cseq_method: str) -> tuple[int, str]:
    parts = line.split(" ", 2)
    if len(parts) != 3:
        raise MalformedError(f"start line {line!r} (7.1)")
    if parts[0] == "SIP/2.0":
        if not (parts[1].isdigit() and 100 <= int(parts[1]) <= 699):
            raise MalformedError(f"status {parts[1]!r} (7.2)")
        return int(parts[1]), ""
    if parts[2] != "SIP/2.0" or parts[0] != cseq_method:
        raise MalformedError(f"start line {line!r} with CSeq method {cseq_method!r} (7.1, 8.1.1.5)")
    return 0, parts[1]


def _headers(lines: list[str]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    last: list[str] = []
    for line in lines[1:]:
        if line[:1] in " \t":
            if not last:
                raise MalformedError("folding before the first header (7.3.1)")
            last[-1] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedError(f"header line {line!r} has no colon (7.3)")
        name = name.strip().lower()
        last = headers.setdefault(_COMPACT.get(name, name), [])
        last.append(value.strip())
    return headers


def tag_of(address: str) -> str:
    """The tag of a From or To value; empty where it has none."""
    found = _TAG.search(address[address.find(">") + 1 :])
    return found[1] if found else ""


def user_of(uri: str) -> str:
    """The user part of a SIP URI or of an address around it; empty where there is none."""
    found = _USER.search(uri)
    return found[1] if found else ""


def address_of(uri: str) -> Address | None:
    """Host and port a SIP URI names (5060 where it names no port); None where it is not a SIP URI."""
    found = _ADDRESS.search(uri)
    if found is None:
        return None
    port = int(found[2]) if found[2] else 5060
    return Address(found[1].strip("[]"), port)


def reason_code(heard: Heard) -> str:
    """The machine-readable code of ``Warning: 399`` (CONTRACT 6); empty where the answer carries none."""
    for value in heard.headers.get("warning", ()):
        found = _WARNING.search(value)
        if found:
            return found[1]
    return ""


def sip_cause(heard: Heard) -> int:
    """The cause of ``Reason: SIP`` (RFC 3326) on a BYE or CANCEL; 0 where it carries none."""
    for value in heard.headers.get("reason", ()):
        found = _CAUSE.search(value)
        if found:
            return int(found[1])
    return 0


def uri_in(value: str) -> str:
    """The URI of a Contact or Record-Route value, without the brackets around it."""
    opening = value.find("<")
    if opening < 0:
        return value.partition(";")[0].strip()
    return value[opening + 1 : value.find(">", opening)]


def routes_in(heard: Heard) -> list[str]:
    """The Record-Route values in the order they stand in, each with its brackets (12.1)."""
    return [part.strip() for line in heard.headers.get("record-route", ()) for part in line.split(",")]


@dataclass(slots=True)
class Dialog:
    """One side of a dialog (RFC 3261 12): ``local`` and ``remote`` are From and To values as this side sends them."""

    here: Address
    call_id: str
    local: str
    remote: str
    contact: str
    target: str
    next_hop: Address
    routes: list[str] = field(default_factory=list)
    cseq: int = 0

    def learn(self, target: str, routes: list[str]) -> None:
        """Take over the far side's Contact and the route set (12.1.1, 12.1.2); requests go there from now on."""
        self.target = target or self.target
        self.routes = routes
        self.next_hop = address_of(routes[0] if routes else self.target) or self.next_hop


def request(dialog: Dialog, method: str, branch: str, body: str = "", extra: str = "") -> bytes:
    """A request within ``dialog``, or the one that opens it; ``extra`` is whole header lines with their line ends."""
    routes = "".join(f"Route: {route}\r\n" for route in dialog.routes)
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} {dialog.target} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {dialog.here};branch={branch};rport\r\n"
        f"{routes}"
        "Max-Forwards: 70\r\n"
        f"From: {dialog.local}\r\nTo: {dialog.remote}\r\nCall-ID: {dialog.call_id}\r\n"
        f"CSeq: {dialog.cseq} {method}\r\n"
        f"Contact: <{dialog.contact}>\r\n"
        f"{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("latin-1")


def response(heard: Heard, status: int, tag: str = "", contact: str = "", body: str = "") -> bytes:
    """An answer to ``heard`` (8.2.6.2): its Vias, From, To, Call-ID and CSeq; ``tag`` is added to a To without one."""
    to = heard.headers["to"][0]
    if tag and not tag_of(to):
        to += f";tag={tag}"
    vias = "".join(f"Via: {via}\r\n" for via in heard.headers["via"])
    routes = "".join(f"Record-Route: {route}\r\n" for route in heard.headers.get("record-route", ()))
    extra = f"Contact: <{contact}>\r\nAllow: {ALLOW}\r\n" if contact else ""
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"SIP/2.0 {status} {PHRASES[status]}\r\n{vias}{routes}"
        f"From: {heard.headers['from'][0]}\r\nTo: {to}\r\nCall-ID: {heard.call_id}\r\n"
        f"CSeq: {heard.cseq} {heard.method}\r\n"
        f"{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("latin-1")


PHRASES: Final = {
    100: "Trying", 180: "Ringing", 200: "OK", 405: "Method Not Allowed", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated",
}  # fmt: skip
"""The reason phrases of the statuses these telephones send (21)."""


def sdp(here: Address, origin: int) -> str:
    """A session description of one PCMU stream; ``origin`` is its session id, which crosses the gate unchanged."""
    family = "IP6" if ":" in here.host else "IP4"
    return (
        f"v=0\r\no=- {origin} 1 IN {family} {here.host}\r\ns=-\r\nc=IN {family} {here.host}\r\n"
        "t=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )


def origin_of(body: str) -> int:
    """The session id of a description's ``o=`` line; 0 where there is none."""
    at = body.find("o=- ")
    number = body[at + 4 :].partition(" ")[0] if at >= 0 else ""
    return int(number) if number.isdigit() else 0
