"""Awkward messages that are right: RFC 4475 3.1.1, 3.2, 3.3 and 3.4 in words of our own."""

from tests.gateway.sip.torture_case import SDP, Case, uri_of, wire

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
]
