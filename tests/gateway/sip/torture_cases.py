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


ACCEPTED = [
    Case(
        "white space, folding, compact names and odd case everywhere",
        wire(
            """
INVITE sip:bob@gate.example;lr SIP/2.0
tO  :
  "Bob \\"the bell\\"  \\\\" <sip:bob@gate.example> ;  hue = red
f:  <sip:ann@pbx.example>
	; tag  =  w1
mAx-forwards:   0070
i: folded-1@pbx.example
L  : {size}
CsEq: 007
   INVITE
v:   SIP  /  2.0  /  UDP   198.51.100.7:5060
   ;  branch  =  z9hG4bKfold1 , SIP / 2.0 / TCP  inner.example ; branch=z9hG4bKfold2
Subject:
X-New-Fangled: first
   second
X-Separators: ,;,;;,
C: application/sdp
m: "Ann" <sip:ann@198.51.100.7> ; q = 0.5
""",
            SDP,
        ),
        "event",
        lambda r: (
            r.to.display == 'Bob "the bell"  \\'
            and r.to.params == {"hue": "red"}
            and r.from_.tag == "w1"
            and r.max_forwards == 70
            and r.cseq == (7, "INVITE")
            and r.top_via.branch == "z9hG4bKfold1"
            and r.via_count == 2
            and r.get("x-new-fangled") == "first second"
            and r.get("Subject") == ""
            and r.contact is not None
            and r.contact.params == {"q": "0.5"}
        ),
    ),
    Case(
        "a method of every token character",
        wire(
            """
Do.it-now!%*_+`'~9 sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKtok.-!%*_+`'~
From: a.b-c!d%e*f_g+h`i'j~k <sip:ann@pbx.example>;x-'`~="привет, \\\x01\\"";tag=t-.!%*_+`'~
To: "NUL \\\x00 and DEL \\\x7f" <sip:1_a.b~(c!d)&e'f+g$/h?,/;;*@gate.example>
Call-ID: every.word-!%*_+`'~()<>:\\"/[]?{}@pbx.example
CSeq: 41 Do.it-now!%*_+`'~9
Max-Forwards: 255
x-!%*+_`'~.9:值
Content-Length: 0
"""
        ),
        501,
    ),
    Case(
        "escapes in the user part that hide a scheme and an at sign",
        wire(
            """
INVITE sip:tel%3A%2b49%40home@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKesc1
From: <sip:two%20words@pbx.example>;tag=e1
To: <sip:b%6Fb@gate.example>
Call-ID: esc-1
CSeq: 1 INVITE
Contact: <sip:%61nn@198.51.100.7;%6Cr;na%6De=v%61l%2541>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: {size}
""",
            SDP,
        ),
        "event",
        lambda r: (
            uri_of(r.uri).user == "tel:+49@home"
            and uri_of(r.uri).host == "gate.example"
            and uri_of(r.to.uri).user == "bob"
            and uri_of(r.from_.uri).user == "two words"
            and r.contact is not None
            and uri_of(r.contact.uri).params == {"lr": "", "name": "val%41"}
        ),
    ),
    Case(
        "an escaped NUL that must not end a string",
        wire(
            """
INVITE sip:start%00end@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKnul1
From: <sip:%00%00@pbx.example>;tag=n1
To: <sip:start%00end@gate.example>
Call-ID: nul-1
CSeq: 1 INVITE
Contact: <sip:%00@198.51.100.7>
Max-Forwards: 70
L:0
"""
        ),
        "event",
        lambda r: (
            uri_of(r.uri).user == "start\x00end"
            and uri_of(r.from_.uri).user == "\x00\x00"
            and str(uri_of(r.uri)) == "sip:start%00end@gate.example"
        ),
    ),
    Case(
        "a method with escapes that spell REGISTER is another method",
        wire(
            """
R%45GISTER sip:gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKesc2
From: "%Z%9" <sip:ann@pbx.example>;tag=e2
To: "%Z%9" <sip:ann@pbx.example>
Call-ID: esc-2
CSeq: 2 R%45GISTER
C%6Fntact: <sip:not-a-contact@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        501,
    ),
    Case(
        "no white space between display name and bracket",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKlws1
From: ann<sip:ann@pbx.example>;tag=l1
To: "Bob"<sip:bob@gate.example>
Call-ID: lws-1
CSeq: 1 INVITE
Contact: ann<sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (r.from_.display, r.to.display) == ("ann", "Bob"),
    ),
    Case(
        "very long values and three dozen hops",
        wire(
            f"""
INVITE sip:bob@gate.example SIP/2.0
To: "{"Bob of a very long name " * 20}" <sip:{"b" * 300}@gate.example;{"p" * 200}={"v" * 200}>
F: <sip:{"ann" * 100}@pbx.example>;tag={"9" * 150};{"flag" * 40};{"n" * 100}={"w" * 100}
Call-ID: {"long" * 60}@pbx.example
CSeq: 3882340 INVITE
X-{"Long-" * 40}Name: {"long " * 80};{"long" * 50}
{chr(10).join(f"{name}: SIP/2.0/UDP hop.example;branch=z9hG4bK{'x' * 60}" for name in ("Via", "v  ", "vIA") * 12)}
Max-Forwards: 70
Contact: <sip:{"ann" * 100}@198.51.100.7>
Content-Type: application/sdp
l: {{size}}
""",
            SDP,
        ),
        "event",
        lambda r: r.via_count == 36 and len(r.from_.tag) == 150 and len(r.call_id) == 252,
    ),
    Case(
        "octets after the body, which look like another call, are not read",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKdbl1
From: <sip:ann@pbx.example>;tag=d1
To: <sip:bob@gate.example>
Call-ID: dbl-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        )
        + wire(
            """

INVITE sip:mallory@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKdbl2
From: <sip:ann@pbx.example>;tag=d2
To: <sip:mallory@gate.example>
Call-ID: dbl-2
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: r.call_id == "dbl-1" and r.body == b"",
    ),
    Case(
        "semicolons in the user part belong to the user",
        wire(
            """
INVITE sip:bob;day=tuesday;x=a%40b@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsem1
From: <sip:ann@pbx.example>;tag=s1
To: <sip:bob@gate.example>
Call-ID: semi-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: uri_of(r.uri).user == "bob;day=tuesday;x=a@b" and uri_of(r.uri).params == {},
    ),
    Case(
        "hops over transports nobody has heard of",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP a.example;branch=z9hG4bKtr1
Via: SIP/2.0/SCTP b.example;branch=z9hG4bKtr2
Via: SIP/2.0/PIGEON c.example;branch=z9hG4bKtr3
Via: SIP/2.0/TLS-SCTP d.example;branch=z9hG4bKtr4
From: <sip:ann@pbx.example>;tag=t1
To: <sip:bob@gate.example>
Call-ID: trans-1
CSeq: 60 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: r.via_count == 4,
    ),
    Case(
        "a body of several parts with octets of every value",
        wire(
            """
INFO sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKmul1;rport
From: <sip:ann@pbx.example>;tag=m1
To: <sip:bob@gate.example>;tag=m2
Call-ID: multi-part-1
CSeq: 2 INFO
Max-Forwards: 70
Content-Type: multipart/mixed;boundary=cut
Content-Length: {size}
""",
            b"--cut\r\nContent-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n\r\n--cut--\r\n",
        ),
        "event",
        lambda r: bytes(range(256)) in r.body and r.body.endswith(b"--cut--\r\n"),
    ),
    Case(
        "a branch that is the magic cookie and nothing else",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK
From: <sip:ann@pbx.example>;tag=b1
To: <sip:bob@gate.example>
Call-ID: bad-branch-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: not r.top_via.is_cookie,
    ),
    Case(
        "credentials of an unknown scheme",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKaut1
From: <sip:ann@pbx.example>;tag=a1
To: <sip:bob@gate.example>
Call-ID: auth-1
CSeq: 9338 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Authorization: Handshake firmness=strong
Content-Length:0
"""
        ),
        "event",
        lambda r: r.get("Authorization") == "Handshake firmness=strong",
    ),
    Case(
        "a Contact without brackets whose parameter is the header's",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKcp1
From: sip:ann@pbx.example;tag=c1
To: sip:bob@gate.example
Call-ID: contact-param-1
CSeq: 2 INVITE
Contact: sip:+14255550100@198.51.100.7;strange
Max-Forwards: 70
l: 0
"""
        ),
        "event",
        lambda r: r.contact is not None and r.contact.params == {"strange": ""} and r.from_.tag == "c1",
    ),
    Case(
        "a Contact in brackets whose parameter is the URI's",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKcp2
From: sip:ann@pbx.example;tag=c2
To: sip:bob@gate.example
Call-ID: contact-param-2
CSeq: 3 INVITE
Contact: <sip:+14255550100@198.51.100.7;strange>
Max-Forwards: 70
l: 0
"""
        ),
        "event",
        lambda r: r.contact is not None and r.contact.params == {} and uri_of(r.contact.uri).params == {"strange": ""},
    ),
    Case(
        "a Contact URI with an escaped header",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKcp3
From: sip:ann@pbx.example;tag=c3
To: sip:bob@gate.example
Call-ID: contact-header-1
CSeq: 4 INVITE
M: <sip:ann@198.51.100.7?Route=%3Csip:sip.example%3E>
Max-Forwards: 70
L:0
"""
        ),
        "event",
        lambda r: r.contact is not None and uri_of(r.contact.uri).headers == "Route=%3Csip:sip.example%3E",
    ),
    Case(
        "a caller from before RFC 3261: no branch, no tag, no Max-Forwards, no Contact",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP old.example
From: <sip:+14255550100@old.example;user=phone>
Record-Route: <sip:bob@gate.example;maddr=198.51.100.9>
To: sip:bob@gate.example;user=phone
Call-ID: rfc2543-1
CSeq: 56 INVITE
Content-Type: application/sdp
""",
            SDP,
        ),
        "event",
        lambda r: (
            r.from_.tag == ""
            and r.contact is None
            and r.max_forwards is None
            and r.to.params == {"user": "phone"}
            and r.body.startswith(b"v=0")
        ),
    ),
    Case(
        "an IPv6 reference",
        wire(
            """
INVITE sip:[2001:db8::7] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKv6a
From: sip:ann@pbx.example;tag=v1
To: sip:bob@gate.example
Call-ID: v6-1
CSeq: 98176 INVITE
Contact: "Ann" <sip:ann@[2001:db8::1]>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (uri_of(r.uri).host, uri_of(r.uri).port) == ("2001:db8::7", 0),
    ),
    Case(
        "an IPv6 address whose last group looks like a port",
        wire(
            """
INVITE sip:[2001:db8::7:5070] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKv6b
From: sip:ann@pbx.example;tag=v2
To: sip:bob@gate.example
Call-ID: v6-2
CSeq: 98176 INVITE
Contact: "Ann" <sip:ann@[2001:db8::1]>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (uri_of(r.uri).host, uri_of(r.uri).port) == ("2001:db8::7:5070", 0),
    ),
    Case(
        "an IPv6 address with its port outside the brackets",
        wire(
            """
INVITE sip:[2001:db8::7]:5070 SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKv6c
From: sip:ann@pbx.example;tag=v3
To: sip:bob@gate.example
Call-ID: v6-3
CSeq: 98176 INVITE
Contact: "Ann" <sip:ann@[2001:db8::1]>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (uri_of(r.uri).host, uri_of(r.uri).port) == ("2001:db8::7", 5070),
    ),
    Case(
        "received with brackets",
        wire(
            """
BYE sip:[2001:db8::7] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKv6d
From: sip:ann@pbx.example;tag=v4
To: sip:bob@gate.example;tag=w4
Call-ID: v6-4
CSeq: 321 BYE
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: r.top_via.params["received"] == "[2001:db8::9:255]" and r.top_via.branch == "z9hG4bKv6d",
    ),
    Case(
        "received without brackets",
        wire(
            """
INFO sip:[2001:db8::7] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKv6e
From: sip:ann@pbx.example;tag=v5
To: sip:bob@gate.example;tag=w5
Call-ID: v6-5
CSeq: 921 INFO
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: r.top_via.params["received"] == "2001:db8::9:255",
    ),
    Case(
        "IPv6 in the session description",
        wire(
            """
INVITE sip:bob@[2001:db8::7] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::20];branch=z9hG4bKv6f
From: sip:ann@pbx.example;tag=v6
To: sip:bob@gate.example
Call-ID: v6-6
CSeq: 8612 INVITE
Contact: "Ann" <sip:ann@[2001:db8::20]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: {size}
""",
            SDP.replace("IP4 198.51.100.7", "IP6 2001:db8::20"),
        ),
        "event",
        lambda r: b"c=IN IP6 2001:db8::20\r\n" in r.body,
    ),
    Case(
        "hops of both IP versions",
        wire(
            """
BYE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKv6g
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKv6h
Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bKv6i;received=198.51.100.200
From: sip:ann@pbx.example;tag=v7
To: sip:bob@gate.example;tag=w7
Call-ID: v6-7
CSeq: 89187 BYE
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (r.top_via.host, r.top_via.port, r.via_count) == ("[2001:db8::9:1]", 6050, 3),
    ),
    Case(
        "media lines of both IP versions",
        wire(
            """
INVITE sip:bob@[2001:db8::7] SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKv6j
From: sip:ann@pbx.example;tag=v8
To: sip:bob@gate.example
Call-ID: v6-8
CSeq: 8912 INVITE
Contact: "Ann" <sip:ann@[2001:db8::9:1]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: {size}
""",
            SDP + "m=video 30002 RTP/AVP 107\nc=IN IP6 2001:db8::9:1\n",
        ),
        "event",
        lambda r: b"IN IP4" in r.body and b"IN IP6" in r.body,
    ),
    Case(
        "IPv4 addresses mapped into IPv6",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP [::ffff:198.51.100.10]:19823;branch=z9hG4bKv6k
Via: SIP/2.0/UDP [::ffff:198.51.100.7];branch=z9hG4bKv6l
From: sip:ann@pbx.example;tag=v9
To: sip:bob@gate.example
Call-ID: v6-9
CSeq: 612 INVITE
Contact: "desk phone, upstairs" <sip:ann@[::ffff:198.51.100.7]>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: r.top_via.port == 19823 and r.contact is not None and r.contact.display == "desk phone, upstairs",
    ),
    Case(
        "an IPv6 address that ends in an IPv4 address",
        wire(
            """
INVITE sip:bob@[2001:db8::198.51.100.1] SIP/2.0
Via: SIP/2.0/UDP lab.example;branch=z9hG4bKv6m
From: sip:ann@pbx.example;tag=va
To: sip:bob@[2001:db8::198.51.100.1]
Call-ID: v6-10
CSeq: 689 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: uri_of(r.uri).host == "2001:db8::198.51.100.1",
    ),
    # What an element may take or refuse, and this one takes
    Case(
        "a Date in no known time zone is not this element's business",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKdate1
From: <sip:ann@pbx.example>;tag=da1
To: <sip:bob@gate.example>
Call-ID: date-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Date: Mon, 04 Feb 2030 08:00:00 PST
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
    ),
    Case(
        "a display name with a comma and no quotes",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKname1
From: Miller, Ann (sales) <sip:ann@pbx.example>;tag=na1
To: Smith, Bob <sip:bob@gate.example>
Call-ID: name-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (
            r.from_.display == "Miller, Ann (sales)"
            and str(r.from_) == '"Miller, Ann (sales)" <sip:ann@pbx.example>;tag=na1'
        ),
    ),
    Case(
        "a body of an unknown kind is for the other side to judge",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKut1
From: <sip:ann@pbx.example>;tag=ut1
To: <sip:bob@gate.example>
Call-ID: unknown-type-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Content-Type: application/smoke-signal
Max-Forwards: 70
Content-Length: {size}
""",
            "puff puff",
        ),
        "event",
        lambda r: r.body == b"puff puff",
    ),
    Case(
        "an Accept that admits no session description is for the other side to judge",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKacc1
From: <sip:ann@pbx.example>;tag=acc1
To: <sip:bob@gate.example>
Call-ID: accept-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Accept: text/smoke-signal
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: {size}
""",
            SDP,
        ),
        "event",
        lambda r: r.get("Accept") == "text/smoke-signal",
    ),
    Case(
        "addresses of other schemes where nothing is sent to them",
        wire(
            """
INFO sip:gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsch1
From: <http://pbx.example>;tag=sch1
To: isbn:9780131492769;tag=sch2
Call-ID: schemes-1
CSeq: 1 INFO
Max-Forwards: 70
Content-Length: 0
"""
        ),
        "event",
        lambda r: (r.to.uri, r.from_.uri) == ("isbn:9780131492769", "http://pbx.example"),
    ),
]


def refused(name: str, status: int, text: str, body: str | bytes = b"") -> Case:
    return Case(name, wire(text, body), status)


REFUSED = [
    refused(
        "separators with nothing between them in Via",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;;,;,,
From: <sip:ann@pbx.example>;tag=r1
To: <sip:bob@gate.example>
Call-ID: separators-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 7
Content-Length: 0
""",
    ),
    refused(
        "separators with nothing between them in Contact",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsep2
From: <sip:ann@pbx.example>;tag=r2
To: <sip:bob@gate.example>
Call-ID: separators-2
CSeq: 8 INVITE
Contact: "Ann" <sip:ann@198.51.100.7>;;;;
Max-Forwards: 7
Content-Length: 0
""",
    ),
    refused(
        "a Content-Length beyond the datagram",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKcl1
From: <sip:ann@pbx.example>;tag=r3
To: <sip:bob@gate.example>
Call-ID: length-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 80
Content-Type: application/sdp
Content-Length: 9000
""",
        SDP,
    ),
    refused(
        "a Content-Length below zero",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKcl2
From: <sip:ann@pbx.example>;tag=r4
To: <sip:bob@gate.example>
Call-ID: length-2
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 80
Content-Length: -1
""",
        SDP,
    ),
    refused(
        "a CSeq number beyond 31 bits",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsc1
From: <sip:ann@pbx.example>;tag=r5
To: <sip:bob@gate.example>
Call-ID: scalar-1
CSeq: 2147483648 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "a Max-Forwards beyond 255",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsc2
From: <sip:ann@pbx.example>;tag=r6
To: <sip:bob@gate.example>
Call-ID: scalar-2
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 256
Content-Length: 0
""",
    ),
    refused(
        "an Expires beyond all time",
        400,
        f"""
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsc3
From: <sip:ann@pbx.example>;tag=r7
To: <sip:bob@gate.example>
Call-ID: scalar-3
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Expires: {"9" * 5000}
Content-Length: 0
""",
    ),
    refused(
        "a quotation mark that never closes",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKquo1
From: <sip:ann@pbx.example>;tag=r8
To: "Bob of the open end <sip:bob@gate.example>
Call-ID: quote-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 10
Content-Length: 0
""",
    ),
    refused(
        "brackets around the Request-URI",
        400,
        """
INVITE <sip:bob@gate.example> SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKbra1
From: <sip:ann@pbx.example>;tag=r9
To: <sip:bob@gate.example>
Call-ID: bracket-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 10
Content-Length: 0
""",
    ),
    refused(
        "white space inside the Request-URI",
        400,
        """
INVITE sip:bob@gate.example; lr SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKlwr1
From: <sip:ann@pbx.example>;tag=ra
To: <sip:bob@gate.example>
Call-ID: inner-space-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 10
Content-Length: 0
""",
    ),
    refused(
        "two spaces in the request line",
        400,
        """
INVITE  sip:bob@gate.example  SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKlws2
From: <sip:ann@pbx.example>;tag=rb
To: <sip:bob@gate.example>
Call-ID: outer-space-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 10
Content-Length: 0
""",
    ),
    Case(
        "white space after the version",
        wire(
            """
OPTIONS sip:bob@gate.example SIP/2.0|
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKtws1
From: <sip:ann@pbx.example>;tag=rc
To: <sip:bob@gate.example>
Call-ID: trailing-space-1
CSeq: 8 OPTIONS
Max-Forwards: 10
Content-Length: 0
"""
        ).replace(b"|", b"  "),
        400,
    ),
    refused(
        "a header hidden in the Request-URI",
        400,
        """
INVITE sip:bob@gate.example?Route=%3Csip:mallory.example%3E SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKhid1
From: <sip:ann@pbx.example>;tag=rd
To: <sip:bob@gate.example>
Call-ID: hidden-1
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 10
Content-Length: 0
""",
    ),
    refused(
        "a question mark in a Contact without brackets",
        400,
        """
REGISTER sip:gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKque1
From: <sip:ann@pbx.example>;tag=re
To: <sip:ann@pbx.example>
Call-ID: question-1
CSeq: 1 REGISTER
Contact: sip:ann@198.51.100.7?Route=%3Csip:sip.example%3E
Max-Forwards: 70
l: 0
""",
    ),
    refused(
        "spaces within an address",
        400,
        """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKspa1
From: <sip:ann@pbx.example>;tag=rf
To: "Bob" < sip:bob@gate.example >
Call-ID: spaces-1
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "another version of SIP",
        505,
        """
OPTIONS sip:bob@gate.example SIP/3.0
Via: SIP/3.0/UDP 198.51.100.7;branch=z9hG4bKver1
From: <sip:ann@pbx.example>;tag=rg
To: <sip:bob@gate.example>
Call-ID: version-1
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "a CSeq method that is not the request's",
        400,
        """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKmis1
From: <sip:ann@pbx.example>;tag=rh
To: <sip:bob@gate.example>
Call-ID: mismatch-1
CSeq: 8 INVITE
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "an unknown method with a CSeq method that is not its own",
        501,
        """
JUGGLE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKmis2
From: <sip:ann@pbx.example>;tag=ri
To: <sip:bob@gate.example>
Call-ID: mismatch-2
CSeq: 8 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "neither To nor From nor Call-ID",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKins1
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "a Request-URI of an unknown scheme",
        416,
        """
INVITE carrier-pigeon:roof;loft=2 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsch2
From: <sip:ann@pbx.example>;tag=rj
To: <sip:bob@gate.example>
Call-ID: scheme-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "a Request-URI of a scheme that others know",
        416,
        """
OPTIONS ldap://198.51.100.103:389 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsch3
From: <sip:ann@pbx.example>;tag=rk
To: <sip:bob@gate.example>
Call-ID: scheme-2
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "extensions that nobody supports, over a transport it did not come by",
        420,
        """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/TLS 198.51.100.7;branch=z9hG4bKext1
From: <sip:ann@pbx.example>;tag=rl
To: <sip:bob@gate.example>
Call-ID: extension-1
CSeq: 8 OPTIONS
Require: levitation, telepathy
Proxy-Require: clairvoyance
Max-Forwards: 6
Content-Length: 0
""",
    ),
    refused(
        "several values of what there is one of",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsev1
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: several-1
CSeq: 59 INVITE
Call-ID: several-2
From: <sip:ann@pbx.example>;tag=rm
To: <sip:bob@gate.example>
To: <sip:carol@gate.example>
From: <sip:ann@pbx.example>;tag=rn
Contact: <sip:ann@198.51.100.7>
Contact: <sip:ann@198.51.100.8>
Max-Forwards: 5
l: 0
""",
    ),
    refused(
        "two Contacts",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsev2
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: several-3
From: <sip:ann@pbx.example>;tag=ro
To: <sip:bob@gate.example>
Contact: <sip:ann@198.51.100.7>, <sip:ann@198.51.100.8>
Content-Length: 0
""",
    ),
    refused(
        "two different Content-Lengths",
        400,
        """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKsev3
From: <sip:ann@pbx.example>;tag=rp
To: <sip:bob@gate.example>
Call-ID: several-4
CSeq: 15932 OPTIONS
Content-Length: 13
Max-Forwards: 60
l: 5
Content-Type: text/plain
""",
        "Who can tell how long this is?",
    ),
    refused(
        "no hop left",
        483,
        """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKhop1
From: <sip:ann@pbx.example>;tag=rq
To: <sip:bob@gate.example>
Call-ID: hops-1
CSeq: 1 OPTIONS
Max-Forwards: 0
Content-Length: 0
""",
    ),
    refused(
        "an IPv6 address without brackets",
        400,
        """
INVITE sip:2001:db8::7 SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKv6n
From: sip:ann@pbx.example;tag=rr
To: sip:bob@gate.example
Call-ID: v6-11
CSeq: 98176 INVITE
Contact: "Ann" <sip:ann@[2001:db8::1]>
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "an IPv6 address with three colons in a row",
        400,
        """
OPTIONS sip:bob@[2001:db8:::198.51.100.1] SIP/2.0
Via: SIP/2.0/UDP lab.example;branch=z9hG4bKv6o
From: sip:ann@pbx.example;tag=rs
To: sip:bob@gate.example
Call-ID: v6-12
CSeq: 689 OPTIONS
Max-Forwards: 70
Content-Length: 0
""",
    ),
    # beyond the RFCs' lists
    Case(
        "no end of the head",
        wire(
            """
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKend1
From: <sip:ann@pbx.example>;tag=rt
To: <sip:bob@gate.example>
Call-ID: end-1
CSeq: 1 OPTIONS
"""
        )[:-2],
        400,
    ),
    Case(
        "a bare line feed that would make two header lines of one",
        wire(
            """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKlf1
From: <sip:ann@pbx.example>;tag=ru
To: <sip:bob@gate.example>
Call-ID: line-1
CSeq: 1 INVITE
Contact: <sip:ann@198.51.100.7>
Subject: harmless|P-Asserted-Identity: <sip:boss@pbx.example>
Content-Length: 0
"""
        ).replace(b"|", b"\n"),
        400,
    ),
    refused(
        "an INVITE without Contact",
        400,
        """
INVITE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKnoc1
From: <sip:ann@pbx.example>;tag=rv
To: <sip:bob@gate.example>
Call-ID: no-contact-1
CSeq: 1 INVITE
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "a method with an RFC that has no place here",
        405,
        """
MESSAGE sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKmsg1
From: <sip:ann@pbx.example>;tag=rw
To: <sip:bob@gate.example>
Call-ID: message-1
CSeq: 1 MESSAGE
Max-Forwards: 70
Content-Type: text/plain
Content-Length: {size}
""",
        "Good morning",
    ),
    refused(
        "a registration, with all its contacts in order",
        405,
        """
REGISTER sip:gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKreg1
From: <sip:ann@pbx.example>;tag=rx
To: <sip:ann@pbx.example>
Call-ID: register-1
CSeq: 1 REGISTER
Contact: *
Expires: 0
Max-Forwards: 70
Content-Length: 0
""",
    ),
    refused(
        "one hop more than Max-Forwards could have let pass",
        483,
        f"""
OPTIONS sip:bob@gate.example SIP/2.0
{chr(10).join(f"Via: SIP/2.0/UDP hop{hop}.example;branch=z9hG4bKfar{hop}" for hop in range(71))}
From: <sip:ann@pbx.example>;tag=ry
To: <sip:bob@gate.example>
Call-ID: far-1
CSeq: 1 OPTIONS
Max-Forwards: 1
Content-Length: 0
""",
    ),
    refused(
        "more header lines than anybody needs",
        513,
        f"""
OPTIONS sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKmany1
From: <sip:ann@pbx.example>;tag=rz
To: <sip:bob@gate.example>
Call-ID: many-1
CSeq: 1 OPTIONS
{chr(10).join(f"X-Header-{number}: {number}" for number in range(200))}
Content-Length: 0
""",
    ),
]


def dropped(name: str, text: str, body: str | bytes = b"") -> Case:
    return Case(name, wire(text, body), "nothing")


DROPPED = [
    dropped(
        "a stray answer with a reason in another script",
        """
SIP/2.0 200 √(16) = 4 без сомнений
Via: SIP/2.0/UDP 198.51.100.198;branch=z9hG4bKstr1
From: sip:ann@pbx.example;tag=s1
To: sip:bob@gate.example;tag=s2
Call-ID: stray-1
CSeq: 35 INVITE
Contact: <sip:bob@198.51.100.198>
Content-Length: 0
""",
    ),
    dropped(
        "a stray answer with no reason",
        """
SIP/2.0 100 \nVia: SIP/2.0/UDP 198.51.100.105;branch=z9hG4bKstr2
From: sip:ann@pbx.example;tag=s3
To: sip:bob@gate.example;tag=s4
Call-ID: stray-2
CSeq: 35 INVITE
Content-Length: 0
""",
    ),
    dropped(
        "an answer with numbers beyond all bounds",
        f"""
SIP/2.0 503 Service Unavailable
Via: SIP/2.0/UDP 198.51.100.129;branch=z9hG4bKstr3;received=198.51.100.129
From: <sip:ann@pbx.example>;tag=s5
To: <sip:bob@gate.example>
Call-ID: stray-3
CSeq: {"8" * 30} OPTIONS
Retry-After: {"9" * 40}
Content-Length: 0
""",
    ),
    dropped(
        "a status of ten digits",
        """
SIP/2.0 4294967496 wraps around to 200
Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKstr4
From: <sip:ann@pbx.example>;tag=s7
To: <sip:bob@gate.example>;tag=s8
Call-ID: stray-4
CSeq: 353494 INVITE
Contact: <sip:bob@198.51.100.105>
Content-Length: 0
""",
    ),
    dropped(
        "an answer that should go on to a broadcast address",
        """
SIP/2.0 200 OK
Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKstr5
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKstr6
From: sip:ann@pbx.example;tag=s9
To: sip:bob@gate.example;tag=sa
Call-ID: stray-5
CSeq: 35 INVITE
Contact: <sip:bob@198.51.100.28>
Content-Length: 0
""",
    ),
    dropped(
        "an answer without the lines it must have",
        """
SIP/2.0 200 OK
Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKstr7
Content-Length: 0
""",
    ),
    dropped(
        "an ACK that cannot be read is never answered",
        """
ACK sip:bob@gate.example SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKstr8
From: <sip:ann@pbx.example>;tag=sb
To: "open <sip:bob@gate.example>
Call-ID: stray-6
CSeq: 1 ACK
Content-Length: 0
""",
    ),
    dropped(
        "a request of another protocol",
        """
GET /index.html HTTP/1.1
Host: gate.example
Via: 1.1 cache.example
""",
    ),
    Case("a keep-alive", b"\r\n\r\n", "nothing"),
    Case("four octets of nothing", bytes(4), "nothing"),
    Case("no SIP at all", b"\x16\x03\x01 hello " * 9, "nothing"),
    Case("an empty datagram", b"", "nothing"),
]
