"""One turn of a worker: what came in goes to the endpoint, events to the call machine, and at the turn's end what it
wants sent and done goes out.

Everything here is a plain call on the event loop: no task, future or lock for a message (DESIGN, Speed).  A turn ends
once for all datagrams that were waiting, so that the store gets their commands together.  What peers are told leaves
after the commands of its turn that hurry: where a process is killed in between, no call that a peer believes answered
is taken for one that rings, not even an emergency call, whose 200 waits for no word of the store.  A fault in one
message, event or deadline is logged and counted, and the next one is heard: nothing a peer sends stops a worker.
"""

from collections.abc import Callable
from typing import Final, Protocol

from gateway.call.b2bua import B2bua
from gateway.call.commands import Command, Result
from gateway.call.facts import Fact
from gateway.call.refusals import refusal_headers
from gateway.sip.endpoint import Endpoint
from gateway.sip.events import Event, Flow, InviteArrived, RequestArrived
from gateway.sip.transaction import ServerTransaction
from gateway.telemetry.logs import get_logger
from policy.reasons import REASONS

FAULTS_LOGGED_PER_S: Final = 10
"""Faults that are logged whole in one second; a peer that finds one must not fill the disk."""

log = get_logger("worker")
"""Logs of the rooms below, which write none themselves."""


class Tap(Protocol):
    """Who wants to see each message: the ladder of a call."""

    def __call__(self, flow: Flow, data: bytes, now: float, *, sent: bool) -> None:
        """One message came in on ``flow`` or goes out on it."""


class Turn:
    """Drives one endpoint and one call machine; is the listener of the transport."""

    def __init__(
        self,
        endpoint: Endpoint,
        b2bua: B2bua,
        *,
        monotonic: Callable[[], float],
        submit: Callable[[Command], None],
        note: Callable[[Fact], None],
        arm: Callable[[], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """``soon`` calls once what it is given, after the store's commands of this turn are with the kernel."""
        self.endpoint = endpoint
        self.b2bua = b2bua
        self.faults = 0
        """Messages, events, deadlines and calls that raised; each is a bug."""
        self.tap: Tap | None = None
        self.is_unheard: Callable[[bytes, Flow], bool] | None = None
        """Which messages are dropped without an answer (``unknown_source = "drop"``)."""
        self.hear_result: Callable[[Result], None] = lambda result: None
        """Who listens to what the store answers, after the call has."""
        self.may_speak: Callable[[float], bool] = lambda now: True
        """Whether output may leave now; else it waits for the end of a later turn."""
        self.send: Callable[[Flow, bytes], None] = lambda flow, data: None
        """Where output goes; the transport's own, set when there is one."""
        self._monotonic = monotonic
        self._submit = submit
        self._note = note
        self._arm = arm
        self._soon = soon
        self._speaks_soon = False
        self._faults_until_s = 0.0
        self._faults_logged = 0

    # what the transport tells

    def hear(self, data: bytes, flow: Flow) -> None:
        """One message came in."""
        if self.is_unheard is not None and self.is_unheard(data, flow):
            return
        now = self._monotonic()
        if self.tap is not None:
            self.tap(flow, data, now, sent=False)
        try:
            self.endpoint.receive(data, flow, now)
        except Exception:
            self._fault("message", now, peer=f"{flow.transport}:{flow.host}:{flow.port}", message=data)

    def connection_lost(self, flow: Flow) -> None:
        """The connection that messages of this flow came on is gone."""
        self.endpoint.connection_lost(flow, self._monotonic())

    def send_failed(self, flow: Flow) -> None:
        """What was sent on this flow did not arrive."""
        self.endpoint.send_failed(flow, self._monotonic())

    # what the store tells

    def resolve(self, result: Result) -> None:
        """The store has carried a command out, or could not."""
        now = self._monotonic()
        try:
            self.b2bua.resolve(result, now)
            self.hear_result(result)
        except Exception:
            self._fault("result", now, call_id=result.call_id, result=repr(result))
        self.end(now)

    # what the clock tells

    def deadline_failed(self, fault: Exception, now: float) -> None:
        """A deadline raised this, which is being caught: the others fire all the same."""
        self._fault("deadline", now, fault=repr(fault))

    # what the call machine tells

    def call_failed(self, fault: Exception, now: float) -> None:
        """One of many calls raised this, which is being caught: the others have their turn all the same."""
        self._fault("call", now, fault=repr(fault))

    # the end of a turn

    def end_turn(self) -> None:
        """All that was waiting in a socket has been told."""
        self.end(self._monotonic())

    def end(self, now: float) -> None:
        """Hand events up, and what they led to down and out."""
        endpoint, b2bua = self.endpoint, self.b2bua
        while True:
            events = endpoint.take_events()
            for event in events:
                try:
                    b2bua.handle(event, now)
                except Exception:
                    self._event_failed(event, now)
            if not events and not (endpoint.loops and self._hear_own(now)):
                break
        # One command, message or fact that causes a fault must not take those of other calls with it.
        commands = b2bua.take_commands()
        for command in commands:
            try:
                self._submit(command)
            except Exception:
                self._fault("command", now, command=repr(command))
        for fact in b2bua.take_facts():
            try:
                self._note(fact)
            except Exception:
                self._fault("fact", now, fact=repr(fact))
        if commands and not self._speaks_soon:
            self._speaks_soon = True
            self._soon(self._speak_at_last)
        elif not self._speaks_soon:
            self._speak(now)
        self._arm()

    def _speak_at_last(self) -> None:
        self._speaks_soon = False
        self._speak(self._monotonic())

    def _speak(self, now: float) -> None:
        """Send what is to be said, if it may be."""
        if not self.may_speak(now):
            return
        send, tap = self.send, self.tap
        for flow, data in self.endpoint.take_output():
            try:
                if tap is not None:
                    tap(flow, data, now, sent=True)
                send(flow, data)
            except Exception:
                self._fault("message out", now, peer=f"{flow.transport}:{flow.host}:{flow.port}", message=data)

    def _hear_own(self, now: float) -> bool:
        """Hear what the endpoint said to itself; False where it said nothing."""
        try:
            return self.endpoint.hear_own(now)
        except Exception:
            self._fault("message to itself", now)
            return True

    def _event_failed(self, event: Event, now: float) -> None:
        """An event raised what is being caught."""
        self._fault("event", now, happened=repr(event))
        if isinstance(event, InviteArrived | RequestArrived) and event.transaction.owner is None:
            self._answer_fault(event.transaction, now)

    def _answer_fault(self, transaction: ServerTransaction, now: float) -> None:
        """Nobody will answer this request any more, and a transaction without an answer would stand for ever."""
        try:
            self.endpoint.respond(transaction, 500, headers=refusal_headers(REASONS["INTERNAL"]), now=now)
        except Exception:
            self._fault("answer to a fault", now)

    def _fault(self, what: str, now: float, **facts: object) -> None:
        """Log an exception that is being caught, at most so many a second."""
        self.faults += 1
        if now > self._faults_until_s:
            self._faults_until_s, self._faults_logged = now + 1.0, 0
        self._faults_logged += 1
        if self._faults_logged <= FAULTS_LOGGED_PER_S:
            log.exception(f"{what} caused a fault", **facts)
