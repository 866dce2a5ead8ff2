"""A fake link with fake time: the gate between callers and callees that speak real SIP through endpoints of their own.

Nothing is mocked.  A :class:`Phone` is an Endpoint with a few verbs; the gate is an Endpoint with the B2bua on top;
the credit store is :class:`tests.gateway.call.store.Store`, a plain model that answers commands.  Datagrams travel at
once, or after ``delay_s``; ``lose`` may drop any of them.  Time stands still until :meth:`World.run` moves it from
deadline to deadline.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from gateway.call.b2bua import B2bua
from gateway.call.facts import Fact
from gateway.call.settings import CallSettings
from gateway.call.targets import hop_of
from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import Dialog
from gateway.sip.endpoint import ALLOWED, Endpoint, Identity
from gateway.sip.events import AckArrived, CancelArrived, Event, Flow, InviteArrived, RequestArrived, ResponseArrived
from gateway.sip.message import Request, Response, parse
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from policy.verdict import Allow, Route, Verdict
from rating.tariff import Tariff
from tests.gateway.call.store import Store

EPOCH_MS = 1_700_000_000_000
GATE = ("10.0.0.1", 5060)
PBX = ("10.0.0.2", 5060)
CARRIER = ("10.0.0.3", 5060)
SPARE = ("10.0.0.4", 5060)
NUMBER = "+14255550123"
CALLER = "+14255550100"
OFFER = b"v=0\r\no=a 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
REPLY = b"v=0\r\no=b 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"
SDP = "application/sdp"
PER_SECOND = Tariff(rate_micros_per_min=60_000_000, first_incr_s=1, next_incr_s=1)
"""One unit a second, in increments of a second."""

STEPS_MAX = 100_000
"""Messages and deadlines of one run: beyond it something goes round in a circle."""

Headers = tuple[tuple[str, str], ...]


@dataclass
class Seen:
    """One message that a phone got, and when."""

    at_s: float
    message: Request | Response


class Phone:
    """A user agent on the link: what it got is in ``seen``, requests that wait for an answer in ``waiting``."""

    def __init__(self, world: "World", name: str, address: tuple[str, int]) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.endpoint = Endpoint(Identity(*address), world.deadlines, world.token, allowed=(*ALLOWED, "NOTIFY"))
        self.events: list[Event] = []
        self.seen: list[Seen] = []
        self.waiting: list[ServerTransaction] = []
        self.on_request: Callable[[ServerTransaction, Request], bool] | None = None

    # what arrives

    def take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, InviteArrived | RequestArrived):
            self.seen.append(Seen(self.world.now, event.request))
            if self.on_request is None or not self.on_request(event.transaction, event.request):
                self.waiting.append(event.transaction)
        elif isinstance(event, AckArrived | CancelArrived):
            self.seen.append(Seen(self.world.now, event.request))
        elif isinstance(event, ResponseArrived):
            self.seen.append(Seen(self.world.now, event.response))

    def got(self, what: str | int, method: str = "") -> list[Seen]:
        """Requests of a method, or responses with a status (and to a method)."""
        found = []
        for seen in self.seen:
            message = seen.message
            name = message.method if isinstance(message, Request) else message.status
            if name == what and method in ("", message.cseq[1]):
                found.append(seen)
        return found

    def last(self, what: str | int, method: str = "") -> Request | Response:
        found = self.got(what, method)
        assert found, f"{self.name} got no {what}: {self.story()}"
        return found[-1].message

    def response(self, status: int, method: str = "") -> Response:
        message = self.last(status, method)
        assert isinstance(message, Response)
        return message

    def request(self, method: str) -> Request:
        message = self.last(method)
        assert isinstance(message, Request)
        return message

    def story(self) -> str:
        return " ".join(
            seen.message.method if isinstance(seen.message, Request) else str(seen.message.status) for seen in self.seen
        )

    # requests of others

    def pending(self, method: str) -> ServerTransaction:
        """The oldest request of a method that has no final answer of ours."""
        found = [transaction for transaction in self.waiting if transaction.method == method]
        assert found, f"{self.name} waits with no {method}: {self.story()}"
        return found[0]

    def answer(
        self,
        method: str,
        status: int,
        *,
        tag: str = "",
        headers: Headers = (),
        body: bytes = b"",
        run: bool = True,
    ) -> ServerTransaction:
        """Answer the oldest waiting request of a method; a final answer takes it off the list."""
        transaction = self.pending(method)
        if status >= 200:
            self.waiting.remove(transaction)
        self.say(transaction, status, tag=tag, headers=headers, body=body)
        if run:
            self.world.settle()
        return transaction

    def say(
        self,
        transaction: ServerTransaction,
        status: int,
        *,
        tag: str = "",
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        speaks = transaction.method in ("INVITE", "UPDATE") and status < 300
        contact = self.endpoint.contact(transaction.flow) if speaks else ""
        self.endpoint.respond(
            transaction, status, to_tag=tag, contact=contact, headers=headers, body=body,
            content_type=SDP if body else "", now=self.world.now,
        )  # fmt: skip

    # calls of its own

    def invite(
        self,
        number: str = NUMBER,
        *,
        body: bytes = OFFER,
        headers: Headers = (),
        call_id: str = "",
        max_forwards: int = 70,
        run: bool = True,
    ) -> ClientTransaction:
        flow, token = Flow("udp", *GATE), self.world.token()
        sent = self.endpoint.request(
            "INVITE", f"sip:{number}@{GATE[0]}", flow, from_=f"<sip:{CALLER}@{self.address[0]}>;tag={token}",
            to=f"<sip:{number}@{GATE[0]}>", call_id=call_id or f"call-{token}", cseq=1, max_forwards=max_forwards,
            contact=self.endpoint.contact(flow), headers=headers, body=body, content_type=SDP if body else "",
            now=self.world.now,
        )  # fmt: skip
        if run:
            self.world.settle()
        return sent

    def dialog(self, tag: str = "") -> Dialog:
        """The dialog of the last INVITE this phone sent or, if it sent none, answered; ``tag`` of the other side."""
        for seen in reversed(self.seen):
            message = seen.message
            if not isinstance(message, Response) or message.cseq[1] != "INVITE" or not 100 < message.status < 300:
                continue
            if tag in ("", message.to.tag):
                return Dialog.as_client(message, f"sip:{GATE[0]}")
        raise AssertionError(f"{self.name} has no dialog: {self.story()}")

    def served(self, transaction: ServerTransaction) -> Dialog:
        """The dialog our answer to an INVITE made."""
        return Dialog.as_server(transaction.request, transaction.to_tag)

    def ack(self, dialog: Dialog, *, seq: int = 1, body: bytes = b"", run: bool = True) -> None:
        self.endpoint.ack(dialog.ack(seq), self._way(dialog), body=body, content_type=SDP if body else "")
        if run:
            self.world.settle()

    def send(
        self, dialog: Dialog, method: str, *, headers: Headers = (), body: bytes = b"", run: bool = True
    ) -> ClientTransaction:
        flow = self._way(dialog)
        contact = self.endpoint.contact(flow) if method in ("INVITE", "UPDATE") else ""
        sent = self.endpoint.request_in(
            dialog.request(method), flow, contact=contact, headers=headers, body=body,
            content_type=SDP if body else "", now=self.world.now,
        )  # fmt: skip
        if run:
            self.world.settle()
        return sent

    def _way(self, dialog: Dialog) -> Flow:
        """Where the gate is as the dialog has it; a proxy between is not played."""
        return Flow("udp", *GATE) if dialog.route_set else hop_of(dialog, Flow("udp", *GATE))

    def cancel(self, sent: ClientTransaction, headers: Headers = (), run: bool = True) -> None:
        self.endpoint.cancel(sent, headers=headers, now=self.world.now)
        if run:
            self.world.settle()


@dataclass
class Dated:
    """A datagram on its way."""

    at_s: float
    source: tuple[str, int]
    flow: Flow
    data: bytes


def allow(**changed: object) -> Allow:
    """An outbound call of contoso, a unit a second, by the carrier."""
    values: dict[str, object] = {
        "tenant_id": "contoso", "currency": "USD", "kind": "user_out", "caller": CALLER, "dialled": NUMBER,
        "number": NUMBER, "routes": (Route("carrier", f"sip:{CARRIER[0]}:{CARRIER[1]}", NUMBER),),
        "tariff": PER_SECOND, "trunk": "pbx",
    }  # fmt: skip
    return Allow(**{**values, **changed})  # type: ignore[arg-type]


def answer_to(request: Request, status: str, tag: str) -> bytes:
    """A response as a peer without manners may write it: to any INVITE, with any To tag, at any time."""
    lines = [f"{name}: {request.get(name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
    to = f"To: {request.get('To')}{f';tag={tag}' if tag else ''}"
    return "\r\n".join((f"SIP/2.0 {status}", *lines, to, "Contact: <sip:10.0.0.3:5060>", "\r\n")).encode()


def both_targets() -> tuple[Route, ...]:
    """The carrier's two targets, in order of preference."""
    return tuple(Route("carrier", f"sip:{host}:{port}", NUMBER) for host, port in (CARRIER, SPARE))


@dataclass
class Options:
    """How a world is set up."""

    verdict: Verdict = field(default_factory=allow)
    settings: CallSettings = field(default_factory=lambda: CallSettings(tick_s=10, session_expires_s=0))
    balance: int = 1_000_000_000
    allowed: tuple[str, ...] = ALLOWED


class World:
    """The link, the gate, a PBX that calls, two carriers that are called, and the store."""

    def __init__(self, options: Options | None = None) -> None:
        options = options or Options()
        self.now = 1000.0
        self.place = GATE
        """Where the gate hears; what goes to another place is lost."""
        self.deadlines = Deadlines()
        self._numbers = count(1)
        self.verdict = options.verdict
        self.decide: Callable[[Request, Flow], Verdict] = lambda request, flow: self.verdict
        self.allowed = options.allowed
        self.endpoint = Endpoint(Identity(*GATE), self.deadlines, self.token, allowed=self.allowed)
        self.settings = options.settings
        self.b2bua = self._new_b2bua(self.deadlines)
        self.store = Store({"contoso": options.balance})
        self.facts: list[Fact] = []
        self.caller = Phone(self, "caller", PBX)
        self.called = Phone(self, "called", CARRIER)
        self.spare = Phone(self, "spare", SPARE)
        self.phones = {phone.address: phone for phone in (self.caller, self.called, self.spare)}
        self.delay_s = 0.0
        self.lose: Callable[[tuple[str, int], tuple[str, int], bytes], bool] = lambda source, target, data: False
        self.sent: list[tuple[float, tuple[str, int], tuple[str, int], Request | Response]] = []
        """Everything that was sent: when, from, to, what."""
        self.arrived: list[bytes] = []
        """What reached the gate."""
        self._travelling: list[Dated] = []
        self._steps = 0

    def token(self) -> str:
        return f"t{next(self._numbers)}"

    # time

    def settle(self) -> None:
        """Let everything happen that happens now."""
        while self._turn():
            self._steps += 1
            assert self._steps < STEPS_MAX, "the world goes round in a circle"

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        until = self.now + seconds
        while True:
            self.settle()
            due = self.deadlines.next_at()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
            self._steps += 1
            assert self._steps < STEPS_MAX, "the world goes round in a circle"
        self.now = until
        self.settle()

    def _turn(self) -> bool:
        """One turn of every loop: events, commands, results, datagrams; False where nothing happened."""
        busy = False
        for event in self.endpoint.take_events():
            self.b2bua.handle(event, self.now)
            busy = True
        for command in self.b2bua.take_commands():
            self.store.submit(command)
            busy = True
        for result in self.store.results():
            self.b2bua.resolve(result, self.now)
            busy = True
        self.facts += self.b2bua.take_facts()
        if self.endpoint.loops and self.endpoint.hear_own(self.now):
            return True
        for phone in self.phones.values():
            for event in phone.endpoint.take_events():
                phone.take(event)
                busy = True
        return self._deliver() or busy

    def _deliver(self) -> bool:
        busy = False
        phones = ((at, phone.endpoint) for at, phone in self.phones.items())
        for source, endpoint in [(self.place, self.endpoint), *phones]:
            for flow, data in endpoint.take_output():
                target = (flow.host, flow.port)
                self._note(source, target, data)
                busy = True
                if not self.lose(source, target, data):
                    self._post(source, flow, data)
        return busy

    def _note(self, source: tuple[str, int], target: tuple[str, int], data: bytes) -> None:
        self.sent.append((self.now, source, target, parse(data)))

    def _post(self, source: tuple[str, int], flow: Flow, data: bytes) -> None:
        if self.delay_s:
            self.deadlines.at(self.now + self.delay_s, lambda now: self._arrive(source, flow, data))
        else:
            self._arrive(source, flow, data)

    def _arrive(self, source: tuple[str, int], flow: Flow, data: bytes) -> None:
        target, back = (flow.host, flow.port), Flow("udp", *source)
        if target == self.place:
            self.arrived.append(data)
            self.endpoint.receive(data, back, self.now)
        elif target in self.phones:
            self.phones[target].endpoint.receive(data, back, self.now)

    def inject(self, source: tuple[str, int], data: bytes) -> None:
        """Bytes that arrive at the gate as if ``source`` had sent them."""
        self.endpoint.receive(data, Flow("udp", *source), self.now)
        self.settle()

    # the gate dies and comes back

    def die(self) -> None:
        """As kill -9: whatever the gate would still do is never seen."""
        self.endpoint = Endpoint(Identity(*GATE), Deadlines(), self.token)
        self.b2bua = self._new_b2bua(Deadlines())

    def restart(self, proven_s: int = 0, at: tuple[str, int] = GATE) -> list[bool]:
        """A new gate, perhaps at another place, takes over what the store has; whether each call could be read."""
        self.place = at
        self.endpoint = Endpoint(Identity(*at), self.deadlines, self.token, allowed=self.allowed)
        self.b2bua = self._new_b2bua(self.deadlines)
        stored = self.store.live(proven_s)
        adopted = [self.b2bua.adopt(call, self.now) for call in stored]
        self.run(0.0)
        return adopted

    def _new_b2bua(self, deadlines: Deadlines) -> B2bua:
        return B2bua(
            self.endpoint,
            deadlines,
            lambda request, flow, now: self.decide(request, flow),
            self.settings,
            lambda now: EPOCH_MS + int((now - 1000.0) * 1000 + 1e-4),
            self.token,
            lambda: f"uuid-{next(self._numbers)}",
        )

    # whole calls

    def ring(self, **changed: object) -> ClientTransaction:
        """The caller calls and the called side rings."""
        sent = self.caller.invite(**changed)  # type: ignore[arg-type]
        self.called.answer("INVITE", 180, tag="b1")
        return sent

    def talk(self, **changed: object) -> tuple[Dialog, Dialog]:
        """A call that is answered and acknowledged: the caller's dialog and the called side's."""
        self.ring(**changed)
        transaction = self.called.answer("INVITE", 200, tag="b1", body=REPLY)
        dialog = self.caller.dialog()
        self.caller.ack(dialog)
        return dialog, self.called.served(transaction)

    def ok(self, phone: Phone, method: str) -> None:
        """The phone answers a request with 200."""
        phone.answer(method, 200)

    def is_clean(self) -> bool:
        """Nothing is left of any call in the gate."""
        left = (self.b2bua.legs, self.b2bua._thirsty, self.b2bua._emergencies)
        return len(self.b2bua) == 0 and not any(left)
