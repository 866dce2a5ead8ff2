"""The small words of RFC 3261's grammar (section 25.1) that several rooms of the parser need, and the header names.

Patterns here are linear: every choice is decided by its next character, and repetitions are possessive, so that no
input can make them back up (RFC 4475 has messages that hang a parser which does).
"""

import re
from typing import Final

TCHAR: Final = r"[A-Za-z0-9\-.!%*_+`'~]"
"""One character of a token (25.1)."""

QUOTED: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A quoted string with its quotes; a quoted pair may hide any character (25.1)."""

LWS: Final = r"[ \t]*+"

PARAMS: Final = rf"(?:{LWS};{LWS}{TCHAR}++(?:{LWS}={LWS}(?:[^\s;,\"<>=]++|{QUOTED}))?)*+"
"""Any number of ``;name`` or ``;name=value``; values may be hosts with brackets and colons (RFC 5118 4.5)."""

_PARAM = re.compile(rf";{LWS}({TCHAR}++)(?:{LWS}={LWS}([^\s;,\"<>=]++|{QUOTED}))?{LWS}", re.DOTALL)
_ITEM = re.compile(rf'(?:[^,"<]|{QUOTED}|<[^>]*+>)++', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
is_token: Final = re.compile(rf"{TCHAR}++").fullmatch
"""Matches text that is a token and nothing else."""


def split_values(text: str) -> list[str]:
    """Take a list of comma-separated values apart (7.3.1); commas in quotes and in ``<>`` do not separate.

    Never fails: where a quote or bracket stays open, the rest counts as one value.
    """
    if "," not in text:
        return [text] if text else []
    if '"' not in text and "<" not in text:
        return [value.strip(" \t") for value in text.split(",") if value.strip(" \t")]
    values: list[str] = []
    at, size = 0, len(text)
    while at < size:
        item = _ITEM.match(text, at)
        end = item.end() if item is not None else at
        if end < size and text[end] != ",":
            end = size
        value = text[at:end].strip(" \t")
        if value:
            values.append(value)
        at = end + 1
    return values


def split_params(text: str) -> dict[str, str]:
    """Read ``;name=value;flag`` into a dict, names in lower case, quotes removed, ``""`` for a flag without value."""
    params: dict[str, str] = {}
    for name, value in _PARAM.findall(text):
        params.setdefault(name.lower(), unquote(value) if value[:1] == '"' else value)
    return params


def unquote(text: str) -> str:
    """The content of a quoted string, quoted pairs resolved; text without quotes comes back as it is."""
    if text[:1] != '"':
        return text
    text = text[1:-1]
    return _PAIR.sub(r"\1", text) if "\\" in text else text


def quote(text: str) -> str:
    """``text`` as a quoted string (25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# IANA's registry of SIP header fields, as far as they are met on trunks.  A message whose names are all spelled like
# this is read on the fast path; every other spelling works and costs a microsecond or two.
HEADER_NAMES: Final = _words(
    """
    Accept Accept-Contact Accept-Encoding Accept-Language Accept-Resource-Priority Alert-Info Allow Allow-Events
    Answer-Mode Authentication-Info Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding
    Content-Language Content-Length Content-Type CSeq Date Diversion Encryption Error-Info Event Expires Feature-Caps
    Flow-Timer From Geolocation Geolocation-Error Geolocation-Routing History-Info Identity Identity-Info Info-Package
    In-Reply-To Join Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info
    P-Asserted-Identity P-Asserted-Service P-Associated-URI P-Called-Party-ID P-Charge-Info
    P-Charging-Function-Addresses P-Charging-Vector P-Early-Media P-Media-Authorization
    P-Preferred-Identity P-Preferred-Service
    P-Visited-Network-ID Path Permission-Missing Policy-Contact Policy-ID Priority Privacy Proxy-Authenticate
    Proxy-Authorization Proxy-Require RAck Reason Reason-Phrase Record-Route Recv-Info Refer-Sub Refer-To Referred-By
    Reject-Contact Remote-Party-ID Replaces Reply-To Request-Disposition Require Resource-Priority Retry-After Route
    RSeq Security-Client Security-Server Security-Verify Server Service-Route Session-Expires Session-ID SIP-ETag
    SIP-If-Match Subject Subscription-State Supported Target-Dialog Timestamp To Trigger-Consent Unsupported User-Agent
    User-to-User Via Warning WWW-Authenticate X-Callgate-Conference X-Callgate-Kind X-Callgate-User
    """
)

COMPACT_NAMES: Final = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact forms (7.3.3 and the RFCs that added some)."""

SINGLE_VALUED: Final = _words(
    """
    Call-ID Content-Disposition Content-Length Content-Type CSeq Date Event Expires From Max-Forwards Min-Expires
    Min-SE MIME-Version RAck Refer-To Replaces RSeq Session-Expires To
    """
)
"""Header fields that may stand once (7.3.1); several of them make a request ambiguous and are refused."""

_BY_LOWER: Final = {name.lower(): name for name in HEADER_NAMES} | COMPACT_NAMES


def canonical(name: str) -> str | None:
    """The registered spelling of a header name given in any case or in compact form; None for an unknown name."""
    return name if name in HEADER_NAMES else _BY_LOWER.get(name.lower())
