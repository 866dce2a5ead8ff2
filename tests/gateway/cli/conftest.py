"""A folder with settings and a provisioning file, and the command line inside it: in this process, or as a program."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli.app import app

SETTINGS = """
[node]
data_dir = "data"
[redis]
partitions = 4
[[trunk]]
name = "pbx"
role = "access"
tenant = "contoso"
hosts = ["127.0.0.2"]
targets = ["sip:127.0.0.2:5060"]
[[trunk]]
name = "carrier"
role = "carrier"
hosts = ["127.0.0.3"]
targets = ["sip:127.0.0.3:5060"]
"""
PROVISIONING = """
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"
[[tenant]]
id = "contoso"
rate_deck = "standard"
[[tenant.user]]
id = "alice@contoso.com"
number = "+14255550100"
[[tenant.service_number]]
number = "+18005550199"
kind = "toll_free"
serves = "conference"
deliver_to = "pbx"
"""
DECK = """\
prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s
1,United States,600000,0,1,1
44,United Kingdom,1200000,100,60,60
"""


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def failed(self, *words: str, status: int = 1) -> bool:
        """It could not be done: one line on standard error says what and what to do, and nothing else is said."""
        assert self.status == status, self
        assert self.out == ""
        assert self.err.startswith("callgate: ")
        assert self.err.count("\n") == 1
        for word in words:
            assert word in self.err
        return True


class Shell:
    """Runs ``callgate`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, status: int | None = 0) -> Done:
        """In this process, which is quick; the folder is the working directory of the test."""
        done = CliRunner().invoke(app, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        found = Done(done.exit_code, done.stdout, done.stderr)
        assert status in (None, found.status), found
        return found

    def program(self, *words: str, **environment: str) -> Done:
        """As a program of its own."""
        command = [sys.executable, "-m", "gateway.cli", *words]
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A folder with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLGATE_CONFIG", "")
    yield Shell(tmp_path)
    structlog.reset_defaults()


@pytest.fixture
def shell(empty: Shell) -> Shell:
    """A folder with files; nothing is provisioned yet."""
    (empty.folder / "callgate.toml").write_text(SETTINGS)
    (empty.folder / "tenants.toml").write_text(PROVISIONING)
    (empty.folder / "deck.csv").write_text(DECK)
    return empty


@pytest.fixture
def provisioned(shell: Shell) -> Shell:
    """The same with the provisioning file applied."""
    shell("provision", "tenants.toml")
    return shell
