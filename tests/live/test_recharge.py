"""A whole gate recharges itself over a payment server of ours, once, though it is stopped in the middle."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadtest.bench.gate import Gate

pytestmark = pytest.mark.peer("redis-server")

WITHIN_S = 30.0


class Bank(http.server.ThreadingHTTPServer):
    """Takes each key once, and is silent about it the first time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: dict[str, str] = {}
        self.asked = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Conversation(http.server.BaseHTTPRequestHandler):
    server: Bank

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        first = said["key"] not in self.server.taken
        self.server.taken[said["key"]] = said["amount"]
        body = b"" if first else json.dumps({"status": "paid"}).encode()
        self.send_response(503 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """The test counts what was asked."""


@pytest.fixture
def bank() -> Iterator[Bank]:
    serving = Bank()
    yield serving
    serving.shutdown()
    serving.server_close()


def until(true: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < give_up_s, what
        time.sleep(0.05)


def test_a_whole_gate_recharges_once_though_it_is_stopped_before_it_hears_the_answer(
    make_gate: Callable[..., Gate], bank: Bank
) -> None:
    url = f"http://127.0.0.1:{bank.server_port}/pay"
    section = f'provider = "webhook"\nurl = "{url}"\nsecret = "shared"'
    recharge = '{ enabled = true, trigger = "50", amount = "200" }'
    gate = make_gate("contoso", funds="49.60", sections={"payments": section}, keys={"recharge": recharge})
    gate.start()
    until(lambda: bank.asked > 0, "the payment server was never asked")
    gate.stop()
    gate.start()
    balance = lambda: gate.run("balance", "contoso", "--json").document()  # noqa: E731
    until(lambda: balance()["balance"] == "249.600000", "the money did not come")
    assert balance()["unsynced"] == "0.000000"
    assert list(bank.taken.values()) == ["200.000000"]
    shown = gate.run("recharge", "contoso", "--json").document()
    assert (shown["state"], [each["state"] for each in shown["payments"]]) == ("idle", ["paid"])
    lots = gate.run("lots", "contoso", "--json").document()
    assert [(lot["source"], lot["remaining"]) for lot in lots] == [("manual", "49.600000"), ("auto", "200.000000")]
