"""What is wrong with a file that people write, said so that they can mend it: file, key, value and what was expected.

Both TOML files (settings and provisioning) are validated by pydantic models; its error list is turned into one
:class:`Problem` per wrong key here, all at once, so that nobody has to mend a file one start at a time.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.redaction import redact

Model = TypeVar("Model", bound=BaseModel)

SECRET_WORDS: Final = ("password", "token", "secret", "notify")
"""A key with one of these in its name may carry a password: its value is not repeated in a message."""

NO_SECRETS: Final = frozenset({"notify_below"})
"""Keys that have such a word in their name and an amount for value."""

CLOSE_ENOUGH: Final = 0.7
"""How like a known key a misspelt one must be to be taken for it (difflib's ratio; its own default of 0.6 guesses)."""

VALUE_CHARS_MAX: Final = 60
"""Longer values are cut in messages: one problem stays one readable line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong key: ``value`` is its TOML text (empty where there is none), ``expected`` what should stand there."""

    file: str
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        named = f"{self.key} = {self.value}" if self.value else self.key
        return printable(": ".join(part for part in (self.file, named, self.expected) if part))


def printable(text: str) -> str:
    """One line that a terminal shows as it is: what it would obey or hide is written as TOML writes it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\u{ord(each):04X}" for each in text)


class WrongValue(Exception):  # noqa: N818  the file is at fault, and was told so
    """A value was read that is wrong by itself or missing (gateway.config.salvage)."""


class ConfigError(Exception):
    """A file cannot be used; ``problems`` holds every reason, ``str()`` is one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def read_toml(path: Path) -> dict[str, Any]:
    """The document in ``path``.  Raises ConfigError where it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error}): name a file that exists and that this user may read"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 (byte {error.start}): save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    raise ConfigError([Problem(str(path), "", "", reason)])


def problems_of(errors: Iterable[ErrorDetails], model: type[BaseModel], file: str) -> list[Problem]:
    """Pydantic's errors on ``model`` as problems, each wrong key once."""
    found: dict[str, Problem] = {}
    for error in errors:
        key = key_text(error["loc"])
        value = "" if error["type"] == "missing" else toml_text(key, error["input"])
        found.setdefault(key, Problem(file, key, value, _expected(error, model)))
    # a list whose entries are wrong is said to be too short as well, which nobody wrote
    return [each for key, each in found.items() if not any(other.startswith(f"{key}[") for other in found)]


def key_text(loc: Sequence[int | str]) -> str:
    """A place in a document as people write it: ``trunk[0].hosts[1]``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _may_be_secret(name: str) -> bool:
    """A name with a secret word in it, or with one that is misspelt: an unknown key shows its value too."""
    if name in NO_SECRETS:
        return False
    close = get_close_matches(name, SECRET_WORDS, n=1, cutoff=CLOSE_ENOUGH)
    return bool(close) or any(word in name for word in SECRET_WORDS)


def toml_text(key: str, value: object) -> str:
    """``value`` as it would stand in TOML, cut to a readable length, hidden where it may be a secret."""
    if isinstance(value, dict | list | tuple):
        return ""
    if isinstance(value, str) and value and _may_be_secret(key.rsplit(".", 1)[-1]):
        return '"***"'
    value = redact(value) if isinstance(value, str) else value
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


_PLAIN: Final = {
    "missing": "is required",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text in quotes",
    "tuple_type": "expected a list in square brackets",
    "list_type": "expected a list in square brackets",
    "model_type": "expected a table",
    "dict_type": "expected a table",
    "model_attributes_type": "expected a table",
    "finite_number": "expected a finite number",
}
_BOUNDS: Final = {
    "greater_than": ("gt", "expected more than {}"),
    "greater_than_equal": ("ge", "expected at least {}"),
    "less_than": ("lt", "expected less than {}"),
    "less_than_equal": ("le", "expected at most {}"),
    "too_short": ("min_length", "expected at least {} entries"),
    "too_long": ("max_length", "expected at most {} entries"),
    "string_too_short": ("min_length", "expected at least {} characters"),
    "string_too_long": ("max_length", "expected at most {} characters"),
    "literal_error": ("expected", "expected {}"),
}


def _expected(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, values = error["type"], error.get("ctx", {})
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _BOUNDS:
        name, text = _BOUNDS[kind]
        return text.format(values[name])
    if kind == "extra_forbidden":
        return _unknown_key(str(error["loc"][-1]), model, error["loc"][:-1])
    if kind == "value_error":
        return str(values["error"])
    return error["msg"]


def _unknown_key(key: str, model: type[BaseModel], loc: Sequence[int | str]) -> str:
    known = known_keys(model, loc)
    close = get_close_matches(key, known, n=1, cutoff=CLOSE_ENOUGH)
    elsewhere = [name for name in known_keys(model, ()) if key in known_keys(model, (name,))]
    if close:
        return f'unknown key; did you mean "{close[0]}"?'
    return f"unknown key; it belongs to [{elsewhere[0]}]" if elsewhere else f"unknown key; known: {', '.join(known)}"


def known_keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that ``model`` takes at a place in its document; empty where the place is not a table."""
    at: type[BaseModel] | None = model
    for part in loc:
        if at is None:
            return []
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in at.model_fields.items()}
            at = table_of(fields[part].annotation) if part in fields else None
    return [field.alias or name for name, field in at.model_fields.items()] if at else []


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``annotation`` (itself, optional, or in a list); None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, UnionType):
        return next((found for argument in get_args(annotation) if (found := table_of(argument))), None)
    return None
