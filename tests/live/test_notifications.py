"""A tenant's program is told by the gate itself: a call whose money ends, the account that is empty."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.gate import Gate
from loadtest.bench.processes import Children, free_port
from loadtest.bench.sipp import Sipp
from loadtest.wire import Address

pytestmark = pytest.mark.peer("sipp", "redis-server")

PBX = "127.0.0.2"
PEERS = Path(__file__).parent / "peers"
WAIT_S = 20
"""Only ends a hung test."""


class Webhook(ThreadingHTTPServer):
    """Takes every message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []
        self.both = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One message."""

    server: Webhook

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        if len(self.server.got) == 2:
            self.server.both.set()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    running = Webhook()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_call_whose_money_ends_and_the_empty_account_are_told_of_once(
    make_gate: Callable[..., Gate], children: Children, tmp_path: Path, carrier: Address, webhook: Webhook
) -> None:
    keys = {"notify": f'["http://127.0.0.1:{webhook.server_port}/hook"]'}
    gate = make_gate("t0", funds="0.003", keys=keys, sections={"credit": "tick_s = 1\nrenew_lead_s = 0.5"})
    gate.start()
    callee, caller = Sipp(children, tmp_path, "callee"), Sipp(children, tmp_path, "caller")
    callee.start_callee(carrier, scenario=PEERS / "callee_cut.xml")
    pairs = [("+14255550000", "+442079460000")]
    caller.start_caller(Address(PBX, free_port(PBX)), gate.sip, pairs, 1, scenario=PEERS / "caller_cut.xml")
    assert caller.wait(40)
    callee.stop()
    caller.stop()
    assert webhook.both.wait(WAIT_S), webhook.got
    low, zero = sorted(webhook.got, key=lambda message: str(message["event"]), reverse=True)
    assert (low["event"], low["tenant"], low["to"]) == ("call.low_credit", "t0", "+442079460000")
    assert low["paid_until_at"].startswith("20")
    assert (zero["event"], zero["balance"]) == ("balance.zero", "0.000000")
    told = gate.run("notices", "--tenant", "t0", "--json").document()
    assert {(each["event"], each["due"]) for each in told} == {("call.low_credit", None), ("balance.zero", None)}
