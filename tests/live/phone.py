"""A telephone for whole-process tests, and what they do to a gate beside calling it."""

import socket
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from loadtest.bench.gate import Gate
from loadtest.wire import Address, Dialog, Heard, hear, request, response, sdp, uri_in

PBX = "127.0.0.2"


class Phone:
    """One caller on a UDP socket who does what the test says, one call at a time."""

    def __init__(self, gate: Address, host: str = PBX) -> None:
        self.gate = gate
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        weakref.finalize(self, self.sock.close)  # a test that fails must not spoil those after it
        self.sock.bind((host, 0))
        self.sock.settimeout(10)
        self.here = Address(*self.sock.getsockname()[:2])
        self._calls = 0

    def invite(self, number: str, extra: str = "") -> Dialog:
        """Place a call; ``extra`` is whole header lines with their line ends."""
        self._calls += 1
        call = f"{self.here.port}-{self._calls}"
        local, contact = f"<sip:+14255550000@{self.here}>;tag={call}", f"sip:+14255550000@{self.here}"
        target = f"sip:{number}@{self.gate}"
        dialog = Dialog(self.here, call, local, f"<{target}>", contact, target, self.gate, cseq=1)
        self.send(request(dialog, "INVITE", f"z9hG4bK-{call}-1", sdp(self.here, 1), extra))
        return dialog

    def call(self, number: str) -> tuple[Dialog, Heard]:
        """Place a call and return its final answer; a 200 is acknowledged, a refusal too."""
        dialog = self.invite(number)
        final = self.wait(lambda heard: heard.method == "INVITE" and heard.status >= 200)
        dialog.remote = final.first("to")
        if final.status == 200:
            dialog.learn(uri_in(final.first("contact")), [])
            self.send(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-ack"), dialog.next_hop)
        else:
            self.send(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-1"))
        return dialog, final

    def acknowledge(self, dialog: Dialog) -> None:
        """Take the 200 to the INVITE of this dialog."""
        final = self.wait(
            lambda heard: heard.method == "INVITE" and heard.status >= 200 and heard.call_id == dialog.call_id
        )
        assert final.status == 200
        dialog.remote = final.first("to")
        dialog.learn(uri_in(final.first("contact")), [])
        self.send(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-ack"), dialog.next_hop)

    def answer(self, method: str) -> Heard:
        """Be called: wait for a request of this method and answer it with 200."""
        asked = self.wait(lambda heard: heard.status == 0 and heard.method == method)
        body = sdp(self.here, 2) if method == "INVITE" else ""
        self.send(response(asked, 200, "callee", f"sip:{self.here}", body))
        return asked

    def ask(self) -> Heard:
        """OPTIONS outside any dialog: does the gate take calls?"""
        target = f"sip:{self.gate}"
        dialog = Dialog(self.here, f"{self.here.port}-o", f"<{target}>;tag=o", f"<{target}>", target, target, self.gate)
        self.send(request(dialog, "OPTIONS", "z9hG4bK-o"))
        return self.wait(lambda heard: heard.method == "OPTIONS")

    def hang_up(self, dialog: Dialog) -> Heard:
        dialog.cseq += 1
        self.send(request(dialog, "BYE", f"z9hG4bK-{dialog.call_id}-bye"), dialog.next_hop)
        return self.wait(lambda heard: heard.method == "BYE" and heard.status >= 200)

    def wait_bye(self) -> Heard:
        bye = self.wait(lambda heard: heard.status == 0 and heard.method == "BYE")
        self.send(response(bye, 200))
        return bye

    def wait(self, wanted: Callable[[Heard], bool]) -> Heard:
        while True:
            heard = hear(self.sock.recv(65535))
            if wanted(heard):
                return heard

    def send(self, data: bytes, to: Address | None = None) -> None:
        self.sock.sendto(data, to or self.gate)


def until(true: Callable[[], bool], within_s: float = 15.0) -> None:
    give_up_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up_s, "it did not come to pass in time"
        time.sleep(0.05)


def cut_on_drain(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    start = gate.children.start

    def start_cutting(command: list[str], *rest: Any, **named: Any) -> Any:
        return start([*command, "--cut-on-drain"] if "serve" in command else command, *rest, **named)

    monkeypatch.setattr(gate.children, "start", start_cutting)
