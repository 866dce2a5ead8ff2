"""Wrong messages that the RFCs do not list, and those of any kind that may not be answered."""

from tests.gateway.sip.torture_case import Case, refused, wire

BEYOND = [
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
