"""The benchmark's own parts: nothing it starts outlives it, processor time and traces are read rightly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.bench.proc import command_line, cpu_s, pss_bytes
from loadtest.bench.processes import Children, StartError, descendants, free_port, wait_until
from loadtest.bench.sipp import CALLER, Sipp, calls_of
from loadtest.bench.subject import called_numbers, dry_callers, load_callers, pairs_of
from loadtest.bench.table import print_table
from loadtest.wire import Address

FAMILY = (
    "import subprocess,sys,time; subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']); time.sleep(60)"
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_was_started_ends_with_the_block_and_its_children_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), Children() as children:  # noqa: PT012
        parent = children.start([sys.executable, "-c", FAMILY], tmp_path / "log")
        wait_until(lambda: bool(descendants(parent.pid)), 10, "family", parent, tmp_path / "log")
        family = [parent.pid, *descendants(parent.pid)]
        assert all(alive(pid) for pid in family)
        raise RuntimeError("broken")
    assert len(family) == 2
    assert not any(alive(pid) for pid in family)


def test_a_process_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Children() as children:
        child = children.start([sys.executable, "-c", "print('no port left'); raise SystemExit(3)"], log)
        with pytest.raises(StartError, match="thing ended with status 3: no port left"):
            wait_until(lambda: False, 10, "thing", child, log)
        with pytest.raises(StartError, match="No such file"):
            children.start(["/nowhere/at/all"], log)


def test_processor_time_and_memory_are_those_of_the_process() -> None:
    work = "import time\nend=time.process_time()+0.2\nwhile time.process_time()<end: pass\nprint(1,flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.2 <= cpu_s([child.pid]) <= 5
        assert pss_bytes([child.pid]) > 1_000_000
        assert command_line(child.pid)[1] == "-c"
        child.communicate(b"\n")
    assert cpu_s([child.pid]) == 0
    assert command_line(child.pid) == []


def test_called_numbers_are_never_used_twice_and_callers_take_turns() -> None:
    assert called_numbers(0, 2) + called_numbers(2, 1) == called_numbers(0, 3)
    assert not set(load_callers()) & set(dry_callers(500))
    assert pairs_of(["a", "b"], ["1", "2", "3"]) == [("a", "1"), ("b", "2"), ("a", "3")]


@pytest.mark.peer("sipp")
def test_two_sipps_are_joined_by_the_called_number(tmp_path: Path) -> None:
    here, there = Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port())
    with Children() as children:
        caller, callee = Sipp(children, tmp_path, "caller"), Sipp(children, tmp_path, "callee")
        callee.start_callee(there, 10, trace=True)
        pairs = pairs_of(load_callers(), called_numbers(0, 5))
        caller.start_caller(here, there, pairs, 50, scenario=CALLER, hold_ms=100, trace=True)
        assert caller.wait(15)
        caller.stop()
        callee.stop()
    assert caller.statistics()["SuccessfulCall"] == 5
    calls = calls_of(caller, callee)
    assert sorted(calls) == [number[1:] for _, number in pairs]
    for call in calls.values():
        forth = call.uas["heard INVITE"] - call.uac["sent INVITE"]  # SIPp stamps what it has sent, not what it sends
        assert -0.005 <= forth <= 2
        assert -0.005 <= call.uac["heard 180"] - call.uas["sent 180"] <= 2
        assert 0.09 <= call.uas["heard BYE"] - call.uas["sent 200 INVITE"] <= 2


def test_the_table_shows_every_subject_and_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"count": 2, "min": -1.0, "p50": 1.5, "p90": 2.0, "p99": 2.0, "max": None}
    load = {
        "cps": 500,
        "calls": 10,
        "ok": 10,
        "failed": 0,
        "retransmissions": 0,
        "idle_share": 0.4,
        "us_per_call": {"worker": 321.4},
    }
    ours = {
        "faults": ["11 charges for 10 answered calls"],
        "rate": [load],
        "delay": {"cps": 150, "added_ms": summary},
        "flood": [
            {"kind": "none", "failed": 0, "retransmissions": 0, "added_ms": summary},
            {"kind": "invite", "failed": 3, "retransmissions": 4, "added_ms": summary, "flood": {"per_second": 4999.6}},
        ],
        "cut": {"calls": 10, "answered": 10, "both_legs": 9, "error_ms": summary},
        "memory": {"calls": 10, "bytes_per_call": 9_000},
        "capacity": {"cps": 2000},
    }
    about = {
        "cores": 2,
        "load_average": 0.1,
        "python": "3",
        "date": "2026-01-01",
        "command": "python -m loadtest.bench",
    }
    print_table(Console(width=200), {"callgate": ours, "other": {"faults": []}}, about)
    shown = capsys.readouterr().out
    for text in (
        "worker, µs a call at 500 calls/s",
        "321",
        "1.50 / 2.00",
        "9 of 10",
        "9.0",
        "2000",
        "11 charges",
        "5000 invite/s",
        "3 / 4",
    ):
        assert text in shown


@pytest.mark.peer("sipp", "kamailio")
def test_the_benchmark_measures_kamailio_and_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ["--no-gate", "--parts", "rate", "--quick", "--seconds", "1", "--cps", "20", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *words], capture_output=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["subjects"]["kamailio + cnxcc"]
    assert figures["rate"][0]["ok"] == 20
    assert figures["rate"][0]["us_per_call"]["worker"] > 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.peer("sipp", "kamailio")
def test_an_interrupted_benchmark_ends_what_it_started(tmp_path: Path) -> None:
    words = ["--no-gate", "--parts", "rate", "--seconds", "60", "--cps", "20"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        bench = subprocess.Popen(
            [sys.executable, "-m", "loadtest.bench", *words], stdout=log, stderr=log, env=environment
        )
    give_up_s = time.monotonic() + 30
    while not any("sipp" in command_line(pid)[:1] for pid in descendants(bench.pid)):
        assert time.monotonic() < give_up_s
        assert bench.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    family = descendants(bench.pid)
    bench.send_signal(signal.SIGTERM)
    assert bench.wait(30) != 0
    assert not any(alive(pid) for pid in family)
