"""Awkward messages that are right: addresses of RFC 5118, and what an element may take or refuse and this one takes."""

from tests.gateway.sip.torture_case import SDP, Case, uri_of, wire

ADDRESSED = [
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
