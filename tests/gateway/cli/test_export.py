"""export: each document is what the program it is for can read, and names only what the gate has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.export import Document
from gateway.telemetry.metrics import METRICS, PREFIX

from .conftest import Shell

EXPOSED = {
    f"{PREFIX}{metric.name}{suffix}"
    for metric in METRICS.values()
    for suffix in {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[metric.kind]
}


def metrics_in(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}\w+", text))


@pytest.mark.parametrize("document", list(Document))
def test_every_document_is_filled_in(shell: Shell, document: Document) -> None:
    text = shell("export", document.value).out
    assert not re.search(r"@[A-Z_]+@", text)
    assert shell("export", document.value, "--json").document["text"] == text


def expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [each for inner in value.values() for each in expressions(inner)]
    return [each for inner in value for each in expressions(inner)] if isinstance(value, list) else []


def test_the_dashboard_shows_every_metric_and_no_other(shell: Shell) -> None:
    dashboard = json.loads(shell("export", "grafana").out)
    named = metrics_in(" ".join(expressions(dashboard)))
    assert named <= EXPOSED
    shown = {name.removesuffix("_total").removesuffix("_bucket") for name in named}
    assert shown == {PREFIX + name for name in METRICS}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_alerts_name_metrics_that_there_are(shell: Shell) -> None:
    text = shell("export", "alerts").out
    alerts = re.findall(r"- alert: (\w+)\n\s+expr: (.+)", text)
    assert len(alerts) > 8
    for _, expression in alerts:
        assert metrics_in(expression)
        assert metrics_in(expression) <= EXPOSED
    assert text.count("action: ") == text.count("summary: ") == len(alerts)


def test_the_outbox_alert_follows_the_setting(shell: Shell) -> None:
    (shell.folder / "callgate.toml").write_text("[credit]\noutbox_max = 1000\n")
    assert "callgate_outbox_pending > 800\n" in shell("export", "alerts").out


def test_the_unit_gives_the_drain_its_time(shell: Shell) -> None:
    """And what comes after it: an emergency call that rings then is waited for."""
    (shell.folder / "callgate.toml").write_text("[sip]\ndrain_s = 90\nring_timeout_s = 120\n")
    unit = shell("export", "systemd").out
    assert "TimeoutStopSec=220\n" in unit
    assert re.search(r"ExecStart=\S+ (-m gateway\.cli )?serve\n", unit)
    assert "stop_grace_period: 220s" in shell("export", "compose").out


def test_systemd_reads_the_unit_where_it_is_at_hand(shell: Shell) -> None:
    if not shutil.which("systemd-analyze"):
        return
    (shell.folder / "callgate.service").write_text(shell("export", "systemd").out.replace("User=callgate", "User=root"))
    words = ["systemd-analyze", "verify", "--man=no", "./callgate.service"]
    done = subprocess.run(words, cwd=shell.folder, capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "callgate.service" in line], done.stderr


@pytest.mark.peer("kamailio")
def test_kamailio_reads_its_configuration(shell: Shell, tmp_path: Path) -> None:
    text = shell("export", "kamailio").out
    gates = [line.lstrip("# ") for line in text.splitlines() if re.match(r"#\s+1 sip:", line)]
    assert gates == ["1 sip:127.0.0.1:5062"]
    (tmp_path / "dispatcher.list").write_text("\n".join(gates) + "\n")
    (tmp_path / "kamailio.cfg").write_text(text)
    program = shutil.which("kamailio")
    assert program
    words = [program, "-c", "-f", str(tmp_path / "kamailio.cfg")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
