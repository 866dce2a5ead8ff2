"""Calls outlive the gate: processes are killed under live calls, and peers notice nothing but a late answer."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.config.settings import load
from gateway.ledger import ledger_url
from gateway.supervisor.binding import bind
from gateway.worker.plan import GIVEN_UP, READY, Plan, encode_plan
from loadtest.bench.gate import Gate
from loadtest.wire import Address, request, response, sdp, sip_cause
from tests.live.sides import Caller, Side, books_are_whole, dialog_of_callee, say, usage

pytestmark = pytest.mark.peer("redis-server")

MakeGate = Callable[..., Gate]


@pytest.fixture
def callee(carrier: Address) -> Iterator[Side]:
    side = Side(carrier)
    yield side
    side.close()


@pytest.fixture
def callers() -> Iterator[Callable[[Gate], Caller]]:
    made: list[Caller] = []

    def make(gate: Gate) -> Caller:
        made.append(Caller(gate.sip))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def kill_worker(gate: Gate) -> int:
    """As kill -9; returns when the next worker of the slot accepts calls."""
    (pid,) = gate.pids()["worker"]
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_all(gate: Gate) -> None:
    """Every process of the gate at once, an embedded Redis too."""
    assert gate.process is not None
    pids = [pid for some in gate.pids().values() for pid in some]
    file = gate.folder / "state" / "redis" / "redis.pid"
    if file.exists():
        pids.append(int(file.read_text()))
    gate.process.kill()
    for pid in {*pids} - {gate.redis.pid if gate.redis is not None else 0}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gate.process.wait(10)
    if gate.redis is not None:
        gate.stop_redis()


# the worker is killed


def test_after_a_killed_worker_either_side_hangs_up_and_is_charged(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 2\nrenew_lead_s = 1.0"})
    gate.start()
    talked_s = []
    for by_caller in (True, False):
        caller = callers(gate)
        dialog = caller.call()
        answered_s = caller.wait(lambda heard: heard.status == 200)[0]
        since, far_since = len(caller.heard), len(callee.heard)
        time.sleep(0.3)
        kill_worker(gate)
        for side, start in ((caller, since), (callee, far_since)):
            assert side.asked("OPTIONS", start)[1].cseq > 100
        time.sleep(2.2)  # a tick later
        sender, other, from_ = (caller, callee, dialog) if by_caller else (callee, caller, dialog_of_callee(callee))
        start = len(other.heard)
        assert say(sender, from_, "BYE").status == 200
        talked_s.append(time.monotonic() - answered_s)
        other.asked("BYE", start)
    assert gate.wait_booked()
    rows = usage(gate)
    charged = sorted(int(row["Charge Micros"]) for row in rows)
    spent = sum(charged)
    for micros, seconds in zip(charged, sorted(talked_s), strict=True):
        assert seconds - 1.0 < micros / 1000 < seconds + 1.1
    books_are_whole(gate, f"9.{1_000_000 - spent:06d}")
    assert {row["Reason Code"] for row in rows} == {"COMPLETED"}
    assert "caused a fault" not in gate.log.read_text()
    assert gate.stop() == 0


def test_after_a_killed_worker_an_offer_is_carried_and_money_ends_the_call_at_its_moment(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", funds="0.006", sections={"credit": "tick_s = 2\nrenew_lead_s = 1.0"})
    gate.start()
    caller = callers(gate)
    dialog = caller.call()
    answered_s = caller.wait(lambda heard: heard.status == 200)[0]
    time.sleep(0.5)
    kill_worker(gate)
    start = len(callee.heard)
    answer = caller.say(dialog, "INVITE", sdp(caller.here, 7))
    assert answer.status == 200
    assert "o=- 2" in answer.body
    caller.sock.sendto(request(dialog, "ACK", "z9hG4bK-again"), dialog.next_hop)
    offered = callee.asked("INVITE", start)[1]
    assert "o=- 7" in offered.body
    assert offered.cseq > 100
    assert callee.asked("ACK", start)[1].cseq == offered.cseq
    for side in (caller, callee):
        at_s, bye = side.asked("BYE")
        assert sip_cause(bye) == 402
        assert 5.95 < at_s - answered_s < 6.25, at_s - answered_s
    books_are_whole(gate, "0.000000")
    assert gate.stop() == 0


def test_after_a_killed_worker_unanswered_calls_are_refused_and_cancelled(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso")
    gate.start()
    callee.rings_only = True
    caller = callers(gate)
    dialog = caller.invite()
    caller.wait(lambda heard: heard.status == 180)
    kill_worker(gate)
    _, refusal = caller.wait(lambda heard: heard.status >= 200)
    assert (refusal.status, "RESTARTED" in refusal.first("warning")) == (500, True)
    dialog.remote = refusal.first("to")
    caller.sock.sendto(request(dialog, "ACK", f"z9hG4bK-{dialog.call_id}-1"), gate.sip)
    invite, cancel = callee.asked("INVITE")[1], callee.asked("CANCEL")[1]
    assert (cancel.branch, cancel.uri, cancel.cseq) == (invite.branch, invite.uri, invite.cseq)
    callee.sock.sendto(response(invite, 487, "callee"), tuple(gate.sip))
    assert callee.asked("ACK")[1].branch == invite.branch
    time.sleep(1.5)
    assert sum(heard.status == 500 for _, heard in caller.heard) == 1, "its ACK was absorbed"
    books_are_whole(gate, "10.000000")
    assert gate.stop() == 0


def test_a_peer_that_is_gone_meanwhile_ends_the_call_at_its_last_proven_moment(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 2\nrenew_lead_s = 1.0"})
    gate.start()
    caller = callers(gate)
    caller.call()
    time.sleep(1.5)
    callee.answers = False
    kill_worker(gate)
    _, probe = callee.asked("OPTIONS")
    callee.sock.sendto(response(probe, 481), tuple(gate.sip))
    assert sip_cause(caller.asked("BYE")[1]) == 408
    callee.answers = True
    assert gate.wait_booked()
    (row,) = usage(gate)
    assert (row["Reason Code"], int(row["Charge Micros"])) == ("DEAD_PEER", 1_000)
    books_are_whole(gate, "9.999000")
    assert gate.stop() == 0


# everything is killed


@pytest.mark.parametrize("own_redis", [True, False], ids=["own", "embedded"])
def test_a_whole_gate_is_killed_and_started_again_by_hand(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side, own_redis: bool
) -> None:
    gate = make_gate("contoso", own_redis=own_redis, sections={"credit": "tick_s = 4\nrenew_lead_s = 1.0"})
    gate.start()
    first, second = callers(gate), callers(gate)
    dialog, other = first.call(), second.call()
    time.sleep(2.5)  # Redis' file is written each second
    kill_all(gate)
    gate.own_redis = False
    if own_redis:
        gate.start_redis()
    gate.start()
    assert first.say(dialog, "BYE").status == 200
    assert second.say(other, "INVITE", sdp(second.here, 5)).status == 200
    second.sock.sendto(request(other, "ACK", "z9hG4bK-again"), other.next_hop)
    assert second.say(other, "BYE").status == 200
    assert gate.wait_booked()
    rows = usage(gate)
    assert [row["Reason Code"] for row in rows] == ["COMPLETED"] * 2
    assert all(int(row["Charge Micros"]) >= 3_000 for row in rows)
    books_are_whole(gate, f"9.{1_000_000 - sum(int(row['Charge Micros']) for row in rows):06d}")
    assert gate.stop() == 0


def test_calls_are_adopted_when_redis_comes_after_the_gate(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso")
    gate.start()
    caller = callers(gate)
    dialog = caller.call()
    time.sleep(2.5)  # Redis' file is written each second
    kill_all(gate)
    gate.own_redis = False
    gate.start()
    later = threading.Timer(1.5, gate.start_redis)
    later.start()
    since = len(callee.heard)
    assert caller.say(dialog, "BYE", within_s=25.0).status == 200, "it waits for its call, and gets no 481"
    later.join()
    callee.asked("BYE", since)
    assert gate.wait_booked()
    (row,) = usage(gate)
    assert row["Reason Code"] == "COMPLETED"
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    assert gate.stop() == 0


def test_talk_beyond_paid_time_is_paid_or_cut_when_the_gate_is_back(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", "rich", funds="0.002", sections={"credit": "tick_s = 2\nrenew_lead_s = 0.5"})
    assert gate.run("fund", "rich", "10", "--reference", "more").status == 0
    gate.start()
    caller = callers(gate)
    caller.call()
    time.sleep(1.2)
    assert gate.process is not None
    gate.process.kill()
    gate.process.wait(10)
    time.sleep(3.0)
    gate.start()
    for side in (caller, callee):
        assert sip_cause(side.asked("BYE")[1]) == 402
    assert gate.wait_booked()
    (row,) = usage(gate)
    assert int(row["Charge Micros"]) == 2_000
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    assert gate.stop() == 0


# a worker that was stopped, and wakes when its calls are another's


class Worker:
    """One worker process, started by hand with a plan."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.supervisor.process", "worker", "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, pass_fds=plan.descriptors,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(encode_plan(plan))
        self.process.stdin.flush()

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().decode().strip() == READY

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.log):
            assert stream is not None
            stream.close()


def test_a_worker_that_wakes_after_its_calls_are_anothers_says_nothing(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side, tmp_path: Path
) -> None:
    """Two starts of one slot by hand: the first is stopped, and wakes with every deadline overdue."""
    gate = make_gate("contoso", funds="0.008", sections={"credit": "tick_s = 2\nrenew_lead_s = 1.0"})
    gate.start()  # for a Redis with accounts and a snapshot of the directory
    assert gate.stop() == 0
    settings = load(str(gate.config))
    bound = bind(settings, sip=True, admin=False)
    url = f"unix://{gate.redis_socket}"
    common = Plan("worker", settings, url, ledger_url(settings.ledger.url, settings.data_dir), "by hand")
    plan = bound.give_to(0, common)
    old, new = Worker(plan, tmp_path / "old.log"), None
    try:
        old.wait_ready()
        caller = callers(gate)
        dialog = caller.call()
        answered_s = caller.wait(lambda heard: heard.status == 200)[0]
        old.process.send_signal(signal.SIGSTOP)
        new = Worker(plan, tmp_path / "new.log")
        new.wait_ready()
        for side in (caller, callee):
            side.asked("OPTIONS")
        new.process.send_signal(signal.SIGSTOP)  # so that every word from here on is the old one's
        time.sleep(max(0.0, answered_s + 4.5 - time.monotonic()))  # its ticks and its cut are overdue
        heard = len(caller.heard), len(callee.heard)
        old.process.send_signal(signal.SIGCONT)
        caller.sock.sendto(request(dialog, "INFO", "z9hG4bK-stray"), tuple(gate.sip))
        assert old.process.wait(10) == GIVEN_UP
        assert (len(caller.heard), len(callee.heard)) == heard
        new.process.send_signal(signal.SIGCONT)
        for side in (caller, callee):
            side.asked("BYE", within_s=15.0)
    finally:
        old.end()
        if new is not None:
            new.end()
        bound.close()


def test_a_worker_that_stood_still_but_was_not_replaced_goes_on(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 30\nrenew_lead_s = 1.0"})
    gate.start()
    caller = callers(gate)
    dialog = caller.call()
    (pid,) = gate.pids()["worker"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4.0)
    os.kill(pid, signal.SIGCONT)
    assert caller.say(dialog, "BYE").status == 200
    callee.asked("BYE")
    assert "stood still" in gate.log.read_text()
    assert gate.wait_booked()
    assert gate.stop() == 0


# a restart in order


def test_a_restart_drops_no_call_and_charges_all(
    make_gate: MakeGate, callers: Callable[[Gate], Caller], callee: Side
) -> None:
    gate = make_gate("contoso", sections={"sip": "drain_s = 1", "credit": "tick_s = 4\nrenew_lead_s = 1.0"})
    gate.start()
    some = [callers(gate) for _ in range(5)]
    dialogs = [caller.call() for caller in some]
    assert gate.stop() == 0
    gate.start()
    for caller, dialog in zip(some, dialogs, strict=True):
        assert caller.count("BYE") == 0
        assert caller.say(dialog, "BYE").status == 200
    assert gate.wait_booked()
    rows = usage(gate)
    assert [row["Reason Code"] for row in rows] == ["COMPLETED"] * 5
    assert all(int(row["Charge Micros"]) >= 2_000 for row in rows)
    books_are_whole(gate, f"9.{1_000_000 - sum(int(row['Charge Micros']) for row in rows):06d}")
    assert gate.stop() == 0
