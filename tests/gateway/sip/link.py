"""Two endpoints on a link that loses, doubles and reorders as a seed says, in a time of its own."""

import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import Dialog
from gateway.sip.endpoint import Endpoint, Identity, Limits, Timers
from gateway.sip.events import AckArrived, Event, Flow, InviteArrived, RequestArrived, ResponseArrived
from gateway.sip.message import Request, Response, parse
from gateway.sip.transaction import ClientTransaction, ServerTransaction

ANN = ("192.0.2.1", 5060)
BOB = ("192.0.2.2", 5060)


class Side:
    """An endpoint with what happened to it; ``sent`` and ``heard`` are the datagrams that left and came."""

    def __init__(self, address: tuple[str, int], timers: Timers, limits: Limits, transport: str) -> None:
        tokens = count(1)
        self.transport = transport
        self.address = address
        self.deadlines = Deadlines()
        self.endpoint = Endpoint(
            Identity(*address), self.deadlines, lambda: f"{address[0][-1]}x{next(tokens)}", timers, limits
        )
        self.events: list[Event] = []
        self.sent: list[tuple[float, bytes]] = []

    @property
    def flow(self) -> Flow:
        """Where others send to reach this side."""
        return Flow(self.transport, *self.address)

    def got(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def statuses(self) -> list[int]:
        return [event.response.status for event in self.got(ResponseArrived)]

    def lines(self) -> list[str]:
        """The sent messages by method or status, in order."""
        return [label(data) for _, data in self.sent]

    def times(self, name: str) -> list[float]:
        """When messages of that label were sent."""
        return [round(at_s, 3) for at_s, data in self.sent if label(data) == name]


def label(data: bytes) -> str:
    message = parse(data)
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq[1]}"


@dataclass
class Link:
    """``loss`` and ``repeat`` are chances per datagram; ``jitter_s`` is added to each at random.

    ``drop`` takes labels (``INVITE``, ``200 INVITE``, …) of which nothing arrives while they stand in it.
    """

    seed: int = 0
    loss: float = 0.0
    repeat: float = 0.0
    jitter_s: float = 0.0
    delay_s: float = 0.01
    transport: str = "udp"
    timers: Timers = field(default_factory=Timers)
    limits: Limits = field(default_factory=Limits)
    drop: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.now = 0.0
        self.ann = Side(ANN, self.timers, self.limits, self.transport)
        self.bob = Side(BOB, self.timers, self.limits, self.transport)
        self.sides = {ANN: self.ann, BOB: self.bob}
        self._order = count()
        self._flight: list[tuple[float, int, tuple[str, int], bytes, Flow]] = []

    def run(self, until_s: float) -> None:
        """Let time pass; whatever is due happens in order."""
        while True:
            self._collect()
            moments = [entry[0] for entry in self._flight[:1]]
            moments += [at_s for side in self.sides.values() if (at_s := side.deadlines.next_at()) is not None]
            if not moments or min(moments) > until_s:
                break
            self.now = max(self.now, min(moments))
            for side in self.sides.values():
                side.deadlines.run(self.now)
            while self._flight and self._flight[0][0] <= self.now:
                _, _, address, data, flow = self._flight.pop(0)
                self.sides[address].endpoint.receive(data, flow, self.now)
        self.now = until_s

    def _collect(self) -> None:
        for side in self.sides.values():
            side.events += side.endpoint.take_events()
            for flow, data in side.endpoint.take_output():
                side.sent.append((self.now, data))
                for _ in range(1 + (self.rng.random() < self.repeat)):
                    if self.rng.random() >= self.loss and label(data) not in self.drop:
                        arrives = self.now + self.delay_s + self.rng.random() * self.jitter_s
                        address = (flow.host, flow.port)
                        self._flight.append((arrives, next(self._order), address, data, side.flow))
        self._flight.sort()

    def invite(self, **more: Any) -> ClientTransaction:
        """Ann calls Bob."""
        return self.ann.endpoint.request(
            "INVITE",
            "sip:bob@192.0.2.2",
            self.bob.flow,
            from_="<sip:ann@192.0.2.1>;tag=ann",
            to="<sip:bob@192.0.2.2>",
            call_id="call-1",
            cseq=1,
            contact="<sip:192.0.2.1>",
            now=self.now,
            **more,
        )

    def ask(self, method: str = "INFO", **more: Any) -> ClientTransaction:
        """Ann asks Bob something within a dialog."""
        return self.ann.endpoint.request(
            method,
            "sip:bob@192.0.2.2",
            self.bob.flow,
            from_="<sip:ann@192.0.2.1>;tag=ann",
            to="<sip:bob@192.0.2.2>;tag=bob",
            call_id="call-1",
            cseq=2,
            now=self.now,
            **more,
        )

    def asked(self) -> ServerTransaction:
        """The transaction of what reached Bob last."""
        transaction = self.bob.got(InviteArrived | RequestArrived)[-1].transaction  # type: ignore[arg-type]
        assert isinstance(transaction, ServerTransaction)
        return transaction

    def answer(self, status: int, **more: Any) -> None:
        """Bob answers what reached him last."""
        self.bob.endpoint.respond(self.asked(), status, contact="<sip:192.0.2.2>", now=self.now, **more)

    def acknowledge(self) -> bytes:
        """Ann acknowledges Bob's 2xx."""
        response = self.ann.got(ResponseArrived)[-1].response
        assert isinstance(response, Response)
        dialog = Dialog.as_client(response, "sip:bob@192.0.2.2")
        return self.ann.endpoint.ack(dialog.ack(response.cseq[0]), self.bob.flow)

    def acks(self) -> int:
        """ACKs that reached Bob's user."""
        return len(self.bob.got(AckArrived))
