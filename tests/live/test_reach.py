"""How a whole gate reaches its peers: TLS with real user agents, names by DNS, pings."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children, free_port
from loadtest.wire import Address
from tests.gateway.transport.authority import Authority
from tests.live.sides import Caller, Side
from tests.live.test_baresip import CALLED, CALLER, Baresip, until
from tests.name_server import NameServer

MakeGate = Callable[..., Gate]

PBX = "127.0.0.2"
CARRIER = "127.0.0.3"


def rewrite(gate: Gate, old: str, new: str) -> None:
    """Change the settings file before the start."""
    text = gate.config.read_text()
    assert old in text
    gate.config.write_text(text.replace(old, new))


def with_tls(gate: Gate, tls_port: int, certificate: tuple[Path, Path], ca: Path) -> None:
    rewrite(gate, f'"tcp://{gate.sip}"]', f'"tcp://{gate.sip}", "tls://127.0.0.1:{tls_port}"]')
    pem, key = certificate
    rewrite(gate, "[sip]\n", f'[sip]\ntls = {{ certificate = "{pem}", key = "{key}", ca = "{ca}" }}\n')


def baresip_tls(authority: Authority, name: str, host: str) -> str:
    """Lines of baresip's configuration: its certificate with its key, and the authority."""
    pem, key = authority.sign(name, f"IP:{host}")
    both = pem.with_suffix(".both")
    both.write_text(pem.read_text() + key.read_text())
    return f"sip_certificate {both}\nsip_cafile {authority.certificate}\n"


@pytest.mark.peer("baresip")
@pytest.mark.peer("openssl")
@pytest.mark.peer("redis-server")
def test_two_real_user_agents_talk_over_tls_and_are_cut(
    make_gate: MakeGate, children: Children, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    # baresip hears TLS one port above the one that it is given
    caller_at, called_at = Address(PBX, free_port(PBX)), Address(CARRIER, free_port(CARRIER))
    tls_port = free_port(kind=socket.SOCK_STREAM)
    target = f"sip:{CARRIER}:{called_at.port + 1};transport=tls"
    # baresip opens its connections from whatever address the kernel chooses, which is the gate's own here
    trunks = Trunks(["127.0.0.1"], [CARRIER], ["sip:target"], access_lines='tenant = "contoso"')
    gate = make_gate("contoso", funds="0.004", trunks=trunks)
    rewrite(gate, "sip:target", target)
    with_tls(gate, tls_port, authority.sign("gate", "IP:127.0.0.1"), authority.certificate)
    gate.start()
    called = Baresip(
        children, tmp_path / "b", CALLED, called_at, answers=True, more=baresip_tls(authority, "called", CARRIER)
    )
    caller = Baresip(
        children, tmp_path / "a", CALLER, caller_at, answers=False, more=baresip_tls(authority, "caller", PBX)
    )
    caller.command("dial", f"sip:{CALLED}@127.0.0.1:{tls_port};transport=tls")
    until(lambda: caller.calls() == 1 and called.calls() == 1, 10)
    until(lambda: caller.calls() == 0 and called.calls() == 0, 15)
    assert gate.wait_booked()
    (row,) = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    assert (row["Duration Seconds"], row["Reason Code"]) == (4, "NO_CREDIT")


@pytest.fixture
def carrier_side() -> Iterator[Side]:
    side = Side(Address(CARRIER, 0))
    yield side
    side.close()


@pytest.mark.peer("redis-server")
def test_a_carrier_found_by_srv_fails_over_and_what_is_down_is_tried_last(
    make_gate: MakeGate, carrier_side: Side
) -> None:
    dies = Side(Address(CARRIER, 0))
    dead = dies.here.port
    zone = {
        "carrier.test": {"NAPTR": (60, ['10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.'])},
        "_sip._udp.carrier.test": {
            "SRV": (60, [f"1 1 {dead} one.carrier.test.", f"2 1 {carrier_side.here.port} two.carrier.test."])
        },
        "one.carrier.test": {"A": (60, [CARRIER])},
        "two.carrier.test": {"A": (60, [CARRIER])},
    }
    with NameServer(zone) as names:
        trunks = Trunks(
            [PBX], [CARRIER], ["sip:carrier.test"],
            access_lines='tenant = "contoso"', carrier_lines="options_ping_s = 1",
        )  # fmt: skip
        gate = make_gate("contoso", trunks=trunks)
        rewrite(gate, "[sip]\n", f'[sip]\nnameservers = ["{names.address}"]\n')
        gate.start()
        dies.asked("OPTIONS")  # only the silence of a peer that has answered pings says something
        until(lambda: gate.metrics().get('callgate_target_pings_total{result="answered"}', 0.0) >= 2.0, 10)
        dies.close()
        caller = Caller(gate.sip)
        try:
            dialog = caller.call()
            _, invite = carrier_side.asked("INVITE")
            assert invite.uri == "sip:+442079460000@carrier.test"
            caller.say(dialog, "BYE")
            down = f'callgate_target_up{{target="udp:{CARRIER}:{dead}",trunk="carrier"}}'
            up = f'callgate_target_up{{target="udp:{CARRIER}:{carrier_side.here.port}",trunk="carrier"}}'
            until(lambda: gate.metrics().get(down) == 0.0, 10)
            assert gate.metrics()[up] == 1.0
            caller.say(caller.call(), "BYE")
        finally:
            caller.close()
    assert gate.wait_booked()
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0


@pytest.mark.peer("redis-server")
def test_a_worker_that_adopts_calls_waits_for_no_name_server(make_gate: MakeGate, carrier_side: Side) -> None:
    port = carrier_side.here.port
    zone = {"carrier.test": {"A": (60, [CARRIER])}}
    with NameServer(zone) as names:
        trunks = Trunks([PBX], [CARRIER], [f"sip:carrier.test:{port}"], access_lines='tenant = "contoso"')
        gate = make_gate("contoso", trunks=trunks)
        rewrite(gate, "[sip]\n", f'[sip]\nnameservers = ["{names.address}"]\n')
        gate.start()
        caller = Caller(gate.sip)
        try:
            dialog = caller.call()
            names.silent = True
            since = gate.log.stat().st_size
            (pid,) = gate.pids()["worker"]
            os.kill(pid, signal.SIGKILL)
            until(lambda: "names not found yet" in gate.log.read_text()[since:], 15)
            said = gate.log.read_text()[since:]
            assert 0 < said.find("calls adopted") < said.find("accepting calls") < said.find("names not found yet")
            assert caller.say(dialog, "BYE").status == 200
        finally:
            caller.close()
    assert gate.wait_booked()
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
