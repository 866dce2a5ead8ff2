"""The load tester and the benchmark against a whole gate, as a user starts them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate
from loadtest.bench.processes import free_port
from loadtest.wire import Address

pytestmark = pytest.mark.peer("redis-server")

PBX = "127.0.0.2"
MakeGate = Callable[..., Gate]


def test_the_tester_audits_the_money_over_http(make_gate: MakeGate, tmp_path: Path, carrier: Address) -> None:
    gate = make_gate("contoso", "fabrikam", funds="0.100", sections={"credit": "tick_s = 1\nrenew_lead_s = 0.5"})
    gate.start()
    numbers, report = tmp_path / "numbers", tmp_path / "report.html"
    lines = [f"+442079460{place:03d},+1425555000{place % 2}" for place in range(200)]
    numbers.write_text("\n".join(lines))
    words = [
        "--target", f"sip:{gate.sip}", "--source", str(Address(PBX, free_port(PBX))), "--uas", str(carrier),
        "--numbers", str(numbers), "--cps", "60", "--calls", "200", "--hold", "exponential:1.5", "--ring", "0.1",
        "--behaviour", "normal=8,busy=1,cancel=1", "--seed", "3", "--json", "--html", str(report),
        "--admin", f"http://{gate.admin}", "--token", gate.token(),
        "--fail-on", "failed > 0 or malformed > 0 or answered < 40 or cut < 1 or refused_by.NO_CREDIT < 1",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", "run", *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["audit"]["holds"]
    assert {tenant["tenant"] for tenant in figures["audit"]["tenants"]} == {"contoso", "fabrikam"}
    charges = sum(tenant["charges"] for tenant in figures["audit"]["tenants"])
    assert charges == figures["answered"]
    assert figures["cut_by"].keys() == {"402"}
    assert "Audit" in report.read_text()


@pytest.mark.peer("sipp")
def test_the_benchmark_measures_a_gate(tmp_path: Path) -> None:
    words = ["--quick", "--parts", "rate,cut", "--seconds", "1", "--cps", "20", "--dry", "5", "--no-peer", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *words, "--keep", str(tmp_path / "b")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)["subjects"]["callgate"]
    assert figures["faults"] == []
    assert figures["rate"][0]["ok"] == 20
    assert set(figures["rate"][0]["us_per_call"]) == {"worker", "settler", "redis"}
    assert all(spent > 0 for spent in figures["rate"][0]["us_per_call"].values())
    assert figures["cut"]["both_legs"] == figures["cut"]["answered"] == 5
    assert figures["cut"]["error_ms"]["count"] == 10
