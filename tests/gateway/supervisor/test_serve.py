"""The start of serve: what the settings say and nobody obeys yet stands in the log before anything runs."""

import importlib
import json
import tomllib
from pathlib import Path

import pytest
import structlog

from gateway.config import later, settings

start = importlib.import_module("gateway.supervisor.serve")  # its package gives the function of this name


async def ended(*_started: object) -> int:
    return 0


def test_keys_that_are_not_obeyed_yet_are_in_the_log_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "_supervise", ended)
    monkeypatch.setattr(later, "LATER", (later.Later("trunk[].options_ping_s", "nobody is pinged"),))
    trunk = '[[trunk]]\nname = "carrier"\nrole = "carrier"\noptions_ping_s = 29\n'
    text = f'[telemetry]\nlog_format = "json"\n{trunk}'
    assert start.serve(settings.parse(tomllib.loads(text), "", tmp_path), role="settler") == 0
    structlog.reset_defaults()
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["notice"].partition(":")[0] for line in told] == [
        "trunk[0].options_ping_s = 29",
    ]
