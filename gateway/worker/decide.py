"""May this INVITE become a call: the trunk by its source, policy over the directory, then the gate's own limits.

The order lets emergency calls pass every limit (SIP.md 4): policy says first what kind of call it is, and only an
ordinary one is then counted against calls a second and live calls.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from gateway.call.intake import call_request
from gateway.sip.events import Flow
from gateway.sip.message import Request
from gateway.transport.admission import Gate, Sources
from gateway.worker.directory import NEVER_READ
from gateway.worker.targets import Targets
from policy.decide import decide
from policy.directory import Directory
from policy.plan import NumberPlan
from policy.reasons import REASONS
from policy.verdict import WITHIN_S, Allow, Deny, Verdict


class Decider:
    """Decides initial INVITEs; ``directory`` is swapped whole whenever it changes.

    ``ordinary_calls()`` (live ones without emergency calls) and ``outbox_full()`` are asked for each ordinary call;
    ``observe(seconds)`` is told how long a decision took; ``within_s`` is how long a call may ring and talk.
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
        self._sources = sources
        self._gate = gate
        self._plan = plan
        self._unix_ms = unix_ms
        self._observe = observe
        self._within_s = within_s

    def __call__(self, request: Request, flow: Flow, now: float) -> Verdict:
        """Allow or Deny for one initial INVITE that came on ``flow`` at ``now`` (monotonic seconds)."""
        began_s = time.perf_counter()
        verdict = self._decide(request, flow, now)
        targets = self.targets
        if targets is not None and targets.reorders and isinstance(verdict, Allow):
            verdict = replace(verdict, routes=targets.order(verdict.routes))
        self._observe(time.perf_counter() - began_s)
        return verdict

    def _decide(self, request: Request, flow: Flow, now: float) -> Verdict:
        # on a stream the source port is the kernel's choice; the peer's own port stands in its Via (SIP.md 4)
        port = flow.port if flow.transport == "udp" else request.top_via.reply_port
        name = self._sources.trunk(flow.host, port)
        trunk = self.directory.trunks.get(name) if name is not None else None
        if trunk is None:
            return Deny(REASONS["UNKNOWN_SOURCE"], trunk=name or "")
        asked = call_request(request, trunk.name, trunk.role == "access", self._unix_ms(now))
        asked.within_s = self._within_s
        verdict = decide(self.directory, self._plan, asked)
        if isinstance(verdict, Deny):
            return verdict if self.directory.version != NEVER_READ else _unread(verdict)
        if verdict.emergency:
            return verdict
        code = self._limit(now)
        return verdict if code is None else _refused(verdict, code)

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
