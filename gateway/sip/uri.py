"""Addresses: sip and sips (RFC 3261 19.1), tel (RFC 3966) and urn (RFC 8141; urn:service:sos of RFC 5031).

A URI is read once, into plain values with escapes resolved; ``str()`` writes it again with the escapes it needs.
Host names and addresses are never looked up here.  Text is judged by the grammar of 25.1 with two liberties that
trunks take every day: ``#`` in a user part and ``_`` in a host name.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from gateway.sip.errors import BadUri
from gateway.sip.events import Flow
from gateway.sip.kept import kept

SIP_PORT: Final = 5060
SIPS_PORT: Final = 5061
MAX_PORT: Final = 65_535
REMEMBERED: Final = 2048
"""URIs kept parsed: the gate's own Contact and its peers' come with every in-dialog request."""

_SIP = re.compile(
    r"(?:([A-Za-z0-9\-_.!~*'()&=+$,;?/%#]++)(?::([A-Za-z0-9\-_.!~*'()&=+$,%]*+))?@)?"
    r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9_.\-]++)(?::([0-9]{1,5}+))?"
    r"((?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]++)*+)"
    r"(?:\?([A-Za-z0-9\-_.!~*'()\[\]/?:+$%=&]++))?"
)
_TEL = re.compile(r"(\+?[0-9A-Fa-f*#\-.()]++)((?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]++)*+)")
_URN = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]{0,31}):([A-Za-z0-9()+,\-.:=@;$_!*'%/?#~&]++)")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})++")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_USER_UNSAFE = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/]")
_PARAM_UNSAFE = re.compile(r"[^A-Za-z0-9\-_.!~*'()\[\]/:&+$]")
_SEPARATORS = re.compile(r"[\-.()]")


class SipUri:
    """A sip or sips URI; treat it as immutable, parsed URIs are shared.

    ``user`` and ``password`` are unescaped, ``""`` where absent.  ``host`` is bare: an IPv6 address without its
    brackets.  ``port`` is 0 where none was written.  ``params`` have lower-case names, ``""`` for a flag.
    ``headers`` is what follows ``?``, untouched.
    """

    __slots__ = ("headers", "host", "params", "password", "port", "scheme", "user")

    def __init__(
        self,
        host: str,
        port: int = 0,
        user: str = "",
        *,
        scheme: str = "sip",
        password: str = "",
        params: dict[str, str] | None = None,
        headers: str = "",
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port
        self.params: dict[str, str] = {} if params is None else params
        self.headers = headers

    @property
    def transport(self) -> str:
        """``udp``, ``tcp`` or ``tls``: the transport parameter; without one tls for sips, else udp (19.1.2)."""
        named = self.params.get("transport", "").lower()
        if self.scheme == "sips" or named == "tls":
            return "tls"
        return named or "udp"

    def flow(self) -> Flow:
        """Where a request to this URI goes, without any look-up: its host and port, or the transport's default port."""
        transport = self.transport
        return Flow(transport, self.host, self.port or (SIPS_PORT if transport == "tls" else SIP_PORT))

    def __str__(self) -> str:
        user = escape_user(self.user) if self.user else ""
        if self.password:
            user += ":" + escape_user(self.password)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{user}{'@' if user else ''}{host}{port}{_write_params(self.params)}{headers}"

    def __repr__(self) -> str:
        return f"SipUri({str(self)!r})"


class TelUri:
    """A tel URI: ``number`` without visual separators, with ``+`` where it is global; ``params`` as in SipUri."""

    __slots__ = ("number", "params")

    scheme: Final = "tel"

    def __init__(self, number: str, params: dict[str, str] | None = None) -> None:
        self.number = number
        self.params: dict[str, str] = {} if params is None else params

    @property
    def user(self) -> str:
        """The number, under the name it has in a SIP URI (19.1.6)."""
        return self.number

    def __str__(self) -> str:
        return f"tel:{self.number}{_write_params(self.params)}"

    def __repr__(self) -> str:
        return f"TelUri({str(self)!r})"


class UrnUri:
    """A urn: ``namespace`` and ``name``, both in lower case (services compare without case, RFC 5031 4.2)."""

    __slots__ = ("name", "namespace")

    scheme: Final = "urn"
    user: Final = ""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name

    @property
    def is_emergency(self) -> bool:
        """True for urn:service:sos and what stands below it (RFC 5031)."""
        return self.namespace == "service" and (self.name == "sos" or self.name.startswith("sos."))

    def __str__(self) -> str:
        return f"urn:{self.namespace}:{self.name}"

    def __repr__(self) -> str:
        return f"UrnUri({str(self)!r})"


Uri = SipUri | TelUri | UrnUri


@kept(REMEMBERED)
def parse_uri(text: str) -> Uri:
    """Read a URI.  Raises BadUri: status 400 where the syntax is broken, 416 for another scheme (8.2.2.1)."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "sip" or scheme == "sips":
        return _parse_sip(scheme, rest)
    if scheme == "tel":
        return _parse_tel(rest)
    if scheme == "urn":
        return _parse_urn(rest)
    if not colon or not scheme or not scheme.isascii() or not scheme[0].isalpha():
        raise BadUri(f"{text[:80]!r} is not a URI; write sip:user@host")
    if any(not (letter.isalnum() or letter in "+-.") for letter in scheme):
        raise BadUri(f"{text[:80]!r} is not a URI; write sip:user@host")
    raise BadUri(f"scheme {scheme[:40]!r} is not known here; use sip, sips, tel or urn:service", 416)


def _parse_sip(scheme: str, rest: str) -> SipUri:
    found = _SIP.fullmatch(rest)
    if found is None:
        raise BadUri(f"'{scheme}:{rest[:80]}' is not a SIP URI; write {scheme}:user@host:port;name=value")
    user, password, host, port, params, headers = found.groups("")
    if "%" in rest:
        if _BAD_ESCAPE.search(rest) is not None:
            raise BadUri(f"'{scheme}:{rest[:80]}' has a % that is not followed by two hex digits")
        user, password = unescape(user), unescape(password)
    if host[0] == "[":
        host = _ipv6(host[1:-1])
    port_number = int(port) if port else 0
    if port and not 0 < port_number <= MAX_PORT:
        raise BadUri(f"port {port} is not between 1 and {MAX_PORT}")
    return SipUri(
        host,
        port_number,
        user,
        scheme=scheme,
        password=password,
        params=_read_params(params) if params else None,
        headers=headers,
    )


def _ipv6(text: str) -> str:
    try:
        IPv6Address(text)
    except AddressValueError:
        raise BadUri(f"[{text[:50]}] is not an IPv6 address") from None
    return text


def _parse_tel(rest: str) -> TelUri:
    found = _TEL.fullmatch(rest)
    number = _SEPARATORS.sub("", found[1]) if found is not None else ""
    if found is None or number in ("", "+") or _BAD_ESCAPE.search(rest) is not None:
        raise BadUri(f"'tel:{rest[:80]}' is not a telephone number; write tel:+14255550100")
    return TelUri(number, _read_params(found[2]) if found[2] else None)


def _parse_urn(rest: str) -> UrnUri:
    found = _URN.fullmatch(rest)
    if found is None:
        raise BadUri(f"'urn:{rest[:80]}' is not a URN; write urn:service:sos")
    return UrnUri(found[1].lower(), found[2].lower())


def _read_params(text: str) -> dict[str, str]:
    params: dict[str, str] = {}
    for param in text[1:].split(";"):
        name, _, value = param.partition("=")
        params.setdefault(unescape(name).lower(), unescape(value))
    return params


def _write_params(params: dict[str, str]) -> str:
    return "".join(
        f";{_PARAM_UNSAFE.sub(_escape, name)}" + (f"={_PARAM_UNSAFE.sub(_escape, value)}" if value else "")
        for name, value in params.items()
    )


def unescape(text: str) -> str:
    """Resolve ``%XX`` (UTF-8; bytes that are not are read as ISO 8859-1).  ``%00`` is a character like any other."""
    if "%" not in text:
        return text
    return _ESCAPED.sub(lambda run: _text(bytes.fromhex(run[0].replace("%", ""))), text)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def escape_user(text: str) -> str:
    """``text`` as the user part of a SIP URI: what the grammar does not allow there is written ``%XX`` (25.1)."""
    return _USER_UNSAFE.sub(_escape, text)


def _escape(letter: "re.Match[str]") -> str:
    return "".join(f"%{octet:02X}" for octet in letter[0].encode("utf-8", "replace"))
