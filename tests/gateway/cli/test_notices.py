"""notices: what tenants were told of, a test message to everybody a tenant names, and the key of its webhooks."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.settlement.signing import signature_of

from .conftest import Shell


class Receiver(ThreadingHTTPServer):
    """Takes every webhook but those to /bad."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, str, bytes]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Callgate-Signature"], body))
        self.send_response(500 if self.path == "/bad" else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def provision(shell: Shell, *lines: str) -> None:
    text = (shell.folder / "tenants.toml").read_text()
    keys = "\n".join(['rate_deck = "standard"', *lines])
    (shell.folder / "changed.toml").write_text(text.replace('rate_deck = "standard"', keys, 1))
    shell("provision", "changed.toml")


def test_a_test_message_reaches_everybody_and_says_whom_it_does_not(shell: Shell, receiver: Receiver) -> None:
    provision(shell, f'notify = ["{receiver.url("/hook")}"]')
    assert "sent" in shell("notices", "test", "--tenant", "contoso").out
    key = shell("notices", "key", "--tenant", "contoso", "--json").document["key"]
    ((_, signed, body),) = receiver.got
    assert signature_of(key, body, int(signed.partition(",")[0].removeprefix("t="))) == signed
    assert json.loads(body)["event"] == "test"
    provision(shell, f'notify = ["{receiver.url("/bad")}", "{receiver.url("/hook")}"]')
    said = shell("notices", "test", "--tenant", "contoso", "--json", status=1)
    assert said.err.startswith("callgate: 1 of 2 could not be reached; ")
    tried = said.document
    assert [(each["state"], each["why"]) for each in tried] == [("failed", "it answered 500"), ("sent", None)]
    assert "/bad" not in json.dumps(tried)


def test_the_key_is_the_same_each_time_and_the_secret_stays_with_its_owner(shell: Shell) -> None:
    provision(shell)
    key = shell("notices", "key", "--tenant", "contoso").out
    assert key == shell("notices", "key", "--tenant", "contoso").out
    kept = Path("data/webhook-secret")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().strip() not in key
    (shell.folder / "callgate.toml").write_text(
        (shell.folder / "callgate.toml").read_text() + '[notifications]\nwebhook_secret = "env:HOOKS"\n'
    )
    given = shell.program("notices", "key", "--tenant", "contoso", HOOKS="abc").out
    assert given.startswith("whsec_")
    assert given != key


def test_what_was_told_is_shown(shell: Shell) -> None:
    assert "nobody was told" in shell("notices").out
    provision(shell, 'notify = ["https://u:hunter2@example.org/hunter2"]')
    text = (shell.folder / "changed.toml").read_text()
    blocked = 'id = "alice@contoso.com"\nblocked = true'
    (shell.folder / "changed.toml").write_text(text.replace('id = "alice@contoso.com"', blocked))
    shell("provision", "changed.toml")
    (told,) = shell("notices", "--tenant", "contoso", "--json").document
    assert (told["event"], told["figures"], told["deliveries"]) == (
        "user.blocked",
        {"user": "alice@contoso.com"},
        [],
    )
    assert told["due"] == told["at"]
    shown = shell("notices").out
    assert "user.blocked" in shown
    assert "waiting" in shown
    assert "hunter2" not in shown


def test_wrong_use(shell: Shell) -> None:
    provision(shell)
    assert shell("notices", "--tenant", "nobody", status=1).failed("nobody")
    assert shell("notices", "test", "--tenant", "nobody", status=1).failed("nobody")
    assert shell("notices", "--json", "test", "--tenant", "contoso", status=2).status == 2
    assert "names nobody" in shell("notices", "test", "--tenant", "contoso").out
    Path("data/webhook-secret").write_text("")
    assert shell("notices", "key", "--tenant", "contoso", status=1).failed("webhook-secret", "webhook_secret")
