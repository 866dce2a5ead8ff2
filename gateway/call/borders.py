"""What a peer is told of the other side: headers by the table, and then by what the two trunks trust and show.

A :class:`Border` stands between two trunks, for one direction.  It takes the headers that cross by the table of
gateway.call.headers, and

- lets who calls (P-Asserted-Identity) through only from a trusted trunk to a trusted one (RFC 3325 5, 9), and makes a
  caller that asks for it anonymous to others (RFC 3323, RFC 3325 7);
- puts the gate's own host in place of addresses of the other side (RFC 5853 3.1), unless the trunk is to see them;
  host names stay, because they are part of who somebody is;
- applies the rules of the trunk that the message comes from, and then those of the trunk it goes to.

Identity (RFC 8224) and the body are not touched.  A border without rules costs what the table costs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Literal

from gateway.call.headers import CROSSING, FILTERS, NEVER, PRIVATE_PREFIX, Headers
from gateway.sip.address import parse_name_addr, write_display
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.grammar import canonical
from gateway.sip.identity import Identity
from gateway.sip.message import Message, Request, Response
from gateway.sip.uri import SipUri, escape_user, parse_uri
from policy.patterns import Bounds, PatternError, check_pattern

REWRITTEN_MAX: Final = 256
"""Characters of a value that a rule rewrites; a longer one crosses as it came."""

RULE_BOUNDS: Final = Bounds(chars=REWRITTEN_MAX, ways=70_000)
"""Two parts of any length in a pattern of a rule: at some 50 ns a step the worst takes about four milliseconds, and
only on a value made for it."""

HIDDEN_MAX: Final = 8192
"""Characters of a value in which addresses are looked for; a longer one does not cross where they are hidden."""

VALUES_CACHED: Final = 2048
"""Values remembered with their addresses hidden: a PBX names itself and its users again and again."""

CACHED_CHARS: Final = 256
"""Longest value that is remembered: all of them together take 1 MB at most."""

_UNNAMED: Final = r"\1\2 -"
"""Who warns, where that is not told: ``callgate`` is the gate alone, whose reasons programs read."""

ANONYMOUS: Final = '"Anonymous" <sip:anonymous@anonymous.invalid>'
"""Who calls, where that is to be hidden (RFC 3323 4.1.1.3)."""

PRIVACY: Final = frozenset({"id", "user", "header"})
"""What a caller may ask for that hides who it is (RFC 3323 4.2, RFC 3325 9.3)."""

ASSERTED: Final = frozenset({"P-Asserted-Identity", "Remote-Party-ID"})
"""Who calls or is called, as a network asserts it: believed, and told, among those that trust each other."""

INSIDE: Final = frozenset(
    {"P-Access-Network-Info", "P-Charging-Vector", "P-Charging-Function-Addresses", "P-Visited-Network-ID"}
)
"""What networks that trust each other tell themselves about a call (RFC 7315 6)."""

PLACES: Final = frozenset(
    {
        *ASSERTED, "Diversion", "History-Info", "P-Associated-URI", "P-Called-Party-ID", "P-Charge-Info",
        "P-Preferred-Identity", "Referred-By", "Reply-To",
    }
)  # fmt: skip
"""Headers whose URIs say where somebody is."""

TEXTS: Final = frozenset({"Reason", "Warning"})
"""Headers with a text for people, in which an address may stand."""

UNTOUCHED: Final = frozenset(CROSSING) - {"User-Agent", "Server"} | {
    "Accept", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Event", "Expires",
    "Identity", "MIME-Version", "RSeq",
}  # fmt: skip
"""Headers that no rule may touch: SIP itself needs them, or they are signed."""

_HOST: Final = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
_PLACE: Final = re.compile(rf"(sips?:(?:[^@\s<>\"]{{0,128}}@)?){_HOST}(?![\w.\-])", re.IGNORECASE)
_LITERAL: Final = re.compile(rf"(?<![\w.]){_HOST}(?![\w.\-])")
_AGENT: Final = re.compile(r"(^|,\s*)([0-9]{3})[ \t]+[^\s,\"]+(?=[ \t]+\")")
_OWN_AGENT: Final = re.compile(r"(^|,\s*)([0-9]{3})[ \t]+callgate(?=[ \t]+\")", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*").fullmatch
_GROUP: Final = re.compile(r"\$(?:([0-9])|\{([0-9])\})")

Filter = Callable[[str], str]


class RuleError(ValueError):
    """A header rule that cannot be used: what is wrong with it and what to write instead."""


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Add, remove or rewrite a header; ``value`` is what is added, or what the whole of a matching value becomes.

    A header is added to INVITE alone; removed and rewritten in every message.
    """

    action: Literal["add", "remove", "rewrite"]
    header: str
    value: str = ""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class TrunkTerms:
    """What the peer of a trunk is believed and shown.

    ``trusted``: RFC 3325's trust domain.  ``sees_addresses``: nothing of the other side is hidden from it.  ``plus``:
    it is told callers with the ``+`` of E.164.  ``arriving`` and ``leaving`` are rules for messages from and to it.
    """

    trusted: bool = True
    sees_addresses: bool = False
    plus: bool = True
    arriving: tuple[HeaderRule, ...] = ()
    leaving: tuple[HeaderRule, ...] = ()


DEFAULT: Final = TrunkTerms()


def check_rule(rule: HeaderRule) -> None:
    """Raise RuleError for a rule that touches what SIP needs itself, or whose pattern could take too long."""
    name = canonical(rule.header) or rule.header
    if name in UNTOUCHED or name.lower().startswith(PRIVATE_PREFIX):
        raise RuleError(f"{name} belongs to SIP or to the gate: no rule may touch it")
    if any(ord(letter) < 32 for letter in rule.value):
        raise RuleError("the value has a control character; it is one line of text")
    if rule.action != "rewrite":
        if rule.pattern:
            raise RuleError(f'a pattern belongs to action = "rewrite", not to "{rule.action}"')
        return
    try:
        check_pattern(rule.pattern, RULE_BOUNDS)
        groups = re.compile(rule.pattern).groups
    except (PatternError, re.error) as error:
        raise RuleError(f"pattern: {error}") from error
    if any(int(found[1] or found[2]) > groups for found in _GROUP.finditer(rule.value)):
        raise RuleError(f"{rule.value!r} names a group that the pattern does not have: it has {groups}")


class Border:
    """Between two trunks, in one direction; ``host`` is the gate's own, as it stands in a URI.

    ``own``: what crosses was said by this gate to itself (gateway.call.forwarding), and its name is no pretence.
    """

    __slots__ = ("_added", "_filters", "_hides", "_host", "_named", "_plus", "_trusted")

    def __init__(self, source: TrunkTerms, target: TrunkTerms, host: str, *, own: bool = False) -> None:
        self._host = host
        self._hides = not target.sees_addresses
        self._trusted = target.trusted
        self._plus = target.plus
        rules = (*source.arriving, *target.leaving)
        self._added = [(rule.header, rule.value) for rule in rules if rule.action == "add"]
        self._filters: dict[str, Filter] = dict(FILTERS) if own else dict(FILTERS) | {"Warning": _disown}
        if self._hides:
            self._filters |= dict.fromkeys(PLACES, self._hide)
            self._filters |= {"Reason": self._scrub, "Warning": self._scrub if own else self._scrub_warning}
        if not target.plus:
            self._chain("P-Asserted-Identity", _without_plus)
        for name in () if target.trusted else (*ASSERTED, *INSIDE):
            self._filters[name] = _drop
        for name in () if source.trusted else ASSERTED:
            self._filters[name] = _drop
        self._named: dict[str, Filter] = {}
        for rule in rules:
            self._add_rule(rule)

    def _add_rule(self, rule: HeaderRule) -> None:
        """Rules come after what is hidden, so that one may tell what would have been; unknown names have no case."""
        if rule.action == "add":
            return
        done: Filter = _drop if rule.action == "remove" else partial(_rewrite, *_compiled(rule))
        name = canonical(rule.header)
        if name is not None:
            self._chain(name, done)
        else:
            before = self._named.get(rule.header.lower())
            self._named[rule.header.lower()] = done if before is None else partial(_both, before, done)

    def _chain(self, name: str, done: Filter) -> None:
        before = self._filters.get(name)
        self._filters[name] = done if before is None else partial(_both, before, done)

    def cross(self, message: Message) -> Headers:
        """The headers of a message that cross, in their order, as canonical name and value."""
        crossed: Headers = []
        filters, named = self._filters, self._named
        for line in message.header_lines(NEVER):
            name = line[0]
            filtered = filters.get(name) if not named else filters.get(name) or named.get(name.lower())
            if filtered is not None:
                kept = filtered(line[1])
                if kept:
                    crossed.append((name, kept))
            elif name[0] not in "Xx" or not name.lower().startswith(PRIVATE_PREFIX):
                crossed.append(line)
        if self._added and isinstance(message, Request) and message.method == "INVITE":
            crossed += self._added
        return crossed

    def caller(self, request: Request) -> str:
        """Who calls, for From, without a tag."""
        from_ = request.from_
        if not self._trusted and _is_private(request):
            return ANONYMOUS
        uri = _hidden(from_.uri, self._host) if self._hides else from_.uri
        uri = uri if self._plus else _without_plus(uri)
        display = from_.raw_display.strip()
        return f"{display} <{uri}>" if display else f"<{uri}>"

    def reasons(self, values: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Reason headers that are handed on by themselves, of a CANCEL or of a BYE before the answer."""
        return tuple([(name, self._scrub(value)) for name, value in values]) if self._hides else values

    def contacts(self, response: Response, number: str, contact: Callable[[str], str]) -> Headers:
        """The Contacts of a 3xx that is relayed: further numbers, to be called by way of the gate.

        ``contact(user)`` is the gate's own Contact value with this user part, escaped, with its ``<>``.  A Contact
        that names the number called itself would lead back here, in a circle: it is left out, and so is what has no
        number or cannot be read.  So there may be none left.
        """
        values = response.values("Contact")
        if not self._hides:
            return [("Contact", value) for value in values]
        shown = [_by_way_of_the_gate(value, number, contact) for value in values]
        return [("Contact", value) for value in shown if value]

    def _hide(self, value: str) -> str:
        return _hidden(value, self._host) if len(value) <= HIDDEN_MAX else ""

    def _scrub(self, value: str) -> str:
        return _LITERAL.sub(self._host, value) if len(value) <= HIDDEN_MAX else ""

    def _scrub_warning(self, value: str) -> str:
        return self._scrub(_AGENT.sub(_UNNAMED, value)) if len(value) <= HIDDEN_MAX else ""


class Borders:
    """All borders of a gate, each made when it is first crossed; ``terms`` by trunk, those left out are the default."""

    def __init__(self, terms: Mapping[str, TrunkTerms], identity: Identity) -> None:
        self._terms = terms
        self._identity = identity
        self._known: dict[tuple[str, str, str, bool], Border] = {}

    def between(self, source: str, target: str, towards: str, *, own: bool = False) -> Border:
        """The border that a message from trunk ``source`` to trunk ``target``, at the address ``towards``, crosses:
        a peer is told the gate's host of its own address family."""
        identity = self._identity
        host = identity.host if identity.other is None else identity.towards(towards).host
        known = self._known.get((source, target, host, own))
        if known is None:
            terms = self._terms
            known = Border(terms.get(source, DEFAULT), terms.get(target, DEFAULT), host, own=own)
            self._known[source, target, host, own] = known
        return known


def _hidden(value: str, host: str) -> str:
    """A value with ``host`` in place of each address in a URI."""
    return _hide_short(value, host) if len(value) <= CACHED_CHARS else _hide_any(value, host)


def _hide_any(value: str, host: str) -> str:
    return _PLACE.sub(lambda found: found[1] + host, value)


_hide_short = lru_cache(VALUES_CACHED)(_hide_any)


def _drop(value: str) -> str:
    return ""


def _both(first: Filter, then: Filter, value: str) -> str:
    between = first(value)
    return then(between) if between else ""


def _rewrite(pattern: "re.Pattern[str]", template: str, value: str) -> str:
    """A value that matches as a whole becomes the template; any other stays."""
    found = pattern.fullmatch(value) if len(value) <= REWRITTEN_MAX else None
    return value if found is None else found.expand(template)


def _compiled(rule: HeaderRule) -> "tuple[re.Pattern[str], str]":
    """The rule as Python runs it: ``$1`` as ``\\g<1>``, a backslash as itself."""
    template = _GROUP.sub(r"\\g<\1\2>", rule.value.replace("\\", r"\\"))
    return re.compile(rule.pattern), template


_PLUS: Final = re.compile(r"(sips?:)\+(?=[0-9])", re.IGNORECASE)


def _without_plus(text: str) -> str:
    return _PLUS.sub(r"\1", text)


def _is_private(request: Request) -> bool:
    asked = ";".join(request.all("Privacy")).replace(",", ";").lower()
    return bool(asked) and any(word.strip() in PRIVACY for word in asked.split(";"))


def _disown(value: str) -> str:
    """A Warning of the other side in nobody's name, where it uses the gate's."""
    return _OWN_AGENT.sub(_UNNAMED, value)


def _by_way_of_the_gate(value: str, number: str, contact: Callable[[str], str]) -> str:
    """A Contact with the gate's own place instead of an address, with its transport; empty: not to be shown."""
    try:
        named = parse_name_addr(value)
        uri = parse_uri(named.uri)
    except (BadMessage, BadUri):
        return ""
    if not isinstance(uri, SipUri) or not (_ADDRESS(uri.host) or "maddr" in uri.params):
        return value
    if not uri.user or uri.user.lstrip("+") == number.lstrip("+"):
        return ""
    return f"{write_display(named.display)}{contact(escape_user(uri.user))}{named.raw_params}"
