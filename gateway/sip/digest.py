"""Digest authentication without I/O (RFC 7616, RFC 8760): challenges and their check, and answers to challenges.

As a server the gate keeps nothing for a challenge.  A nonce says when it was made and is signed with a key that all
workers of a gate share, together with the source and the Call-ID of the request that was challenged; so any worker can
check it, and whoever copies credentials off the wire can use them for no other call and from no other place.  What is
left, the same call again, is stopped by the nonce count, which has to rise; the counts are kept for as long as a nonce
lives, in a memory that is bounded: where it is full, the oldest nonces are over before their time.

An unknown user gets the same answer as a wrong password, after the same work.  ``stale`` is said only of credentials
that are right but for their nonce: they show that the peer knows the password, so it need not be asked for it again.

Counts are each worker's own, so a nonce is used up in the worker that counted it.  A peer's address and the Call-ID
lead to the same worker, but who speaks to the private port of another one may use a copied request there once more,
from the same address and with the same Call-ID.  What was made before a process began is over for it, since it does
not know the counts: a restart gives nobody a second use.

A gate whose peers show it a password answers nobody's challenge with that password in its own realm: whoever is given
a nonce of the gate could hand it back as a challenge of its own, and would be told the answer.

As a client the gate takes the strongest algorithm that a challenge offers, whatever the order of the challenges, and
goes on with the nonce it got, one count higher each time.
"""

import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from hashlib import algorithms_available, new
from typing import Final, NamedTuple

from gateway.sip.errors import BadUri
from gateway.sip.grammar import LWS, QUOTED, TCHAR, quote, unquote
from gateway.sip.message import Request, Response
from gateway.sip.uri import SipUri, parse_uri

Headers = tuple[tuple[str, str], ...]

NONCE_LIFETIME_S: Final = 300
"""How long a nonce may be used: a call rings and is changed within it, and a registration asks anew when it is over."""

COUNTS_MAX: Final = 20_000
"""Nonces whose counts are remembered: 66 authenticated requests a second for a whole lifetime, about 6 MB."""

CREDENTIALS_MAX: Final = 2048
"""Characters of an Authorization or challenge that are read: real ones have some 400."""

CHALLENGES_MAX: Final = 8
"""Challenges of one response that are looked at: three algorithms of two proxies, and room."""

_HASHES: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
"""Algorithms by their registered names, the strongest first (RFC 8760 2.3)."""

SERVED: Final = ("MD5", "SHA-256")
"""What the gate challenges with, in this order: peers older than RFC 8760 look at the first one alone (SIPp 3.6)."""

_SCHEME: Final = re.compile(rf"{LWS}Digest[ \t]++", re.IGNORECASE).match
_FIELD: Final = re.compile(rf"{LWS}({TCHAR}++){LWS}={LWS}({QUOTED}|[^\s,\"]++){LWS}(?:,|$)", re.DOTALL)
_NONCE: Final = re.compile(r"([0-9a-f]{8})([0-9a-zA-Z]{1,32})-([0-9a-f]{32})").fullmatch
_COUNT: Final = re.compile(r"[0-9a-fA-F]{8}").fullmatch


class Credentials(NamedTuple):
    """A user name and its password, which never stands in a log."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, '***')"


def digest(algorithm: str, *parts: str) -> str:
    """The hash of the parts with colons between them, as lower-case hexadecimal digits (RFC 7616 3.4)."""
    made = new(_HASHES[algorithm], usedforsecurity=False)
    made.update(":".join(parts).encode())
    return made.hexdigest()


def read_fields(text: str) -> dict[str, str] | None:
    """The parameters of a Digest challenge or of credentials, names in lower case, values without their quotes.

    None for another scheme, for what is no list of parameters, where one stands twice, and where it is longer than
    CREDENTIALS_MAX.
    """
    found = _SCHEME(text) if len(text) <= CREDENTIALS_MAX else None
    if found is None:
        return None
    fields: dict[str, str] = {}
    at = found.end()
    while at < len(text):
        field = _FIELD.match(text, at)
        if field is None or field[1].lower() in fields:
            return None
        fields[field[1].lower()] = unquote(field[2])
        at = field.end()
    return fields


# As a server


class Challenge(NamedTuple):
    """What a request without right credentials is answered with: a 401 that carries these headers."""

    headers: Headers


class Outcome(Enum):
    """What became of a request's credentials; the values are labels of the metric."""

    RIGHT = "right"
    NONE = "none"
    """There are none that are meant for the gate: the first request of a peer."""
    STALE = "stale"
    """They are right, and their nonce is over, of another call, or used."""
    WRONG = "wrong"


class Checked(NamedTuple):
    """The outcome, and whose credentials they were (an account's name) where they were right; else empty."""

    outcome: Outcome
    account: str = ""


class Guard:
    """Challenges and checks for one realm.

    ``key`` signs nonces, at least 16 random bytes that all workers share.  ``accounts`` are credentials by the name of
    the account, a trunk; each user name stands once.  ``algorithms`` are those of SERVED that an account may use, in
    the order of its challenges; all where it is left out.  ``now_s`` is Unix seconds everywhere, since nonces go from
    one worker to another; ``began_s`` is when this process began, and what is older is stale.
    """

    def __init__(
        self,
        key: bytes,
        realm: str,
        accounts: Mapping[str, Credentials],
        algorithms: Mapping[str, tuple[str, ...]] | None = None,
        began_s: int = 0,
    ) -> None:
        self._algorithms = {name: (algorithms or {}).get(name, SERVED) for name in accounts}
        self._key = key
        self._realm = realm
        self._names = {each.username: name for name, each in accounts.items()}
        self._secrets = {
            (name, algorithm): digest(algorithm, each.username, realm, each.password)
            for name, each in accounts.items()
            for algorithm in SERVED
        }
        self._nobody = {algorithm: digest(algorithm, "", realm, key.hex()) for algorithm in SERVED}
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._first_s = began_s + 1
        self._over_until_s = began_s

    def check(self, request: Request, host: str, now_s: int, among: Collection[str]) -> Checked:
        """Whether ``request``, which came from the address ``host``, carries right credentials of one of the accounts.

        Right credentials are counted: the same ones a second time are stale.
        """
        fields = self._meant_for_us(request)
        if fields is None:
            return Checked(Outcome.NONE)
        name = self._names.get(fields.get("username", ""), "")
        algorithm = fields.get("algorithm", "MD5").upper()
        if name not in among or algorithm not in self._algorithms[name]:
            name = ""
        if algorithm not in SERVED or not _is_whole(fields) or not _means(fields["uri"], request.uri):
            return Checked(Outcome.WRONG)
        secret = self._secrets.get((name, algorithm), self._nobody[algorithm])
        expected = answer_to(algorithm, secret, request.method, fields)
        if not hmac.compare_digest(expected.encode(), fields["response"].lower().encode()) or not name:
            return Checked(Outcome.WRONG)
        if not self._is_fresh(fields, request.call_id, host, now_s):
            return Checked(Outcome.STALE, name)
        return Checked(Outcome.RIGHT, name)

    def _meant_for_us(self, request: Request) -> dict[str, str] | None:
        """The credentials for this realm (RFC 3261 22.3: a request may carry those of several)."""
        for text in request.all("Authorization")[:CHALLENGES_MAX]:
            fields = read_fields(text)
            if fields is not None and fields.get("realm") == self._realm:
                return fields
        return None

    def challenge(
        self, request: Request, host: str, token: str, now_s: int, among: Collection[str], *, stale: bool = False
    ) -> Headers:
        """The headers of a 401 to ``request``, which may be of one of the accounts ``among``; ``token`` is fresh
        letters and digits, at most 32 (RFC 7616 3.3)."""
        # one of the very second of the start would look like one of the process before: it is said to be of the next
        nonce = self._nonce(f"{max(now_s, self._first_s):08x}{token}", request.call_id, host)
        said = f'Digest realm={quote(self._realm)}, nonce="{nonce}", qop="auth"'
        tail = ", stale=true" if stale else ""
        return tuple(("WWW-Authenticate", f"{said}, algorithm={each}{tail}") for each in self._offered(among))

    def _offered(self, among: Collection[str]) -> tuple[str, ...]:
        """The algorithms of these accounts: of one in its own order, of several in that of SERVED."""
        if len(among) == 1:
            (name,) = among
            return self._algorithms[name]
        used = {each for name in among for each in self._algorithms[name]}
        return tuple(each for each in SERVED if each in used)

    def _nonce(self, made: str, call_id: str, host: str) -> str:
        signed = f"{made} {host} {call_id}".encode()
        return f"{made}-{hmac.new(self._key, signed, 'sha256').hexdigest()[:32]}"

    def _is_fresh(self, fields: Mapping[str, str], call_id: str, host: str, now_s: int) -> bool:
        """The nonce is ours, for this call from this source, not too old, and its count is one that was not used."""
        nonce = fields["nonce"]
        found = _NONCE(nonce)
        if found is None or not hmac.compare_digest(nonce, self._nonce(nonce[:-33], call_id, host)):
            return False
        made_s, count = int(found[1], 16), int(fields["nc"], 16)
        # workers share a clock, but one may have read it a moment before the other
        if not -1 <= now_s - made_s <= NONCE_LIFETIME_S or made_s <= self._over_until_s:
            return False
        if count <= self._counts.get(nonce, 0):
            return False
        self._count(nonce, count, now_s)
        return True

    def _count(self, nonce: str, count: int, now_s: int) -> None:
        """Remember a count, and forget nonces that are over anyway, or the oldest and with it all of its age."""
        counts = self._counts
        counts[nonce] = count
        counts.move_to_end(nonce)
        while counts:
            oldest = next(iter(counts))
            made_s = int(oldest[:8], 16)
            if now_s - made_s <= NONCE_LIFETIME_S:
                if len(counts) <= COUNTS_MAX:
                    break
                self._over_until_s = max(self._over_until_s, made_s)
            del counts[oldest]


def _is_whole(fields: Mapping[str, str]) -> bool:
    """All that qop=auth needs is there; without it nothing would stop a copy (RFC 7616 3.4)."""
    there = all(fields.get(name) for name in ("uri", "nonce", "cnonce", "response"))
    return there and fields.get("qop", "").lower() == "auth" and _COUNT(fields.get("nc", "")) is not None


def _means(given: str, asked: str) -> bool:
    """Whether the URI in the credentials is the one that is asked for (RFC 7616 3.4.6).

    The user parts are compared: hosts are rewritten by proxies, and some peers name nothing but the gate there.
    """
    if given == asked:
        return True
    try:
        named, wanted = parse_uri(given), parse_uri(asked)
    except BadUri:
        return False
    return isinstance(named, SipUri) and named.user in ("", wanted.user)


def answer_to(algorithm: str, secret: str, method: str, fields: Mapping[str, str], body: bytes = b"") -> str:
    """The response of RFC 7616 3.4.1 to ``nonce``, ``uri``, ``qop``, ``nc`` and ``cnonce`` of ``fields``.

    ``secret`` is the hash of user name, realm and password.  Without qop it is that of RFC 2069, which RFC 3261 still
    asks clients to give.
    """
    acted = [method, fields["uri"]]
    qop = fields.get("qop", "")
    if qop == "auth-int":
        acted.append(new(_HASHES[algorithm], body, usedforsecurity=False).hexdigest())
    between = [fields["nc"], fields["cnonce"], qop] if qop else []
    return digest(algorithm, secret, fields["nonce"], *between, digest(algorithm, *acted))


# As a client


class Login:
    """The gate's credentials towards one peer, and the nonces that it goes on with, one for each realm behind it.

    ``new_token`` gives fresh words for client nonces.  A challenge of the realm ``refused_realm`` is not answered: the
    one that the gate challenges in itself, where it takes these very credentials for right.
    """

    __slots__ = ("_credentials", "_new_token", "_realms", "_refused_realm")

    def __init__(self, credentials: Credentials, new_token: Callable[[], str], refused_realm: str = "") -> None:
        self._refused_realm = refused_realm
        self._credentials = credentials
        self._new_token = new_token
        self._realms: dict[tuple[str, str], _Realm] = {}

    def learn(self, response: Response, answered: "set[tuple[str, str]]") -> bool:
        """Take the challenges of a 401 or 407; False where asking again is no use (RFC 3261 22.1).

        ``answered`` is the request's own, empty at first: the realms that have challenged it.  One that does so a
        second time has refused the credentials, unless it says that its nonce is stale.  Of more realms than
        CHALLENGES_MAX the oldest is forgotten.
        """
        asks, answers = _HEADERS_OF[response.status]
        strongest = _strongest(response.all(asks))
        if self._refused_realm:
            strongest.pop(self._refused_realm, None)
        for realm, fields in strongest.items():
            key = (answers, realm)
            if key in answered and fields.get("stale", "").lower() != "true":
                return False
            if len(answered) >= CHALLENGES_MAX:
                return False
            answered.add(key if key not in answered else (answers, f"{realm} {len(answered)}"))
            self._realms.pop(key, None)  # the newest stands last
            self._realms[key] = _Realm(fields, self._credentials)
            if len(self._realms) > CHALLENGES_MAX:
                del self._realms[next(iter(self._realms))]
        return bool(strongest)

    @property
    def is_known(self) -> bool:
        """A challenge has come, so that :meth:`headers` has something to answer."""
        return bool(self._realms)

    def headers(self, method: str, uri: str, body: bytes = b"") -> list[tuple[str, str]]:
        """The headers of one more request to the peer; ``uri`` is its Request-URI."""
        return [
            (name, realm.answer(method, uri, body, self._credentials.username, self._new_token))
            for (name, _), realm in self._realms.items()
        ]


_HEADERS_OF: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}
"""Which header asks and which answers, by status (RFC 3261 22.2, 22.3)."""

CHALLENGED: Final = frozenset(_HEADERS_OF)
"""Statuses that ask for credentials."""


class _Realm:
    """One challenge that is being answered, and how often it was."""

    __slots__ = ("algorithm", "count", "fields", "secret")

    def __init__(self, fields: dict[str, str], credentials: Credentials) -> None:
        self.fields = fields
        self.algorithm = fields.get("algorithm", "MD5").upper()
        self.secret = digest(self.algorithm, credentials.username, fields["realm"], credentials.password)
        self.count = 0

    def answer(self, method: str, uri: str, body: bytes, username: str, new_token: Callable[[], str]) -> str:
        """The value of the header that answers it (RFC 7616 3.4)."""
        asked = self.fields
        fields = {"nonce": asked["nonce"], "uri": uri}
        if offered := asked.get("qop", ""):
            self.count += 1
            qop = "auth" if "auth" in _words(offered) else "auth-int"
            fields |= {"qop": qop, "nc": f"{self.count:08x}", "cnonce": new_token()}
        response = answer_to(self.algorithm, self.secret, method, fields, body)
        said = [
            f"username={quote(username)}", f"realm={quote(asked['realm'])}", f"nonce={quote(asked['nonce'])}",
            f"uri={quote(uri)}", f'response="{response}"',
        ]  # fmt: skip
        if "algorithm" in asked:
            said.append(f"algorithm={asked['algorithm']}")
        if offered:
            said += [f'cnonce="{fields["cnonce"]}"', f"qop={fields['qop']}", f"nc={fields['nc']}"]
        if "opaque" in asked:
            said.append(f"opaque={quote(asked['opaque'])}")
        return "Digest " + ", ".join(said)


def _strongest(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """Of each realm the challenge with the strongest algorithm; what cannot be answered is left out."""
    found: dict[str, dict[str, str]] = {}
    for text in [text for line in lines for text in _apart(line)][:CHALLENGES_MAX]:
        fields = read_fields(text)
        if fields is None or not _can_be_answered(fields):
            continue
        before = found.get(fields["realm"])
        if before is None or _strength(fields) < _strength(before):
            found[fields["realm"]] = fields
    return found


def _can_be_answered(fields: Mapping[str, str]) -> bool:
    made = _HASHES.get(fields.get("algorithm", "MD5").upper())
    offered = fields.get("qop", "")
    known = not offered or bool({"auth", "auth-int"} & set(_words(offered)))
    return known and made in algorithms_available and bool(fields.get("nonce")) and "realm" in fields


def _strength(fields: Mapping[str, str]) -> int:
    """The place of a challenge's algorithm, 0 for the strongest."""
    return list(_HASHES).index(fields.get("algorithm", "MD5").upper())


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


_NEXT: Final = re.compile(rf",{LWS}(?=[A-Za-z]++[ \t]++{TCHAR}++{LWS}=)")


def _apart(line: str) -> list[str]:
    """The challenges of one header line; SIP has one a line (RFC 3261 7.3.1), HTTP's habit is several."""
    return _NEXT.split(line) if len(line) <= CHALLENGES_MAX * CREDENTIALS_MAX else []
