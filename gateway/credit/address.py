"""Where Redis is: the ``redis.url`` of CONTRACT 3, taken apart once for the hot path and for redis-py.

| URL | what |
|---|---|
| ``unix:///path/to/redis.sock`` | one server, by its Unix socket |
| ``redis://host:6379/0`` | one server |
| ``rediss://host:6379/0`` | one server, by TLS |
| ``redis+sentinel://one:26379,two,three/service`` | the master of a service, as its sentinels name it |
| ``redis+cluster://one:6379,two,three`` | Redis Cluster; the rest of its nodes is found by those that are named |

A user and a password stand before the host (``redis://user:password@host``).  Options are named as redis-py names
them: ``ssl_ca_certs`` (the authority that signed the server's certificate; the system's where it is left out),
``ssl_certfile`` and ``ssl_keyfile`` (the gate's own certificate, where the server asks for one),
``ssl_check_hostname=false`` (any name will do in the certificate), and ``db`` where the path is something else.  Where
the scheme does not say it, ``ssl=true`` or any other of them means TLS, to sentinels too; ``sentinel_username`` and
``sentinel_password`` are for sentinels that want another user, or any.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

KNOWN: Final = (
    "unix:///path/to/redis.sock, redis[s]://[[user]:password@]host[:port][/db], "
    "redis+sentinel://host[:port],.../service or redis+cluster://host[:port],..."
)

PLACES_MAX: Final = 64
"""Sentinels or nodes in one URL: more is a slip, a few are enough to find the rest."""

_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_OPTIONS: Final = {
    "unix": frozenset({"db"}),
    "redis": frozenset[str](),
    "rediss": _TLS,
    "redis+sentinel": _TLS | {"ssl", "db", "sentinel_username", "sentinel_password"},
    "redis+cluster": _TLS | {"ssl"},
}
"""What may stand behind the question mark, by scheme."""


class AddressError(ValueError):
    """A Redis URL that cannot be used: what is wrong with it and what it should look like."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is spoken; files are in PEM, empty: the system's authorities, no certificate of our own."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """What a connection needs; files are read anew, for they are renewed.  Raises OSError (SSLError is one)."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        context.check_hostname = self.check_hostname
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        return context

    def unreadable(self) -> str:
        """Which of the files cannot be read and why; empty where all can."""
        for name in (self.ca_file, self.cert_file, self.key_file):
            try:
                if name:
                    Path(name).open("rb").close()
            except OSError as error:
                return f"{name}: {error.strerror}"
        return ""


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis node: a Unix socket where ``path`` is set, else a TCP host and port; by TLS where ``tls`` is."""

    path: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    db: int = 0
    username: str = ""
    password: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        """Where it is, without secrets: for errors and logs."""
        scheme = "rediss" if self.tls else "redis"
        return f"unix://{self.path}" if self.path else f"{scheme}://{self.host}:{self.port}/{self.db}"

    def at(self, host: str, port: int) -> "Address":
        """The same sign-in at another place."""
        return replace(self, host=host, port=port)


Place = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The master of ``service``, whom the sentinels at ``places`` know; signed in to as ``node`` says."""

    places: tuple[Place, ...]
    service: str
    node: Address
    username: str = ""
    password: str = ""

    @property
    def tls(self) -> Tls | None:
        """TLS to sentinels and to the master."""
        return self.node.tls

    def __str__(self) -> str:
        return f"redis+sentinel://{_shown(self.places)}/{self.service}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Redis Cluster, some of whose nodes are at ``places``; each is signed in to as ``node`` says."""

    places: tuple[Place, ...]
    node: Address

    @property
    def tls(self) -> Tls | None:
        """TLS to every node."""
        return self.node.tls

    def __str__(self) -> str:
        return f"redis+cluster://{_shown(self.places)}"


Whereabouts = Address | Sentinels | Cluster
"""What a URL may name."""


def _shown(places: tuple[Place, ...]) -> str:
    return ",".join(f"{host}:{port}" for host, port in places)


def parse_address(url: str) -> Whereabouts:
    """Take a URL apart.  Raises AddressError; its text repeats no password."""
    scheme, _, rest = url.partition("://")
    if scheme not in _OPTIONS:
        raise AddressError(f"redis.url with scheme {scheme[:20]!r} cannot be used here: expected {KNOWN}")
    rest, _, query = rest.partition("?")
    options = _options(scheme, query)
    before, slash, path = rest.partition("/")
    user, _, place = before.rpartition("@")
    username, _, password = user.partition(":")
    username, password = unquote(username), unquote(password)
    if scheme == "unix":
        if not path:
            raise AddressError(f"redis.url names no socket: expected {KNOWN}")
        db = _db(options.get("db", ""))
        return Address(path=unquote(slash + path), db=db, username=username, password=password)
    tls = _tls(options) if scheme == "rediss" or _wants_tls(options) else None
    node = Address(username=username, password=password, tls=tls)
    if scheme == "redis+sentinel":
        return _sentinels(_places(place, SENTINEL_PORT), unquote(path), node, options)
    if scheme == "redis+cluster":
        if _db(path):
            raise AddressError(
                "redis.url names a database, and Redis Cluster has only one: leave it out; expected none"
            )
        return Cluster(_places(place, DEFAULT_PORT), node)
    return replace(node.at(*_place(place, DEFAULT_PORT)), db=_db(path))


def _sentinels(places: tuple[Place, ...], service: str, node: Address, options: Mapping[str, str]) -> Sentinels:
    if not service or "/" in service:
        raise AddressError(f"redis.url names no service for its sentinels: expected {KNOWN}")
    node = replace(node, db=_db(options.get("db", "")))
    return Sentinels(places, service, node, options.get("sentinel_username", ""), options.get("sentinel_password", ""))


def _wants_tls(options: Mapping[str, str]) -> bool:
    ssl_ = options.get("ssl", "true" if _TLS & options.keys() else "false").lower()
    if ssl_ not in {"true", "false"}:
        raise AddressError("redis.url has another ssl than true or false: expected one of them")
    return ssl_ == "true"


def _places(text: str, default_port: int) -> tuple[Place, ...]:
    places = text.split(",")
    if len(places) > PLACES_MAX:
        raise AddressError(f"redis.url names {len(places)} places: expected at most {PLACES_MAX}")
    return tuple(_place(each, default_port) for each in places)


def _place(text: str, default_port: int) -> Place:
    """Host and port; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    host = host.removeprefix("[").removesuffix("]")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):  # its text may be a piece of a password
        raise AddressError(
            f"redis.url is not a URL with a host: expected {KNOWN}; write / @ : # of a password as %2F %40 %3A %23"
        )
    return host, int(port or default_port)


def _db(text: str) -> int:
    text = text.strip("/") or "0"
    if not text.isdecimal():
        raise AddressError("redis.url names a database that is no number: expected such as redis://host:6379/0")
    return int(text)


def _options(scheme: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = _OPTIONS[scheme]
    for name in options:
        if name not in known:
            expected = f"expected {', '.join(sorted(known))}" if known else f"expected none with {scheme}://"
            raise AddressError(f"redis.url has an option {name[:30]!r} that is not known here: {expected}")
    return options


def _tls(options: Mapping[str, str]) -> Tls:
    check = options.get("ssl_check_hostname", "true").lower()
    if check not in {"true", "false"}:
        raise AddressError("redis.url has another ssl_check_hostname than true or false: expected one of them")
    ca, certificate, key = (options.get(name, "") for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    tls = Tls(ca, certificate, key, check == "true")
    if tls.key_file and not tls.cert_file:
        raise AddressError("redis.url has ssl_keyfile without ssl_certfile: expected both, or the certificate alone")
    return tls
