"""Requests and responses, read lazily: header lines are found once, and understood only where somebody asks.

A message is decoded and split into lines in a few C calls.  Where every header name is spelled as registered and
nothing is folded (what machines send), the lines are the fields; else a slower loop unfolds, resolves compact forms
and checks.  What every element relies on is checked at once, so that nothing fails later: the start line, the top
Via, CSeq, From, To, Call-ID, Max-Forwards, Content-Length, and that single-valued fields stand once.  All the rest is
text that is copied.

Header bytes are UTF-8; where they are not, they are read as ISO 8859-1, the habit of old PBXs, and leave as UTF-8.
So a header value is always a string that can be encoded, and never holds a line end.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.sip.address import KEPT_NAME_MAX, NameAddr, Via, parse_name_addr, parse_via, recent_name_addr
from gateway.sip.errors import BadMessage
from gateway.sip.grammar import HEADER_NAMES, SINGLE_VALUED, canonical, is_token, split_values

METHODS: Final = frozenset(
    (
        *("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER"),
        *("PRACK", "UPDATE", "INFO", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "REFER"),
    )
)
"""Methods that have an RFC; any other token is an unknown method (501)."""

CSEQ_LIMIT: Final = 2**31
"""CSeq numbers are below this (8.1.1.5)."""

EXPIRES_LIMIT: Final = 2**32
"""Delta-seconds are below this (20.19)."""

NOBODY: Final = NameAddr("")
"""Stands for a party that cannot be read; it has neither URI nor tag."""
_UNREAD: Final = NameAddr("")
"""Stands for a Contact that nobody has asked for yet."""
SHORT_MAX: Final = 40
"""Longer start lines and CSeq values are not kept with what was read in them, or a stranger could fill the memory."""
SHORT_KEPT: Final = 512
"""Status lines and CSeq values kept with what was read in them: nearly every message repeats one of a few dozen."""
_HOPS: Final = {str(number): number for number in range(256)}
"""Values of Max-Forwards (20.22) as they are mostly written."""
_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE).fullmatch


class Size(NamedTuple):
    """How large a message may be; beyond it is refused with 513, except that a response is dropped."""

    message: int = 65_535
    """Octets; what a UDP datagram can hold, and no reason for more on a stream."""
    headers: int = 160
    """Header lines; a request through twenty proxies has about 60, and each costs a fraction of a microsecond."""
    vias: int = 70
    """Hops; Max-Forwards lets no request pass more (8.1.1.6)."""


DEFAULT_SIZE: Final = Size()


class Message:
    """What requests and responses have in common.

    ``body`` is bytes, cut to Content-Length.  ``from_`` and ``to`` are the parties, ``call_id`` is the Call-ID,
    ``cseq`` its number and method, ``via_count`` how many hops there are, ``max_forwards`` None where absent.
    """

    __slots__ = (
        "_contact",
        "_first",
        "_lines",
        "_via",
        "body",
        "call_id",
        "cseq",
        "from_",
        "max_forwards",
        "to",
        "via_count",
    )

    _first: dict[str, str]
    """The first value of each name, in their order; names in registered spelling, unknown ones as they came."""
    _lines: list[str] | None
    """All header lines, unfolded, as ``name: value``, where a name stands several times; else None."""
    _contact: NameAddr | None
    _via: Via | None
    body: bytes
    call_id: str
    cseq: tuple[int, str]
    max_forwards: int | None
    via_count: int
    from_: NameAddr
    to: NameAddr

    @property
    def top_via(self) -> Via:
        """The newest hop.  Raises BadMessage where a response has one that cannot be read."""
        if self._via is None:
            self._via = parse_via(self._first["Via"])
        return self._via

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; None where there is none, or ``*``, or nothing that can be read."""
        contact = self._contact
        if contact is _UNREAD:
            contact = self._contact = self._read_contact()
        return contact

    def _read_contact(self) -> NameAddr | None:
        text = self._first.get("Contact")
        if text is None:
            return None
        try:
            if "," in text:
                return parse_name_addr(split_values(text)[0])
            return recent_name_addr(text) if len(text) <= KEPT_NAME_MAX else parse_name_addr(text)
        except (BadMessage, IndexError):
            return None

    def get(self, name: str) -> str | None:
        """The value of the first header line of that name, unfolded; None where there is none.

        ``name`` in any case or compact form; the registered spelling is fastest.
        """
        value = self._first.get(name) if name in HEADER_NAMES else self._get_odd(name)
        return None if value is None else value.strip(" \t")

    def _get_odd(self, name: str) -> str | None:
        """The first value of a name that is not spelled as registered, or that nobody has registered."""
        known = canonical(name)
        if known is not None:
            return self._first.get(known)
        wanted = name.lower()
        return next((value for spelled, value in self._first.items() if spelled.lower() == wanted), None)

    def all(self, name: str) -> list[str]:
        """The values of all header lines of that name, as they came and in their order."""
        first = self.get(name)
        if first is None:
            return []
        if self._lines is None:
            return [first]
        wanted = (canonical(name) or name).lower()
        return [value for spelled, value in self.header_lines() if spelled.lower() == wanted]

    def values(self, name: str) -> list[str]:
        """All values of that header, lines with several values taken apart at their commas (7.3.1)."""
        lines = self.all(name)
        if len(lines) == 1:
            return split_values(lines[0])
        return [value for line in lines for value in split_values(line)]

    def header_lines(self, without: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
        """Every header line in its order: the name in registered spelling (unknown ones as they came), the value.

        Names in ``without`` are left out; where that is most of them, asking so is much the cheaper way.
        """
        first = self._first
        if first.keys() <= without:
            return []
        if self._lines is None:
            return [(name, value.strip(" \t")) for name, value in first.items() if name not in without]
        lines = [line.partition(": ") for line in self._lines]
        return [(name, value.strip(" \t")) for name, _, value in lines if name not in without]


class Request(Message):
    """A request: ``method``, and ``uri``, the Request-URI as text (gateway.sip.uri reads it).

    ``echo`` is kept by gateway.sip.build: what every response to this request repeats.
    """

    __slots__ = ("echo", "method", "uri")

    method: str
    uri: str
    echo: tuple[str, str] | None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response(Message):
    """A response: ``status`` (100–699) and ``reason``, the phrase, which may be empty.

    Via, From and To are what this element sent, come back: Via is not checked before somebody asks for it, and an
    address that cannot be read is NOBODY's.
    """

    __slots__ = ("reason", "status")

    status: int
    reason: str

    @property
    def branch(self) -> str:
        """The branch of the only hop, ``""`` where there is none; the cheap way to the transaction."""
        via = self._first["Via"]
        at = via.find(";branch=")
        if at < 0 or '"' in via:
            try:
                return self.top_via.branch
            except BadMessage:
                return ""
        end = via.find(";", at + 8)
        return via[at + 8 :].rstrip(" \t") if end < 0 else via[at + 8 : end].rstrip(" \t")

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def parse(data: bytes, size: Size = DEFAULT_SIZE, *, stream: bool = False) -> Request | Response:
    """Read one message; octets after the body are ignored, as in a datagram; on a ``stream`` Content-Length must stand
    in it (18.3).

    Raises BadMessage and nothing else, whatever the bytes are.
    """
    block, end, rest = data.partition(b"\r\n\r\n")
    try:
        head = block.decode()
    except UnicodeDecodeError:
        head = block.decode("latin-1")
    lines = head.split("\r\n")
    # A line end of another kind is part of a value, or wrong: such messages take the slower way.
    text = "".join(lines)
    odd = "\n" in text or "\r" in text
    start = lines.pop(0)
    words = start.split(" ")
    message: Request | Response
    if words[0] == "SIP/2.0":
        message = Response()
        message.status, message.reason = (_recent_status if len(start) <= SHORT_MAX else _read_status)(start)
    else:
        message = Request()
        message.method = words[0]
        message.uri = ""
        message.echo = None
    message._via = message._lines = None
    message.from_ = message.to = NOBODY
    message._contact = _UNREAD
    message.via_count = 0
    try:
        fault = _read_fields(message, lines, odd, size)
        if type(message) is Request:
            if len(words) != 3 or words[2] != "SIP/2.0":
                _refuse_start(words)
            message.uri = words[1]
        if fault:
            raise BadMessage(fault)
        if not end:
            raise BadMessage("the header section does not end with an empty line")
        if len(data) > size.message:
            raise BadMessage(f"the message has {len(data)} octets, more than {size.message}", 513)
        try:
            _check(message, size)
        except BadMessage:
            _read_odd_fields(message, lines)
            _check(message, size)
        _read_body(message, rest, stream)
    except BadMessage as bad:
        if type(message) is Request:
            _rescue(bad, message, words)
        raise
    return message


def _read_fields(message: Message, lines: list[str], odd: bool, size: Size) -> str:
    """Take the header lines as they stand if all names are spelled as registered, else with everything 7.3.1 allows.

    White space around values may stay on: what is checked is read again without it, the rest is stripped on demand.
    Returns what is wrong, or ``""``.
    """
    if len(lines) > size.headers:
        _read_odd_fields(message, lines[: size.headers])
        raise BadMessage(f"the message has more than {size.headers} header lines", 513)
    if not odd:
        try:
            pairs = [line.split(": ", 1) for line in lines]
            message._first = first = dict(pairs)
            if len(first) != len(lines):
                message._first = first = _firsts(pairs)
                message._lines = lines
            if first.keys() <= HEADER_NAMES:
                return ""
        except ValueError:
            pass  # a line without ": ", which may be folded or compact
    return _read_odd_fields(message, lines)


def _address(text: str) -> NameAddr:
    try:
        return parse_name_addr(text)
    except BadMessage:
        return NOBODY


def _read_status(line: str) -> tuple[int, str]:
    """Status and reason of a status line (7.2); the reason phrase may be empty, and any text."""
    status = line[8:11]
    if not (status.isascii() and status.isdigit() and "100" <= status < "700" and line[11:12] in (" ", "")):
        raise BadMessage(f"{line[:60]!r} has no status between 100 and 699")
    return int(status), line[12:]


_recent_status: Final = lru_cache(SHORT_KEPT)(_read_status)


def _refuse_start(words: list[str]) -> None:
    """Say what is wrong with a request line: it is Method SP Request-URI SP SIP-Version and no more (7.1)."""
    if len(words) == 3 and _VERSION(words[2]) is not None:
        raise BadMessage(f"version {words[2][:20]} is not spoken here; use SIP/2.0", 505)
    line = " ".join(words)
    raise BadMessage(f"request line {line[:80]!r} is not a method, a URI and SIP/2.0 with one space between them")


def _rescue(bad: BadMessage, request: Request, words: list[str]) -> None:
    """Let ``bad`` say which request may be refused with it, if any: not an ACK, and only what is a SIP request."""
    if request.method == "ACK" or not is_token(request.method) or "Via" not in request._first:
        return
    if not any(word[:4].upper() == "SIP/" for word in words[1:]):
        return
    request.to, request.from_ = (_address(request._first.get(name, "")) for name in ("To", "From"))
    bad.request = request
    try:
        bad.via = parse_via(request._first["Via"])
    except BadMessage:
        bad.via = None


def _read_odd_fields(message: Message, lines: list[str]) -> str:
    """Read header lines of any shape: folded, compact, odd in case or white space (7.3.1); return what is wrong."""
    tidy: list[str] = []
    pairs: list[tuple[str, str]] = []
    fault = ""
    for line in _FOLD.sub(" ", "\r\n".join(lines)).split("\r\n"):
        spelled, colon, value = line.partition(":")
        name = spelled.rstrip(" \t")
        known = canonical(name)
        if known is None and (not colon or not is_token(name)):
            fault = fault or f"header line {line[:60]!r} has no name and colon"
        elif "\n" in value or "\r" in value:
            fault = fault or f"header {name[:40]} holds a bare carriage return or line feed"
        else:
            pairs.append((known or name, value.strip(" \t")))
            tidy.append(": ".join(pairs[-1]))
    message._first = _firsts(pairs)
    message._lines = tidy if len(message._first) != len(tidy) else None
    return fault


def _firsts(pairs: Iterable[Sequence[str]]) -> dict[str, str]:
    """The first value of each name, in the order in which the names came."""
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    return first


def _check(message: Request | Response, size: Size) -> None:
    """Read what every message must have (8.1.1) and refuse what makes it ambiguous."""
    first = message._first
    try:
        via = first["Via"]
        to = first["To"]
        from_ = first["From"]
        message.call_id = call_id = first["Call-ID"]
        cseq = first["CSeq"]
    except KeyError as missing:
        raise BadMessage(f"{missing.args[0]} is missing") from None
    if message._lines is not None or "," in via:
        _check_repeated(message, size)
    else:
        message.via_count = 1
    if type(message) is Request:
        message._via = parse_via(via)
    short = len(to) <= KEPT_NAME_MAX and len(from_) <= KEPT_NAME_MAX
    read = recent_name_addr if short else parse_name_addr
    try:
        message.to, message.from_ = read(to), read(from_)
    except BadMessage:
        if type(message) is Request:
            raise
        message.to, message.from_ = _address(to), _address(from_)
    if not call_id or " " in call_id or "\t" in call_id:
        raise BadMessage("Call-ID is not one word")
    message.cseq = (_recent_cseq if len(cseq) <= SHORT_MAX else _read_cseq)(cseq)
    hops = first.get("Max-Forwards")
    message.max_forwards = (
        None if hops is None else _HOPS[hops] if hops in _HOPS else _number("Max-Forwards", hops, 256)
    )
    if "Expires" in first:
        _number("Expires", first["Expires"], EXPIRES_LIMIT)
    if type(message) is Request and message.cseq[1] != message.method:
        # An unknown method is refused as such, whatever else is wrong (8.2.1).
        status = 400 if message.method in METHODS else 501
        raise BadMessage(f"CSeq names {message.cseq[1][:40]}, the request line {message.method[:40]}", status)


def _read_cseq(text: str) -> tuple[int, str]:
    """Number and method of a CSeq (20.16)."""
    number, _, method = text.partition(" ")
    method = method.strip(" \t")
    if method not in METHODS and not is_token(method):
        raise BadMessage(f"CSeq {text[:40]!r} is not a number and a method")
    return _number("CSeq", number, CSEQ_LIMIT), method


_recent_cseq: Final = lru_cache(SHORT_KEPT)(_read_cseq)


def _check_repeated(message: Message, size: Size) -> None:
    seen: set[str] = set()
    for name, _ in message.header_lines():
        if name in SINGLE_VALUED:
            if name in seen:
                raise BadMessage(f"{name} stands more than once")
            seen.add(name)
    message.via_count = len(message.values("Via"))
    if message.via_count > size.vias:
        raise BadMessage(f"{message.via_count} hops are more than {size.vias}", 483)


def _number(name: str, value: str, limit: int) -> int:
    """A decimal number below ``limit``; leading zeros are fine, signs and other digits are not."""
    if not (value.isdigit() and value.isascii()):
        raise BadMessage(f"{name} {value[:40]!r} is not a number")
    if len(value) > 10:
        value = value.lstrip("0") or "0"
        if len(value) > 10:
            raise BadMessage(f"{name} {value[:40]} is not below {limit}")
    number = int(value)
    if number >= limit:
        raise BadMessage(f"{name} {number} is not below {limit}")
    return number


def _read_body(message: Message, rest: bytes, stream: bool) -> None:
    """Take the body: Content-Length octets of the rest, or in a datagram without one all of it (18.3)."""
    length = message._first.get("Content-Length")
    if length == "0":
        message.body = b""
        return
    if length is None:
        if stream:
            raise BadMessage("a message on a stream must say its Content-Length")
        message.body = rest
        return
    if length.isdigit() and len(length) < 10 and length.isascii():
        size = int(length)
    else:
        # senders that fill in the length last leave room for it before (HCOLON, 25.1)
        size = _number("Content-Length", length.strip(" \t"), EXPIRES_LIMIT)
    if size > len(rest):
        raise BadMessage(f"Content-Length {size} is more than the {len(rest)} octets that came")
    message.body = rest[:size]
