"""Telephones with threads of their own, for tests in which processes die under live calls; and what the books say then.

Unlike tests.live.phone these answer by themselves, and keep with each message the moment it came.
"""

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from loadtest.bench.gate import Gate
from loadtest.wire import ALLOW, Address, Dialog, Heard, hear, request, response, sdp, tag_of, uri_in

PBX = "127.0.0.2"
NUMBER = "+442079460000"


class Side:
    """A telephone with a thread of its own: it answers what it is asked, and keeps what it heard, with the moment.

    ``gone`` are Call-IDs of calls that it has hung up already (481); without ``updates`` it does not know UPDATE.
    """

    def __init__(self, address: Address, *, updates: bool = True) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(tuple(address))
        self.here = Address(*self.sock.getsockname()[:2])
        self.heard: list[tuple[float, Heard]] = []
        self.answers = True
        self.rings_only = False
        self.updates = updates
        self.gone: set[str] = set()
        self._new = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._thread.join(5)
        self.sock.close()

    def _listen(self) -> None:
        while not self._over:
            if not select.select([self.sock], [], [], 0.1)[0]:
                continue
            data, peer = self.sock.recvfrom(65535)
            heard = hear(data)
            with self._new:
                self.heard.append((time.monotonic(), heard))
                self._new.notify_all()
            if self.answers and not heard.status and heard.method != "ACK":
                self.sock.sendto(self._answer(heard), peer)

    def _answer(self, heard: Heard) -> bytes:
        if heard.call_id in self.gone:
            return response(heard, 481)
        if heard.method != "INVITE":
            return response(heard, 200)
        status = 180 if self.rings_only else 200
        body = "" if self.rings_only else sdp(self.here, 2)
        return self._without(response(heard, status, "callee", f"sip:{self.here}", body))

    def _without(self, message: bytes) -> bytes:
        return message if self.updates else message.replace(b", UPDATE", b"")

    def wait(self, wanted: Callable[[Heard], bool], since: int = 0, within_s: float = 10.0) -> tuple[float, Heard]:
        """The first message heard from number ``since`` on that is wanted."""
        until_s = time.monotonic() + within_s
        with self._new:
            while True:
                for at_s, heard in self.heard[since:]:
                    if wanted(heard):
                        return at_s, heard
                assert self._new.wait(until_s - time.monotonic()), [(h.status, h.method) for _, h in self.heard]

    def asked(self, method: str, since: int = 0, within_s: float = 10.0) -> tuple[float, Heard]:
        return self.wait(lambda heard: not heard.status and heard.method == method, since, within_s)

    def count(self, method: str, since: int = 0) -> int:
        return sum(not heard.status and heard.method == method for _, heard in self.heard[since:])


class Caller(Side):
    def __init__(self, gate: Address, *, number: str = "+14255550000", updates: bool = False) -> None:
        super().__init__(Address(PBX, 0), updates=updates)
        self.number = number
        self.gate = gate
        self._calls = 0

    def invite(self, number: str = NUMBER) -> Dialog:
        self._calls += 1
        call = f"{self.here.port}-{self._calls}"
        target = f"sip:{number}@{self.gate}"
        contact = f"sip:{self.number}@{self.here}"
        local = f"<sip:{self.number}@{self.here}>;tag={call}"
        dialog = Dialog(self.here, call, local, f"<{target}>", contact, target, self.gate, cseq=1)
        allow = f"Allow: {ALLOW}\r\n"
        data = request(dialog, "INVITE", f"z9hG4bK-{call}-1", sdp(self.here, 1), allow)
        self.sock.sendto(self._without(data), self.gate)
        return dialog

    def call(self, number: str = NUMBER) -> Dialog:
        dialog = self.invite(number)
        _, final = self.wait(lambda heard: heard.call_id == dialog.call_id and heard.status >= 200)
        assert final.status == 200
        dialog.remote = final.first("to")
        dialog.learn(uri_in(final.first("contact")), [])
        self.sock.sendto(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-ack"), dialog.next_hop)
        return dialog

    def say(self, dialog: Dialog, method: str, body: str = "", within_s: float = 10.0) -> Heard:
        """A request in the dialog, repeated as RFC 3261 has it; its final answer."""
        return say(self, dialog, method, body, within_s)


def say(side: Side, dialog: Dialog, method: str, body: str = "", within_s: float = 10.0) -> Heard:
    dialog.cseq += 1
    since, until_s, pause_s = len(side.heard), time.monotonic() + within_s, 0.5
    data = request(dialog, method, f"z9hG4bK-{tag_of(dialog.local)}-{dialog.cseq}", body)

    def final(heard: Heard) -> bool:
        return heard.status >= 200 and heard.cseq == dialog.cseq and heard.call_id == dialog.call_id

    while True:
        side.sock.sendto(data, dialog.next_hop)
        try:
            return side.wait(final, since, pause_s)[1]
        except AssertionError:
            pause_s = min(2 * pause_s, 4.0)
            if time.monotonic() > until_s:
                raise


def dialog_of_callee(callee: Side) -> Dialog:
    """The called side's own dialog, from the INVITE that opened the last call it got."""
    return dialogs_of_callee(callee)[-1]


def dialogs_of_callee(callee: Side) -> list[Dialog]:
    """As :func:`dialog_of_callee`, of every call, oldest first."""
    invites = {heard.call_id: heard for _, heard in callee.heard if is_first(heard)}
    return [_answered(callee, invite) for invite in invites.values()]


def is_first(heard: Heard) -> bool:
    return heard.method == "INVITE" and not heard.status and not tag_of(heard.first("to"))


def _answered(callee: Side, invite: Heard) -> Dialog:
    target = uri_in(invite.first("contact"))
    local = f"{invite.first('to')};tag=callee"
    dialog = Dialog(callee.here, invite.call_id, local, invite.first("from"), f"sip:{callee.here}", target, callee.here)
    dialog.learn(target, [])
    return dialog


def follow(side: Side, dialog: Dialog, since: int = 0, within_s: float = 10.0) -> Heard:
    """Wait until the gate moves this dialog (UPDATE or re-INVITE) and use its new Contact from then on."""
    _, moved = side.wait(
        lambda heard: not heard.status and heard.call_id == dialog.call_id and heard.method in ("UPDATE", "INVITE")
        and not is_first(heard), since, within_s,
    )  # fmt: skip
    dialog.learn(uri_in(moved.first("contact")), [])
    return moved


def usage(gate: Gate, tenant: str = "contoso") -> list[dict[str, Any]]:
    done = gate.run("usage", "--tenant", tenant, "--format", "json")
    assert done.status == 0, done.err
    rows = json.loads(done.out)
    return list(rows["calls"] if isinstance(rows, dict) else rows)


def books_are_whole(gate: Gate, balance: str) -> None:
    assert gate.wait_booked()
    found = gate.run("balance", "contoso", "--json").document()
    assert (found["balance"], found["held"], found["unsynced"]) == (balance, "0.000000", "0.000000")
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
