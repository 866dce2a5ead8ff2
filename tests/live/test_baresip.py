"""Two real user agents with real media: baresip calls baresip through the gate, and is cut when its money ends."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.gate import Gate
from loadtest.bench.processes import Children, free_port, wait_until
from loadtest.wire import Address

pytestmark = pytest.mark.peer("baresip", "redis-server")

PBX = "127.0.0.2"
CALLER = "+14255550000"
CALLED = "+442079460000"
MODULES = ("/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules")
MakeGate = Callable[..., Gate]

CONFIG = """\
poll_method epoll
sip_listen {here}
module_path {modules}
audio_player aubridge,nil
audio_source aubridge,nil
audio_alert aubridge,nil
module g711.so
module aubridge.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
"""


class Baresip:
    """One headless baresip with one account, driven over its control port (netstrings with JSON inside)."""

    def __init__(
        self, children: Children, folder: Path, number: str, here: Address, answers: bool, *, more: str = "",
        account: str = "",
    ) -> None:  # fmt: skip
        """``more`` are further lines of its configuration, ``account`` is its account where it is not the usual one."""
        folder.mkdir()
        self.control = free_port(kind=socket.SOCK_STREAM)
        self.log = folder / "log"
        modules = next(path for path in MODULES if Path(path).is_dir())
        (folder / "config").write_text(CONFIG.format(here=here, modules=modules, control=self.control) + more)
        answer = "answermode=auto;" if answers else ""
        plain = f"<sip:{number}@{here}>;regint=0;{answer}audio_codecs=pcmu\n"
        (folder / "accounts").write_text(account or plain)
        program = shutil.which("baresip")
        assert program is not None
        process = children.start([program, "-f", folder], self.log)
        wait_until(self._listens, 15, "baresip", process, self.log)

    def command(self, name: str, words: str = "") -> str:
        """Send one command; what came back within a fifth of a second."""
        body = json.dumps({"command": name, "params": words, "token": "1"})
        with socket.create_connection(("127.0.0.1", self.control), 5) as control:
            control.sendall(f"{len(body)}:{body},".encode())
            control.settimeout(0.2)
            heard = b""
            try:
                while chunk := control.recv(65536):
                    heard += chunk
            except TimeoutError:
                pass
        return heard.decode(errors="replace")

    def calls(self) -> int:
        """Calls this user agent has."""
        listed = self.command("listcalls")
        return listed.count("ESTABLISHED")

    def _listens(self) -> bool:
        return f":{self.control:04X} " in Path("/proc/net/tcp").read_text()


def until(true: Callable[[], bool], within_s: float) -> float:
    """Wait for ``true``; the moment it was."""
    give_up_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    return time.monotonic()


def test_a_real_user_agent_is_answered_and_cut(
    make_gate: MakeGate, children: Children, tmp_path: Path, carrier: Address
) -> None:
    gate = make_gate("contoso", funds="0.004")
    gate.start()
    here = Address(PBX, free_port(PBX))
    callee = Baresip(children, tmp_path / "b", CALLED, carrier, answers=True)
    caller = Baresip(children, tmp_path / "a", CALLER, here, answers=False)
    caller.command("dial", f"sip:{CALLED}@{gate.sip}")
    until(lambda: caller.calls() == 1 and callee.calls() == 1, 10)
    until(lambda: caller.calls() == 0 and callee.calls() == 0, 15)
    assert gate.wait_booked()
    (row,) = gate.run("usage", "--tenant", "contoso", "--format", "json").document()
    assert row["Duration Seconds"] == 4
    assert row["Reason Code"] == "NO_CREDIT"
    assert gate.run("balance", "contoso", "--json").document()["balance"] == "0.000000"
    assert gate.run("reconcile", "--json").document()["drift_micros"] == 0
