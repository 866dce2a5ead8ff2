"""May this INVITE become a call: the trunk by its source, policy over the directory, then the gate's own limits.

The order lets emergency calls pass every limit (SIP.md 4): policy says first what kind of call it is, and only an
ordinary one is then counted against calls a second and live calls.  So is a peer that has to show credentials asked for
them once policy has said that it is no emergency call: a challenge tells nobody what policy thinks of the call.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import replace

from gateway.call.intake import call_request
from gateway.sip.digest import Challenge
from gateway.sip.errors import BadUri
from gateway.sip.events import LOOP, Flow
from gateway.sip.message import Request
from gateway.sip.uri import SipUri, parse_uri
from gateway.transport.admission import Gate, Sources
from gateway.worker.callers import Callers
from gateway.worker.directory import NEVER_READ
from gateway.worker.targets import Targets
from gateway.worker.ways import Ways
from policy.decide import decide
from policy.directory import Directory
from policy.plan import NumberPlan
from policy.reasons import REASONS
from policy.verdict import WITHIN_S, Allow, Deny, Verdict


class Decider:
    """Decides initial INVITEs; ``directory`` is swapped whole whenever it changes.

    ``ordinary_calls()`` (live ones without emergency calls) and ``outbox_full()`` are asked for each ordinary call;
    ``observe(seconds)`` is told how long a decision took; ``within_s`` is how long a call may ring and talk.
    ``callers`` knows who has to show credentials, ``ways`` where trunks are that register and how each is told numbers;
    None where no trunk has anything of it.
    """

    def __init__(
        self,
        sources: Sources,
        gate: Gate,
        plan: NumberPlan,
        unix_ms: Callable[[float], int],
        observe: Callable[[float], None],
        within_s: int = WITHIN_S,
    ) -> None:
        self.directory = Directory()
        self.ordinary_calls: Callable[[], int] = lambda: 0
        self.outbox_full: Callable[[], bool] = lambda: False
        self.targets: Targets | None = None
        """Who knows the addresses and the order of the routes that policy names."""
        self.callers: Callers | None = None
        self.ways: Ways | None = None
        self.registered_users: Mapping[str, str] = {}
        """As whom the gate has registered, by carrier."""
        self.expect: Callable[[str], None] = lambda host: None
        """Told the address of a caller's Contact where that is another than the INVITE came from."""
        self.untrusted: Set[str] = frozenset()
        """Trunks that are not believed who calls (RFC 3325)."""
        self._sources = sources
        self._gate = gate
        self._plan = plan
        self._unix_ms = unix_ms
        self._observe = observe
        self._within_s = within_s

    def __call__(self, request: Request, flow: Flow, now: float) -> Verdict | Challenge:
        """What becomes of one initial INVITE that came on ``flow`` at ``now`` (monotonic seconds)."""
        began_s = time.perf_counter()
        verdict = self._decide(request, flow, now)
        targets = self.targets
        if targets is not None and targets.reorders and isinstance(verdict, Allow):
            verdict = replace(verdict, routes=targets.order(verdict.routes))
        if isinstance(verdict, Allow):
            self._look_at_contact(request, flow)
        self._observe(time.perf_counter() - began_s)
        return verdict

    def _look_at_contact(self, request: Request, flow: Flow) -> None:
        """Messages inside the dialog may come from the Contact, which no trunk has to name."""
        contact = request.contact
        if contact is None or flow.host in contact.uri or flow.transport == LOOP:
            return
        with contextlib.suppress(BadUri):
            uri = parse_uri(contact.uri)
            if isinstance(uri, SipUri):
                self.expect(uri.host)

    def _decide(self, request: Request, flow: Flow, now: float) -> Verdict | Challenge:
        if flow.transport == LOOP:  # a call that a trunk leads on: said by this gate, and by nobody else
            return self._judge(request, flow.host, now, own=True)
        # on a stream the source port is the kernel's choice; the peer's own port stands in its Via (SIP.md 4)
        port = flow.port if flow.transport == "udp" else request.top_via.reply_port
        name = self._sources.trunk(flow.host, port)
        if self.callers is None:
            return self._judge(request, name, now)
        name, challenge = self.callers.identify(request, flow, name, now)
        if challenge is None:
            return self._judge(request, name, now)
        emergency = self._emergency(request, name, now) if name is not None else None
        return emergency or challenge

    def _judge(self, request: Request, name: str | None, now: float, *, own: bool = False) -> Verdict:
        """What becomes of a call from the trunk of that name; None: from a source that no trunk names.  Of the gate's
        ``own`` the names are true, whether the trunk is believed or not."""
        verdict = self._ask(request, name, now, own=own)
        if isinstance(verdict, Deny):
            return verdict
        if verdict.emergency:
            return verdict
        if self.ways is not None and not self.ways.lay(verdict, now):
            return _refused(verdict, "NOT_REGISTERED")
        code = self._limit(now)
        return verdict if code is None else _refused(verdict, code)

    def _emergency(self, request: Request, name: str, now: float) -> Allow | None:
        """The verdict on an emergency call, which needs no credentials (SIP.md 4); None where it is none."""
        verdict = self._ask(request, name, now)
        return verdict if isinstance(verdict, Allow) and verdict.emergency else None

    def _ask(self, request: Request, name: str | None, now: float, *, own: bool = False) -> Verdict:
        trunk = self.directory.trunks.get(name) if name is not None else None
        if trunk is None:
            return Deny(REASONS["UNKNOWN_SOURCE"], trunk=name or "")
        user = self.registered_users.get(trunk.name, "")
        asked = call_request(
            request, trunk.name, trunk.role == "access", self._unix_ms(now), user, own or name not in self.untrusted
        )
        asked.within_s = self._within_s
        verdict = decide(self.directory, self._plan, asked)
        never_read = self.directory.version == NEVER_READ
        return _unread(verdict) if never_read and isinstance(verdict, Deny) else verdict

    def _limit(self, now: float) -> str | None:
        if self.outbox_full():
            return "OUTBOX_FULL"
        return self._gate.refusal(self.ordinary_calls(), now)


def _unread(denied: Deny) -> Deny:
    """No directory has ever been read (a first start without the ledger): nobody can say whose call this is, and a
    403 would be untrue."""
    return replace(denied, reason=REASONS["STORE_AWAY"])


def _refused(allowed: Allow, code: str) -> Deny:
    """The refusal of a call that policy would have let in, with what is known of it for its record."""
    return Deny(
        REASONS[code],
        trunk=allowed.trunk,
        tenant_id=allowed.tenant_id,
        user_id=allowed.user_id,
        currency=allowed.currency,
        kind=allowed.kind,
        caller=allowed.caller,
        dialled=allowed.dialled,
        number=allowed.number,
        destination=allowed.destination,
    )
