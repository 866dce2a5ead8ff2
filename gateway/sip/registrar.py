"""A registrar for peers with a changing address: what a REGISTER does to the bindings of its account (RFC 3261 10.3).

Quiet: bindings, a request and the time go in, an answer and the new bindings come out; where they are kept is the
worker's affair.  The account is the address-of-record, whatever To says, because a trunk has one: who showed its
credentials may change its bindings.  Bindings stand newest first, which is also the order in which they are tried: a
PBX that moved without saying so leaves an old one behind that leads nowhere.
"""

import json
from typing import Final, NamedTuple

from gateway.sip.address import NameAddr, parse_name_addr
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.events import Flow
from gateway.sip.message import Request
from gateway.sip.reasons import SIP_REASONS, Headers, refusal_of
from gateway.sip.uri import SipUri, escape_user, parse_uri

EXPIRES_DEFAULT_S: Final = 3600
"""How long a binding lasts where the peer does not say (10.2.1.1)."""

EXPIRES_MIN_S: Final = 60
"""A shorter one gets 423 (10.3 step 7): a PBX that registers each second costs more than its calls."""

EXPIRES_MAX_S: Final = 7200
"""A longer one is shortened: an address that changed is found out within two hours, whatever the peer believes."""

BINDINGS_MAX: Final = 4
"""Bindings of one account that are kept, the newest: two addresses of a PBX, and what it left behind when it moved."""

_EXPIRES_DIGITS: Final = 10


class Binding(NamedTuple):
    """Where a peer can be reached: its Contact, the REGISTER that said so, and where that came from.

    ``ends_ms`` is Unix milliseconds; ``transport``, ``host`` and ``port`` are the source.
    """

    uri: str
    call_id: str
    cseq: int
    ends_ms: int
    transport: str
    host: str
    port: int

    @property
    def target(self) -> str:
        """The SIP URI that calls to the peer are sent to, with the user part of its Contact (10.3, 16.5).

        Behind a network address translation the Contact is an address that nobody outside can reach, and the way back
        is the source (the remedy of RFC 5626 and RFC 3581, on the registrar's side).
        """
        uri = parse_uri(self.uri)
        assert isinstance(uri, SipUri), "only such Contacts are bound"
        transport, port = self.transport, self.port
        if uri.host == self.host:
            transport, port = uri.transport, uri.flow().port
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{escape_user(uri.user)}@" if uri.user else ""
        return f"sip:{user}{host}:{port}" + ("" if transport == "udp" else f";transport={transport}")


Bindings = tuple[Binding, ...]


class Registered(NamedTuple):
    """The answer to a REGISTER, and the bindings that hold from now on; None: they stay as they are."""

    status: int
    headers: Headers
    bindings: Bindings | None = None


def registered_target(trunk: str) -> str:
    """The target that stands for wherever the trunk has registered; it is replaced before a call goes there."""
    return f"sip:{trunk}.registered.invalid"


def live(bindings: Bindings, now_ms: int) -> Bindings:
    """Those that have not ended."""
    return tuple(each for each in bindings if each.ends_ms > now_ms)


def register(bindings: Bindings, request: Request, flow: Flow, now_ms: int) -> Registered:
    """What a REGISTER that came over ``flow`` with right credentials does to the bindings of its account."""
    held = live(bindings, now_ms)
    texts = request.values("Contact")
    try:
        if "*" in texts:
            return _remove_all(held, request, texts)
        for text in texts:
            held = _bind(held, request, text, flow, now_ms)
    except _RefusedError as refused:
        return Registered(refused.status, refused.headers)
    changed = held[:BINDINGS_MAX] if texts else None
    return Registered(200, _contacts(held[:BINDINGS_MAX], now_ms), changed)


class _RefusedError(Exception):
    """The REGISTER fails as a whole: no binding is changed (10.3 step 7)."""

    def __init__(self, code: str, details: str = "", headers: Headers = ()) -> None:
        super().__init__(code)
        reason = SIP_REASONS[code]
        self.status = reason.status
        self.headers = (*headers, *refusal_of(reason, details))


def _remove_all(held: Bindings, request: Request, texts: list[str]) -> Registered:
    """``Contact: *`` with ``Expires: 0`` (10.3 step 6)."""
    if len(texts) > 1 or request.get("Expires") is None or _seconds(request.get("Expires") or "") != 0:
        raise _RefusedError("MALFORMED", "Contact * stands alone, with Expires: 0")
    for binding in held:
        _check_order(binding, request)
    return Registered(200, (), ())


def _bind(held: Bindings, request: Request, text: str, flow: Flow, now_ms: int) -> Bindings:
    """Add, renew or remove what one Contact names (10.3 step 7)."""
    contact, uri = _read(text)
    asked_s = _asked(contact, request)
    if 0 < asked_s < EXPIRES_MIN_S:
        raise _RefusedError("INTERVAL_TOO_BRIEF", headers=(("Min-Expires", str(EXPIRES_MIN_S)),))
    same = next((each for each in held if _key(each.uri) == _key(contact.uri)), None)
    if same is not None:
        _check_order(same, request)
    others = tuple(each for each in held if each is not same)
    if not asked_s:
        return others
    ends_ms = now_ms + min(asked_s, EXPIRES_MAX_S) * 1000
    place = Flow(*flow[:3])
    return (
        Binding(str(uri), request.call_id, request.cseq[0], ends_ms, place.transport, place.host, place.port),
        *others,
    )


def _read(text: str) -> tuple[NameAddr, SipUri]:
    try:
        contact = parse_name_addr(text)
        uri = parse_uri(contact.uri)
    except (BadMessage, BadUri) as bad:
        raise _RefusedError("MALFORMED", str(bad)) from bad
    if not isinstance(uri, SipUri) or uri.headers:
        raise _RefusedError("MALFORMED", f"Contact {text[:80]!r} is not a SIP address")
    return contact, uri


def _asked(contact: NameAddr, request: Request) -> int:
    """Seconds that are asked for: of the Contact, else of Expires, else the default (10.2.1.1)."""
    given = contact.params.get("expires", request.get("Expires"))
    return EXPIRES_DEFAULT_S if given is None else _seconds(given)


def _seconds(text: str) -> int:
    """A number of seconds; what is none counts as the default (10.3 step 7), what is too large as the largest."""
    if not (text.isascii() and text.isdigit()):
        return EXPIRES_DEFAULT_S
    return int(text) if len(text) <= _EXPIRES_DIGITS else EXPIRES_MAX_S


def _check_order(binding: Binding, request: Request) -> None:
    """A REGISTER that was sent before the one that is known changes nothing (10.3 step 7)."""
    if binding.call_id == request.call_id and request.cseq[0] <= binding.cseq:
        raise _RefusedError("OUT_OF_ORDER")


def _key(text: str) -> tuple[object, ...]:
    """What two Contacts have in common that are the same (19.1.4)."""
    uri = parse_uri(text)
    assert isinstance(uri, SipUri), "only such Contacts are bound"
    return uri.scheme, uri.user, uri.host.lower(), uri.port, uri.params.get("transport", "").lower()


def _contacts(bindings: Bindings, now_ms: int) -> Headers:
    """What a 2xx says: every binding, and how long it lasts (10.3 step 8)."""
    return tuple(("Contact", f"<{each.uri}>;expires={max(1, (each.ends_ms - now_ms) // 1000)}") for each in bindings)


# how they are kept


def encode(bindings: Bindings) -> str:
    """Bindings as one text; empty where there are none."""
    return json.dumps(bindings, separators=(",", ":")) if bindings else ""


def decode(text: str) -> Bindings:
    """Read back what :func:`encode` wrote; nothing where it is nothing of the kind, since a peer registers again."""
    try:
        return tuple(_binding(*row) for row in json.loads(text)) if text else ()
    except (ValueError, TypeError):
        return ()


def _binding(uri: str, call_id: str, cseq: int, ends_ms: int, transport: str, host: str, port: int) -> Binding:
    if not isinstance(parse_uri(uri), SipUri):
        raise ValueError(f"{uri!r} is no SIP address")
    return Binding(uri, str(call_id), int(cseq), int(ends_ms), str(transport), str(host), int(port))
