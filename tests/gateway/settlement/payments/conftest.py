"""Payment servers of the test's own: real HTTP on a real socket, with answers that the test gives them."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.ledger import Payment

HANG_S = 2.0
"""How long a server that hangs does: longer than the patience that tests give a provider."""

PATIENCE_S = 0.5


@dataclass
class Heard:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """What a server answers, request by request; ``answer`` takes the request and gives status and document.

    A status of 0 hangs and says nothing; an iterator of bytes is sent piece by piece, as slowly as it yields.
    """

    answer: Callable[[Heard], tuple[int, Any]] = lambda _heard: (200, {"status": "paid"})
    heard: list[Heard] = field(default_factory=list)
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script: Script


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        heard = Heard(self.command, self.path, headers, body)
        self.server.script.heard.append(heard)
        status, document = self.server.script.answer(heard)
        if not status:
            time.sleep(HANG_S)
            self.close_connection = True
            return
        if isinstance(document, Iterator):
            self._drip(status, document)
            return
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _drip(self, status: int, pieces: Iterator[bytes]) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # whoever asked has had enough
            for piece in pieces:
                self.wfile.write(piece)

    def log_message(self, *_words: Any) -> None:
        """The test looks at what was heard instead."""


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    server = _Server(("127.0.0.1", 0), _Conversation)
    server.script = script
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


def payment(**values: Any) -> Payment:
    """A payment of 200 US dollars, just asked for."""
    known: dict[str, Any] = {
        "key": "recharge-1", "tenant_id": "contoso", "amount_micros": 200_000_000, "currency": "USD",
        "provider": "webhook", "customer": "cus_1", "payment_method": "pm_1", "state": "pending", "provider_id": "",
        "why": "", "asked_ms": time.time_ns() // 1_000_000, "tries": 0, "due_ms": 0, "settled_ms": None,
    }  # fmt: skip
    return Payment(**(known | values))
