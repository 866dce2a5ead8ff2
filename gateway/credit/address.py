"""Where Redis is: the ``redis.url`` of CONTRACT 3, taken apart once for the hot path and for redis-py."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT: Final = 6379

KNOWN: Final = "unix:///path/to/redis.sock or redis://[[user]:password@]host[:port][/db]"


class AddressError(ValueError):
    """A Redis URL that cannot be used: what is wrong with it and what it should look like."""


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis node: a Unix socket where ``path`` is set, else a TCP host and port."""

    path: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    db: int = 0
    username: str = ""
    password: str = ""

    def __str__(self) -> str:
        """Where it is, without secrets: for errors and logs."""
        return f"unix://{self.path}" if self.path else f"redis://{self.host}:{self.port}/{self.db}"


def parse_address(url: str) -> Address:
    """Take a URL apart.  Raises AddressError; its text repeats no password."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:  # its text repeats what stands behind a colon: a piece of a password with a / in it
        raise AddressError(
            f"redis.url is not a URL: expected {KNOWN}; write / @ : # of a password as %2F %40 %3A %23"
        ) from None
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix" and parts.path:
        db = _db(parse_qs(parts.query).get("db", ["0"])[0])
        return Address(path=unquote(parts.path), db=db, username=username, password=password)
    if parts.scheme == "redis" and parts.hostname:
        return Address("", parts.hostname, port, _db(parts.path.strip("/") or "0"), username, password)
    raise AddressError(f"redis.url with scheme {parts.scheme!r} cannot be used here: expected {KNOWN}")


def _db(text: str) -> int:
    if not text.isdecimal():
        raise AddressError("redis.url names a database that is no number: expected such as redis://host:6379/0")
    return int(text)
