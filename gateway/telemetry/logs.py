"""Structured logs: one event a line, as JSON for machines or coloured text for people, always on standard error.

A line is an event name and facts, with the process that wrote it; who works on a call binds ``call_id`` and ``tenant``
once (``log = get_logger("worker").bind(call_id=…, tenant=…)``) and every further line carries them.  Secrets never
pass: values under telling keys, and all that :mod:`gateway.redaction` recognises, are replaced before anything is
written, in facts within facts too.  What libraries say through ``logging`` comes out in the same form.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from gateway.redaction import HIDDEN, SECRET_NAME, redact

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

VALUE_CHARS_MAX: Final = 2000
"""A longer text is cut: a peer's message must not fill the disk by way of the log."""

FAULT_HEAD_CHARS: Final = 500
"""Of a longer traceback so much of the beginning is kept, the way in; what happened is told at its end."""

DEPTH_MAX: Final = 4
"""Facts within facts that are looked through; what lies deeper is written as one text."""

NOISY: Final = (
    "uvicorn",
    "uvicorn.error",
    "aiosqlite",
    "alembic",
    "asyncio",
    "sqlalchemy",
    "httpx",
    "httpcore",
    "apprise",
)
"""Libraries whose lines below warning say nothing about the gate, or show addresses that hold tokens."""


def configure(level: Level, form: Format, process: str, stream: TextIO | None = None) -> None:
    """Set up this process' logs; ``process`` names it in every line (``worker-0``, ``settler``).  May be repeated."""
    out = stream or sys.stderr
    as_json = form == "json" or (form == "auto" and not out.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _named(process),
        hide_secrets,
    ]
    render: Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )  # either gets a fault as plain text from format_exc_info: no local variables, which hold records and secrets
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: Lines(out),
        cache_logger_on_first_use=False,
    )
    _route_libraries(shared, render, number, out)


class Lines:
    """Writes rendered lines.  A line that cannot be written is dropped: a full disk must not end who tells of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, message: str) -> None:
        """Write one line."""
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._out.write(message + "\n")
            self._out.flush()

    log = debug = info = warning = warn = error = err = critical = fatal = failure = exception = msg


def get_logger(room: str) -> FilteringBoundLogger:
    """A logger of one room; bind ``call_id`` and ``tenant`` where they are known."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def _named(process: str) -> Processor:
    def name(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return name


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: secrets out of keys and values, long values cut."""
    for key, value in event.items():
        if key == "exception":
            event[key] = _shortened(redact(str(value)))
        elif not key.startswith("_"):  # structlog's own, which it takes out again
            event[key] = _clean(key, value)
    return event


def _clean(name: str, value: Any, depth: int = 0) -> Any:
    """A fact as it may be written, whatever it is made of; what is no text, number or table is written as its repr."""
    if SECRET_NAME.search(name):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < DEPTH_MAX and isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner, depth + 1) for key, inner in value.items()}
    if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [_clean("", inner, depth + 1) for inner in value]
    return hide(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _shortened(traceback: str) -> str:
    """A traceback of at most VALUE_CHARS_MAX characters and one mark: its middle goes, its end tells what happened."""
    if len(traceback) <= VALUE_CHARS_MAX:
        return traceback
    return f"{traceback[:FAULT_HEAD_CHARS]}\n  …\n{traceback[FAULT_HEAD_CHARS - VALUE_CHARS_MAX :]}"


def hide(text: str) -> str:
    """``text`` without secrets and not longer than VALUE_CHARS_MAX."""
    clean = redact(text)
    return clean if len(clean) <= VALUE_CHARS_MAX else clean[:VALUE_CHARS_MAX] + "…"


def _route_libraries(shared: list[Processor], render: Processor, level: int, out: TextIO) -> None:
    """Give ``logging`` the same form, and no library a louder voice than the gate."""
    stream = logging.StreamHandler(out)
    stream.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
