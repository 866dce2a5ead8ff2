"""Awkward messages of this project's own writing, one for each trait that RFC 4475 and RFC 5118 ask about.

A case says what the message is called, the bytes, and what an endpoint must make of them when they come from a known
trunk: hand it up as an event, answer it with a status, or say nothing at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.sip.message import Request
from gateway.sip.uri import SipUri, parse_uri

SDP = """v=0
o=- 71 71 IN IP4 198.51.100.7
s=-
c=IN IP4 198.51.100.7
t=0 0
m=audio 30000 RTP/AVP 8
a=rtpmap:8 PCMA/8000
"""


@dataclass(frozen=True)
class Case:
    """``expected`` is a status, ``"event"`` or ``"nothing"``; ``check`` looks at the request that arrived."""

    name: str
    data: bytes
    expected: int | str
    check: Callable[[Request], bool] | None = None


def wire(text: str, body: str | bytes = b"") -> bytes:
    """Lines as they travel; ``{size}`` becomes the size of the body."""
    octets = body.replace("\n", "\r\n").encode() if isinstance(body, str) else body
    head = text.lstrip("\n").replace("{size}", str(len(octets))).replace("\n", "\r\n")
    return head.encode() + b"\r\n" + octets


def uri_of(text: str) -> SipUri:
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    return uri


def refused(name: str, status: int, text: str, body: str | bytes = b"") -> Case:
    return Case(name, wire(text, body), status)
