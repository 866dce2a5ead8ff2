"""The gate's own registration with a carrier that asks for it (RFC 3261 10.2): one REGISTER after the other.

Quiet: driven by answers and deadlines like a call.  It is refreshed well before it ends; one that fails is tried again
after a time that doubles, as RFC 5626 4.5 has it, and is not lost before it ends.  A carrier that wants a longer one
(423) gets it; one that asks for credentials gets them.
"""

from collections.abc import Callable
from typing import Final, NamedTuple
from zlib import crc32

from gateway.sip.address import parse_name_addr
from gateway.sip.deadlines import Deadlines
from gateway.sip.digest import CHALLENGED, Credentials, Login
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import BadMessage, BadUri
from gateway.sip.events import Flow
from gateway.sip.message import Response
from gateway.sip.uri import SipUri, parse_uri

RETRY_FIRST_S: Final = 30.0
"""Before the first new try (RFC 5626 4.5, base-time)."""

RETRY_LONGEST_S: Final = 1800.0
"""Before any new try (RFC 5626 4.5, max-time)."""

REFRESH_LEAD_S: Final = 60.0
"""How long before it ends a registration is refreshed: time for one that fails (32 s) to be tried again.  Of a short
one it is half its time."""

EXPIRES_LONGEST_S: Final = 86_400
"""The longest that a 423 may make us ask for."""

EXPIRES_SHORTEST_S: Final = 10
"""A carrier that says less would be sent REGISTERs without end."""


class Wanted(NamedTuple):
    """What is registered: ``address`` (a SIP URI) at ``registrar`` (a SIP URI without user part), reached by
    ``contact`` (a Contact value with its ``<>``), for ``expires_s`` seconds."""

    registrar: str
    address: str
    contact: str
    expires_s: int


class Registration:
    """Keeps one registration up; ``tell(there, why)`` hears after each try whether it is, and why it failed.

    ``new_token`` gives fresh words: Call-ID, tag, and the jitter of new tries.  Owns its transactions.
    ``find(failures)`` says where the registrar is reached after so many failures in a row; None: by its own URI.
    A challenge in ``refused_realm`` is not answered (gateway.sip.digest.Login).
    """

    def __init__(
        self,
        wanted: Wanted,
        credentials: Credentials | None,
        endpoint: Endpoint,
        deadlines: Deadlines,
        new_token: Callable[[], str],
        tell: Callable[[bool, str], None],
        refused_realm: str = "",
        find: Callable[[int], Flow | None] = lambda failures: None,
    ) -> None:
        self._wanted = wanted
        self._endpoint = endpoint
        self._deadlines = deadlines
        self._new_token = new_token
        self._tell = tell
        self._credentials = credentials
        self._refused_realm = refused_realm
        self._login: Login | None = None
        self._call_id = new_token()
        self._cseq = 0
        self._expires_s = wanted.expires_s
        self._failures = 0
        self._raised = False
        self._ends_at = 0.0
        self._answered: set[tuple[str, str]] = set()
        registrar = parse_uri(wanted.registrar)
        assert isinstance(registrar, SipUri), "the settings have checked it"
        self._find = find
        self._named = self._target = registrar.flow()
        self._uri = str(SipUri(registrar.host, registrar.port, scheme=registrar.scheme))

    def start(self, now: float) -> None:
        """Register, and again whenever it is time; a nonce of the last time is worth a try, until one failed."""
        self._answered, self._raised = set(), False
        self._target = self._find(self._failures) or self._named
        if self._credentials is not None and (self._login is None or self._failures):
            self._login = Login(self._credentials, self._new_token, self._refused_realm)
        self._send(now)

    def _send(self, now: float) -> None:
        self._cseq += 1
        headers = [("Expires", str(self._expires_s))]
        if self._login is not None:
            headers += self._login.headers("REGISTER", self._uri)
        self._endpoint.request(
            "REGISTER",
            self._uri,
            self._target,
            from_=f"<{self._wanted.address}>;tag={self._new_token()}",
            to=f"<{self._wanted.address}>",
            call_id=self._call_id,
            cseq=self._cseq,
            contact=self._wanted.contact,
            headers=headers,
            owner=self,
            now=now,
        )

    def heard(self, response: Response, now: float) -> None:
        """The carrier answered."""
        status = response.status
        if status < 200:
            return
        if status < 300:
            self._succeed(response, now)
        elif status in CHALLENGED and self._login is not None and self._login.learn(response, self._answered):
            self._send(now)
        elif status == 423 and not self._raised and self._raise(response):
            self._raised = True
            self._send(now)
        else:
            self._fail(f"{status} {response.reason}".strip(), _seconds(response.get("Retry-After")), now)

    def failed(self, timeout: bool, now: float) -> None:
        """The carrier was silent, or cannot be reached."""
        self._fail("no answer" if timeout else "cannot be reached", None, now)

    def _succeed(self, response: Response, now: float) -> None:
        self._failures = 0
        lasts_s = max(EXPIRES_SHORTEST_S, self._granted(response))
        self._ends_at = now + lasts_s
        self._deadlines.at(now + max(lasts_s / 2, lasts_s - REFRESH_LEAD_S), self.start)
        self._tell(True, "")

    def _granted(self, response: Response) -> int:
        """Seconds that the carrier gives our Contact (10.2.4), which is never more than was asked for."""
        ours = _place(self._wanted.contact)
        for value in response.values("Contact"):
            if _place(value) == ours:
                given = _seconds(parse_name_addr(value).params.get("expires"))
                if given is not None:
                    return min(given, self._expires_s)
        given = _seconds(response.get("Expires"))
        return self._expires_s if given is None else min(given, self._expires_s)

    def _raise(self, response: Response) -> bool:
        """Ask for as long as a 423 wants (10.2.8)."""
        least_s = _seconds(response.get("Min-Expires"))
        if least_s is None or not self._expires_s < least_s <= EXPIRES_LONGEST_S:
            return False
        self._expires_s = least_s
        return True

    def _fail(self, why: str, after_s: int | None, now: float) -> None:
        """Try again after 30 s, 60 s, … by half to the whole of it, so that many gates do not come back at once."""
        longest_s = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        jitter = 0.5 + crc32(self._new_token().encode()) / 2**33
        wait_s = max(longest_s * jitter, min(float(after_s or 0), RETRY_LONGEST_S))
        self._deadlines.at(now + wait_s, self.start)
        self._tell(now < self._ends_at, why)


def _seconds(text: str | None) -> int | None:
    digits = (text or "").partition(";")[0].partition("(")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 9 else None


def _place(contact: str) -> tuple[str, str, int] | None:
    """User, host and port of a Contact, by which a carrier's answer names ours."""
    try:
        uri = parse_uri(parse_name_addr(contact).uri)
    except (BadMessage, BadUri):
        return None
    return (uri.user, uri.host.lower(), uri.flow().port) if isinstance(uri, SipUri) else None
