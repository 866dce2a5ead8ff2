"""What a command prints: documents as JSON for programs, tables for people, one line on standard error when it fails.

With ``--json`` standard output carries one JSON document and nothing else.  Exit status: 0 done, 1 it could not be
done, 2 wrong use (CONTRACT 2).
"""

import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import typer
from rich.console import Console
from rich.table import Table

from gateway.redaction import redact

FAILED: Final = 1
TABLE_WIDTH_PIPED: Final = 200
"""Columns of a table that is not for a terminal: nothing is folded into the middle of a line that a script reads."""


class Failure(Exception):  # noqa: N818  the command failed; the program did not
    """The command could not do it: one line that says what and what to do."""


def fail(error: object) -> int:
    """Say on standard error why it could not be done; the exit status."""
    for line in redact(str(error)).splitlines() or ["failed"]:
        typer.echo(f"callgate: {line}", err=True)
    return FAILED


def note(text: str) -> None:
    """Say something beside the result: on standard error, so that results can be piped."""
    typer.echo(f"callgate: {redact(text)}", err=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


async def print_json_stream(documents: AsyncIterator[Any]) -> None:
    """One JSON array on standard output, written item by item, so that memory stays flat."""
    separator = "["
    async for document in documents:
        typer.echo(f"{separator}\n{json.dumps(document, ensure_ascii=False)}", nl=False)
        separator = ","
    typer.echo("[]" if separator == "[" else "\n]")


def console() -> Console:
    """Where people read: standard output, coloured on a terminal, never folded in a pipe."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=TABLE_WIDTH_PIPED)


def print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows of documents as a table of these keys; ``empty`` is said where there are none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row[column]) for column in columns))
    console().print(table if table.row_count else empty)


def _shown(value: object) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def print_facts(document: Mapping[str, Any]) -> None:
    """One document as lines of name and value; lists and tables inside it are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in document.items():
        if not isinstance(value, list | dict):
            table.add_row(name.replace("_", " "), _shown(value))
    console().print(table)


@contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is whole.

    Raises Failure where there can be no such file.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.is_dir():
        raise Failure(f"{path} is a folder: give -o a file's name in it")
    following = path.with_name(f".{path.name}.part")
    try:
        out = following.open("wb")
    except FileNotFoundError:
        raise Failure(f"{path} cannot be written: there is no folder {path.parent}; make it first") from None
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror}; give -o a file that you may write"
        raise Failure(text) from None
    try:
        with out:
            yield out
        following.replace(path)
    finally:
        following.unlink(missing_ok=True)
