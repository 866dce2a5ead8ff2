"""What a whole gate does with calls while its Redis is away, as each tenant's failure policy says (MONEY 8)."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from loadtest.bench.gate import Gate
from loadtest.wire import Heard, reason_code, request, sip_cause, uri_in
from tests.live.phone import until
from tests.live.test_adoption import Caller, Side, books_are_whole, callee, callers, kill_all, kill_worker, usage

__all__ = ["callee", "callers"]

pytestmark = pytest.mark.peer("redis-server")

MakeGate = Callable[..., Gate]
Callers = Callable[[Gate], Caller]

TICKS = "tick_s = 2\nrenew_lead_s = 1.0"
EXPOSURE = 'callgate_uncharged_exposure_micros{tenant="contoso"}'


def final_of(caller: Caller, within_s: float = 10.0) -> tuple[float, Heard]:
    """Place a call that may be refused; the moment and the text of its final answer."""
    dialog = caller.invite()
    at_s, final = caller.wait(lambda heard: heard.call_id == dialog.call_id and heard.status >= 200, within_s=within_s)
    dialog.remote = final.first("to")
    branch = f"z9hG4bK-{dialog.call_id}-1"
    if final.status == 200:
        dialog.learn(uri_in(final.first("contact")), [])
        branch += "-ack"
    caller.sock.sendto(request(dialog, "ACK", branch), dialog.next_hop)
    return at_s, final


def is_down(gate: Gate) -> bool:
    return gate.metrics().get("callgate_redis_up") == 0.0


def journal(gate: Gate) -> bytes:
    """All that stands in the gate's journals; nothing once they are removed."""
    return b"".join(path.read_bytes() for path in (gate.folder / "state" / "exposure").glob("*"))


class Cable:
    """Cuts a gate from its Redis, which goes on: its socket gets another name, and every connection an end."""

    def __init__(self, gate: Gate) -> None:
        self._path = gate.redis_socket
        self._aside = self._path.with_suffix(".aside")

    def cut(self) -> None:
        self._path.rename(self._aside)
        with Redis(unix_socket_path=str(self._aside)) as redis:
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def mend(self) -> None:
        self._aside.rename(self._path)


@pytest.fixture
def patient() -> Iterator[list[threading.Timer]]:
    timers: list[threading.Timer] = []
    yield timers
    for timer in timers:
        timer.join()


# the policy "continue"


def continuing(make_gate: MakeGate, call: str, total: str, funds: str = "10") -> Gate:
    credit = f'{TICKS}\nfailure_ceiling = "{call}"\nfailure_ceiling_total = "{total}"'
    gate = make_gate("contoso", funds=funds, keys={"failure_policy": '"continue"'}, sections={"credit": credit})
    gate.start()
    return gate


def test_with_continue_calls_go_on_to_their_ceiling_and_are_charged_below_zero(
    make_gate: MakeGate, callers: Callers, callee: Side
) -> None:
    """The tenant has 5 seconds; 2 of them are held when Redis goes, and 4 may go uncharged for each call."""
    gate = continuing(make_gate, "0.004", "1.00", funds="0.005")
    old, new = callers(gate), callers(gate)
    old.call()
    began_s = time.monotonic()
    gate.stop_redis()
    new.call()
    new_began_s = time.monotonic()
    until(lambda: gate.metrics().get(EXPOSURE, 0.0) >= 4000)
    at_s, bye = new.asked("BYE")
    assert 3.9 < at_s - new_began_s < 4.9
    assert sip_cause(bye) == 503
    assert "go uncharged" in bye.first("reason")
    at_s, bye = old.asked("BYE")
    assert 5.9 < at_s - began_s < 6.9
    assert sip_cause(bye) == 503
    until(lambda: gate.metrics().get(EXPOSURE) == 8000.0)
    gate.start_redis()
    assert gate.wait_booked()
    books_are_whole(gate, "-0.005000")
    assert sorted((row["Reason Code"], row["Charge Micros"]) for row in usage(gate)) == [
        ("FAILURE_CEILING", 4000),
        ("FAILURE_CEILING", 6000),
    ]
    until(lambda: gate.metrics().get(EXPOSURE) == 0.0)
    until(lambda: journal(gate) == b"")
    _, refusal = final_of(new)
    assert (refusal.status, reason_code(refusal)) == (402, "NO_CREDIT")
    assert gate.stop() == 0


def test_with_continue_the_ceiling_of_the_tenant_refuses_the_next_call(
    make_gate: MakeGate, callers: Callers, callee: Side
) -> None:
    gate = continuing(make_gate, "1.00", "0.004")
    first, second, third = callers(gate), callers(gate), callers(gate)
    dialog = first.call()
    assert first.say(dialog, "BYE").status == 200
    assert gate.wait_booked()
    gate.stop_redis()
    until(lambda: is_down(gate))
    for caller in (first, second):
        caller.call()
    _, refusal = final_of(third)
    assert (refusal.status, reason_code(refusal)) == (503, "FAILURE_CEILING")
    for caller in (first, second):
        _, bye = caller.asked("BYE")
        assert sip_cause(bye) == 503
    gate.start_redis()
    assert gate.wait_booked()
    charges = sorted(int(row["Charge Micros"]) for row in usage(gate))
    assert charges[-2:] == [2_000, 2_000]
    books_are_whole(gate, f"9.{1_000_000 - sum(charges):06d}")
    assert gate.stop() == 0


def test_with_continue_a_worker_that_is_killed_while_redis_is_away_is_followed_by_one_that_goes_on(
    make_gate: MakeGate, callers: Callers, callee: Side
) -> None:
    """Three calls: one ends before the kill, one after it, one is cut at its ceiling; each is charged, once."""
    gate = continuing(make_gate, "0.008", "1.00")
    over, hangs_up, cut = callers(gate), callers(gate), callers(gate)
    ended = over.call()
    gate.stop_redis()
    dialog = hangs_up.call()
    cut.call()
    cut_began_s = time.monotonic()
    time.sleep(2.2)
    assert over.say(ended, "BYE").status == 200
    until(lambda: b'"end"' in journal(gate))
    kill_worker(gate)
    assert hangs_up.say(dialog, "BYE").status == 200, "its call is known, and has talked on"
    at_s, bye = cut.asked("BYE", within_s=15.0)
    assert at_s - cut_began_s > 7.9
    assert sip_cause(bye) == 503
    until(lambda: gate.metrics().get(EXPOSURE, 0.0) > 10_000)
    gate.start_redis()
    assert gate.wait_booked()
    charges = sorted((int(row["Charge Micros"]), row["Reason Code"]) for row in usage(gate))
    assert [code for _, code in charges] == ["COMPLETED", "COMPLETED", "FAILURE_CEILING"]
    assert charges[-1][0] == 8_000
    assert charges[0][0] > 2_000
    books_are_whole(gate, f"9.{1_000_000 - sum(micros for micros, _ in charges):06d}")
    until(lambda: gate.metrics().get(EXPOSURE, 0.0) == 0.0)
    until(lambda: journal(gate) == b"")
    assert gate.stop() == 0


def test_with_continue_a_whole_gate_that_is_killed_while_redis_is_away_goes_on_without_it(
    make_gate: MakeGate, callers: Callers, callee: Side
) -> None:
    gate = continuing(make_gate, "1.00", "1.00")
    first, second = callers(gate), callers(gate)
    assert first.say(first.call(), "BYE").status == 200  # the tenant is seen
    assert gate.wait_booked()
    time.sleep(1.5)  # Redis' file is written each second
    gate.stop_redis()
    dialog = second.call()
    began_s = time.monotonic()
    kill_all(gate)
    gate.own_redis = False
    gate.start()
    assert second.say(dialog, "BYE").status == 200
    talked_s = time.monotonic() - began_s
    gate.start_redis()
    assert gate.wait_booked()
    charges = sorted(int(row["Charge Micros"]) for row in usage(gate))
    assert len(charges) == 2
    assert charges[1] <= (talked_s + 1.5) * 1000
    assert charges[1] >= 2_000, "talk while no gate was up is charged as well"
    books_are_whole(gate, f"9.{1_000_000 - sum(charges):06d}")
    assert gate.stop() == 0


# the policy "retry"


def test_with_retry_an_invite_succeeds_when_redis_is_back_within_half_a_second_else_503(
    make_gate: MakeGate, callers: Callers, callee: Side, patient: list[threading.Timer]
) -> None:
    gate = make_gate("contoso", sections={"credit": 'failure_policy = "retry"', "sip": "drain_s = 0"})
    gate.start()
    caller, cable = callers(gate), Cable(gate)
    cable.cut()
    until(lambda: is_down(gate))
    asked_s = time.monotonic()
    at_s, refusal = final_of(caller)
    assert (refusal.status, reason_code(refusal)) == (503, "STORE_AWAY")
    assert at_s - asked_s >= 0.5
    for _ in range(5):  # a slow machine may need more than half a second to connect
        patient.append(threading.Timer(0.1, cable.mend))
        patient[-1].start()
        _, final = final_of(caller)
        if final.status == 200:
            break
        patient[-1].join()
        cable.cut()
        until(lambda: is_down(gate))
    assert final.status == 200
    assert gate.stop() == 0


def test_a_renewal_is_retried_until_paid_time_ends(make_gate: MakeGate, callers: Callers, callee: Side) -> None:
    """Away when the tick is asked for, and back a second and a half before paid time ends: the call goes on."""
    credit = "tick_s = 5\nrenew_lead_s = 3.0"
    gate = make_gate("contoso", keys={"failure_policy": '"retry"'}, sections={"credit": credit})
    gate.start()
    caller, cable = callers(gate), Cable(gate)
    dialog = caller.call()
    began_s = time.monotonic()
    cable.cut()
    time.sleep(max(0.0, began_s + 3.0 - time.monotonic()))
    cable.mend()
    time.sleep(max(0.0, began_s + 6.0 - time.monotonic()))
    assert caller.count("BYE") == 0
    assert gate.metrics()['callgate_tick_total{result="away"}'] >= 1
    assert caller.say(dialog, "BYE").status == 200
    assert gate.wait_booked()
    (row,) = usage(gate)
    assert (row["Reason Code"], int(row["Charge Micros"]) > 5_000) == ("COMPLETED", True)
    assert gate.stop() == 0
