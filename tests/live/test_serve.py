"""``callgate serve`` as a process: sockets, workers, stores that are away, drains and crashes, seen from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.credit.admin import CreditAdmin
from gateway.credit.views import LiveCall
from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.bench.sipp import Sipp
from loadtest.wire import Address, reason_code, request, sip_cause, uri_in
from tests.live.phone import PBX, Phone, cut_on_drain, until

pytestmark = pytest.mark.peer("sipp", "redis-server")

MakeGate = Callable[..., Gate]
MakePhone = Callable[..., Phone]


@pytest.fixture
def phones() -> Iterator[MakePhone]:
    made: list[Phone] = []

    def make(gate: Gate, host: str = PBX) -> Phone:
        made.append(Phone(gate.sip, host))
        return made[-1]

    yield make
    for phone in made:
        phone.sock.close()


@pytest.fixture
def callee(children: Children, tmp_path: Path, carrier: Address) -> Sipp:
    sipp = Sipp(children, tmp_path, "callee")
    sipp.start_callee(carrier)
    return sipp


async def live_calls(gate: Gate) -> list[LiveCall]:
    admin = CreditAdmin(f"unix://{gate.redis_socket}")
    try:
        return await admin.live_calls()
    finally:
        await admin.close()


def worker_pids(gate: Gate) -> list[int]:
    return gate.pids()["worker"]


def ready(gate: Gate) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://{gate.admin}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def refused_start(gate: Gate) -> str:
    """Start the gate where it cannot; what it wrote."""
    with pytest.raises(Exception, match="ended with status 1") as caught:
        gate.start()
    return str(caught.value)


# the start


def test_a_taken_port_ends_the_start_and_is_named(make_gate: MakeGate) -> None:
    gate = make_gate("contoso", own_redis=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(tuple(gate.sip))
        said = refused_start(gate)
    assert f"cannot listen on udp://{gate.sip}: another program holds this port" in said


def test_a_second_gate_in_the_same_folder_is_refused(make_gate: MakeGate, children: Children, tmp_path: Path) -> None:
    gate = make_gate("contoso")
    gate.start()
    second = Gate(children, tmp_path / "second", gate.trunks, own_redis=False)
    text = second.config.read_text().replace(str(second.folder / "state"), str(gate.folder / "state"))
    second.config.write_text(text)
    assert "another `callgate serve`" in refused_start(second)


def test_a_second_gate_of_the_same_name_is_refused(make_gate: MakeGate, children: Children, tmp_path: Path) -> None:
    gate = make_gate("contoso")
    gate.start()
    second = Gate(children, tmp_path / "second", gate.trunks)
    text = second.config.read_text().replace(str(second.redis_socket), str(gate.redis_socket))
    second.config.write_text(text.replace('name = "second"', 'name = "gate"'))
    second.redis = gate.redis
    said = refused_start(second)
    assert "another live gate uses this node.name" in said
    assert gate.stop() == 0


def test_another_number_of_partitions_is_refused(make_gate: MakeGate) -> None:
    gate = make_gate("contoso", own_redis=False)
    gate.start()
    assert gate.stop() == 0
    gate.config.write_text(gate.config.read_text().replace('url = "embedded"', 'url = "embedded"\npartitions = 128'))
    assert "partitions" in refused_start(gate)


def test_without_stores_the_gate_starts_says_so_and_works_when_they_come(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp, carrier: Address
) -> None:
    emergency = "options_ping_s = 0\nemergency = true"
    trunks = Trunks([PBX], [carrier.host], [f"sip:{carrier}"], [], 'tenant = "contoso"', emergency)
    gate = make_gate("contoso", trunks=trunks)
    ledger = gate.folder / "state" / "ledger.sqlite3"
    gate.start()
    gate.stop()
    gate.stop_redis()
    ledger.rename(ledger.with_suffix(".away"))
    ledger.mkdir()
    redis = gate.redis
    gate.own_redis = False
    gate.start()
    status, problem = ready(gate)
    assert status == 503
    assert "redis" in json.dumps(problem)
    assert "ledger" in json.dumps(problem)
    phone = phones(gate)
    assert phone.call("+442079460000")[1].status == 503
    dialog, final = phone.call("911")
    assert final.status == 200, "the directory read last says whose number it is"
    assert phone.hang_up(dialog).status == 200
    ledger.rmdir()
    ledger.with_suffix(".away").rename(ledger)
    assert redis is None
    gate.start_redis()
    until(lambda: ready(gate)[0] == 200)
    until(lambda: phone.call("+442079460000")[1].status == 200)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    assert phone.hang_up(dialog).status == 200
    assert gate.stop() == 0


# calls


def test_a_call_over_tcp_is_bridged_and_booked(
    make_gate: MakeGate, children: Children, tmp_path: Path, callee: Sipp
) -> None:
    gate = make_gate("contoso")
    gate.start()
    sipp = Sipp(children, tmp_path, "caller")
    (sipp.folder / "numbers.csv").write_text("SEQUENTIAL\n+14255550000;+442079460000;\n")
    scenario = Path(__file__).parents[2] / "loadtest" / "peers" / "caller.xml"
    words = f"sipp {gate.sip} -inf numbers.csv -i {PBX} -p {free_port(PBX)} -t t1 -m 5 -r 5 -d 300 -nostdin -timeout 20"
    done = subprocess.run(
        [*words.split(), "-sf", str(scenario)],
        cwd=sipp.folder, capture_output=True, check=False, timeout=40,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert gate.wait_booked()
    assert gate.run("balance", "contoso", "--json").document()["balance"] == "9.995000"
    assert gate.stop() == 0


async def test_two_workers_behind_one_caller_socket_share_its_calls(
    make_gate: MakeGate, children: Children, tmp_path: Path, callee: Sipp
) -> None:
    gate = make_gate("contoso", workers=2)
    gate.start()
    assert len(worker_pids(gate)) == 2
    caller = Sipp(children, tmp_path, "caller")
    pairs = [("+14255550000", f"+442079460{place:03d}") for place in range(40)]
    caller.start_caller(Address(PBX, free_port(PBX)), gate.sip, pairs, 40, hold_ms=3000)
    owners: set[str] = set()
    for _ in range(100):
        calls = await live_calls(gate)
        owners = {call.owner for call in calls}
        if len(calls) == 40:
            break
        time.sleep(0.05)
    assert owners == {"gate/0", "gate/1"}
    assert caller.wait(20)
    assert caller.statistics()["SuccessfulCall"] == 40
    assert caller.statistics()["Retransmissions"] == 0
    assert gate.wait_booked()
    assert gate.run("balance", "contoso", "--json").document()["balance"] == "9.840000"
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    assert gate.stop() == 0


def test_a_call_over_ipv6(children: Children, tmp_path: Path, books: tuple[Callable[..., str], str]) -> None:
    tenants, deck = books
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        free.bind(("::1", 0))
        sip = Address("::1", free.getsockname()[1])
    caller, callee = Phone(sip, "::1"), Phone(sip, "::1")
    trunks = Trunks([f"[::1]:{caller.here.port}"], [str(callee.here)], [f"sip:{callee.here}"], [], 'tenant = "contoso"')
    gate = Gate(children, tmp_path / "gate", trunks, sip, own_redis=False)
    gate.provision(tenants("contoso"), deck, [("contoso", "10")])
    gate.start()
    dialog = caller.invite("+442079460000")
    assert callee.answer("INVITE").first("via").startswith(f"SIP/2.0/UDP {sip}")
    final = caller.wait(lambda heard: heard.status == 200)
    dialog.remote = final.first("to")
    dialog.learn(uri_in(final.first("contact")), [])
    caller.send(request(dialog, "ACK", "z9hG4bK-ack"), dialog.next_hop)
    assert dialog.next_hop == sip
    callee.wait(lambda heard: heard.method == "ACK")
    dialog.cseq += 1
    caller.send(request(dialog, "BYE", "z9hG4bK-bye"), dialog.next_hop)
    callee.answer("BYE")
    assert caller.wait(lambda heard: heard.method == "BYE").status == 200
    for phone in (caller, callee):
        phone.sock.close()
    assert gate.stop() == 0


def test_an_operator_hangs_up_and_the_gate_says_why(make_gate: MakeGate, phones: MakePhone, callee: Sipp) -> None:
    gate = make_gate("contoso")
    gate.start()
    phone = phones(gate)
    assert phone.call("+442079460000")[1].status == 200
    live = gate.run("calls", "--json").document()
    calls = live["calls"] if isinstance(live, dict) else live
    assert gate.run("hangup", calls[0]["id"]).status == 0
    assert "Reason" in str(phone.wait_bye().headers).title()
    assert gate.wait_booked()
    assert gate.stop() == 0


def test_money_that_arrives_in_time_keeps_a_call_up(make_gate: MakeGate, phones: MakePhone, callee: Sipp) -> None:
    gate = make_gate("contoso", funds="0.004", sections={"credit": "tick_s = 2\nrenew_lead_s = 1.0"})
    gate.start()
    phone = phones(gate)
    began_s = time.monotonic()
    assert phone.call("+442079460000")[1].status == 200
    assert gate.run("fund", "contoso", "0.003", "--reference", "more").status == 0
    bye = phone.wait_bye()
    assert sip_cause(bye) == 402
    assert 6.9 < time.monotonic() - began_s < 7.6
    assert gate.wait_booked()
    assert gate.run("balance", "contoso", "--json").document()["balance"] == "0.000000"
    assert gate.stop() == 0


def test_a_target_that_is_gone_is_told_by_icmp_and_the_next_one_tried_at_once(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp, carrier: Address
) -> None:
    gone = Address(carrier.host, free_port(carrier.host))
    trunks = Trunks([PBX], [carrier.host], [f"sip:{gone}", f"sip:{carrier}"], access_lines='tenant = "contoso"')
    gate = make_gate("contoso", trunks=trunks)
    gate.start()
    phone = phones(gate)
    began_s = time.monotonic()
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    assert time.monotonic() - began_s < 3.0, "target_timeout_s is 4: it was not waited for"
    assert phone.hang_up(dialog).status == 200
    assert gate.stop() == 0


def test_the_gates_own_limits_and_strangers(make_gate: MakeGate, phones: MakePhone, callee: Sipp) -> None:
    gate = make_gate("contoso", sections={"sip": 'max_calls_per_second = 1\nunknown_source = "drop"'})
    gate.start()
    phone = phones(gate)
    first, second = phone.call("+442079460000")[1], phone.call("+442079460001")[1]
    assert first.status == 200
    assert (second.status, reason_code(second)) == (503, "GATE_CALLS_PER_SECOND")
    assert int(second.first("retry-after")) >= 1
    stranger = phones(gate, "127.0.0.9")
    stranger.sock.settimeout(1.5)
    stranger.invite("+442079460002")
    with pytest.raises(TimeoutError):
        stranger.sock.recv(65535)
    assert gate.stop() == 0


def test_roles_run_by_themselves(
    make_gate: MakeGate, phones: MakePhone, children: Children, callee: Sipp, tmp_path: Path
) -> None:
    gate = make_gate("contoso")
    program = [sys.executable, "-c", "from gateway.cli import main; main()", "serve", "--role"]
    logs = {role: tmp_path / f"{role}.log" for role in ("settler", "admin", "worker")}
    for role, log in logs.items():
        children.start([*program, role], log, cwd=gate.folder, env=gate._environment())
    until(lambda: all("callgate ready" in log.read_text() for log in logs.values()), 30)
    until(lambda: ready(gate)[0] == 200)
    phone = phones(gate)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    assert phone.hang_up(dialog).status == 200
    assert gate.wait_booked()
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0


# bad days


def test_while_redis_is_away_calls_end_when_paid_time_ends_and_are_booked_when_it_is_back(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 4"})
    gate.start()
    phone = phones(gate)
    began_s = time.monotonic()
    assert phone.call("+442079460000")[1].status == 200
    gate.stop_redis()
    other = phones(gate)
    _, final = other.call("+442079460001")
    assert (final.status, reason_code(final)) == (503, "STORE_AWAY")
    phone.wait_bye()
    assert 3.9 < time.monotonic() - began_s < 4.6
    gate.start_redis()
    assert gate.wait_booked()
    balance = gate.run("balance", "contoso", "--json").document()
    assert (balance["balance"], balance["held"], balance["unsynced"]) == ("9.996000", "0.000000", "0.000000")
    dialog, final = other.call("+442079460002")
    assert final.status == 200
    assert other.hang_up(dialog).status == 200
    assert gate.stop() == 0


def unsent(gate: Gate) -> list[Path]:
    """What waits in the data folder for the next start."""
    return list((gate.folder / "state" / "unsent-charges").glob("*"))


def test_charges_survive_a_gate_that_is_stopped_while_redis_is_away(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp
) -> None:
    gate = make_gate("contoso", sections={"credit": "tick_s = 30"})
    gate.start()
    callers = [phones(gate), phones(gate)]
    began_s = time.monotonic()
    dialogs = [phone.call("+442079460000")[0] for phone in callers]
    time.sleep(1.5)  # talk, and not yet in Redis' file for certain
    gate.stop_redis()
    gate.own_redis = False
    for phone, dialog in zip(callers, dialogs, strict=True):
        assert phone.hang_up(dialog).status == 200
    talked_s = time.monotonic() - began_s
    assert gate.stop() == 0
    assert len(unsent(gate)) == 1
    assert "2 charges" in gate.log.read_text()
    gate.start()
    assert gate.stop() == 0, "stopped again, and Redis is still away"
    assert len(unsent(gate)) == 1
    gate.start_redis()
    gate.start()
    assert gate.wait_booked()
    postings = gate.run("ledger", "--tenant", "contoso", "--json").document()
    rows = postings["postings"] if isinstance(postings, dict) else postings
    charges = [row for row in rows if row["call_id"]]
    assert len({row["call_id"] for row in charges}) == len(charges) == 2
    balance = gate.run("balance", "contoso", "--json").document()
    spent_s = round(10_000 - float(balance["balance"]) * 1000)
    assert 2 * 2 <= spent_s <= 2 * (int(talked_s) + 1)
    assert (balance["held"], balance["unsynced"]) == ("0.000000", "0.000000")
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
    until(lambda: not unsent(gate), 20)
    assert gate.stop() == 0


def test_a_killed_worker_is_back_at_once_on_the_same_sockets(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp
) -> None:
    gate = make_gate("contoso")
    gate.start()
    phone = phones(gate)
    first = worker_pids(gate)
    os.kill(first[0], signal.SIGKILL)
    # the INVITE waits in the socket for the next holder of the slot
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    assert phone.hang_up(dialog).status == 200
    assert worker_pids(gate) != first
    assert gate.stop() == 0


def test_no_process_outlives_a_killed_supervisor(make_gate: MakeGate, phones: MakePhone, callee: Sipp) -> None:
    gate = make_gate("contoso")
    gate.start()
    orphans = [pid for role in ("worker", "settler", "admin") for pid in gate.pids()[role]]
    assert len(orphans) == 3
    process = gate.process
    assert process is not None
    process.kill()
    process.wait(10)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
    gate.start()
    phone = phones(gate)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    assert phone.hang_up(dialog).status == 200
    assert gate.stop() == 0


def test_a_dead_embedded_redis_is_started_again_and_calls_go_on(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp
) -> None:
    gate = make_gate("contoso", own_redis=False)
    gate.start()
    phone = phones(gate)
    dialog, final = phone.call("+442079460000")
    assert final.status == 200
    first = gate.pids()["redis"] or redis_pids(gate)
    os.kill(first[0], signal.SIGKILL)
    until(lambda: ready(gate)[0] == 200 and redis_pids(gate) not in ([], first))
    assert phone.hang_up(dialog).status == 200
    assert gate.wait_booked()
    dialog, final = phone.call("+442079460001")
    assert final.status == 200
    assert phone.hang_up(dialog).status == 200
    assert gate.stop() == 0
    until(lambda: not redis_pids(gate))


def redis_pids(gate: Gate) -> list[int]:
    """The embedded server is a daemon: no child of the gate's."""
    file = gate.folder / "state" / "redis" / "redis.pid"
    try:
        pid = int(file.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return []
    return [pid]


# the end


async def test_a_drain_refuses_new_calls_and_leaves_answered_ones_to_the_next_process(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp
) -> None:
    gate = make_gate("contoso", sections={"sip": "drain_s = 2"})
    gate.start()
    phone = phones(gate)
    assert phone.call("+442079460000")[1].status == 200
    process = gate.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in gate.log.read_text())
    _, final = phone.call("+442079460001")
    assert (final.status, reason_code(final)) == (503, "DRAINING")
    assert final.first("retry-after")
    assert phone.ask().status == 503
    assert process.wait(20) == 0
    assert len(await live_calls(gate)) == 1


def test_cut_on_drain_hangs_up_both_sides(
    make_gate: MakeGate, phones: MakePhone, callee: Sipp, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate("contoso", sections={"sip": "drain_s = 1"})
    cut_on_drain(gate, monkeypatch)
    gate.start()
    phone = phones(gate)
    assert phone.call("+442079460000")[1].status == 200
    process = gate.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert "Q.850;cause=41" in phone.wait_bye().first("reason")
    assert process.wait(20) == 0
    callee.stop()
    assert callee.statistics()["SuccessfulCall"] == 1


def test_a_second_interrupt_ends_a_drain(make_gate: MakeGate, phones: MakePhone, callee: Sipp) -> None:
    gate = make_gate("contoso", sections={"sip": "drain_s = 60"})
    gate.start()
    assert phones(gate).call("+442079460000")[1].status == 200
    process = gate.process
    assert process is not None
    process.send_signal(signal.SIGINT)
    until(lambda: "draining" in gate.log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
