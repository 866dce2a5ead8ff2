"""Metrics: all of the contract's, over all processes, from the start, and none that outlives its process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import metrics, snapshots
from gateway.telemetry.metrics import METRICS, Meter
from gateway.telemetry.snapshots import SnapshotFile, clear, mark_dead, scrape
from gateway.telemetry.worker import WorkerMetrics

CONTRACT = {
    "calls_active": ("gauge", "trunk", "state"),
    "calls": ("counter", "outcome", "reason", "kind"),
    "setup_delay_seconds": ("histogram",),
    "decision_seconds": ("histogram",),
    "cut_error_seconds": ("histogram",),
    "tick": ("counter", "result"),
    "held_micros": ("gauge", "tenant"),
    "balance_micros": ("gauge", "tenant"),
    "exhausted": ("gauge", "tenant"),
    "uncharged_exposure_micros": ("gauge", "tenant"),
    "outbox_lag_seconds": ("gauge",),
    "outbox_pending": ("gauge",),
    "ledger_drift_micros": ("gauge",),
    "leases_expired": ("counter",),
    "redis_up": ("gauge",),
    "ledger_up": ("gauge",),
    "redis_seconds": ("histogram", "op"),
    "sip_messages": ("counter", "direction", "method", "status"),
    "sip_retransmissions": ("counter",),
    "sip_parse_errors": ("counter",),
    "dropped_messages": ("counter", "cause"),
    "banned_sources": ("gauge",),
    "recharge": ("counter", "result"),
    "build_info": ("gauge", "version"),
}
"""CONTRACT 8, with ``_total`` left off the counters."""

MORE = {
    "dialogs_moved": ("counter", "result"),
    "notices": ("counter", "result"),
    "target_up": ("gauge", "trunk", "target"),
    "target_pings": ("counter", "result"),
    "credentials": ("counter", "result"),
    "registered": ("gauge", "trunk"),
}
"""What is ours beside the contract."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(folder: Path) -> Samples:
    text = scrape(folder, "1.2.3")[0].decode()
    return {
        (sample.name.removeprefix("callgate_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Process:
    """Stands for one process of the gate: a meter and its file, under a process id of its choice."""

    def __init__(self, folder: Path, pid: int, monkeypatch: pytest.MonkeyPatch, *, tenant_labels: bool = True) -> None:
        monkeypatch.setattr(os, "getpid", lambda: pid)
        self.pid = pid
        self.meter = Meter(tenant_labels=tenant_labels)
        self.file = SnapshotFile(folder, self.meter)


def test_the_metrics_are_those_of_the_contract() -> None:
    assert {name: (metric.kind, *metric.labels) for name, metric in METRICS.items()} == CONTRACT | MORE


def test_every_metric_shows_help_and_type_before_anything_was_counted(tmp_path: Path) -> None:
    lines = scrape(tmp_path, "1.2.3")[0].decode().splitlines()
    for name, (kind, *_) in CONTRACT.items():
        shown = f"callgate_{name}_total" if kind == "counter" else f"callgate_{name}"
        assert f"# TYPE {shown} {kind}" in lines
        assert any(line.startswith(f"# HELP {shown} ") for line in lines)
    assert 'callgate_build_info{version="1.2.3"} 1.0' in lines


def test_a_scrape_can_be_had_as_openmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    WorkerMetrics(process.meter).setup.observe(0.001)
    process.file.write()
    body, content_type = scrape(tmp_path, "1.2.3", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name.removeprefix("callgate_") for family in parse_openmetrics(body.decode())} == set(
        CONTRACT | MORE
    )


def test_workers_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (1, 2):
        process = Process(tmp_path, pid, monkeypatch)
        worker = WorkerMetrics(process.meter)
        worker.ended("answered", "COMPLETED", "user_out")
        worker.active({("pbx", "answered"): 10 * pid})
        worker.setup.observe(0.0012)
        worker.messages({("in", "INVITE", 0): pid})
        process.file.write()
    found = samples(tmp_path)
    assert found["calls_total", (("kind", "user_out"), ("outcome", "answered"), ("reason", "COMPLETED"))] == 2
    assert found["calls_active", (("state", "answered"), ("trunk", "pbx"))] == 30
    assert found["setup_delay_seconds_count", ()] == 2
    assert found["setup_delay_seconds_sum", ()] == pytest.approx(0.0024)
    assert found["setup_delay_seconds_bucket", (("le", "0.001"),)] == 0
    assert found["setup_delay_seconds_bucket", (("le", "0.0015"),)] == 2
    assert found["sip_messages_total", (("direction", "in"), ("method", "INVITE"), ("status", ""))] == 3


def test_what_goes_uncharged_is_summed_by_tenant_and_shown_as_0_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in (1, 2):
        process = Process(tmp_path, pid, monkeypatch)
        WorkerMetrics(process.meter).exposure({"contoso": 700 * pid, "fabrikam": 0})
        process.file.write()
    found = samples(tmp_path)
    assert found["uncharged_exposure_micros", (("tenant", "contoso"),)] == 2100
    assert found["uncharged_exposure_micros", (("tenant", "fabrikam"),)] == 0


def test_up_is_the_minimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, up in ((1, True), (2, False), (3, True)):
        process = Process(tmp_path, pid, monkeypatch)
        WorkerMetrics(process.meter).redis_up(up)
        process.meter.gauge(metrics.LEDGER_UP).set(1)
        process.file.write()
    found = samples(tmp_path)
    assert found["redis_up", ()] == 0
    assert found["ledger_up", ()] == 1


def test_a_dead_workers_gauges_vanish_and_its_counters_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (1, 2):
        process = Process(tmp_path, pid, monkeypatch)
        worker = WorkerMetrics(process.meter)
        worker.tick("granted")
        worker.cut_error.observe(0.002)
        worker.active({("pbx", "answered"): 5})
        worker.redis_up(pid == 1)
        process.file.write()
    for _ in range(2):  # a death told twice counts nothing twice
        mark_dead(tmp_path, 2)
        found = samples(tmp_path)
        assert found["tick_total", (("result", "granted"),)] == 2
        assert found["cut_error_seconds_count", ()] == 2
        assert found["calls_active", (("state", "answered"), ("trunk", "pbx"))] == 5
        assert found["redis_up", ()] == 1


def test_a_crash_between_keeping_and_removing_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path, 7, monkeypatch)
    WorkerMetrics(process.meter).tick("granted")
    process.file.write()
    (left,) = tmp_path.glob("7.*.json")
    content = left.read_bytes()
    mark_dead(tmp_path, 7)
    left.write_bytes(content)  # as if the supervisor had died before it removed the file
    assert samples(tmp_path)["tick_total", (("result", "granted"),)] == 1
    mark_dead(tmp_path, 7)
    assert samples(tmp_path)["tick_total", (("result", "granted"),)] == 1


def test_an_orderly_end_hands_the_counters_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    WorkerMetrics(process.meter).tick("granted")
    process.meter.gauge(metrics.OUTBOX_PENDING).set(3)
    process.file.write()
    process.file.remove()
    found = samples(tmp_path)
    assert found["tick_total", (("result", "granted"),)] == 1
    assert ("outbox_pending", ()) not in found


def test_gauges_of_a_process_that_hangs_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    process.meter.gauge(metrics.OUTBOX_PENDING).set(3)
    WorkerMetrics(process.meter).tick("granted")
    process.file.write()
    (file,) = tmp_path.glob("1.*.json")
    old_s = time.time() - snapshots.GAUGE_AGE_MAX_S - 1
    os.utime(file, (old_s, old_s))
    found = samples(tmp_path)
    assert ("outbox_pending", ()) not in found
    assert found["tick_total", (("result", "granted"),)] == 1


def test_a_new_start_counts_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    WorkerMetrics(process.meter).tick("granted")
    process.file.write()
    mark_dead(tmp_path, 1)
    clear(tmp_path)
    assert ("tick_total", (("result", "granted"),)) not in samples(tmp_path)


def test_tenants_that_are_gone_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    process.meter.set_tenants(metrics.BALANCE, [("a", 5), ("b", 6)])
    process.meter.set_tenants(metrics.BALANCE, [("b", 7)])
    process.file.write()
    balances = {labels: value for (name, labels), value in samples(tmp_path).items() if name == "balance_micros"}
    assert balances == {(("tenant", "b"),): 7}


def test_tenant_labels_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch, tenant_labels=False)
    process.meter.set_tenants(metrics.BALANCE, [("a", 5), ("b", 6)])
    process.file.write()
    balances = {labels: value for (name, labels), value in samples(tmp_path).items() if name == "balance_micros"}
    assert balances == {(): 11}


def test_what_a_peer_chooses_makes_no_label_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, 1, monkeypatch)
    WorkerMetrics(process.meter).messages({("in", f"X{n}", 1000 + n): 1 for n in range(100)})
    process.file.write()
    messages = {labels: value for (name, labels), value in samples(tmp_path).items() if name == "sip_messages_total"}
    assert messages == {(("direction", "in"), ("method", "OTHER"), ("status", "")): 100}


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SERIES_MAX", 3)
    meter = Meter()
    for n in range(10):
        meter.counter(metrics.TICK).inc((str(n),))
        meter.gauge(metrics.HELD).set(n, (str(n),))
        meter.histogram(metrics.REDIS).of((str(n),)).observe(0.1)
    assert len(meter.counter(metrics.TICK).values) == 3
    assert len(meter.gauge(metrics.HELD).values) == 3
    assert len(meter.histogram(metrics.REDIS).values) == 3
    meter.gauge(metrics.HELD).replace({(str(n),): n for n in range(10)})
    assert len(meter.gauge(metrics.HELD).values) == 3


def test_a_file_that_is_no_snapshot_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1.2.json").write_text("{half")
    (tmp_path / "1.3.json").write_text("[]")
    assert ("build_info", (("version", "1.2.3"),)) in samples(tmp_path)


WORKER = """
import sys
from pathlib import Path
from gateway.telemetry.metrics import Meter
from gateway.telemetry.snapshots import SnapshotFile
from gateway.telemetry.worker import WorkerMetrics
meter = Meter()
file = SnapshotFile(Path(sys.argv[1]), meter)
WorkerMetrics(meter).tick("granted")
WorkerMetrics(meter).redis_up(True)
file.write()
print("written", flush=True)
sys.stdin.read()
"""


def test_real_processes_are_folded_and_a_killed_one_leaves_its_counters(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
        processes[0].kill()
        processes[0].wait()
        mark_dead(tmp_path, processes[0].pid)
        found = samples(tmp_path)
        assert found["tick_total", (("result", "granted"),)] == 2
        assert found["redis_up", ()] == 1
        assert len(list(tmp_path.glob("*.*.json"))) == 1
    finally:
        for process in processes:
            process.communicate("")
