"""The kinds of value that settings and provisioning are made of: each parsed once, at the edge, into what it means.

A listen address becomes a :class:`Listen`, a ``hosts`` entry a :class:`HostRule`, an amount an integer of micro-units,
``env:NAME`` and ``file:PATH`` the secret they name.  A parser raises ValueError whose text says what was expected; the
file, key and value are added by gateway.config.problems.
"""

import os
import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    Strict,
    StrictStr,
    ValidationInfo,
)

from gateway.call.targets import SPOKEN
from gateway.config.known import parse_billing_country, parse_country, parse_licence
from gateway.config.problems import WrongValue
from gateway.sip.errors import BadUri
from gateway.sip.uri import SipUri, parse_uri
from rating.money import MoneyError, parse_amount

PORT_MAX: Final = 65535
WORKER_PORTS_MAX: Final = 256
"""More workers than this would not fit a machine; the range is a slip."""
SECRET_FILE_BYTES_MAX: Final = 4096
"""A secret file larger than this is the wrong file."""
TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""Options of a Redis URL that name files (gateway.credit.address)."""
WEIGHT_MAX: Final = 65_535
"""Of a target's priority and weight, as of an SRV record's (RFC 2782)."""
PATTERN_CHARS_MAX: Final = 128
"""A dial rule's pattern is matched on at most 32 characters; a longer pattern is a mistake or an attack."""


class Table(BaseModel):
    """A table of a TOML file: unknown keys refused, values never changed after the load."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # else every name would be taken for an attribute

        def __getattr__(self, name: str) -> object:
            if name in type(self).model_fields:  # of a table that gateway.config.salvage made
                raise WrongValue(name)
            return super().__getattr__(name)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where SIP is heard; ``host`` is a bare IP address, ``str()`` the form it was written in."""

    transport: Literal["udp", "tcp", "tls"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}://{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address and port; ``host`` is bare (an IPv6 address has no brackets)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of a trunk's ``hosts``; ``port`` None: any.  Of several that match, the highest rank wins."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    def matches(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether a source is meant by this entry; an address of the other family never is."""
        return self.port in (None, port) and address in self.network

    @property
    def rank(self) -> tuple[int, bool]:
        """How specific the entry is: the longer network first, then the one that names a port."""
        return self.network.prefixlen, self.port is not None

    def __str__(self) -> str:
        whole = self.network.prefixlen == self.network.max_prefixlen
        host = str(self.network.network_address) if whole else str(self.network)
        return host if self.port is None else f"{bracketed(host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetRule:
    """One of a trunk's targets; ``priority`` 0: its place in the list, counted from 1."""

    uri: str
    transport: str
    priority: int = 0
    weight: int = 1

    def __str__(self) -> str:
        return self.uri


def bracketed(host: str) -> str:
    """``host`` as it stands before a colon and port: an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")
    return value.strip()


def _split(text: str, expected: str) -> tuple[SplitResult, int]:
    """A URL and its port.  Raises ValueError where the port is missing, not a number or out of range."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        port = None
    if not port:
        raise ValueError(f"expected {expected}, with a port from 1 to {PORT_MAX}")
    return parts, port


def parse_listen(value: object) -> Listen:
    """``udp://ADDRESS:PORT``, ``tcp://…`` or ``tls://…``; an IP address, in brackets where it is IPv6."""
    expected = 'a listen address such as "udp://127.0.0.1:5060" (udp, tcp or tls)'
    if isinstance(value, Listen):
        return value
    parts, port = _split(_text(value, expected), expected)
    if parts.scheme not in SPOKEN or parts.path or parts.query or parts.username is not None:
        raise ValueError(f"expected {expected}")
    host = _address(parts.hostname or "", expected)
    return Listen(cast(Literal["udp", "tcp", "tls"], parts.scheme), host, port)


def parse_host_port(value: object) -> HostPort:
    """``ADDRESS:PORT``, an IPv6 address in brackets."""
    expected = 'an address and port such as "127.0.0.1:8080"'
    if isinstance(value, HostPort):
        return value
    parts, port = _split("//" + _text(value, expected), expected)
    if parts.path or parts.query or parts.username is not None:
        raise ValueError(f"expected {expected}")
    return HostPort(_address(parts.hostname or "", expected), port)


def _address(host: str, expected: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError(f"expected {expected}; the host is an IP address, not a name") from None


def parse_host_rule(value: object) -> HostRule:
    """An address, a CIDR network, or ``address:port`` (CONTRACT 3)."""
    expected = 'an address, a network or address:port such as "10.1.0.0/16", "127.0.0.1:5061" or "[::1]:5060"'
    if isinstance(value, HostRule):
        return value
    text = _text(value, expected)
    try:
        return HostRule(ip_network(text))
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"expected a network without host bits: {ip_network(text, strict=False)}") from None
    parts, port = _split("//" + text, expected)
    return HostRule(ip_network(_address(parts.hostname or "", expected)), port)


def parse_ports(value: object) -> tuple[int, ...]:
    """``FIRST-LAST`` or one port."""
    expected = 'ports such as "5070-5079"'
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", _text(value, expected))
    if not match:
        raise ValueError(f"expected {expected}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= PORT_MAX or last - first >= WORKER_PORTS_MAX:
        raise ValueError(f"expected {expected}: 1 to {PORT_MAX}, rising, at most {WORKER_PORTS_MAX} of them")
    return tuple(range(first, last + 1))


def parse_target(value: object) -> TargetRule:
    """A trunk's target: a SIP URI without user part, ``sip:HOST[:PORT][;transport=udp|tcp|tls]``, or a table of it
    with ``priority`` and ``weight``."""
    if isinstance(value, TargetRule):
        return value
    if not isinstance(value, dict):
        return TargetRule(*_target_uri(value))
    expected = f'a table such as {{ uri = "sip:127.0.0.1:5090", priority = 1, weight = 1 }}, each 1 to {WEIGHT_MAX}'
    ranks = [value.get(name, 1) for name in ("priority", "weight")]
    if set(value) - {"uri", "priority", "weight"} or not all(_is_rank(rank) for rank in ranks):
        raise ValueError(f"expected {expected}")
    uri, transport = _target_uri(value.get("uri"))
    return TargetRule(uri, transport, value.get("priority", 0), ranks[1])


def _is_rank(rank: object) -> bool:
    return isinstance(rank, int) and not isinstance(rank, bool) and 1 <= rank <= WEIGHT_MAX


def _target_uri(value: object) -> tuple[str, str]:
    """The URI of a target as it is written, and its transport."""
    expected = 'a SIP URI such as "sip:127.0.0.1:5090" or "sip:pbx.example.org;transport=tcp"'
    text = _text(value, expected)
    try:
        uri = parse_uri(text)
    except BadUri as error:
        raise ValueError(f"expected {expected}: {error}") from None
    if not isinstance(uri, SipUri) or uri.user or uri.headers:
        raise ValueError(f"expected {expected}, without a user part")
    if uri.transport not in SPOKEN:
        raise ValueError(f"expected {expected}; the transport is udp, tcp or tls")
    return text, uri.transport


def parse_micros(value: object) -> int:
    """An amount as decimal text with at most six decimals, or a whole number, in micro-units (MONEY 1)."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('expected an amount in quotes such as "12.50"')
    try:
        return parse_amount(str(value))
    except MoneyError as error:
        raise ValueError(f'expected an amount such as "12.50": {error}') from None


def parse_micros_not_negative(value: object) -> int:
    """As :func:`parse_micros`; refuses what is below zero."""
    micros = parse_micros(value)
    if micros < 0:
        raise ValueError('expected an amount of at least "0"')
    return micros


def parse_secret(value: object, info: ValidationInfo) -> SecretStr:
    """The secret itself, ``env:NAME`` or ``file:PATH`` (relative to the file that names it), resolved now."""
    if isinstance(value, SecretStr):
        return value
    return SecretStr(resolve_secret(_text(value, "a secret in quotes, env:NAME or file:PATH"), _base(info)))


def parse_url(value: object, info: ValidationInfo) -> str:
    """A URL that may carry a password: the URL itself, ``env:NAME`` or ``file:PATH``."""
    return resolve_secret(_text(value, "a URL in quotes, env:NAME or file:PATH"), _base(info))


def parse_mail_url(value: object, info: ValidationInfo) -> str:
    """As :func:`parse_url`: an Apprise URL, or nothing."""
    url = parse_url(value, info) if value != "" else ""
    if url and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", url):
        raise ValueError('expected an Apprise URL such as "mailtos://USER:PASSWORD@SERVER"')
    return url


def parse_ledger_url(value: object, info: ValidationInfo) -> str:
    """As :func:`parse_url`; a relative SQLite file starts at the file that names it."""
    url = parse_url(value, info)
    name = url.removeprefix("sqlite:///")
    return f"sqlite:///{(_base(info) / name).absolute()}" if name and name != url else url


def parse_redis_url(value: object, info: ValidationInfo) -> str:
    """As :func:`parse_url`; relative files of TLS start at the file that names them."""
    url, question, query = parse_url(value, info).partition("?")
    options = [
        (name, str((_base(info) / word).absolute()) if name in TLS_FILES and word else word)
        for name, word in parse_qsl(query, keep_blank_values=True)
    ]
    return url + question + urlencode(options, safe="/:")


def resolve_secret(text: str, base: Path) -> str:
    """What ``text`` names.  Raises ValueError where the variable is not set or the file cannot be read."""
    kind, _, name = text.partition(":")
    if kind == "env":
        if not (found := os.environ.get(name)):
            raise ValueError(f"expected the environment variable {name} to be set and not empty")
        return found
    if kind == "file":
        return _secret_file(base / name)
    return text


def _secret_file(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8")[: SECRET_FILE_BYTES_MAX + 1].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"expected {path} to be a readable text file: {error}") from None
    if not 0 < len(found) <= SECRET_FILE_BYTES_MAX:
        raise ValueError(f"expected {path} to hold 1 to {SECRET_FILE_BYTES_MAX} characters")
    return found


def parse_path(value: object, info: ValidationInfo) -> Path:
    """A path, absolute from here on: a relative one starts at the file that names it."""
    text = str(value) if isinstance(value, Path) else _text(value, "a path in quotes")
    if not text:
        raise ValueError("expected a path")
    return (_base(info) / Path(text).expanduser()).absolute()


def _base(info: ValidationInfo) -> Path:
    """The folder of the file being read; the working directory where there is none."""
    found = (info.context or {}).get("base")
    return found if isinstance(found, Path) else Path.cwd()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _matching(pattern: str, expected: str) -> PlainValidator:
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        text = _text(value, expected)
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {expected}")
        return text

    return PlainValidator(parse)


CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Characters that end a line or turn the rest of it round; PostgreSQL takes no NUL."""
UNSEEN: Final = rf"{CONTROL}\u200b-\u200f\u2060-\u206f\ufeff"
"""Characters that no terminal shows, or that change what it shows."""
_CONTROL: Final = re.compile(f"[{CONTROL}]")


def check_text(text: str) -> str:
    """One line of text for people.  Raises ValueError where a character of it would do something else than be read."""
    found = _CONTROL.search(text)
    if found:
        raise ValueError(f"expected one line of text: it has the control character U+{ord(found[0]):04X}")
    return text


@cache
def _currencies() -> frozenset[str]:
    """Those of ISO 4217 that are or were the money of a country, by CLDR; not its codes of metals, funds and tests."""
    from babel.core import get_global  # no other command needs it

    uses = get_global("territory_currencies").values()
    return frozenset(code for used in uses for code, _from, _to, is_tender in used if is_tender)


def is_currency(code: str) -> bool:
    """Whether the code is a currency of ISO 4217, in capital letters."""
    return code in _currencies()


def parse_currency(value: object) -> str:
    """A currency of ISO 4217."""
    expected = 'a currency of three capital letters such as "USD" (ISO 4217)'
    text = _text(value, expected)
    if not is_currency(text):
        raise ValueError(f"expected {expected}")
    return text


def parse_zone(value: object) -> str:
    """An IANA time zone."""
    text = _text(value, 'a time zone such as "Europe/Paris"')
    if text not in _zones():
        raise ValueError('expected an IANA time zone such as "UTC" or "Europe/Paris"')
    return text


def parse_pattern(value: object) -> str:
    """A regular expression of a dial plan: it must compile."""
    text = _text(value, "a regular expression in single quotes")
    if not 0 < len(text) <= PATTERN_CHARS_MAX:
        raise ValueError(f"expected a regular expression of 1 to {PATTERN_CHARS_MAX} characters")
    try:
        re.compile(check_text(text))
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from None
    return text


Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[StrictStr, Field(max_length=256), AfterValidator(check_text)]
MicrosNotNegative = Annotated[int, PlainValidator(parse_micros_not_negative)]
ListenAddress = Annotated[Listen, PlainValidator(parse_listen)]
AddressPort = Annotated[HostPort, PlainValidator(parse_host_port)]
Ports = Annotated[tuple[int, ...], PlainValidator(parse_ports)]
Target = Annotated[TargetRule, PlainValidator(parse_target)]
Secret = Annotated[SecretStr, PlainValidator(parse_secret)]
MailUrl = Annotated[str, PlainValidator(parse_mail_url)]
RedisUrl = Annotated[str, PlainValidator(parse_redis_url)]
LedgerUrl = Annotated[str, PlainValidator(parse_ledger_url)]
AbsolutePath = Annotated[Path, PlainValidator(parse_path)]
TimeZone = Annotated[str, PlainValidator(parse_zone)]
Pattern = Annotated[str, PlainValidator(parse_pattern)]
HostName = Annotated[
    str,
    _matching(
        r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*",
        'a host name such as "sip.example.org"',
    ),
]
Name = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a name of letters, digits, . _ - (at most 64)")]
Identity = Annotated[
    str,
    _matching(rf"[^\s{UNSEEN}:/{{}}]{{1,128}}", "an id of visible characters without spaces, : / { } (at most 128)"),
]
Country = Annotated[str, PlainValidator(parse_country)]
BillingCountry = Annotated[str, PlainValidator(parse_billing_country)]
Currency = Annotated[str, PlainValidator(parse_currency)]
E164 = Annotated[
    str, _matching(r"\+[1-9]\d{6,14}", 'a whole number in E.164 with +, of 7 to 15 digits, such as "+14255550100"')
]
"""No country has shorter ones: those of Saint Helena and Niue are the shortest (ITU-T E.164, national plans)."""
Prefix = Annotated[str, _matching(r"\+[1-9]\d{0,14}", 'a prefix with + such as "+44"')]
Licence = Annotated[str, PlainValidator(parse_licence)]
