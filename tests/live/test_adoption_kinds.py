"""Calls that are adopted after a kill as any other: over TCP, by several workers, and those that nobody pays."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.wire import Address, Dialog, Heard, hear, request, response, sdp, uri_in
from tests.live.phone import until
from tests.live.sides import PBX, Caller, Side, books_are_whole, dialogs_of_callee, follow, say, usage

pytestmark = pytest.mark.peer("redis-server")

MakeGate = Callable[..., Gate]
CREDIT = {"credit": "tick_s = 4\nrenew_lead_s = 1.0"}


class Stream:
    """A caller over TCP whose Contact is where it listens, or a port where nobody does."""

    def __init__(self, gate: Address, *, listens: bool) -> None:
        self.gate = gate
        self.listener = socket.create_server((PBX, 0)) if listens else None
        self.sock = socket.create_connection(tuple(gate), 10, (PBX, 0))
        own = self.listener or self.sock
        self.here = Address(*own.getsockname()[:2])
        self._left = b""

    def connect(self) -> None:
        """Again, to the gate or as it wishes."""
        self.sock.close()
        self._left = b""
        if self.listener is not None:
            self.listener.settimeout(10)
            self.sock, _ = self.listener.accept()
        else:
            self.sock = socket.create_connection(tuple(self.gate), 10, (PBX, 0))
        self.sock.settimeout(10)

    def read(self) -> Heard:
        while True:
            head, blank, rest = self._left.partition(b"\r\n\r\n")
            if blank:
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                if len(rest) >= length:
                    self._left = rest[length:]
                    return hear(head + blank + rest[:length])
            data = self.sock.recv(65536)
            assert data, "the gate closed the connection"
            self._left += data

    def final(self, method: str) -> Heard:
        while True:
            heard = self.read()
            if heard.status >= 200 and heard.method == method:
                return heard

    def send(self, dialog: Dialog, method: str, body: str = "") -> None:
        data = request(dialog, method, f"z9hG4bK-{method}-{dialog.cseq}", body)
        self.sock.sendall(data.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP"))

    def call(self) -> Dialog:
        local = f"<sip:+14255550000@{self.here}>;tag=stream"
        target, contact = f"sip:+442079460000@{self.gate}", f"sip:+14255550000@{self.here};transport=tcp"
        dialog = Dialog(self.here, f"tcp-{self.here.port}", local, f"<{target}>", contact, target, self.gate, cseq=1)
        self.send(dialog, "INVITE", sdp(self.here, 1))
        answer = self.final("INVITE")
        assert answer.status == 200
        dialog.remote = answer.first("to")
        dialog.learn(uri_in(answer.first("contact")), [])
        self.send(dialog, "ACK")
        return dialog

    def close(self) -> None:
        self.sock.close()
        if self.listener is not None:
            self.listener.close()


@pytest.fixture
def callee(carrier: Address) -> Iterator[Side]:
    side = Side(carrier)
    yield side
    side.close()


@pytest.fixture
def make_caller() -> Iterator[Callable[[Gate], Caller]]:
    made: list[Caller] = []

    def make(gate: Gate) -> Caller:
        made.append(Caller(gate.sip))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def kill_workers(gate: Gate, *indexes: int) -> list[int]:
    """Kill workers by slot, all where none is named; which processes that were."""
    pids = gate.pids()["worker"]
    killed = [pids[index] for index in indexes] if indexes else pids
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(found := gate.pids()["worker"]) == len(pids) and not {*found} & {*killed}, 30.0)
    return killed


def spent(rows: list[dict[str, Any]]) -> str:
    return f"{10 - sum(int(row['Charge Micros']) for row in rows) / 1_000_000:.6f}"


@pytest.mark.parametrize("listens", [True, False], ids=["is connected to", "connects again"])
def test_a_caller_whose_connection_died_with_the_worker(make_gate: MakeGate, callee: Side, listens: bool) -> None:
    gate = make_gate("contoso", sections=CREDIT)
    gate.start()
    caller = Stream(gate.sip, listens=listens)
    with contextlib.closing(caller):
        dialog = caller.call()
        (far,) = dialogs_of_callee(callee)
        kill_workers(gate)
        callee.asked("OPTIONS")
        if not listens:
            time.sleep(3.0)  # the gate tries in vain meanwhile, where the caller said that it is
        caller.connect()
        if listens:
            asked = caller.read()
            assert asked.method == "OPTIONS"
            caller.sock.sendall(response(asked, 200))
        dialog.cseq = 2
        if listens:
            assert say(callee, far, "BYE").status == 200
            assert caller.read().method == "BYE"
        else:
            caller.send(dialog, "BYE")
            assert caller.final("BYE").status == 200
            callee.asked("BYE")
    rows = usage_when_booked(gate)
    assert [row["Reason Code"] for row in rows] == ["COMPLETED"]
    books_are_whole(gate, spent(rows))
    assert gate.stop() == 0


def usage_when_booked(gate: Gate) -> list[dict[str, Any]]:
    assert gate.wait_booked(60.0)
    return usage(gate)


def test_one_of_two_workers_is_killed_and_one_is_there_no_more_after_a_restart(
    make_gate: MakeGate, make_caller: Callable[[Gate], Caller], callee: Side
) -> None:
    """Calls of both are adopted each by its slot; then by the only slot, which moves them to where it hears now."""
    gate = make_gate("contoso", workers=2, sections={**CREDIT, "sip": "drain_s = 0"})
    gate.start()
    callers = [make_caller(gate) for _ in range(8)]
    dialogs = [caller.call() for caller in callers]
    assert len({dialog.next_hop.port for dialog in dialogs}) == 2, "each worker has a port of its own"
    kill_workers(gate, 0)
    until(lambda: any(caller.count("OPTIONS") for caller in callers), 30.0)
    time.sleep(1.0)
    killed = [caller for caller in callers if caller.count("OPTIONS")]
    assert 0 < len(killed) < 8, "the calls of the other worker go on as if nothing had been"
    assert callers[0].say(dialogs[0], "BYE").status == 200
    callers.pop(0)
    dialogs.pop(0)
    assert gate.stop() == 0
    gate.config.write_text(gate.config.read_text().replace("workers = 2", "workers = 1"))
    since = [len(caller.heard) for caller in callers]
    gate.start()
    for caller, dialog, start in zip(callers, dialogs, since, strict=True):
        moved = follow(caller, dialog, start, within_s=20.0)
        assert f"{gate.sip}" in moved.first("contact")
    for caller, dialog in zip(callers, dialogs, strict=True):
        assert caller.count("BYE") == 0
        assert caller.say(dialog, "BYE").status == 200
    rows = usage_when_booked(gate)
    assert [row["Reason Code"] for row in rows] == ["COMPLETED"] * 8
    books_are_whole(gate, spent(rows))
    assert gate.stop() == 0


@pytest.mark.parametrize(("number", "longest_s"), [("911", 7), ("+14255550000", 14_400)], ids=["emergency", "on-net"])
def test_a_call_that_nobody_pays_is_adopted_and_one_of_emergency_has_no_longest_time(
    make_gate: MakeGate,
    make_caller: Callable[[Gate], Caller],
    carrier: Address,
    callee: Side,
    number: str,
    longest_s: int,
) -> None:
    """Its record has the kind of any call of its caller: once it was taken for an ordinary one from then on."""
    lines = "options_ping_s = 0\nemergency = true"
    trunks = Trunks([PBX], [carrier.host], [f"sip:{carrier}"], [f"sip:{carrier}"], 'tenant = "contoso"', lines)
    gate = make_gate("contoso", funds="0.002", sections={"sip": f"max_call_s = {longest_s}"}, trunks=trunks)
    gate.start()
    caller = make_caller(gate)
    dialog, began_s = caller.call(number), time.monotonic()
    kill_workers(gate)
    for side in (caller, callee):
        side.asked("OPTIONS")
    (live,) = gate.run("calls", "--json").document()
    assert (live["to"], live["paid_until"]) == (number, None)
    if number == "911":
        time.sleep(max(0.0, began_s + longest_s + 1.0 - time.monotonic()))
    assert caller.count("BYE") == 0
    assert caller.say(dialog, "BYE").status == 200
    callee.asked("BYE")
    (row,) = usage_when_booked(gate)
    assert (row["Reason Code"], int(row["Charge Micros"])) == ("COMPLETED", 0)
    books_are_whole(gate, "0.002000")
    assert gate.stop() == 0
