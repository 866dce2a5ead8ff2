"""The people of a simulation: one PBX and one carrier, each an endpoint of its own with many calls, and what they do.

A :class:`Plan` says what happens in one call: how long it rings, who hangs up and when, who gives up, never
acknowledges, refuses, or vanishes.  Both ends note when they were connected and when they heard the end.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import Dialog
from gateway.sip.endpoint import Endpoint, Identity
from gateway.sip.events import (
    AckArrived,
    CancelArrived,
    Event,
    Flow,
    InviteArrived,
    RequestArrived,
    RequestFailed,
    ResponseArrived,
)
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from gateway.transport.clock import Clock
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Address, Network

SDP = b"v=0\r\no=a 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


@dataclass(slots=True)
class Plan:
    """One call as its people mean it; seconds since the moment it is about, None: never."""

    number: str
    caller: str
    gate: Address
    at_s: float
    answer: int = 200
    ring_s: float = 1.0
    caller_talks_s: float | None = None
    callee_talks_s: float | None = None
    gives_up_s: float | None = None
    acknowledges: bool = True
    caller_vanishes_s: float | None = None
    callee_vanishes_s: float | None = None


@dataclass(slots=True)
class End:
    """One end of one call."""

    plan: Plan
    dialog: Dialog | None = None
    connected_at: float | None = None
    ended_at: float | None = None
    status: int = 0
    gate: Address | None = None
    """Another gate than the plan's: this end's dialog was moved to it (RFC 3261 12.2.2)."""
    gone: bool = False
    """It vanished: nothing it does or does not do is anybody's fault."""
    invite: ClientTransaction | ServerTransaction | None = None


@dataclass
class Side:
    """What the PBX and the carrier have in common: an endpoint, a clock, calls by number."""

    loop: VirtualLoop
    network: Network
    dice: random.Random
    address: Address
    ends: dict[str, End] = field(default_factory=dict)

    def __post_init__(self) -> None:
        deadlines = Deadlines()
        self.clock = Clock(deadlines, lambda now: self.finish(), monotonic=self.loop.time, wall_s=self.loop.time)
        self.endpoint = Endpoint(
            Identity(*self.address), deadlines, lambda: f"{self.dice.getrandbits(64):016x}",
        )  # fmt: skip
        self.network.holders[self.address] = self.hear
        self.by_tag: dict[str, End] = {}
        self.loop.call_soon(self.clock.start)

    def hear(self, data: bytes, flow: Flow) -> None:
        self.endpoint.receive(data, flow, self.loop.time())
        self.finish()

    def finish(self) -> None:
        """End a turn: events, then what is to be sent."""
        while events := self.endpoint.take_events():
            for event in events:
                self.take(event)
        for flow, data in self.endpoint.take_output():
            self.network.send(self.address, flow, data)
        self.clock.arm()

    def later(self, delay_s: float | None, act: Callable[[End], None], end: End) -> None:
        """Do something to an end that is still there by then."""

        def do() -> None:
            if not end.gone:
                act(end)
                self.finish()

        if delay_s is not None:
            self.loop.call_later(delay_s, do)

    def vanish(self, end: End) -> None:
        end.gone = True

    def hang_up(self, end: End) -> None:
        """Send BYE, if the call is still up."""
        if end.dialog is not None and end.ended_at is None:
            end.ended_at = self.loop.time()
            flow = Flow("udp", *(end.gate or end.plan.gate))
            self.endpoint.request_in(end.dialog.request("BYE"), flow, now=self.loop.time())

    def take(self, event: Event) -> None:
        raise NotImplementedError

    def take_request(self, event: RequestArrived | InviteArrived) -> None:
        """A request inside a dialog: 200 to all, and the end at a BYE; a Contact moves the dialog to another gate."""
        request, now = event.request, self.loop.time()
        end = self.by_tag.get(request.to.tag)
        if end is not None and end.gone:
            return
        if end is None or end.dialog is None or end.ended_at is not None:
            again = end is not None and request.method == "BYE"
            self.endpoint.respond(event.transaction, 200 if again else 481, now=now)
            return
        if request.method == "BYE":
            end.ended_at = now
        elif request.get("Contact") and end.dialog.refresh_target(request):
            end.gate = (event.transaction.flow.host, event.transaction.flow.port)
        self._accept(event)

    def _accept(self, event: RequestArrived | InviteArrived) -> None:
        offers = bool(event.request.body)
        self.endpoint.respond(
            event.transaction, 200, contact=self.contact(), body=SDP if offers else b"",
            content_type="application/sdp" if offers else "", now=self.loop.time(),
        )  # fmt: skip

    def contact(self) -> str:
        """Where this side is reached."""
        return self.endpoint.contact(Flow("udp", *self.address))

    def allow(self, plan: Plan) -> tuple[tuple[str, str], ...]:
        """Half of all telephones know UPDATE; the others are moved by a re-INVITE."""
        return (("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"),) if int(plan.number[-1]) % 2 else ()


class Pbx(Side):
    """Calls."""

    def place(self, plan: Plan) -> None:
        end = self.ends[plan.number] = End(plan)
        self.loop.call_at(plan.at_s, self._invite, end)

    def _invite(self, end: End) -> None:
        plan, flow, tag = end.plan, Flow("udp", *end.plan.gate), f"c{end.plan.number[1:]}"
        self.by_tag[tag] = end
        uri = f"sip:{plan.number}@{plan.gate[0]}"
        end.invite = self.endpoint.request(
            "INVITE", uri, flow, from_=f"<sip:{plan.caller}@{self.address[0]}>;tag={tag}", to=f"<{uri}>",
            call_id=f"call-{plan.number}", cseq=1, contact=self.endpoint.contact(flow), body=SDP,
            content_type="application/sdp", headers=self.allow(plan), owner=end, now=self.loop.time(),
        )  # fmt: skip
        self.later(plan.gives_up_s, self._give_up, end)
        self.finish()

    def _give_up(self, end: End) -> None:
        if end.connected_at is None and isinstance(end.invite, ClientTransaction):
            self.endpoint.cancel(end.invite, now=self.loop.time())

    def take(self, event: Event) -> None:
        if isinstance(event, ResponseArrived) and isinstance(event.transaction.owner, End):
            self._hear_answer(event.transaction.owner, event)
        elif isinstance(event, RequestFailed) and isinstance(event.transaction.owner, End):
            event.transaction.owner.status = event.transaction.owner.status or 408
        elif isinstance(event, RequestArrived | InviteArrived):
            self.take_request(event)

    def _hear_answer(self, end: End, event: ResponseArrived) -> None:
        response, now = event.response, self.loop.time()
        if end.gone or response.status < 200:
            return
        if response.status >= 300:
            end.status = response.status
            return
        first = end.dialog is None
        if first:
            end.dialog, end.status, end.connected_at = Dialog.as_client(response, "sip:10.0.0.1"), 200, now
        assert end.dialog is not None
        if end.plan.acknowledges:
            self.endpoint.ack(end.dialog.ack(1), Flow("udp", *end.plan.gate))
        if first:
            self.later(end.plan.caller_talks_s, self.hang_up, end)
            self.later(end.plan.caller_vanishes_s, self.vanish, end)


class Carrier(Side):
    """Is called."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plans: dict[str, Plan] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, InviteArrived) and not event.request.to.tag:
            self._ring(event)
        elif isinstance(event, RequestArrived | InviteArrived):
            self.take_request(event)
        elif isinstance(event, CancelArrived):
            self._cancelled(event.transaction)
        elif isinstance(event, AckArrived):
            pass

    def _ring(self, event: InviteArrived) -> None:
        number = event.request.uri.partition("@")[0].removeprefix("sip:")
        plan = self.plans[number]
        end = self.ends[number] = End(plan, invite=event.transaction)
        event.transaction.owner = end
        if plan.answer == 0:
            return  # it never says anything
        self.endpoint.respond(event.transaction, 180, contact=self.contact(), now=self.loop.time())
        self.later(plan.ring_s, self._answer, end)

    def _answer(self, end: End) -> None:
        transaction, now = end.invite, self.loop.time()
        assert isinstance(transaction, ServerTransaction)
        if transaction.finished:
            return
        end.status = end.plan.answer
        if end.plan.answer >= 300:
            self.endpoint.respond(transaction, end.plan.answer, now=now)
            return
        self.endpoint.respond(
            transaction, 200, contact=self.contact(), body=SDP, content_type="application/sdp",
            headers=self.allow(end.plan), now=now,
        )  # fmt: skip
        end.dialog = Dialog.as_server(transaction.request, transaction.to_tag)
        end.connected_at = now
        self.by_tag[transaction.to_tag] = end
        self.later(end.plan.callee_talks_s, self.hang_up, end)
        self.later(end.plan.callee_vanishes_s, self.vanish, end)

    def _cancelled(self, transaction: ServerTransaction) -> None:
        if not transaction.finished:
            self.endpoint.respond(transaction, 487, now=self.loop.time())
