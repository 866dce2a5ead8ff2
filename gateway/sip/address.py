"""The header values that name a party or a hop: name-addr (From, To, Contact, …; RFC 3261 20.10) and Via (20.42).

Both are matched by one pattern and keep its pieces; display name, parameters and URI are understood on demand,
because most of them are only copied.
"""

import re
from functools import lru_cache
from typing import Final

from gateway.sip.errors import BadMessage
from gateway.sip.grammar import LWS, PARAMS, QUOTED, TCHAR, is_token, quote, split_params, unquote
from gateway.sip.uri import MAX_PORT, SIP_PORT, SIPS_PORT

MAGIC_COOKIE: Final = "z9hG4bK"
"""How a branch begins that is unique in space and time (8.1.1.7)."""

# Display names are taken as they come, also with characters that should have been quoted (RFC 4475 3.1.2.15): they
# are only copied, and quoted properly where they are written anew.
_NAME_ADDR = re.compile(
    rf'({QUOTED}|[^"<>]*+){LWS}<([^<>\s"]++)>((?:;tag=([^\s;,"<>=]++))?+{PARAMS}){LWS}', re.DOTALL
).fullmatch
# A URI without <> ends at its first semicolon and may hold neither ? nor comma (20.10).
_ADDR_SPEC = re.compile(rf'()([A-Za-z][A-Za-z0-9+.\-]*+:[^<>\s",;?]++)({PARAMS})(){LWS}', re.DOTALL).fullmatch

_PLAIN = rf"{TCHAR}++(?:=[^\s;,\"<>=]++)?"
_VIA = re.compile(
    r"SIP/2\.0/([A-Za-z0-9\-]++) ([A-Za-z0-9_.\-]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{1,5}+))?"
    rf"((?:;(?!branch=){_PLAIN})*+(?:;branch=([^\s;,\"<>=]++))?(?:;{_PLAIN})*+)(?:,|$)"
).match
# The same with white space wherever 25.1 allows it, and with quoted parameters.
_LOOSE_VIA = re.compile(
    rf"SIP{LWS}/{LWS}2\.0{LWS}/{LWS}({TCHAR}++)[ \t]++([A-Za-z0-9_.\-]++|\[[0-9A-Fa-f:.]++\])"
    rf"(?:{LWS}:{LWS}([0-9]{{1,5}}+))?({PARAMS})(){LWS}(?:,|$)",
    re.DOTALL | re.IGNORECASE,
).match
_is_plain = re.compile(r"[^\s;,\"<>=\\]++").fullmatch


class NameAddr:
    """A party: ``uri`` as written (``sip:…``, without ``<>``); ``raw_display`` and ``raw_params`` untouched.

    ``tag`` is the tag parameter (19.3), ``""`` where there is none, as RFC 2543 peers do.
    """

    __slots__ = ("raw_display", "raw_params", "tag", "uri")

    def __init__(self, uri: str, raw_display: str = "", raw_params: str = "", tag: str | None = None) -> None:
        self.uri = uri
        self.raw_display = raw_display
        self.raw_params = raw_params
        # The pattern has found a tag that stands first; elsewhere, or in other letters, it is looked for.
        self.tag: str = tag or (split_params(raw_params).get("tag", "") if raw_params else "")

    @property
    def display(self) -> str:
        """The display name without its quotes; ``""`` where there is none."""
        return unquote(self.raw_display.strip(" \t"))

    @property
    def params(self) -> dict[str, str]:
        """Header parameters, names in lower case, ``""`` for a flag; a fresh dict."""
        return split_params(self.raw_params)

    def __str__(self) -> str:
        return f"{write_display(self.display)}<{self.uri}>{self.raw_params}"

    def __repr__(self) -> str:
        return f"NameAddr({str(self)!r})"


def write_display(display: str) -> str:
    """A display name and the space after it, as it stands before ``<``, quoted unless it is one token."""
    if not display:
        return ""
    return f"{display} " if is_token(display) else f"{quote(display)} "


def parse_name_addr(text: str) -> NameAddr:
    """Read the value of From, To, Contact, Route, …  Raises BadMessage (400) where it is no address."""
    found = _NAME_ADDR(text) or _ADDR_SPEC(text)
    if found is None:
        raise BadMessage(f'{text[:80]!r} is not an address; write "Name" <sip:user@host>;tag=…')
    display, uri, params, tag = found.groups()
    return NameAddr(uri, display, params, tag)


NAMES_KEPT: Final = 4_096
"""Values kept with what was read in them, at most 3 MB: the messages of one call say From and To over and over."""

KEPT_NAME_MAX: Final = 300
"""Longer ones are not kept, or a stranger could fill the memory with them."""

recent_name_addr = lru_cache(NAMES_KEPT)(parse_name_addr)
"""The same for a value of at most KEPT_NAME_MAX characters, out of those read lately; to be read, not changed."""


class Via:
    """One hop (20.42), the first of a Via line."""

    __slots__ = ("_end", "_text", "branch", "host", "is_cookie", "key", "raw_params", "transport")

    def __init__(self, found: re.Match[str], text: str) -> None:
        self._text = text
        self._end = found.end()
        transport, host, port, raw_params, branch = found.groups()
        if branch is None or branch == "":
            branch = split_params(raw_params).get("branch", "") if raw_params else ""
        self.transport: str = transport
        """As written, mostly ``UDP``, ``TCP`` or ``TLS``."""
        self.host: str = host
        """Sent-by's host as written, IPv6 with its brackets."""
        self.raw_params: str = raw_params
        """The parameters as written, each with its semicolon."""
        self.branch: str = branch
        """The branch parameter; ``""`` where there is none."""
        self.is_cookie = len(branch) > 7 and (branch.startswith(MAGIC_COOKIE) or branch[:7].lower() == "z9hg4bk")
        """True where the branch may be used for matching by RFC 3261: something follows the magic cookie
        (RFC 4475 3.2.1)."""
        self.key: tuple[str, str, str] = (branch, host, port or "")
        """Branch, host and port as written: what 17.2.3 matches requests by."""

    @property
    def port(self) -> int:
        """Sent-by's port; 0 where none was written."""
        port = self.key[2]
        return int(port) if port else 0

    @property
    def text(self) -> str:
        """This hop alone, as written."""
        end, text = self._end, self._text
        if end < len(text) or text[-1] == ",":
            return text[: end - 1].rstrip(" \t")
        return text

    @property
    def rest(self) -> str:
        """What stands behind this hop and its comma on the same header line."""
        return self._text[self._end :].strip(" \t")

    @property
    def params(self) -> dict[str, str]:
        """Parameters, names in lower case, ``""`` for a flag; a fresh dict."""
        return split_params(self.raw_params)

    @property
    def reply_port(self) -> int:
        """The port answers go to without rport: sent-by's, else the transport's default (18.2.2)."""
        return self.port or (SIPS_PORT if self.transport.upper() == "TLS" else SIP_PORT)

    def stamped(self, source_host: str, source_port: int) -> str:
        """This hop as it stands in the answer: ``received`` and ``rport`` filled in (18.2.1, RFC 3581 4).

        ``received`` is added where the request came from elsewhere than sent-by says, and always beside rport.
        """
        raw, text, host = self.raw_params, self.text, self.host
        bare = host[1:-1] if host[0] == "[" else host
        if "received" not in raw and '"' not in raw:
            filled = f";received={source_host};rport={source_port}"
            if text.endswith(";rport"):
                return text[:-6] + filled
            if ";rport;" in text:
                return text.replace(";rport;", filled + ";", 1)
            if bare == source_host and "rport" not in raw.lower():
                return text
        params = self.params
        params.pop("received", None)
        if "rport" in params:
            params["rport"] = str(source_port)
        if "rport" in params or bare != source_host:
            params["received"] = source_host
        port = f":{self.port}" if self.port else ""
        return f"SIP/2.0/{self.transport} {self.host}{port}{_write_params(params)}"

    @property
    def wants_rport(self) -> bool:
        """True where answers shall go to the port the request came from (RFC 3581)."""
        raw = self.raw_params
        if raw.endswith(";rport") and '"' not in raw:
            return True  # as nearly everybody writes it
        return "rport" in raw.lower() and "rport" in split_params(raw)


def _write_params(params: dict[str, str]) -> str:
    return "".join(
        f";{name}" if not value else f";{name}={value}" if _is_plain(value) else f";{name}={quote(value)}"
        for name, value in params.items()
    )


def parse_via(text: str) -> Via:
    """Read the first hop of a Via line.  Raises BadMessage (400) where it is not one."""
    found = _VIA(text) or _LOOSE_VIA(text)
    if found is None:
        raise BadMessage(f"Via {text[:80]!r} cannot be read; write SIP/2.0/UDP host:port;branch=…")
    via = Via(found, text)
    if via.key[2] and not 0 < via.port <= MAX_PORT:
        raise BadMessage(f"Via {text[:80]!r} names port {via.key[2][:10]}; a port is 1 to {MAX_PORT}")
    return via
