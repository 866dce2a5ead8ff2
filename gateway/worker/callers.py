"""Who has to show credentials before an INVITE becomes a call, and whose trunk credentials are.

A trunk with ``digest`` is challenged although its address is known.  A trunk with ``hosts = ["register"]`` has no
address of its own: its credentials say which trunk it is, wherever it calls from.  Where it registered from says so
too, but only for an emergency call, which is never challenged (SIP.md 4).

In-dialog requests are not challenged: who knows the tags of a dialog was let into it.
"""

from collections.abc import Callable, Collection
from typing import Final

from gateway.sip.digest import Challenge, Guard, Outcome
from gateway.sip.events import Flow
from gateway.sip.message import Request
from gateway.sip.reasons import SIP_REASONS, refusal_of
from gateway.telemetry.logs import get_logger

log = get_logger("worker")

WRONG_LOGGED_MAX: Final = 10
"""Wrong credentials that are logged of one minute; the metric counts them all, and a guesser must not fill the disk."""

MINUTE_S: Final = 60


class Callers:
    """Asks for credentials and knows whose they are.

    ``digests`` are the trunks that are challenged, ``registering`` those of them without an address;
    ``registered_at(host, port)`` is the trunk of those that registered from there, or None.  ``count`` is told each
    outcome.
    """

    def __init__(
        self,
        guard: Guard,
        digests: Collection[str],
        registering: Collection[str],
        *,
        unix_ms: Callable[[float], int],
        new_token: Callable[[], str],
        count: Callable[[str], None],
    ) -> None:
        self.registered_at: Callable[[str, int], str | None] = lambda host, port: None
        self.offended: Callable[[str, bool], None] = lambda host, wrong: None
        """Told of each request without right credentials: from where, and whether it had wrong ones."""
        self.proved: Callable[[str], None] = lambda host: None
        """Told where right credentials came from: no forged source has heard the challenge."""
        self._guard = guard
        self._digests = frozenset(digests)
        self._registering = frozenset(registering)
        self._unix_ms = unix_ms
        self._new_token = new_token
        self._count = count
        self._logged_s = 0
        self._logged = 0

    def identify(
        self, request: Request, flow: Flow, name: str | None, now: float
    ) -> tuple[str | None, Challenge | None]:
        """Whose request this is, and what it is to be asked for; ``name`` is the trunk that names its source."""
        if name is None:
            if not self._registering:
                return None, None
            name = self.registered_at(flow.host, flow.port)
        elif name not in self._digests:
            return name, None
        among = (name,) if name in self._digests and name not in self._registering else self._registering
        account, challenge = self.check(request, flow, among, now)
        return (account, None) if challenge is None else (name, challenge)

    def check_any(self, request: Request, flow: Flow, now: float) -> tuple[str, Challenge | None]:
        """As :meth:`check`, among all trunks that have credentials; asked in the words of those that register."""
        return self.check(request, flow, self._digests, now, self._registering or self._digests)

    def check(
        self,
        request: Request,
        flow: Flow,
        among: Collection[str],
        now: float,
        addressed: Collection[str] | None = None,
    ) -> tuple[str, Challenge | None]:
        """The account of ``among`` whose right credentials ``request`` carries, or the challenge that answers it, by
        the algorithms of those ``addressed``, which are the same whoever asks."""
        now_s = self._unix_ms(now) // 1000
        checked = self._guard.check(request, flow.host, now_s, among)
        self._count(checked.outcome.value)
        if checked.outcome is Outcome.RIGHT:
            self.proved(flow.host)
            return checked.account, None
        wrong = checked.outcome is Outcome.WRONG
        self.offended(flow.host, wrong)
        if wrong:
            self._log(request.method, flow, now_s)
        stale = checked.outcome is Outcome.STALE
        headers = self._guard.challenge(request, flow.host, self._new_token(), now_s, addressed or among, stale=stale)
        return "", Challenge((*headers, *refusal_of(SIP_REASONS["UNAUTHORIZED"])))

    def _log(self, method: str, flow: Flow, now_s: int) -> None:
        if now_s - self._logged_s >= MINUTE_S:
            self._logged_s, self._logged = now_s, 0
        self._logged += 1
        if self._logged <= WRONG_LOGGED_MAX:
            log.warning("wrong credentials", method=method, host=flow.host, port=flow.port)
