"""Where requests go: the next hop of a new leg, of a redirect, and of a request inside a dialog, as flows.

Where a target has a name, the loud room has found its addresses and made a route of each (Route.hop); the Request-URI
keeps the name (RFC 3263 4).  A peer that names itself by a host name in Contact, or wants a transport that the gate
does not speak, is reached where its last message came from, which is also what gets through a NAT.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.sip.address import parse_name_addr
from gateway.sip.dialog import Dialog
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.events import LOOP, Flow
from gateway.sip.kept import kept
from gateway.sip.message import Response
from gateway.sip.uri import SipUri, escape_user, parse_uri
from policy.verdict import Route

TARGETS_CACHED: Final = 2048
"""Targets and Contacts remembered: trunks have tens of the first, and in-dialog requests repeat the second."""

LOOPED: Final = "loop:"
"""The target of a route that leads back into this gate, as a call of the route's trunk (gateway.call.forwarding)."""

REDIRECTS_MAX: Final = 5
"""Contacts of redirects that are dialled for one call: more is a loop, or somebody fishing with our calls."""

SPOKEN: Final = frozenset({"udp", "tcp", "tls"})
"""Transports that the gate speaks; any word may stand in a peer's ``;transport=``, and ``sips:`` means tls."""

_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*").fullmatch


class Target(NamedTuple):
    """One next hop: the Request-URI, where to send it, and the values of Route that go with it."""

    uri: str
    flow: Flow
    route: tuple[str, ...] = ()


@lru_cache(TARGETS_CACHED)
def _hop(target: str) -> tuple[str, Flow]:
    """What follows ``user@`` in the Request-URI of a target, and its flow.

    Raises BadUri where it is no SIP URI, or one of a transport that the gate does not speak.
    """
    uri = parse_uri(target)
    if not isinstance(uri, SipUri):
        raise BadUri(f"target {target[:80]!r} is not a SIP URI; write sip:host:port")
    if uri.transport not in SPOKEN:
        raise BadUri(f"target {target[:80]!r} is to be reached by {uri.transport[:20]}; use udp, tcp or tls")
    bare = SipUri(uri.host, uri.port, scheme=uri.scheme, params=uri.params)
    return str(bare).partition(":")[2], uri.flow()


def target_of(route: Route) -> Target:
    """The Request-URI and flow of a route; a number that is a whole URN is the Request-URI itself (RFC 5031).

    Raises BadUri where the route's target cannot be read, which the settings have checked before, or be reached.
    """
    if route.target == LOOPED:
        return Target(f"sip:{escape_user(route.number)}@callgate.invalid", Flow(LOOP, route.trunk, 0))
    rest, flow = _hop(route.target)
    through: tuple[str, ...] = ()
    if route.hop:
        flow = _hop(route.hop)[1]
        through = _through(route.proxy)
    if route.number.startswith("urn:"):
        return Target(route.number, flow, through)
    scheme = "sips" if route.target[:5].lower() == "sips:" else "sip"
    return Target(f"{scheme}:{escape_user(route.number)}@{rest}", flow, through)


@lru_cache(TARGETS_CACHED)
def _through(proxy: str) -> tuple[str, ...]:
    """The Route that leads through a proxy (RFC 3261 8.1.2); it is taken for a loose router, as all are by now."""
    if not proxy:
        return ()
    uri = parse_uri(proxy)
    assert isinstance(uri, SipUri), "the settings take nothing else"
    return (f"<{proxy if 'lr' in uri.params else f'{proxy};lr'}>",)


def redirected(response: Response, route: Route) -> list[Route]:
    """The routes a 3xx names (RFC 3261 8.1.3.4), best first: those of its Contacts that name the same number elsewhere.

    Another number would be another price than the one that was reserved for; a host name would have to be resolved;
    a transport that the gate does not speak leads nowhere.  Behind a proxy they are reached through it as well.
    """
    found: list[tuple[float, Route]] = []
    for value in response.values("Contact"):
        try:
            contact = parse_name_addr(value)
            uri = parse_uri(contact.uri)
        except (BadMessage, BadUri):
            continue
        if not isinstance(uri, SipUri) or _ADDRESS(uri.host) is None or uri.transport not in SPOKEN:
            continue
        if uri.user.lstrip("+") != route.number.lstrip("+"):
            continue
        bare = SipUri(uri.host, uri.port, scheme=uri.scheme, params=uri.params)
        hop, proxy = (route.hop, route.proxy) if route.proxy else ("", "")
        found.append((preference(contact.params.get("q", "")), Route(route.trunk, str(bare), route.number, hop, proxy)))
    found.sort(key=lambda row: -row[0])
    return [row[1] for row in found]


def hop_of(dialog: Dialog, otherwise: Flow) -> Flow:
    """Where requests inside a dialog go (RFC 3261 12.2.1.1); ``otherwise`` where nothing it names can be reached.

    On a stream they go over the connection that the dialog came by, as long as it stands and the dialog names the same
    host: who is behind a firewall can be reached in no other way (RFC 5923 9).
    """
    hop = _flow_of_route(dialog.route_set[0]) if dialog.route_set else _flow_to(dialog.remote_target)
    if hop is None:
        return otherwise
    if hop.transport != "udp" and otherwise.local and hop[:2] == otherwise[:2]:
        return Flow(hop.transport, hop.host, hop.port, otherwise.local)
    return hop


def contact_beside(uri: str, contact: str) -> str:
    """Our Contact in a message about this URI: a sips URI wants one (RFC 3261 8.1.1.8, 12.1.1)."""
    if uri[:5].lower() != "sips:" or not contact:
        return contact
    return "<sips" + contact[4:].replace(";transport=tls", "")


@kept(TARGETS_CACHED)
def _flow_of_route(route: str) -> Flow | None:
    try:
        return _flow_to(parse_name_addr(route).uri)
    except BadMessage:
        return None


@kept(TARGETS_CACHED)
def _flow_to(uri: str) -> Flow | None:
    try:
        parsed = parse_uri(uri)
    except BadUri:
        return None
    if not isinstance(parsed, SipUri) or parsed.transport not in SPOKEN:
        return None
    host = parsed.params.get("maddr", "") or parsed.host
    if _ADDRESS(host) is None:
        return None
    flow = parsed.flow()
    return flow if host == parsed.host else Flow(flow.transport, host, flow.port)


def preference(q: str) -> float:
    """A q value (RFC 3261 20.10); 1 where there is none or nonsense."""
    try:
        value = float(q)
    except ValueError:
        return 1.0
    return value if 0.0 <= value <= 1.0 else 1.0
