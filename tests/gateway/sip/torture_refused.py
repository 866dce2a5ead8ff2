"""Messages that are wrong, with the status that fits, in words of our own: RFC 4475 3.1.2 and 3.3, RFC 5118."""

from tests.gateway.sip.torture_case import SDP, Case, refused, wire

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
]
