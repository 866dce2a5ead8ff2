"""A stand-in for a gate: a UDP relay with a Call-ID of its own on each leg, which refuses, cuts or loses on demand."""

import asyncio
import re
from dataclasses import dataclass

from loadtest.wire import Address

REFUSAL = 'Reason: Q.850;cause=21;text="x"\r\nWarning: 399 callgate "NO_CREDIT: credit exhausted"\r\n'
CREDIT = 'Reason: SIP;cause=402;text="credit exhausted"\r\nReason: Q.850;cause=21\r\n'


@dataclass
class Orders:
    """What the gate does wrong or of itself.  ``refuse_from``: the call from which on 402 is answered;
    ``stands_still_s``: how long it relays nothing from its first message on, to relay it all then."""

    refuse_from: int = 10**9
    cut_after_s: float | None = None
    cut_legs: str = "both"
    cut_reason: str = CREDIT
    lose_first: str = ""
    spoil: str = ""
    deaf: bool = False
    stands_still_s: float = 0.0


class FakeGate(asyncio.DatagramProtocol):
    """Relays between a calling and a called address; the far side's Call-ID is the near one's with ``b`` before it."""

    def __init__(self, callee: Address, orders: Orders) -> None:
        self.callee = callee
        self.orders = orders
        self.caller: Address | None = None
        self.lost: set[str] = set()
        self.calls: dict[str, str] = {}
        self.moves_at_s: float | None = None

    @classmethod
    async def start(cls, callee: Address, orders: Orders) -> "FakeGate":
        loop = asyncio.get_running_loop()
        transport, gate = await loop.create_datagram_endpoint(lambda: cls(callee, orders), local_addr=("127.0.0.1", 0))
        gate.transport = transport
        gate.here = Address(*transport.get_extra_info("sockname"))
        return gate

    def stop(self) -> None:
        self.transport.close()

    def datagram_received(self, raw: bytes, sender: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        if self.moves_at_s is None:
            self.moves_at_s = loop.time() + self.orders.stands_still_s
        if loop.time() < self.moves_at_s:
            loop.call_at(self.moves_at_s, self._hear, raw, sender)
        else:
            self._hear(raw, sender)

    def _hear(self, raw: bytes, sender: tuple[str, int]) -> None:
        text, orders = raw.decode("latin-1"), self.orders
        from_callee = Address(*sender) == self.callee
        if not from_callee:
            self.caller = Address(*sender)
        if orders.deaf or "CSeq: 1000 BYE" in text:
            return
        call_id = _header(text, "Call-ID").removeprefix("b")
        if text.startswith("INVITE") and call_id not in self.calls:
            self.calls[call_id] = ""
            if len(self.calls) >= orders.refuse_from:
                self.calls[call_id] = "refused"
        if self.calls.get(call_id) == "refused":
            if text.startswith("INVITE"):
                self._refuse(text)
            return
        kind = text.split("\r\n")[0]
        if orders.lose_first and kind.startswith(orders.lose_first) and call_id not in self.lost:
            self.lost.add(call_id)
            return
        if from_callee and kind == "SIP/2.0 200 OK" and "CSeq: 1 INVITE" in text and not self.calls[call_id]:
            self.calls[call_id] = text
            if orders.cut_after_s is not None:
                asyncio.get_running_loop().call_later(orders.cut_after_s, self._cut, text)
        self._relay(text, call_id, from_callee)

    def _relay(self, text: str, call_id: str, from_callee: bool) -> None:
        to, new_id = (self.caller, call_id) if from_callee else (self.callee, f"b{call_id}")
        assert to is not None
        text = re.sub(r"Call-ID: \S+", f"Call-ID: {new_id}", text)
        for end in (self.callee, self.caller):
            text = re.sub(rf"(?m)^(Contact: <sip:[^@]+@){re.escape(str(end))}>", rf"\g<1>{self.here}>", text)
        if from_callee and self.orders.spoil and self.orders.spoil in text:
            text = text.replace(self.orders.spoil, "")
        self.transport.sendto(text.encode("latin-1"), to)

    def _refuse(self, invite: str) -> None:
        top = "".join(f"{name}: {_header(invite, name)}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
        to = f"To: {_header(invite, 'To')};tag=gate\r\n"
        answer = f"SIP/2.0 402 Payment Required\r\n{top}{to}{REFUSAL}Content-Length: 0\r\n\r\n"
        self.transport.sendto(answer.encode(), self.caller)

    def _cut(self, answer: str) -> None:
        near, far = _header(answer, "From"), _header(answer, "To")
        call_id = _header(answer, "Call-ID")
        if self.orders.cut_legs in ("both", "callee"):
            self._bye(near, far, call_id, self.callee)
        if self.orders.cut_legs in ("both", "caller"):
            self._bye(far, near, call_id.removeprefix("b"), self.caller)

    def _bye(self, from_: str, to: str, call_id: str, address: Address | None) -> None:
        bye = (
            f"BYE sip:x@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {self.here};branch=z9hG4bKcut{call_id}\r\n"
            f"Max-Forwards: 70\r\nFrom: {from_}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1000 BYE\r\n"
            f"{self.orders.cut_reason}Content-Length: 0\r\n\r\n"
        )
        self.transport.sendto(bye.encode("latin-1"), address)


def _header(text: str, name: str) -> str:
    found = re.search(rf"(?m)^{name}: (.*)\r$", text)
    return found[1] if found else ""
