"""Other people's user agents through a whole gate: what each does in its own words arrives at the other side.

baresip holds, resumes, hears tones and transfers; SIPp plays the scenarios that are built into it; sipsak asks and
sends rubbish.  The other side is one that keeps what it heard, so that a test sees what crossed.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.wire import Address, request
from tests.live.phone import Phone
from tests.live.sides import Side, dialogs_of_callee, usage
from tests.live.test_baresip import CALLED, CALLER, PBX, Baresip, until

pytestmark = pytest.mark.peer("redis-server")

HERE = "127.0.0.1"
"""Where connections of user agents come from that bind them to no address: the kernel takes the gate's own."""
CARRIER = "127.0.0.3"
MakeGate = Callable[..., Gate]
LADDERS = {"telemetry": "ladder_calls = 10"}


@pytest.fixture
def callee() -> Iterator[Side]:
    side = Side(Address(CARRIER, 0))
    yield side
    side.close()


def trunks(callee: Address, lines: str = "") -> Trunks:
    """The user agents are the PBX, from either address."""
    return Trunks([PBX, HERE], [CARRIER], [f"sip:{callee}"], access_lines=f'tenant = "contoso"\n{lines}')


def keep_ladders(gate: Gate, name: str) -> None:
    """Write the messages of all calls down where CALLGATE_LADDERS says: what README shows was recorded so."""
    if folder := os.environ.get("CALLGATE_LADDERS"):
        drawn = [gate.run("trace", row["UsageId"]).out for row in usage(gate)]
        Path(folder, f"{name}.txt").write_text("\n".join(drawn))


def offers(side: Side) -> list[str]:
    """Which way media goes by each offer that a side heard."""
    bodies = [heard.body for _, heard in side.heard if heard.method == "INVITE" and not heard.status and heard.body]
    ways = ("sendonly", "recvonly", "inactive", "sendrecv")
    return [next((way for way in ways if f"a={way}" in body), "sendrecv") for body in bodies]


@pytest.mark.peer("baresip")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_baresip_holds_resumes_and_hears_tones(
    make_gate: MakeGate, children: Children, tmp_path: Path, callee: Side, transport: str
) -> None:
    gate = make_gate("contoso", sections=LADDERS, trunks=trunks(callee.here))
    gate.start()
    here = Address(PBX, free_port(PBX))
    account = f"<sip:{CALLER}@{here};transport={transport}>;regint=0;audio_codecs=pcmu\n"
    caller = Baresip(children, tmp_path / "a", CALLER, here, answers=False, account=account)
    caller.command("dial", f"sip:{CALLED}@{gate.sip};transport={transport}")
    until(lambda: caller.calls() == 1, 10)
    caller.command("hold")
    until(lambda: offers(callee)[-1:] == ["sendonly"], 10)
    caller.command("resume")
    until(lambda: offers(callee) == ["sendrecv", "sendonly", "sendrecv"], 10)
    assert "telephone-event" in next(heard.body for _, heard in callee.heard if heard.body), "its tones are media"
    (dialog,) = dialogs_of_callee(callee)
    tone = request(dialog, "INFO", "z9hG4bK-tone", "Signal=5\r\nDuration=160\r\n")
    callee.sock.sendto(tone.replace(b"application/sdp", b"application/dtmf-relay"), gate.sip)
    _, told = callee.wait(lambda heard: heard.method == "INFO" and heard.status >= 200)
    assert told.status == 200, told
    until(lambda: "received DTMF: '5'" in caller.log.read_text(errors="replace"), 5)
    caller.command("hangup")
    callee.asked("BYE")
    assert gate.wait_booked()
    (row,) = usage(gate)
    assert row["Reason Code"] == "COMPLETED"
    keep_ladders(gate, f"hold-{transport}")


@pytest.mark.peer("baresip")
def test_baresip_transfers_a_caller_to_a_third_party(make_gate: MakeGate, children: Children, tmp_path: Path) -> None:
    caller, third = Phone(Address(PBX, 9), CARRIER), Phone(Address(PBX, 9), CARRIER)
    here = Address(PBX, free_port(PBX))
    access = 'tenant = "contoso"\noptions_ping_s = 0'
    plan = Trunks([PBX], [CARRIER], [f"sip:{third.here}"], [f"sip:{here}"], access_lines=access)
    gate = make_gate("contoso", sections={"sip": 'refer = "transfer"', **LADDERS}, trunks=plan)
    gate.start()
    caller.gate = third.gate = gate.sip
    pbx = Baresip(children, tmp_path / "pbx", CALLER, here, answers=True)
    dialog = caller.invite(CALLER)
    caller.acknowledge(dialog)
    until(lambda: pbx.calls() == 1, 10)
    pbx.command("transfer", f"sip:{CALLED}@{gate.sip}")
    assert third.answer("INVITE").body == ""
    caller.answer("INVITE")
    assert third.wait(lambda heard: heard.method == "ACK").body
    until(lambda: pbx.calls() == 0, 10)  # it hung up by itself: the NOTIFY said that the third party answered
    assert caller.hang_up(dialog).status == 200
    third.wait_bye()
    assert gate.wait_booked()
    assert {row["Call Type"] for row in usage(gate)} == {"user_in", "user_out_transfer"}
    keep_ladders(gate, "transfer")


@pytest.mark.peer("sipp")
def test_the_scenarios_that_are_built_into_sipp_run_through(
    make_gate: MakeGate, children: Children, tmp_path: Path
) -> None:
    called = Address(CARRIER, free_port(CARRIER))
    gate = make_gate("contoso", trunks=trunks(called))
    gate.start()
    children.start(["sipp", "-sn", "uas", "-i", called.host, "-p", str(called.port), "-nostdin"], tmp_path / "uas.log")
    for scenario, transport in (("uac", "u1"), ("uac", "t1"), ("regexp", "u1")):
        here = Address(PBX, free_port(PBX))
        done = subprocess.run(
            ["sipp", "-sn", scenario, "-t", transport, "-s", CALLED, "-i", here.host, "-p", str(here.port), "-r", "10",
             "-m", "20", "-d", "100", "-timeout", "60", "-nostdin", str(gate.sip)],
            cwd=tmp_path, capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (scenario, transport, done.stdout[-2000:])
    assert gate.wait_booked()
    assert [row["Reason Code"] for row in usage(gate)] == ["COMPLETED"] * 60


@pytest.mark.peer("sipsak")
def test_sipsak_asks_by_hops_and_sends_rubbish(make_gate: MakeGate, callee: Side) -> None:
    gate = make_gate("contoso", trunks=trunks(callee.here))
    gate.start()

    def sipsak(*words: str) -> "subprocess.CompletedProcess[str]":
        command = ["sipsak", *words, "-s", f"sip:{CALLED}@{gate.sip}"]
        return subprocess.run(command, capture_output=True, encoding="latin-1", timeout=60, check=False)

    asked = sipsak("-vvv")
    assert asked.returncode == 0, asked.stdout
    assert "SIP/2.0 200 " in asked.stdout
    assert "Allow: INVITE" in asked.stdout
    traced = sipsak("-T", "-v")
    assert traced.returncode == 0, traced.stdout
    sipsak("-R", "-v", "-t", "60")  # an OPTIONS with ever more wrong characters
    assert sipsak("-vvv").returncode == 0
