"""Logs: one form for the gate and its libraries, and no secret in any of it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.redaction import HIDDEN
from gateway.telemetry import logs
from gateway.telemetry.logs import VALUE_CHARS_MAX, get_logger, hide


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def configured(level: logs.Level = "info", form: logs.Format = "json") -> io.StringIO:
    out = io.StringIO()
    logs.configure(level, form, "worker-0", out)
    return out


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_carries_process_room_call_and_tenant() -> None:
    out = configured()
    get_logger("worker").bind(call_id="c1", tenant="contoso").info("call placed", number="+14255550100")
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call placed",
        "level": "info",
        "process": "worker-0",
        "room": "worker",
        "call_id": "c1",
        "tenant": "contoso",
        "number": "+14255550100",
    }


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_least_level_is_a_setting(level: logs.Level, shown: int) -> None:
    out = configured(level)
    log = get_logger("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(lines(out)) == shown


def test_libraries_speak_in_the_same_form_and_not_louder() -> None:
    out = configured()
    logging.getLogger("sqlalchemy").warning("lost %s", "postgresql://u:hunter2@h/db")
    logging.getLogger("uvicorn.error").info("Started server process")
    (line,) = lines(out)
    assert line["event"] == "lost postgresql://***@h/db"
    assert (line["logger"], line["level"], line["process"]) == ("sqlalchemy", "warning", "worker-0")


SECRETS = [
    {"password": "hunter2"},
    {"admin_token": "hunter2"},
    {"api_key": "hunter2"},
    {"url": "redis://user:hunter2@127.0.0.1/0"},
    {"url": "redis://:hunter2@127.0.0.1/0"},
    {"header": "Authorization: Bearer hunter2"},
    {"message": b'Authorization: Digest username="pbx", response="hunter2", nc=00000001'},
]


@pytest.mark.parametrize("facts", SECRETS, ids=lambda facts: next(iter(facts)))
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_written(facts: dict[str, Any], form: logs.Format) -> None:
    out = configured(form=form)
    get_logger("x").info("event", **facts)
    assert "hunter2" not in out.getvalue()
    assert HIDDEN in out.getvalue()


def test_an_exception_is_written_without_secrets() -> None:
    out = configured()
    try:
        raise ValueError("cannot reach redis://:hunter2@h/0")
    except ValueError:
        get_logger("x").exception("failed")
    (line,) = lines(out)
    assert "ValueError: cannot reach redis://***@h/0" in line["exception"]


def test_long_values_are_cut() -> None:
    out = configured()
    get_logger("x").info("event", message="x" * 100_000)
    (line,) = lines(out)
    assert len(line["message"]) == VALUE_CHARS_MAX + 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_a_line_that_cannot_be_written_ends_nobody(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    out = configured()

    def full(text: str) -> int:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(out, "write", full)
        get_logger("x").error("the disk is full")
        get_logger("x").exception("it still is")
    get_logger("x").info("there is room again")
    assert [line["event"] for line in lines(out)] == ["there is room again"]


def test_auto_is_json_where_nobody_watches() -> None:
    out = configured(form="auto")
    get_logger("x").info("event")
    assert lines(out)[0]["event"] == "event"


def test_hide_leaves_what_is_no_secret() -> None:
    text = "sip:+14255550100@127.0.0.1:5060;transport=udp"
    assert hide(text) == text


class Terminal(io.StringIO):
    """A stream that people watch."""

    def isatty(self) -> bool:
        return True


def fall(depth: int) -> None:
    """Raise an error ``depth`` frames down, in frames that know a secret and a caller."""
    known = {"caller": "+14255550100", "word": "hunter2"}
    if depth == 0:
        raise ValueError(f"{len(known)} facts")
    (fall if depth % 2 else stumble)(depth - 1)


def stumble(depth: int) -> None:
    fall(depth)


@pytest.mark.parametrize("form", ["auto", "console", "json"])
@pytest.mark.parametrize("watched", [True, False])
def test_a_fault_is_short_and_shows_no_variables(form: logs.Format, watched: bool) -> None:
    """Variables of frames are call records and secrets; where the fault came from and what it was suffices."""
    out = Terminal() if watched else io.StringIO()
    logs.configure("info", form, "worker-0", out)
    try:
        fall(40)
    except ValueError as error:
        get_logger("x").exception("by hand")
        get_logger("x").error("as a fact", exc_info=error)
        logging.getLogger("asyncio").error("by a library", exc_info=error)
    text = out.getvalue()
    assert text.count("ValueError: 2 facts") == 3
    assert text.count("test_logs.py") >= 6
    assert "hunter2" not in text
    assert "+14255550100" not in text
    assert len(text) < 3 * 1.5 * VALUE_CHARS_MAX


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_written_inside_facts(form: logs.Format) -> None:
    out = configured(form=form)
    facts = {"more": {"password": "hunter2", "url": "redis://:hunter2@h"}, "rows": ["redis://:hunter2@h"]}
    get_logger("x").info("event", error=ValueError("redis://:hunter2@h"), facts=facts, pair=(1, b"redis://:hunter2@h"))
    assert "hunter2" not in out.getvalue()
