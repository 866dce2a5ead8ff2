"""The start of serve: what the settings say and is not taken literally stands in the log before anything runs."""

import importlib
import json
import tomllib
from pathlib import Path

import pytest
import structlog

from gateway.config import settings

start = importlib.import_module("gateway.supervisor.serve")  # its package gives the function of this name


async def ended(*_started: object) -> int:
    return 0


def test_what_is_not_taken_literally_is_in_the_log_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "_supervise", ended)
    text = '[telemetry]\nlog_format = "json"\n[credit]\ntick_s = 2\nrenew_lead_s = 2\n'
    assert start.serve(settings.parse(tomllib.loads(text), "", tmp_path), role="settler") == 0
    structlog.reset_defaults()
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["notice"].partition(" is not")[0] for line in told] == ["credit.renew_lead_s = 2"]
